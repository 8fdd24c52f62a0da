/* SPDX-License-Identifier: Apache-2.0 */
#include "net/packet.h"

#include "base/rd.h"
#include "net/checksum.h"
#include "net/wire.h"

#include <errno.h>
#include <string.h>

bool addr_is_multicast(const struct addr *a)
{
	return (a->len == 4 && a->b[0] >= 224 && (a->b[0] < 240 || addr_to_u32(a) == UINT32_MAX)) ||
	       (a->len == 16 && a->b[0] == 0xff);
}

bool addr_is_unspecified(const struct addr *a)
{
	static const uint8_t zero[16];
	return memcmp(a->b, zero, a->len) == 0;
}

bool addr_is_link_local6(const struct addr *a)
{
	return a->len == 16 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

bool mac_is_group(const struct mac *m)
{
	return (m->b[0] & 1) != 0;
}

/* Where `r`, a part of the frame, stands: only whole frames start at offset 0, so offsets follow from what is left
 * before it. */
static uint32_t offset_of(const uint8_t *frame, const struct rd *r)
{
	return (uint32_t)(r->p - frame);
}

static void parse_tcp(struct rd *r, struct packet *p)
{
	struct rd head = rd_sub(r, 20);
	p->sport = rd_u16(&head);
	p->dport = rd_u16(&head);
	p->tcp_seq = rd_u32(&head);
	p->tcp_ack = rd_u32(&head);
	uint8_t off = rd_u8(&head);
	p->tcp_flags = rd_u8(&head);
	uint32_t bytes = (uint32_t)(off >> 4) * 4;
	if (bytes < 20)
		rd_fail(r);
	else
		rd_skip(r, bytes - 20);
}

static void parse_udp(struct rd *r, struct packet *p)
{
	size_t whole = rd_left(r);
	p->sport = rd_u16(r);
	p->dport = rd_u16(r);
	uint16_t len = rd_u16(r);
	rd_skip(r, 2);
	/* A first fragment announces the length of all. */
	if (p->fragment ? len < whole : len != whole)
		rd_fail(r);
}

static void parse_sctp(struct rd *r, struct packet *p)
{
	p->sport = rd_u16(r);
	p->dport = rd_u16(r);
	rd_skip(r, 8);
}

static bool icmp4_error(uint8_t type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static bool icmp4_has_id(uint8_t type)
{
	return type == 0 || type == 8 || (type >= 13 && type <= 18);
}

static void parse_icmp(struct rd *r, struct packet *p)
{
	p->icmp_type = rd_u8(r);
	p->icmp_code = rd_u8(r);
	rd_skip(r, 2);
	uint16_t id = rd_u16(r);
	rd_skip(r, 2);
	bool v4 = p->kind == PACKET_IPV4;
	p->icmp_error = v4 ? icmp4_error(p->icmp_type) : p->icmp_type < 128;
	if (v4 ? icmp4_has_id(p->icmp_type) : p->icmp_type == ICMP6_ECHO_REQUEST || p->icmp_type == ICMP6_ECHO_REPLY)
		p->icmp_id = id;
}

/* `r` holds exactly what the IP header says follows. */
static void parse_l4(const uint8_t *frame, struct rd *r, struct packet *p)
{
	p->l4 = p->payload = offset_of(frame, r);
	if (p->later_fragment)
		return;
	bool icmp = p->proto == (p->kind == PACKET_IPV4 ? IP_ICMP : IP_ICMP6);
	if (p->proto == IP_TCP)
		parse_tcp(r, p);
	else if (p->proto == IP_UDP)
		parse_udp(r, p);
	else if (p->proto == IP_SCTP)
		parse_sctp(r, p);
	else if (icmp)
		parse_icmp(r, p);
	else
		return;
	p->has_l4 = true;
	if (rd_ok(r))
		p->payload = offset_of(frame, r);
}

static void parse_ipv4_options(struct rd *opts)
{
	while (rd_left(opts) > 0) {
		uint8_t kind = rd_u8(opts);
		if (kind == 0)
			break;
		if (kind == 1)
			continue;
		uint8_t len = rd_u8(opts);
		/* Loose and strict source routing: the address judged would not be where the packet goes. */
		if (len < 2 || kind == 131 || kind == 137)
			rd_fail(opts);
		else
			rd_skip(opts, len - 2U);
	}
}

static int parse_ipv4(const uint8_t *frame, struct rd *r, struct packet *p)
{
	size_t room = rd_left(r);
	const uint8_t *header = r->p;
	uint8_t ver_ihl = rd_u8(r);
	rd_skip(r, 1);
	uint16_t total = rd_u16(r);
	rd_skip(r, 2);
	uint16_t frag = rd_u16(r);
	p->ttl = rd_u8(r);
	p->proto = rd_u8(r);
	rd_skip(r, 2);
	p->src = wire_addr4(r);
	p->dst = wire_addr4(r);
	uint32_t ihl = (ver_ihl & 0x0fU) * 4;
	if (!rd_ok(r) || ver_ihl >> 4 != 4 || ihl < 20 || total < ihl || total > room)
		return -EBADMSG;
	struct rd body = rd_sub(r, total - 20U);
	struct rd opts = rd_sub(&body, ihl - 20);
	parse_ipv4_options(&opts);
	if (!rd_ok(&opts) || !rd_ok(&body) || checksum_fold(checksum_add(0, header, ihl)) != 0)
		return -EBADMSG;
	p->options = ihl > 20;
	p->later_fragment = (frag & 0x1fff) != 0;
	p->more_fragments = (frag & 0x2000) != 0;
	p->fragment = p->later_fragment || p->more_fragments;
	/* An offset and length past 65,535 is the ping of death; pieces but the last are whole units of 8 bytes. */
	uint32_t begin = (frag & 0x1fffU) * 8, data = total - ihl;
	if (begin + data > 65535 - ihl || (p->more_fragments && (data % 8 != 0 || data == 0)))
		return -EBADMSG;
	p->len = p->l3 + total;
	parse_l4(frame, &body, p);
	return rd_ok(&body) ? 0 : -EBADMSG;
}

static void parse_fragment_header(struct rd *r, struct packet *p)
{
	rd_skip(r, 1);
	uint16_t field = rd_u16(r);
	rd_skip(r, 4);
	uint32_t begin = field & 0xfff8U;
	if (p->fragment || (begin + rd_left(r) > 65535) ||
		((field & 1) != 0 && (rd_left(r) % 8 != 0 || rd_left(r) == 0)))
		rd_fail(r);
	p->fragment = true;
	p->more_fragments = (field & 1) != 0;
	p->later_fragment = begin != 0;
}

/* The type-length-value options of hop-by-hop and destination headers; a jumbo payload (194) would make every length
 * here a lie. */
static void parse_ext_options(struct rd *opts)
{
	while (rd_left(opts) > 0) {
		uint8_t type = rd_u8(opts);
		if (type == 0)
			continue;
		uint8_t len = rd_u8(opts);
		if (type == 194)
			rd_fail(opts);
		rd_skip(opts, len);
	}
}

static void parse_extension(struct rd *r, uint8_t kind)
{
	uint8_t len = rd_u8(r);
	struct rd body = rd_sub(r, 6 + len * 8U);
	if (kind == IP_ROUTING) {
		rd_skip(&body, 1);
		/* With segments left the destination is not yet the true one. */
		if (rd_u8(&body) != 0)
			rd_fail(&body);
	} else {
		parse_ext_options(&body);
	}
	if (!rd_ok(&body))
		rd_fail(r);
}

/* Walks the chain to the upper protocol (RFC 8200 §4.1); -1 when it is malformed or too long. */
static int parse_ext_chain(struct rd *r, struct packet *p, uint8_t next)
{
	for (unsigned i = 0; i <= IPV6_EXT_MAX; i++) {
		bool first = i == 0;
		if (next != IP_HOPOPTS && next != IP_ROUTING && next != IP_DSTOPTS && next != IP_FRAGMENT)
			return next;
		uint8_t kind = next;
		next = rd_u8(r);
		if (kind == IP_HOPOPTS && !first)
			return -1;
		if (kind == IP_FRAGMENT) {
			parse_fragment_header(r, p);
			if (p->later_fragment)
				return rd_ok(r) ? next : -1;
		} else {
			p->options = true;
			parse_extension(r, kind);
		}
		if (!rd_ok(r))
			return -1;
	}
	return -1;
}

static int parse_ipv6(const uint8_t *frame, struct rd *r, struct packet *p)
{
	uint32_t ver = rd_u32(r);
	uint16_t payload = rd_u16(r);
	uint8_t next = rd_u8(r);
	p->ttl = rd_u8(r);
	p->src = wire_addr6(r);
	p->dst = wire_addr6(r);
	struct rd body = rd_sub(r, payload);
	if (!rd_ok(&body) || ver >> 28 != 6)
		return -EBADMSG;
	int proto = parse_ext_chain(&body, p, next);
	if (proto < 0)
		return -EBADMSG;
	p->proto = (uint8_t)proto;
	p->len = p->l3 + IPV6_HEADER_BYTES + payload;
	parse_l4(frame, &body, p);
	return rd_ok(&body) ? 0 : -EBADMSG;
}

static int parse_arp(struct rd *r, struct packet *p)
{
	struct rd body = rd_sub(r, ARP_BYTES);
	uint16_t hardware = rd_u16(&body);
	uint16_t protocol = rd_u16(&body);
	uint16_t lengths = rd_u16(&body);
	rd_skip(&body, 2 + ETH_ADDR_BYTES);
	p->src = wire_addr4(&body);
	rd_skip(&body, ETH_ADDR_BYTES);
	p->dst = wire_addr4(&body);
	if (!rd_done(&body) || hardware != 1 || protocol != ETHERTYPE_IPV4 || lengths != 0x0604)
		return -EBADMSG;
	p->len = p->l4 = p->payload = ETH_HEADER_BYTES + ARP_BYTES;
	return 0;
}

int packet_parse(const uint8_t *frame, size_t len, struct packet *ret)
{
	if (len > PACKET_MAX)
		return -EBADMSG;
	struct rd r = rd_init(frame, len);
	struct packet p = { .l3 = ETH_HEADER_BYTES };
	p.eth_dst = wire_mac(&r);
	p.eth_src = wire_mac(&r);
	uint16_t type = rd_u16(&r);
	int err;
	if (!rd_ok(&r)) {
		err = -EBADMSG;
	} else if (type == ETHERTYPE_IPV4) {
		p.kind = PACKET_IPV4;
		err = parse_ipv4(frame, &r, &p);
	} else if (type == ETHERTYPE_IPV6) {
		p.kind = PACKET_IPV6;
		err = parse_ipv6(frame, &r, &p);
	} else if (type == ETHERTYPE_ARP) {
		p.kind = PACKET_ARP;
		err = parse_arp(&r, &p);
	} else {
		err = -EPROTONOSUPPORT;
	}
	if (err == 0)
		*ret = p;
	return err;
}
