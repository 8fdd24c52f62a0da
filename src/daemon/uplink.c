/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/uplink.h"

#include "daemon/hostct.h"
#include "daemon/nft.h"
#include "daemon/sysctl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int __attribute__((format(printf, 3, 4))) fail(char *error, int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(error, UPLINK_ERROR_MAX, fmt, ap);
	va_end(ap);
	return err;
}

static void state_path(const char *run_dir, char ret[256])
{
	snprintf(ret, 256, "%s/uplink.state", run_dir);
}

static bool is_zero(const char *key)
{
	char value[SYSCTL_VALUE_MAX];
	return sysctl_read(key, value) == 0 && strcmp(value, "0") == 0;
}

static bool has_ipv6(void)
{
	char value[SYSCTL_VALUE_MAX];
	return sysctl_read("ipv6/conf/all/forwarding", value) == 0;
}

/* One interface: its own forwarding is recorded because writing conf/all changes it, and a host that takes its default
 * route from router advertisements goes on doing so only with accept_ra = 2 once it forwards (ip-sysctl, accept_ra). */
static int record_interface(struct sysctl_record *r, const char *family, const char *name)
{
	char key[SYSCTL_KEY_MAX], value[SYSCTL_VALUE_MAX];
	int err = 0;
	snprintf(key, sizeof(key), "%s/conf/%.32s/accept_ra", family, name);
	if (sysctl_read(key, value) == 0 && strcmp(value, "1") == 0)
		err = sysctl_record_add(r, key, "2");
	snprintf(key, sizeof(key), "%s/conf/%.32s/forwarding", family, name);
	return err != 0 ? err : sysctl_record_add(r, key, "1");
}

static int record_family(struct sysctl_record *r, const char *family, const char *except)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf", family);
	DIR *d = opendir(path);
	int err = d == NULL ? -errno : 0;
	for (struct dirent *e; err == 0 && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] != '.' && strcmp(e->d_name, "all") != 0 && strcmp(e->d_name, except) != 0)
			err = record_interface(r, family, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	return err;
}

/* The switch for all comes last: applied after the rest, put back before it. */
static int forwarding_on(const struct uplink_conf *c)
{
	char path[256];
	struct sysctl_record *r;
	state_path(c->run_dir, path);
	if (access(path, F_OK) == 0)
		return 0;
	int err = sysctl_record_new(path, &r);
	if (err != 0)
		return err;
	err = record_family(r, "ipv4", c->port);
	if (err == 0 && c->v6.net.len != 0)
		err = record_family(r, "ipv6", c->port);
	if (err == 0 && c->v6.net.len != 0)
		err = sysctl_record_add(r, "ipv6/conf/all/forwarding", "1");
	if (err == 0)
		err = sysctl_record_add(r, "ipv4/ip_forward", "1");
	if (err != 0) {
		free(r);
		return err;
	}
	return sysctl_record_apply(r);
}

/* The guests are reached by one next hop with a permanent neighbour: a guest that uses many addresses fills no table of
 * the host's. */
static int net_up(struct link_sock *s, const char *port, const struct uplink_net *n, const struct mac *mac)
{
	unsigned host = n->net.len * 8U;
	int err = link_add_address(s, port, &n->gateway, host);
	if (err == 0)
		err = link_add_neighbour(s, port, &n->next_hop, mac);
	if (err == 0)
		err = link_add_route(s, port, &n->next_hop, host, NULL, &n->gateway);
	if (err == 0)
		err = link_add_route(s, port, &n->net, n->prefix, &n->next_hop, &n->gateway);
	return err;
}

static void port_sysctls(const char *port)
{
	static const struct {
		const char *key, *value;
	} all[] = { { "ipv6/conf/%s/disable_ipv6", "0" }, { "ipv6/conf/%s/accept_ra", "0" },
		{ "ipv6/conf/%s/accept_redirects", "0" }, { "ipv4/conf/%s/accept_redirects", "0" },
		{ "ipv4/conf/%s/send_redirects", "0" }, { "ipv4/conf/%s/arp_ignore", "8" } };
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char key[SYSCTL_KEY_MAX];
		size_t head = strcspn(all[i].key, "%");
		snprintf(key, sizeof(key), "%.*s%.15s%s", (int)head, all[i].key, port, all[i].key + head + 2);
		/* They live and die with our port; where one does not exist there is nothing to forbid. */
		if (sysctl_write(key, all[i].value) != 0)
			continue;
	}
}

