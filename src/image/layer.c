/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cache.h"
#include "image/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* On an empty file of ours: nothing hostile is read. Inodes and journal are written when they are wanted. */
static int make_ext4(const char *path)
{
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, 0);
		dup2(null, 1);
		execl("/usr/sbin/mke2fs", "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-E",
			"lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-J", "size=16", path, (char *)NULL);
		_exit(127);
	}
	int status = 1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return pid > 0 && status == 0 ? 0 : -ECHILD;
}

static int make_layer(const char *path, char *error)
{
	char temp[PATH_MAX];
	snprintf(temp, sizeof(temp), "%.4000s.%d", path, (int)getpid());
	int fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int err = fd < 0 || ftruncate(fd, (off_t)IMAGE_LAYER_GIB << 30) != 0 ? -errno : make_ext4(temp);
	if (fd >= 0)
		close(fd);
	if (err == -ECHILD)
		snprintf(error, IMAGE_ERROR_MAX, "mke2fs cannot make %.1000s (apt-get install e2fsprogs)", path);
	else if (err == 0 && link(temp, path) != 0 && errno != EEXIST)
		err = -errno;
	unlink(temp);
	return err == 0 || err == -ECHILD ? err : place_error(path, err, error);
}

/* The lock is the open file's: it lasts as long as the machine that was given it, which ends a moment after its
 * program.
 */
static int lock_layer(int fd)
{
	enum { TRIES = 100, PAUSE_MS = 50 };
	for (unsigned i = 0; i < TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		poll(NULL, 0, PAUSE_MS);
	}
	return -EBUSY;
}

int layer_open(const char *app, const char *id, int *ret_fd, char *error)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int err = place_layers(dir, error);
	if (err != 0)
		return err;
	snprintf(path, sizeof(path), "%.3000s/%.64s", dir, app);
	err = place_make(path, error);
	snprintf(path, sizeof(path), "%.3000s/%.64s/%.80s.ext4", dir, app, id);
	if (err == 0 && access(path, F_OK) != 0)
		err = make_layer(path, error);
	if (err != 0)
		return err;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return place_error(path, -errno, error);
	if (lock_layer(fd) != 0) {
		close(fd);
		snprintf(error, IMAGE_ERROR_MAX, "%.1000s is in use: %s runs", path, app);
		return -EBUSY;
	}
	*ret_fd = fd;
	return 0;
}

int home_open(const char *app, char ret[PATH_MAX], char *error)
{
	char dir[PATH_MAX];
	int err = place_homes(dir, error);
	if (err != 0)
		return err;
	snprintf(ret, PATH_MAX, "%.3000s/%.64s", dir, app);
	return place_make(ret, error);
}

static int remove_layer(const char *path, char *error)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), err = 0;
	if (fd < 0)
		return place_error(path, -errno, error);
	if (lock_layer(fd) != 0) {
		snprintf(error, IMAGE_ERROR_MAX, "%.1000s is in use", path);
		err = -EBUSY;
	} else if (unlink(path) != 0) {
		err = place_error(path, -errno, error);
	}
	close(fd);
	return err;
}

int layer_remove(const char *app, unsigned *ret_n, char *error)
{
	char dir[PATH_MAX], path[PATH_MAX];
	unsigned n = 0;
	int err = place_layers(dir, error);
	if (err != 0)
		return err;
	snprintf(path, sizeof(path), "%.3000s/%.64s", dir, app);
	DIR *d = opendir(path);
	for (struct dirent *e; err == 0 && d != NULL && (e = readdir(d)) != NULL;) {
		char layer[PATH_MAX];
		if (e->d_name[0] == '.')
			continue;
		snprintf(layer, sizeof(layer), "%.3500s/%.255s", path, e->d_name);
		err = remove_layer(layer, error);
		n += err == 0;
	}
	if (d != NULL)
		closedir(d);
	rmdir(path);
	*ret_n = n;
	return err;
}
