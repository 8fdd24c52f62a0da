/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was admitted, or paid for, under the policy as it is now. A grant lives as long as both sides still allow it; a
 * rule that was used up speaks for what it admitted until its own time ends or a refusal comes after it.
 */
#include "gate/state.h"

#include <string.h>

enum { CHAINS_AT_ONCE = 64, CHAINS_LOOKED_AT = 1024 };

/* `b` speaks for its id rather than `a`: one that runs before one that is used up, then the later one. */
static bool rule_before(const struct policy_fact *a, const struct policy_fact *b)
{
	if ((a->ended == POLICY_RUNNING) != (b->ended == POLICY_RUNNING))
		return b->ended == POLICY_RUNNING;
	return b->created_ms > a->created_ms;
}

/* The rule of that id if it runs or has only been used up; POLICY_NO_RULE when it ended in any other way. The same rule
 * may have been used up more than once. */
static size_t rule_of(const struct gate *g, const uint8_t id[IPC_RULE_ID_LEN])
{
	size_t best = POLICY_NO_RULE, rule;
	for (size_t i = 0; (rule = policy_rule_by_id(g->policy, id, i)) != POLICY_NO_RULE; i++) {
		const struct policy_fact *f = policy_rule_meta(g->policy, rule);
		/* The id is the same whatever the verb: a refusal in the place of an allow is not that rule any more.
		 */
		if ((f->ended != POLICY_RUNNING && f->ended != POLICY_END_USED) || f->verb != POLICY_ALLOW)
			continue;
		if (best == POLICY_NO_RULE || rule_before(policy_rule_meta(g->policy, best), f))
			best = rule;
	}
	return best;
}

struct policy_request judge_request(const struct gate *g, const struct app *app, const struct flow_key *key,
	const struct name *name)
{
	struct policy_request q = { .owner = app->a.owner,
		.app = app->a.name,
		.dir = key->inbound ? POLICY_IN : POLICY_OUT,
		.proto = key->proto,
		.port = key->dport,
		.now_ms = g->wall_ms };
	if (name->len != 0)
		q.name = name;
	return q;
}

void judge_at(struct gate *g, const struct app *app, const struct flow_key *key, const struct addr *real,
	struct policy_request *q)
{
	const struct app *peer = peer_at(g, app, key, real);
	q->addr = real;
	q->peer_app = peer == NULL ? NULL : peer->a.name;
	q->peer_owner = peer == NULL ? 0 : peer->a.owner;
}

/* The verdict on one address that a name or a packet stands for, with the names of its chain as far as they are known.
 */
static void judge_address(struct gate *g, const struct app *app, const struct flow_key *key, const struct name *name,
	const struct addr *real, struct policy_verdict *ret)
{
	struct policy_request q = judge_request(g, app, key, name);
	const struct resolved *r = name->len == 0 ? NULL : resolve_last(g->resolve, name);
	judge_at(g, app, key, real, &q);
	if (r != NULL) {
		q.chain = r->chain;
		q.n_chain = r->n_chain;
	}
	policy_decide(g->policy, &q, ret);
}

static bool refuses(const struct policy_verdict *v)
{
	return v->rule != POLICY_NO_RULE && v->answer != POLICY_SAYS_ALLOW && v->answer != POLICY_SAYS_ASK;
}

static bool outranks(const uint32_t a[POLICY_RANKS], const uint32_t b[POLICY_RANKS])
{
	unsigned i = 0;
	while (i + 1 < POLICY_RANKS && a[i] == b[i])
		i++;
	return a[i] > b[i];
}

/* What admitted or was charged: when, and by which rank (all zero: not known). */
struct admitted {
	int64_t since_wall_ms;
	const uint32_t *rank;
};

/* A used-up rule that still speaks for what it admitted: its own time runs, and no refusal came after. One that was
 * made before came after, too, if it outranks what admitted: gate did not have it yet. */
static bool used_up_holds(const struct gate *g, size_t own, const struct policy_verdict *now, const struct admitted *a,
	struct policy_verdict *ret)
{
	static const uint32_t unknown[POLICY_RANKS];
	const struct policy_fact *m = own == POLICY_NO_RULE ? NULL : policy_rule_meta(g->policy, own);
	if (m == NULL || m->ended != POLICY_END_USED || m->deadline_ms <= g->wall_ms)
		return false;
	bool ranked = memcmp(a->rank, unknown, sizeof(unknown)) != 0;
	if (refuses(now) && (policy_rule_meta(g->policy, now->rule)->created_ms > a->since_wall_ms ||
				    (ranked && outranks(now->rank, a->rank))))
		return false;
	*ret = (struct policy_verdict){ .answer = POLICY_SAYS_ALLOW,
		.rule = own,
		.origin = (enum policy_origin)m->origin,
		.counted = true,
		.next_change_ms = m->deadline_ms };
	memcpy(ret->rank, a->rank, sizeof(ret->rank));
	return true;
}

/* Of a rule that admitted or was paid (id `own`, NULL: none was): what speaks now, or a used-up rule for it. */
static bool still(const struct gate *g, const uint8_t *own, const struct admitted *a, struct policy_verdict *v)
{
	struct policy_verdict now = *v;
	if (v->answer == POLICY_SAYS_ALLOW)
		return true;
	return own != NULL && used_up_holds(g, rule_of(g, own), &now, a, v);
}

/* The same where nothing but that very rule will do: its count was spent on this packet. */
static bool still_paid(const struct gate *g, const uint8_t *own, const struct admitted *a, struct policy_verdict *v)
{
	struct policy_verdict now = *v;
	size_t rule = rule_of(g, own);
	if (v->answer == POLICY_SAYS_ALLOW && rule != POLICY_NO_RULE && v->rule == rule)
		return true;
	return used_up_holds(g, rule, &now, a, v);
}

