/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/field.h"

/* Classes: 0x8000 OpenFlow basic, 0x8001 packet registers, 0x0001 Nicira's NXM (nicira-ext.h, meta-flow.h of Open
 * vSwitch). */
enum { BASIC = 0x8000, PACKET_REGS = 0x8001, NXM1 = 0x0001 };

static const struct {
	uint16_t class;
	uint8_t number, len, bits;
} fields[OFP_F_COUNT] = {
	[OFP_F_IN_PORT] = { BASIC, 0, 4, 32 },
	[OFP_F_METADATA] = { BASIC, 2, 8, 64 },
	[OFP_F_ETH_DST] = { BASIC, 3, 6, 48 },
	[OFP_F_ETH_SRC] = { BASIC, 4, 6, 48 },
	[OFP_F_ETH_TYPE] = { BASIC, 5, 2, 16 },
	[OFP_F_VLAN_VID] = { BASIC, 6, 2, 13 },
	[OFP_F_IP_PROTO] = { BASIC, 10, 1, 8 },
	[OFP_F_IPV4_SRC] = { BASIC, 11, 4, 32 },
	[OFP_F_IPV4_DST] = { BASIC, 12, 4, 32 },
	[OFP_F_TCP_SRC] = { BASIC, 13, 2, 16 },
	[OFP_F_TCP_DST] = { BASIC, 14, 2, 16 },
	[OFP_F_UDP_SRC] = { BASIC, 15, 2, 16 },
	[OFP_F_UDP_DST] = { BASIC, 16, 2, 16 },
	[OFP_F_ICMPV4_TYPE] = { BASIC, 19, 1, 8 },
	[OFP_F_ICMPV4_CODE] = { BASIC, 20, 1, 8 },
	[OFP_F_ARP_OP] = { BASIC, 21, 2, 16 },
	[OFP_F_ARP_SPA] = { BASIC, 22, 4, 32 },
	[OFP_F_ARP_TPA] = { BASIC, 23, 4, 32 },
	[OFP_F_ARP_SHA] = { BASIC, 24, 6, 48 },
	[OFP_F_ARP_THA] = { BASIC, 25, 6, 48 },
	[OFP_F_IPV6_SRC] = { BASIC, 26, 16, 128 },
	[OFP_F_IPV6_DST] = { BASIC, 27, 16, 128 },
	[OFP_F_ICMPV6_TYPE] = { BASIC, 29, 1, 8 },
	[OFP_F_ICMPV6_CODE] = { BASIC, 30, 1, 8 },
	[OFP_F_ND_TARGET] = { BASIC, 31, 16, 128 },
	[OFP_F_ND_SLL] = { BASIC, 32, 6, 48 },
	[OFP_F_ND_TLL] = { BASIC, 33, 6, 48 },
	[OFP_F_TCP_FLAGS] = { BASIC, 42, 2, 12 },
	[OFP_F_IP_FRAG] = { NXM1, 26, 1, 2 },
	[OFP_F_IP_TTL] = { NXM1, 29, 1, 8 },
	[OFP_F_CT_STATE] = { NXM1, 105, 4, 32 },
	[OFP_F_CT_ZONE] = { NXM1, 106, 2, 16 },
	[OFP_F_CT_MARK] = { NXM1, 107, 4, 32 },
};

static bool is_xreg(enum ofp_field f)
{
	return f >= OFP_F_XREG0 && f <= OFP_F_XREG7;
}

static bool is_reg(enum ofp_field f)
{
	return f >= OFP_F_REG0 && f <= OFP_F_REG15;
}

uint32_t ofp_field_header(enum ofp_field f)
{
	uint32_t class = fields[f].class, number = fields[f].number;

	if (is_xreg(f)) {
		class = PACKET_REGS;
		number = (uint32_t)(f - OFP_F_XREG0);
	} else if (is_reg(f)) {
		class = NXM1;
		number = (uint32_t)(f - OFP_F_REG0);
	}
	return class << 16 | number << 9 | (uint32_t)ofp_field_len(f);
}

size_t ofp_field_len(enum ofp_field f)
{
	return is_xreg(f) ? 8 : is_reg(f) ? 4 : fields[f].len;
}

unsigned ofp_field_bits(enum ofp_field f)
{
	return is_xreg(f) ? 64 : is_reg(f) ? 32 : fields[f].bits;
}

bool ofp_field_find(uint32_t header, enum ofp_field *ret_field, bool *ret_masked)
{
	bool masked = header & 0x100;
	uint32_t len = header & 0xff;

	if (masked && len % 2 != 0)
		return false;
	uint32_t plain = (header & 0xfffffe00) | (masked ? len / 2 : len);
	for (unsigned f = 0; f < OFP_F_COUNT; f++) {
		if (ofp_field_header((enum ofp_field)f) == plain) {
			*ret_field = (enum ofp_field)f;
			*ret_masked = masked;
			return true;
		}
	}
	return false;
}
