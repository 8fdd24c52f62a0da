/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Two sides, each with a decoder and a queue of bytes to be written. A frame goes from one side's
 * decoder through agent_session_check() into the other side's queue. A side is read only while the other's queue has
 * room for what one read can make, so the queues never overflow; a guest that has hung up is read to its end, which its
 * socket buffer bounds.
 */
#include "vm/relay.h"

#include "agent/session.h"
#include "base/clock.h"
#include "base/log.h"
#include "vm/qmp.h"
#include "vm/side.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_CLIENT, AT_GUEST, AT_QMP, AT_CONSOLE, AT_LOG, AT_COUNT };
enum { READ_MAX = 32768, QUEUE_HIGH = 256 << 10, CONSOLE_BUDGET = 65536, CONSOLE_PERIOD_MS = 250, LAST_LINE_MAX = 400 };

struct vm_relay {
	struct loop *loop;
	uint8_t ref_type;
	int fd[AT_COUNT]; /* -1: closed */
	uint32_t watched[AT_COUNT];
	struct vm_side side[2]; /* AT_CLIENT, AT_GUEST */
	struct agent_session session;
	struct agent_exec exec;
	struct agent_exit exit;
	bool has_exit, quit_sent, forced, left;
	bool stop_wanted; /* as soon as the guest answers */
	bool adopted;
	bool detachable; /* the program does not need its client */
	bool syncing;	 /* the guest's bytes are thrown away until its answer */
	struct agent_sync answer;
	int64_t deadline_ms; /* of the present worry; -1: none */
	int64_t console_ms;  /* the console is not read before; -1: it is read */
	size_t console_budget;
	struct vm_qmp qmp;
	struct vm_ring console, output;
};

static void finish(struct vm_relay *r, uint8_t status, const char *reason, int64_t now_ms);

static void close_at(struct vm_relay *r, unsigned at)
{
	if (r->fd[at] < 0)
		return;
	loop_del(r->loop, r->fd[at]);
	close(r->fd[at]);
	r->fd[at] = -1;
}

/*
 * False: the peer is gone. A socket counts a program's single bytes as some hundred each, so until the end the client's
 * is filled only as far as EPOLLOUT says, a quarter; what waits in the queue is joined there, and the rest of the
 * socket is room for all of it when the program ends and a client reads late.
 */
static bool flush(struct vm_relay *r, unsigned at)
{
	struct pollfd p = { .fd = r->fd[at], .events = POLLOUT };
	if (at == AT_CLIENT && !r->has_exit && r->side[at].len > 0 && poll(&p, 1, 0) == 0)
		return r->fd[at] >= 0;
	return vm_side_flush(&r->side[at], r->fd[at]);
}

/* --- what is watched
 * --------------------------------------------------------------------------------------------------------------- */

static uint32_t wanted(const struct vm_relay *r, unsigned at)
{
	const struct vm_side *client = &r->side[AT_CLIENT], *guest = &r->side[AT_GUEST];
	switch (at) {
	case AT_CLIENT:
		/* What the client types ahead waits in its socket until the program runs. */
		return (r->session.phase == AGENT_RUNNING && guest->len < QUEUE_HIGH ? EPOLLIN : 0u) |
		       (client->len > 0 ? EPOLLOUT : 0u);
	case AT_GUEST:
		/* Without a client what it says is answered with credit, which it must take before it may say more. */
		return (client->len < QUEUE_HIGH && (!r->detachable || guest->len < QUEUE_HIGH) ? EPOLLIN : 0u) |
		       (guest->len > 0 ? EPOLLOUT : 0u);
	case AT_CONSOLE:
	case AT_LOG:
		return r->console_ms < 0 ? EPOLLIN : 0u;
	default:
		return EPOLLIN;
	}
}

static void watch(struct vm_relay *r)
{
	for (unsigned at = 0; at < AT_COUNT; at++) {
		uint32_t want = wanted(r, at);
		if (r->fd[at] < 0 || r->watched[at] == want)
			continue;
		if (loop_mod(r->loop, r->fd[at], want, r->ref_type, at) == 0)
			r->watched[at] = want;
	}
}

static void quit(struct vm_relay *r, int64_t now_ms)
{
	if (r->quit_sent)
		return;
	r->quit_sent = true;
	r->deadline_ms = now_ms + VM_RELAY_QUIT_MS;
	if (vm_qmp_quit(r->fd[AT_QMP]) != 0)
		r->forced = true;
}

