/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a first packet to a verdict. A held packet is judged as often as something changes that could change the answer:
 * it arrived, the policy changed, the resolver spoke. Order (names.md): the name alone first, so that nothing is looked
 * up before it is allowed; then name, real address and chain together.
 */
#include "gate/state.h"

#include <stddef.h>
#include <string.h>

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_ICMP6 = 58, NEIGHBOUR_PATIENCE_MS = 3500 };

struct app *app_of(struct gate *g, uint16_t slot)
{
	if (slot == 0 || slot >= PLAN_SLOTS || g->app[slot].a.ref.slot == 0)
		return NULL;
	return &g->app[slot];
}

bool decide_name(struct gate *g, const struct app *app, const struct flow_key *key, struct name *ret_name,
	unsigned *ret_syn)
{
	ret_name->len = 0;
	*ret_syn = 0;
	if (key->inbound || !plan_is_synthetic(&g->plan, &key->dst))
		return true;
	*ret_syn = plan_syn_index(&g->plan, &key->dst);
	return syn_name(app->syn, *ret_syn, ret_name);
}

/* The verdict over every address of the family: a private one among public ones withholds the whole answer (rebinding).
 */
static void decide_addresses(struct gate *g, const struct app *app, const struct flow_key *key,
	struct policy_request *q, const struct resolved *r, struct addr *ret_addr, struct policy_verdict *ret)
{
	bool v6 = key->dst.len == 16;
	const struct addr *list = v6 ? r->v6 : r->v4;
	unsigned n = v6 ? r->n_v6 : r->n_v4;
	q->chain = r->chain;
	q->n_chain = r->n_chain;
	for (unsigned i = 0; i < n; i++) {
		struct policy_verdict v;
		judge_at(g, app, key, &list[i], q);
		policy_decide(g->policy, q, &v);
		bool better = i == 0 || v.answer == POLICY_SAYS_WITHHELD ||
			      (ret->answer != POLICY_SAYS_WITHHELD && ret->answer != POLICY_SAYS_ALLOW &&
				      v.answer == POLICY_SAYS_ALLOW);
		if (better) {
			*ret = v;
			*ret_addr = list[i];
		}
		if (v.answer == POLICY_SAYS_WITHHELD)
			return;
	}
}

static const uint8_t *rule_id(const struct gate *g, const struct policy_verdict *v)
{
	return v->rule == POLICY_NO_RULE ? NULL : policy_rule_meta(g->policy, v->rule)->id;
}

static void refuse_held(struct gate *g, struct app *app, struct held *h, const struct name *name,
	const struct policy_verdict *v, enum ipc_verdict verdict, const char *why)
{
	if (v == NULL || !v->quiet)
		gate_event(g, app, EVENT_REFUSED, verdict, &h->key, name, name->len == 0 ? NULL : &h->real,
			v == NULL ? NULL : rule_id(g, v), why);
	else
		gate_used(g, rule_id(g, v), 1);
	/* Who knocks from outside is not told that somebody is there. */
	refuse_packet(g, app, h->frame, h->len, verdict == VERDICT_DROP || h->key.inbound);
	held_remove(g->held, h);
}

/* From here on the packet waits: only now does it take a place of the app's. An allowed packet never needs one,
 * whatever else the app has open. */
static struct held *keep(struct gate *g, struct held *h)
{
	return h->kept ? h : held_keep(g->held, h);
}

/* `side` 0: the app's own rule, 1: the rule of the app it would reach. */
static bool charge(struct gate *g, const struct app *app, struct held *h, unsigned side, const struct policy_verdict *v)
{
	h = keep(g, h);
	if (h == NULL)
		return false;
	struct ipc_charge c = { .ref = app->a.ref };
	memcpy(c.rule, policy_rule_meta(g->policy, v->rule)->id, sizeof(c.rule));
	memcpy(h->rule[side], c.rule, sizeof(c.rule));
	memcpy(h->rank[side], v->rank, sizeof(h->rank[side]));
	h->paid[side] = false;
	h->paying = (uint8_t)side;
	h->charged_wall_ms = g->wall_ms;
	h->state = WAIT_CHARGE;
	h->expires_ms = g->boot_ms + g->ask_expires_ms;
	out_tell(&g->messages, ROLE_DESK, IPC_CHARGE, h->id, charge, &c);
	return true;
}

