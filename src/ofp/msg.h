/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_MSG_H
#define OFP_MSG_H

#include "base/rd.h"
#include "base/wr.h"
#include "ofp/action.h"
#include "ofp/flow.h"
#include "ofp/match.h"
#include "ofp/packet.h"
#include "ofp/port.h"

/*
 * OpenFlow 1.5 messages (wire version 6) with Nicira's extensions. `ofp_put_x` appends one whole message to a writer;
 * `ofp_read_x` takes one whole message (header included, exactly `len` bytes) and returns 0 or -EBADMSG; pointers in
 * results point into the message. Pure.
 */
enum { OFP_VERSION = 6, OFP_HEADER_LEN = 8, OFP_MSG_MAX = 65535 };

/* OF 1.5.1 §7.1.1 */
enum ofp_type {
	OFP_HELLO = 0,
	OFP_ERROR = 1,
	OFP_ECHO_REQUEST = 2,
	OFP_ECHO_REPLY = 3,
	OFP_EXPERIMENTER = 4,
	OFP_FEATURES_REQUEST = 5,
	OFP_FEATURES_REPLY = 6,
	OFP_SET_CONFIG = 9,
	OFP_FLOW_REMOVED = 11,
	OFP_PORT_STATUS = 12,
	OFP_PACKET_OUT = 13,
	OFP_FLOW_MOD = 14,
	OFP_MULTIPART_REQUEST = 18,
	OFP_MULTIPART_REPLY = 19,
	OFP_BARRIER_REQUEST = 20,
	OFP_BARRIER_REPLY = 21,
	OFP_ROLE_REQUEST = 24,
	OFP_ROLE_REPLY = 25,
	OFP_SET_ASYNC = 28,
	OFP_METER_MOD = 29,
	OFP_BUNDLE_CONTROL = 33,
	OFP_BUNDLE_ADD = 34,
};

/* Experimenter types of Nicira (0x2320), kept apart from enum ofp_type by their own member of the header. */
enum ofp_nx_type {
	OFP_NX_NONE = 0,
	OFP_NX_SET_PACKET_IN_FORMAT = 16,
	OFP_NX_SET_CONTROLLER_ID = 20,
	OFP_NX_CT_FLUSH_ZONE = 29,
	OFP_NX_PACKET_IN2 = 30,
	OFP_NX_CT_FLUSH = 32,
};

struct ofp_header {
	uint8_t version;
	uint8_t type; /* enum ofp_type, or a number we do not know */
	uint16_t len;
	uint32_t xid;
	uint32_t nx_type; /* enum ofp_nx_type when type is OFP_EXPERIMENTER of Nicira's, else 0 */
};
/* Any version. -EBADMSG: shorter than 8, or len not the header's. */
int ofp_read_header(const void *msg, size_t len, struct ofp_header *ret);

/* The open message: begin writes the header, end patches its length. For messages not listed here. */
size_t ofp_begin(struct wr *w, enum ofp_type type, uint32_t xid);
size_t ofp_begin_nx(struct wr *w, enum ofp_nx_type type, uint32_t xid);
void ofp_end(struct wr *w, size_t begin);

/* Messages without a body: FEATURES_REQUEST, BARRIER_REQUEST, BARRIER_REPLY. */
void ofp_put_plain(struct wr *w, enum ofp_type type, uint32_t xid);
/* HELLO with a version bitmap holding 1.5 alone (§7.5.1). */
void ofp_put_hello(struct wr *w, uint32_t xid);
/* Whether the peer speaks 1.5: its bitmap says so, or without a bitmap its version is 6 or more. */
int ofp_read_hello(const void *msg, size_t len, bool *ret_speaks);
/* ECHO_REQUEST or ECHO_REPLY with the same data. */
void ofp_put_echo(struct wr *w, enum ofp_type type, uint32_t xid, const void *data, size_t len);

