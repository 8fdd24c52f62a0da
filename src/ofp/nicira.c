/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/msg.h"

#include "ofp/body.h"

#include <errno.h>
#include <string.h>

void ofp_put_packet_in_format(struct wr *w, uint32_t xid, uint32_t format)
{
	size_t at = ofp_begin_nx(w, OFP_NX_SET_PACKET_IN_FORMAT, xid);

	wr_u32(w, format);
	ofp_end(w, at);
}

/* Six zero bytes stand before both of these. */
static void put_u16_arg(struct wr *w, enum ofp_nx_type type, uint32_t xid, uint16_t v)
{
	size_t at = ofp_begin_nx(w, type, xid);

	wr_zero(w, 6);
	wr_u16(w, v);
	ofp_end(w, at);
}

void ofp_put_controller_id(struct wr *w, uint32_t xid, uint16_t id)
{
	put_u16_arg(w, OFP_NX_SET_CONTROLLER_ID, xid, id);
}

void ofp_put_ct_flush_zone(struct wr *w, uint32_t xid, uint16_t zone)
{
	put_u16_arg(w, OFP_NX_CT_FLUSH_ZONE, xid, zone);
}

int ofp_read_nx_arg(const void *msg, size_t len, uint32_t *ret)
{
	struct ofp_header h;
	uint32_t v;

	if (ofp_read_header(msg, len, &h) != 0)
		return -EBADMSG;
	struct rd r = ofp_body_nx(msg, len, (enum ofp_nx_type)h.nx_type);
	if (h.nx_type == OFP_NX_SET_PACKET_IN_FORMAT) {
		v = rd_u32(&r);
	} else if (h.nx_type == OFP_NX_SET_CONTROLLER_ID || h.nx_type == OFP_NX_CT_FLUSH_ZONE) {
		rd_skip(&r, 6);
		v = rd_u16(&r);
	} else {
		return -EBADMSG;
	}
	if (!rd_done(&r))
		return -EBADMSG;
	*ret = v;
	return 0;
}

/*
 * NXT_CT_FLUSH: protocol, seven zero bytes, then properties. A tuple (0: original direction) holds properties of its
 * own; addresses are sixteen bytes, IPv4 as ::ffff:a.b.c.d (OVS 3.1 nicira-ext.h, lib/ofp-ct.c).
 */
enum { CT_ORIG_TUPLE = 0, CT_ZONE = 2 };
enum {
	TUPLE_SRC = 0,
	TUPLE_DST = 1,
	TUPLE_SPORT = 2,
	TUPLE_DPORT = 3,
	TUPLE_ICMP_ID = 4,
	TUPLE_ICMP_TYPE = 5,
	TUPLE_ICMP_CODE = 6
};

static void put_prop(struct wr *w, uint16_t type, const void *p, size_t len)
{
	size_t at = w->len;

	wr_u16(w, type);
	wr_u16(w, (uint16_t)(4 + len));
	wr_bytes(w, p, len);
	wr_pad(w, at, 8);
}

static void put_prop_u16(struct wr *w, uint16_t type, uint16_t v)
{
	/* Two bytes of padding count (ofpprop_put_u16 of OVS). */
	put_prop(w, type, (uint8_t[]){ (uint8_t)(v >> 8), (uint8_t)v, 0, 0 }, 4);
}

static void put_prop_addr(struct wr *w, uint16_t type, const struct addr *a)
{
	uint8_t b[16] = { [10] = 0xff, [11] = 0xff };

	if (a->len == 4)
		memcpy(b + 12, a->b, 4);
	else
		memcpy(b, a->b, 16);
	put_prop(w, type, b, sizeof(b));
}

static bool is_icmp(uint8_t proto)
{
	return proto == 1 || proto == 58;
}

