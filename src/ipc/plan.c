/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 198.18.0.0/15, RFC 2544: never a destination on any real network. */
static const uint32_t syn4_base = 0xc6120000U;

static bool pool_parse(const char *text, uint8_t len, unsigned *ret_prefix, struct addr *ret)
{
	char buf[64];
	const char *slash = strchr(text, '/');
	if (slash == NULL || (size_t)(slash - text) >= sizeof(buf))
		return false;
	memcpy(buf, text, (size_t)(slash - text));
	buf[slash - text] = '\0';
	char *end;
	unsigned long prefix = strtoul(slash + 1, &end, 10);
	struct addr a;
	if (end == slash + 1 || *end != '\0' || prefix > len * 8U || !addr_parse(buf, &a) || a.len != len)
		return false;
	for (unsigned bit = (unsigned)prefix; bit < len * 8U; bit++) {
		if ((a.b[bit / 8] >> (7 - bit % 8) & 1) != 0)
			return false;
	}
	*ret_prefix = (unsigned)prefix;
	*ret = a;
	return true;
}

bool plan_parse(const char *v4, const char *v6, struct plan *ret)
{
	struct plan p = { 0 };
	unsigned prefix4, prefix6;
	if (!pool_parse(v4, 4, &prefix4, &p.v4) || !pool_parse(v6, 16, &prefix6, &p.v6))
		return false;
	if (prefix4 > PLAN_V4_PREFIX_MAX || prefix4 < 8 || prefix6 != PLAN_V6_PREFIX)
		return false;
	p.v4_prefix = (uint8_t)prefix4;
	*ret = p;
	return true;
}

struct addr plan_v4(const struct plan *p, unsigned slot, unsigned host)
{
	return addr_v4(addr_to_u32(&p->v4) + slot * 4 + host);
}

_Static_assert(PLAN_SLOTS == 1 << (64 - PLAN_V6_SLOTS_PREFIX), "a slot is a /64");

struct addr plan_v6(const struct plan *p, unsigned slot, unsigned host)
{
	struct addr a = p->v6;
	a.b[6] = (uint8_t)(slot >> 8);
	a.b[7] = (uint8_t)slot;
	a.b[14] = (uint8_t)(host >> 8);
	a.b[15] = (uint8_t)host;
	return a;
}

unsigned plan_slot(const struct plan *p, const struct addr *a)
{
	unsigned slot = 0;
	if (addr_in(a, &p->v4, p->v4_prefix))
		slot = (addr_to_u32(a) - addr_to_u32(&p->v4)) / 4;
	else if (addr_in(a, &p->v6, PLAN_V6_PREFIX))
		slot = (unsigned)a->b[6] << 8 | a->b[7];
	return slot < PLAN_SLOTS ? slot : 0;
}

struct mac plan_router_mac(void)
{
	return (struct mac){ { 0x02, 0x5e, 0x6b, 0x00, 0x00, 0x01 } };
}

struct mac plan_mac(unsigned slot, uint32_t run, unsigned kind)
{
	return (struct mac){ { 0x02, 0x5e, (uint8_t)(0x70 + kind), (uint8_t)(run & 0xff), (uint8_t)(slot >> 8),
		(uint8_t)slot } };
}

struct addr plan_syn4(unsigned index)
{
	return addr_v4(syn4_base + index);
}

struct addr plan_syn6(const struct plan *p, unsigned index)
{
	return plan_v6(p, 0xffff, index);
}

bool plan_is_synthetic(const struct plan *p, const struct addr *a)
{
	struct addr base4 = addr_v4(syn4_base), base6 = plan_syn6(p, 0);
	return addr_in(a, &base4, 15) || addr_in(a, &base6, 64);
}

unsigned plan_syn_index(const struct plan *p, const struct addr *a)
{
	struct addr base4 = addr_v4(syn4_base), base6 = plan_syn6(p, 0);
	if (addr_in(a, &base4, 16))
		return addr_to_u32(a) - syn4_base;
	if (addr_in(a, &base6, 112))
		return (unsigned)a->b[14] << 8 | a->b[15];
	return 0;
}
