/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/setup.h"

#include "base/log.h"
#include "ipc/ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONF_FILE_MAX = 65536 };

int setup_conf(const char *path, bool is_default, struct conf *ret)
{
	static char text[CONF_FILE_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && is_default) {
		conf_defaults(ret);
		return 0;
	}
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	int err = n < 0 ? -errno : n > CONF_FILE_MAX ? -EFBIG : 0;
	if (fd >= 0)
		close(fd);
	if (err != 0) {
		log_msg(LOG_ERROR, "cannot read %s: %s", path, strerror(-err));
		return err;
	}
	struct conf_error e;
	err = conf_parse(text, (size_t)n, ret, &e);
	if (err != 0 && e.line != 0)
		log_msg(LOG_ERROR, "%s:%u: %s", path, e.line, e.text);
	else if (err != 0)
		log_msg(LOG_ERROR, "%s: %s", path, e.text);
	return err;
}

static int make_dir(const char *path, mode_t mode, uid_t uid)
{
	int err = 0;
	struct stat st;
	if (mkdir(path, mode) != 0 && errno != EEXIST)
		err = -errno;
	else if (lstat(path, &st) != 0)
		err = -errno;
	else if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != uid))
		err = -ENOTDIR;
	else if (chown(path, uid, uid) != 0 || chmod(path, mode) != 0)
		err = -errno;
	if (err == -ENOTDIR)
		log_msg(LOG_ERROR,
			"%s is not a directory of root's; move it away or choose another in the configuration", path);
	else if (err != 0)
		log_msg(LOG_ERROR, "cannot make %s: %s", path, strerror(-err));
	return err;
}

/* The parents of `path`, as mkdir -p makes them. */
static int make_parents(const char *path)
{
	char buf[300];
	snprintf(buf, sizeof(buf), "%s", path);
	for (char *p = buf + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		if (mkdir(buf, 0755) != 0 && errno != EEXIST) {
			int err = -errno;
			log_msg(LOG_ERROR, "cannot make %s: %s", buf, strerror(-err));
			return err;
		}
		*p = '/';
	}
	return 0;
}

static int take_lock(const char *run_dir, int *ret_fd)
{
	char path[300], pid[32];
	snprintf(path, sizeof(path), "%s/lock", run_dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int err = -errno;
		if (fd >= 0)
			close(fd);
		if (err == -EWOULDBLOCK)
			log_msg(LOG_ERROR,
				"another sekishod runs with %s; stop it first, or give this one another run_dir",
				run_dir);
		else
			log_msg(LOG_ERROR, "cannot lock %s: %s", path, strerror(-err));
		return err;
	}
	int n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) != 0 || write(fd, pid, (size_t)n) != n)
		log_msg(LOG_WARNING, "cannot write my process id into %s", path);
	*ret_fd = fd;
	return 0;
}

int setup_dirs(const struct conf *c, int *ret_lock_fd)
{
	char empty[300], store[300];
	snprintf(empty, sizeof(empty), "%s/empty", c->run_dir);
	int err = make_parents(c->run_dir);
	if (err == 0)
		err = make_dir(c->run_dir, 0755, 0);
	if (err == 0)
		err = take_lock(c->run_dir, ret_lock_fd);
	if (err == 0)
		err = make_dir(empty, 0555, 0);
	if (err == 0)
		err = make_parents(c->state_dir);
	if (err == 0)
		err = make_dir(c->state_dir, 0755, 0);
	snprintf(store, sizeof(store), "%s/store", c->state_dir);
	if (err == 0)
		err = make_dir(store, 0700, c->uid_base + ROLE_DESK);
	return err;
}

int setup_api(const struct conf *c, int *ret_fd)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.60s/api", c->run_dir);
	if (lstat(sa.sun_path, &st) == 0) {
		if (!S_ISSOCK(st.st_mode)) {
			log_msg(LOG_ERROR, "%s is not a socket of ours; move it away", sa.sun_path);
			return -EEXIST;
		}
		/* We hold the lock: whoever bound it is gone. */
		unlink(sa.sun_path);
	}
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0 || chmod(sa.sun_path, 0666) != 0 ||
		listen(fd, 128) != 0) {
		int err = -errno;
		log_msg(LOG_ERROR, "cannot listen on %s: %s", sa.sun_path, strerror(-err));
		if (fd >= 0)
			close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

void setup_undo(const struct conf *c)
{
	char path[300];
	struct stat st;
	snprintf(path, sizeof(path), "%s/api", c->run_dir);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
	snprintf(path, sizeof(path), "%s/lock", c->run_dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/empty", c->run_dir);
	rmdir(path);
	rmdir(c->run_dir); /* stays when something of others lies in it */
}

const char *setup_program(const char *const *beside, unsigned n, const char *installed, char *buf, size_t cap)
{
	char self[256];
	struct stat st;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (len <= 0)
		return installed;
	self[len] = '\0';
	char *slash = strrchr(self, '/');
	*slash = '\0';
	for (unsigned i = 0; i < n; i++) {
		snprintf(buf, cap, "%s%s", self, beside[i]);
		if (stat(buf, &st) == 0)
			return buf;
	}
	return installed;
}
