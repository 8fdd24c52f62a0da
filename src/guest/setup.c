/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/setup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * virtio_net wants net_failover wants failover; virtio-serial ports appear some time after virtio_console. What drives
 * the devices of one application finds none until there is one: a machine that was stored before would have others.
 */
static const char *const first[] = { "virtio_ring", "virtio", "virtio_mmio", NULL };
static const char *const serial[] = { "virtio_console", NULL };
static const char *const over_vsock[] = { "vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport",
	NULL };
static const char *const waiting[] = { "failover", "net_failover", "virtio_net", "fuse", "virtiofs", "overlay",
	"virtio-rng", "virtio_blk", "libcrc32c", "erofs", NULL };
#define VIRTIO_BUS "/sys/bus/virtio/"
enum { CID_HOST = 2 };
static bool vsock;

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

static void load_modules(const char *const *names)
{
	for (; *names != NULL; names++) {
		int err = load_module(*names);
		if (err != 0)
			fprintf(stderr, "sekisho-init: module %s: %s\n", *names, strerror(-err));
	}
}

static int write_word(const char *path, const char *word)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = write(fd, word, strlen(word)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

void setup_devices(void)
{
	DIR *d = opendir(VIRTIO_BUS "devices");
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		int err = e->d_name[0] == '.' ? 0 : write_word(VIRTIO_BUS "drivers_probe", e->d_name);
		if (err != 0)
			fprintf(stderr, "sekisho-init: %s: %s\n", e->d_name, strerror(-err));
	}
	if (d != NULL)
		closedir(d);
}

int setup_early(void)
{
	umask(022);
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0 ||
		mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0 ||
		mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755") != 0)
		return -errno;
	load_modules(first);
	char port[16];
	setup_word("sekisho.port", port, sizeof(port));
	vsock = strcmp(port, "vsock") == 0;
	load_modules(vsock ? over_vsock : serial);
	int err = write_word(VIRTIO_BUS "drivers_autoprobe", "0");
	load_modules(waiting);
	return err;
}

bool setup_over_vsock(void)
{
	return vsock;
}

static void wait_1ms(void)
{
	struct timespec t = { .tv_nsec = 1000000 };
	nanosleep(&t, NULL);
}

static bool port_is(const char *port, const char *wanted)
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
	return strncmp(name, wanted, strlen(wanted)) == 0 && strcmp(name + strlen(wanted), "\n") == 0;
}

static int open_port(const char *wanted)
{
	DIR *d = opendir("/sys/class/virtio-ports");
	if (d == NULL)
		return -errno;
	int fd = -ENOENT;
	for (struct dirent *e; fd < 0 && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] == '.' || !port_is(e->d_name, wanted))
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

/* The host listens before the machine starts; only our own module may need a moment. */
static int connect_port(unsigned number)
{
	enum { TRIES = 1000 };
	const struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = CID_HOST, .svm_port = number };
	int err = -ENOENT;
	for (unsigned i = 0; i < TRIES; i++) {
		int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0 &&
			fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
			return fd;
		err = -errno;
		if (fd >= 0)
			close(fd);
		wait_1ms();
	}
	return err;
}

int setup_control(void)
{
	enum { TRIES = 10000 };
	int fd = -ENOENT;
	if (vsock)
		return connect_port(1);
	for (unsigned i = 0; i < TRIES; i++) {
		if (fd < 0)
			fd = open_port("sekisho.ctl");
		/* Until the host's "port open" has arrived the port reads as hung up. */
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (fd >= 0 && poll(&p, 1, 0) == 1 && !(p.revents & POLLHUP))
			return fd;
		wait_1ms();
	}
	return fd < 0 ? fd : -ETIMEDOUT;
}

int setup_extra(unsigned n)
{
	enum { TRIES = 1000 };
	char name[32];
	int fd = -ENOENT;
	if (vsock)
		return connect_port(2 + n);
	snprintf(name, sizeof(name), "sekisho.x%u", n);
	for (unsigned i = 0; fd < 0 && i < TRIES; i++) {
		fd = open_port(name);
		if (fd < 0)
			wait_1ms();
	}
	return fd;
}
