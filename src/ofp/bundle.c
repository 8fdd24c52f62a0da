/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/flow.h"

#include "ofp/body.h"

#include <errno.h>

void ofp_put_bundle(struct wr *w, uint32_t xid, uint32_t bundle, enum ofp_bundle_control control)
{
	size_t at = ofp_begin(w, OFP_BUNDLE_CONTROL, xid);

	wr_u32(w, bundle);
	wr_u16(w, (uint16_t)control);
	wr_u16(w, OFP_BUNDLE_ATOMIC | OFP_BUNDLE_ORDERED);
	ofp_end(w, at);
}

int ofp_read_bundle(const void *msg, size_t len, struct ofp_bundle *ret)
{
	struct rd r = ofp_body(msg, len, OFP_BUNDLE_CONTROL);
	uint32_t id = rd_u32(&r);
	uint16_t control = rd_u16(&r), flags = rd_u16(&r);

	if (!rd_done(&r) || control > OFP_BUNDLE_DISCARDED)
		return -EBADMSG;
	*ret = (struct ofp_bundle){ .id = id, .control = (enum ofp_bundle_control)control, .flags = flags };
	return 0;
}

size_t ofp_bundle_add_begin(struct wr *w, uint32_t xid, uint32_t bundle)
{
	size_t at = ofp_begin(w, OFP_BUNDLE_ADD, xid);

	wr_u32(w, bundle);
	wr_zero(w, 2);
	wr_u16(w, OFP_BUNDLE_ATOMIC | OFP_BUNDLE_ORDERED);
	return at;
}

void ofp_bundle_add_end(struct wr *w, size_t begin)
{
	ofp_end(w, begin);
}

void ofp_put_bundle_flow_mod(struct wr *w, uint32_t xid, uint32_t bundle, const struct ofp_flow_mod *fm)
{
	size_t at = ofp_bundle_add_begin(w, xid, bundle);

	ofp_put_flow_mod(w, xid, fm);
	ofp_bundle_add_end(w, at);
}

int ofp_read_bundle_add(const void *msg, size_t len, uint32_t *ret_bundle, const uint8_t **ret_inner,
	size_t *ret_inner_len)
{
	struct rd r = ofp_body(msg, len, OFP_BUNDLE_ADD);
	struct ofp_header outer, inner;
	uint32_t bundle = rd_u32(&r);

	rd_skip(&r, 4);
	if (!rd_ok(&r) || ofp_read_header(msg, len, &outer) != 0)
		return -EBADMSG;
	size_t left = rd_left(&r);
	const uint8_t *p = rd_bytes(&r, left);
	if (ofp_read_header(p, left, &inner) != 0 || inner.version != OFP_VERSION || inner.xid != outer.xid)
		return -EBADMSG;
	*ret_bundle = bundle;
	*ret_inner = p;
	*ret_inner_len = left;
	return 0;
}
