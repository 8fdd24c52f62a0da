/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/packet.h"

#include "ofp/body.h"
#include "ofp/wire.h"

#include <errno.h>
#include <string.h>

static void take_metadata(struct ofp_packet_in *pi, const struct ofp_match *m)
{
	pi->in_port = (uint32_t)ofp_match_get(m, OFP_F_IN_PORT, 0);
	for (unsigned i = 0; i < OFP_REGS; i++)
		pi->reg[i] = ofp_match_get_reg(m, i, NULL);
	pi->ct_state = (uint32_t)ofp_match_get(m, OFP_F_CT_STATE, 0);
	pi->ct_zone = (uint16_t)ofp_match_get(m, OFP_F_CT_ZONE, 0);
	pi->ct_mark = (uint32_t)ofp_match_get(m, OFP_F_CT_MARK, 0);
	pi->metadata = ofp_match_get(m, OFP_F_METADATA, 0);
}

static void read_property(uint16_t type, struct rd *p, struct ofp_packet_in *pi)
{
	struct ofp_match m;

	switch (type) {
	case NXPINT_PACKET:
		pi->frame_len = rd_left(p);
		pi->frame = rd_bytes(p, pi->frame_len);
		break;
	case NXPINT_FULL_LEN:
		pi->full_len = rd_u32(p);
		break;
	case NXPINT_TABLE_ID:
		pi->table = rd_u8(p);
		break;
	case NXPINT_COOKIE:
		/* Aligned to 8 by four bytes of padding. */
		rd_skip(p, 4);
		pi->cookie = rd_u64(p);
		break;
	case NXPINT_REASON:
		pi->reason = rd_u8(p);
		break;
	case NXPINT_METADATA:
		ofp_match_read_fields(p, &m);
		take_metadata(pi, &m);
		break;
	case NXPINT_USERDATA:
		pi->userdata_len = rd_left(p);
		pi->userdata = rd_bytes(p, pi->userdata_len);
		break;
	case NXPINT_BUFFER_ID:
	case NXPINT_CONTINUATION:
		rd_skip(p, rd_left(p));
		break;
	default:
		rd_fail(p);
	}
}

int ofp_read_packet_in(const void *msg, size_t len, struct ofp_packet_in *ret)
{
	struct rd r = ofp_body_nx(msg, len, OFP_NX_PACKET_IN2);
	struct ofp_packet_in pi = { 0 };
	uint32_t seen = 0;

	while (rd_ok(&r) && rd_left(&r) > 0) {
		uint16_t type = rd_u16(&r), size = rd_u16(&r);
		if (size < 4 || type > NXPINT_CONTINUATION || (seen & 1u << type)) {
			rd_fail(&r);
			break;
		}
		seen |= 1u << type;
		struct rd p = rd_sub(&r, size - 4u);
		rd_skip(&r, (8 - size % 8u) % 8);
		if (!rd_ok(&r))
			break;
		read_property(type, &p, &pi);
		if (!rd_done(&p))
			rd_fail(&r);
	}
	if (!rd_done(&r) || pi.frame == NULL)
		return -EBADMSG;
	if (pi.full_len < pi.frame_len)
		pi.full_len = pi.frame_len;
	*ret = pi;
	return 0;
}

static void put_property(struct wr *w, uint16_t type, const void *p, size_t len)
{
	size_t at = w->len;

	if (len > UINT16_MAX - 4) {
		w->err = true;
		return;
	}
	wr_u16(w, type);
	wr_u16(w, (uint16_t)(4 + len));
	wr_bytes(w, p, len);
	wr_pad(w, at, 8);
}

static void put_metadata(struct wr *w, const struct ofp_packet_in *pi)
{
	uint8_t match_bytes[512];
	struct wr fields = wr_init(match_bytes, sizeof(match_bytes));
	struct ofp_match m;

	ofp_match_init(&m);
	ofp_match_in_port(&m, pi->in_port);
	for (unsigned i = 0; i < OFP_REGS; i++)
		if (pi->reg[i] != 0)
			ofp_match_reg(&m, i, pi->reg[i]);
	if (pi->ct_state != 0)
		ofp_match_ct_state(&m, pi->ct_state, UINT32_MAX);
	if (pi->ct_zone != 0)
		ofp_match_ct_zone(&m, pi->ct_zone);
	if (pi->ct_mark != 0)
		ofp_match_ct_mark(&m, pi->ct_mark);
	if (pi->metadata != 0)
		ofp_match_metadata(&m, pi->metadata);
	ofp_match_put(&fields, &m);
	/* The property holds the fields alone: without the match's own header and padding. */
	size_t len = (size_t)(match_bytes[2] << 8 | match_bytes[3]) - 4;
	put_property(w, NXPINT_METADATA, match_bytes + 4, len);
}

void ofp_put_packet_in(struct wr *w, uint32_t xid, const struct ofp_packet_in *pi)
{
	size_t at = ofp_begin_nx(w, OFP_NX_PACKET_IN2, xid);

	put_property(w, NXPINT_PACKET, pi->frame, pi->frame_len);
	if (pi->full_len > pi->frame_len) {
		wr_u16(w, NXPINT_FULL_LEN);
		wr_u16(w, 8);
		wr_u32(w, (uint32_t)pi->full_len);
	}
	put_property(w, NXPINT_TABLE_ID, &pi->table, 1);
	wr_u16(w, NXPINT_COOKIE);
	wr_u16(w, 16);
	wr_zero(w, 4);
	wr_u64(w, pi->cookie);
	put_property(w, NXPINT_REASON, &pi->reason, 1);
	put_metadata(w, pi);
	if (pi->userdata_len > 0)
		put_property(w, NXPINT_USERDATA, pi->userdata, pi->userdata_len);
	ofp_end(w, at);
}

void ofp_put_packet_out(struct wr *w, uint32_t xid, const struct ofp_packet_out *po)
{
	size_t at = ofp_begin(w, OFP_PACKET_OUT, xid);
	struct ofp_match m;

	ofp_match_init(&m);
	ofp_match_in_port(&m, po->in_port);
	if (po->actions_len > UINT16_MAX) {
		w->err = true;
		return;
	}
	wr_u32(w, UINT32_MAX);
	wr_u16(w, (uint16_t)po->actions_len);
	wr_zero(w, 2);
	ofp_match_put(w, &m);
	wr_bytes(w, po->actions, po->actions_len);
	wr_bytes(w, po->frame, po->frame_len);
	ofp_end(w, at);
}

int ofp_read_packet_out(const void *msg, size_t len, struct ofp_packet_out *ret)
{
	struct rd r = ofp_body(msg, len, OFP_PACKET_OUT);
	struct ofp_packet_out po = { 0 };
	struct ofp_match m;

	rd_skip(&r, 4);
	po.actions_len = rd_u16(&r);
	rd_skip(&r, 2);
	ofp_match_read(&r, &m);
	po.in_port = (uint32_t)ofp_match_get(&m, OFP_F_IN_PORT, OFP_PORT_ANY);
	po.actions = rd_bytes(&r, po.actions_len);
	po.frame_len = rd_left(&r);
	po.frame = rd_bytes(&r, po.frame_len);
	if (!rd_done(&r) || m.n_unknown > 0)
		return -EBADMSG;
	*ret = po;
	return 0;
}
