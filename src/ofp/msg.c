/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/msg.h"

#include "ofp/body.h"
#include "ofp/wire.h"

#include <errno.h>
#include <string.h>

size_t ofp_begin(struct wr *w, enum ofp_type type, uint32_t xid)
{
	size_t at = w->len;

	wr_u8(w, OFP_VERSION);
	wr_u8(w, (uint8_t)type);
	wr_u16(w, 0);
	wr_u32(w, xid);
	return at;
}

size_t ofp_begin_nx(struct wr *w, enum ofp_nx_type type, uint32_t xid)
{
	size_t at = ofp_begin(w, OFP_EXPERIMENTER, xid);

	wr_u32(w, NX_VENDOR);
	wr_u32(w, type);
	return at;
}

void ofp_end(struct wr *w, size_t begin)
{
	if (w->len - begin > OFP_MSG_MAX)
		w->err = true;
	wr_patch_u16(w, begin + 2, (uint16_t)(w->len - begin));
}

int ofp_read_header(const void *msg, size_t len, struct ofp_header *ret)
{
	struct rd r = rd_init(msg, len);
	struct ofp_header h = { 0 };

	h.version = rd_u8(&r);
	h.type = rd_u8(&r);
	h.len = rd_u16(&r);
	h.xid = rd_u32(&r);
	if (!rd_ok(&r) || h.len != len || h.len < OFP_HEADER_LEN)
		return -EBADMSG;
	if (h.type == OFP_EXPERIMENTER && h.version == OFP_VERSION) {
		uint32_t vendor = rd_u32(&r), type = rd_u32(&r);
		if (!rd_ok(&r))
			return -EBADMSG;
		h.nx_type = vendor == NX_VENDOR ? type : 0;
	}
	*ret = h;
	return 0;
}

struct rd ofp_body(const void *msg, size_t len, enum ofp_type type)
{
	struct rd r = rd_init(msg, len);
	struct ofp_header h;

	if (ofp_read_header(msg, len, &h) != 0 || h.type != (uint8_t)type ||
		(h.version != OFP_VERSION && type != OFP_HELLO))
		rd_fail(&r);
	rd_skip(&r, OFP_HEADER_LEN);
	return r;
}

struct rd ofp_body_nx(const void *msg, size_t len, enum ofp_nx_type type)
{
	struct rd r = ofp_body(msg, len, OFP_EXPERIMENTER);

	if (rd_u32(&r) != NX_VENDOR || rd_u32(&r) != (uint32_t)type)
		rd_fail(&r);
	return r;
}

int ofp_result(const struct rd *r)
{
	return rd_done(r) ? 0 : -EBADMSG;
}

void ofp_put_plain(struct wr *w, enum ofp_type type, uint32_t xid)
{
	ofp_end(w, ofp_begin(w, type, xid));
}

void ofp_put_hello(struct wr *w, uint32_t xid)
{
	size_t at = ofp_begin(w, OFP_HELLO, xid);

	/* Element 1, version bitmap: bit 6 is wire version 6. */
	wr_u16(w, 1);
	wr_u16(w, 8);
	wr_u32(w, 1u << OFP_VERSION);
	ofp_end(w, at);
}

int ofp_read_hello(const void *msg, size_t len, bool *ret_speaks)
{
	struct rd r = ofp_body(msg, len, OFP_HELLO);
	bool speaks = len > 0 && *(const uint8_t *)msg >= OFP_VERSION;

	while (rd_ok(&r) && rd_left(&r) > 0) {
		uint16_t type = rd_u16(&r), element = rd_u16(&r);
		if (element < 4) {
			rd_fail(&r);
			break;
		}
		struct rd e = rd_sub(&r, element - 4u);
		rd_skip(&r, (8 - element % 8u) % 8);
		if (type != 1)
			continue;
		uint32_t first = rd_u32(&e);
		if (!rd_ok(&e))
			rd_fail(&r);
		speaks = first & 1u << OFP_VERSION;
	}
	if (!rd_done(&r))
		return -EBADMSG;
	*ret_speaks = speaks;
	return 0;
}

