/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Each port is free or has a session; a session begins with the guest's key and a challenge, so
 * whatever stood in the port before is of no matter. Frames go from one side's decoder through agent_session_check()
 * into the other side's queue; a side is read only while the other's queue has room, so that memory is bounded and one
 * session never waits for another.
 */
#include "vm/sessions.h"

#include "agent/session.h"
#include "vm/side.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { AT_CLIENT, AT_GUEST, SIDES };
enum { READ_MAX = 32768, QUEUE_HIGH = 256 << 10, LAST_MS = 10000 };

struct session {
	int fd[SIDES]; /* guest -1: the port is lost for good */
	uint32_t watched[SIDES];
	bool used;    /* else the guest's bytes are nobody's */
	bool syncing; /* they are thrown away until its answer */
	bool over;    /* the client has its exit in the queue */
	bool killed;  /* SIGKILL was sent */
	struct vm_side side[SIDES];
	struct agent_session rules;
	struct agent_sync answer;
	struct agent_exec *exec; /* until it is sent */
	int64_t deadline_ms;	 /* -1: none */
};

struct vm_sessions {
	struct loop *loop;
	uint8_t ref_type;
	uint32_t first;
	uint8_t sync[AGENT_SYNC_LEN];
	struct session v[AGENT_EXTRAS];
};

static uint32_t index_of(const struct vm_sessions *v, const struct session *s, unsigned at)
{
	return v->first + (uint32_t)(s - v->v) * SIDES + at;
}

static void close_at(struct vm_sessions *v, struct session *s, unsigned at)
{
	if (s->fd[at] < 0)
		return;
	loop_del(v->loop, s->fd[at]);
	close(s->fd[at]);
	s->fd[at] = -1;
}

/* The port is free again. */
static void release(struct vm_sessions *v, struct session *s)
{
	close_at(v, s, AT_CLIENT);
	free(s->side[AT_CLIENT].queue);
	free(s->exec);
	s->side[AT_CLIENT].queue = s->side[AT_GUEST].queue = NULL;
	s->exec = NULL;
	s->used = s->syncing = s->over = s->killed = false;
	s->deadline_ms = -1;
	for (unsigned at = 0; at < SIDES; at++)
		vm_side_forget(&s->side[at]);
}

static uint32_t wanted(const struct session *s, unsigned at)
{
	const struct vm_side *client = &s->side[AT_CLIENT], *guest = &s->side[AT_GUEST];
	if (at == AT_CLIENT)
		return (s->rules.phase == AGENT_RUNNING && !s->over && guest->len < QUEUE_HIGH ? EPOLLIN : 0u) |
		       (client->len > 0 ? EPOLLOUT : 0u);
	return (s->used && client->len < QUEUE_HIGH ? EPOLLIN : 0u) | (guest->len > 0 ? EPOLLOUT : 0u);
}

static void watch(struct vm_sessions *v, struct session *s)
{
	for (unsigned at = 0; at < SIDES; at++) {
		uint32_t want = wanted(s, at);
		if (s->fd[at] >= 0 && s->watched[at] != want &&
			loop_mod(v->loop, s->fd[at], want, v->ref_type, index_of(v, s, at)) == 0)
			s->watched[at] = want;
	}
}

static void guest_signal(struct session *s, uint8_t number)
{
	struct wr w = vm_side_begin(&s->side[AT_GUEST]);
	agent_put_signal(&w, number);
	(void)vm_side_end(&s->side[AT_GUEST], &w);
}

/* The client hears the end once; what it does not read in time it does not hear. */
static void finish(struct session *s, const struct agent_exit *e, int64_t now_ms)
{
	if (s->over)
		return;
	s->over = true;
	s->deadline_ms = now_ms + LAST_MS;
	struct wr w = vm_side_begin(&s->side[AT_CLIENT]);
	agent_put_exit(&w, e->status, e->signal, e->reason);
	if (!vm_side_end(&s->side[AT_CLIENT], &w))
		s->deadline_ms = now_ms;
}

static void fail(struct session *s, const char *reason, int64_t now_ms)
{
	struct agent_exit e = { .status = 125 };
	snprintf(e.reason, sizeof(e.reason), "%s", reason);
	finish(s, &e, now_ms);
}

static bool send_exec(struct session *s)
{
	static uint8_t body[AGENT_BODY_MAX];
	struct wr b = wr_init(body, sizeof(body));
	if (!agent_exec_put(&b, s->exec))
		return false;
	struct agent_frame f = { .type = AGENT_EXEC, .body = body, .len = b.len };
	if (!vm_side_frame(&s->side[AT_GUEST], &f))
		return false;
	agent_session_started(&s->rules);
	free(s->exec);
	s->exec = NULL;
	s->deadline_ms = -1;
	return true;
}

