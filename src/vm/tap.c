/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int no_ipv6(const char *name)
{
	char path[80];
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%.15s/disable_ipv6", name);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* A kernel without IPv6 makes no address either. */
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	int err = write(fd, "1", 1) == 1 ? 0 : -errno;
	close(fd);
	return err;
}

int vm_tap_open(const char *name, bool vnet_hdr, uid_t owner)
{
	struct ifreq r = { 0 };
	if (strlen(name) >= sizeof(r.ifr_name))
		return -ENAMETOOLONG;
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0));
	int err = 0;
	if (ioctl(fd, TUNSETIFF, &r) != 0 || ioctl(fd, TUNSETOWNER, (unsigned long)owner) != 0)
		err = -errno;
	if (err == 0)
		err = no_ipv6(name);
	if (err != 0) {
		close(fd);
		return err;
	}
	return fd;
}
