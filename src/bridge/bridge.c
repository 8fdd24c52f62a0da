/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between a keeper and Firecracker, in the jail of both: what a keeper connects to is the same for either VMM, sockets
 * that outlive it, and the guest's vsock connections stay while keepers come and go. Per port one listening socket for
 * the keeper, made by main, and one "door" for Firecracker, which connects to it when the guest does (CID 2, port N):
 * the doors are all that a guest can reach. Bytes are moved and not looked at; a side is read only when what was read
 * before has gone out, so memory is fixed.
 *
 * The first process of its pid namespace: its end is the machine's. It ends when the guest's control connection does.
 * Firecracker is started when the first keeper knocks: by then main has given us our cgroup.
 *
 * usage: sekisho-bridge FIRECRACKER NAME=FD...    3 to 9: the listening sockets of vm/process.h
 */
#include "agent/frame.h"
#include "bridge/control.h"
#include "bridge/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_CTL = 3, FD_QMP, FD_SERIAL, FD_EXTRA, FDS_MAX = 64 };
enum { PORTS = 1 + AGENT_EXTRAS, BUF = 65536, FILES_MAX = 8 };

static const char door_base[] = "/run/s", api[] = "/run/api";

/* Bytes on their way. */
struct half {
	size_t at, len;
	uint8_t buf[BUF];
};

struct port {
	int listener, keeper;
	int door, guest; /* the door is closed behind the first who comes */
	struct half in, out;
};

static struct bridge {
	struct port port[PORTS]; /* control first */
	int qmp, serial;	 /* a keeper's; -1: none */
	struct control control;
	struct half said; /* by the console */
	int console;	  /* what Firecracker says on stdout */
	int listener;	  /* of its calls */
	int pidfd;
	struct opener_file files[FILES_MAX + 1];
	struct pollfd poll[FDS_MAX];
	unsigned n_poll;
} B;

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "sekisho-bridge: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- what waits for what */

static void want(int fd, short events)
{
	if (fd >= 0 && B.n_poll < FDS_MAX)
		B.poll[B.n_poll++] = (struct pollfd){ .fd = fd, .events = events };
}

static short happened(int fd)
{
	for (unsigned i = 0; fd >= 0 && i < B.n_poll; i++) {
		if (B.poll[i].fd == fd)
			return B.poll[i].revents;
	}
	return 0;
}

static void want_port(const struct port *p)
{
	want(p->keeper < 0 ? p->listener : -1, POLLIN);
	want(p->door, POLLIN);
	want(p->keeper, (short)((p->guest >= 0 && p->in.len == 0 ? POLLIN : 0) | (p->out.len > 0 ? POLLOUT : 0)));
	/* Without a keeper what the guest says waits in its own socket. */
	if (p->keeper >= 0 || p->in.len > 0)
		want(p->guest,
			(short)((p->keeper >= 0 && p->out.len == 0 ? POLLIN : 0) | (p->in.len > 0 ? POLLOUT : 0)));
}

static void wait_for_all(void)
{
	B.n_poll = 0;
	for (unsigned i = 0; i < PORTS; i++)
		want_port(&B.port[i]);
	want(B.qmp < 0 ? FD_QMP : B.qmp, POLLIN);
	want(B.serial < 0 ? FD_SERIAL : B.serial, (short)(B.said.len > 0 ? POLLOUT | POLLIN : POLLIN));
	want(B.said.len == 0 ? B.console : -1, POLLIN);
	want(B.listener, POLLIN);
	want(B.pidfd, POLLIN);
	if (poll(B.poll, B.n_poll, -1) < 0 && errno != EINTR)
		fail("poll");
}

/* --- bytes */

static int take(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	return fd < 0 ? -1 : fd;
}

