/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/link.h"

#include "daemon/netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct link_sock {
	int fd;
};

int link_open(struct link_sock **ret)
{
	struct link_sock *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->fd = nl_open(NETLINK_ROUTE);
	if (s->fd < 0) {
		int err = s->fd;
		free(s);
		return err;
	}
	*ret = s;
	return 0;
}

void link_close(struct link_sock *s)
{
	if (s == NULL)
		return;
	close(s->fd);
	free(s);
}

/* The kind's data holds IFLA_TUN_TYPE for tun and tap alike. */
static void visit_kind(struct link_info *i, const uint8_t *info, size_t info_len)
{
	size_t len, data_len;
	const uint8_t *p = nl_find(info, info_len, IFLA_INFO_KIND, &len);
	if (p != NULL)
		snprintf(i->kind, sizeof(i->kind), "%.*s", (int)strnlen((const char *)p, len), (const char *)p);
	const uint8_t *data = nl_find(info, info_len, IFLA_INFO_DATA, &data_len);
	if (strcmp(i->kind, "tun") != 0 || data == NULL)
		return;
	p = nl_find(data, data_len, IFLA_TUN_TYPE, &len);
	i->tap = p != NULL && len == 1 && *p == IFF_TAP;
}

static int visit_link(void *arg, uint16_t type, const uint8_t *body, size_t len)
{
	struct link_info *i = arg;
	struct ifinfomsg m;
	size_t n;
	if (type != RTM_NEWLINK || len < sizeof(m))
		return 0;
	memcpy(&m, body, sizeof(m));
	const uint8_t *attrs = body + NLMSG_ALIGN(sizeof(m)), *p;
	size_t attrs_len = len - NLMSG_ALIGN(sizeof(m));
	i->index = m.ifi_index;
	i->up = (m.ifi_flags & IFF_UP) != 0;
	i->carrier = (m.ifi_flags & 0x10000U) != 0; /* IFF_LOWER_UP, which <net/if.h> lacks */
	i->ethernet = m.ifi_type == ARPHRD_ETHER;
	p = nl_find(attrs, attrs_len, IFLA_MASTER, &n);
	i->master = n == 4 || p == NULL ? (int)nl_u32(p) : 0;
	p = nl_find(attrs, attrs_len, IFLA_MTU, &n);
	i->mtu = nl_u32(p);
	p = nl_find(attrs, attrs_len, IFLA_ADDRESS, &n);
	if (p != NULL && n == sizeof(i->mac.b))
		memcpy(i->mac.b, p, n);
	p = nl_find(attrs, attrs_len, IFLA_LINKINFO, &n);
	if (p != NULL)
		visit_kind(i, p, n);
	return 0;
}

static int visit_address(void *arg, uint16_t type, const uint8_t *body, size_t len)
{
	struct link_info *i = arg;
	struct ifaddrmsg m;
	if (type != RTM_NEWADDR || len < sizeof(m))
		return 0;
	memcpy(&m, body, sizeof(m));
	if ((int)m.ifa_index == i->index && m.ifa_scope != RT_SCOPE_LINK)
		i->n_addresses++;
	return 0;
}

int link_get(struct link_sock *s, const char *name, struct link_info *ret)
{
	struct nl_request q;
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
	struct ifaddrmsg a = { .ifa_family = AF_UNSPEC };
	struct link_info i = { 0 };
	if (strlen(name) == 0 || strlen(name) >= LINK_NAME_MAX)
		return -ENODEV;
	nl_begin(&q, RTM_GETLINK, 0, &h, sizeof(h));
	nl_put_text(&q, IFLA_IFNAME, name);
	int err = nl_talk(s->fd, &q, visit_link, &i);
	if (err != 0)
		return err;
	nl_begin(&q, RTM_GETADDR, NLM_F_DUMP, &a, sizeof(a));
	err = nl_talk(s->fd, &q, visit_address, &i);
	if (err != 0)
		return err;
	char path[64];
	snprintf(i.name, sizeof(i.name), "%s", name);
	snprintf(path, sizeof(path), "/sys/class/net/%s/phy80211", name);
	i.wireless = access(path, F_OK) == 0;
	*ret = i;
	return 0;
}

