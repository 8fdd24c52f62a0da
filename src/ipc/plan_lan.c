/* SPDX-License-Identifier: Apache-2.0 */
#include "ipc/plan.h"

#include <stdio.h>
#include <string.h>

static bool malformed(char *error, const char *text)
{
	snprintf(error, PLAN_ERROR_MAX, "\"%.120s\" is not FIRST-LAST/PREFIX via GATEWAY", text);
	return false;
}

static bool link_local6(const struct addr *a)
{
	return a->len == 16 && a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

/* The addresses, each lawful alone, against one another. */
static bool lan_check(const struct plan_lan *l, char *error)
{
	char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX], gateway[ADDR_TEXT_MAX];
	addr_format(&l->first, first, sizeof(first));
	addr_format(&l->last, last, sizeof(last));
	addr_format(&l->gateway, gateway, sizeof(gateway));
	if (memcmp(l->first.b, l->last.b, l->first.len) > 0) {
		snprintf(error, PLAN_ERROR_MAX, "%s comes after %s", first, last);
		return false;
	}
	bool gateway_there = link_local6(&l->gateway) || addr_in(&l->gateway, &l->first, l->prefix);
	if (!gateway_there || !addr_in(&l->last, &l->first, l->prefix)) {
		snprintf(error, PLAN_ERROR_MAX, "%s, %s and %s do not share a /%u", first, last, gateway, l->prefix);
		return false;
	}
	if (memcmp(l->gateway.b, l->first.b, l->first.len) >= 0 && memcmp(l->gateway.b, l->last.b, l->first.len) <= 0) {
		snprintf(error, PLAN_ERROR_MAX, "the gateway %s lies between %s and %s, which are for apps", gateway,
			first, last);
		return false;
	}
	return true;
}

bool plan_lan_parse(const char *text, bool v6, struct plan_lan *ret, char *error)
{
	char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX], gateway[ADDR_TEXT_MAX];
	int end = 0;
	unsigned prefix, len = v6 ? 16 : 4;
	struct plan_lan l = { 0 };
	if (sscanf(text, "%45[0-9a-fA-F.:]-%45[0-9a-fA-F.:]/%3u via %45s%n", first, last, &prefix, gateway, &end) !=
			4 ||
		text[end] != '\0')
		return malformed(error, text);
	if (!addr_parse(first, &l.first) || !addr_parse(last, &l.last) || !addr_parse(gateway, &l.gateway))
		return malformed(error, text);
	if (l.first.len != len || l.last.len != len || l.gateway.len != len || prefix == 0 || prefix > len * 8U)
		return malformed(error, text);
	l.prefix = (uint8_t)prefix;
	if (!lan_check(&l, error))
		return false;
	*ret = l;
	return true;
}

static const struct plan_lan *lan_of(const struct plan *p, bool v6)
{
	return v6 ? &p->lan6 : &p->lan4;
}

bool plan_has_lan(const struct plan *p, bool v6)
{
	return lan_of(p, v6)->first.len != 0;
}

/* The n-th address from `first` on; none past `last`. */
static struct addr nth(const struct plan_lan *l, unsigned n)
{
	struct addr a = l->first;
	for (unsigned i = a.len; i > 0 && n > 0; i--) {
		n += a.b[i - 1];
		a.b[i - 1] = (uint8_t)n;
		n >>= 8;
	}
	bool inside = n == 0 && memcmp(a.b, l->last.b, a.len) <= 0;
	return inside ? a : (struct addr){ 0 };
}

struct addr plan_guest(const struct plan *p, unsigned slot, bool v6)
{
	if (plan_has_lan(p, v6))
		return nth(lan_of(p, v6), slot - 1);
	return v6 ? plan_v6(p, slot, 2) : plan_v4(p, slot, 2);
}

unsigned plan_guest_prefix(const struct plan *p, bool v6)
{
	if (plan_has_lan(p, v6))
		return v6 ? 128 : 32;
	return v6 ? 64 : 30;
}

struct addr plan_gateway(const struct plan *p, unsigned slot, bool v6)
{
	if (plan_has_lan(p, v6))
		return v6 ? addr_v6((const uint8_t[16]){ 0xfe, 0x80, [15] = 1 }) : addr_v4(0xa9fe0101U);
	return v6 ? plan_v6(p, slot, 1) : plan_v4(p, slot, 1);
}
