/* SPDX-License-Identifier: Apache-2.0 */
#include "net/build.h"
#include "net/wire.h"

#include <errno.h>

enum { ANSWER_TTL = 64, QUOTE_MAX_V4 = 576, QUOTE_MAX_V6 = 1280, BLANK_CHECKSUM = 0 };

/* One sender, one receiver, on both layers. */
static bool unicast_both(const struct packet *p)
{
	return p->kind != PACKET_ARP && !mac_is_group(&p->eth_src) && !mac_is_group(&p->eth_dst) &&
	       !addr_is_multicast(&p->src) && !addr_is_multicast(&p->dst) && !addr_is_unspecified(&p->src) &&
	       !addr_is_unspecified(&p->dst);
}

/* The way back: what a packet's receiver would send its sender. */
static struct wire_frame way_back(const struct packet *p, uint8_t proto)
{
	return (struct wire_frame){ .eth_src = p->eth_dst,
		.eth_dst = p->eth_src,
		.src = p->dst,
		.dst = p->src,
		.proto = proto,
		.ttl = ANSWER_TTL };
}

static int put_reset(struct wr *w, const struct packet *p, uint32_t seq, uint32_t ack, uint8_t flags)
{
	struct wire_frame f = way_back(p, IP_TCP);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	wr_u16(w, p->dport);
	wr_u16(w, p->sport);
	wr_u32(w, seq);
	wr_u32(w, ack);
	wr_u8(w, TCP_HEADER_BYTES / 4 << 4);
	wr_u8(w, flags);
	wr_u16(w, 0);
	wr_u16(w, BLANK_CHECKSUM);
	wr_u16(w, 0);
	return wire_end(w, start);
}

static bool may_reset(const struct packet *p)
{
	return p->has_l4 && p->proto == IP_TCP && (p->tcp_flags & TCP_RST) == 0 && unicast_both(p);
}

int build_tcp_reset(struct wr *w, const struct packet *p)
{
	if (!may_reset(p))
		return -EINVAL;
	if ((p->tcp_flags & TCP_ACK) != 0)
		return put_reset(w, p, p->tcp_ack, 0, TCP_RST);
	/* SYN and FIN take a sequence number each. */
	uint32_t seg_len = packet_payload_len(p) + ((p->tcp_flags & TCP_SYN) != 0) + ((p->tcp_flags & TCP_FIN) != 0);
	return put_reset(w, p, 0, p->tcp_seq + seg_len, TCP_RST | TCP_ACK);
}

int build_tcp_end(struct wr *w, const struct packet *p)
{
	if (!may_reset(p) || (p->tcp_flags & TCP_ACK) == 0)
		return -EINVAL;
	return put_reset(w, p, p->tcp_ack, 0, TCP_RST);
}

static uint8_t unreachable_code(enum unreachable why, bool v4)
{
	switch (why) {
	case UNREACHABLE_PROHIBITED:
		return v4 ? 13 : 1;
	case UNREACHABLE_HOST:
		return v4 ? 1 : 3;
	case UNREACHABLE_PORT:
		return v4 ? 3 : 4;
	}
	return 0;
}

static bool may_answer_by_error(const struct packet *p)
{
	bool reset = p->has_l4 && p->proto == IP_TCP && (p->tcp_flags & TCP_RST) != 0;
	bool error = p->has_l4 && p->icmp_error;
	return !reset && !error && !p->later_fragment && unicast_both(p);
}

int build_unreachable(struct wr *w, const uint8_t *frame, const struct packet *p, enum unreachable why,
	const struct addr *from)
{
	if (!may_answer_by_error(p))
		return -EINVAL;
	bool v4 = p->kind == PACKET_IPV4;
	struct wire_frame f = way_back(p, v4 ? IP_ICMP : IP_ICMP6);
	if (from != NULL)
		f.src = *from;
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	size_t room = v4 ? QUOTE_MAX_V4 - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES
			 : QUOTE_MAX_V6 - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES;
	size_t quote = p->len - p->l3;
	wr_u8(w, v4 ? ICMP4_UNREACHABLE : ICMP6_UNREACHABLE);
	wr_u8(w, unreachable_code(why, v4));
	wr_u16(w, BLANK_CHECKSUM);
	wr_u32(w, 0);
	wr_bytes(w, frame + p->l3, quote < room ? quote : room);
	return wire_end(w, start);
}

int build_echo_reply(struct wr *w, const uint8_t *frame, const struct packet *p)
{
	bool v4 = p->kind == PACKET_IPV4;
	uint8_t proto = v4 ? IP_ICMP : IP_ICMP6;
	bool request = p->has_l4 && p->proto == proto &&
		       p->icmp_type == (v4 ? ICMP4_ECHO_REQUEST : ICMP6_ECHO_REQUEST) && p->icmp_code == 0;
	if (!request || p->fragment || !unicast_both(p) || p->len > BUILD_MAX)
		return -EINVAL;
	struct wire_frame f = way_back(p, proto);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	wr_u8(w, v4 ? ICMP4_ECHO_REPLY : ICMP6_ECHO_REPLY);
	wr_u8(w, 0);
	wr_u16(w, BLANK_CHECKSUM);
	wr_bytes(w, frame + p->l4 + 4, p->len - p->l4 - 4);
	return wire_end(w, start);
}