static int link_index(struct link_sock *s, const char *name, int *ret)
{
	struct nl_request q;
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
	struct link_info i = { 0 };
	if (strlen(name) == 0 || strlen(name) >= LINK_NAME_MAX)
		return -ENODEV;
	nl_begin(&q, RTM_GETLINK, 0, &h, sizeof(h));
	nl_put_text(&q, IFLA_IFNAME, name);
	int err = nl_talk(s->fd, &q, visit_link, &i);
	if (err == 0)
		*ret = i.index;
	return err;
}

/* Begins a change of one link, found by name. */
static void begin_change(struct nl_request *q, uint16_t type, const char *name, unsigned flags, unsigned mask)
{
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC, .ifi_flags = flags, .ifi_change = mask };
	nl_begin(q, type, 0, &h, sizeof(h));
	nl_put_text(q, IFLA_IFNAME, name);
}

int link_set_up(struct link_sock *s, const char *name, bool up)
{
	struct nl_request q;
	begin_change(&q, RTM_NEWLINK, name, up ? IFF_UP : 0, IFF_UP);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_set_mac(struct link_sock *s, const char *name, const struct mac *mac)
{
	struct nl_request q;
	begin_change(&q, RTM_NEWLINK, name, 0, 0);
	nl_put(&q, IFLA_ADDRESS, mac->b, sizeof(mac->b));
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_set_mtu(struct link_sock *s, const char *name, unsigned mtu)
{
	struct nl_request q;
	begin_change(&q, RTM_NEWLINK, name, 0, 0);
	nl_put_u32(&q, IFLA_MTU, mtu);
	return nl_talk(s->fd, &q, NULL, NULL);
}

static int link_set_addr_gen(struct link_sock *s, const char *name, uint8_t mode)
{
	struct nl_request q;
	begin_change(&q, RTM_NEWLINK, name, 0, 0);
	size_t spec = nl_nest(&q, IFLA_AF_SPEC), inet6 = nl_nest(&q, AF_INET6);
	nl_put(&q, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
	nl_end(&q, inet6);
	nl_end(&q, spec);
	int err = nl_talk(s->fd, &q, NULL, NULL);
	/* A kernel without IPv6 makes no address either. */
	return err == -EAFNOSUPPORT || err == -EOPNOTSUPP ? 0 : err;
}

int link_set_no_ipv6_auto(struct link_sock *s, const char *name)
{
	return link_set_addr_gen(s, name, IN6_ADDR_GEN_MODE_NONE);
}

int link_add_veth(struct link_sock *s, const char *name, const char *peer, int peer_netns_fd)
{
	struct nl_request q;
	struct ifinfomsg h = { .ifi_family = AF_UNSPEC };
	nl_begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &h, sizeof(h));
	nl_put_text(&q, IFLA_IFNAME, name);
	size_t info = nl_nest(&q, IFLA_LINKINFO);
	nl_put_text(&q, IFLA_INFO_KIND, "veth");
	size_t data = nl_nest(&q, IFLA_INFO_DATA), other = nl_nest(&q, VETH_INFO_PEER);
	memcpy(q.bytes + q.len, &h, sizeof(h)); /* a header of its own stands before the peer's attributes */
	q.len += NLMSG_ALIGN(sizeof(h));
	nl_put_text(&q, IFLA_IFNAME, peer);
	if (peer_netns_fd >= 0)
		nl_put_u32(&q, IFLA_NET_NS_FD, (uint32_t)peer_netns_fd);
	nl_end(&q, other);
	nl_end(&q, data);
	nl_end(&q, info);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_add_tap(const char *name, uint32_t uid, bool vnet_hdr)
{
	struct ifreq r = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (vnet_hdr ? IFF_VNET_HDR : 0)) };
	if (strlen(name) >= LINK_NAME_MAX)
		return -ENAMETOOLONG;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = 0;
	if (ioctl(fd, TUNSETIFF, &r) != 0 || ioctl(fd, TUNSETOWNER, (unsigned long)uid) != 0 ||
		ioctl(fd, TUNSETPERSIST, 1UL) != 0)
		err = -errno;
	close(fd);
	return err;
}

int link_del(struct link_sock *s, const char *name)
{
	struct nl_request q;
	begin_change(&q, RTM_DELLINK, name, 0, 0);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_move(struct link_sock *s, const char *name, int netns_fd)
{
	struct nl_request q;
	begin_change(&q, RTM_NEWLINK, name, 0, 0);
	nl_put_u32(&q, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_add_address(struct link_sock *s, const char *name, const struct addr *a, unsigned prefix)
{
	struct nl_request q;
	int index = 0, err = link_index(s, name, &index);
	struct ifaddrmsg h = { .ifa_family = a->len == 4 ? AF_INET : AF_INET6,
		.ifa_prefixlen = (uint8_t)prefix,
		.ifa_flags = a->len == 16 ? IFA_F_NODAD : 0,
		.ifa_index = (unsigned)index };
	if (err != 0)
		return err;
	nl_begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
	nl_put(&q, IFA_LOCAL, a->b, a->len);
	nl_put(&q, IFA_ADDRESS, a->b, a->len);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_add_route(struct link_sock *s, const char *name, const struct addr *net, unsigned prefix,
	const struct addr *via, const struct addr *src)
{
	struct nl_request q;
	int index = 0, err = link_index(s, name, &index);
	struct rtmsg h = { .rtm_family = net->len == 4 ? AF_INET : AF_INET6,
		.rtm_dst_len = (uint8_t)prefix,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_type = RTN_UNICAST,
		.rtm_scope = via == NULL && net->len == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE };
	if (err != 0)
		return err;
	nl_begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
	if (prefix > 0)
		nl_put(&q, RTA_DST, net->b, net->len);
	nl_put_u32(&q, RTA_OIF, (uint32_t)index);
	if (via != NULL)
		nl_put(&q, RTA_GATEWAY, via->b, via->len);
	if (src != NULL)
		nl_put(&q, RTA_PREFSRC, src->b, src->len);
	return nl_talk(s->fd, &q, NULL, NULL);
}

int link_add_neighbour(struct link_sock *s, const char *name, const struct addr *a, const struct mac *mac)
{
	struct nl_request q;
	int index = 0, err = link_index(s, name, &index);
	struct ndmsg h = { .ndm_family = a->len == 4 ? AF_INET : AF_INET6,
		.ndm_ifindex = index,
		.ndm_state = NUD_PERMANENT };
	if (err != 0)
		return err;
	nl_begin(&q, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &h, sizeof(h));
	nl_put(&q, NDA_DST, a->b, a->len);
	nl_put(&q, NDA_LLADDR, mac->b, sizeof(mac->b));
	return nl_talk(s->fd, &q, NULL, NULL);
}

static int visit_family(void *arg, uint16_t type, const uint8_t *body, size_t len)
{
	bool *found = arg;
	(void)type;
	(void)body;
	*found = *found || len > 0;
	return 0;
}

bool link_has_genl_family(const char *family)
{
	struct nl_request q;
	struct genlmsghdr h = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 };
	bool found = false;
	int fd = nl_open(NETLINK_GENERIC);
	if (fd < 0)
		return false;
	nl_begin(&q, GENL_ID_CTRL, 0, &h, sizeof(h));
	nl_put_text(&q, CTRL_ATTR_FAMILY_NAME, family);
	int err = nl_talk(fd, &q, visit_family, &found);
	close(fd);
	return err == 0 && found;
}

struct route_search {
	int except;
	bool found;
};

static int visit_route(void *arg, uint16_t type, const uint8_t *body, size_t len)
{
	struct route_search *w = arg;
	struct rtmsg m;
	size_t n;
	if (type != RTM_NEWROUTE || len < sizeof(m))
		return 0;
	memcpy(&m, body, sizeof(m));
	if (m.rtm_dst_len != 0 || m.rtm_type != RTN_UNICAST || m.rtm_table != RT_TABLE_MAIN)
		return 0;
	const uint8_t *oif = nl_find(body + NLMSG_ALIGN(sizeof(m)), len - NLMSG_ALIGN(sizeof(m)), RTA_OIF, &n);
	w->found = w->found || (int)nl_u32(oif) != w->except || oif == NULL;
	return 0;
}

bool link_has_default_route(struct link_sock *s, uint8_t family_len, const char *except)
{
	struct nl_request q;
	struct rtmsg h = { .rtm_family = family_len == 4 ? AF_INET : AF_INET6 };
	struct route_search w = { .except = -1 };
	if (except != NULL && link_index(s, except, &w.except) != 0)
		w.except = -1;
	nl_begin(&q, RTM_GETROUTE, NLM_F_DUMP, &h, sizeof(h));
	return nl_talk(s->fd, &q, visit_route, &w) == 0 && w.found;
}

int link_set_offload(const char *name, bool on)
{
	static const uint32_t commands[] = { ETHTOOL_STXCSUM, ETHTOOL_SSG, ETHTOOL_STSO, ETHTOOL_SGSO };
	struct ifreq r = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	if (fd < 0)
		return -errno;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct ethtool_value v = { .cmd = commands[i], .data = on };
		r.ifr_data = (char *)&v;
		/* Only the checksum matters; the others follow it or do not exist on this driver. */
		if (ioctl(fd, SIOCETHTOOL, &r) != 0 && i == 0)
			err = -errno;
	}
	close(fd);
	return err;
}

static int __attribute__((format(printf, 3, 4))) refuse(char *error, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, LINK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

/* What holds for every interface that is to become a port. */
static int check_free(struct link_sock *s, const char *name, struct link_info *ret, char *error)
{
	int err = link_get(s, name, ret);
	if (err == -ENODEV)
		return refuse(error, err, "there is no interface %s", name);
	if (err != 0)
		return refuse(error, err, "cannot look at interface %s: %s", name, strerror(-err));
	if (!ret->ethernet)
		return refuse(error, -EINVAL, "%s is no Ethernet interface", name);
	if (ret->master != 0)
		return refuse(error, -EBUSY,
			"%s belongs to another bridge or bond; take it out first: ip link set %s nomaster", name, name);
	return 0;
}

int link_check_attachable(struct link_sock *s, const char *name, char *error)
{
	struct link_info i;
	int err = check_free(s, name, &i, error);
	if (err != 0)
		return err;
	if (strcmp(i.kind, "veth") != 0 && !i.tap)
		return refuse(error, -EINVAL, "%s is neither a veth nor a tap", name);
	if (i.n_addresses > 0)
		return refuse(error, -EADDRINUSE,
			"%s carries an address of the host; remove it first: ip addr flush dev %s", name, name);
	return 0;
}

int link_check_uplink(struct link_sock *s, const char *name, bool share, char *error)
{
	struct link_info i;
	int err = check_free(s, name, &i, error);
	if (err != 0)
		return err;
	if (i.wireless)
		return refuse(error, -EOPNOTSUPP, "%s is Wi-Fi, which cannot be a port of a bridge; use uplink = nat",
			name);
	if (i.n_addresses > 0 && !share)
		return refuse(error, -EADDRINUSE,
			"%s carries the host's own addresses; use uplink = nat, or another interface", name);
	return 0;
}

int link_prepare(struct link_sock *s, const char *name, bool tso)
{
	int err = link_set_up(s, name, false);
	if (err == 0)
		err = link_set_no_ipv6_auto(s, name);
	/* A tap has no such switch: its owner decides by TUNSETOFFLOAD. */
	int offload = err == 0 ? link_set_offload(name, tso) : 0;
	return offload == -EOPNOTSUPP || offload == -EINVAL ? err : err != 0 ? err : offload;
}

void link_release(struct link_sock *s, const char *name)
{
	if (link_set_up(s, name, false) != 0)
		return;
	int err = link_set_addr_gen(s, name, IN6_ADDR_GEN_MODE_EUI64);
	if (err == 0)
		err = link_set_offload(name, true);
	(void)err; /* it may vanish under our hands, which is an end, too */
}
