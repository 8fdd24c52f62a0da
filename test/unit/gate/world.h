/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_GATE_WORLD_H
#define TEST_GATE_WORLD_H

#include "gate/gate.h"
#include "ofp/msg.h"
#include "policy/policy.h"

/*
 * A gate with everything around it played by the test: a switch that answers its handshake and keeps what it was told
 * about tables 45 and 48, a desk that holds rules and their counts, and a clock. Nothing here does I/O.
 */
enum { WORLD_RULES = 64, WORLD_LIVE = 20000, WORLD_CHARGES = 8192, WORLD_APPS = 64, WORLD_POLICIES = 4 };
enum { WORLD_ASKED = 8192, WORLD_TABLES = 64 };
enum { WORLD_UPLINK = 60001, WORLD_NAMES = 60002 };

struct world_live {
	uint32_t mark; /* 0: free */
	uint16_t app;
	uint8_t dir;
	int64_t until_ms;
};

struct world_charge {
	uint32_t id;
	uint8_t rule[POLICY_ID_LEN];
};

struct world {
	struct gate *g;
	bool lan;
	int64_t boot_ms, wall_ms;
	uint64_t generation;
	struct policy *policy[WORLD_POLICIES]; /* what the gate may still read */
	bool hold_reload;		       /* the ticks that take a policy over are the test's own */
	/* desk */
	struct policy_entry rule[WORLD_RULES];
	size_t n_rules;
	struct world_charge charge[WORLD_CHARGES];
	unsigned n_charges;
	uint32_t next_number;
	bool desk_away; /* takes no charge, gives no number */
	struct ipc_question question;
	struct ipc_event event; /* the last */
	struct ipc_grant grant; /* the last copy */
	struct ipc_grant_end grant_end;
	struct ipc_lookup_answer answer;
	struct ipc_resolve resolve;
	uint32_t resolve_id;
	uint32_t asked[WORLD_ASKED]; /* of the resolver, not answered by world_resolve_all() yet */
	unsigned n_asked;
	uint32_t zone_limit[65536]; /* as switchd was told */
	unsigned n_flushes;	    /* of zones */
	unsigned n_results;	    /* answers to desk */
	unsigned n_questions, n_question_ends, n_refused, n_grants, n_grant_ends, n_resolves, n_answers, n_syns;
	/* switch */
	bool hold_barriers;
	unsigned n_added[WORLD_TABLES]; /* rows, by table, since the test last set it to 0 */
	unsigned n_app_deletes;		/* of everything of one app */
	uint8_t frame[128];		/* the last that carried an answer or a question of ours */
	size_t frame_len;
	struct world_live live[WORLD_LIVE];
	unsigned n_hot, n_refused_rows; /* rows added to table 48 */
	unsigned n_admits, n_frames;	/* packet-outs that commit, that carry an answer */
	uint32_t last_mark;
	uint16_t last_zone;
	struct addr last_nat;
};

struct world *world_new(void);
/* The same with the uplink port:IFACE: guests are 192.0.2.10 and on, the gateway 192.0.2.1, the LAN a /24. */
struct world *world_new_lan(void);
void world_free(struct world *w);
/* gate dies and comes back: everything desk had a copy of is given again, the policy only if `policy`. */
void world_gate_again(struct world *w, const struct ipc_grant *grants, size_t n, bool policy);
/* An app in slot 1..WORLD_APPS-1 with addresses of the plan; its port is its slot. */
void world_app(struct world *w, uint16_t slot, const char *name, uint32_t owner);
void world_app_ends(struct world *w, uint16_t slot);
/* One more rule, seen now; returns its index. world_policy() makes it count. */
size_t world_rule(struct world *w, const char *line);
void world_rule_end(struct world *w, size_t rule, enum policy_end why);
/* The rules as they are now become gate's policy. */
void world_policy(struct world *w);
/* Both clocks go on by this much, with gate woken whenever it asked to be. */
void world_pass(struct world *w, int64_t ms);
/* The wall clock is set; gate is told only when something wakes it. */
void world_set_wall(struct world *w, int64_t by_ms);
/* Everything that waits in one direction goes, until nobody has anything more to say. */
void world_turn(struct world *w);
/* All charges desk has taken: made durable and answered. At most `max`. A rule that is used up ends, in one new policy.
 */
void world_settle(struct world *w, unsigned max);
/* The first packet of a connection of the app in `slot`; IPv4. */
void world_connect(struct world *w, uint16_t slot, uint8_t proto, uint32_t dst, uint16_t sport, uint16_t dport);
void world_lookup(struct world *w, uint16_t slot, const char *name, uint16_t qtype);
/* What the resolver says to gate's last question: one IPv4 address. */
void world_resolved(struct world *w, uint32_t v4);
/* The same, with a name behind the asked one. */
void world_resolved_as(struct world *w, uint32_t v4, const char *behind);
/* Every question to the resolver, also what comes of the answers, is answered so. */
void world_resolve_all(struct world *w, uint32_t v4, const char *behind);
/* A host of the LAN that has `a` answers the app in `slot`. */
void world_arp_reply(struct world *w, uint16_t slot, uint32_t a, uint8_t mac);
/* Live rows of this mark that the switch still has, by its own clock. */
unsigned world_live_rows(const struct world *w, uint32_t mark);
/* Every live row there is. */
unsigned world_all_live(const struct world *w);

#endif
