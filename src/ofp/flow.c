/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/flow.h"

#include "ofp/body.h"
#include "ofp/wire.h"

#include <errno.h>
#include <string.h>

void ofp_flow_mod_init(struct ofp_flow_mod *fm)
{
	memset(fm, 0, sizeof(*fm));
	fm->goto_table = OFP_NO_TABLE;
	fm->out_port = OFP_PORT_ANY;
	fm->out_group = OFP_PORT_ANY;
}

/* apply-actions then goto-table; neither: drop. */
static void put_instructions(struct wr *w, const uint8_t *actions, size_t actions_len, uint8_t goto_table)
{
	if (actions_len > OFP_MSG_MAX - 8) {
		w->err = true;
		return;
	}
	if (actions_len > 0) {
		wr_u16(w, OFPIT_APPLY_ACTIONS);
		wr_u16(w, (uint16_t)(8 + actions_len));
		wr_zero(w, 4);
		wr_bytes(w, actions, actions_len);
	}
	if (goto_table != OFP_NO_TABLE) {
		wr_u16(w, OFPIT_GOTO_TABLE);
		wr_u16(w, 8);
		wr_u8(w, goto_table);
		wr_zero(w, 3);
	}
}

/* False: an instruction we never write (it is passed over). */
static bool read_instructions(struct rd *r, const uint8_t **ret_actions, size_t *ret_len, uint8_t *ret_goto)
{
	bool ours = true;

	*ret_actions = NULL;
	*ret_len = 0;
	*ret_goto = OFP_NO_TABLE;
	while (rd_ok(r) && rd_left(r) > 0) {
		uint16_t type = rd_u16(r), len = rd_u16(r);
		if (len < 8 || len % 8 != 0) {
			rd_fail(r);
			return false;
		}
		struct rd in = rd_sub(r, len - 4u);
		if (type == OFPIT_APPLY_ACTIONS && *ret_actions == NULL && *ret_goto == OFP_NO_TABLE) {
			rd_skip(&in, 4);
			*ret_len = rd_left(&in);
			*ret_actions = rd_bytes(&in, *ret_len);
		} else if (type == OFPIT_GOTO_TABLE && *ret_goto == OFP_NO_TABLE && len == 8) {
			*ret_goto = rd_u8(&in);
		} else {
			ours = false;
		}
	}
	return ours;
}

void ofp_put_flow_mod(struct wr *w, uint32_t xid, const struct ofp_flow_mod *fm)
{
	size_t at = ofp_begin(w, OFP_FLOW_MOD, xid);

	wr_u64(w, fm->cookie);
	wr_u64(w, fm->cookie_mask);
	wr_u8(w, fm->table);
	wr_u8(w, (uint8_t)fm->command);
	wr_u16(w, fm->idle_s);
	wr_u16(w, fm->hard_s);
	wr_u16(w, fm->priority);
	wr_u32(w, UINT32_MAX);
	wr_u32(w, fm->out_port);
	wr_u32(w, fm->out_group);
	wr_u16(w, fm->flags);
	wr_u16(w, fm->importance);
	ofp_match_put(w, &fm->match);
	put_instructions(w, fm->actions, fm->actions_len, fm->goto_table);
	ofp_end(w, at);
}

int ofp_read_flow_mod(const void *msg, size_t len, struct ofp_flow_mod *ret)
{
	struct rd r = ofp_body(msg, len, OFP_FLOW_MOD);

	ret->cookie = rd_u64(&r);
	ret->cookie_mask = rd_u64(&r);
	ret->table = rd_u8(&r);
	uint8_t command = rd_u8(&r);
	ret->idle_s = rd_u16(&r);
	ret->hard_s = rd_u16(&r);
	ret->priority = rd_u16(&r);
	rd_skip(&r, 4);
	ret->out_port = rd_u32(&r);
	ret->out_group = rd_u32(&r);
	ret->flags = rd_u16(&r);
	ret->importance = rd_u16(&r);
	ofp_match_read(&r, &ret->match);
	if (!read_instructions(&r, &ret->actions, &ret->actions_len, &ret->goto_table))
		return -EBADMSG;
	if (!rd_done(&r) || command > OFP_FLOW_DELETE_STRICT || ret->match.n_unknown > 0)
		return -EBADMSG;
	ret->command = (enum ofp_flow_command)command;
	return 0;
}

struct counters {
	uint32_t duration_s;
	uint64_t packets, bytes;
};

static void put_oxs(struct wr *w, unsigned field, uint64_t v)
{
	wr_u32(w, (uint32_t)OXS_CLASS << 16 | field << 9 | 8);
	wr_u64(w, v);
}

/* struct ofp_stats: reserved, length without padding, OXS fields. */
static void put_counters(struct wr *w, const struct counters *c)
{
	size_t at = w->len;

	wr_u16(w, 0);
	wr_u16(w, 0);
	put_oxs(w, OXS_DURATION, (uint64_t)c->duration_s << 32);
	put_oxs(w, OXS_PACKET_COUNT, c->packets);
	put_oxs(w, OXS_BYTE_COUNT, c->bytes);
	wr_patch_u16(w, at + 2, (uint16_t)(w->len - at));
	wr_pad(w, at, 8);
}

