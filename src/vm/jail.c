/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/jail.h"

#include "vm/backend.h"
#include "vm/lent.h"
#include "vm/root.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
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
#include <sys/syscall.h>
#include <unistd.h>

enum { HIGH_FD = 64, FIRST_FD = 3, WORD_S = 10 };

/* What the child says to its parent when a step fails. */
struct jail_word {
	char step[64];
	int err;
};

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

static int make_target(const char *path, mode_t mode)
{
	int err = make_parents(path);
	if (err != 0)
		return err;
	if (S_ISDIR(mode))
		return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static int bind_one(const char *root, const struct jail_bind *b)
{
	struct stat st;
	char to[PATH_MAX], link[PATH_MAX];
	snprintf(to, sizeof(to), "%.2000s%.2000s", root, b->to);
	if (lstat(b->from, &st) != 0)
		return 0;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlink(b->from, link, sizeof(link) - 1);
		int err = n < 0 ? -errno : make_parents(to);
		link[n < 0 ? 0 : n] = 0;
		return err != 0 ? err : symlink(link, to) == 0 ? 0 : -errno;
	}
	int err = make_target(to, st.st_mode);
	if (err != 0)
		return err;
	if (mount(b->from, to, NULL, MS_BIND, NULL) != 0)
		return -errno;
	unsigned long flags = MS_BIND | MS_REMOUNT | MS_NOSUID | (b->device ? 0 : MS_NODEV | MS_RDONLY);
	return mount(NULL, to, NULL, flags, NULL) == 0 ? 0 : -errno;
}

static int make_scratch(const struct jail *j, const char *dir)
{
	char path[PATH_MAX], options[96];
	snprintf(path, sizeof(path), "%s/run", dir);
	snprintf(options, sizeof(options), "mode=0700,size=64k,nr_inodes=32,uid=%u,gid=%u", (unsigned)j->uid,
		(unsigned)j->uid);
	if (mkdir(path, 0755) != 0 || mount("run", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) != 0)
		return -errno;
	return 0;
}

static int build_root(const struct jail *j, const char *dir)
{
	char path[PATH_MAX];
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
		mount("jail", dir, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") != 0)
		return -errno;
	int err = 0;
	for (const struct jail_bind *b = j->binds; err == 0 && b->from != NULL; b++)
		err = bind_one(dir, b);
	if (err == 0 && j->scratch)
		err = make_scratch(j, dir);
	if (err != 0 || (!j->host_tree && j->lent == NULL))
		return err;
	snprintf(path, sizeof(path), "%s/proc", dir);
	if (mkdir(path, 0555) != 0 || mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/share", dir);
	if (mkdir(path, 0755) != 0)
		return -errno;
	return j->lent != NULL ? lent_mount(path, j->uid, j->lent) : vm_root_build(path);
}

static int enter_root(const char *dir)
{
	/* pivot_root(2), "pivot_root(".", ".")": the old root ends stacked on the new one and is detached. */
	if (chdir(dir) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 ||
		chdir("/") != 0)
		return -errno;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0 ? 0 : -errno;
}

/* --- who it is
 * -------------------------------------------------------------------------------------------------------------------
 */

static gid_t gid_of(const struct jail *j)
{
	return j->lent != NULL ? j->lent->gid : j->uid;
}

/* Whoever started the daemon may have keys in his session. A kernel without keys, or a container that may not ask for
 * them, has none to hide. */
static int leave_keys(void)
{
	return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS || errno == EPERM
		     ? 0
		     : -errno;
}

static int change_ids(const struct jail *j)
{
	gid_t extra = j->extra_gid, gid = gid_of(j);
	if (setgroups(extra != 0 ? 1 : 0, &extra) != 0 || setresgid(gid, gid, gid) != 0 ||
		setresuid(j->uid, j->uid, j->uid) != 0)
		return -errno;
	return 0;
}

static int set_caps(uint32_t mask)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { .effective = mask, .permitted = mask, .inheritable = mask } };
	return syscall(SYS_capset, &h, d) == 0 ? 0 : -errno;
}

