/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's DNS question, as the policy sees it (names.md). The answer is always an address of ours; a real one never
 * leaves gate. */
#include "gate/state.h"

#include <stdio.h>
#include <string.h>

enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_AAAA = 28, TTL_ANSWER_S = 30, TTL_NEGATIVE_S = 2, EDE_NONE = 0xffff };
/* RFC 8914 §4. */
enum { EDE_BOGUS = 6, EDE_BLOCKED = 15, EDE_FILTERED = 17, EDE_NETWORK = 23 };

/* Types that may be relayed for an allowed name. */
static const uint16_t relayed_types[] = { 2, 5, 6, 15, 16, 33, 44, 52, 64, 65, 257 };

static void answer(struct gate *g, uint32_t request, const struct ipc_lookup_answer *a)
{
	out_tell(&g->messages, ROLE_NAMES, IPC_LOOKUP_ANSWER, request, lookup_answer, a);
}

static void answer_kind(struct gate *g, uint32_t request, enum ipc_answer_kind kind, uint16_t ede)
{
	struct ipc_lookup_answer a = { .kind = (uint8_t)kind, .ttl = TTL_NEGATIVE_S, .ede = ede };
	answer(g, request, &a);
}

static void answer_denied(struct gate *g, const struct app *app, uint32_t request, const struct name *name, size_t rule)
{
	struct ipc_lookup_answer a = { .kind = ANSWER_DENIED, .ttl = TTL_NEGATIVE_S, .ede = EDE_BLOCKED };
	const uint8_t *id = NULL;
	if (rule != POLICY_NO_RULE) {
		const char *text = policy_rule_text(g->policy, rule);
		id = policy_rule_meta(g->policy, rule)->id;
		ipc_text_set(&a.text, text);
		if (strstr(text, "list:") != NULL)
			a.ede = EDE_FILTERED;
	} else {
		ipc_text_set(&a.text, "refused by the built-in floor");
	}
	answer(g, request, &a);
	struct flow_key none = { 0 };
	if (id != NULL && policy_rule_meta(g->policy, rule)->quiet != 0)
		gate_used(g, id, 1);
	else
		gate_event(g, app, EVENT_NAME, VERDICT_DENY, &none, name, NULL, id, "");
}

/* 0: none can be given now. */
static unsigned syn_index(struct gate *g, struct app *app, const struct name *name)
{
	bool fresh;
	unsigned index = syn_give(app->syn, name, g->boot_ms, &fresh);
	if (fresh) {
		struct ipc_syn s = { .ref = app->a.ref, .index = index, .name = *name };
		out_tell(&g->messages, ROLE_DESK, IPC_SYN, 0, syn, &s);
	}
	return index;
}

/* The name gets its address in this VM, or keeps the one it has. */
static void answer_synthetic(struct gate *g, struct app *app, uint32_t request, const struct name *name, bool v6)
{
	unsigned index = syn_index(g, app, name);
	if (index == 0) {
		answer_kind(g, request, ANSWER_SERVFAIL, EDE_NONE);
		return;
	}
	struct ipc_lookup_answer a = { .kind = ANSWER_ADDRESS, .ttl = TTL_ANSWER_S, .ede = EDE_NONE };
	a.address = v6 ? plan_syn6(&g->plan, index) : plan_syn4(index);
	answer(g, request, &a);
}

/* The index in "1.0.18.198.in-addr.arpa" or the nibbles of ip6.arpa; 0: no synthetic address of ours. */
static unsigned reverse_index(const struct gate *g, const struct name *name)
{
	struct addr a = { 0 };
	struct name arpa;
	const uint8_t *w = name->wire;
	unsigned labels = name_labels(name);
	if (labels == 6 && name_from_text("in-addr.arpa", 12, &arpa) && name_within(name, &arpa, true)) {
		a.len = 4;
		for (unsigned i = 4; i-- > 0; w += w[0] + 1) {
			unsigned v = 0;
			for (unsigned k = 1; k <= w[0] && w[0] <= 3; k++)
				v = v * 10 + (unsigned)(w[k] - '0');
			a.b[i] = (uint8_t)v;
		}
	} else if (labels == 34 && name_from_text("ip6.arpa", 8, &arpa) && name_within(name, &arpa, true)) {
		a.len = 16;
		for (unsigned i = 32; i-- > 0; w += w[0] + 1) {
			unsigned v = w[1] <= '9' ? (unsigned)(w[1] - '0') : (unsigned)(w[1] - 'a' + 10);
			a.b[i / 2] = (uint8_t)(a.b[i / 2] | (v & 15) << (i % 2 == 0 ? 4 : 0));
		}
	}
	return plan_syn_index(&g->plan, &a);
}

