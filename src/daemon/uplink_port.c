/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/uplink.h"

#include "daemon/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note_path(const char *run_dir, char ret[256])
{
	snprintf(ret, 256, "%s/uplink.port", run_dir);
}

static void record_path(const char *run_dir, char ret[256])
{
	snprintf(ret, 256, "%s/uplink.port.sysctl", run_dir);
}

/* "IFACE up|down" as it was before us; an older note is the true one. */
static int note_write(const char *run_dir, const struct link_info *i)
{
	char path[256], text[64];
	note_path(run_dir, path);
	int len = snprintf(text, sizeof(text), "%s %s\n", i->name, i->up ? "up" : "down");
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? 0 : -errno;
	int err = write(fd, text, (size_t)len) == len ? 0 : -EIO;
	close(fd);
	return err;
}

/* The NIC is the switch's alone: with frames of the userspace datapath the kernel sees them, too, and must not answer.
 */
static int host_silent(const char *run_dir, const char *ifname)
{
	char path[256], arp[SYSCTL_KEY_MAX], ipv6[SYSCTL_KEY_MAX];
	struct sysctl_record *r;
	record_path(run_dir, path);
	snprintf(arp, sizeof(arp), "ipv4/conf/%.15s/arp_ignore", ifname);
	snprintf(ipv6, sizeof(ipv6), "ipv6/conf/%.15s/disable_ipv6", ifname);
	int err = sysctl_record_new(path, &r);
	if (err != 0)
		return err;
	err = sysctl_record_add(r, arp, "8");
	if (err == 0)
		err = sysctl_record_add(r, ipv6, "1");
	if (err == 0)
		return sysctl_record_apply(r);
	free(r);
	return err;
}

static int port_up(struct link_sock *s, const char *run_dir, const char *ifname, bool share, bool tso, char *error)
{
	struct link_info i;
	int err = link_check_uplink(s, ifname, share, error);
	if (err == 0)
		err = link_get(s, ifname, &i);
	if (err != 0)
		return err;
	if (i.n_addresses > 0) {
		snprintf(error, UPLINK_ERROR_MAX,
			"uplink_host = share cannot move the addresses of %s yet; use uplink = nat", ifname);
		return -EOPNOTSUPP;
	}
	err = note_write(run_dir, &i);
	if (err == 0)
		err = host_silent(run_dir, ifname);
	if (err == 0)
		err = link_prepare(s, ifname, tso);
	if (err == 0)
		err = link_set_up(s, ifname, true);
	if (err != 0)
		snprintf(error, UPLINK_ERROR_MAX, "cannot prepare the uplink %s: %s", ifname, strerror(-err));
	return err;
}

int uplink_port_up(const char *run_dir, const char *ifname, bool share, bool tso, char *error)
{
	struct link_sock *s;
	int err = link_open(&s);
	if (err != 0) {
		snprintf(error, UPLINK_ERROR_MAX, "cannot speak to the kernel: %s", strerror(-err));
		return err;
	}
	err = port_up(s, run_dir, ifname, share, tso, error);
	link_close(s);
	return err;
}

void uplink_port_down(const char *run_dir)
{
	char path[256], name[LINK_NAME_MAX] = "", was[8] = "";
	struct link_sock *s;
	note_path(run_dir, path);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return;
	int got = fscanf(f, "%15s %7s", name, was);
	fclose(f);
	if (got == 2 && link_open(&s) == 0) {
		link_release(s, name);
		/* An interface that is gone by now needs nothing put back. */
		int err = strcmp(was, "up") == 0 ? link_set_up(s, name, true) : 0;
		(void)err;
		link_close(s);
	}
	unlink(path);
	record_path(run_dir, path);
	sysctl_restore(path);
}
