/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/action.h"

#include "ofp/wire.h"

#include <string.h>

static void read_set(struct rd *r, struct ofp_act *a)
{
	uint32_t header = rd_u32(r);
	bool masked;

	a->type = OFP_ACT_SET;
	if (!ofp_field_find(header, &a->field, &masked)) {
		rd_fail(r);
		return;
	}
	size_t len = ofp_field_len(a->field);
	rd_copy(r, a->value, len);
	memset(a->mask, 0xff, len);
	if (masked)
		rd_copy(r, a->mask, len);
}

static void read_field(struct rd *r, enum ofp_field *ret)
{
	bool masked = false;

	if (!ofp_field_find(rd_u32(r), ret, &masked) || masked)
		rd_fail(r);
}

static void read_move(struct rd *r, struct ofp_act *a)
{
	a->type = OFP_ACT_MOVE;
	a->n_bits = rd_u16(r);
	a->src_ofs = rd_u16(r);
	a->dst_ofs = rd_u16(r);
	rd_skip(r, 2);
	read_field(r, &a->src);
	read_field(r, &a->field);
	if (rd_ok(r) && (a->n_bits == 0 || a->src_ofs + a->n_bits > (int)ofp_field_bits(a->src) ||
				a->dst_ofs + a->n_bits > (int)ofp_field_bits(a->field)))
		rd_fail(r);
}

static void read_controller_prop(uint16_t type, struct rd *p, struct ofp_controller *c)
{
	switch (type) {
	case NXAC2PT_MAX_LEN:
		c->max_len = rd_u16(p);
		rd_skip(p, 2);
		break;
	case NXAC2PT_CONTROLLER_ID:
		c->controller_id = rd_u16(p);
		rd_skip(p, 2);
		break;
	case NXAC2PT_REASON:
		c->reason = rd_u8(p);
		break;
	case NXAC2PT_USERDATA:
		c->userdata_len = rd_left(p);
		c->userdata = rd_bytes(p, c->userdata_len);
		break;
	case NXAC2PT_METER_ID:
		c->meter = rd_u32(p);
		break;
	default:
		rd_fail(p);
	}
}

static void read_controller(struct rd *r, struct ofp_act *a)
{
	a->type = OFP_ACT_CONTROLLER;
	a->controller.max_len = UINT16_MAX;
	a->controller.reason = OFPR_ACTION_SET_DEFAULT;
	rd_skip(r, 6);
	while (rd_ok(r) && rd_left(r) > 0) {
		uint16_t type = rd_u16(r), len = rd_u16(r);
		if (len < 4) {
			rd_fail(r);
			return;
		}
		struct rd p = rd_sub(r, len - 4u);
		rd_skip(r, (8 - len % 8u) % 8);
		read_controller_prop(type, &p, &a->controller);
		if (!rd_done(&p))
			rd_fail(r);
	}
}

static void read_reg(struct rd *r, uint8_t *ret)
{
	enum ofp_field f = OFP_F_COUNT;

	read_field(r, &f);
	if (!rd_ok(r) || f < OFP_F_REG0 || f > OFP_F_REG15) {
		rd_fail(r);
		return;
	}
	*ret = (uint8_t)(f - OFP_F_REG0);
}

static void read_nat(struct rd *r, struct ofp_ct *ct)
{
	rd_skip(r, 2);
	uint16_t flags = rd_u16(r), present = rd_u16(r);
	uint8_t b[16];

	ct->nat = flags == NX_NAT_F_SRC ? OFP_NAT_SRC : flags == NX_NAT_F_DST ? OFP_NAT_DST : OFP_NAT_REPLY;
	if (flags == 0 && present == 0)
		return;
	switch (present & ~NX_NAT_RANGE_PROTO_MIN) {
	case NX_NAT_RANGE_IPV4_MIN:
		ct->nat_addr = addr_v4(rd_u32(r));
		break;
	case NX_NAT_RANGE_IPV6_MIN:
		rd_copy(r, b, sizeof(b));
		ct->nat_addr = addr_v6(b);
		break;
	default:
		rd_fail(r);
	}
	if (present & NX_NAT_RANGE_PROTO_MIN) {
		ct->nat_port = rd_u16(r);
		if (ct->nat_port == 0)
			rd_fail(r);
	}
	if (ct->nat == OFP_NAT_REPLY)
		rd_fail(r);
}

/* One action inside ct(): nat, or set_field or move to ct_mark. Its padding is left to the caller. */
static void read_nested(struct rd *r, struct ofp_ct *ct)
{
	uint16_t type = rd_u16(r), len = rd_u16(r);
	struct ofp_act a = { 0 };

	if (len < 8 || len % 8 != 0) {
		rd_fail(r);
		return;
	}
	struct rd in = rd_sub(r, len - 4u);
	if (type == OFPAT_EXPERIMENTER && ct->nat == OFP_NAT_NONE && ct->mark_from == OFP_MARK_KEEP) {
		uint32_t vendor = rd_u32(&in);
		uint16_t subtype = rd_u16(&in);
		if (vendor != NX_VENDOR || subtype != NXAST_NAT)
			rd_fail(r);
		read_nat(&in, ct);
	} else if (type == OFPAT_SET_FIELD && ct->mark_from == OFP_MARK_KEEP) {
		read_set(&in, &a);
		ct->mark_from = OFP_MARK_SET;
		for (unsigned i = 0; i < 4; i++)
			ct->mark = ct->mark << 8 | a.value[i];
		if (a.field != OFP_F_CT_MARK || memcmp(a.mask, "\377\377\377\377", 4) != 0)
			rd_fail(r);
	} else if (type == OFPAT_COPY_FIELD && ct->mark_from == OFP_MARK_KEEP) {
		read_move(&in, &a);
		ct->mark_from = OFP_MARK_FROM_REG;
		if (a.field != OFP_F_CT_MARK || a.n_bits != 32 || a.src < OFP_F_REG0 || a.src > OFP_F_REG15)
			rd_fail(r);
		ct->mark_reg = rd_ok(r) ? (uint8_t)(a.src - OFP_F_REG0) : 0;
	} else {
		rd_fail(r);
	}
	if (!rd_ok(&in) || rd_left(&in) >= 8)
		rd_fail(r);
}