static void read_counters(struct rd *r, struct counters *ret)
{
	rd_skip(r, 2);
	uint16_t len = rd_u16(r);
	if (len < 4)
		rd_fail(r);
	struct rd s = rd_sub(r, len < 4 ? 0 : len - 4u);
	rd_skip(r, (8 - len % 8u) % 8);
	memset(ret, 0, sizeof(*ret));
	while (rd_ok(&s) && rd_left(&s) > 0) {
		uint32_t header = rd_u32(&s);
		struct rd v = rd_sub(&s, header & 0xff);
		if (header >> 16 != OXS_CLASS || rd_left(&v) != 8)
			continue;
		uint64_t n = rd_u64(&v);
		switch (header >> 9 & 0x7f) {
		case OXS_DURATION:
			ret->duration_s = (uint32_t)(n >> 32);
			break;
		case OXS_PACKET_COUNT:
			ret->packets = n;
			break;
		case OXS_BYTE_COUNT:
			ret->bytes = n;
			break;
		}
	}
	if (!rd_ok(&s))
		rd_fail(r);
}

void ofp_put_flow_removed(struct wr *w, uint32_t xid, const struct ofp_flow_removed *fr)
{
	size_t at = ofp_begin(w, OFP_FLOW_REMOVED, xid);

	wr_u8(w, fr->table);
	wr_u8(w, fr->reason);
	wr_u16(w, fr->priority);
	wr_u16(w, fr->idle_s);
	wr_u16(w, fr->hard_s);
	wr_u64(w, fr->cookie);
	ofp_match_put(w, &fr->match);
	put_counters(w, &(struct counters){ fr->duration_s, fr->packets, fr->bytes });
	ofp_end(w, at);
}

int ofp_read_flow_removed(const void *msg, size_t len, struct ofp_flow_removed *ret)
{
	struct rd r = ofp_body(msg, len, OFP_FLOW_REMOVED);
	struct counters c;

	ret->table = rd_u8(&r);
	ret->reason = rd_u8(&r);
	ret->priority = rd_u16(&r);
	ret->idle_s = rd_u16(&r);
	ret->hard_s = rd_u16(&r);
	ret->cookie = rd_u64(&r);
	ofp_match_read(&r, &ret->match);
	read_counters(&r, &c);
	ret->duration_s = c.duration_s;
	ret->packets = c.packets;
	ret->bytes = c.bytes;
	return ofp_result(&r);
}

void ofp_put_flow_desc_request(struct wr *w, uint32_t xid, uint8_t table, uint64_t cookie, uint64_t cookie_mask,
	const struct ofp_match *m)
{
	size_t at = ofp_begin_multipart(w, OFP_MULTIPART_REQUEST, xid, OFP_MP_FLOW_DESC, false);
	struct ofp_match any;

	ofp_match_init(&any);
	wr_u8(w, table);
	wr_zero(w, 3);
	wr_u32(w, OFP_PORT_ANY);
	wr_u32(w, OFP_PORT_ANY);
	wr_zero(w, 4);
	wr_u64(w, cookie);
	wr_u64(w, cookie_mask);
	ofp_match_put(w, m == NULL ? &any : m);
	ofp_end(w, at);
}

int ofp_read_flow_desc_request(const void *msg, size_t len, struct ofp_flow_mod *ret)
{
	struct ofp_multipart mp;

	if (ofp_read_multipart(msg, len, &mp) != 0 || mp.type != OFP_MP_FLOW_DESC)
		return -EBADMSG;
	ofp_flow_mod_init(ret);
	ret->table = rd_u8(&mp.body);
	rd_skip(&mp.body, 3);
	ret->out_port = rd_u32(&mp.body);
	ret->out_group = rd_u32(&mp.body);
	rd_skip(&mp.body, 4);
	ret->cookie = rd_u64(&mp.body);
	ret->cookie_mask = rd_u64(&mp.body);
	ofp_match_read(&mp.body, &ret->match);
	return ofp_result(&mp.body);
}

bool ofp_next_flow_desc(struct rd *body, struct ofp_flow_desc *ret)
{
	struct counters c;

	if (!rd_ok(body) || rd_left(body) == 0)
		return false;
	uint16_t len = rd_u16(body);
	if (len < 24) {
		rd_fail(body);
		return false;
	}
	struct rd r = rd_sub(body, len - 2u);
	rd_skip(&r, 2);
	ret->table = rd_u8(&r);
	rd_skip(&r, 1);
	ret->priority = rd_u16(&r);
	ret->idle_s = rd_u16(&r);
	ret->hard_s = rd_u16(&r);
	ret->flags = rd_u16(&r);
	ret->importance = rd_u16(&r);
	ret->cookie = rd_u64(&r);
	ofp_match_read(&r, &ret->match);
	read_counters(&r, &c);
	ret->duration_s = c.duration_s;
	ret->packets = c.packets;
	ret->bytes = c.bytes;
	ret->foreign =
		!read_instructions(&r, &ret->actions, &ret->actions_len, &ret->goto_table) || ret->match.n_unknown > 0;
	if (!rd_done(&r))
		rd_fail(body);
	return rd_ok(body);
}

void ofp_put_flow_desc(struct wr *w, const struct ofp_flow_desc *fd)
{
	size_t at = w->len;

	wr_u16(w, 0);
	wr_zero(w, 2);
	wr_u8(w, fd->table);
	wr_zero(w, 1);
	wr_u16(w, fd->priority);
	wr_u16(w, fd->idle_s);
	wr_u16(w, fd->hard_s);
	wr_u16(w, fd->flags);
	wr_u16(w, fd->importance);
	wr_u64(w, fd->cookie);
	ofp_match_put(w, &fd->match);
	put_counters(w, &(struct counters){ fd->duration_s, fd->packets, fd->bytes });
	put_instructions(w, fd->actions, fd->actions_len, fd->goto_table);
	if (w->len - at > OFP_MSG_MAX)
		w->err = true;
	wr_patch_u16(w, at, (uint16_t)(w->len - at));
}
