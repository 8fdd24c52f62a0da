/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a role gives up before it reads its first byte from outside. The order matters: the namespace and the root need
 * privileges that the uid change takes away, and the filter comes last because it forbids all of the above.
 */
#include "base/fd.h"
#include "base/log.h"
#include "role/role.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* An epoll loop over sockets, malloc, clocks, stderr, and a clean exit. glibc's qsort() asks sysinfo() how much memory
 * there is. */
static const char *const common_calls[] = { "read", "write", "readv", "writev", "close", "fstat", "newfstatat", "lseek",
	"mmap", "mprotect", "munmap", "mremap", "madvise", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn",
	"sigaltstack", "sendmsg", "recvmsg", "sendto", "recvfrom", "epoll_create1", "epoll_ctl", "epoll_wait",
	"epoll_pwait", "poll", "ppoll", "dup", "clock_gettime", "clock_getres", "gettimeofday", "getpid", "gettid",
	"getrandom", "futex", "restart_syscall", "exit", "exit_group", "shutdown", "getsockopt", "sysinfo",
	"setsockopt", "getsockname", "getpeername", "sched_yield", NULL };

static int filter_allow(scmp_filter_ctx ctx, const char *const *calls)
{
	for (; calls != NULL && *calls != NULL; calls++) {
		int nr = seccomp_syscall_resolve_name(*calls);
		if (nr == __NR_SCMP_ERROR)
			return -EINVAL;
		int err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
		if (err != 0 && err != -EEXIST)
			return err;
	}
	return 0;
}

/* No netlink, no packet socket, no raw one: a resolver taken over sees nothing of the network but UDP and TCP. */
static int filter_inet_sockets(scmp_filter_ctx ctx)
{
	enum { SOCK_TYPE_MASK = 0xf };
	static const int families[] = { AF_INET, AF_INET6 }, types[] = { SOCK_DGRAM, SOCK_STREAM };
	int err = 0;
	for (unsigned i = 0; err == 0 && i < 4; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i / 2], 0),
			SCMP_A1(SCMP_CMP_MASKED_EQ, SOCK_TYPE_MASK, (scmp_datum_t)types[i % 2]));
	return err;
}

/* What fd_close_aside() does. */
static int filter_closers(scmp_filter_ctx ctx)
{
	static const char *const calls[] = { "wait4", "getppid", NULL };
	int err = filter_allow(ctx, calls);
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_EQ, FD_CLOSER_CLONE, 0));
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
			SCMP_A0(SCMP_CMP_EQ, PR_SET_PDEATHSIG, 0));
	return err;
}

/* As fork() calls it: no thread, no namespace, nothing shared. clone3() hides its flags: as if the kernel were too old.
 */
static int filter_fork(scmp_filter_ctx ctx)
{
	const scmp_datum_t flags = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
	int err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_EQ, flags, 0));
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return err == 0 ? filter_closers(ctx) : err;
}

/* abort() signals its own process. Keepers share one uid, so whoever takes one over must not end the others; nor have a
 * descriptor's owner (F_SETOWN) signalled by the kernel. */
static int filter_own_signals(scmp_filter_ctx ctx)
{
	static const int commands[] = { F_DUPFD_CLOEXEC, F_ADD_SEALS, F_GET_SEALS };
	int err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
		SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));
	/* Up to here: duplicates, flags, locks. */
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_LE, F_SETLKW, 0));
	for (unsigned i = 0; err == 0 && i < sizeof(commands) / sizeof(commands[0]); i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
			SCMP_A1(SCMP_CMP_EQ, (scmp_datum_t)commands[i], 0));
	return err;
}

static int filter_load(const struct role_confine *c)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (ctx == NULL)
		return -ENOMEM;
	int err = filter_allow(ctx, common_calls);
	if (err == 0)
		err = filter_allow(ctx, c->extra);
	if (err == 0 && c->fork)
		err = filter_fork(ctx);
	if (err == 0)
		err = filter_own_signals(ctx);
	if (err == 0 && c->inet_sockets)
		err = filter_inet_sockets(ctx);
	if (err == 0)
		err = seccomp_load(ctx);
	seccomp_release(ctx);
	return err;
}

static int enter_root(const char *dir)
{
	if (chdir(dir) != 0 || chroot(dir) != 0 || chdir("/") != 0)
		return -errno;
	return 0;
}

static int drop_ids(uid_t uid)
{
	/* setresuid() alone leaves the bounding set and the inheritable set; libcap-ng clears all five. */
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_change_id((int)uid, (int)uid, CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING) != 0)
		return -EPERM;
	if (capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE)
		return -EPERM;
	return 0;
}

int role_confine(struct role *r, const struct role_confine *c)
{
	char empty[300];
	snprintf(empty, sizeof(empty), "%s/empty", r->conf.run_dir);
	const char *step = "network namespace";
	int err = c->keep_network_namespace || unshare(CLONE_NEWNET) == 0 ? 0 : -errno;
	if (err == 0) {
		step = "root directory";
		err = enter_root(c->root_dir != NULL ? c->root_dir : empty);
	}
	if (err == 0) {
		step = "user id";
		err = drop_ids(r->conf.uid_base + (uid_t)r->id);
	}
	if (err == 0) {
		step = "no new privileges";
		err = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0
													     : -errno;
	}
	if (err == 0) {
		step = "system-call filter";
		err = filter_load(c);
	}
	if (err != 0)
		log_msg(LOG_ERROR, "cannot confine this process (%s): %s", step, strerror(-err));
	return err;
}
