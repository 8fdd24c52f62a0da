/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "sekisho-vm-"

enum { FILE_MAX = CGROUP_PATH_MAX + 32, TEXT_MAX = 4096 };

/* Where the one hierarchy of cgroup v2 is mounted: alone, or beside those of v1. */
static int find_mount(char ret[CGROUP_PATH_MAX])
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	char buf[TEXT_MAX];
	struct mntent m;
	int err = f == NULL ? -errno : -ENOENT;
	while (f != NULL && err != 0 && getmntent_r(f, &m, buf, sizeof(buf)) != NULL) {
		if (strcmp(m.mnt_type, "cgroup2") == 0 && strlen(m.mnt_dir) < CGROUP_PATH_MAX) {
			snprintf(ret, CGROUP_PATH_MAX, "%s", m.mnt_dir);
			err = 0;
		}
	}
	if (f != NULL)
		endmntent(f);
	return err;
}

/* Our own group, as a directory: the line "0::/PATH" of cgroups(7). */
static int own_group(char ret[CGROUP_PATH_MAX])
{
	char mount[CGROUP_PATH_MAX], line[TEXT_MAX];
	int err = find_mount(mount);
	FILE *f = err == 0 ? fopen("/proc/self/cgroup", "re") : NULL;
	if (f == NULL)
		return err != 0 ? err : -errno;
	err = -ENOENT;
	while (err != 0 && fgets(line, sizeof(line), f) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		err = snprintf(ret, CGROUP_PATH_MAX, "%s%s", mount, strcmp(line + 3, "/") == 0 ? "" : line + 3) <
				      CGROUP_PATH_MAX - 32
			    ? 0
			    : -ENAMETOOLONG;
	}
	fclose(f);
	return err;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[FILE_MAX];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

/* A file that is not there is a controller that is not. */
static int limit(const char *dir, const char *name, const char *text)
{
	int err = write_file(dir, name, text);
	return err == -ENOENT ? 0 : err;
}

static int set_limits(const char *dir, const struct cgroup_limits *l)
{
	char text[64];
	enum { PERIOD_US = 100000 };
	/* The VMM needs some for itself; QEMU's own limit is the machine's size. */
	snprintf(text, sizeof(text), "%llu", ((unsigned long long)l->memory_mib * 2 + 512) << 20);
	int err = limit(dir, "memory.max", text);
	/* A processor more than the machine has: emulation, files and frames are work, too. */
	snprintf(text, sizeof(text), "%llu %d", (unsigned long long)(l->cpus + 1) * PERIOD_US, PERIOD_US);
	if (err == 0)
		err = limit(dir, "cpu.max", text);
	snprintf(text, sizeof(text), "%u", l->pids);
	return err != 0 ? err : limit(dir, "pids.max", text);
}

static int make_dir(char ret[CGROUP_PATH_MAX])
{
	char own[CGROUP_PATH_MAX];
	uint32_t number;
	int err = own_group(own);
	if (err == 0 && getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		err = -EIO;
	if (err != 0)
		return err;
	/* Refused where we have processes beside it, which is no harm. */
	(void)!write_file(own, "cgroup.subtree_control", "+memory +cpu +pids");
	snprintf(ret, CGROUP_PATH_MAX, "%.220s/" PREFIX "%08x", own, number);
	return mkdir(ret, 0755) == 0 ? 0 : -errno;
}

int cgroup_make(const struct cgroup_limits *l, const pid_t *pids, size_t n, char ret[CGROUP_PATH_MAX])
{
	int err = make_dir(ret);
	if (err != 0) {
		ret[0] = '\0';
		return err;
	}
	err = set_limits(ret, l);
	for (size_t i = 0; i < n && err == 0; i++) {
		char text[32];
		snprintf(text, sizeof(text), "%d", (int)pids[i]);
		if (pids[i] > 0)
			err = write_file(ret, "cgroup.procs", text);
	}
	if (err != 0) {
		rmdir(ret);
		ret[0] = '\0';
	}
	return err;
}

void cgroup_remove(const char *path)
{
	if (path[0] == '\0')
		return;
	/* Its processes have been killed and waited for; what one of them left behind goes now. */
	(void)!write_file(path, "cgroup.kill", "1");
	rmdir(path);
}

void cgroup_sweep(void)
{
	char own[CGROUP_PATH_MAX];
	DIR *d = own_group(own) == 0 ? opendir(own) : NULL;
	if (d == NULL)
		return;
	/* One that is in use is not to be removed: the kernel sees to that. */
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
			unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
	}
	closedir(d);
}

static bool limits_memory(const char *path)
{
	char file[FILE_MAX];
	snprintf(file, sizeof(file), "%s/memory.max", path);
	return access(file, F_OK) == 0;
}

int cgroup_try(bool *ret_limits)
{
	char path[CGROUP_PATH_MAX];
	int err = make_dir(path);
	if (err != 0)
		return err;
	*ret_limits = limits_memory(path);
	rmdir(path);
	return 0;
}