static int drop_caps(const struct jail *j)
{
	static const int kept_caps[] = { CAP_SYS_CHROOT, CAP_SETPCAP, CAP_FOWNER };
	size_t n = !j->chroots ? 0 : j->lent != NULL ? 2 : 3;
	uint32_t keep = 0;
	for (size_t i = 0; i < n; i++)
		keep |= 1u << kept_caps[i];
	for (int cap = 0; cap < 64; cap++) {
		bool kept = cap < 32 && (keep >> cap & 1);
		if (!kept && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
			return -errno;
	}
	int err = set_caps(keep);
	if (err != 0)
		return err;
	for (unsigned cap = 0; cap < 32; cap++) {
		if ((keep >> cap & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0)
			return -errno;
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

static int set_limit(int what, uint64_t value)
{
	struct rlimit l;
	if (getrlimit(what, &l) != 0)
		return -errno;
	/* Lower only: a container's root may not raise what it was given. */
	if (value > l.rlim_max)
		value = l.rlim_max;
	l = (struct rlimit){ .rlim_cur = value, .rlim_max = value };
	return setrlimit(what, &l) == 0 ? 0 : -errno;
}

static int set_limits(const struct jail *j)
{
	int err = set_limit(RLIMIT_CORE, 0);
	if (err == 0)
		err = set_limit(RLIMIT_NOFILE, j->max_files);
	return err == 0 ? set_limit(RLIMIT_FSIZE, j->max_file_size) : err;
}

/* --- descriptors
 * ----------------------------------------------------------------------------------------------------------------- */

/* Everything given is first moved out of the way, then to its number; `word` is kept close-on-exec above them. */
static int place_fds(const struct jail *j, int *word)
{
	int high[JAIL_FDS_MAX], null = open("/dev/null", O_RDWR);
	int err_fd = fcntl(j->stderr_fd >= 0 ? j->stderr_fd : null, F_DUPFD, HIGH_FD);
	*word = fcntl(*word, F_DUPFD_CLOEXEC, HIGH_FD);
	for (unsigned i = 0; i < j->n_fds; i++) {
		high[i] = fcntl(j->fds[i], F_DUPFD, HIGH_FD);
		if (high[i] < 0)
			return -errno;
	}
	if (null < 0 || err_fd < 0 || *word < 0 || dup2(null, 0) < 0 || dup2(err_fd, 1) < 0 || dup2(err_fd, 2) < 0)
		return -errno;
	for (unsigned i = 0; i < j->n_fds; i++) {
		if (dup2(high[i], FIRST_FD + (int)i) < 0)
			return -errno;
	}
	int last = FIRST_FD + (int)j->n_fds;
	if (dup3(*word, last, O_CLOEXEC) < 0)
		return -errno;
	*word = last;
	return syscall(SYS_close_range, last + 1, ~0U, 0) == 0 ? 0 : -errno;
}

/* --- the child
 * -------------------------------------------------------------------------------------------------------------------
 */

static int ask_parent_for_maps(int word)
{
	char c = 'u';
	return write(word, &c, 1) == 1 && read(word, &c, 1) == 1 ? 0 : -EPIPE;
}

static int become(const struct jail *j, const char *dir, int *word, const char **step)
{
	*step = "its root";
	umask(022);
	int err = build_root(j, dir);
	if (err == 0) {
		*step = "descriptors";
		err = place_fds(j, word);
	}
	if (err == 0) {
		*step = "entering its root";
		err = enter_root(dir);
	}
	if (err == 0) {
		*step = "limits";
		err = set_limits(j);
	}
	if (err == 0) {
		*step = "its keys";
		err = leave_keys();
	}
	if (err == 0) {
		*step = "its uid";
		err = change_ids(j);
	}
	if (err == 0) {
		*step = "a user namespace";
		err = unshare(CLONE_NEWUSER) == 0 ? ask_parent_for_maps(*word) : -errno;
	}
	if (err == 0) {
		/* Counted in its own namespace: a person has processes enough outside. */
		*step = "its threads";
		err = set_limit(RLIMIT_NPROC, j->max_threads);
	}
	if (err == 0) {
		*step = "capabilities";
		err = drop_caps(j);
	}
	if (err == 0 && j->lent != NULL) {
		*step = "its system calls";
		err = lent_filter();
	}
	return err;
}

static void reset_signals(void)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
}

static _Noreturn void child_main(const struct jail *j, const char *dir, int word)
{
	const char *step = "start";
	reset_signals();
	int err = become(j, dir, &word, &step);
	if (err == 0) {
		char *env[] = { NULL };
		step = j->argv[0];
		execve(j->argv[0], j->argv, env);
		err = -errno;
	}
	struct jail_word w = { .err = err };
	snprintf(w.step, sizeof(w.step), "%s", step);
	if (write(word, &w, sizeof(w)) < 0)
		_exit(126);
	_exit(125);
}

/* --- the parent
 * -------------------------------------------------------------------------------------------------------------------
 */

static int write_map(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) > 0 ? 0 : -errno;
	close(fd);
	return err;
}

static int write_maps(const struct jail *j, pid_t pid)
{
	static const char all[] = "0 0 4294967295";
	bool whole = j->chroots && j->lent == NULL;
	char uids[64], gids[64];
	snprintf(uids, sizeof(uids), "%u %u 1", (unsigned)j->uid, (unsigned)j->uid);
	snprintf(gids, sizeof(gids), "%u %u 1", (unsigned)gid_of(j), (unsigned)gid_of(j));
	int err = write_map(pid, "setgroups", "deny");
	if (err == 0)
		err = write_map(pid, "uid_map", whole ? all : uids);
	if (err == 0)
		err = write_map(pid, "gid_map", whole ? all : gids);
	return err;
}

/* The child's word: 'u' asks for the maps; a struct jail_word is its failure; the end of the stream is exec. */
static int attend(const struct jail *j, pid_t pid, int word, char *error)
{
	for (;;) {
		struct jail_word w = { 0 };
		ssize_t n = read(word, &w, sizeof(w));
		if (n < 0 && errno == EINTR)
			continue;
		/* The descriptors may be of a file system that does not answer. */
		if (n < 0) {
			snprintf(error, VM_ERROR_MAX, "a jail cannot be made: %s", strerror(errno));
			return -errno;
		}
		if (n == 0)
			return 0;
		if (n == 1) {
			int err = write_maps(j, pid);
			if (err == 0 && write(word, "g", 1) != 1)
				err = -errno;
			if (err == 0)
				continue;
			snprintf(error, VM_ERROR_MAX, "a user namespace cannot be set up: %s", strerror(-err));
			return err;
		}
		w.step[sizeof(w.step) - 1] = 0;
		if (n != sizeof(w) || w.err == 0)
			w.err = -EPROTO;
		snprintf(error, VM_ERROR_MAX, "a jail cannot be made (%s): %s", w.step, strerror(-w.err));
		return w.err;
	}
}

int jail_spawn(const struct jail *j, const char *work_dir, pid_t *ret_pid, int *ret_pidfd, char *error)
{
	int word[2], pidfd = -1;
	if (j->n_fds > JAIL_FDS_MAX || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, word) != 0)
		return -EMFILE;
	unsigned long flags =
		CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD | SIGCHLD;
	long pid = syscall(SYS_clone, flags, 0, &pidfd, 0, 0);
	if (pid == 0) {
		close(word[0]);
		child_main(j, work_dir, word[1]);
	}
	int err = pid < 0 ? -errno : 0;
	close(word[1]);
	const struct timeval limit = { .tv_sec = WORD_S };
	if (err == 0 && setsockopt(word[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0)
		err = -errno;
	if (err != 0)
		snprintf(error, VM_ERROR_MAX, "no new namespaces: %s", strerror(-err));
	else
		err = attend(j, (pid_t)pid, word[0], error);
	close(word[0]);
	if (err != 0 && pid > 0) {
		struct vm_process p = { .pid = (pid_t)pid, .pidfd = pidfd };
		vm_process_kill(&p);
	}
	if (err == 0) {
		*ret_pid = (pid_t)pid;
		*ret_pidfd = pidfd;
	}
	return err;
}