int vm_relay_pause(struct vm_relay *r, bool pause)
{
	return vm_qmp_pause(&r->qmp, r->fd[AT_QMP], pause);
}

bool vm_relay_paused(struct vm_relay *r, int *ret_err)
{
	return vm_qmp_paused(&r->qmp, ret_err);
}

/* --- console
 * -----------------------------------------------------------------------------------------------------------------------
 */

static void console_read(struct vm_relay *r, unsigned at, int64_t now_ms)
{
	char buf[4096];
	ssize_t n = r->fd[at] < 0 ? -1 : read(r->fd[at], buf, sizeof(buf));
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_at(r, at);
	if (n <= 0)
		return;
	vm_ring_put(&r->console, buf, (size_t)n);
	if ((size_t)n < r->console_budget) {
		r->console_budget -= (size_t)n;
		return;
	}
	/* Unread, the socket fills and the guest's own serial port waits. */
	r->console_ms = now_ms + CONSOLE_PERIOD_MS;
	r->console_budget = CONSOLE_BUDGET;
}

size_t vm_relay_console(const struct vm_relay *r, char *buf, size_t cap)
{
	return vm_ring_last(&r->console, buf, cap);
}

/* --- frames
 * ------------------------------------------------------------------------------------------------------------------------
 */

static void guest_signal(struct vm_relay *r, uint8_t sig)
{
	struct wr w = vm_side_begin(&r->side[AT_GUEST]);
	agent_put_signal(&w, sig);
	if (vm_side_end(&r->side[AT_GUEST], &w) && !flush(r, AT_GUEST))
		return;
}

static bool send_exec(struct vm_relay *r)
{
	static uint8_t body[AGENT_BODY_MAX];
	r->exec.wall_us = clock_wall_ms() * 1000;
	if (getrandom(r->exec.seed, sizeof(r->exec.seed), 0) != (ssize_t)sizeof(r->exec.seed))
		return false;
	struct wr b = wr_init(body, sizeof(body));
	if (!agent_exec_put(&b, &r->exec))
		return false;
	struct agent_frame f = { .type = AGENT_EXEC, .body = body, .len = b.len };
	if (!vm_side_frame(&r->side[AT_GUEST], &f))
		return false;
	agent_session_started(&r->session);
	return true;
}

/* The client hears the end once, whatever its cause; the rest of the guest's life is nobody's concern. */
static void tell_exit(struct vm_relay *r)
{
	struct vm_side *s = &r->side[AT_CLIENT];
	if (r->fd[AT_CLIENT] < 0)
		return;
	struct wr w = vm_side_begin(s);
	agent_put_exit(&w, r->exit.status, r->exit.signal, r->exit.reason);
	if (!vm_side_end(s, &w))
		close_at(r, AT_CLIENT);
}

static void finish(struct vm_relay *r, uint8_t status, const char *reason, int64_t now_ms)
{
	if (!r->has_exit) {
		r->has_exit = true;
		r->exit = (struct agent_exit){ .status = status };
		snprintf(r->exit.reason, sizeof(r->exit.reason), "%s", reason);
		r->session.phase = AGENT_ENDED;
		tell_exit(r);
	}
	quit(r, now_ms);
}

/* Credit for what nobody reads. Its lawfulness is judged as if somebody did. */
static void give_back(struct vm_relay *r, enum agent_stream stream, uint32_t bytes)
{
	uint8_t buf[AGENT_HEADER + 4];
	struct vm_side *s = &r->side[AT_GUEST];
	struct wr body = wr_init(buf, sizeof(buf)), w = vm_side_begin(s);
	wr_u32(&body, bytes);
	struct agent_frame credit = { .type = AGENT_CREDIT, .stream = stream, .body = buf, .len = 4 };
	agent_put_credit(&w, stream, bytes);
	if (bytes > 0 && agent_session_check(&r->session, AGENT_CLIENT, &credit) == 0)
		(void)vm_side_end(s, &w);
}

/* The client of a detached program has heard that it runs. */
static void let_client_go(struct vm_relay *r)
{
	struct vm_side *s = &r->side[AT_CLIENT];
	struct wr w = vm_side_begin(s);
	agent_put_exit(&w, 0, 0, NULL);
	if (vm_side_end(s, &w))
		(void)flush(r, AT_CLIENT);
	close_at(r, AT_CLIENT);
	vm_side_forget(s);
}

