/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/setup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* linux/ipv6.h cannot stand beside netinet/in.h. */
struct net_in6_ifreq {
	struct in6_addr addr;
	uint32_t prefix;
	int index;
};

static int if_up(int s, const char *name)
{
	struct ifreq r = { 0 };
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(s, SIOCGIFFLAGS, &r) != 0)
		return -errno;
	r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
	return ioctl(s, SIOCSIFFLAGS, &r) == 0 ? 0 : -errno;
}

/* A machine that was stored has the address of another. */
static int set_mac(int s, const char *name, const struct mac *mac)
{
	struct ifreq r = { 0 };
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (ioctl(s, SIOCGIFHWADDR, &r) != 0)
		return -errno;
	if (memcmp(r.ifr_hwaddr.sa_data, mac->b, sizeof(mac->b)) == 0)
		return 0;
	memcpy(r.ifr_hwaddr.sa_data, mac->b, sizeof(mac->b));
	return ioctl(s, SIOCSIFHWADDR, &r) == 0 ? 0 : -errno;
}

static struct sockaddr_in sin_of(uint32_t host_order)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(host_order) };
}

static uint32_t mask_of(unsigned prefix)
{
	return prefix == 0 ? 0 : ~(uint32_t)0 << (32 - prefix);
}

static int route_v4(int s, uint32_t net, uint32_t mask, uint32_t gateway)
{
	static char eth0[] = "eth0";
	struct rtentry r = { .rt_flags = RTF_UP, .rt_dev = eth0 };
	struct sockaddr_in a = sin_of(net), m = sin_of(mask), g = sin_of(gateway);
	memcpy(&r.rt_dst, &a, sizeof(a));
	memcpy(&r.rt_genmask, &m, sizeof(m));
	if (gateway != 0) {
		memcpy(&r.rt_gateway, &g, sizeof(g));
		r.rt_flags |= RTF_GATEWAY;
	} else if (mask == UINT32_MAX) {
		r.rt_flags |= RTF_HOST;
	}
	return ioctl(s, SIOCADDRT, &r) == 0 || errno == EEXIST ? 0 : -errno;
}

static int set_v4(const struct agent_exec *e)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	uint32_t own = addr_to_u32(&e->v4), gateway = addr_to_u32(&e->v4_gateway), mask = mask_of(e->v4_prefix);
	struct ifreq r = { .ifr_name = "eth0" };
	struct sockaddr_in a = sin_of(own), m = sin_of(mask);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	int err = ioctl(s, SIOCSIFADDR, &r) == 0 ? 0 : -errno;
	memcpy(&r.ifr_addr, &m, sizeof(m));
	if (err == 0 && ioctl(s, SIOCSIFNETMASK, &r) != 0)
		err = -errno;
	/* A gateway outside the prefix is on the link all the same. */
	if (err == 0 && gateway != 0 && ((gateway ^ own) & mask) != 0)
		err = route_v4(s, gateway, UINT32_MAX, 0);
	if (err == 0 && gateway != 0)
		err = route_v4(s, 0, 0, gateway);
	close(s);
	return err;
}

static int route_v6(int s, int index, const struct addr *dst, unsigned prefix, const struct addr *gateway)
{
	/* struct in6_rtmsg of linux/ipv6_route.h, by hand for the same reason as above. */
	struct {
		struct in6_addr dst, src, gateway;
		uint32_t type;
		uint16_t dst_len, src_len;
		uint32_t metric;
		unsigned long info;
		uint32_t flags;
		int ifindex;
	} r = { .dst_len = (uint16_t)prefix, .metric = 1, .flags = RTF_UP, .ifindex = index };
	memcpy(&r.dst, dst->b, sizeof(r.dst));
	if (gateway != NULL) {
		memcpy(&r.gateway, gateway->b, sizeof(r.gateway));
		r.flags |= RTF_GATEWAY;
	}
	return ioctl(s, SIOCADDRT, &r) == 0 || errno == EEXIST ? 0 : -errno;
}

static int set_v6(const struct agent_exec *e)
{
	int s = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	struct net_in6_ifreq r = { .prefix = e->v6_prefix, .index = (int)if_nametoindex("eth0") };
	memcpy(&r.addr, e->v6.b, sizeof(r.addr));
	int err = ioctl(s, SIOCSIFADDR, &r) == 0 ? 0 : -errno;
	const struct addr any = { .len = 16 };
	if (err == 0 && e->v6_gateway.len == 16 && !addr_in(&e->v6_gateway, &e->v6, e->v6_prefix))
		err = route_v6(s, r.index, &e->v6_gateway, 128, NULL);
	if (err == 0 && e->v6_gateway.len == 16)
		err = route_v6(s, r.index, &any, 0, &e->v6_gateway);
	close(s);
	return err;
}

static void sysctl_v6(const char *key, const char *value)
{
	char path[96];
	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/eth0/%s", key);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, value, strlen(value)) < 0)
		fprintf(stderr, "sekisho-init: %s: %s\n", path, strerror(errno));
	close(fd);
}

int setup_net(const struct agent_exec *e)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	int err = if_up(s, "lo");
	if (err == 0 && e->has_net) {
		/* The configuration is static and the address ours alone: no advertisement changes it, no second is
		 * lost to DAD. */
		sysctl_v6("accept_ra", "0");
		sysctl_v6("autoconf", "0");
		sysctl_v6("accept_dad", "0");
		err = set_mac(s, "eth0", &e->mac);
		if (err == 0)
			err = if_up(s, "eth0");
	}
	close(s);
	if (err == 0 && e->has_net && e->v4.len == 4)
		err = set_v4(e);
	if (err == 0 && e->has_net && e->v6.len == 16)
		err = set_v6(e);
	return err;
}