/* False: there is an end. */
static bool fill(struct half *h, int fd)
{
	ssize_t n = read(fd, h->buf, sizeof(h->buf));
	if (n > 0) {
		h->at = 0;
		h->len = (size_t)n;
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool drain(struct half *h, int fd)
{
	if (h->len == 0)
		return true;
	ssize_t n = send(fd, h->buf + h->at, h->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0) {
		h->at += (size_t)n;
		h->len -= (size_t)n;
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void port_step(struct port *p)
{
	enum { GONE = POLLHUP | POLLERR };
	short keeper = happened(p->keeper), guest = happened(p->guest);
	if (p->keeper < 0 && (happened(p->listener) & POLLIN))
		p->keeper = take(p->listener);
	if (happened(p->door) & POLLIN) {
		p->guest = take(p->door);
		close_fd(&p->door);
	}
	if (((keeper & (POLLIN | GONE)) && p->in.len == 0 && !fill(&p->in, p->keeper)) ||
		((keeper & GONE) && p->in.len > 0))
		close_fd(&p->keeper);
	if ((guest & (POLLIN | GONE)) && p->out.len == 0 && !fill(&p->out, p->guest))
		close_fd(&p->guest);
	/* At once, without another wait: most of what comes fits. */
	if (p->keeper >= 0 && !drain(&p->out, p->keeper))
		close_fd(&p->keeper);
	if (p->guest >= 0 && !drain(&p->in, p->guest))
		close_fd(&p->guest);
}

static void serial_step(void)
{
	if (B.serial < 0 && (happened(FD_SERIAL) & POLLIN))
		B.serial = take(FD_SERIAL);
	if (happened(B.console) != 0 && B.said.len == 0 && !fill(&B.said, B.console))
		close_fd(&B.console);
	char rest[64];
	if (B.serial >= 0 && (happened(B.serial) & POLLIN) && read(B.serial, rest, sizeof(rest)) == 0)
		close_fd(&B.serial);
	if (B.serial < 0)
		B.said.len = 0;
	else if (!drain(&B.said, B.serial))
		close_fd(&B.serial);
}

/* False: quit. */
static bool qmp_step(void)
{
	char buf[CONTROL_LINE_MAX];
	if (B.qmp < 0 && (happened(FD_QMP) & POLLIN)) {
		B.qmp = take(FD_QMP);
		B.control.len = 0;
	} else if (B.qmp >= 0 && happened(B.qmp) != 0) {
		ssize_t n = read(B.qmp, buf, sizeof(buf));
		if (n > 0)
			return control_take(&B.control, B.qmp, api, buf, (size_t)n);
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			close_fd(&B.qmp);
	}
	return true;
}

static void run(void)
{
	const struct port *ctl = &B.port[0];
	bool quit = false;
	while (!quit) {
		wait_for_all();
		if (happened(B.listener) & POLLIN)
			opener_answer(B.listener, B.files);
		else if (happened(B.listener) != 0)
			close_fd(&B.listener);
		for (unsigned i = 0; i < PORTS; i++)
			port_step(&B.port[i]);
		serial_step();
		bool dead = happened(B.pidfd) != 0;
		if (dead)
			close_fd(&B.pidfd);
		/* Its last words first. */
		bool guest_over = ctl->guest < 0 && (ctl->door < 0 || B.pidfd < 0);
		quit = !qmp_step() || (guest_over && (ctl->out.len == 0 || ctl->keeper < 0));
	}
	/* What it said before it died is on the console. */
	while (B.console >= 0 && B.serial >= 0 && drain(&B.said, B.serial) && B.said.len == 0) {
		if (!fill(&B.said, B.console) || B.said.len == 0)
			break;
	}
}

/* --- the start */

static int door_make(unsigned number)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", door_base, number);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 1) != 0)
		fail(a.sun_path);
	return fd;
}

static void give(int sock, int fd)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	char c = 0;
	struct iovec v = { .iov_base = &c, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u.room) };
	memcpy(CMSG_DATA(&u.h), &fd, sizeof(fd));
	if (sendmsg(sock, &m, 0) != 1)
		_exit(1);
}

static int given(int sock)
{
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} u = { 0 };
	char c;
	struct iovec v = { .iov_base = &c, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &u, .msg_controllen = sizeof(u.room) };
	int fd = -1;
	if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC) == 1 && u.h.cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(&u.h), sizeof(fd));
	return fd;
}

static _Noreturn void become(const char *program, int sock, int out)
{
	char *const argv[] = { "firecracker", "--api-sock", "/run/api", "--config-file", "/fd/config", NULL };
	char *const env[] = { NULL };
	signal(SIGPIPE, SIG_DFL);
	if (dup2(out, 1) < 0)
		fail("stdout");
	int listener = opener_install();
	if (listener < 0) {
		errno = -listener;
		fail("its calls cannot be answered here (seccomp)");
	}
	give(sock, listener);
	execve(program, argv, env);
	fail(program);
}

static void start(const char *program)
{
	int pair[2], out[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0)
		fail("no descriptors");
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		become(program, pair[1], out[1]);
	close(pair[1]);
	close(out[1]);
	B.listener = given(pair[0]);
	close(pair[0]);
	B.console = out[0];
	B.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (B.listener < 0 || B.pidfd < 0)
		fail("Firecracker cannot be started");
}

static void take_files(int argc, char **argv)
{
	if (argc - 2 > FILES_MAX)
		fail("too many files");
	for (int i = 2; i < argc; i++) {
		char *end = strchr(argv[i], '=');
		if (end == NULL)
			fail(argv[i]);
		*end = '\0';
		B.files[i - 2] = (struct opener_file){ .name = argv[i], .fd = (int)strtol(end + 1, NULL, 10) };
	}
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: sekisho-bridge FIRECRACKER NAME=FD...\n");
		return 2;
	}
	take_files(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	/* Whoever takes Firecracker over has our uid, and must not trace us. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || syscall(SYS_close_range, FD_CTL, ~0U, CLOSE_RANGE_CLOEXEC) != 0)
		fail("descriptors");
	for (unsigned i = 0; i < PORTS; i++)
		B.port[i] = (struct port){ .listener = i == 0 ? FD_CTL : FD_EXTRA + (int)i - 1,
			.keeper = -1,
			.door = door_make(i + 1),
			.guest = -1 };
	B.qmp = B.serial = -1;
	struct pollfd knock = { .fd = FD_CTL, .events = POLLIN };
	while (poll(&knock, 1, -1) <= 0)
		;
	start(argv[1]);
	run();
	return 0;
}
