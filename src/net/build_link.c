/* SPDX-License-Identifier: Apache-2.0 */
#include "net/build.h"
#include "net/wire.h"

#include <errno.h>
#include <string.h>

enum { ND_HOP_LIMIT = 255, ETH_MIN = 60 };
enum { OPTION_SOURCE_LLA = 1, OPTION_TARGET_LLA = 2, OPTION_PREFIX = 3, OPTION_MTU = 5, OPTION_RDNSS = 25 };

static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

static int put_arp(struct wr *w, const struct arp *a)
{
	size_t start = w->len;
	wire_put_mac(w, &a->eth_dst);
	wire_put_mac(w, &a->eth_src);
	wr_u16(w, ETHERTYPE_ARP);
	wr_u16(w, 1);
	wr_u16(w, ETHERTYPE_IPV4);
	wr_u16(w, 0x0604);
	wr_u16(w, a->op);
	wire_put_mac(w, &a->sha);
	wire_put_addr(w, &a->spa);
	wire_put_mac(w, &a->tha);
	wire_put_addr(w, &a->tpa);
	wr_zero(w, ETH_MIN - (w->len - start < ETH_MIN ? w->len - start : ETH_MIN));
	return wr_ok(w) ? 0 : -ENOSPC;
}

int build_arp_reply(struct wr *w, const struct arp *request, const struct mac *mac)
{
	if (request->op != ARP_REQUEST)
		return -EINVAL;
	struct arp a = { .eth_src = *mac,
		.eth_dst = request->sha,
		.op = ARP_REPLY,
		.sha = *mac,
		.spa = request->tpa,
		.tha = request->sha,
		.tpa = request->spa };
	return put_arp(w, &a);
}

int build_arp_request(struct wr *w, const struct mac *mac, const struct addr *src, const struct addr *target)
{
	if (src->len != 4 || target->len != 4)
		return -EINVAL;
	struct arp a = { .eth_src = *mac,
		.eth_dst = broadcast,
		.op = ARP_REQUEST,
		.sha = *mac,
		.spa = *src,
		.tpa = *target };
	return put_arp(w, &a);
}

static void put_lla(struct wr *w, uint8_t option, const struct mac *mac)
{
	wr_u8(w, option);
	wr_u8(w, 1);
	wire_put_mac(w, mac);
}

static void put_icmp6(struct wr *w, uint8_t type, uint32_t word)
{
	wr_u8(w, type);
	wr_u8(w, 0);
	wr_u16(w, 0);
	wr_u32(w, word);
}

/* Back to who asked, or to all nodes when it has no address yet. */
static struct wire_frame to_solicitor(const struct nd *solicit, const struct mac *mac, const struct addr *src)
{
	struct wire_frame f = { .eth_src = *mac, .src = *src, .proto = IP_ICMP6, .ttl = ND_HOP_LIMIT };
	if (solicit != NULL && !addr_is_unspecified(&solicit->src)) {
		f.eth_dst = solicit->eth_src;
		f.dst = solicit->src;
	} else {
		f.dst = wire_all_nodes();
		f.eth_dst = wire_multicast_mac6(&f.dst);
	}
	return f;
}

int build_neighbor_advert(struct wr *w, const struct nd *solicit, const struct mac *mac, bool router)
{
	if (solicit->type != ND_NS)
		return -EINVAL;
	struct wire_frame f = to_solicitor(solicit, mac, &solicit->target);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	uint32_t solicited = addr_is_unspecified(&solicit->src) ? 0 : 0x40000000U;
	put_icmp6(w, ND_NA, (router ? 0x80000000U : 0) | solicited | 0x20000000U);
	wire_put_addr(w, &solicit->target);
	put_lla(w, OPTION_TARGET_LLA, mac);
	return wire_end(w, start);
}

int build_neighbor_solicit(struct wr *w, const struct mac *mac, const struct addr *src, const struct addr *target)
{
	if (src->len != 16 || target->len != 16 || addr_is_multicast(target) || addr_is_unspecified(target))
		return -EINVAL;
	static const uint8_t group[13] = { 0xff, 0x02, [11] = 1, 0xff };
	struct wire_frame f = { .eth_src = *mac, .src = *src, .dst = *target, .proto = IP_ICMP6, .ttl = ND_HOP_LIMIT };
	memcpy(f.dst.b, group, sizeof(group));
	f.eth_dst = wire_multicast_mac6(&f.dst);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	put_icmp6(w, ND_NS, 0);
	wire_put_addr(w, target);
	if (!addr_is_unspecified(src))
		put_lla(w, OPTION_SOURCE_LLA, mac);
	return wire_end(w, start);
}

static void put_prefix(struct wr *w, const struct router_advert *ra)
{
	wr_u8(w, OPTION_PREFIX);
	wr_u8(w, 4);
	wr_u8(w, ra->prefix_len);
	wr_u8(w, (uint8_t)((ra->on_link ? 0x80 : 0) | (ra->autonomous ? 0x40 : 0)));
	wr_u32(w, ra->valid_s);
	wr_u32(w, ra->preferred_s);
	wr_u32(w, 0);
	for (unsigned i = 0; i < 16; i++) {
		unsigned kept = ra->prefix_len > i * 8 ? ra->prefix_len - i * 8 : 0;
		unsigned cut = kept >= 8 ? 0 : 0xffU >> kept;
		wr_u8(w, (uint8_t)(ra->prefix.b[i] & ~cut));
	}
}

static void put_rdnss(struct wr *w, const struct router_advert *ra)
{
	wr_u8(w, OPTION_RDNSS);
	wr_u8(w, (uint8_t)(1 + 2 * ra->n_dns));
	wr_u16(w, 0);
	wr_u32(w, ra->dns_lifetime_s);
	for (unsigned i = 0; i < ra->n_dns; i++)
		wire_put_addr(w, &ra->dns[i]);
}

static bool router_advert_ok(const struct nd *solicit, const struct router_advert *ra)
{
	if ((solicit != NULL && solicit->type != ND_RS) || !addr_is_link_local6(&ra->src) || ra->n_dns > ROUTER_DNS_MAX)
		return false;
	for (unsigned i = 0; i < ra->n_dns; i++) {
		if (ra->dns[i].len != 16)
			return false;
	}
	return ra->prefix.len == 0 || (ra->prefix.len == 16 && ra->prefix_len <= 128 && ra->preferred_s <= ra->valid_s);
}

int build_router_advert(struct wr *w, const struct nd *solicit, const struct router_advert *ra)
{
	if (!router_advert_ok(solicit, ra))
		return -EINVAL;
	struct wire_frame f = to_solicitor(solicit, &ra->mac, &ra->src);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	uint32_t flags = (ra->managed ? 0x80U : 0) | (ra->other ? 0x40U : 0);
	put_icmp6(w, ND_RA, (uint32_t)ra->hop_limit << 24 | flags << 16 | ra->lifetime_s);
	wr_u32(w, 0);
	wr_u32(w, 0);
	put_lla(w, OPTION_SOURCE_LLA, &ra->mac);
	if (ra->mtu != 0) {
		wr_u16(w, OPTION_MTU << 8 | 1);
		wr_u16(w, 0);
		wr_u32(w, ra->mtu);
	}
	if (ra->prefix.len != 0)
		put_prefix(w, ra);
	if (ra->n_dns != 0)
		put_rdnss(w, ra);
	return wire_end(w, start);
}
