/* SPDX-License-Identifier: Apache-2.0 */
/* The root of the file system: what the host gives below, something to write over it, both entered. */
#include "guest/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

void setup_word(const char *key, char *ret, size_t cap)
{
	char line[4096];
	ret[0] = 0;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
	if (fd >= 0)
		close(fd);
	line[n < 0 ? 0 : n] = 0;
	char *save = NULL;
	for (char *word = strtok_r(line, " \n", &save); word != NULL; word = strtok_r(NULL, " \n", &save)) {
		size_t len = strlen(key);
		if (strncmp(word, key, len) == 0 && word[len] == '=')
			snprintf(ret, cap, "%s", word + len + 1);
	}
}

/* `all` as on a computer; else what is missing of what a program cannot do without. */
static int make_dirs(bool all)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = { { "/proc", 0755 }, { "/sys", 0755 }, { "/dev", 0755 }, { "/run", 0755 }, { "/tmp", 01777 },
		{ "/etc", 0755 }, { "/root", 0700 }, { "/home", 0755 }, { "/mnt", 0755 }, { "/srv", 0755 },
		{ "/var", 0755 }, { "/var/tmp", 01777 }, { "/var/lib", 0755 }, { "/var/log", 0755 },
		{ "/var/cache", 0755 }, { "/run/lock", 01777 } };
	enum { NEEDED = 6 };
	for (size_t i = 0; i < (all ? sizeof(dirs) / sizeof(*dirs) : NEEDED); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/root%s", dirs[i].path);
		bool there = mkdir(path, 0755) != 0;
		if (there && errno != EEXIST)
			return -errno;
		if ((!there || all) && chmod(path, dirs[i].mode) != 0)
			return -errno;
	}
	if (!all)
		return 0;
	if (symlink("/run", "/root/var/run") != 0 && errno != EEXIST)
		return -errno;
	return 0;
}

/* The number of its virtio device, which tells who was attached first; -1: none. */
static int disk_number(const char *name)
{
	char path[128], to[256];
	snprintf(path, sizeof(path), "/sys/block/%.64s/device", name);
	ssize_t n = readlink(path, to, sizeof(to) - 1);
	to[n > 0 ? n : 0] = 0;
	const char *p = strstr(to, "virtio");
	for (const char *q = p; q != NULL; q = strstr(q + 1, "virtio"))
		p = q;
	return p == NULL ? -1 : atoi(p + strlen("virtio"));
}

static bool has_serial(const char *name, const char *serial)
{
	char path[128], said[32] = "";
	snprintf(path, sizeof(path), "/sys/block/%.64s/serial", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, said, sizeof(said) - 1);
	if (fd >= 0)
		close(fd);
	said[n > 0 ? n : 0] = 0;
	return strcmp(said, serial) == 0;
}

/* The node of the disk with this serial, "/dev/vda"; the order in which disks appear says nothing. Firecracker's have
 * no serial of ours: there the image is attached first, the layer last. */
static int find_disk(const char *serial, char *ret, size_t cap)
{
	DIR *d = opendir("/sys/block");
	int err = -ENODEV, best = -1;
	bool lowest = strcmp(serial, "image") == 0;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		int number = disk_number(e->d_name);
		bool better = number >= 0 && (best < 0 || (number < best) == lowest);
		if (!(setup_over_vsock() ? better : has_serial(e->d_name, serial)))
			continue;
		snprintf(ret, cap, "/dev/%.64s", e->d_name);
		best = number;
		err = 0;
	}
	if (d != NULL)
		closedir(d);
	return err;
}

static int mount_disk(const char *serial, const char *on, const char *type, unsigned long flags)
{
	char node[80];
	int err = find_disk(serial, node, sizeof(node));
	if (err != 0)
		return err;
	return mount(node, on, type, flags, NULL) == 0 ? 0 : -errno;
}

static int make_dir(const char *path)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
}

/* A layer on what is mounted at /lower, at /root. What the host lends has no setuid programs; an image is a system of
 * its own. */
static int mount_overlay(unsigned long flags, const char *more)
{
	int err = make_dir("/rw/u");
	if (err == 0)
		err = make_dir("/rw/w");
	if (err != 0)
		return err;
	char options[96];
	snprintf(options, sizeof(options), "lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w%s", more);
	return mount("overlay", "/root", "overlay", flags, options) == 0 ? 0 : -errno;
}

static int mount_memory(void)
{
	return mount("tmpfs", "/rw", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=75%") == 0 ? 0 : -errno;
}

static int mount_host(const char *tag, bool layer)
{
	if (mount(tag, "/lower", "virtiofs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		return -errno;
	int err = layer ? mount_disk("layer", "/rw", "ext4", MS_NOSUID | MS_NODEV) : mount_memory();
	if (err == 0)
		err = mount_overlay(MS_NOSUID | MS_NODEV, "");
	return err == 0 ? make_dirs(true) : err;
}

static int mount_image(bool layer)
{
	int err = mount_disk("image", "/lower", "erofs", MS_RDONLY | MS_NODEV);
	if (err == 0)
		err = layer ? mount_disk("layer", "/rw", "ext4", MS_NODEV) : mount_memory();
	if (err == 0)
		/* Directories of an image want to be renamed as anywhere. */
		err = mount_overlay(MS_NODEV, ",redirect_dir=on");
	if (err == 0)
		err = make_dirs(false);
	return err;
}

static int enter_root(void)
{
	if (mount("/proc", "/root/proc", NULL, MS_MOVE, NULL) != 0 ||
		mount("/sys", "/root/sys", NULL, MS_MOVE, NULL) != 0 ||
		mount("/dev", "/root/dev", NULL, MS_MOVE, NULL) != 0)
		return -errno;
	/* The initramfs cannot be pivoted away: moved over and left behind, as switch_root(8) does. */
	if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0)
		return -errno;
	return 0;
}

static int mount_device_dirs(void)
{
	if ((mkdir("/dev/pts", 0755) != 0 && errno != EEXIST) || (mkdir("/dev/shm", 01777) != 0 && errno != EEXIST))
		return -errno;
	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666") != 0 ||
		mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") != 0)
		return -errno;
	static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "fd/0", "/dev/stdin" },
		{ "fd/1", "/dev/stdout" }, { "fd/2", "/dev/stderr" } };
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		if (symlink(links[i][0], links[i][1]) != 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

static bool keeps;

bool root_keeps(void)
{
	return keeps;
}

int setup_root(void)
{
	char root[32], layer[32];
	setup_word("sekisho.root", root, sizeof(root));
	setup_word("sekisho.layer", layer, sizeof(layer));
	if (root[0] == 0 || strcmp(root, "none") == 0)
		return 0;
	keeps = strcmp(layer, "disk") == 0;
	int err = make_dir("/lower");
	if (err == 0)
		err = make_dir("/rw");
	if (err == 0)
		err = make_dir("/root");
	if (err == 0)
		err = strcmp(root, "image") == 0 ? mount_image(keeps) : mount_host(root, keeps);
	if (err == 0)
		err = enter_root();
	if (err == 0)
		err = mount_device_dirs();
	return err;
}