bool judge_charged(struct gate *g, struct app *app, const struct held *h, const struct name *name, struct sides *ret)
{
	const struct admitted out = { h->charged_wall_ms, h->rank[0] }, in = { h->charged_wall_ms, h->rank[1] };
	judge_address(g, app, &h->key, name, &h->real, &ret->out);
	ret->peer = peer_at(g, app, &h->key, &h->real);
	if (!(h->paid[0] ? still_paid(g, h->rule[0], &out, &ret->out) : ret->out.answer == POLICY_SAYS_ALLOW))
		return false;
	if (ret->peer == NULL)
		return h->key.inbound || !peer_range(g, &h->real);
	peer_judge(g, ret->peer, app, &h->key, &ret->in);
	return h->paid[1] ? still_paid(g, h->rule[1], &in, &ret->in) : ret->in.answer == POLICY_SAYS_ALLOW;
}

/* NULL: it lives on, by `ret`; else why it ends. */
static const char *judge_grant(struct gate *g, const struct grant *gr, struct sides *ret)
{
	const struct admitted out = { gr->since_wall_ms, gr->rank[0] }, in = { gr->since_wall_ms, gr->rank[1] };
	struct app *app = app_of(g, gr->key.slot);
	struct flow_key key = { .slot = gr->key.slot,
		.inbound = gr->key.inbound,
		.proto = gr->key.proto,
		.dport = gr->key.port };
	if (app == NULL)
		return "the application ended";
	if (gr->key.inbound)
		key.src = gr->key.real;
	else
		key.dst = gr->key.peer;
	judge_address(g, app, &key, &gr->name, &gr->key.real, &ret->out);
	if (!still(g, gr->counted ? gr->rule : NULL, &out, &ret->out))
		return "its rule ended";
	ret->peer = peer_at(g, app, &key, &gr->key.real);
	if (gr->peer_slot != 0 || (!key.inbound && peer_range(g, &gr->key.real))) {
		if (ret->peer == NULL || ret->peer->a.ref.slot != gr->peer_slot || ret->peer->a.ref.run != gr->peer_run)
			return "the application ended";
		peer_judge(g, ret->peer, app, &key, &ret->in);
		if (!still(g, gr->counted ? gr->rule_in : NULL, &in, &ret->in))
			return "its rule ended";
	}
	return NULL;
}

/* Rules may refuse a name behind the grant's, and nobody remembers which those are (gate is new, or its table of
 * answers was full): they are asked for, and the grant is judged again with them. */
static void ask_chain(struct gate *g, const struct grant *gr, const struct app *app)
{
	struct policy_lookup_verdict may;
	if (app == NULL || gr->name.len == 0 || gr->peer_slot != 0 || resolve_last(g->resolve, &gr->name) != NULL)
		return;
	if (resolve_get(g->resolve, &gr->name, g->boot_ms) == NULL) {
		policy_may_resolve(g->policy, app->a.name, app->a.owner, &gr->name, g->wall_ms, &may);
		if (may.answer != POLICY_LOOKUP_ALLOWED)
			return;
		g->chains_asked++;
		g->chains_asked_ms = g->boot_ms;
		uint32_t id = resolve_ask(g->resolve, &gr->name, gr->key.slot, g->boot_ms);
		struct ipc_resolve q = { .name = gr->name, .want_v4 = true, .want_v6 = true };
		out_tell(&g->messages, ROLE_RESOLVER, IPC_RESOLVE, id, resolve, &q);
	}
	resolve_for_grants(g->resolve, &gr->name);
}

void judge_chains(struct gate *g)
{
	g->chain_next = grants_next(g->grants, NULL);
}

int64_t judge_chains_deadline(const struct gate *g)
{
	if (g->chain_next == NULL || g->policy == NULL)
		return -1;
	return g->chains_asked < CHAINS_AT_ONCE ? g->boot_ms : g->chains_asked_ms + RESOLVE_PATIENCE_MS;
}

/* No more than the resolver answers, so that none of the questions makes room for another. */
void judge_chains_tick(struct gate *g)
{
	int64_t due = judge_chains_deadline(g);
	if (due < 0 || g->boot_ms < due)
		return;
	if (g->chains_asked >= CHAINS_AT_ONCE)
		g->chains_asked = 0;
	for (unsigned n = 0; n < CHAINS_LOOKED_AT && g->chain_next != NULL && g->chains_asked < CHAINS_AT_ONCE; n++) {
		const struct grant *gr = g->chain_next;
		g->chain_next = grants_next(g->grants, gr);
		ask_chain(g, gr, app_of(g, gr->key.slot));
	}
}

void judge_again(struct gate *g, struct grant *gr)
{
	struct sides s;
	const char *ends = judge_grant(g, gr, &s);
	if (ends == NULL)
		live_set_rule(g, gr, &s);
	else
		live_end(g, gr, ends);
}

void judge_all_grants(struct gate *g)
{
	g->policy_next_wall_ms = POLICY_NEVER;
	for (struct grant *gr = grants_next(g->grants, NULL), *next; gr != NULL; gr = next) {
		next = grants_next(g->grants, gr);
		judge_again(g, gr);
	}
	judge_chains(g);
}

void judge_grants_of(struct gate *g, const struct name *name)
{
	for (struct grant *gr = grants_next(g->grants, NULL), *next; gr != NULL; gr = next) {
		next = grants_next(g->grants, gr);
		if (name_equal(&gr->name, name))
			judge_again(g, gr);
	}
}
