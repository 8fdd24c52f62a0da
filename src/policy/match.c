/* SPDX-License-Identifier: Apache-2.0 */
/* Does a rule that was met match and count, and which of two wins (policy.md, "Which rule wins"). */
#include "policy/walk.h"

#include <string.h>

static uint32_t item_rank(const struct cport *i, uint8_t proto, uint16_t port)
{
	bool icmp = proto == POLICY_ICMP4 || proto == POLICY_ICMP6;
	bool has_ports = proto == POLICY_PROTO_TCP || proto == POLICY_PROTO_UDP || proto == POLICY_PROTO_SCTP;
	switch ((enum policy_proto_kind)i->proto_kind) {
	case POLICY_PROTO_NONE:
		if (!has_ports)
			return 0;
		break;
	case POLICY_PROTO_NUMBER:
		if (i->proto != proto)
			return 0;
		break;
	case POLICY_PROTO_ICMP:
		if (!icmp)
			return 0;
		break;
	}
	if (i->ranged && (port < i->lo || port > i->hi))
		return 0;
	uint32_t span = i->ranged ? (uint32_t)(i->hi - i->lo) + 1 : PORT_ALL;
	return (PORT_ALL + 1 - span) * 2 + (i->proto_kind != POLICY_PROTO_NONE);
}

/* A rule without ports speaks of TCP, UDP, SCTP and ICMP echo. */
static bool plain_proto(uint8_t proto, uint16_t port)
{
	return proto == POLICY_PROTO_TCP || proto == POLICY_PROTO_UDP || proto == POLICY_PROTO_SCTP ||
	       (proto == POLICY_ICMP4 && port == 8) || (proto == POLICY_ICMP6 && port == 128);
}

/* The fourth place of the rank; *ret_exact: an item is this one port. False: no item covers it. */
static bool match_port(const struct policy *p, const struct crule *c, uint8_t proto, uint16_t port, uint32_t *ret_rank,
	bool *ret_exact)
{
	uint32_t best = 0;
	*ret_exact = false;
	if (c->n_ports == 0) {
		*ret_rank = 0;
		return plain_proto(proto, port);
	}
	const struct cport *items = c->n_ports == 1 ? &c->port : &p->ports[c->ports];
	for (uint32_t i = 0; i < c->n_ports; i++) {
		const struct cport *item = &items[i];
		uint32_t rank = item_rank(item, proto, port);
		best = rank > best ? rank : best;
		*ret_exact = *ret_exact || (rank != 0 && item->ranged && item->lo == item->hi);
	}
	*ret_rank = best;
	return best != 0;
}

static bool window_runs(const struct policy *p, const struct cwindow *c, int64_t now_ms, int64_t *ret_change)
{
	struct policy_lives l = { .between = c->between != 0,
		.from_minute = c->from_minute,
		.to_minute = c->to_minute,
		.on = c->on };
	return policy_lives_window(&l, p->env.tz, p->env.n_tz, now_ms, ret_change);
}

bool walk_running(struct walk *w, uint32_t row)
{
	size_t own = row;
	const struct policy *p = policy_part(w->p, &own);
	const struct crule *c = &p->rules[own];
	int64_t change = POLICY_NEVER;
	if ((c->flags & RULE_OVER) != 0 || c->deadline_ms <= w->q->now_ms)
		return false;
	bool run = c->window == NO_WINDOW || window_runs(p, &p->windows[c->window], w->q->now_ms, &change);
	if (c->deadline_ms < change)
		change = c->deadline_ms;
	if (change < w->change_ms)
		w->change_ms = change;
	return run;
}

bool walk_owned(const struct walk *w, uint32_t row, const struct hit *h)
{
	uint32_t owner = policy_row(w->p, row)->owner;
	if (owner == POLICY_OWNER_ANY)
		return true;
	return owner == w->q->owner && (h->kind != PATTERN_APP || owner == w->q->peer_owner);
}

/* The floor: does an allow or ask rule that hits this way count at all? */
static bool reaches(const struct walk *w, const struct hit *h, bool exact_port)
{
	const struct policy_env *e = &w->p->env;
	if (!w->all_ports && floor_port(w->q->proto, w->q->port) &&
		(!exact_port || h->kind == PATTERN_ANY || h->kind == PATTERN_ZONE))
		return false;
	if (!w->has_class)
		return true;
	if (w->class == POLICY_CLASS_MARTIAN)
		return false;
	if (w->lifted || !floor_restricted(w->class) || h->kind == PATTERN_ZONE || h->kind == PATTERN_APP)
		return true;
	return (h->kind == PATTERN_NET4 || h->kind == PATTERN_NET6) && floor_inside(e, &w->addr, h->prefix, w->class);
}

static int origin_order(uint8_t o)
{
	return o == POLICY_ORIGIN_ANSWER ? 2 : o == POLICY_ORIGIN_FLEET ? 0 : 1;
}

int candidate_better(const struct policy *p, const struct candidate *a, const struct candidate *b)
{
	for (unsigned i = 0; i < POLICY_RANKS; i++) {
		if (a->rank[i] != b->rank[i])
			return a->rank[i] > b->rank[i] ? 1 : -1;
	}
	const struct crule *x = policy_row(p, a->row), *y = policy_row(p, b->row);
	if (((x->flags ^ y->flags) & RULE_COUNTED) != 0)
		return (x->flags & RULE_COUNTED) != 0 ? -1 : 1;
	if (x->deadline_ms != y->deadline_ms)
		return x->deadline_ms > y->deadline_ms ? 1 : -1;
	if (origin_order(x->origin) != origin_order(y->origin))
		return origin_order(x->origin) > origin_order(y->origin) ? 1 : -1;
	return -memcmp(policy_rule_meta(p, policy_number(p, a->row))->id,
		policy_rule_meta(p, policy_number(p, b->row))->id, POLICY_ID_LEN);
}

bool walk_match(struct walk *w, uint32_t row, const struct hit *h, struct candidate *ret)
{
	size_t own = row;
	const struct policy *p = policy_part(w->p, &own);
	const struct crule *c = &p->rules[own];
	uint32_t port;
	bool exact;
	if (!match_port(p, c, w->q->proto, w->q->port, &port, &exact) || !walk_owned(w, row, h))
		return false;
	if (c->verb < h->least_verb || (c->verb <= POLICY_ASK && !reaches(w, h, exact)))
		return false;
	/* Last, because it says when the answer may change. */
	if (!walk_running(w, row))
		return false;
	*ret = (struct candidate){ .row = row,
		.rank = { c->final_rank, h->rank, c->subject_rank, port, (c->flags & RULE_LIMITED) != 0, c->verb } };
	return true;
}
