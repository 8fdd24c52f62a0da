/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_FLOW_H
#define OFP_FLOW_H

#include "ofp/action.h"
#include "ofp/match.h"

/* Flows and bundles. All put functions append one whole message to `w`; one that grows past 65535 bytes fails the
 * writer. */

enum ofp_flow_command {
	OFP_FLOW_ADD,
	OFP_FLOW_MODIFY,
	OFP_FLOW_MODIFY_STRICT,
	OFP_FLOW_DELETE,
	OFP_FLOW_DELETE_STRICT
};
enum { OFP_FLOW_SEND_REMOVED = 1, OFP_FLOW_CHECK_OVERLAP = 2, OFP_FLOW_RESET_COUNTS = 4 };
enum ofp_removed_reason {
	OFP_REMOVED_IDLE,
	OFP_REMOVED_HARD,
	OFP_REMOVED_DELETE,
	OFP_REMOVED_GROUP,
	OFP_REMOVED_METER,
	OFP_REMOVED_EVICTION
};

/*
 * OF 1.5.1 §7.3.4.2. ofp_flow_mod_init gives an ADD with nothing set: out_port and goto_table none. Instructions are
 * apply-actions (when actions_len) then goto-table. For MODIFY and DELETE cookie/cookie_mask select; for ADD cookie is
 * the new one. A re-ADD of the same table, priority and match replaces actions and cookie and restarts the timeouts;
 * counters stay unless OFP_FLOW_RESET_COUNTS.
 */
struct ofp_flow_mod {
	enum ofp_flow_command command;
	uint8_t table; /* OFP_TABLE_ALL for deletes of all tables */
	uint8_t goto_table;
	uint16_t priority;
	uint16_t idle_s, hard_s;
	uint16_t flags, importance;
	uint64_t cookie, cookie_mask;
	uint32_t out_port, out_group;
	struct ofp_match match;
	const uint8_t *actions; /* the caller's; decoded: inside the message */
	size_t actions_len;
};

void ofp_flow_mod_init(struct ofp_flow_mod *fm);
void ofp_put_flow_mod(struct wr *w, uint32_t xid, const struct ofp_flow_mod *fm);
/* `msg` is one whole message. 0 or -EBADMSG; *ret is then undefined. Instructions other than apply-actions and
 * goto-table: -EBADMSG. */
int ofp_read_flow_mod(const void *msg, size_t len, struct ofp_flow_mod *ret);

/* OF 1.5.1 §7.4.2; counters are OXS, absent ones read as 0. */
struct ofp_flow_removed {
	uint8_t table;
	uint8_t reason; /* enum ofp_removed_reason */
	uint16_t priority, idle_s, hard_s;
	uint64_t cookie;
	uint32_t duration_s;
	uint64_t packets, bytes;
	struct ofp_match match;
};
void ofp_put_flow_removed(struct wr *w, uint32_t xid, const struct ofp_flow_removed *fr);
int ofp_read_flow_removed(const void *msg, size_t len, struct ofp_flow_removed *ret);

/* OFPMP_FLOW_DESC (OF 1.5.1 §7.3.5.2) by table, cookie and match (NULL: any). */
void ofp_put_flow_desc_request(struct wr *w, uint32_t xid, uint8_t table, uint64_t cookie, uint64_t cookie_mask,
	const struct ofp_match *m);
int ofp_read_flow_desc_request(const void *msg, size_t len, struct ofp_flow_mod *ret);

struct ofp_flow_desc {
	uint8_t table;
	uint8_t goto_table;
	uint16_t priority, idle_s, hard_s, flags, importance;
	uint64_t cookie;
	uint32_t duration_s;
	uint64_t packets, bytes;
	struct ofp_match match;
	const uint8_t *actions; /* inside the message */
	size_t actions_len;
	bool foreign; /* has an instruction or a field we never write */
};
/* Iterates over the body of one multipart reply (ofp_read_multipart). False at the end or on a malformed entry (then
 * `body` has failed). */
bool ofp_next_flow_desc(struct rd *body, struct ofp_flow_desc *ret);
void ofp_put_flow_desc(struct wr *body, const struct ofp_flow_desc *fd);

/* Bundles (OF 1.5.1 §7.3.9). Meter changes cannot be in one. Always ATOMIC and ORDERED. */
enum ofp_bundle_control {
	OFP_BUNDLE_OPEN,
	OFP_BUNDLE_OPENED,
	OFP_BUNDLE_CLOSE,
	OFP_BUNDLE_CLOSED,
	OFP_BUNDLE_COMMIT,
	OFP_BUNDLE_COMMITTED,
	OFP_BUNDLE_DISCARD,
	OFP_BUNDLE_DISCARDED,
};
enum { OFP_BUNDLE_ATOMIC = 1, OFP_BUNDLE_ORDERED = 2 };
struct ofp_bundle {
	uint32_t id;
	enum ofp_bundle_control control;
	uint16_t flags;
};
void ofp_put_bundle(struct wr *w, uint32_t xid, uint32_t bundle, enum ofp_bundle_control control);
int ofp_read_bundle(const void *msg, size_t len, struct ofp_bundle *ret);
/* Returns where the message begins; then put exactly one flow-mod or packet-out with the *same* xid; then end. */
size_t ofp_bundle_add_begin(struct wr *w, uint32_t xid, uint32_t bundle);
void ofp_bundle_add_end(struct wr *w, size_t begin);
/* *ret_inner is the wrapped message, checked to be whole and to carry the same xid. */
int ofp_read_bundle_add(const void *msg, size_t len, uint32_t *ret_bundle, const uint8_t **ret_inner,
	size_t *ret_inner_len);
/* begin, flow-mod, end. */
void ofp_put_bundle_flow_mod(struct wr *w, uint32_t xid, uint32_t bundle, const struct ofp_flow_mod *fm);

#endif