static void guest_started(struct vm_relay *r)
{
	if (r->detachable && !r->adopted)
		let_client_go(r);
}

/* A detached program without a terminal reads nothing, as if from /dev/null. */
static bool end_stdin(struct vm_relay *r)
{
	const struct agent_frame end = { .type = AGENT_EOF, .stream = AGENT_STDIN };
	if (!r->detachable || r->exec.tty)
		return true;
	return agent_session_check(&r->session, AGENT_CLIENT, &end) == 0 && vm_side_frame(&r->side[AT_GUEST], &end);
}

static void guest_hello(struct vm_relay *r, int64_t now_ms)
{
	r->deadline_ms = -1;
	if (r->adopted) {
		agent_session_started(&r->session);
		if (r->stop_wanted)
			vm_relay_stop(r, now_ms);
	} else if (!send_exec(r) || !end_stdin(r))
		finish(r, 125, "the command is too long for the guest", now_ms);
}

static void guest_frame(struct vm_relay *r, const struct agent_frame *f, int64_t now_ms)
{
	if (agent_session_check(&r->session, AGENT_GUEST, f) != 0) {
		finish(r, 125, "the guest broke the rules of its control channel", now_ms);
		return;
	}
	if (f->type == AGENT_EXIT && agent_get_exit(f, &r->exit)) {
		r->has_exit = true;
		tell_exit(r);
		quit(r, now_ms);
		return;
	}
	if (f->type == AGENT_HELLO)
		guest_hello(r, now_ms);
	if (f->type == AGENT_STARTED)
		guest_started(r);
	if (f->type == AGENT_DATA)
		vm_ring_put(&r->output, f->body, f->len);
	if (f->type == AGENT_DATA && r->fd[AT_CLIENT] < 0 && r->detachable)
		give_back(r, f->stream, (uint32_t)f->len);
	struct vm_side *client = &r->side[AT_CLIENT];
	if (r->fd[AT_CLIENT] >= 0 && !r->has_exit &&
		!(f->type == AGENT_DATA ? vm_side_data(client, f) : vm_side_frame(client, f)))
		finish(r, 125, "the guest sent more than it may", now_ms);
}

static void client_gone(struct vm_relay *r, int64_t now_ms)
{
	close_at(r, AT_CLIENT);
	vm_side_forget(&r->side[AT_CLIENT]);
	if (r->has_exit)
		return;
	if (r->adopted || (r->detachable && r->session.started)) {
		for (unsigned i = AGENT_STDOUT; i < AGENT_STREAMS; i++)
			give_back(r, i, AGENT_WINDOW - r->session.credit[i]);
		return;
	}
	if (r->session.phase != AGENT_RUNNING) {
		finish(r, 125, "the client has gone", now_ms);
		return;
	}
	guest_signal(r, SIGHUP);
	r->deadline_ms = now_ms + VM_RELAY_HUP_MS;
}

static void last_line(const struct vm_relay *r, char *ret, size_t cap)
{
	char tail[LAST_LINE_MAX];
	size_t n = vm_relay_console(r, tail, sizeof(tail));
	while (n > 0 && (tail[n - 1] == '\n' || tail[n - 1] == '\r'))
		n--;
	size_t start = n;
	while (start > 0 && tail[start - 1] != '\n')
		start--;
	text_escape(tail + start, n - start, ret, cap);
}

static void guest_gone(struct vm_relay *r, int64_t now_ms)
{
	char line[LAST_LINE_MAX * 4], reason[LAST_LINE_MAX * 5];
	close_at(r, AT_GUEST);
	r->side[AT_GUEST].len = 0;
	for (unsigned at = AT_CONSOLE; at <= AT_LOG; at++) {
		size_t was = r->console.at + 1;
		while (r->fd[at] >= 0 && r->console_ms < 0 && r->console.at != was) {
			was = r->console.at;
			console_read(r, at, now_ms);
		}
	}
	if (!r->has_exit) {
		last_line(r, line, sizeof(line));
		snprintf(reason, sizeof(reason), "the virtual machine ended without an exit status%s%s",
			line[0] != 0 ? "; its last words: " : "", line);
		finish(r, 125, reason, now_ms);
	}
	r->deadline_ms = now_ms + VM_RELAY_LAST_MS;
}