/* This packet has been counted by that rule. */
static bool paid(const struct gate *g, const struct held *h, unsigned side, const struct policy_verdict *v)
{
	return h->paid[side] && memcmp(h->rule[side], rule_id(g, v), sizeof(h->rule[side])) == 0;
}

/* The LAN was asked who is to get the packet. */
static bool need_neighbour(struct gate *g, struct held *h)
{
	bool waits = h->state == WAIT_NEIGHBOUR;
	h = keep(g, h);
	if (h == NULL)
		return false;
	h->state = WAIT_NEIGHBOUR;
	if (!waits)
		h->expires_ms = g->boot_ms + NEIGHBOUR_PATIENCE_MS;
	return true;
}

/* The way is known, or the packet waits for it or is refused. */
static bool way_known(struct gate *g, struct app *app, struct held *h, const struct name *name, const struct sides *s)
{
	struct mac hop;
	if (s->peer != NULL)
		return true;
	enum next_hop way = neighbour_hop(g, app, &h->real, &hop);
	if (way == NEXT_HOP_ASKED && need_neighbour(g, h))
		return false;
	if (way != NEXT_HOP_KNOWN)
		refuse_held(g, app, h, name, &s->out, VERDICT_ALLOW, "no way to this address");
	return way == NEXT_HOP_KNOWN;
}

/* Every side allows it. What is counted is paid for first, one side after the other. */
static void allow(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct sides *s)
{
	if (!h->paid[0] && !way_known(g, app, h, name, s))
		return;
	for (unsigned side = 0; side < (s->peer == NULL ? 1U : 2U); side++) {
		const struct policy_verdict *v = side == 0 ? &s->out : &s->in;
		if (!v->counted || paid(g, h, side, v))
			continue;
		if (!charge(g, app, h, side, v))
			refuse_held(g, app, h, name, v, VERDICT_ALLOW, "too many packets wait");
		return;
	}
	if (!admit_packet(g, app, h, name, syn, &h->real, s)) {
		refuse_held(g, app, h, name, &s->out, VERDICT_ALLOW, "no room for another grant");
		return;
	}
	held_remove(g->held, h);
}

static bool need_address(struct gate *g, struct held *h, const struct name *name)
{
	h = keep(g, h);
	if (h == NULL)
		return false;
	if (resolve_get(g->resolve, name, g->boot_ms) == NULL) {
		uint32_t id = resolve_ask(g->resolve, name, h->key.slot, g->boot_ms);
		struct ipc_resolve q = { .name = *name, .want_v4 = true, .want_v6 = true };
		out_tell(&g->messages, ROLE_RESOLVER, IPC_RESOLVE, id, resolve, &q);
	}
	h->state = WAIT_ADDRESS;
	h->expires_ms = g->boot_ms + RESOLVE_PATIENCE_MS;
	return true;
}

static void refuse_unasked(struct gate *g, struct app *app, struct held *h, const struct name *name,
	const struct app *target, const struct policy_verdict *v)
{
	refuse_held(g, app, h, name, v, VERDICT_ASK,
		target->a.ask != ASK_DESK ? "nobody is asked for this application" : IPC_OVERFLOW);
}

/* Another app's rules do not simply let it in. */
static void act_reached(struct gate *g, struct app *app, struct held *h, const struct name *name, const struct sides *s)
{
	const struct policy_verdict *v = &s->in;
	struct ipc_question what = { .ref = s->peer->a.ref,
		.inbound = 1,
		.proto = h->key.proto,
		.port = h->key.dport,
		.address = h->key.src,
		.peer_slot = app->a.ref.slot };
	bool ask = v->answer == POLICY_SAYS_ASK;
	if (ask && (s->peer->a.ask != ASK_DESK || !ask_person(g, h, &what)))
		refuse_unasked(g, app, h, name, s->peer, v);
	else if (!ask)
		refuse_held(g, app, h, name, v, v->answer == POLICY_SAYS_DENY ? VERDICT_DENY : VERDICT_DROP,
			"the other application does not let it in");
}