static void guest_frame(struct session *s, const struct agent_frame *f, int64_t now_ms)
{
	struct agent_exit e;
	if (agent_session_check(&s->rules, AGENT_GUEST, f) != 0) {
		guest_signal(s, SIGKILL);
		fail(s, "the guest broke the rules of its channel", now_ms);
	} else if (f->type == AGENT_HELLO && !send_exec(s)) {
		fail(s, "the command is too long for the guest", now_ms);
	} else if (f->type == AGENT_EXIT && agent_get_exit(f, &e)) {
		finish(s, &e, now_ms);
	} else if (s->fd[AT_CLIENT] >= 0 && !s->over) {
		struct vm_side *c = &s->side[AT_CLIENT];
		if (!(f->type == AGENT_DATA ? vm_side_data(c, f) : vm_side_frame(c, f)))
			fail(s, "the guest sent more than it may", now_ms);
	}
}

/* Its program hears of it, and then is not asked any more. */
static void client_gone(struct vm_sessions *v, struct session *s, int64_t now_ms)
{
	close_at(v, s, AT_CLIENT);
	vm_side_forget(&s->side[AT_CLIENT]);
	if (s->over || s->rules.phase != AGENT_RUNNING) {
		release(v, s);
		return;
	}
	guest_signal(s, SIGHUP);
	s->deadline_ms = now_ms + VM_SESSIONS_HUP_MS;
}

/* One read of a side. False: nothing more is to be had now. */
static bool side_read(struct vm_sessions *v, struct session *s, unsigned at, int64_t now_ms)
{
	static uint8_t buf[READ_MAX];
	ssize_t n = s->fd[at] < 0 ? -1 : recv(s->fd[at], buf, sizeof(buf), MSG_DONTWAIT);
	if (s->fd[at] < 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return false;
	if (n <= 0 && at == AT_CLIENT) {
		client_gone(v, s, now_ms);
		return false;
	}
	if (n <= 0) {
		close_at(v, s, AT_GUEST);
		if (s->used)
			fail(s, "the application has ended", now_ms);
		return false;
	}
	const uint8_t *p = buf;
	size_t len = (size_t)n, used = 0;
	struct agent_frame f;
	int got = 0;
	if (at == AT_GUEST && s->syncing) {
		s->syncing = !agent_sync_find(&s->answer, p, len, &used);
		p += used;
		len -= used;
	}
	while (s->used && !s->over && s->fd[at] >= 0 && (got = agent_in_take(&s->side[at].in, &p, &len, &f)) == 1) {
		if (at == AT_GUEST)
			guest_frame(s, &f, now_ms);
		else if (agent_session_check(&s->rules, AGENT_CLIENT, &f) != 0 ||
			 !vm_side_frame(&s->side[AT_GUEST], &f))
			client_gone(v, s, now_ms);
	}
	if (got < 0 && at == AT_CLIENT)
		client_gone(v, s, now_ms);
	else if (got < 0)
		fail(s, "the guest sent what is no frame", now_ms);
	return true;
}

/* All that is to be written was, or nobody takes it. */
static void settle(struct vm_sessions *v, struct session *s, int64_t now_ms)
{
	if (s->fd[AT_GUEST] >= 0)
		(void)vm_side_flush(&s->side[AT_GUEST], s->fd[AT_GUEST]);
	if (s->used && s->fd[AT_CLIENT] >= 0 && !vm_side_flush(&s->side[AT_CLIENT], s->fd[AT_CLIENT]))
		client_gone(v, s, now_ms);
	/* What the guest still has to hear, as SIGKILL, goes before the port is free. */
	bool told = s->fd[AT_CLIENT] < 0 || s->side[AT_CLIENT].len == 0;
	if (s->used && s->over && told && (s->fd[AT_GUEST] < 0 || s->side[AT_GUEST].len == 0))
		release(v, s);
	watch(v, s);
}

void vm_sessions_event(struct vm_sessions *v, const struct loop_event *ev, int64_t now_ms)
{
	uint32_t i = ev->ref.index - v->first;
	if (i >= VM_SESSIONS_INDICES)
		return;
	struct session *s = &v->v[i / SIDES];
	unsigned at = i % SIDES;
	if (s->fd[at] != ev->ref.fd)
		return;
	bool hup = ev->events & (EPOLLHUP | EPOLLERR);
	if (ev->events & EPOLLIN || hup)
		(void)side_read(v, s, at, now_ms);
	while (hup && s->fd[at] >= 0 && side_read(v, s, at, now_ms))
		;
	settle(v, s, now_ms);
}

int64_t vm_sessions_deadline(const struct vm_sessions *v)
{
	int64_t next = -1;
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		int64_t at = v->v[i].deadline_ms;
		if (at >= 0 && (next < 0 || at < next))
			next = at;
	}
	return next;
}

static void overdue(struct vm_sessions *v, struct session *s, int64_t now_ms)
{
	s->deadline_ms = -1;
	if (s->over || s->killed) {
		release(v, s);
	} else if (s->rules.phase == AGENT_RUNNING) {
		/* Its client has gone, and it did not end by that. */
		guest_signal(s, SIGKILL);
		s->killed = true;
		s->deadline_ms = now_ms + VM_SESSIONS_HUP_MS;
	} else {
		fail(s, "the guest does not answer", now_ms);
	}
	settle(v, s, now_ms);
}

