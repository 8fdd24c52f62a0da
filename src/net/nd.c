/* SPDX-License-Identifier: Apache-2.0 */
#include "net/nd.h"

#include "base/rd.h"
#include "net/checksum.h"
#include "net/wire.h"

#include <errno.h>
#include <string.h>

enum { OPTION_SOURCE_LLA = 1, OPTION_TARGET_LLA = 2 };

/* Options are units of 8 bytes; one of length 0 would never end (RFC 4861 §4.6). */
static void parse_options(struct rd *r, struct nd *nd)
{
	uint8_t wanted = nd->type == ND_NA ? OPTION_TARGET_LLA : OPTION_SOURCE_LLA;
	while (rd_left(r) > 0) {
		uint8_t type = rd_u8(r);
		uint8_t units = rd_u8(r);
		struct rd body = rd_sub(r, units == 0 ? 0 : units * 8U - 2);
		if (units == 0 || !rd_ok(&body)) {
			rd_fail(r);
		} else if (type == wanted) {
			if (nd->has_lla || units != 1)
				rd_fail(r);
			nd->lla = wire_mac(&body);
			nd->has_lla = true;
		}
	}
}

static bool solicited_node(const struct addr *a)
{
	static const uint8_t prefix[13] = { 0xff, 0x02, [11] = 1, 0xff };
	return a->len == 16 && memcmp(a->b, prefix, sizeof(prefix)) == 0;
}

/* RFC 4861 §6.1.1 and §7.1: what ties the fields together. */
static bool nd_lawful(const struct nd *nd)
{
	bool no_source = addr_is_unspecified(&nd->src);
	if (addr_is_multicast(&nd->src) || mac_is_group(&nd->eth_src) || (nd->has_lla && mac_is_group(&nd->lla)))
		return false;
	if (nd->type == ND_RS)
		return !(no_source && nd->has_lla);
	if (addr_is_multicast(&nd->target) || addr_is_unspecified(&nd->target))
		return false;
	if (nd->type == ND_NS)
		return !no_source || (!nd->has_lla && solicited_node(&nd->dst));
	return !no_source && !(addr_is_multicast(&nd->dst) && nd->solicited);
}

int nd_parse(const uint8_t *frame, size_t len, const struct packet *p, struct nd *ret)
{
	if (p->kind != PACKET_IPV6 || !p->has_l4 || p->proto != IP_ICMP6)
		return -EPROTONOSUPPORT;
	if (p->icmp_type != ND_RS && p->icmp_type != ND_NS && p->icmp_type != ND_NA)
		return -EPROTONOSUPPORT;
	/* RFC 6980: ND is never fragmented. */
	if (p->len > len || p->ttl != 255 || p->icmp_code != 0 || p->fragment || !packet_l4_checksum_ok(frame, len, p))
		return -EBADMSG;
	struct nd nd = { .type = p->icmp_type,
		.eth_src = p->eth_src,
		.eth_dst = p->eth_dst,
		.src = p->src,
		.dst = p->dst };
	struct rd r = rd_init(frame + p->l4, p->len - p->l4);
	rd_skip(&r, 4);
	uint32_t flags = rd_u32(&r);
	if (nd.type != ND_RS)
		nd.target = wire_addr6(&r);
	if (nd.type == ND_NA) {
		nd.router = (flags & 0x80000000U) != 0;
		nd.solicited = (flags & 0x40000000U) != 0;
		nd.override = (flags & 0x20000000U) != 0;
	}
	parse_options(&r, &nd);
	if (!rd_done(&r) || !nd_lawful(&nd))
		return -EBADMSG;
	*ret = nd;
	return 0;
}
