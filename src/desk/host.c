/* SPDX-License-Identifier: Apache-2.0 */
#include "desk/host.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	TZ_PAST_S = 86400 * 2,
	TZ_FUTURE_S = 86400 * 366 * 5,
	TZ_STEP_S = 86400,
	ROUTE_BUF = 32768,
	DEFAULT_LINKS = 16,
	DUMP_MAX = 4096
};

static int32_t offset_at(time_t t)
{
	struct tm tm;
	return localtime_r(&t, &tm) == NULL ? 0 : (int32_t)tm.tm_gmtoff;
}

/* The moment between `a` and `b` at which the offset becomes that of `b`. */
static time_t offset_change(time_t a, time_t b)
{
	int32_t after = offset_at(b);
	while (b - a > 1) {
		time_t mid = a + (b - a) / 2;
		if (offset_at(mid) == after)
			b = mid;
		else
			a = mid;
	}
	return b;
}

static void read_tz(struct host *h)
{
	time_t now = time(NULL), last = now - TZ_PAST_S;
	h->tz[0] = (struct policy_tz){ .from_ms = INT64_MIN, .offset_s = offset_at(last) };
	h->n_tz = 1;
	for (time_t t = last + TZ_STEP_S; t < now + TZ_FUTURE_S && h->n_tz < HOST_TZ_MAX; t += TZ_STEP_S) {
		if (offset_at(t) != h->tz[h->n_tz - 1].offset_s)
			h->tz[h->n_tz++] = (struct policy_tz){ .from_ms = offset_change(t - TZ_STEP_S, t) * 1000LL,
				.offset_s = offset_at(t) };
	}
}