enum { OFP_ERROR_EXPERIMENTER = 0xffff };
/* §7.5.4. Experimenter: type 0xffff, `code` its exp_type. The data is (the start of) the message refused. */
struct ofp_error {
	uint16_t type, code;
	uint32_t experimenter;
	const uint8_t *data;
	size_t data_len;
};
int ofp_read_error(const void *msg, size_t len, struct ofp_error *ret);
void ofp_put_error(struct wr *w, uint32_t xid, const struct ofp_error *e);

struct ofp_features {
	uint64_t datapath_id;
	uint32_t n_buffers, capabilities;
	uint8_t n_tables, auxiliary_id;
};
int ofp_read_features_reply(const void *msg, size_t len, struct ofp_features *ret);
void ofp_put_features_reply(struct wr *w, uint32_t xid, const struct ofp_features *f);

void ofp_put_set_config(struct wr *w, uint32_t xid, uint16_t miss_send_len);
int ofp_read_set_config(const void *msg, size_t len, uint16_t *ret_miss_send_len);

/* §7.3.10. PRIMARY with a generation number makes other connections secondary. */
enum ofp_role { OFP_ROLE_NOCHANGE, OFP_ROLE_EQUAL, OFP_ROLE_PRIMARY, OFP_ROLE_SECONDARY };
void ofp_put_role(struct wr *w, enum ofp_type request_or_reply, uint32_t xid, enum ofp_role role, uint64_t generation);
int ofp_read_role(const void *msg, size_t len, enum ofp_role *ret_role, uint64_t *ret_generation);

/* §7.3.11, the masks for an equal or primary connection; the secondary ones are set to 0. Bits are 1 << reason. */
struct ofp_async {
	uint32_t packet_in, port_status, flow_removed;
};
void ofp_put_set_async(struct wr *w, uint32_t xid, const struct ofp_async *a);
int ofp_read_set_async(const void *msg, size_t len, struct ofp_async *ret);

/* Nicira's. Format 2 is NXT_PACKET_IN2. */
void ofp_put_packet_in_format(struct wr *w, uint32_t xid, uint32_t format);
void ofp_put_controller_id(struct wr *w, uint32_t xid, uint16_t id);
void ofp_put_ct_flush_zone(struct wr *w, uint32_t xid, uint16_t zone);

/* One conntrack entry by its original direction (as the guest sent it, before translation). 3.1 cannot flush by mark.
 */
struct ofp_ct_tuple {
	uint16_t zone;
	uint8_t proto;
	struct addr src, dst;  /* one family */
	uint16_t sport, dport; /* TCP, UDP */
	uint16_t icmp_id;
	uint8_t icmp_type, icmp_code;
};
void ofp_put_ct_flush(struct wr *w, uint32_t xid, const struct ofp_ct_tuple *t);
int ofp_read_ct_flush(const void *msg, size_t len, struct ofp_ct_tuple *ret);
/* The 32- or 16-bit argument of OFP_NX_SET_PACKET_IN_FORMAT, _SET_CONTROLLER_ID, _CT_FLUSH_ZONE. */
int ofp_read_nx_arg(const void *msg, size_t len, uint32_t *ret);

/* §7.3.5 */
enum ofp_multipart_type {
	OFP_MP_FLOW_DESC = 1,
	OFP_MP_TABLE = 3,
	OFP_MP_METER = 9,
	OFP_MP_METER_FEATURES = 11,
	OFP_MP_PORT_DESC = 13
};
struct ofp_multipart {
	uint16_t type; /* enum ofp_multipart_type or unknown */
	bool more;     /* further messages with this xid follow */
	struct rd body;
};
/* Request or reply. */
int ofp_read_multipart(const void *msg, size_t len, struct ofp_multipart *ret);
/* A reply to be filled by ofp_put_flow_desc and the like, then ofp_end. */
size_t ofp_begin_multipart_reply(struct wr *w, uint32_t xid, enum ofp_multipart_type type, bool more);

#endif
