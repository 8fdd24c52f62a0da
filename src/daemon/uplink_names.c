/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The namespace of the names service. Nothing of the host can listen on, filter or spoof what goes on inside: it has
 * one interface, whose other end is a port of the bridge, and four sockets. The process that serves never enters it; it
 * gets the sockets.
 */
#include "daemon/uplink.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/sysctl.h"

enum { DNS_PORT = 53, BACKLOG = 128 };

static const char inner[] = "dns0";

static int set_int(int fd, int level, int option, int v)
{
	return setsockopt(fd, level, option, &v, sizeof(v)) == 0 ? 0 : -errno;
}

static int bind_port(int fd, int family)
{
	const struct sockaddr_in s4 = { .sin_family = AF_INET, .sin_port = htons(DNS_PORT) };
	const struct sockaddr_in6 s6 = { .sin6_family = AF_INET6, .sin6_port = htons(DNS_PORT) };
	int done = family == AF_INET ? bind(fd, (const struct sockaddr *)&s4, sizeof(s4))
				     : bind(fd, (const struct sockaddr *)&s6, sizeof(s6));
	return done == 0 ? 0 : -errno;
}

static int open_socket(int family, int type, int *ret)
{
	int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err = 0;
	if (fd < 0)
		return -errno;
	if (family == AF_INET6)
		err = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (err == 0 && type == SOCK_DGRAM)
		err = family == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
					 : set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
	if (err == 0 && type == SOCK_STREAM)
		err = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (err == 0)
		err = bind_port(fd, family);
	if (err == 0 && type == SOCK_STREAM && listen(fd, BACKLOG) != 0)
		err = -errno;
	if (err != 0) {
		close(fd);
		return err;
	}
	*ret = fd;
	return 0;
}

static int address(struct link_sock *s, const struct addr *us, const struct addr *hop, const struct mac *mac)
{
	struct addr any = { .len = us->len };
	unsigned host = us->len * 8U;
	int err = link_add_address(s, inner, us, host);
	if (err == 0)
		err = link_add_neighbour(s, inner, hop, mac);
	if (err == 0)
		err = link_add_route(s, inner, hop, host, NULL, us);
	if (err == 0)
		err = link_add_route(s, inner, &any, 0, hop, us);
	return err;
}

/* Inside the namespace: the interface. */
static int inside_link(const struct uplink_names_conf *c)
{
	struct link_sock *s;
	int err = link_open(&s);
	if (err != 0)
		return err;
	/* It asks and answers no neighbour: the only one is known. */
	if (sysctl_write("ipv6/conf/default/accept_ra", "0") != 0 || sysctl_write("ipv6/conf/dns0/accept_ra", "0") != 0)
		err = 0;
	err = link_set_mac(s, inner, &c->mac);
	if (err == 0)
		err = link_set_no_ipv6_auto(s, inner);
	if (err == 0)
		err = link_set_offload(inner, c->tso);
	if (err == 0)
		err = link_set_up(s, "lo", true);
	if (err == 0)
		err = link_set_up(s, inner, true);
	if (err == 0)
		err = address(s, &c->addr4, &c->next_hop4, &c->next_hop_mac);
	if (err == 0 && c->addr6.len != 0)
		err = address(s, &c->addr6, &c->next_hop6, &c->next_hop_mac);
	link_close(s);
	return err;
}

static int inside_sockets(int fds[UPLINK_NAMES_FDS])
{
	static const struct {
		int family, type;
	} want[UPLINK_NAMES_FDS] = { [UPLINK_NAMES_UDP4] = { AF_INET, SOCK_DGRAM },
		[UPLINK_NAMES_UDP6] = { AF_INET6, SOCK_DGRAM },
		[UPLINK_NAMES_TCP4] = { AF_INET, SOCK_STREAM },
		[UPLINK_NAMES_TCP6] = { AF_INET6, SOCK_STREAM } };
	int err = 0;
	for (unsigned i = 0; err == 0 && i < UPLINK_NAMES_FDS; i++)
		err = open_socket(want[i].family, want[i].type, &fds[i]);
	return err;
}

/* Between leaving home and coming back nothing may return early. */
static int build(const struct uplink_names_conf *c, struct link_sock *outside, int home, int fds[UPLINK_NAMES_FDS],
	int *ret_netns)
{
	if (unshare(CLONE_NEWNET) != 0)
		return -errno;
	int netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	int err = netns < 0 ? -errno : link_add_veth(outside, c->port, inner, netns);
	if (err == 0)
		err = inside_link(c);
	if (err == 0)
		err = inside_sockets(fds);
	if (setns(home, CLONE_NEWNET) != 0)
		_exit(70); /* in the wrong namespace every further step would do harm */
	if (err == 0)
		*ret_netns = netns;
	else if (netns >= 0)
		close(netns);
	return err;
}

int uplink_names_up(const struct uplink_names_conf *conf, int ret_fds[UPLINK_NAMES_FDS], int *ret_netns_fd, char *error)
{
	struct link_sock *s;
	int fds[UPLINK_NAMES_FDS] = { -1, -1, -1, -1 };
	int err = link_open(&s), home = -1;
	if (err == 0) {
		uplink_names_down(conf);
		home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
		err = home < 0 ? -errno : build(conf, s, home, fds, ret_netns_fd);
		if (err == 0)
			err = link_prepare(s, conf->port, conf->tso);
		if (err == 0)
			err = link_set_up(s, conf->port, true);
		link_close(s);
	}
	if (home >= 0)
		close(home);
	for (unsigned i = 0; i < UPLINK_NAMES_FDS; i++) {
		if (err == 0)
			ret_fds[i] = fds[i];
		else if (fds[i] >= 0)
			close(fds[i]);
	}
	if (err != 0)
		snprintf(error, UPLINK_ERROR_MAX, "cannot make the namespace of the names service: %s", strerror(-err));
	return err;
}

void uplink_names_down(const struct uplink_names_conf *conf)
{
	struct link_sock *s;
	struct link_info i;
	if (link_open(&s) != 0)
		return;
	/* Only a veth can be a left-over of ours. */
	if (link_get(s, conf->port, &i) == 0 && strcmp(i.kind, "veth") == 0 && link_del(s, conf->port) != 0)
		i.index = 0;
	link_close(s);
}
