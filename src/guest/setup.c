/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* virtio_net wants net_failover wants failover; virtio-serial ports appear some time after virtio_console. */
static const char *const modules[] = { "virtio_ring", "virtio", "virtio_mmio", "virtio_console", "failover",
	"net_failover", "virtio_net", "fuse", "virtiofs", "overlay", "virtio-rng", "virtio_blk", "libcrc32c", "erofs" };

static int load_module(const char *name)
{
	char path[64];
	snprintf(path, sizeof(path), "/mods/%s.ko", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int err = syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST ? 0 : -errno;
	close(fd);
	return err;
}

int setup_early(void)
{
	umask(022);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0 ||
		mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0 ||
		mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") != 0)
		return -errno;
	for (size_t i = 0; i < sizeof(modules) / sizeof(*modules); i++) {
		int err = load_module(modules[i]);
		if (err != 0)
			fprintf(stderr, "sekisho-init: module %s: %s\n", modules[i], strerror(-err));
	}
	return 0;
}

static void wait_1ms(void)
{
	struct timespec t = { .tv_nsec = 1000000 };
	nanosleep(&t, NULL);
}

static bool port_is_ours(const char *port)
{
	char path[128], name[32];
	snprintf(path, sizeof(path), "/sys/class/virtio-ports/%.64s/name", port);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, name, sizeof(name) - 1);
	close(fd);
	if (n <= 0)
		return false;
	name[n] = 0;
	return strcmp(name, "sekisho.ctl\n") == 0;
}

static int open_port(void)
{
	DIR *d = opendir("/sys/class/virtio-ports");
	if (d == NULL)
		return -errno;
	int fd = -ENOENT;
	for (struct dirent *e; fd < 0 && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.' || !port_is_ours(e->d_name))
			continue;
		char path[128];
		snprintf(path, sizeof(path), "/dev/%.64s", e->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			fd = -errno;
	}
	closedir(d);
	return fd;
}

int setup_control(void)
{
	enum { TRIES = 10000 };
	int fd = -ENOENT;
	for (unsigned i = 0; i < TRIES; i++) {
		if (fd < 0)
			fd = open_port();
		/* Until the host's "port open" has arrived the port reads as hung up. */
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (fd >= 0 && poll(&p, 1, 0) == 1 && !(p.revents & POLLHUP))
			return fd;
		wait_1ms();
	}
	return fd < 0 ? fd : -ETIMEDOUT;
}

/* The value of `key` on the kernel's command line, "" when it is not there. */
static void cmdline_get(const char *key, char *ret, size_t cap)
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

static int make_dirs(void)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = { { "/proc", 0755 }, { "/sys", 0755 }, { "/dev", 0755 }, { "/run", 0755 }, { "/tmp", 01777 },
		{ "/root", 0700 }, { "/home", 0755 }, { "/mnt", 0755 }, { "/srv", 0755 }, { "/var", 0755 },
		{ "/var/tmp", 01777 }, { "/var/lib", 0755 }, { "/var/log", 0755 }, { "/var/cache", 0755 },
		{ "/run/lock", 01777 } };
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		char path[64];
		snprintf(path, sizeof(path), "/root%s", dirs[i].path);
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return -errno;
		if (chmod(path, dirs[i].mode) != 0)
			return -errno;
	}
	if (symlink("/run", "/root/var/run") != 0 && errno != EEXIST)
		return -errno;
	return 0;
}

static int mount_overlay(const char *tag)
{
	if ((mkdir("/lower", 0755) != 0 && errno != EEXIST) || (mkdir("/rw", 0755) != 0 && errno != EEXIST) ||
		(mkdir("/root", 0755) != 0 && errno != EEXIST))
		return -errno;
	if (mount(tag, "/lower", "virtiofs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
		return -errno;
	if (mount("tmpfs", "/rw", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=75%") != 0)
		return -errno;
	if (mkdir("/rw/u", 0755) != 0 || mkdir("/rw/w", 0755) != 0)
		return -errno;
	if (mount("overlay", "/root", "overlay", MS_NOSUID | MS_NODEV,
		    "lowerdir=/lower,upperdir=/rw/u,workdir=/rw/w") != 0)
		return -errno;
	return make_dirs();
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

int setup_root(void)
{
	char tag[32];
	cmdline_get("sekisho.root", tag, sizeof(tag));
	if (tag[0] == 0 || strcmp(tag, "none") == 0)
		return 0;
	int err = mount_overlay(tag);
	if (err == 0)
		err = enter_root();
	if (err == 0)
		err = mount_device_dirs();
	return err;
}