static bool answer_reverse(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l)
{
	struct ipc_lookup_answer a = { .kind = ANSWER_PTR, .ttl = TTL_ANSWER_S, .ede = EDE_NONE };
	if (!syn_name(app->syn, reverse_index(g, &l->name), &a.target))
		return false;
	answer(g, request, &a);
	return true;
}

static void answer_resolved(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l,
	const struct resolved *r, bool one_family)
{
	bool v6 = l->qtype == TYPE_AAAA;
	switch ((enum ipc_resolve_status)r->status) {
	case RESOLVE_NXDOMAIN:
		answer_kind(g, request, ANSWER_NXDOMAIN, EDE_NONE);
		return;
	case RESOLVE_FAILED:
		answer_kind(g, request, ANSWER_SERVFAIL, EDE_NETWORK);
		return;
	case RESOLVE_BOGUS:
		answer_kind(g, request, ANSWER_SERVFAIL, EDE_BOGUS);
		return;
	case RESOLVE_OK:
		break;
	}
	unsigned here = v6 ? r->n_v6 : r->n_v4;
	/* A counted rule: a race of both families must not spend two. */
	if (here == 0 || (v6 && (!g->sw.has_v6 || (one_family && r->n_v4 > 0 && g->sw.has_v4))))
		answer_kind(g, request, ANSWER_NODATA, EDE_NONE);
	else
		answer_synthetic(g, app, request, &l->name, v6);
}

static bool relayed(uint16_t qtype)
{
	for (unsigned i = 0; i < sizeof(relayed_types) / sizeof(relayed_types[0]); i++) {
		if (relayed_types[i] == qtype)
			return true;
	}
	return false;
}

static void relay(struct gate *g, uint32_t request, const struct ipc_lookup *l)
{
	struct ipc_relay m = { .lookup_id = request, .qtype = l->qtype, .name = l->name };
	answer_kind(g, request, ANSWER_RELAY, EDE_NONE);
	out_tell(&g->messages, ROLE_RESOLVER, IPC_RELAY, 0, relay, &m);
}

/* Remembers a question until the resolver has spoken; one entry per question, bounded, also per app. */
static bool wait_for(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l)
{
	for (unsigned i = 0; i < LOOKUPS_MAX && app->n_lookups < LOOKUPS_APP_MAX; i++) {
		if (g->lookup[i].request != 0)
			continue;
		g->lookup[i] = (struct lookup){ .request = request,
			.l = *l,
			.slot = app->a.ref.slot,
			.since_boot_ms = g->boot_ms };
		g->n_lookups++;
		app->n_lookups++;
		return true;
	}
	return false;
}

/* Nothing leaves for a name nobody allowed: the person is asked when the app connects. */
static void answer_unknown(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l)
{
	if (l->qtype == TYPE_A)
		answer_synthetic(g, app, request, &l->name, false);
	else
		answer_kind(g, request, ANSWER_NODATA, EDE_NONE);
}

/* An allowed name may be asked of the world; it has an index from here on, so that it is new only once. */
static bool names_new(struct gate *g, struct app *app, const struct ipc_lookup *l, size_t rule)
{
	unsigned index = syn_index(g, app, &l->name);
	return index != 0 && new_name_may_leave(g, app, &l->name, index, rule);
}

static void allowed(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l,
	const struct policy_lookup_verdict *v)
{
	if (l->qtype != TYPE_A && l->qtype != TYPE_AAAA) {
		if (!relayed(l->qtype))
			answer_kind(g, request, ANSWER_NODATA, EDE_NONE);
		else if (new_name_may_leave(g, app, &l->name, syn_find(app->syn, &l->name), v->rule))
			relay(g, request, l);
		else
			answer_kind(g, request, ANSWER_REFUSED, EDE_BLOCKED);
		return;
	}
	const struct resolved *r = resolve_get(g->resolve, &l->name, g->boot_ms);
	if (r != NULL && !r->pending) {
		answer_resolved(g, app, request, l, r, v->counted);
		return;
	}
	if (r == NULL && !names_new(g, app, l, v->rule)) {
		answer_unknown(g, app, request, l);
		return;
	}
	if (!wait_for(g, app, request, l)) {
		answer_kind(g, request, ANSWER_SERVFAIL, EDE_NONE);
		return;
	}
	if (r == NULL) {
		uint32_t id = resolve_ask(g->resolve, &l->name, app->a.ref.slot, g->boot_ms);
		struct ipc_resolve q = { .name = l->name, .want_v4 = true, .want_v6 = true };
		out_tell(&g->messages, ROLE_RESOLVER, IPC_RESOLVE, id, resolve, &q);
	}
}

