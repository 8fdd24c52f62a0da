/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One poll loop between the control port and the program. Nothing is read that cannot be passed on: stdin is bounded by
 * the credit we gave, output by the credit we were given and by the room in `out`.
 *
 * The host's end of the port may go and come back with another keeper behind it (agent/sync.h). The program does not
 * notice: what it says meanwhile waits in `out` and in its pipes. Only the new keeper's key makes us listen again,
 * since the old one may have died in the middle of a frame.
 */
#include "guest/serve.h"

#include "agent/frame.h"
#include "base/rd.h"
#include "guest/run.h"
#include "guest/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { OUT_CAP = 4 * AGENT_FRAME_MAX, CTRL_D = 4, READ_MAX = 16384, AWAY_MS = 50, LAST_MS = 3000 };

struct serve {
	int ctl, sigfd;
	struct run run;
	bool tty, stdin_eof, reaped;
	const struct agent_exec
		*app;	/* on a further port: what the guest itself was told; NULL: this is the control port */
	bool host_away; /* nobody holds the host's end */
	bool deaf;	/* what comes is thrown away until the key */
	bool said_exit;
	struct agent_sync sync;
	unsigned held;		 /* bytes at the start of `raw` that may begin the key */
	unsigned challenge_left; /* bytes of it still to come */
	uint8_t challenge[AGENT_SYNC_LEN];
	int wait_status;
	uint32_t credit[AGENT_STREAMS];
	uint32_t owed;		/* bytes of stdin consumed and not yet returned */
	size_t in_head, in_len; /* stdin ring */
	size_t out_len;
	struct agent_in decoder;
	uint8_t raw[AGENT_SYNC_LEN + READ_MAX];
	uint8_t in[AGENT_WINDOW];
	uint8_t out[OUT_CAP];
};

static struct serve *S;

/* --- the port
 * -------------------------------------------------------------------------------------------------------------------
 */

static int write_all_blocking(int fd, const uint8_t *p, size_t len)
{
	/* A blocking write to a virtio port returns when the host has taken the bytes; that is the only flush there is.
	 */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
		return -errno;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return fcntl(fd, F_SETFL, flags) == 0 ? 0 : -errno;
}

static struct wr out_begin(void)
{
	struct wr w = wr_init(S->out, sizeof(S->out));
	w.len = S->out_len;
	return w;
}

static void out_end(const struct wr *w)
{
	if (wr_ok(w))
		S->out_len = w->len;
}

static void out_flush(void)
{
	size_t done = 0;
	while (done < S->out_len) {
		ssize_t n = write(S->ctl, S->out + done, S->out_len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n < 0 && errno != EAGAIN)
				S->host_away = true;
			break;
		}
		done += (size_t)n;
	}
	memmove(S->out, S->out + done, S->out_len - done);
	S->out_len -= done;
}

/* --- what the host says
 * --------------------------------------------------------------------------------------------------------- */

static void signal_program(int sig)
{
	/* The whole session's first group, as a terminal would; a program that left it is reached alone. */
	if (S->run.pid > 0 && !S->reaped && kill(-S->run.pid, sig) != 0)
		kill(S->run.pid, sig);
}

static int take_stdin(const struct agent_frame *f)
{
	if (f->stream != AGENT_STDIN || f->len > sizeof(S->in) - S->in_len)
		return -EPROTO;
	if (S->stdin_eof)
		return 0;
	for (size_t i = 0; i < f->len; i++)
		S->in[(S->in_head + S->in_len + i) % sizeof(S->in)] = f->body[i];
	S->in_len += f->len;
	return 0;
}

static int take_credit(const struct agent_frame *f)
{
	uint32_t bytes;
	if (f->stream == AGENT_STDIN || !agent_get_credit(f, &bytes) || bytes > AGENT_WINDOW - S->credit[f->stream])
		return -EPROTO;
	S->credit[f->stream] += bytes;
	return 0;
}