void ofp_put_echo(struct wr *w, enum ofp_type type, uint32_t xid, const void *data, size_t len)
{
	size_t at = ofp_begin(w, type, xid);

	wr_bytes(w, data, len);
	ofp_end(w, at);
}

int ofp_read_error(const void *msg, size_t len, struct ofp_error *ret)
{
	struct rd r = ofp_body(msg, len, OFP_ERROR);
	struct ofp_error e = { 0 };

	e.type = rd_u16(&r);
	e.code = rd_u16(&r);
	if (e.type == OFP_ERROR_EXPERIMENTER)
		e.experimenter = rd_u32(&r);
	e.data_len = rd_left(&r);
	e.data = rd_bytes(&r, e.data_len);
	if (!rd_done(&r))
		return -EBADMSG;
	*ret = e;
	return 0;
}

void ofp_put_error(struct wr *w, uint32_t xid, const struct ofp_error *e)
{
	size_t at = ofp_begin(w, OFP_ERROR, xid);

	wr_u16(w, e->type);
	wr_u16(w, e->code);
	if (e->type == OFP_ERROR_EXPERIMENTER)
		wr_u32(w, e->experimenter);
	wr_bytes(w, e->data, e->data_len);
	ofp_end(w, at);
}

int ofp_read_features_reply(const void *msg, size_t len, struct ofp_features *ret)
{
	struct rd r = ofp_body(msg, len, OFP_FEATURES_REPLY);
	struct ofp_features f = { .datapath_id = rd_u64(&r) };

	f.n_buffers = rd_u32(&r);
	f.n_tables = rd_u8(&r);
	f.auxiliary_id = rd_u8(&r);
	rd_skip(&r, 2);
	f.capabilities = rd_u32(&r);
	rd_skip(&r, 4);
	if (!rd_done(&r))
		return -EBADMSG;
	*ret = f;
	return 0;
}

void ofp_put_features_reply(struct wr *w, uint32_t xid, const struct ofp_features *f)
{
	size_t at = ofp_begin(w, OFP_FEATURES_REPLY, xid);

	wr_u64(w, f->datapath_id);
	wr_u32(w, f->n_buffers);
	wr_u8(w, f->n_tables);
	wr_u8(w, f->auxiliary_id);
	wr_zero(w, 2);
	wr_u32(w, f->capabilities);
	wr_zero(w, 4);
	ofp_end(w, at);
}

void ofp_put_set_config(struct wr *w, uint32_t xid, uint16_t miss_send_len)
{
	size_t at = ofp_begin(w, OFP_SET_CONFIG, xid);

	wr_u16(w, 0);
	wr_u16(w, miss_send_len);
	ofp_end(w, at);
}

int ofp_read_set_config(const void *msg, size_t len, uint16_t *ret_miss_send_len)
{
	struct rd r = ofp_body(msg, len, OFP_SET_CONFIG);

	rd_skip(&r, 2);
	uint16_t miss = rd_u16(&r);
	if (!rd_done(&r))
		return -EBADMSG;
	*ret_miss_send_len = miss;
	return 0;
}

/* role, short id (1.5: the controller's, none), generation */
void ofp_put_role(struct wr *w, enum ofp_type type, uint32_t xid, enum ofp_role role, uint64_t generation)
{
	size_t at = ofp_begin(w, type, xid);

	wr_u32(w, role);
	wr_zero(w, 4);
	wr_u64(w, generation);
	ofp_end(w, at);
}

