/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stream.h"

#include "agent/frame.h"
#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { OUT_MAX = 2 * AGENT_FRAME_MAX, CTRL_BRACKET = 0x1d };

struct stream {
	int fd, signals;
	enum stream_kind kind;
	bool tty, stdin_ended, over;
	bool escape; /* what it says on stdout */
	bool deaf;   /* its stdin has ended: only the way out is read */
	int code;
	uint32_t credit;	      /* of stdin */
	uint32_t owed[AGENT_STREAMS]; /* bytes written and not yet returned */
	bool unread[AGENT_STREAMS];   /* nobody reads what we write */
	size_t out_len;
	uint8_t out[OUT_MAX]; /* frames not yet written */
	struct agent_in in;
	struct termios saved;
};

static void raw_on(struct stream *s)
{
	if (!s->tty || tcgetattr(STDIN_FILENO, &s->saved) != 0) {
		s->tty = false;
		return;
	}
	struct termios raw = s->saved;
	cfmakeraw(&raw);
	tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

static void raw_off(struct stream *s)
{
	if (s->tty)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
}

static void fill_signal(struct wr *w, const void *arg)
{
	agent_put_signal(w, *(const uint8_t *)arg);
}

static void fill_winch(struct wr *w, const void *arg)
{
	const struct winsize *ws = arg;
	agent_put_winch(w, ws->ws_row, ws->ws_col);
}

struct credit {
	enum agent_stream stream;
	uint32_t bytes;
};

static void fill_credit(struct wr *w, const void *arg)
{
	const struct credit *c = arg;
	agent_put_credit(w, c->stream, c->bytes);
}

static void fill_eof(struct wr *w, const void *arg)
{
	agent_put(w, AGENT_EOF, *(const enum agent_stream *)arg, NULL, 0);
}

static bool put(struct stream *s, void (*fill)(struct wr *, const void *), const void *arg)
{
	struct wr w = wr_init(s->out + s->out_len, sizeof(s->out) - s->out_len);
	fill(&w, arg);
	if (wr_ok(&w))
		s->out_len += w.len;
	return wr_ok(&w);
}

static void take_signal(struct stream *s)
{
	struct signalfd_siginfo si;
	while (read(s->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		struct winsize ws;
		uint8_t number = (uint8_t)si.ssi_signo;
		if (si.ssi_signo != SIGWINCH && s->kind != STREAM_PROGRAM) {
			s->over = true;
			s->code = s->kind == STREAM_CONSOLE ? EXIT_DONE : 128 + number;
		} else if (si.ssi_signo != SIGWINCH)
			(void)put(s, fill_signal, &number);
		else if (s->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0)
			(void)put(s, fill_winch, &ws);
	}
}

static void take_stdin(struct stream *s)
{
	uint8_t buf[AGENT_DATA_MAX];
	size_t room = s->credit < sizeof(buf) && !s->deaf ? s->credit : sizeof(buf);
	ssize_t n = read(STDIN_FILENO, buf, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		s->stdin_ended = true;
		if (s->kind == STREAM_PROGRAM)
			(void)put(s, fill_eof, &(enum agent_stream){ AGENT_STDIN });
		return;
	}
	if (s->kind == STREAM_CONSOLE && s->tty && memchr(buf, CTRL_BRACKET, (size_t)n) != NULL) {
		s->over = true;
		s->code = EXIT_DONE;
		return;
	}
	if (s->deaf)
		return;
	struct wr w = wr_init(s->out + s->out_len, sizeof(s->out) - s->out_len);
	agent_put(&w, AGENT_DATA, AGENT_STDIN, buf, (size_t)n);
	s->out_len += w.len;
	s->credit -= (uint32_t)n;
}

/* Blocking on purpose: a reader of ours that is slow slows the program, by the credit it does not get. False: nobody
 * reads. */
static bool write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Line by line, so that line ends stay. */
static void write_escaped(const uint8_t *p, size_t len)
{
	static char text[4 * AGENT_DATA_MAX + 1];
	while (len > 0) {
		const uint8_t *end = memchr(p, '\n', len);
		size_t n = end == NULL ? len : (size_t)(end - p), shown = n;
		if (end != NULL && n > 0 && p[n - 1] == '\r')
			shown--;
		text_escape((const char *)p, shown, text, sizeof(text));
		(void)write_all(STDOUT_FILENO, (const uint8_t *)text, strlen(text));
		if (end != NULL)
			(void)write_all(STDOUT_FILENO, (const uint8_t *)"\n", 1);
		n += end != NULL;
		p += n;
		len -= n;
	}
}

static void take_data(struct stream *s, const struct agent_frame *f)
{
	if (s->escape) {
		write_escaped(f->body, f->len);
		return;
	}
	bool taken = s->unread[f->stream] ||
		     write_all(f->stream == AGENT_STDERR ? STDERR_FILENO : STDOUT_FILENO, f->body, f->len);
	/* The program is told as by a pipe of its own. What it has said already is thrown away. */
	if (!taken && s->kind == STREAM_PROGRAM)
		s->unread[f->stream] = put(s, fill_eof, &f->stream);
	s->owed[f->stream] += (uint32_t)f->len;
}

/* One frame for all that a turn took, however many frames it was: what does not fit is said next time, never lost. */
static void return_credit(struct stream *s)
{
	for (unsigned i = AGENT_STDOUT; i < AGENT_STREAMS && s->kind != STREAM_OUTPUT; i++) {
		const struct credit c = { .stream = i, .bytes = s->owed[i] };
		if (c.bytes > 0 && put(s, fill_credit, &c))
			s->owed[i] = 0;
	}
}

static void take_exit(struct stream *s, const struct agent_frame *f)
{
	struct agent_exit e;
	s->over = true;
	if (!agent_get_exit(f, &e))
		return;
	s->code = e.status;
	raw_off(s);
	s->tty = false;
	if (e.reason[0] != '\0')
		cli_error("%s", e.reason);
}

static void take_frame(struct stream *s, const struct agent_frame *f)
{
	uint32_t bytes;
	switch (f->type) {
	case AGENT_DATA:
		take_data(s, f);
		break;
	case AGENT_EXIT:
		take_exit(s, f);
		break;
	case AGENT_CREDIT:
		if (f->stream == AGENT_STDIN && agent_get_credit(f, &bytes))
			s->credit += bytes;
		break;
	case AGENT_EOF:
		s->deaf = s->deaf || f->stream == AGENT_STDIN;
		break;
	case AGENT_HELLO:
	case AGENT_EXEC:
	case AGENT_WINCH:
	case AGENT_SIGNAL:
	case AGENT_STARTED:
		break;
	}
}

static int take_bytes(struct stream *s)
{
	uint8_t buf[AGENT_BODY_MAX];
	const uint8_t *p = buf;
	struct agent_frame f;
	ssize_t n = read(s->fd, buf, sizeof(buf));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return -EPIPE;
	size_t len = (size_t)n;
	int got;
	while (!s->over && (got = agent_in_take(&s->in, &p, &len, &f)) != 0) {
		if (got < 0)
			return got;
		take_frame(s, &f);
	}
	return 0;
}

static int flush(struct stream *s)
{
	ssize_t n = write(s->fd, s->out, s->out_len);
	/* Who does not listen any more may have said things that are still to be read. */
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
		n = (ssize_t)s->out_len;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	memmove(s->out, s->out + n, s->out_len - (size_t)n);
	s->out_len -= (size_t)n;
	return 0;
}

static int turn(struct stream *s)
{
	bool want_stdin = !s->stdin_ended && (s->credit > 0 || (s->deaf && s->tty)) && s->out_len < AGENT_FRAME_MAX;
	struct pollfd p[3] = { { .fd = s->fd, .events = (short)(POLLIN | (s->out_len > 0 ? POLLOUT : 0)) },
		{ .fd = s->signals, .events = POLLIN }, { .fd = want_stdin ? STDIN_FILENO : -1, .events = POLLIN } };
	if (poll(p, 3, -1) < 0)
		return errno == EINTR ? 0 : -errno;
	if (p[1].revents != 0)
		take_signal(s);
	if (p[2].revents != 0)
		take_stdin(s);
	int err = s->out_len > 0 ? flush(s) : 0;
	if (err == 0 && p[0].revents & (POLLIN | POLLHUP))
		err = take_bytes(s);
	return_credit(s);
	return err;
}

static int open_signals(bool tty)
{
	static const int forwarded[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH };
	sigset_t set;
	sigemptyset(&set);
	for (unsigned i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
		sigaddset(&set, forwarded[i]);
	(void)tty;
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int stream_run(int fd, bool tty, enum stream_kind kind)
{
	static struct stream s;
	s = (struct stream){ .fd = fd,
		.tty = tty,
		.code = STREAM_OURS,
		.kind = kind,
		.stdin_ended = kind == STREAM_START || kind == STREAM_OUTPUT,
		.escape = kind == STREAM_OUTPUT && isatty(STDOUT_FILENO),
		.credit = kind == STREAM_PROGRAM ? AGENT_WINDOW : 0,
		.signals = open_signals(tty) };
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	raw_on(&s);
	int err = s.signals < 0 ? -errno : 0;
	while (err == 0 && !s.over)
		err = turn(&s);
	raw_off(&s);
	if (err != 0)
		cli_error("the connection to the application broke (%s); it may still run: see sekisho ps",
			strerror(-err));
	close(s.signals);
	close(fd);
	return s.code;
}
