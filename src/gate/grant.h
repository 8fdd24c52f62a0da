/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_GRANT_H
#define GATE_GRANT_H

#include "base/addr.h"
#include "base/deadline.h"
#include "base/name.h"
#include "ipc/ipc.h"
#include "policy/policy.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The table of grants (switch.md 2). A grant is (app run, direction, peer as the guest uses it, real address, protocol,
 * destination port); the rule that allows it is an attribute and may change while connections live. Numbers come from
 * durable blocks and are never reused.
 */
enum { GRANT_APP_MAX = 4096, GRANT_RULE_LEN = IPC_RULE_ID_LEN };

struct grant_key {
	uint16_t slot;
	uint8_t inbound, proto;
	uint16_t port; /* destination; ICMP: type */
	struct addr peer, real;
};

struct grant {
	uint32_t number;
	uint32_t run;
	struct grant_key key;
	uint16_t peer_slot; /* the app at the other end, 0 none */
	uint32_t peer_run;
	uint16_t hop;	  /* 1 + its place among the neighbours, 0 none (neighbour.c) */
	unsigned syn;	  /* index of the synthetic name, 0 none */
	struct name name; /* len 0: none */
	uint8_t rule[GRANT_RULE_LEN];
	uint8_t rule_in[GRANT_RULE_LEN];    /* the other app's rule that lets it in; zero: none was needed */
	uint32_t cookie;		    /* low half of the live flows' cookie */
	bool counted;			    /* by a rule with a count: each connection is charged */
	bool logged;			    /* by a rule with `log`: each connection is told */
	bool ready;			    /* its live flows stood before it did */
	int64_t hot_until_ms, hot_asked_ms; /* boot time; hot.c */
	int64_t since_wall_ms;
	/* Of what admitted it, either side; all zero: not known (gate is new since). */
	uint32_t rank[2][POLICY_RANKS];
	struct deadline ends;  /* the rule's own end */
	int64_t lease_boot_ms; /* when the switch forgets it unless renewed */
	int64_t used_boot_ms;  /* last admit: grants_used() */
	uint64_t connections;
	uint64_t bytes_out, bytes_in; /* as last read from the switch */
	/* The table's own. */
	struct grant *by_key, *by_number, *next, *prev, *idler, *busier;
};

struct grants;

struct grants *grants_new(uint64_t seed);
void grants_free(struct grants *g);
struct grant *grants_find(const struct grants *g, const struct grant_key *key);
struct grant *grants_by_number(const struct grants *g, uint32_t number);
/* Adds a zeroed grant under `key` and `number`, neither of which may exist. NULL: no memory. */
struct grant *grants_add(struct grants *g, const struct grant_key *key, uint32_t number);
/* Forgets it; the pointer is dead. */
void grants_remove(struct grants *g, struct grant *gr);
unsigned grants_count(const struct grants *g, uint16_t slot);
/* It has admitted something at `boot_ms`, which never goes back. A new one has been used last. */
void grants_used(struct grants *g, struct grant *gr, int64_t boot_ms);
/* The app's grant whose last admit is longest ago; NULL when it has none. */
struct grant *grants_idlest(const struct grants *g, uint16_t slot);
/* All grants in no particular order: start with NULL. Fetch the next before the current one is removed. */
struct grant *grants_next(const struct grants *g, const struct grant *after);

#endif