int ofp_read_role(const void *msg, size_t len, enum ofp_role *ret_role, uint64_t *ret_generation)
{
	struct ofp_header h;

	if (ofp_read_header(msg, len, &h) != 0 || (h.type != OFP_ROLE_REQUEST && h.type != OFP_ROLE_REPLY))
		return -EBADMSG;
	struct rd r = ofp_body(msg, len, (enum ofp_type)h.type);
	uint32_t role = rd_u32(&r);
	rd_skip(&r, 4);
	uint64_t generation = rd_u64(&r);
	if (!rd_done(&r) || role > OFP_ROLE_SECONDARY)
		return -EBADMSG;
	*ret_role = (enum ofp_role)role;
	*ret_generation = generation;
	return 0;
}

/* Properties: even types speak of the secondary role, odd ones of the others (OF 1.5.1 §7.3.10,
 * ofp_async_config_prop_type). */
enum {
	ASYNC_PACKET_IN = 0,
	ASYNC_PORT_STATUS = 2,
	ASYNC_FLOW_REMOVED = 4,
	ASYNC_ROLE = 6,
	ASYNC_TABLE = 8,
	ASYNC_REQUESTFORWARD = 10
};

static void put_async(struct wr *w, uint16_t type, uint32_t mask)
{
	for (uint16_t i = 0; i < 2; i++) {
		wr_u16(w, (uint16_t)(type + i));
		wr_u16(w, 8);
		wr_u32(w, i == 0 ? 0 : mask);
	}
}

void ofp_put_set_async(struct wr *w, uint32_t xid, const struct ofp_async *a)
{
	size_t at = ofp_begin(w, OFP_SET_ASYNC, xid);

	put_async(w, ASYNC_PACKET_IN, a->packet_in);
	put_async(w, ASYNC_PORT_STATUS, a->port_status);
	put_async(w, ASYNC_FLOW_REMOVED, a->flow_removed);
	put_async(w, ASYNC_ROLE, 0);
	put_async(w, ASYNC_TABLE, 0);
	put_async(w, ASYNC_REQUESTFORWARD, 0);
	ofp_end(w, at);
}

int ofp_read_set_async(const void *msg, size_t len, struct ofp_async *ret)
{
	struct rd r = ofp_body(msg, len, OFP_SET_ASYNC);
	struct ofp_async a = { 0 };

	while (rd_ok(&r) && rd_left(&r) > 0) {
		uint16_t type = rd_u16(&r), size = rd_u16(&r);
		uint32_t mask = rd_u32(&r);
		if (size != 8)
			rd_fail(&r);
		if (type == ASYNC_PACKET_IN + 1)
			a.packet_in = mask;
		else if (type == ASYNC_PORT_STATUS + 1)
			a.port_status = mask;
		else if (type == ASYNC_FLOW_REMOVED + 1)
			a.flow_removed = mask;
	}
	if (!rd_done(&r))
		return -EBADMSG;
	*ret = a;
	return 0;
}

int ofp_read_multipart(const void *msg, size_t len, struct ofp_multipart *ret)
{
	struct ofp_header h;

	if (ofp_read_header(msg, len, &h) != 0 || (h.type != OFP_MULTIPART_REQUEST && h.type != OFP_MULTIPART_REPLY))
		return -EBADMSG;
	struct rd r = ofp_body(msg, len, (enum ofp_type)h.type);
	uint16_t type = rd_u16(&r), flags = rd_u16(&r);
	rd_skip(&r, 4);
	if (!rd_ok(&r))
		return -EBADMSG;
	*ret = (struct ofp_multipart){ .type = type, .more = flags & 1, .body = r };
	return 0;
}

size_t ofp_begin_multipart(struct wr *w, enum ofp_type type, uint32_t xid, enum ofp_multipart_type mp, bool more)
{
	size_t at = ofp_begin(w, type, xid);

	wr_u16(w, (uint16_t)mp);
	wr_u16(w, more ? 1 : 0);
	wr_zero(w, 4);
	return at;
}

size_t ofp_begin_multipart_reply(struct wr *w, uint32_t xid, enum ofp_multipart_type type, bool more)
{
	return ofp_begin_multipart(w, OFP_MULTIPART_REPLY, xid, type, more);
}