static int take_winch(const struct agent_frame *f)
{
	struct winsize size = { 0 };
	uint16_t rows, cols;
	if (!agent_get_winch(f, &rows, &cols))
		return -EPROTO;
	size.ws_row = rows;
	size.ws_col = cols;
	if (S->tty && S->run.out >= 0 && ioctl(S->run.out, TIOCSWINSZ, &size) != 0)
		fprintf(stderr, "sekisho-init: window size: %s\n", strerror(errno));
	return 0;
}

static void stream_ended(enum agent_stream stream, int *fd)
{
	if (*fd == S->run.in)
		S->run.in = -1;
	close(*fd);
	*fd = -1;
	struct wr w = out_begin();
	agent_put(&w, AGENT_EOF, stream, NULL, 0);
	out_end(&w);
}

/* Of its output: the program is to hear of it as from any pipe. A terminal has no such end. */
static void take_eof(enum agent_stream stream)
{
	if (stream == AGENT_STDIN)
		S->stdin_eof = true;
	else if (stream == AGENT_STDOUT && !S->tty && S->run.out >= 0)
		stream_ended(stream, &S->run.out);
	else if (stream == AGENT_STDERR && S->run.err >= 0)
		stream_ended(stream, &S->run.err);
}

static int take_exec(const struct agent_frame *f);

static int take_frame(const struct agent_frame *f)
{
	uint8_t sig;
	switch (f->type) {
	case AGENT_DATA:
		return take_stdin(f);
	case AGENT_EOF:
		take_eof(f->stream);
		return 0;
	case AGENT_WINCH:
		return take_winch(f);
	case AGENT_SIGNAL:
		if (!agent_get_signal(f, &sig))
			return -EPROTO;
		signal_program(sig);
		return 0;
	case AGENT_CREDIT:
		return take_credit(f);
	case AGENT_EXEC:
		return S->app == NULL ? -EPROTO : take_exec(f);
	case AGENT_HELLO:
	case AGENT_EXIT:
	case AGENT_STARTED:
		return -EPROTO;
	}
	return -EPROTO;
}

static void put_exit(void)
{
	/* Whoever hears of the end may start the next run on the same layer. */
	if (root_keeps())
		sync();
	struct wr w = out_begin();
	int st = S->wait_status;
	if (WIFSIGNALED(st))
		agent_put_exit(&w, (uint8_t)(128 + WTERMSIG(st)), (uint8_t)WTERMSIG(st), NULL);
	else
		agent_put_exit(&w, (uint8_t)WEXITSTATUS(st), 0, NULL);
	S->said_exit = wr_ok(&w);
	out_end(&w);
}

