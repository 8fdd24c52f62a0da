/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/hostct.h"

#include "daemon/netlink.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A table is read whole before anything of it is deleted; a fuller one in several turns. */
enum { FOUND_MAX = 65536, TURNS = 64, TUPLE_MAX = 128 };

struct tuple {
	uint8_t len;
	uint8_t attrs[TUPLE_MAX];
};

struct search {
	const struct addr *net;
	unsigned prefix, n;
	struct tuple found[FOUND_MAX];
};

static uint8_t family_of(const struct addr *net)
{
	return net->len == 4 ? AF_INET : AF_INET6;
}

static struct nfgenmsg header_of(const struct addr *net)
{
	return (struct nfgenmsg){ .nfgen_family = family_of(net), .version = NFNETLINK_V0 };
}

static bool source_in(const struct search *s, const uint8_t *tuple, size_t len)
{
	size_t ip_len, n;
	struct addr a = { .len = s->net->len };
	const uint8_t *ip = tuple == NULL ? NULL : nl_find(tuple, len, CTA_TUPLE_IP, &ip_len);
	const uint8_t *src = ip == NULL ? NULL : nl_find(ip, ip_len, a.len == 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, &n);
	if (src == NULL || n != a.len)
		return false;
	memcpy(a.b, src, n);
	return addr_in(&a, s->net, s->prefix);
}

/* A guest is the one that began, or, where the host passes a port on, the one that answers. */
static int visit(void *arg, uint16_t type, const uint8_t *body, size_t len)
{
	struct search *s = arg;
	size_t head = NLMSG_ALIGN(sizeof(struct nfgenmsg)), n = 0, reply_len = 0, zone_len;
	if (type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || len < head)
		return 0;
	const uint8_t *attrs = body + head;
	const uint8_t *orig = nl_find(attrs, len - head, CTA_TUPLE_ORIG, &n);
	const uint8_t *reply = nl_find(attrs, len - head, CTA_TUPLE_REPLY, &reply_len);
	/* Zones are the switch's, which looks after its own. */
	if (orig == NULL || n > TUPLE_MAX || s->n == FOUND_MAX ||
		nl_find(attrs, len - head, CTA_ZONE, &zone_len) != NULL ||
		(!source_in(s, orig, n) && !source_in(s, reply, reply_len)))
		return 0;
	s->found[s->n].len = (uint8_t)n;
	memcpy(s->found[s->n++].attrs, orig, n);
	return 0;
}

static int forget_some(int fd, struct search *s)
{
	struct nl_request q;
	struct nfgenmsg h = header_of(s->net);
	s->n = 0;
	nl_begin(&q, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET, NLM_F_DUMP, &h, sizeof(h));
	int err = nl_talk(fd, &q, visit, s);
	for (unsigned i = 0; err == 0 && i < s->n; i++) {
		nl_begin(&q, NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE, 0, &h, sizeof(h));
		nl_put(&q, CTA_TUPLE_ORIG | NLA_F_NESTED, s->found[i].attrs, s->found[i].len);
		err = nl_talk(fd, &q, NULL, NULL);
		/* It may have ended by itself. */
		err = err == -ENOENT ? 0 : err;
	}
	return err;
}

int hostct_forget(const struct addr *net, unsigned prefix)
{
	struct search *s = calloc(1, sizeof(*s));
	int fd = nl_open(NETLINK_NETFILTER), err = s == NULL ? -ENOMEM : fd < 0 ? fd : 0;
	for (unsigned i = 0; err == 0 && i < TURNS && (i == 0 || s->n == FOUND_MAX); i++) {
		s->net = net;
		s->prefix = prefix;
		err = forget_some(fd, s);
	}
	if (fd >= 0)
		close(fd);
	free(s);
	return err;
}
