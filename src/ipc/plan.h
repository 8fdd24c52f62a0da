/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IPC_PLAN_H
#define IPC_PLAN_H

#include "base/addr.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Who has which address inside the switch: a pure function of the two pools (keys guest_ipv4, guest_ipv6) and the slot
 * of an app. IPv4: a pair per slot, pool + 4*slot: +1 gateway, +2 guest. IPv6: a /64 per slot, ::2 the guest's own (any
 * source inside is lawful). Slot 0 is ours: +1 / ::1 the router, +2 / ::2 the host's end of the nat uplink, +3 / ::3
 * the names service. Synthetic addresses mean a name in one VM: 198.18.0.0/15 and pool:ffff::/96, the same index in
 * both.
 */
enum { PLAN_SLOTS = 1024, PLAN_V4_PREFIX_MAX = 20, PLAN_V6_PREFIX = 48, PLAN_SYN_MAX = 65536 };
/* Of the IPv6 network what the slots fill: without the synthetic addresses, which never leave. */
enum { PLAN_V6_SLOTS_PREFIX = 54 };

/* With the uplink port:IFACE guests have addresses of the LAN: the one of slot n is `first` + n - 1. first.len 0: none
 * of this family. */
struct plan_lan {
	struct addr first, last, gateway; /* the gateway of IPv6 may be link-local; it is none of the apps' */
	uint8_t prefix;			  /* of the LAN */
};

struct plan {
	struct addr v4, v6; /* first address of each pool */
	uint8_t v4_prefix;  /* <= PLAN_V4_PREFIX_MAX */
	struct plan_lan lan4, lan6;
};

/* The bridge's own ports: the host's end of the nat uplink, and the way to the names service. */
#define PLAN_UPLINK_PORT "sk-up0"
#define PLAN_NAMES_PORT	 "sk-nm0"

/* "100.64.0.0/20" and "fd73:6b69:7368::/48"; false with *ret untouched when a pool is malformed, too small or has host
 * bits. */
bool plan_parse(const char *v4, const char *v6, struct plan *ret);

/* `FIRST-LAST/PREFIX via GATEWAY` of that family. False, with a sentence in `error` (PLAN_ERROR_MAX) and *ret
 * untouched: not that. */
enum { PLAN_ERROR_MAX = 256 };
bool plan_lan_parse(const char *text, bool v6, struct plan_lan *ret, char *error);
bool plan_has_lan(const struct plan *p, bool v6);

/* The guest's own address, out of the LAN's range or the pool; none (len 0) when the range is too short. Inside a /64
 * of its own any source is lawful, on the LAN only this one. */
struct addr plan_guest(const struct plan *p, unsigned slot, bool v6);
/* What the guest is told: 30 and 64; on the LAN 32 and 128, with gateways that are on the link all the same. */
unsigned plan_guest_prefix(const struct plan *p, bool v6);
struct addr plan_gateway(const struct plan *p, unsigned slot, bool v6);

struct addr plan_v4(const struct plan *p, unsigned slot, unsigned host);
struct addr plan_v6(const struct plan *p, unsigned slot, unsigned host);
/* The slot that an address of our pools belongs to; 0: ours, or of no pool. */
unsigned plan_slot(const struct plan *p, const struct addr *a);
/* The MAC of our router, the same towards every guest, the uplink and the names service. */
struct mac plan_router_mac(void);
/* A locally administered MAC for slot and run; kind 0 guest, 1 host end of the uplink, 2 names. */
struct mac plan_mac(unsigned slot, uint32_t run, unsigned kind);

struct addr plan_syn4(unsigned index);
struct addr plan_syn6(const struct plan *p, unsigned index);
/* The index of a synthetic address, 1..PLAN_SYN_MAX-1; 0 when it is none. */
unsigned plan_syn_index(const struct plan *p, const struct addr *a);
/* Anything inside the synthetic ranges, whether it means a name or not. */
bool plan_is_synthetic(const struct plan *p, const struct addr *a);

#endif