static void read_ct(struct rd *r, struct ofp_act *a)
{
	struct ofp_ct *ct = &a->ct;

	a->type = OFP_ACT_CT;
	uint16_t flags = rd_u16(r);
	ct->commit = flags & NX_CT_F_COMMIT;
	ct->force = flags & NX_CT_F_FORCE;
	if (flags & ~(NX_CT_F_COMMIT | NX_CT_F_FORCE))
		rd_fail(r);
	struct rd zone = rd_sub(r, 4);
	ct->zone = rd_u16(r);
	uint32_t immediate = rd_u32(&(struct rd){ .p = zone.p, .left = zone.left, .err = zone.err });
	ct->zone_from_reg = immediate != 0;
	if (ct->zone_from_reg) {
		read_reg(&zone, &ct->zone_reg);
		if (!rd_ok(&zone) || ct->zone != NX_ZONE_BITS)
			rd_fail(r);
		ct->zone = 0;
	}
	ct->table = rd_u8(r);
	rd_skip(r, 3);
	if (rd_u16(r) != 0) /* an application-level gateway: never ours */
		rd_fail(r);
	while (rd_ok(r) && rd_left(r) > 0)
		read_nested(r, ct);
}

static void read_nx(struct rd *r, struct ofp_act *a)
{
	uint8_t reg = 0;

	if (rd_u32(r) != NX_VENDOR)
		rd_fail(r);
	switch (rd_u16(r)) {
	case NXAST_RESUBMIT_TABLE:
		a->type = OFP_ACT_RESUBMIT;
		a->port = rd_u16(r);
		a->table = rd_u8(r);
		break;
	case NXAST_CT:
		read_ct(r, a);
		break;
	case NXAST_CONTROLLER2:
		read_controller(r, a);
		break;
	case NXAST_CHECK_PKT_LARGER:
		a->type = OFP_ACT_CHECK_PKT_LARGER;
		a->pkt_len = rd_u16(r);
		a->dst_ofs = rd_u16(r);
		read_reg(r, &reg);
		if (a->dst_ofs >= 32)
			rd_fail(r);
		a->field = (enum ofp_field)(OFP_F_REG0 + reg);
		rd_skip(r, rd_left(r));
		break;
	default:
		rd_fail(r);
	}
}

static void read_body(uint16_t type, struct rd *in, struct ofp_act *ret)
{
	switch (type) {
	case OFPAT_OUTPUT:
		ret->type = OFP_ACT_OUTPUT;
		ret->port = rd_u32(in);
		rd_skip(in, 8);
		break;
	case OFPAT_METER:
		ret->type = OFP_ACT_METER;
		ret->meter = rd_u32(in);
		break;
	case OFPAT_DEC_NW_TTL:
		ret->type = OFP_ACT_DEC_TTL;
		rd_skip(in, 4);
		break;
	case OFPAT_SET_FIELD:
		read_set(in, ret);
		break;
	case OFPAT_COPY_FIELD:
		read_move(in, ret);
		break;
	case OFPAT_EXPERIMENTER:
		read_nx(in, ret);
		break;
	default:
		rd_fail(in);
	}
}

bool ofp_act_read(struct rd *r, struct ofp_act *ret)
{
	if (!rd_ok(r) || rd_left(r) == 0)
		return false;
	memset(ret, 0, sizeof(*ret));
	uint16_t type = rd_u16(r), len = rd_u16(r);
	if (len < 8 || len % 8 != 0) {
		rd_fail(r);
		return false;
	}
	struct rd in = rd_sub(r, len - 4u);
	read_body(type, &in, ret);
	/* What is left is padding: less than the next multiple of 8. */
	if (!rd_ok(&in) || rd_left(&in) >= 8)
		rd_fail(r);
	return rd_ok(r);
}

void ofp_act_put(struct wr *w, const struct ofp_act *a)
{
	static const uint8_t ones[OFP_FIELD_LEN_MAX] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
		255, 255, 255, 255 };

	switch (a->type) {
	case OFP_ACT_OUTPUT:
		ofp_act_output(w, a->port);
		break;
	case OFP_ACT_RESUBMIT:
		ofp_act_resubmit_port(w, (uint16_t)a->port, a->table);
		break;
	case OFP_ACT_METER:
		ofp_act_meter(w, a->meter);
		break;
	case OFP_ACT_DEC_TTL:
		ofp_act_dec_ttl(w);
		break;
	case OFP_ACT_SET:
		ofp_act_set(w, a->field, a->value,
			memcmp(a->mask, ones, ofp_field_len(a->field)) == 0 ? NULL : a->mask);
		break;
	case OFP_ACT_MOVE:
		ofp_act_move(w, a->src, a->src_ofs, a->field, a->dst_ofs, a->n_bits);
		break;
	case OFP_ACT_CHECK_PKT_LARGER:
		ofp_act_check_pkt_larger(w, a->pkt_len, (unsigned)(a->field - OFP_F_REG0), a->dst_ofs);
		break;
	case OFP_ACT_CONTROLLER:
		ofp_act_controller(w, &a->controller);
		break;
	case OFP_ACT_CT:
		ofp_act_ct(w, &a->ct);
		break;
	}
}
