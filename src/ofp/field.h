/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_FIELD_H
#define OFP_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The match fields we speak (OF 1.5.1 §7.2.3.7, Nicira's nxm). The order of the enum is the order in which Open vSwitch
 * writes a match (packet metadata, Ethernet, network, transport, registers, conntrack, metadata), so a match kept
 * sorted by it has one byte form, and every prerequisite stands before what needs it.
 *
 * Registers: reg0..reg15 are 32 bits; in OpenFlow 1.5 a *match* carries them in pairs as xreg0..xreg7 (class 0x8001;
 * reg 2n is the high half), while *actions* name the single register (class 1).
 */
enum ofp_field {
	OFP_F_IN_PORT,
	OFP_F_ETH_SRC,
	OFP_F_ETH_DST,
	OFP_F_ETH_TYPE,
	OFP_F_VLAN_VID,
	OFP_F_IPV4_SRC,
	OFP_F_IPV4_DST,
	OFP_F_IPV6_SRC,
	OFP_F_IPV6_DST,
	OFP_F_IP_FRAG,
	OFP_F_IP_TTL,
	OFP_F_IP_PROTO,
	OFP_F_TCP_SRC,
	OFP_F_TCP_DST,
	OFP_F_TCP_FLAGS,
	OFP_F_UDP_SRC,
	OFP_F_UDP_DST,
	OFP_F_ICMPV4_TYPE,
	OFP_F_ICMPV4_CODE,
	OFP_F_ICMPV6_TYPE,
	OFP_F_ICMPV6_CODE,
	OFP_F_ND_TARGET,
	OFP_F_ND_SLL,
	OFP_F_ND_TLL,
	OFP_F_ARP_OP,
	OFP_F_ARP_SPA,
	OFP_F_ARP_TPA,
	OFP_F_ARP_SHA,
	OFP_F_ARP_THA,
	OFP_F_XREG0,
	OFP_F_XREG7 = OFP_F_XREG0 + 7,
	OFP_F_CT_STATE,
	OFP_F_CT_ZONE,
	OFP_F_CT_MARK,
	OFP_F_METADATA,
	OFP_F_REG0, /* in actions only */
	OFP_F_REG15 = OFP_F_REG0 + 15,
	OFP_F_COUNT
};

enum { OFP_REGS = 16, OFP_FIELD_LEN_MAX = 16 };

/* The 32-bit OXM header, without the mask bit: class, field, length of the value. */
uint32_t ofp_field_header(enum ofp_field f);
/* Bytes of the value. */
size_t ofp_field_len(enum ofp_field f);
/* Bits of the value (VLAN_VID: 13, TCP_FLAGS: 12, IP_FRAG: 2, else 8 × bytes). */
unsigned ofp_field_bits(enum ofp_field f);
/* `header` with or without the mask bit; false when it is none of ours or its length is not the field's (twice that
 * with a mask). */
bool ofp_field_find(uint32_t header, enum ofp_field *ret_field, bool *ret_masked);

#endif