static void client_frame(struct vm_relay *r, const struct agent_frame *f, int64_t now_ms)
{
	/* It may not know yet that nobody reads it. */
	if (r->adopted && f->stream == AGENT_STDIN && f->type == AGENT_DATA && r->session.ended[AGENT_STDIN])
		return;
	if (agent_session_check(&r->session, AGENT_CLIENT, f) != 0 || !vm_side_frame(&r->side[AT_GUEST], f))
		client_gone(r, now_ms);
}

/* One read of a side. False: nothing more is to be had now. */
static bool side_read(struct vm_relay *r, unsigned at, int64_t now_ms)
{
	static uint8_t buf[READ_MAX];
	ssize_t n = r->fd[at] < 0 ? -1 : recv(r->fd[at], buf, sizeof(buf), MSG_DONTWAIT);
	if (r->fd[at] < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return false;
	if (n <= 0) {
		if (at == AT_CLIENT)
			client_gone(r, now_ms);
		else
			guest_gone(r, now_ms);
		return false;
	}
	const uint8_t *p = buf;
	size_t len = (size_t)n, used = 0;
	struct agent_frame f;
	int got = 0;
	if (at == AT_GUEST && r->syncing) {
		r->syncing = !agent_sync_find(&r->answer, p, len, &used);
		p += used;
		len -= used;
	}
	while (r->fd[at] >= 0 && !r->has_exit && (got = agent_in_take(&r->side[at].in, &p, &len, &f)) == 1) {
		if (at == AT_CLIENT)
			client_frame(r, &f, now_ms);
		else
			guest_frame(r, &f, now_ms);
	}
	if (got < 0 && at == AT_CLIENT)
		client_gone(r, now_ms);
	else if (got < 0)
		finish(r, 125, "the guest sent what is no frame", now_ms);
	return true;
}

/* --- outside
 * -----------------------------------------------------------------------------------------------------------------------
 */

static void qmp_read(struct vm_relay *r)
{
	char buf[4096];
	ssize_t n = recv(r->fd[AT_QMP], buf, sizeof(buf), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		close_at(r, AT_QMP);
		vm_qmp_lost(&r->qmp);
	}
	if (n > 0)
		vm_qmp_take(&r->qmp, buf, (size_t)n);
}

void vm_relay_event(struct vm_relay *r, const struct loop_event *ev, int64_t now_ms)
{
	unsigned at = ev->ref.index;
	if (at >= AT_COUNT || r->fd[at] != ev->ref.fd)
		return;
	bool hup = ev->events & (EPOLLHUP | EPOLLERR);
	if (at == AT_QMP)
		qmp_read(r);
	if (at >= AT_CONSOLE && hup)
		r->console_ms = -1;
	if (at >= AT_CONSOLE)
		console_read(r, at, now_ms);
	if (at == AT_CLIENT && (hup || ((ev->events & EPOLLOUT) && !flush(r, AT_CLIENT))))
		client_gone(r, now_ms);
	if (at == AT_CLIENT && (ev->events & EPOLLIN))
		side_read(r, AT_CLIENT, now_ms);
	if (at == AT_GUEST && (ev->events & EPOLLIN))
		side_read(r, AT_GUEST, now_ms);
	while (at == AT_GUEST && hup && side_read(r, AT_GUEST, now_ms))
		;
	/* A failed write is followed by a hang-up, where it is dealt with. */
	(void)flush(r, AT_GUEST);
	(void)flush(r, AT_CLIENT);
	watch(r);
}

int64_t vm_relay_deadline(const struct vm_relay *r)
{
	if (r->console_ms >= 0 && (r->deadline_ms < 0 || r->console_ms < r->deadline_ms))
		return r->console_ms;
	return r->deadline_ms;
}

void vm_relay_tick(struct vm_relay *r, int64_t now_ms)
{
	if (r->console_ms >= 0 && now_ms >= r->console_ms)
		r->console_ms = -1;
	if (r->deadline_ms >= 0 && now_ms >= r->deadline_ms) {
		r->deadline_ms = -1;
		if (r->quit_sent)
			r->forced = true;
		else if (r->session.phase == AGENT_BOOTING && !r->adopted)
			finish(r, 125, "the virtual machine did not start in time", now_ms);
		else
			finish(r, 125, "the program did not end when asked to", now_ms);
		flush(r, AT_CLIENT);
	}
	watch(r);
}

void vm_relay_stop(struct vm_relay *r, int64_t now_ms)
{
	if (r->has_exit)
		return;
	if (r->session.phase != AGENT_RUNNING && r->adopted) {
		r->stop_wanted = true;
		r->deadline_ms = now_ms + VM_RELAY_HUP_MS;
	} else if (r->session.phase != AGENT_RUNNING) {
		finish(r, 125, "stopped before it ran", now_ms);
	} else {
		guest_signal(r, SIGTERM);
		r->deadline_ms = now_ms + VM_RELAY_HUP_MS;
	}
	watch(r);
}

bool vm_relay_done(const struct vm_relay *r)
{
	bool told = r->fd[AT_CLIENT] < 0 || r->side[AT_CLIENT].len == 0 || r->forced;
	return r->left || (r->has_exit && told && (r->fd[AT_GUEST] < 0 || r->forced));
}

bool vm_relay_ended(const struct vm_relay *r)
{
	return r->has_exit;
}

bool vm_relay_runs(const struct vm_relay *r)
{
	return r->session.phase == AGENT_RUNNING && r->session.started;
}

void vm_relay_leave(struct vm_relay *r, const char *reason)
{
	if (!r->has_exit && r->fd[AT_CLIENT] >= 0) {
		struct vm_side *s = &r->side[AT_CLIENT];
		struct wr w = vm_side_begin(s);
		agent_put_exit(&w, 125, 0, reason);
		/* What the client does not take at once it reads as a broken stream. */
		if (vm_side_end(s, &w))
			(void)flush(r, AT_CLIENT);
	}
	r->left = true;
}

const struct agent_exit *vm_relay_exit(const struct vm_relay *r)
{
	return &r->exit;
}

void vm_relay_detach(struct vm_relay *r)
{
	r->detachable = true;
}

static void refuse(int client, const char *reason)
{
	uint8_t buf[AGENT_HEADER + 256];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, 125, 0, reason);
	if (wr_ok(&w))
		(void)!send(client, buf, w.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(client);
}

void vm_relay_attach(struct vm_relay *r, int client, uint16_t rows, uint16_t cols)
{
	if (!r->detachable || r->fd[AT_CLIENT] >= 0) {
		refuse(client, "somebody has its streams already");
		return;
	}
	int flags = fcntl(client, F_GETFL);
	r->watched[AT_CLIENT] = EPOLLIN;
	if (flags < 0 || fcntl(client, F_SETFL, flags | O_NONBLOCK) != 0 ||
		loop_add(r->loop, client, EPOLLIN, r->ref_type, AT_CLIENT) != 0) {
		close(client);
		return;
	}
	r->fd[AT_CLIENT] = client;
	uint32_t credit = r->session.ended[AGENT_STDIN] ? 0 : r->session.credit[AGENT_STDIN];
	struct wr w = vm_side_begin(&r->side[AT_CLIENT]);
	if (r->session.ended[AGENT_STDIN])
		agent_put(&w, AGENT_EOF, AGENT_STDIN, NULL, 0);
	else if (credit > 0)
		agent_put_credit(&w, AGENT_STDIN, credit);
	if (!vm_side_end(&r->side[AT_CLIENT], &w))
		close_at(r, AT_CLIENT);
	w = vm_side_begin(&r->side[AT_GUEST]);
	if (rows > 0)
		agent_put_winch(&w, rows, cols);
	(void)vm_side_end(&r->side[AT_GUEST], &w);
	(void)flush(r, AT_GUEST);
	watch(r);
}

void vm_relay_tell_output(struct vm_relay *r, int client)
{
	enum { FRAMES = VM_RING / AGENT_DATA_MAX + 1 };
	static char last[VM_RING];
	static uint8_t buf[VM_RING + (FRAMES + 1) * AGENT_HEADER];
	struct wr w = wr_init(buf, sizeof(buf));
	size_t len = vm_ring_last(&r->output, last, sizeof(last));
	for (size_t done = 0, n; done < len; done += n) {
		n = len - done < AGENT_DATA_MAX ? len - done : AGENT_DATA_MAX;
		agent_put(&w, AGENT_DATA, AGENT_STDOUT, last + done, n);
	}
	agent_put_exit(&w, 0, 0, NULL);
	/* It is all given at once: less than a socket holds by default. */
	if (wr_ok(&w))
		(void)!send(client, buf, w.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(client);
}

static int relay_watch_all(struct vm_relay *r)
{
	for (unsigned at = 0; at < AT_COUNT; at++) {
		if (r->fd[at] < 0)
			continue;
		r->watched[at] = wanted(r, at);
		int flags = fcntl(r->fd[at], F_GETFL);
		if (flags < 0 || fcntl(r->fd[at], F_SETFL, flags | O_NONBLOCK) != 0)
			return -errno;
		int err = loop_add(r->loop, r->fd[at], r->watched[at], r->ref_type, at);
		if (err != 0)
			return err;
	}
	return vm_qmp_begin(r->fd[AT_QMP]);
}

static struct vm_relay *relay_alloc(struct loop *loop, uint8_t ref_type, const struct vm_relay_fds *fds)
{
	const int all[AT_COUNT] = { fds->client, fds->guest, fds->qmp, fds->console, fds->log };
	struct vm_relay *r = calloc(1, sizeof(*r));
	uint8_t *queue = malloc(2 * (size_t)VM_QUEUE_CAP);
	if (r == NULL || queue == NULL) {
		for (unsigned i = 0; i < AT_COUNT; i++) {
			if (all[i] >= 0)
				close(all[i]);
		}
		free(r);
		free(queue);
		return NULL;
	}
	r->loop = loop;
	r->ref_type = ref_type;
	memcpy(r->fd, all, sizeof(all));
	r->side[AT_CLIENT].queue = queue;
	r->side[AT_GUEST].queue = queue + VM_QUEUE_CAP;
	r->deadline_ms = r->console_ms = -1;
	r->console_budget = CONSOLE_BUDGET;
	agent_session_init(&r->session);
	return r;
}

static void greeted_before(struct vm_relay *r, int64_t now_ms)
{
	uint8_t buf[AGENT_HEADER + 4];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_hello(&w);
	struct agent_frame f = { .type = AGENT_HELLO, .body = buf + AGENT_HEADER, .len = w.len - AGENT_HEADER };
	guest_frame(r, &f, now_ms);
}

int vm_relay_new(struct loop *loop, uint8_t ref_type, const struct vm_relay_fds *fds, const struct agent_exec *exec,
	bool warm, int64_t now_ms, struct vm_relay **ret)
{
	struct vm_relay *r = relay_alloc(loop, ref_type, fds);
	if (r == NULL)
		return -ENOMEM;
	r->exec = *exec;
	r->deadline_ms = now_ms + VM_RELAY_BOOT_MS;
	if (warm)
		greeted_before(r, now_ms);
	int err = relay_watch_all(r);
	if (err != 0) {
		vm_relay_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

int vm_relay_adopt(struct loop *loop, uint8_t ref_type, const struct vm_relay_fds *fds,
	const uint8_t sync[AGENT_SYNC_LEN], struct vm_relay **ret)
{
	uint8_t challenge[AGENT_SYNC_LEN];
	struct vm_relay *r = relay_alloc(loop, ref_type, fds);
	if (r == NULL)
		return -ENOMEM;
	r->adopted = r->detachable = r->syncing = true;
	int err = getrandom(challenge, sizeof(challenge), 0) == (ssize_t)sizeof(challenge) ? 0 : -EIO;
	agent_sync_init(&r->answer, challenge);
	struct wr w = vm_side_begin(&r->side[AT_GUEST]);
	wr_bytes(&w, sync, AGENT_SYNC_LEN);
	wr_bytes(&w, challenge, sizeof(challenge));
	if (err == 0 && !vm_side_end(&r->side[AT_GUEST], &w))
		err = -ENOSPC;
	if (err == 0)
		err = relay_watch_all(r);
	if (err != 0) {
		vm_relay_free(r);
		return err;
	}
	*ret = r;
	return 0;
}

void vm_relay_free(struct vm_relay *r)
{
	if (r == NULL)
		return;
	for (unsigned at = 0; at < AT_COUNT; at++)
		close_at(r, at);
	free(r->side[AT_CLIENT].queue);
	free(r);
}
