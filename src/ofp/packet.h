/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_PACKET_H
#define OFP_PACKET_H

#include "ofp/action.h"
#include "ofp/match.h"

/* Packets to and from the controller. */
enum { OFP_REASON_ACTION = 1, OFP_REASON_INVALID_TTL = 2 };

/*
 * NXT_PACKET_IN2 (nicira-ext.h; experimenter 0x2320, type 30): properties of 8-byte multiples. Bytes point into the
 * message. full_len is the frame's true length when the switch cut it, else frame_len. Registers not in the message are
 * 0. Unknown properties without the experimenter bit are an error, as OVS itself does; unknown metadata fields are
 * skipped. Cookie and table are informative.
 */
struct ofp_packet_in {
	const uint8_t *frame;
	size_t frame_len;
	size_t full_len;
	const uint8_t *userdata;
	size_t userdata_len;
	uint8_t reason;
	uint8_t table;
	uint64_t cookie;
	uint32_t in_port; /* 0: none */
	uint32_t reg[OFP_REGS];
	uint32_t ct_state, ct_mark;
	uint16_t ct_zone;
	uint64_t metadata;
};
int ofp_read_packet_in(const void *msg, size_t len, struct ofp_packet_in *ret);
void ofp_put_packet_in(struct wr *w, uint32_t xid, const struct ofp_packet_in *pi);

/* OF 1.5.1 §7.3.6: buffer_id none, match holding in_port (a port number or OFP_PORT_CONTROLLER), actions, frame. */
struct ofp_packet_out {
	uint32_t in_port;
	const uint8_t *actions;
	size_t actions_len;
	const uint8_t *frame;
	size_t frame_len;
};
void ofp_put_packet_out(struct wr *w, uint32_t xid, const struct ofp_packet_out *po);
int ofp_read_packet_out(const void *msg, size_t len, struct ofp_packet_out *ret);

#endif
