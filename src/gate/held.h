/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_HELD_H
#define GATE_HELD_H

#include "base/addr.h"
#include "policy/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * First packets that wait: for a person, for an address, for a count to become durable. At most HELD_APP_MAX per app
 * and one per 5-tuple, so that a guest's retransmissions cost nothing. The packet is a copy of ours; it survives a
 * restart of the switch.
 *
 * A held packet is in one state. WAIT_JUDGE: to be judged (again) in this turn. WAIT_ANSWER: a question is open; left
 * when the policy changes or the patience ends. WAIT_ADDRESS: the resolver was asked.
 * WAIT_NEIGHBOUR: the LAN was asked where it goes. WAIT_CHARGE: allowed by a counted
 * rule, desk is making the count durable; from here it goes out or is refused, and is never judged again, so that what
 * was charged is what passes.
 */
enum { HELD_APP_MAX = 64, HELD_FRAME_MAX = 2048, HELD_ALL_MAX = 4096 };

enum held_state { WAIT_JUDGE, WAIT_ANSWER, WAIT_ADDRESS, WAIT_NEIGHBOUR, WAIT_CHARGE };

struct flow_key {
	uint16_t slot;
	uint8_t inbound, proto;
	uint16_t sport, dport; /* ICMP: id, type */
	struct addr src, dst;
};

struct held {
	struct flow_key key;
	enum held_state state;
	uint32_t id;			/* of this entry: the frame id of RESOLVE and CHARGE */
	uint32_t question;		/* 0: none */
	uint32_t stamp;			/* of the policy it was judged again under */
	int64_t since_ms, expires_ms;	/* clock_boot_ms */
	struct addr real;		/* chosen for WAIT_CHARGE */
	uint8_t rule[2][32];		/* charged: the app's rule, and the rule of the app it would reach */
	uint32_t rank[2][POLICY_RANKS]; /* their ranks when they were charged */
	bool paid[2];
	uint8_t paying; /* WAIT_CHARGE: which of the two */
	int64_t charged_wall_ms;
	bool kept; /* in the table; else the caller's own, being judged for the first time */
	size_t len;
	uint8_t frame[HELD_FRAME_MAX];
	struct held *next;
};

struct held_table;

struct held_table *held_new(void);
void held_free(struct held_table *t);
/* Puts a copy of `h`, which is not kept, into the table. NULL: the app's or the whole table is full. */
struct held *held_keep(struct held_table *t, const struct held *h);
/* Of a kept one; the caller's own needs no removing. */
void held_remove(struct held_table *t, struct held *h);
struct held *held_find(const struct held_table *t, const struct flow_key *key);
struct held *held_by_id(const struct held_table *t, uint32_t id);
/* All, oldest last; fetch the next before removing one. NULL starts. */
struct held *held_next(const struct held_table *t, const struct held *after);
unsigned held_count(const struct held_table *t, uint16_t slot);
bool flow_key_equal(const struct flow_key *a, const struct flow_key *b);

#endif