/* The app's own side allows it: what of the app that it reaches, if it is one of ours? */
static void act_allowed(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct policy_verdict *v)
{
	struct sides s = { .out = *v, .peer = peer_at(g, app, &h->key, &h->real) };
	if (s.peer == NULL && !h->key.inbound && peer_range(g, &h->real)) {
		refuse_held(g, app, h, name, v, VERDICT_ALLOW, "no application has this address");
		return;
	}
	if (s.peer != NULL && s.peer->a.ask == ASK_REHEARSE) {
		refuse_held(g, app, h, name, v, VERDICT_DENY, "the other application is only rehearsed");
		return;
	}
	if (s.peer != NULL)
		peer_judge(g, s.peer, app, &h->key, &s.in);
	if (s.peer != NULL && s.in.answer != POLICY_SAYS_ALLOW)
		act_reached(g, app, h, name, &s);
	else
		allow(g, app, h, name, syn, &s);
}

static void act_ask(struct gate *g, struct app *app, struct held *h, const struct name *name,
	const struct policy_verdict *v)
{
	const struct app *peer = peer_at(g, app, &h->key, &h->real);
	struct ipc_question what = { .ref = app->a.ref,
		.inbound = h->key.inbound,
		.proto = h->key.proto,
		.port = h->key.dport,
		.withheld = v->answer == POLICY_SAYS_WITHHELD,
		.name = *name,
		.address = h->real,
		.peer_slot = peer == NULL ? 0 : peer->a.ref.slot };
	if (app->a.ask != ASK_DESK || !ask_person(g, h, &what))
		refuse_unasked(g, app, h, name, app, v);
}

static void act(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct addr *real, const struct policy_verdict *v)
{
	h->real = *real;
	switch (v->answer) {
	case POLICY_SAYS_ALLOW:
		if (app->a.ask == ASK_REHEARSE)
			refuse_unasked(g, app, h, name, app, v);
		else
			act_allowed(g, app, h, name, syn, v);
		break;
	case POLICY_SAYS_DENY:
		refuse_held(g, app, h, name, v, VERDICT_DENY, "");
		break;
	case POLICY_SAYS_DROP:
		refuse_held(g, app, h, name, v, VERDICT_DROP, "");
		break;
	case POLICY_SAYS_ASK:
	case POLICY_SAYS_WITHHELD:
		act_ask(g, app, h, name, v);
		break;
	}
}

/* The address is known: the packet's own, or that of the app of ours that its name means. */
static void decide_at(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct addr *real)
{
	struct policy_request q = judge_request(g, app, &h->key, name);
	struct policy_verdict v;
	judge_at(g, app, &h->key, real, &q);
	policy_decide(g->policy, &q, &v);
	act(g, app, h, name, syn, real, &v);
}

void decide_held(struct gate *g, struct held *h)
{
	struct app *app = app_of(g, h->key.slot);
	struct name name;
	unsigned syn;
	if (app == NULL || h->state == WAIT_CHARGE)
		return;
	if (!decide_name(g, app, &h->key, &name, &syn)) {
		refuse_held(g, app, h, &name, NULL, VERDICT_DENY, "an address that means no name");
		return;
	}
	if (name.len == 0) {
		decide_at(g, app, h, &name, 0, h->key.inbound ? &h->key.src : &h->key.dst);
		return;
	}
	struct app *peer;
	if (peer_named(g, app, &name, &peer)) {
		if (peer == NULL)
			refuse_held(g, app, h, &name, NULL, VERDICT_DENY, "that application is not running");
		else
			decide_at(g, app, h, &name, syn, h->key.dst.len == 16 ? &peer->a.v6 : &peer->a.v4);
		return;
	}
	struct policy_request q = judge_request(g, app, &h->key, &name);
	struct policy_verdict v;
	policy_decide(g->policy, &q, &v);
	struct addr none = { 0 };
	if (v.answer != POLICY_SAYS_ALLOW) {
		act(g, app, h, &name, syn, &none, &v);
		return;
	}
	const struct resolved *r = resolve_get(g->resolve, &name, g->boot_ms);
	if (r == NULL && !new_name_may_leave(g, app, &name, syn, v.rule)) {
		act_ask(g, app, h, &name, &v);
		return;
	}
	if (r == NULL || r->pending) {
		if (!need_address(g, h, &name))
			refuse_held(g, app, h, &name, &v, VERDICT_ALLOW, "too many packets wait");
		return;
	}
	bool v6 = h->key.dst.len == 16;
	if (r->status != RESOLVE_OK || (v6 ? r->n_v6 : r->n_v4) == 0) {
		refuse_held(g, app, h, &name, &v, VERDICT_ALLOW, "the name has no address");
		return;
	}
	struct addr real;
	decide_addresses(g, app, &h->key, &q, r, &real, &v);
	if (v.answer == POLICY_SAYS_WITHHELD) {
		/* The address judged without the name: a question only where an answer could help, not where the floor
		 * says no. */
		struct policy_verdict alone;
		struct policy_request by_address = judge_request(g, app, &h->key, &(struct name){ 0 });
		judge_at(g, app, &h->key, &real, &by_address);
		policy_decide(g->policy, &by_address, &alone);
		if (alone.answer != POLICY_SAYS_ASK && alone.answer != POLICY_SAYS_ALLOW)
			v = alone;
	}
	act(g, app, h, &name, syn, &real, &v);
}

