/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_MS = 5000, START_FIELD = 22, PROC_TEXT = 2048 };

/* --- channels */

static int socket_at(const char *dir, const char *name, int flags, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s", dir, name) >= (int)sizeof(ret->sun_path))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	return fd < 0 ? -errno : fd;
}

static int close_with(int fd, int err)
{
	close(fd);
	return err;
}

int vm_listen(const char *dir, const char *name)
{
	struct sockaddr_un a;
	int fd = socket_at(dir, name, 0, &a);
	if (fd < 0)
		return fd;
	/* The next keeper may knock before the VMM has seen the last one go. */
	enum { WAITING = 4 };
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, WAITING) != 0)
		return close_with(fd, -errno);
	return fd;
}

int vm_connect_one(const char *dir, const char *name)
{
	struct sockaddr_un a;
	int fd = socket_at(dir, name, SOCK_NONBLOCK, &a);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
		return close_with(fd, -errno);
	return fd;
}

static int fifo_open(const char *dir, int flags)
{
	char path[VM_PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/log", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if ((flags & O_RDWR) && mkfifo(path, 0600) != 0)
		return -errno;
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int vm_log_make(const char *dir)
{
	return fifo_open(dir, O_RDWR);
}

const char *const vm_sockets[VM_SOCKETS] = { "ctl", "qmp", "serial", "x0", "x1", "x2", "x3" };
_Static_assert(AGENT_EXTRAS == 4, "each has its name");

static int *channel(struct vm_channels *c, unsigned i)
{
	int *const first[] = { &c->ctl, &c->qmp, &c->serial };
	return i < 3 ? first[i] : &c->extra[i - 3];
}

int vm_connect(const char *dir, struct vm_channels *ret)
{
	struct vm_channels c = { .log = fifo_open(dir, O_RDONLY) };
	int err = c.log < 0 ? c.log : 0;
	for (unsigned i = 0; i < VM_SOCKETS; i++)
		*channel(&c, i) = -1;
	for (unsigned i = 0; err == 0 && i < VM_SOCKETS; i++) {
		int fd = vm_connect_one(dir, vm_sockets[i]);
		*channel(&c, i) = fd < 0 ? -1 : fd;
		err = fd < 0 ? fd : 0;
	}
	if (err != 0)
		vm_channels_close(&c);
	*ret = c;
	return err;
}

void vm_channels_close(struct vm_channels *c)
{
	for (unsigned i = 0; i <= VM_SOCKETS; i++) {
		int *fd = i < VM_SOCKETS ? channel(c, i) : &c->log;
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
}

void vm_ends_close(struct vm_ends *e)
{
	for (unsigned i = 0; i < VM_SOCKETS; i++) {
		if (e->fd[i] >= 0)
			close(e->fd[i]);
	}
	if (e->log >= 0)
		close(e->log);
}

int vm_ends_open(const char *dir, struct vm_ends *e)
{
	int err = 0;
	e->log = -1;
	for (unsigned i = 0; i < VM_SOCKETS; i++)
		e->fd[i] = -1;
	for (unsigned i = 0; err == 0 && i < VM_SOCKETS; i++) {
		e->fd[i] = vm_listen(dir, vm_sockets[i]);
		err = e->fd[i] < 0 ? e->fd[i] : 0;
	}
	if (err == 0) {
		e->log = vm_log_make(dir);
		err = e->log < 0 ? e->log : 0;
	}
	return err;
}

static void clean_one(const char *dir, const char *name)
{
	char path[VM_PATH_MAX];
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path))
		unlink(path);
}

void vm_clean(const char *dir)
{
	clean_one(dir, "log");
	clean_one(dir, "share");
	clean_one(dir, "shares");
	for (unsigned i = 0; i < VM_SOCKETS; i++)
		clean_one(dir, vm_sockets[i]);
}

/* --- processes */

static int proc_read(pid_t pid, const char *name, char text[PROC_TEXT])
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, PROC_TEXT - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? 0 : -ESRCH;
}

int vm_process_uid(pid_t pid, uid_t *ret)
{
	char text[PROC_TEXT];
	int err = proc_read(pid, "status", text);
	const char *p = err == 0 ? strstr(text, "\nUid:\t") : NULL;
	if (p == NULL)
		return err == 0 ? -EBADMSG : err;
	*ret = (uid_t)strtoul(p + strlen("\nUid:\t"), NULL, 10);
	return 0;
}

/* Field 22 of proc(5)'s stat; the name in field 2 may hold anything, parentheses too. */
static int process_start(pid_t pid, uint64_t *ret)
{
	char text[PROC_TEXT];
	int err = proc_read(pid, "stat", text);
	if (err != 0)
		return err;
	char *p = strrchr(text, ')');
	for (unsigned field = 2; p != NULL && field < START_FIELD; field++)
		p = strchr(p + 1, ' ');
	if (p == NULL)
		return -EBADMSG;
	*ret = strtoull(p, NULL, 10);
	return 0;
}

int vm_proc_note(struct vm_proc *p)
{
	int err = process_start(p->vmm.pid, &p->vmm.start);
	if (err == 0 && p->share.pid != 0)
		err = process_start(p->share.pid, &p->share.start);
	return err != 0 || p->shares.pid == 0 ? err : process_start(p->shares.pid, &p->shares.start);
}

int vm_process_find(struct vm_process *p, uid_t uid)
{
	uint64_t start;
	uid_t runs_as;
	p->pidfd = -1;
	int fd = p->pid <= 1 ? -1 : (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (fd < 0)
		return -ESRCH;
	/* Read after the descriptor was opened: one that started when ours did, and has its number, is the one we
	 * hold. */
	int err = process_start(p->pid, &start);
	if (err == 0 && start != p->start)
		err = -ESRCH;
	if (err == 0)
		err = vm_process_uid(p->pid, &runs_as);
	if (err == 0 && runs_as != uid)
		err = -EPERM;
	if (err != 0)
		return close_with(fd, err);
	p->pidfd = fd;
	return vm_process_ended(p) ? -ESRCH : 0;
}

bool vm_process_ended(const struct vm_process *p)
{
	struct pollfd f = { .fd = p->pidfd, .events = POLLIN };
	return p->pidfd < 0 || poll(&f, 1, 0) > 0;
}

void vm_process_kill(struct vm_process *p)
{
	if (p->pidfd >= 0) {
		struct pollfd f = { .fd = p->pidfd, .events = POLLIN };
		syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
		poll(&f, 1, KILL_MS);
		/* An adopted one is somebody else's child. */
		waitpid(p->pid, NULL, WNOHANG);
		close(p->pidfd);
	}
	*p = (struct vm_process){ .pidfd = -1 };
}

void vm_kill(struct vm_proc *p)
{
	vm_process_kill(&p->vmm);
	vm_process_kill(&p->share);
	vm_process_kill(&p->shares);
}
