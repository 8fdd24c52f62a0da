/* SPDX-License-Identifier: Apache-2.0 */
#include "image/box.h"

#include "image/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOX_FAILED = 126, FILES_OPEN = 4096, CPU_S = 3600 };

/* --- the root
 * --------------------------------------------------------------------------------------------------------------------
 */

static int make_parents(const char *path)
{
	char p[PATH_MAX];
	snprintf(p, sizeof(p), "%s", path);
	for (char *s = p + 1; *s != 0; s++) {
		if (*s != '/')
			continue;
		*s = 0;
		if (mkdir(p, 0755) != 0 && errno != EEXIST)
			return -errno;
		*s = '/';
	}
	return 0;
}

static int make_target(const char *path, const struct stat *st)
{
	int err = make_parents(path);
	if (err != 0)
		return err;
	if (S_ISDIR(st->st_mode))
		return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int bind_one(const char *root, const struct box_bind *b)
{
	struct stat st;
	char to[PATH_MAX], link[PATH_MAX];
	snprintf(to, sizeof(to), "%.2000s%.2000s", root, b->to);
	if (b->from == NULL || lstat(b->from, &st) != 0)
		return 0;
	if (S_ISLNK(st.st_mode) && strcmp(b->from, b->to) == 0) {
		ssize_t n = readlink(b->from, link, sizeof(link) - 1);
		link[n < 0 ? 0 : n] = 0;
		int err = n < 0 ? -errno : make_parents(to);
		return err != 0 ? err : symlink(link, to) == 0 ? 0 : -errno;
	}
	int err = stat(b->from, &st) != 0 ? -errno : make_target(to, &st);
	if (err != 0)
		return err;
	if (mount(b->from, to, NULL, MS_BIND | MS_REC, NULL) != 0)
		return -errno;
	/* Flags that the mount below had already may not be taken away here; these are added to them. */
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | (b->writable ? 0 : MOUNT_ATTR_RDONLY) };
	return syscall(SYS_mount_setattr, AT_FDCWD, to, AT_RECURSIVE, &attr, sizeof(attr)) == 0 ? 0 : -errno;
}

static int bind_all(const struct box *b)
{
	static const struct box_bind base[] = { { "/usr", "/usr", false }, { "/bin", "/bin", false },
		{ "/sbin", "/sbin", false }, { "/lib", "/lib", false }, { "/lib64", "/lib64", false },
		{ "/etc/ssl", "/etc/ssl", false }, { "/etc/containers", "/etc/containers", false },
		{ "/etc/docker/certs.d", "/etc/docker/certs.d", false },
		{ "/etc/resolv.conf", "/etc/resolv.conf", false }, { "/etc/hosts", "/etc/hosts", false },
		{ "/etc/nsswitch.conf", "/etc/nsswitch.conf", false }, { "/dev/null", "/dev/null", true },
		{ "/dev/zero", "/dev/zero", true }, { "/dev/urandom", "/dev/urandom", true } };
	int err = 0;
	for (size_t i = 0; err == 0 && i < sizeof(base) / sizeof(base[0]); i++) {
		struct box_bind one = base[i];
		char real[PATH_MAX];
		/* /etc/resolv.conf leads to places that are not here. */
		if (strncmp(one.from, "/etc/", 5) == 0)
			one.from = realpath(one.from, real);
		err = bind_one(b->dir, &one);
	}
	for (unsigned i = 0; err == 0 && i < b->n_binds; i++)
		err = bind_one(b->dir, &b->binds[i]);
	return err;
}