void vm_sessions_tick(struct vm_sessions *v, int64_t now_ms)
{
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		if (v->v[i].deadline_ms >= 0 && now_ms >= v->v[i].deadline_ms)
			overdue(v, &v->v[i], now_ms);
	}
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

static bool begin(struct vm_sessions *v, struct session *s, const struct agent_exec *exec)
{
	uint8_t challenge[AGENT_SYNC_LEN];
	uint8_t *queue = malloc(2 * (size_t)VM_QUEUE_CAP);
	s->exec = malloc(sizeof(*s->exec));
	if (queue == NULL || s->exec == NULL ||
		getrandom(challenge, sizeof(challenge), 0) != (ssize_t)sizeof(challenge)) {
		free(queue);
		return false;
	}
	*s->exec = *exec;
	s->side[AT_CLIENT].queue = queue;
	s->side[AT_GUEST].queue = queue + VM_QUEUE_CAP;
	s->used = s->syncing = true;
	agent_session_init(&s->rules);
	agent_sync_init(&s->answer, challenge);
	struct wr w = vm_side_begin(&s->side[AT_GUEST]);
	wr_bytes(&w, v->sync, AGENT_SYNC_LEN);
	wr_bytes(&w, challenge, sizeof(challenge));
	return vm_side_end(&s->side[AT_GUEST], &w);
}

void vm_sessions_exec(struct vm_sessions *v, int client, const struct agent_exec *exec, int64_t now_ms)
{
	struct session *s = NULL;
	for (unsigned i = 0; s == NULL && i < AGENT_EXTRAS; i++)
		s = !v->v[i].used && v->v[i].fd[AT_GUEST] >= 0 ? &v->v[i] : NULL;
	if (s == NULL) {
		refuse(client, "as many programs run in it beside its own as can (4)");
		return;
	}
	int flags = fcntl(client, F_GETFL);
	if (flags < 0 || fcntl(client, F_SETFL, flags | O_NONBLOCK) != 0 || !begin(v, s, exec) ||
		loop_add(v->loop, client, 0, v->ref_type, index_of(v, s, AT_CLIENT)) != 0) {
		refuse(client, "its keeper is out of memory");
		release(v, s);
		return;
	}
	s->fd[AT_CLIENT] = client;
	s->watched[AT_CLIENT] = 0;
	s->deadline_ms = now_ms + VM_SESSIONS_BEGIN_MS;
	settle(v, s, now_ms);
}

/* The guest may not have seen that its host was away, only that another session begins. */
static int end_program(const struct vm_sessions *v, int guest)
{
	uint8_t buf[2 * AGENT_SYNC_LEN];
	memcpy(buf, v->sync, AGENT_SYNC_LEN);
	if (getrandom(buf + AGENT_SYNC_LEN, AGENT_SYNC_LEN, 0) != AGENT_SYNC_LEN)
		return -EIO;
	/* A port that is lost says so when it is used. */
	(void)!send(guest, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT);
	return 0;
}

int vm_sessions_new(struct loop *loop, uint8_t ref_type, uint32_t first, const int guest[AGENT_EXTRAS],
	const uint8_t sync[AGENT_SYNC_LEN], bool adopted, struct vm_sessions **ret)
{
	struct vm_sessions *v = calloc(1, sizeof(*v));
	int err = v == NULL ? -ENOMEM : 0;
	for (unsigned i = 0; v != NULL && i < AGENT_EXTRAS; i++)
		v->v[i] = (struct session){ .fd = { -1, guest[i] }, .watched = { 0, 0 }, .deadline_ms = -1 };
	if (v == NULL) {
		for (unsigned i = 0; i < AGENT_EXTRAS; i++)
			close(guest[i]);
		return err;
	}
	v->loop = loop;
	v->ref_type = ref_type;
	v->first = first;
	memcpy(v->sync, sync, AGENT_SYNC_LEN);
	for (unsigned i = 0; i < AGENT_EXTRAS && err == 0; i++) {
		err = loop_add(loop, guest[i], 0, ref_type, index_of(v, &v->v[i], AT_GUEST));
		if (err == 0 && adopted)
			err = end_program(v, guest[i]);
	}
	if (err != 0) {
		vm_sessions_free(v, "");
		return err;
	}
	*ret = v;
	return 0;
}

void vm_sessions_free(struct vm_sessions *v, const char *reason)
{
	if (v == NULL)
		return;
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		struct session *s = &v->v[i];
		if (s->used)
			fail(s, reason, 0);
		if (s->fd[AT_CLIENT] >= 0)
			(void)vm_side_flush(&s->side[AT_CLIENT], s->fd[AT_CLIENT]);
		release(v, s);
		close_at(v, s, AT_GUEST);
	}
	free(v);
}