void decide_packet(struct gate *g, struct app *app, const struct flow_key *key, const uint8_t *frame, size_t len)
{
	/* A retransmission of what waits already costs nothing and asks nothing. */
	if (g->policy == NULL || !g->sync_end || held_find(g->held, key) != NULL)
		return;
	if (len > HELD_FRAME_MAX) {
		refuse_packet(g, app, frame, len, false);
		return;
	}
	struct held *h = &g->fresh;
	memset(h, 0, offsetof(struct held, frame));
	h->key = *key;
	h->since_ms = g->boot_ms;
	h->len = len;
	memcpy(h->frame, frame, len);
	decide_held(g, h);
}

void decide_charged(struct gate *g, struct held *h, int err)
{
	struct app *app = app_of(g, h->key.slot);
	struct name name;
	unsigned syn;
	struct sides s;
	if (app == NULL || h->state != WAIT_CHARGE)
		return;
	h->state = WAIT_JUDGE;
	h->paid[h->paying] = err == 0;
	/* Used up meanwhile, or the desk is away: the rule is not there for this packet; judged by the others. The same
	 * when the policy changed while the count became durable: what speaks now must be the very rule that was
	 * charged, or have been it until this charge used it up. */
	if (err == 0 && decide_name(g, app, &h->key, &name, &syn) && judge_charged(g, app, h, &name, &s))
		allow(g, app, h, &name, syn, &s);
	else
		decide_held(g, h);
}

void decide_all_held(struct gate *g)
{
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		/* A question stays open while packets of its kind wait: decide_held() finds it again. */
		h->question = 0;
		decide_held(g, h);
	}
	ask_settle(g);
}

bool decide_some_held(struct gate *g, uint32_t stamp, unsigned n)
{
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		if (h->stamp == stamp)
			continue;
		if (n-- == 0)
			return false;
		h->stamp = stamp;
		h->question = 0;
		decide_held(g, h);
	}
	ask_settle(g);
	return true;
}

static const char *why_expired(const struct held *h)
{
	return h->state == WAIT_ADDRESS	  ? "the name could not be resolved"
	     : h->state == WAIT_NEIGHBOUR ? "nobody on the LAN answers for its way"
					  : "nobody answered";
}

/* The app's patience is over: refused, and no rule is written. */
void decide_tick(struct gate *g)
{
	bool gone = false;
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		struct app *app = app_of(g, h->key.slot);
		struct name name;
		unsigned syn;
		if (app == NULL || h->expires_ms == 0 || g->boot_ms < h->expires_ms)
			continue;
		if (!decide_name(g, app, &h->key, &name, &syn))
			name.len = 0;
		gone = true;
		refuse_held(g, app, h, &name, NULL, VERDICT_ASK, why_expired(h));
	}
	if (gone)
		ask_settle(g);
}

void decide_forget_app(struct gate *g, uint16_t slot)
{
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		if (h->key.slot == slot)
			held_remove(g->held, h);
	}
	ask_settle(g);
}