static int build_root(const struct box *b)
{
	char options[128], path[PATH_MAX];
	snprintf(options, sizeof(options), "mode=0755,size=%llu,nr_inodes=%llu", (unsigned long long)b->space,
		(unsigned long long)b->n_files);
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("box", b->dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0)
		return -errno;
	snprintf(path, sizeof(path), "%.3000s/work", b->dir);
	if (mkdir(path, 0755) != 0 || mount("work", path, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
		return -errno;
	snprintf(path, sizeof(path), "%.3000s/proc", b->dir);
	if (mkdir(path, 0555) != 0 || mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
		return -errno;
	int err = bind_all(b);
	if (err != 0)
		return err;
	if (chdir(b->dir) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
		chdir("/work") != 0)
		return -errno;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0 ? 0 : -errno;
}

/* --- inside
 * ----------------------------------------------------------------------------------------------------------------------
 */

static int set_limit(int what, uint64_t value)
{
	struct rlimit l;
	if (getrlimit(what, &l) != 0)
		return -errno;
	if (value < l.rlim_max)
		l.rlim_max = value;
	l.rlim_cur = l.rlim_max;
	return setrlimit(what, &l) == 0 ? 0 : -errno;
}

/* What making other people's files takes, and nothing about the mounts that keep it from ours. */
static int drop_caps(void)
{
	static const int kept[] = { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID,
		CAP_SETFCAP };
	uint32_t keep = 0;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		keep |= 1U << kept[i];
	for (int cap = 0; cap < 64; cap++) {
		bool ours = cap < 32 && (keep >> cap & 1) != 0;
		if (!ours && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
			return -errno;
	}
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { .effective = keep, .permitted = keep } };
	if (syscall(SYS_capset, &h, d) != 0)
		return -errno;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

int box_tool(const char *const *argv, int out)
{
	char *const *args;
	memcpy(&args, &argv, sizeof(args));
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0 || dup2(null, 0) < 0 || dup2(out >= 0 ? out : null, 1) < 0 || drop_caps() != 0)
			_exit(BOX_TOOL_FAILED);
		execvp(args[0], args);
		fprintf(stderr, "%s cannot be run: %s\n", args[0], strerror(errno));
		_exit(BOX_TOOL_FAILED);
	}
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid < 0 || !WIFEXITED(status) ? BOX_TOOL_FAILED : WEXITSTATUS(status);
}

int box_offline(void)
{
	return unshare(CLONE_NEWNET) == 0 ? 0 : -errno;
}

bool box_full(void)
{
	enum { BYTES = 65536 };
	struct statvfs v;
	return statvfs("/work", &v) == 0 && (v.f_bfree * v.f_frsize < BYTES || v.f_ffree == 0);
}

static _Noreturn void first_process(const struct box *b, int (*inside)(const struct box *b, void *arg), void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	umask(022);
	int err = build_root(b);
	if (err == 0)
		err = set_limit(RLIMIT_FSIZE, b->space);
	if (err == 0)
		err = set_limit(RLIMIT_NOFILE, FILES_OPEN);
	if (err == 0)
		err = set_limit(RLIMIT_CPU, CPU_S);
	if (err == 0)
		err = set_limit(RLIMIT_CORE, 0);
	if (err != 0) {
		fprintf(stderr, "the box to unpack in cannot be made: %s\n", strerror(-err));
		_exit(BOX_FAILED);
	}
	_exit(inside(b, arg));
}

/* --- outside
 * ---------------------------------------------------------------------------------------------------------------------
 */

static _Noreturn void child_main(struct box *b, int (*inside)(const struct box *b, void *arg), void *arg, int word)
{
	char c = 'm';
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS) != 0) {
		fprintf(stderr, "no user namespace of one's own: %s\n", strerror(errno));
		_exit(BOX_FAILED);
	}
	if (write(word, &c, 1) != 1 || read(word, &c, 1) != 1 || (c != 'a' && c != 's'))
		_exit(BOX_FAILED);
	close(word);
	b->all_ids = c == 'a';
	if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
		_exit(BOX_FAILED);
	pid_t pid = fork();
	if (pid == 0)
		first_process(b, inside, arg);
	int status = 0;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : BOX_FAILED);
}

/* Gives the ids once they are wanted; then keeps the last line of what is said. */
static void attend(struct box *b, pid_t pid, int word, int said_fd, char said[BOX_SAID_MAX])
{
	char c, buf[4096], line[BOX_SAID_MAX] = "";
	size_t n_line = 0;
	bool all = false;
	if (read(word, &c, 1) == 1) {
		c = ids_map(pid, &all) != 0 ? 'n' : all ? 'a' : 's';
		b->all_ids = all;
		(void)!write(word, &c, 1);
	}
	for (ssize_t n; (n = read(said_fd, buf, sizeof(buf))) != 0;) {
		if (n < 0 && errno != EINTR)
			break;
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == '\n' && n_line > 0) {
				memcpy(said, line, n_line);
				said[n_line] = 0;
				n_line = 0;
			} else if (buf[i] != '\n' && n_line < sizeof(line) - 1) {
				line[n_line++] = buf[i];
			}
		}
	}
}

int box_run(struct box *b, int (*inside)(const struct box *b, void *arg), void *arg, int *ret_status,
	char said[BOX_SAID_MAX])
{
	int word[2], out[2];
	said[0] = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, word) != 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(word[0]);
		close(word[1]);
		return -errno;
	}
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		close(word[0]);
		if (dup2(out[1], STDERR_FILENO) < 0)
			_exit(BOX_FAILED);
		child_main(b, inside, arg, word[1]);
	}
	int err = pid < 0 ? -errno : 0, status = 0;
	close(word[1]);
	close(out[1]);
	if (err == 0)
		attend(b, pid, word[0], out[0], said);
	close(word[0]);
	close(out[0]);
	while (err == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (err == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) == BOX_FAILED))
		err = -ECHILD;
	if (err != 0 && said[0] == 0)
		snprintf(said, BOX_SAID_MAX, "the box to unpack in ended early");
	else if (err == 0)
		*ret_status = WEXITSTATUS(status);
	return err;
}