static void close_stream(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* On a further port: a new session begins. */
static void forget_program(void)
{
	if (S->run.pid > 0 && !S->reaped) {
		kill(-S->run.pid, SIGKILL);
		kill(S->run.pid, SIGKILL);
	}
	if (S->tty)
		S->run.in = -1;
	close_stream(&S->run.in);
	close_stream(&S->run.out);
	close_stream(&S->run.err);
	S->run.pid = 0;
	S->reaped = S->said_exit = S->stdin_eof = false;
}

/* A new keeper. What the program said and the old one did not take is lost with it, as is what the program has not read
 * yet. */
static void meet_keeper(void)
{
	if (S->app != NULL)
		forget_program();
	S->decoder.have = 0;
	S->deaf = false;
	S->out_len = 0;
	S->in_len = 0;
	S->owed = 0;
	for (unsigned i = 0; i < AGENT_STREAMS; i++)
		S->credit[i] = AGENT_WINDOW;
	struct wr w = out_begin();
	wr_bytes(&w, S->challenge, sizeof(S->challenge));
	agent_put_hello(&w);
	if (S->app == NULL)
		agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	if (S->stdin_eof)
		agent_put(&w, AGENT_EOF, AGENT_STDIN, NULL, 0);
	out_end(&w);
	if (S->said_exit)
		put_exit();
}

static void decode(const uint8_t *p, size_t len)
{
	struct agent_frame f;
	int got = 0;
	while (!S->deaf && (got = agent_in_take(&S->decoder, &p, &len, &f)) != 0) {
		if (got < 0 || take_frame(&f) != 0)
			S->deaf = true;
	}
}

/* `len` new bytes behind the held ones in S->raw. Nothing that may be the key reaches the decoder. */
static void take_bytes(size_t len)
{
	const uint8_t *from = S->raw, *p = S->raw + S->held;
	while (len > 0) {
		size_t used;
		if (S->challenge_left > 0) {
			used = len < S->challenge_left ? len : S->challenge_left;
			memcpy(S->challenge + AGENT_SYNC_LEN - S->challenge_left, p, used);
			S->challenge_left -= (unsigned)used;
			from = p + used;
			if (S->challenge_left == 0)
				meet_keeper();
		} else if (agent_sync_find(&S->sync, p, len, &used)) {
			decode(from, (size_t)(p - from) + used - AGENT_SYNC_LEN);
			from = p + used;
			S->challenge_left = AGENT_SYNC_LEN;
		}
		p += used;
		len -= used;
	}
	S->held = S->sync.have;
	decode(from, (size_t)(p - from) - S->held);
	memmove(S->raw, p - S->held, S->held);
}

static void read_control(void)
{
	ssize_t n = read(S->ctl, S->raw + S->held, READ_MAX);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		S->host_away = true;
	if (n > 0)
		take_bytes((size_t)n);
}

/* --- the program's streams
 * ------------------------------------------------------------------------------------------------------ */

static void close_stdin(void)
{
	if (S->run.in < 0)
		return;
	if (S->tty) {
		/* A terminal has no end of file but the character that means it. */
		char end = CTRL_D;
		if (write(S->run.in, &end, 1) < 0 && errno == EAGAIN)
			return;
	} else {
		close(S->run.in);
	}
	S->run.in = -1;
}

static void consumed(size_t n)
{
	S->in_head = (S->in_head + n) % sizeof(S->in);
	S->in_len -= n;
	S->owed += (uint32_t)n;
}

static void write_stdin(void)
{
	while (S->in_len > 0 && S->run.in >= 0) {
		size_t n = sizeof(S->in) - S->in_head;
		if (n > S->in_len)
			n = S->in_len;
		ssize_t done = write(S->run.in, S->in + S->in_head, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN)
			return;
		if (done < 0) {
			/* The program closed its stdin: the rest is thrown away, as a shell's pipe would. */
			if (!S->tty)
				close(S->run.in);
			S->run.in = -1;
			break;
		}
		consumed((size_t)done);
	}
	if (S->run.in < 0)
		consumed(S->in_len);
	else if (S->stdin_eof)
		close_stdin();
}

static void return_credit(bool all)
{
	enum { BATCH = AGENT_WINDOW / 4 };
	if (S->owed == 0 || (!all && S->owed < BATCH))
		return;
	struct wr w = out_begin();
	agent_put_credit(&w, AGENT_STDIN, S->owed);
	if (wr_ok(&w))
		S->owed = 0;
	out_end(&w);
}

static bool may_read(enum agent_stream stream, int fd)
{
	return fd >= 0 && S->credit[stream] > 0 && sizeof(S->out) - S->out_len >= 2 * AGENT_FRAME_MAX;
}

static void read_stream(enum agent_stream stream, int *fd)
{
	/* The port takes 32 KiB at a time: one frame, header and all. */
	uint8_t buf[AGENT_DATA_MAX - AGENT_HEADER];
	size_t want = S->credit[stream] < sizeof(buf) ? S->credit[stream] : sizeof(buf);
	ssize_t n = read(*fd, buf, want);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	/* EIO: the last slave of the pty was closed. */
	if (n <= 0) {
		stream_ended(stream, fd);
		return;
	}
	S->credit[stream] -= (uint32_t)n;
	struct wr w = out_begin();
	agent_put(&w, AGENT_DATA, stream, buf, (size_t)n);
	out_end(&w);
}

/* --- life and death
 * -------------------------------------------------------------------------------------------------------------- */

static void reap(void)
{
	struct signalfd_siginfo info;
	while (read(S->sigfd, &info, sizeof(info)) > 0)
		;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != S->run.pid)
			continue;
		S->reaped = true;
		S->wait_status = status;
		/* The program has ended; what it left behind would hold its streams open for ever. */
		if (S->app == NULL)
			kill(-1, SIGKILL);
	}
}

