/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/port.h"

#include "ofp/body.h"

#include <errno.h>
#include <string.h>

enum { PORT_LEN = 40, DROP_BAND_LEN = 16, METER_STATS_LEN = 40 };

/* The bytes left in `body` allow another entry. */
static bool more(const struct rd *body)
{
	return rd_ok(body) && rd_left(body) > 0;
}

static void put_request(struct wr *w, uint32_t xid, enum ofp_multipart_type type, const uint32_t *arg)
{
	size_t at = ofp_begin_multipart(w, OFP_MULTIPART_REQUEST, xid, type, false);

	if (arg != NULL) {
		wr_u32(w, *arg);
		wr_zero(w, 4);
	}
	ofp_end(w, at);
}

void ofp_put_port_desc_request(struct wr *w, uint32_t xid, uint32_t port)
{
	put_request(w, xid, OFP_MP_PORT_DESC, &port);
}

bool ofp_next_port(struct rd *body, struct ofp_port *ret)
{
	if (!more(body))
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->number = rd_u32(body);
	uint16_t len = rd_u16(body);
	if (len < PORT_LEN || len % 8 != 0) {
		rd_fail(body);
		return false;
	}
	struct rd r = rd_sub(body, len - 6u);
	rd_skip(&r, 2);
	rd_copy(&r, ret->mac.b, sizeof(ret->mac.b));
	rd_skip(&r, 2);
	rd_copy(&r, ret->name, OFP_PORT_NAME_MAX);
	ret->config = rd_u32(&r);
	ret->state = rd_u32(&r);
	if (!rd_ok(&r))
		rd_fail(body);
	return rd_ok(body);
}

void ofp_put_port(struct wr *w, const struct ofp_port *p)
{
	wr_u32(w, p->number);
	wr_u16(w, PORT_LEN);
	wr_zero(w, 2);
	wr_bytes(w, p->mac.b, sizeof(p->mac.b));
	wr_zero(w, 2);
	wr_bytes(w, p->name, OFP_PORT_NAME_MAX);
	wr_u32(w, p->config);
	wr_u32(w, p->state);
}

int ofp_read_port_status(const void *msg, size_t len, enum ofp_port_reason *ret_reason, struct ofp_port *ret)
{
	struct rd r = ofp_body(msg, len, OFP_PORT_STATUS);
	uint8_t reason = rd_u8(&r);

	rd_skip(&r, 7);
	if (!ofp_next_port(&r, ret) || !rd_done(&r) || reason > OFP_PORT_MODIFIED)
		return -EBADMSG;
	*ret_reason = (enum ofp_port_reason)reason;
	return 0;
}

void ofp_put_port_status(struct wr *w, uint32_t xid, enum ofp_port_reason reason, const struct ofp_port *p)
{
	size_t at = ofp_begin(w, OFP_PORT_STATUS, xid);

	wr_u8(w, (uint8_t)reason);
	wr_zero(w, 7);
	ofp_put_port(w, p);
	ofp_end(w, at);
}

enum { METER_KBPS = 1, METER_PKTPS = 2, METER_BURST = 4, METER_STATS = 8, BAND_DROP = 1 };

void ofp_put_meter_mod(struct wr *w, uint32_t xid, enum ofp_meter_command command, const struct ofp_meter *m)
{
	size_t at = ofp_begin(w, OFP_METER_MOD, xid);
	bool bare = command == OFP_METER_DELETE;
	uint16_t flags =
		(uint16_t)((m->kbps ? METER_KBPS : METER_PKTPS) | (m->burst != 0 ? METER_BURST : 0) | METER_STATS);

	wr_u16(w, (uint16_t)command);
	wr_u16(w, bare ? 0 : flags);
	wr_u32(w, m->id);
	if (!bare) {
		wr_u16(w, BAND_DROP);
		wr_u16(w, DROP_BAND_LEN);
		wr_u32(w, m->rate);
		wr_u32(w, m->burst);
		wr_zero(w, 4);
	}
	ofp_end(w, at);
}