static void read_boot_id(struct host *h)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, h->boot_id, sizeof(h->boot_id) - 1);
	h->boot_id[n < 0 ? 0 : n] = '\0';
	h->boot_id[strcspn(h->boot_id, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

static int route_dump(int fd, uint16_t type, uint32_t seq)
{
	struct {
		struct nlmsghdr n;
		struct rtgenmsg g;
	} q = { .n = { .nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			.nlmsg_seq = seq },
		.g = { .rtgen_family = AF_UNSPEC } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n = sendto(fd, &q, q.n.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	return n < 0 ? -errno : 0;
}

struct addresses {
	struct policy_net net[HOST_ADDRS_MAX];
	uint32_t link[HOST_ADDRS_MAX];
	size_t n;
	uint32_t uplink[DEFAULT_LINKS];
	size_t n_uplinks;
};

static void take_address(struct addresses *a, struct nlmsghdr *n)
{
	struct ifaddrmsg *m = NLMSG_DATA(n);
	struct addr local = { 0 };
	uint8_t len = m->ifa_family == AF_INET ? 4 : 16;
	int left = (int)IFA_PAYLOAD(n);
	for (struct rtattr *r = IFA_RTA(m); RTA_OK(r, left); r = RTA_NEXT(r, left)) {
		/* IFA_ADDRESS is the peer's on a point-to-point link, so IFA_LOCAL counts where there is one. */
		bool wanted = r->rta_type == IFA_LOCAL || (r->rta_type == IFA_ADDRESS && local.len == 0);
		if (wanted && RTA_PAYLOAD(r) == len) {
			local.len = len;
			memcpy(local.b, RTA_DATA(r), len);
		}
	}
	if (local.len == 0 || a->n == HOST_ADDRS_MAX)
		return;
	a->link[a->n] = m->ifa_index;
	a->net[a->n++] = (struct policy_net){ .addr = local, .prefix = m->ifa_prefixlen };
}

static void take_route(struct addresses *a, struct nlmsghdr *n)
{
	struct rtmsg *m = NLMSG_DATA(n);
	if (m->rtm_dst_len != 0 || m->rtm_type != RTN_UNICAST)
		return;
	int left = (int)RTM_PAYLOAD(n);
	for (struct rtattr *r = RTM_RTA(m); RTA_OK(r, left); r = RTA_NEXT(r, left)) {
		uint32_t link;
		if (r->rta_type != RTA_OIF || RTA_PAYLOAD(r) != sizeof(link) || a->n_uplinks == DEFAULT_LINKS)
			continue;
		memcpy(&link, RTA_DATA(r), sizeof(link));
		a->uplink[a->n_uplinks++] = link;
	}
}

/* 1: the dump has ended. */
static int take_messages(struct addresses *a, void *buf, size_t len, uint32_t seq)
{
	for (struct nlmsghdr *n = buf; NLMSG_OK(n, len); n = NLMSG_NEXT(n, len)) {
		if (n->nlmsg_seq != seq)
			continue;
		if (n->nlmsg_type == NLMSG_DONE || n->nlmsg_type == NLMSG_ERROR)
			return 1;
		if (n->nlmsg_type == RTM_NEWADDR)
			take_address(a, n);
		else if (n->nlmsg_type == RTM_NEWROUTE)
			take_route(a, n);
	}
	return 0;
}

static int dump(int fd, uint16_t type, struct addresses *a)
{
	static uint32_t seq;
	static _Alignas(struct nlmsghdr) char buf[ROUTE_BUF];
	int err = route_dump(fd, type, ++seq);
	for (unsigned i = 0; err == 0 && i < DUMP_MAX; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -EPIPE : -errno;
		if (take_messages(a, buf, (size_t)n, seq) == 1)
			return 0;
	}
	return err != 0 ? err : -E2BIG;
}

static struct addr network_of(const struct policy_net *n)
{
	struct addr a = n->addr;
	for (unsigned bit = n->prefix; bit < a.len * 8U; bit++)
		a.b[bit / 8] &= (uint8_t) ~(0x80U >> bit % 8);
	return a;
}

static bool is_uplink(const struct addresses *a, uint32_t link)
{
	for (size_t i = 0; i < a->n_uplinks; i++) {
		if (a->uplink[i] == link)
			return true;
	}
	return false;
}

/* With the uplink port:IFACE the apps' own LAN is no network of the host's. */
static void add_lan(struct host *h, const struct plan_lan *l)
{
	struct policy_net n = { .addr = l->first, .prefix = l->prefix };
	if (l->first.len == 0 || h->n_onlink == HOST_ADDRS_MAX)
		return;
	n.addr = network_of(&n);
	h->onlink[h->n_onlink++] = n;
}

static int read_addresses(struct host *h, const struct plan *plan)
{
	static struct addresses a;
	a.n = a.n_uplinks = 0;
	int err = dump(h->route_fd, RTM_GETADDR, &a);
	if (err == 0)
		err = dump(h->route_fd, RTM_GETROUTE, &a);
	if (err != 0)
		return err;
	h->n_host = h->n_onlink = 0;
	for (size_t i = 0; i < a.n; i++) {
		const struct policy_net *n = &a.net[i];
		bool ours =
			addr_in(&n->addr, &plan->v4, plan->v4_prefix) || addr_in(&n->addr, &plan->v6, PLAN_V6_PREFIX);
		h->host[h->n_host++] = (struct policy_net){ .addr = n->addr, .prefix = (uint8_t)(n->addr.len * 8U) };
		if (!ours && n->prefix < n->addr.len * 8U && is_uplink(&a, a.link[i]))
			h->onlink[h->n_onlink++] = (struct policy_net){ .addr = network_of(n), .prefix = n->prefix };
	}
	add_lan(h, &plan->lan4);
	add_lan(h, &plan->lan6);
	return 0;
}

static int open_route(struct host *h)
{
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE };
	struct timeval patience = { .tv_sec = 2 };
	h->route_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (h->route_fd < 0 || bind(h->route_fd, (const struct sockaddr *)&sa, sizeof(sa)) != 0)
		return -errno;
	return setsockopt(h->route_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 ? 0 : -errno;
}

int host_open(struct host *h, const struct plan *plan)
{
	*h = (struct host){ .passwd_fd = -1, .group_fd = -1, .route_fd = -1 };
	h->peers[0] = (struct policy_net){ .addr = plan->v4, .prefix = plan->v4_prefix };
	h->peers[1] = (struct policy_net){ .addr = plan->v6, .prefix = PLAN_V6_PREFIX };
	h->synthetic[0] = (struct policy_net){ .addr = plan_syn6(plan, 0), .prefix = 96 };
	read_tz(h);
	read_boot_id(h);
	h->passwd_fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	h->group_fd = h->passwd_fd < 0 ? -1 : open("/etc/group", O_RDONLY | O_CLOEXEC);
	int err = h->group_fd < 0 ? -errno : open_route(h);
	if (err == 0)
		err = read_addresses(h, plan);
	if (err != 0)
		host_close(h);
	return err;
}

void host_close(struct host *h)
{
	int *fds[] = { &h->passwd_fd, &h->group_fd, &h->route_fd };
	for (unsigned i = 0; i < 3; i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

bool host_route_event(struct host *h, const struct plan *plan)
{
	static char buf[ROUTE_BUF];
	ssize_t n;
	unsigned turns = 0;
	do
		n = recv(h->route_fd, buf, sizeof(buf), MSG_DONTWAIT);
	while ((n > 0 || (n < 0 && errno == ENOBUFS)) && ++turns < DUMP_MAX);
	static struct host before;
	before = *h;
	if (read_addresses(h, plan) != 0) {
		*h = before;
		return false;
	}
	return before.n_host != h->n_host || before.n_onlink != h->n_onlink ||
	       memcmp(before.host, h->host, sizeof(h->host)) != 0 ||
	       memcmp(before.onlink, h->onlink, sizeof(h->onlink)) != 0;
}

struct policy_env host_env(const struct host *h)
{
	return (struct policy_env){ .host = h->host,
		.n_host = h->n_host,
		.peers = h->peers,
		.n_peers = 2,
		.onlink = h->onlink,
		.n_onlink = h->n_onlink,
		.synthetic = h->synthetic,
		.n_synthetic = 1,
		.tz = h->tz,
		.n_tz = h->n_tz };
}

/*
 * getpwuid() and getgrouplist() need the files by name, which the empty root does not have; so the kept descriptors are
 * read afresh each time. Users that are not in these files (NSS) do not exist for us, which policy.md asks for.
 */
static FILE *reread(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	FILE *f = copy < 0 || lseek(copy, 0, SEEK_SET) != 0 ? NULL : fdopen(copy, "r");
	if (f == NULL && copy >= 0)
		close(copy);
	return f;
}

static int find_user(const struct host *h, const char *name, uid_t uid, struct host_user *ret)
{
	FILE *f = reread(h->passwd_fd);
	if (f == NULL)
		return -errno;
	int err = -ENOENT;
	for (struct passwd *p; err != 0 && (p = fgetpwent(f)) != NULL;) {
		if (name != NULL ? strcmp(p->pw_name, name) != 0 : p->pw_uid != uid)
			continue;
		*ret = (struct host_user){ .uid = p->pw_uid, .gid = p->pw_gid };
		snprintf(ret->name, sizeof(ret->name), "%s", p->pw_name);
		snprintf(ret->home, sizeof(ret->home), "%s", p->pw_dir);
		err = 0;
	}
	fclose(f);
	return err;
}

int host_user_by_uid(const struct host *h, uid_t uid, struct host_user *ret)
{
	return find_user(h, NULL, uid, ret);
}

int host_user_by_name(const struct host *h, const char *name, struct host_user *ret)
{
	return find_user(h, name, 0, ret);
}

bool host_user_in_group(const struct host *h, const struct host_user *u, const char *group)
{
	FILE *f = reread(h->group_fd);
	if (f == NULL)
		return false;
	bool found = false;
	for (struct group *g; !found && (g = fgetgrent(f)) != NULL;) {
		if (strcmp(g->gr_name, group) != 0)
			continue;
		found = g->gr_gid == u->gid;
		for (char **m = g->gr_mem; !found && *m != NULL; m++)
			found = strcmp(*m, u->name) == 0;
	}
	fclose(f);
	return found;
}

bool host_users_stale(const struct host *h)
{
	struct stat p, g;
	return fstat(h->passwd_fd, &p) != 0 || fstat(h->group_fd, &g) != 0 || p.st_nlink == 0 || g.st_nlink == 0;
}
