/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_WIRE_H
#define OFP_WIRE_H

/* Numbers of the wire that only the codec uses: OF 1.5.1 §7.2.6, nicira-ext.h and lib/ofp-actions.c of Open
 * vSwitch 3.1. */

#define NX_VENDOR 0x00002320u

enum {
	OFPAT_OUTPUT = 0,
	OFPAT_DEC_NW_TTL = 24,
	OFPAT_SET_FIELD = 25,
	OFPAT_COPY_FIELD = 28,
	OFPAT_METER = 29,
	OFPAT_EXPERIMENTER = 0xffff,
};

enum {
	NXAST_RESUBMIT_TABLE = 14,
	NXAST_CT = 35,
	NXAST_NAT = 36,
	NXAST_CONTROLLER2 = 37,
	NXAST_CHECK_PKT_LARGER = 49,
};

enum {
	NXAC2PT_MAX_LEN = 0,
	NXAC2PT_CONTROLLER_ID = 1,
	NXAC2PT_REASON = 2,
	NXAC2PT_USERDATA = 3,
	NXAC2PT_METER_ID = 5,
	OFPR_ACTION_SET_DEFAULT = 1, /* the reason that is left out */
};

enum { NX_CT_F_COMMIT = 1, NX_CT_F_FORCE = 2, NX_ZONE_BITS = 15 /* [0..15] */ };

enum {
	NX_NAT_F_SRC = 1,
	NX_NAT_F_DST = 2,
	NX_NAT_RANGE_IPV4_MIN = 1,
	NX_NAT_RANGE_IPV6_MIN = 4,
	NX_NAT_RANGE_PROTO_MIN = 16,
};

enum { NX_PORT_IN_PORT = 0xfff8 };

enum { OFPIT_GOTO_TABLE = 1, OFPIT_APPLY_ACTIONS = 4 };

/* Statistics of a flow (OF 1.5.1 §7.2.4.2), class 0x8002. */
enum {
	OXS_CLASS = 0x8002,
	OXS_DURATION = 0,
	OXS_IDLE_TIME = 1,
	OXS_FLOW_COUNT = 3,
	OXS_PACKET_COUNT = 4,
	OXS_BYTE_COUNT = 5
};

/* Properties of NXT_PACKET_IN2. */
enum {
	NXPINT_PACKET = 0,
	NXPINT_FULL_LEN = 1,
	NXPINT_BUFFER_ID = 2,
	NXPINT_TABLE_ID = 3,
	NXPINT_COOKIE = 4,
	NXPINT_REASON = 5,
	NXPINT_METADATA = 6,
	NXPINT_USERDATA = 7,
	NXPINT_CONTINUATION = 8,
};

#endif
