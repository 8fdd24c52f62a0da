/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/action.h"

#include "ofp/wire.h"

#include <string.h>

static size_t begin(struct wr *w, uint16_t type)
{
	size_t at = w->len;

	wr_u16(w, type);
	wr_u16(w, 0);
	return at;
}

static size_t begin_nx(struct wr *w, uint16_t subtype)
{
	size_t at = begin(w, OFPAT_EXPERIMENTER);

	wr_u32(w, NX_VENDOR);
	wr_u16(w, subtype);
	return at;
}

static void end(struct wr *w, size_t at)
{
	wr_pad(w, at, 8);
	if (w->len - at > UINT16_MAX)
		w->err = true;
	wr_patch_u16(w, at + 2, (uint16_t)(w->len - at));
}

void ofp_act_output(struct wr *w, uint32_t port)
{
	size_t at = begin(w, OFPAT_OUTPUT);

	wr_u32(w, port);
	/* max_len speaks of OFPP_CONTROLLER only. */
	wr_u16(w, 0);
	end(w, at);
}

void ofp_act_resubmit_port(struct wr *w, uint16_t in_port, uint8_t table)
{
	size_t at = begin_nx(w, NXAST_RESUBMIT_TABLE);

	wr_u16(w, in_port);
	wr_u8(w, table);
	end(w, at);
}

void ofp_act_resubmit(struct wr *w, uint8_t table)
{
	ofp_act_resubmit_port(w, NX_PORT_IN_PORT, table);
}

void ofp_act_meter(struct wr *w, uint32_t meter)
{
	size_t at = begin(w, OFPAT_METER);

	wr_u32(w, meter);
	end(w, at);
}

void ofp_act_dec_ttl(struct wr *w)
{
	end(w, begin(w, OFPAT_DEC_NW_TTL));
}

void ofp_act_set(struct wr *w, enum ofp_field f, const void *value, const void *mask)
{
	size_t at = begin(w, OFPAT_SET_FIELD), len = ofp_field_len(f);
	uint32_t header = ofp_field_header(f);

	wr_u32(w, mask == NULL ? header : (header & 0xffffff00) | 0x100 | (uint32_t)(2 * len));
	wr_bytes(w, value, len);
	if (mask != NULL)
		wr_bytes(w, mask, len);
	end(w, at);
}

static void big_endian(uint8_t *b, size_t len, uint64_t v)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
}

void ofp_act_set_uint(struct wr *w, enum ofp_field f, uint64_t value)
{
	uint8_t b[8];

	if (ofp_field_len(f) > sizeof(b)) {
		w->err = true;
		return;
	}
	big_endian(b, ofp_field_len(f), value);
	ofp_act_set(w, f, b, NULL);
}

void ofp_act_set_reg(struct wr *w, unsigned reg, uint32_t value)
{
	ofp_act_set_reg_bits(w, reg, 0, 32, value);
}

void ofp_act_set_reg_bits(struct wr *w, unsigned reg, unsigned ofs, unsigned n_bits, uint32_t value)
{
	uint8_t v[4], m[4];

	if (reg >= OFP_REGS || n_bits == 0 || n_bits > 32 || ofs > 32 - n_bits) {
		w->err = true;
		return;
	}
	uint32_t mask = (uint32_t)((UINT64_C(1) << n_bits) - 1) << ofs;
	big_endian(v, 4, value << ofs & mask);
	big_endian(m, 4, mask);
	ofp_act_set(w, (enum ofp_field)(OFP_F_REG0 + reg), v, n_bits == 32 ? NULL : m);
}

void ofp_act_set_mac(struct wr *w, enum ofp_field f, const struct mac *mac)
{
	if (ofp_field_len(f) != sizeof(mac->b))
		w->err = true;
	else
		ofp_act_set(w, f, mac->b, NULL);
}

void ofp_act_set_addr(struct wr *w, enum ofp_field f, const struct addr *a)
{
	if (ofp_field_len(f) != a->len)
		w->err = true;
	else
		ofp_act_set(w, f, a->b, NULL);
}

void ofp_act_move(struct wr *w, enum ofp_field src, unsigned src_ofs, enum ofp_field dst, unsigned dst_ofs,
	unsigned n_bits)
{
	size_t at = begin(w, OFPAT_COPY_FIELD);

	if (n_bits == 0 || src_ofs + n_bits > ofp_field_bits(src) || dst_ofs + n_bits > ofp_field_bits(dst))
		w->err = true;
	wr_u16(w, (uint16_t)n_bits);
	wr_u16(w, (uint16_t)src_ofs);
	wr_u16(w, (uint16_t)dst_ofs);
	wr_u16(w, 0);
	wr_u32(w, ofp_field_header(src));
	wr_u32(w, ofp_field_header(dst));
	end(w, at);
}

