/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_ACTION_H
#define OFP_ACTION_H

#include "base/addr.h"
#include "base/rd.h"
#include "base/wr.h"
#include "ofp/field.h"

/*
 * Action lists (OF 1.5.1 §7.2.6, Nicira extensions), written one after the other into a writer of the caller's; an
 * empty list drops. Every action is a multiple of 8 bytes. OVS refuses a flow whose ct, dec_ttl or IP set_field lacks
 * `ip`/`ipv6` in the *match*.
 */
enum {
	OFP_PORT_IN_PORT = 0xfffffff8u,
	OFP_PORT_CONTROLLER = 0xfffffffdu,
	OFP_PORT_LOCAL = 0xfffffffeu,
	OFP_PORT_ANY = 0xffffffffu,
	OFP_TABLE_ALL = 0xff,
	OFP_NO_TABLE = 0xff,
};

/* Back to the port a packet came in by: OFP_PORT_IN_PORT (output to that port's own number is suppressed by the
 * switch). */
void ofp_act_output(struct wr *w, uint32_t port);
void ofp_act_resubmit(struct wr *w, uint8_t table);
/* Looks up with `in_port` (below 0xff00) in place of the packet's own. */
void ofp_act_resubmit_port(struct wr *w, uint16_t in_port, uint8_t table);
void ofp_act_meter(struct wr *w, uint32_t meter);
void ofp_act_dec_ttl(struct wr *w);

/* set_field; `value` and `mask` (NULL: whole field) are ofp_field_len bytes. In OpenFlow 1.5 it is also what `load`
 * means. */
void ofp_act_set(struct wr *w, enum ofp_field f, const void *value, const void *mask);
void ofp_act_set_uint(struct wr *w, enum ofp_field f, uint64_t value);
void ofp_act_set_reg(struct wr *w, unsigned reg, uint32_t value);
/* load:value->reg[ofs..ofs+n_bits-1] */
void ofp_act_set_reg_bits(struct wr *w, unsigned reg, unsigned ofs, unsigned n_bits, uint32_t value);
void ofp_act_set_mac(struct wr *w, enum ofp_field f, const struct mac *mac);
/* ofp_field_len(f) must be a->len. */
void ofp_act_set_addr(struct wr *w, enum ofp_field f, const struct addr *a);
/* move:src[src_ofs..]->dst[dst_ofs..], n_bits (copy_field, OF 1.5.1 §7.2.6.10) */
void ofp_act_move(struct wr *w, enum ofp_field src, unsigned src_ofs, enum ofp_field dst, unsigned dst_ofs,
	unsigned n_bits);
/* check_pkt_larger(len)->reg[bit]: the bit is 1 when the frame is longer. */
void ofp_act_check_pkt_larger(struct wr *w, uint16_t len, unsigned reg, unsigned bit);

/* To the controllers with this id. `meter` 0: none. Never paused. max_len 65535: the whole frame (OVS sends it whole in
 * any case). */
struct ofp_controller {
	uint16_t max_len;
	uint16_t controller_id;
	uint8_t reason; /* OFP_REASON_ACTION */
	uint32_t meter;
	const uint8_t *userdata;
	size_t userdata_len;
};
void ofp_act_controller(struct wr *w, const struct ofp_controller *c);

enum ofp_nat { OFP_NAT_NONE, OFP_NAT_REPLY, OFP_NAT_SRC, OFP_NAT_DST };
enum ofp_ct_mark { OFP_MARK_KEEP, OFP_MARK_SET, OFP_MARK_FROM_REG };

/* ct(...). Zero plus `.table = OFP_NO_TABLE` is `ct()`. OFP_NAT_REPLY is `nat` without arguments: undo what the entry
 * says. */
struct ofp_ct {
	bool commit, force;
	bool zone_from_reg; /* zone = reg[zone_reg][0..15], else `zone` */
	uint8_t zone_reg;
	uint16_t zone;
	uint8_t table; /* recirculate to; OFP_NO_TABLE: the packet goes on untracked */
	enum ofp_nat nat;
	struct addr nat_addr; /* OFP_NAT_SRC, OFP_NAT_DST: one address, */
	uint16_t nat_port;    /* and 0 or one port */
	enum ofp_ct_mark mark_from;
	uint32_t mark;
	uint8_t mark_reg;
};
void ofp_act_ct(struct wr *w, const struct ofp_ct *ct);

/* The reading side: for a switch of the tests and to check what we wrote. */
enum ofp_act_type {
	OFP_ACT_OUTPUT,
	OFP_ACT_RESUBMIT,
	OFP_ACT_METER,
	OFP_ACT_DEC_TTL,
	OFP_ACT_SET,
	OFP_ACT_MOVE,
	OFP_ACT_CHECK_PKT_LARGER,
	OFP_ACT_CONTROLLER,
	OFP_ACT_CT,
};

struct ofp_act {
	enum ofp_act_type type;
	uint32_t port, meter; /* OUTPUT; RESUBMIT: 0xfff8 for the packet's own; METER */
	uint8_t table;	      /* RESUBMIT */
	enum ofp_field field; /* SET; MOVE and CHECK_PKT_LARGER: destination */
	uint8_t value[OFP_FIELD_LEN_MAX], mask[OFP_FIELD_LEN_MAX]; /* SET; no mask on the wire: all ones */
	enum ofp_field src;
	uint16_t src_ofs, dst_ofs, n_bits; /* MOVE; CHECK_PKT_LARGER: dst_ofs */
	uint16_t pkt_len;
	struct ofp_controller controller; /* userdata points into the message */
	struct ofp_ct ct;
};

/* The next action of a list; false at its end or when it is none of the above or malformed (then `r` has failed). */
bool ofp_act_read(struct rd *r, struct ofp_act *ret);
/* Writes what ofp_act_read read. */
void ofp_act_put(struct wr *w, const struct ofp_act *a);

#endif