static int links_up(struct link_sock *s, const struct uplink_conf *c, char *error)
{
	int err = link_set_no_ipv6_auto(s, c->port);
	if (err == 0)
		err = link_set_up(s, c->port, true);
	if (err != 0)
		return fail(error, err, "the uplink port %s cannot be used: %s", c->port, strerror(-err));
	port_sysctls(c->port);
	err = net_up(s, c->port, &c->v4, &c->next_hop_mac);
	if (err == 0 && c->v6.net.len != 0)
		err = net_up(s, c->port, &c->v6, &c->next_hop_mac);
	return err == 0 ? 0 : fail(error, err, "cannot give %s its addresses and routes: %s", c->port, strerror(-err));
}

/* Whether the host did not forward before us; our record knows it when an earlier run has changed it already. */
static bool was_closed(const struct uplink_conf *c, const char *key)
{
	char path[256], before[SYSCTL_VALUE_MAX];
	state_path(c->run_dir, path);
	return sysctl_recorded(path, key, before) ? strcmp(before, "0") == 0 : is_zero(key);
}

int uplink_nat_up(const struct uplink_conf *conf, char *error)
{
	struct uplink_conf c = *conf;
	struct link_sock *s;
	if (!has_ipv6())
		c.v6.net.len = 0;
	int err = link_open(&s);
	if (err != 0)
		return fail(error, err, "cannot speak to the kernel: %s", strerror(-err));
	err = links_up(s, &c, error);
	link_close(s);
	if (err != 0)
		return err;
	/* The filter stands before the host forwards its first packet. */
	err = nft_make_table(&c, was_closed(&c, "ipv4/ip_forward"),
		c.v6.net.len != 0 && was_closed(&c, "ipv6/conf/all/forwarding"), error);
	if (err != 0)
		return err;
	err = forwarding_on(&c);
	return err == 0 ? 0 : fail(error, err, "cannot make the host forward: %s", strerror(-err));
}

/* Translations outlive the rules that made them, on a host that has others of its own; an answer of the world would be
 * translated and, with our port gone, sent on to the host's default route. */
static int forget_connections(const struct uplink_conf *c)
{
	int v4 = hostct_forget(&c->v4.net, c->v4.prefix), v6 = hostct_forget(&c->v6.net, c->v6.prefix);
	return v4 != 0 ? v4 : v6;
}

int uplink_nat_down(const struct uplink_conf *c, char *error)
{
	char path[256];
	state_path(c->run_dir, path);
	if (access(path, F_OK) != 0)
		return 0;
	int forgot = forget_connections(c);
	sysctl_restore(path);
	int err = nft_drop_table(error);
	if (err == 0 && forgot != 0)
		err = fail(error, forgot, "the host still knows connections of applications: %s", strerror(-forgot));
	return err;
}

/* TCP with SO_REUSEADDR, so that what only lingers in TIME_WAIT is no holder; for UDP that would share the port. */
static bool bind_refused(int family, uint8_t protocol, uint16_t port)
{
	bool tcp = protocol == IPPROTO_TCP, refused = false;
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	const void *sa = family == AF_INET ? (const void *)&a4 : (const void *)&a6;
	int one = 1, fd = socket(family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	if ((family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0) ||
		(tcp && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0) ||
		bind(fd, sa, family == AF_INET ? sizeof(a4) : sizeof(a6)) != 0)
		refused = errno == EADDRINUSE;
	close(fd);
	return refused;
}

bool uplink_port_held(uint8_t protocol, uint16_t port)
{
	return bind_refused(AF_INET, protocol, port) || bind_refused(AF_INET6, protocol, port);
}

int uplink_set_forwards(const struct uplink_conf *conf, const struct uplink_forward *f, unsigned n, char *error)
{
	if (n > UPLINK_FORWARDS_MAX)
		return fail(error, -E2BIG, "at most %d forwarded ports", UPLINK_FORWARDS_MAX);
	return nft_set_forwards(conf, f, n, error);
}