enum { AT_CTL, AT_SIG, AT_IN, AT_OUT, AT_ERR, AT_COUNT };

static void poll_set(struct pollfd p[AT_COUNT])
{
	bool feed = S->run.in >= 0 && (S->in_len > 0 || S->stdin_eof);
	p[AT_CTL] = (struct pollfd){ .fd = S->host_away ? -1 : S->ctl,
		.events = (short)(POLLIN | (S->out_len > 0 ? POLLOUT : 0)) };
	p[AT_SIG] = (struct pollfd){ .fd = S->sigfd, .events = POLLIN };
	p[AT_IN] = (struct pollfd){ .fd = feed ? S->run.in : -1, .events = POLLOUT };
	p[AT_OUT] = (struct pollfd){ .fd = may_read(AGENT_STDOUT, S->run.out) ? S->run.out : -1, .events = POLLIN };
	p[AT_ERR] = (struct pollfd){ .fd = may_read(AGENT_STDERR, S->run.err) ? S->run.err : -1, .events = POLLIN };
}

/* What a program on a further port left behind may keep its streams, but nobody waits for it. */
static void leave_streams(void)
{
	int *const fds[] = { &S->run.out, &S->run.err };
	for (unsigned i = 0; i < 2; i++) {
		struct pollfd p = { .fd = *fds[i], .events = POLLIN };
		if (*fds[i] >= 0 && poll(&p, 1, 0) == 0)
			stream_ended(i == 0 ? AGENT_STDOUT : AGENT_STDERR, fds[i]);
	}
}

/* Without a host the port polls as hung up all the time: it is looked at now and then instead. */
static void look_for_host(void)
{
	struct pollfd p = { .fd = S->ctl, .events = POLLIN };
	S->host_away = poll(&p, 1, 0) > 0 && (p.revents & POLLHUP) && !(p.revents & POLLIN);
}

/* False: the exit has been said and the host, which is there, does nothing about it. */
static bool serve_once(void)
{
	struct pollfd p[AT_COUNT];
	/* Over vsock the host may be away without our seeing it: a keeper that comes back asks. */
	bool last = S->app == NULL && S->said_exit && S->out_len == 0 && !setup_over_vsock();
	poll_set(p);
	int got = poll(p, AT_COUNT, S->host_away ? AWAY_MS : last ? LAST_MS : -1);
	if (got < 0)
		return true;
	bool was_away = S->host_away;
	if (S->host_away)
		look_for_host();
	else if (got == 0 && last)
		return false;
	if (p[AT_SIG].revents != 0)
		reap();
	if (p[AT_CTL].revents & (POLLIN | POLLHUP))
		read_control();
	if (S->in_len > 0 || S->stdin_eof)
		write_stdin();
	if (p[AT_OUT].revents != 0 && S->run.out >= 0)
		read_stream(AGENT_STDOUT, &S->run.out);
	if (p[AT_ERR].revents != 0 && S->run.err >= 0)
		read_stream(AGENT_STDERR, &S->run.err);
	return_credit(S->in_len == 0);
	if (S->app != NULL && S->host_away && !was_away && S->run.pid > 0)
		signal_program(SIGHUP);
	if (S->app != NULL && S->reaped)
		leave_streams();
	if (!S->said_exit && S->reaped && S->run.out < 0 && S->run.err < 0)
		put_exit();
	if (S->out_len > 0)
		out_flush();
	return true;
}

