/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/spawn.h"

#include "base/log.h"
#include "daemon/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Who talks to whom, besides main: the map of architecture.md. */
static const enum role_id links[][2] = {
	{ ROLE_DESK, ROLE_GATE },
	{ ROLE_DESK, ROLE_SWITCHD },
	{ ROLE_DESK, ROLE_AUTH },
	{ ROLE_DESK, ROLE_FETCH },
	{ ROLE_FETCH, ROLE_RESOLVER },
	{ ROLE_GATE, ROLE_SWITCHD },
	{ ROLE_GATE, ROLE_NAMES },
	{ ROLE_GATE, ROLE_RESOLVER },
	{ ROLE_RESOLVER, ROLE_NAMES },
};

enum { ROLE_FD = 3, PRIORITY = -10 };

/* What packets wait for, before what people do: as ovs-ctl starts ovs-vswitchd. */
static bool packets_wait(enum role_id role)
{
	return role == ROLE_GATE || role == ROLE_SWITCHD || role == ROLE_NAMES || role == ROLE_RESOLVER;
}

/* In the child: nothing of main's but stderr and the channel survives. */
static void __attribute__((noreturn)) become(enum role_id role, const char *program, int fd)
{
	char name[16], flag[] = "--role", self[] = "sekishod";
	strncpy(name, role_name(role), sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	char *argv[] = { self, flag, name, NULL };
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Where it is not allowed things go slower, nothing worse. */
	if (packets_wait(role))
		(void)!setpriority(PRIO_PROCESS, 0, PRIORITY);
	int null = open("/dev/null", O_RDWR);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(fd, ROLE_FD) < 0)
		_exit(127);
	if (fd == ROLE_FD && fcntl(fd, F_SETFD, 0) != 0)
		_exit(127);
	if (syscall(SYS_close_range, ROLE_FD + 1, ~0U, 0) != 0)
		_exit(127);
	execv(program, argv);
	_exit(127);
}

int spawn_role(enum role_id role, const char *config, size_t config_len, struct child *ret)
{
	static const char *const beside[] = { "/sekisho-fetch", "/../fetch/sekisho-fetch" };
	char buf[320];
	const char *program = "/proc/self/exe";
	int fds[2];
	/* A program of its own: libcurl and the thirty libraries behind it are in no other role's memory. */
	if (role == ROLE_FETCH)
		program = setup_program(beside, 2, SEKISHO_LIBEXECDIR "/sekisho-fetch", buf, sizeof(buf));
	int err = frame_pair(fds);
	if (err != 0)
		return err;
	pid_t pid = fork();
	if (pid == 0)
		become(role, program, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		err = -errno;
		close(fds[0]);
		return err;
	}
	struct child c = *ret;
	c.pid = pid;
	c.ready = false;
	c.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	err = c.pidfd < 0 ? -errno : frame_chan_new(fds[0], &c.chan);
	if (err != 0) {
		close(fds[0]);
		kill(pid, SIGKILL);
		return err;
	}
	*ret = c;
	return frame_send(c.chan, IPC_CONFIG, 0, config, config_len, NULL, 0);
}

static int give(struct child *c, enum role_id peer, int fd)
{
	struct ipc_u32 who = { .v = peer };
	return ipc_send(c->chan, IPC_CHANNEL, 0, u32, &who, &fd, 1);
}

int spawn_connect(struct child children[ROLE_COUNT], enum role_id a, enum role_id b)
{
	if (children[a].pid == 0 || children[b].pid == 0)
		return 0;
	int fds[2];
	int err = frame_pair(fds);
	if (err != 0)
		return err;
	err = give(&children[a], b, fds[0]);
	if (err == 0)
		err = give(&children[b], a, fds[1]);
	close(fds[0]);
	close(fds[1]);
	/* A peer that has just died is no failure: its own restart makes the channel again. */
	return err == -EPIPE ? 0 : err;
}

int spawn_connect_all(struct child children[ROLE_COUNT], enum role_id role)
{
	for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		if (links[i][0] != role && links[i][1] != role)
			continue;
		int err = spawn_connect(children, links[i][0], links[i][1]);
		if (err != 0)
			return err;
	}
	return 0;
}

bool spawn_may_start(struct child *c, int64_t now_ms)
{
	if (now_ms - c->window_boot_ms > SPAWN_WINDOW_MS) {
		c->window_boot_ms = now_ms;
		c->starts = 0;
	}
	return ++c->starts <= SPAWN_BURST;
}

void spawn_forget(struct child *c)
{
	frame_chan_free(c->chan);
	if (c->pidfd >= 0)
		close(c->pidfd);
	c->chan = NULL;
	c->pidfd = -1;
	c->pid = 0;
	c->ready = false;
}