static bool lookup_rate(struct gate *g, struct app *app)
{
	if (g->boot_ms - app->second_boot_ms >= 1000) {
		app->second_boot_ms = g->boot_ms;
		app->lookups = 0;
	}
	return ++app->lookups <= LOOKUPS_PER_S;
}

/* NAME.app.internal means an app of ours, and is said to those that a rule lets reach it; nobody else is asked. */
static bool answer_app(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l)
{
	struct app *peer;
	bool counted = false;
	if (!peer_named(g, app, &l->name, &peer))
		return false;
	if (peer == NULL || !policy_knows_peer(g->policy, app->a.name, app->a.owner, peer->a.name, peer->a.owner,
				    g->wall_ms, &counted))
		answer_kind(g, request, ANSWER_NXDOMAIN, EDE_NONE);
	else if (l->qtype == TYPE_A || (l->qtype == TYPE_AAAA && !counted))
		answer_synthetic(g, app, request, &l->name, l->qtype == TYPE_AAAA);
	else
		answer_kind(g, request, ANSWER_NODATA, EDE_NONE);
	return true;
}

static void judge(struct gate *g, struct app *app, uint32_t request, const struct ipc_lookup *l)
{
	struct policy_lookup_verdict v;
	policy_may_resolve(g->policy, app->a.name, app->a.owner, &l->name, g->wall_ms, &v);
	switch (v.answer) {
	case POLICY_LOOKUP_DENIED:
		answer_denied(g, app, request, &l->name, v.rule);
		break;
	case POLICY_LOOKUP_ALLOWED:
		allowed(g, app, request, l, &v);
		break;
	case POLICY_LOOKUP_UNKNOWN:
		answer_unknown(g, app, request, l);
		break;
	}
}

void gate_lookup(struct gate *g, uint32_t request, const struct ipc_lookup *l)
{
	struct app *app = app_of_client(g, &l->client);
	if (app == NULL || g->policy == NULL || !g->sync_end || !lookup_rate(g, app)) {
		answer_kind(g, request, ANSWER_SERVFAIL, EDE_NONE);
		return;
	}
	if (l->qtype == TYPE_PTR && answer_reverse(g, app, request, l))
		return;
	if (answer_app(g, app, request, l))
		return;
	/* No rule can name it, so no person could answer a question about it. */
	if (!name_is_plain(&l->name)) {
		answer_denied(g, app, request, &l->name, POLICY_NO_RULE);
		return;
	}
	judge(g, app, request, l);
}

void names_forget(struct gate *g, unsigned i)
{
	struct app *app = app_of(g, g->lookup[i].slot);
	if (g->lookup[i].request == 0)
		return;
	g->n_lookups--;
	if (app != NULL)
		app->n_lookups--;
	g->lookup[i].request = 0;
}

void names_resolved(struct gate *g, const struct name *name)
{
	for (unsigned i = 0; i < LOOKUPS_MAX && g->n_lookups > 0; i++) {
		struct lookup w = g->lookup[i];
		if (w.request == 0 || !name_equal(&w.l.name, name))
			continue;
		names_forget(g, i);
		struct app *app = app_of(g, w.slot);
		/* Judged anew: the policy may have changed while the resolver was asked. */
		if (app != NULL)
			judge(g, app, w.request, &w.l);
	}
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		struct app *app = app_of(g, h->key.slot);
		struct name n;
		unsigned syn;
		if (h->state == WAIT_ADDRESS && app != NULL && decide_name(g, app, &h->key, &n, &syn) &&
			name_equal(&n, name))
			decide_held(g, h);
	}
}

void gate_resolved(struct gate *g, uint32_t request, const struct ipc_resolved *r)
{
	const struct resolved *known = resolve_answer(g->resolve, request, r, g->boot_ms);
	if (known != NULL) {
		struct name name = known->name;
		/* Grants first: what a refusal of a name behind this one ends must be cut before anything new goes. */
		if (known->for_grants) {
			g->chains_asked -= g->chains_asked > 0;
			judge_grants_of(g, &name);
		}
		names_resolved(g, &name);
	}
}

void gate_resolver_back(struct gate *g)
{
	struct name name;
	bool for_grants;
	resolve_lost(g->resolve);
	g->chains_asked = 0;
	while (resolve_lost_next(g->resolve, &name, &for_grants)) {
		if (for_grants)
			judge_grants_of(g, &name);
		names_resolved(g, &name);
	}
}

void names_tick(struct gate *g)
{
	for (unsigned i = 0; i < LOOKUPS_MAX && g->n_lookups > 0; i++) {
		struct lookup *w = &g->lookup[i];
		if (w->request != 0 && g->boot_ms - w->since_boot_ms >= RESOLVE_PATIENCE_MS) {
			answer_kind(g, w->request, ANSWER_SERVFAIL, EDE_NETWORK);
			names_forget(g, i);
		}
	}
}