int ofp_read_meter_mod(const void *msg, size_t len, enum ofp_meter_command *ret_command, struct ofp_meter *ret)
{
	struct rd r = ofp_body(msg, len, OFP_METER_MOD);
	uint16_t command = rd_u16(&r), flags = rd_u16(&r);
	struct ofp_meter m = { .id = rd_u32(&r), .kbps = flags & METER_KBPS };

	if (!rd_ok(&r) || command > OFP_METER_DELETE)
		return -EBADMSG;
	if (command != OFP_METER_DELETE) {
		uint16_t type = rd_u16(&r), size = rd_u16(&r);
		m.rate = rd_u32(&r);
		m.burst = rd_u32(&r);
		rd_skip(&r, 4);
		if (type != BAND_DROP || size != DROP_BAND_LEN)
			rd_fail(&r);
	}
	if (!rd_done(&r))
		return -EBADMSG;
	*ret_command = (enum ofp_meter_command)command;
	*ret = m;
	return 0;
}

void ofp_put_meter_stats_request(struct wr *w, uint32_t xid, uint32_t meter)
{
	put_request(w, xid, OFP_MP_METER, &meter);
}

bool ofp_next_meter_stats(struct rd *body, struct ofp_meter_stats *ret)
{
	if (!more(body))
		return false;
	memset(ret, 0, sizeof(*ret));
	ret->id = rd_u32(body);
	uint16_t len = rd_u16(body);
	if (len < METER_STATS_LEN || len % 8 != 0) {
		rd_fail(body);
		return false;
	}
	struct rd r = rd_sub(body, len - 6u);
	rd_skip(&r, 6 + 4); /* padding, number of flows */
	ret->packets = rd_u64(&r);
	ret->bytes = rd_u64(&r);
	rd_skip(&r, 8); /* duration */
	while (more(&r)) {
		ret->dropped_packets += rd_u64(&r);
		ret->dropped_bytes += rd_u64(&r);
	}
	if (!rd_ok(&r))
		rd_fail(body);
	return rd_ok(body);
}

void ofp_put_meter_stats(struct wr *w, const struct ofp_meter_stats *m)
{
	wr_u32(w, m->id);
	wr_u16(w, METER_STATS_LEN + 16);
	wr_zero(w, 6 + 4);
	wr_u64(w, m->packets);
	wr_u64(w, m->bytes);
	wr_zero(w, 8);
	wr_u64(w, m->dropped_packets);
	wr_u64(w, m->dropped_bytes);
}

void ofp_put_meter_features_request(struct wr *w, uint32_t xid)
{
	put_request(w, xid, OFP_MP_METER_FEATURES, NULL);
}

bool ofp_next_meter_features(struct rd *body, struct ofp_meter_features *ret)
{
	if (!more(body))
		return false;
	ret->max_meters = rd_u32(body);
	ret->band_types = rd_u32(body);
	ret->capabilities = rd_u32(body);
	ret->max_bands = rd_u8(body);
	ret->max_color = rd_u8(body);
	rd_skip(body, 2);
	/* 1.5 adds eight bytes of features, which OVS 3.1 does not send. */
	if (rd_left(body) == 8)
		rd_skip(body, 8);
	return rd_done(body);
}

void ofp_put_meter_features(struct wr *w, const struct ofp_meter_features *f)
{
	wr_u32(w, f->max_meters);
	wr_u32(w, f->band_types);
	wr_u32(w, f->capabilities);
	wr_u8(w, f->max_bands);
	wr_u8(w, f->max_color);
	wr_zero(w, 2);
}

void ofp_put_table_stats_request(struct wr *w, uint32_t xid)
{
	put_request(w, xid, OFP_MP_TABLE, NULL);
}

bool ofp_next_table_stats(struct rd *body, struct ofp_table_stats *ret)
{
	if (!more(body))
		return false;
	ret->table = rd_u8(body);
	rd_skip(body, 3);
	ret->flows = rd_u32(body);
	ret->lookups = rd_u64(body);
	ret->matches = rd_u64(body);
	return rd_ok(body);
}

void ofp_put_table_stats(struct wr *w, const struct ofp_table_stats *t)
{
	wr_u8(w, t->table);
	wr_zero(w, 3);
	wr_u32(w, t->flows);
	wr_u64(w, t->lookups);
	wr_u64(w, t->matches);
}