static int watch_children(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return -errno;
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static bool serve_new(int fd, const struct agent_exec *e)
{
	S = calloc(1, sizeof(*S));
	int sigfd = watch_children();
	if (S == NULL || sigfd < 0)
		return false;
	S->ctl = fd;
	S->sigfd = sigfd;
	S->run = (struct run){ .in = -1, .out = -1, .err = -1 };
	agent_sync_init(&S->sync, e->sync);
	for (unsigned i = 0; i < AGENT_STREAMS; i++)
		S->credit[i] = AGENT_WINDOW;
	signal(SIGPIPE, SIG_IGN);
	return true;
}

/* Who the program is: the application's own user, or one whom the guest knows. */
static int exec_user(struct agent_exec *e, char *reason)
{
	const char *missing;
	if (!e->guest_user) {
		e->uid = S->app->uid;
		e->gid = S->app->gid;
		memcpy(e->user, S->app->user, sizeof(e->user));
		memcpy(e->home, S->app->home, sizeof(e->home));
		return 0;
	}
	int err = setup_user(e, &missing);
	if (err != 0)
		snprintf(reason, AGENT_REASON_MAX, "there is no user or group \"%s\" in it", missing);
	return err;
}

static int take_exec(const struct agent_frame *f)
{
	static struct agent_exec e;
	char reason[AGENT_REASON_MAX + 1];
	if (S->run.pid > 0 || S->said_exit || !agent_exec_get(f->body, f->len, &e))
		return -EPROTO;
	S->tty = e.tty;
	int status = exec_user(&e, reason) != 0 ? 125 : run_start(&e, &S->run, reason);
	struct wr w = out_begin();
	if (status == 0)
		agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	else
		agent_put_exit(&w, (uint8_t)status, 0, reason);
	S->said_exit = status != 0;
	out_end(&w);
	return 0;
}

/* Deaf until the first session's key. */
void serve_extra(int fd, const struct agent_exec *e)
{
	if (!serve_new(fd, e))
		_exit(1);
	S->app = e;
	S->deaf = true;
	for (;;)
		(void)serve_once();
}

void serve_run(int fd, const struct agent_exec *e)
{
	char reason[AGENT_REASON_MAX + 1];
	if (!serve_new(fd, e)) {
		serve_exit(fd, 125, 0, "the guest is out of memory");
		return;
	}
	S->tty = e->tty;
	int status = run_start(e, &S->run, reason);
	if (status != 0) {
		serve_exit(fd, (uint8_t)status, 0, reason);
		return;
	}
	struct wr w = out_begin();
	agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	out_end(&w);
	out_flush();
	while (serve_once())
		;
}

void serve_exit(int fd, uint8_t status, uint8_t signal, const char *reason)
{
	uint8_t buf[AGENT_HEADER + 2 + AGENT_REASON_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, status, signal, reason);
	if (!wr_ok(&w) || write_all_blocking(fd, buf, w.len) != 0)
		fprintf(stderr, "sekisho-init: the exit status could not be sent\n");
}

int serve_greet(int fd, struct agent_exec *ret)
{
	uint8_t buf[4096];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_hello(&w);
	int err = write_all_blocking(fd, buf, w.len);
	struct agent_in *in = calloc(1, sizeof(*in));
	if (err != 0 || in == NULL) {
		free(in);
		return err != 0 ? err : -ENOMEM;
	}
	struct agent_frame f;
	int got = 0;
	while (got == 0) {
		/* Byte-exact: what the client typed ahead behind exec belongs to serve_run(). */
		size_t want = in->have < AGENT_HEADER ? AGENT_HEADER - in->have : sizeof(buf);
		struct rd r = rd_init(in->buf + 4, 4);
		if (in->have >= AGENT_HEADER)
			want = AGENT_HEADER + (size_t)rd_u32(&r) - in->have;
		ssize_t n = read(fd, buf, want < sizeof(buf) ? want : sizeof(buf));
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = { .fd = fd, .events = POLLIN };
			if (poll(&p, 1, -1) >= 0)
				continue;
		}
		if (n <= 0) {
			got = -EPIPE;
			break;
		}
		const uint8_t *p = buf;
		size_t len = (size_t)n;
		got = agent_in_take(in, &p, &len, &f);
	}
	if (got == 1)
		got = f.type == AGENT_EXEC && agent_exec_get(f.body, f.len, ret) ? 0 : -EPROTO;
	free(in);
	return got;
}