/* struct nx_action_check_pkt_larger: length, bit offset, NXM header of the destination, zeroes to 24 bytes. */
void ofp_act_check_pkt_larger(struct wr *w, uint16_t len, unsigned reg, unsigned bit)
{
	size_t at = begin_nx(w, NXAST_CHECK_PKT_LARGER);

	if (reg >= OFP_REGS || bit >= 32) {
		w->err = true;
		return;
	}
	wr_u16(w, len);
	wr_u16(w, (uint16_t)bit);
	wr_u32(w, ofp_field_header((enum ofp_field)(OFP_F_REG0 + reg)));
	end(w, at);
}

static void put_prop(struct wr *w, uint16_t type, const void *p, size_t len)
{
	size_t at = begin(w, type);

	wr_bytes(w, p, len);
	wr_patch_u16(w, at + 2, (uint16_t)(4 + len));
	wr_pad(w, at, 8);
}

/* Two bytes and two of padding, which count (ofpprop_put_u16 of OVS). */
static void put_prop_u16(struct wr *w, uint16_t type, uint16_t v)
{
	put_prop(w, type, (uint8_t[]){ (uint8_t)(v >> 8), (uint8_t)v, 0, 0 }, 4);
}

/* struct nx_action_controller2: six zero bytes, then properties; what has its default value is left out, as OVS does.
 */
void ofp_act_controller(struct wr *w, const struct ofp_controller *c)
{
	size_t at = begin_nx(w, NXAST_CONTROLLER2);
	uint8_t meter[4];

	big_endian(meter, sizeof(meter), c->meter);
	wr_zero(w, 6);
	if (c->max_len != UINT16_MAX)
		put_prop_u16(w, NXAC2PT_MAX_LEN, c->max_len);
	if (c->controller_id != 0)
		put_prop_u16(w, NXAC2PT_CONTROLLER_ID, c->controller_id);
	if (c->reason != OFPR_ACTION_SET_DEFAULT)
		put_prop(w, NXAC2PT_REASON, &c->reason, 1);
	if (c->userdata_len > UINT16_MAX - 4)
		w->err = true;
	else if (c->userdata_len != 0)
		put_prop(w, NXAC2PT_USERDATA, c->userdata, c->userdata_len);
	if (c->meter != 0)
		put_prop(w, NXAC2PT_METER_ID, meter, sizeof(meter));
	end(w, at);
}

/* struct nx_action_nat: flags, then which of ipv4_min 1, ipv6_min 4, proto_min 16 follow. */
static void put_nat(struct wr *w, const struct ofp_ct *ct)
{
	size_t at = begin_nx(w, NXAST_NAT);
	uint16_t present = 0;

	wr_zero(w, 2);
	if (ct->nat == OFP_NAT_REPLY) {
		wr_u16(w, 0);
		wr_u16(w, 0);
		end(w, at);
		return;
	}
	if (ct->nat_addr.len != 4 && ct->nat_addr.len != 16)
		w->err = true;
	present |= ct->nat_addr.len == 16 ? NX_NAT_RANGE_IPV6_MIN : NX_NAT_RANGE_IPV4_MIN;
	present |= ct->nat_port != 0 ? NX_NAT_RANGE_PROTO_MIN : 0;
	wr_u16(w, ct->nat == OFP_NAT_SRC ? NX_NAT_F_SRC : NX_NAT_F_DST);
	wr_u16(w, present);
	wr_bytes(w, ct->nat_addr.b, ct->nat_addr.len);
	if (ct->nat_port != 0)
		wr_u16(w, ct->nat_port);
	end(w, at);
}

/*
 * struct nx_action_conntrack, 24 bytes: flags, zone source (NXM header or 0), zone or bits [0..15] as ofs << 6 | n_bits
 * - 1, table, 3 zero, alg; then nat and the actions of exec().
 */
void ofp_act_ct(struct wr *w, const struct ofp_ct *ct)
{
	size_t at = begin_nx(w, NXAST_CT);

	if (ct->zone_reg >= OFP_REGS || ct->mark_reg >= OFP_REGS) {
		w->err = true;
		return;
	}
	wr_u16(w, (uint16_t)((ct->commit ? NX_CT_F_COMMIT : 0) | (ct->force ? NX_CT_F_FORCE : 0)));
	wr_u32(w, ct->zone_from_reg ? ofp_field_header((enum ofp_field)(OFP_F_REG0 + ct->zone_reg)) : 0);
	wr_u16(w, ct->zone_from_reg ? NX_ZONE_BITS : ct->zone);
	wr_u8(w, ct->table);
	wr_zero(w, 3);
	wr_u16(w, 0);
	if (ct->nat != OFP_NAT_NONE)
		put_nat(w, ct);
	if (ct->mark_from == OFP_MARK_SET)
		ofp_act_set_uint(w, OFP_F_CT_MARK, ct->mark);
	else if (ct->mark_from == OFP_MARK_FROM_REG)
		ofp_act_move(w, (enum ofp_field)(OFP_F_REG0 + ct->mark_reg), 0, OFP_F_CT_MARK, 0, 32);
	end(w, at);
}