void ofp_put_ct_flush(struct wr *w, uint32_t xid, const struct ofp_ct_tuple *t)
{
	size_t at = ofp_begin_nx(w, OFP_NX_CT_FLUSH, xid);

	if (t->src.len != t->dst.len || (t->src.len != 4 && t->src.len != 16))
		w->err = true;
	wr_u8(w, t->proto);
	wr_zero(w, 7);
	size_t tuple = w->len;
	wr_u16(w, CT_ORIG_TUPLE);
	wr_u16(w, 0);
	wr_zero(w, 4);
	put_prop_addr(w, TUPLE_SRC, &t->src);
	put_prop_addr(w, TUPLE_DST, &t->dst);
	if (is_icmp(t->proto)) {
		put_prop_u16(w, TUPLE_ICMP_ID, t->icmp_id);
		put_prop(w, TUPLE_ICMP_TYPE, &t->icmp_type, 1);
		put_prop(w, TUPLE_ICMP_CODE, &t->icmp_code, 1);
	} else {
		put_prop_u16(w, TUPLE_SPORT, t->sport);
		put_prop_u16(w, TUPLE_DPORT, t->dport);
	}
	wr_patch_u16(w, tuple + 2, (uint16_t)(w->len - tuple));
	put_prop_u16(w, CT_ZONE, t->zone);
	ofp_end(w, at);
}

/* One property; the bytes behind it up to a multiple of 8 are skipped. */
static struct rd read_prop(struct rd *r, uint16_t *ret_type)
{
	*ret_type = rd_u16(r);
	uint16_t len = rd_u16(r);
	if (len < 4)
		rd_fail(r);
	struct rd p = rd_sub(r, len < 4 ? 0 : len - 4u);
	rd_skip(r, (8 - len % 8u) % 8);
	return p;
}

static uint16_t read_u16(struct rd *p)
{
	uint16_t v = rd_u16(p);

	rd_skip(p, 2);
	return v;
}

static void read_addr(struct rd *p, struct addr *ret)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t b[16];

	rd_copy(p, b, sizeof(b));
	*ret = addr_v6(b);
	if (memcmp(b, mapped, sizeof(mapped)) == 0) {
		memset(ret, 0, sizeof(*ret));
		ret->len = 4;
		memcpy(ret->b, b + 12, 4);
	}
}

static void read_tuple(struct rd *tuple, struct ofp_ct_tuple *t)
{
	rd_skip(tuple, 4);
	while (rd_ok(tuple) && rd_left(tuple) > 0) {
		uint16_t type;
		struct rd p = read_prop(tuple, &type);
		if (type == TUPLE_SRC)
			read_addr(&p, &t->src);
		else if (type == TUPLE_DST)
			read_addr(&p, &t->dst);
		else if (type == TUPLE_SPORT)
			t->sport = read_u16(&p);
		else if (type == TUPLE_DPORT)
			t->dport = read_u16(&p);
		else if (type == TUPLE_ICMP_ID)
			t->icmp_id = read_u16(&p);
		else if (type == TUPLE_ICMP_TYPE)
			t->icmp_type = rd_u8(&p);
		else if (type == TUPLE_ICMP_CODE)
			t->icmp_code = rd_u8(&p);
		else
			rd_fail(tuple);
		if (!rd_done(&p))
			rd_fail(tuple);
	}
}

int ofp_read_ct_flush(const void *msg, size_t len, struct ofp_ct_tuple *ret)
{
	struct rd r = ofp_body_nx(msg, len, OFP_NX_CT_FLUSH);
	struct ofp_ct_tuple t = { .proto = rd_u8(&r) };

	rd_skip(&r, 7);
	while (rd_ok(&r) && rd_left(&r) > 0) {
		uint16_t type;
		struct rd p = read_prop(&r, &type);
		if (type == CT_ORIG_TUPLE)
			read_tuple(&p, &t);
		else if (type == CT_ZONE)
			t.zone = read_u16(&p);
		else
			rd_fail(&r);
		if (!rd_done(&p))
			rd_fail(&r);
	}
	if (!rd_done(&r) || t.src.len != t.dst.len || t.src.len == 0)
		return -EBADMSG;
	*ret = t;
	return 0;
}
