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

static struct policy_request request_of(const struct gate *g, const struct app *app, const struct flow_key *key,
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
	else
		q.addr = key->inbound ? &key->src : &key->dst;
	return q;
}

/* The verdict over every address of the family: a private one among public ones withholds the whole answer (rebinding).
 */
static void decide_addresses(struct gate *g, struct policy_request *q, const struct resolved *r, bool v6,
	struct addr *ret_addr, struct policy_verdict *ret)
{
	const struct addr *list = v6 ? r->v6 : r->v4;
	unsigned n = v6 ? r->n_v6 : r->n_v4;
	q->chain = r->chain;
	q->n_chain = r->n_chain;
	for (unsigned i = 0; i < n; i++) {
		struct policy_verdict v;
		q->addr = &list[i];
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
	/* Who knocks from outside is not told that somebody is there. */
	refuse_packet(g, app, h->frame, h->len, verdict == VERDICT_DROP || h->key.inbound);
	held_remove(g->held, h);
}

static struct question *question_find(struct gate *g, const struct held *h, const struct name *name, bool withheld)
{
	struct question *free_one = NULL;
	for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
		struct question *k = &g->question[i];
		if (k->number == 0) {
			if (free_one == NULL)
				free_one = k;
			continue;
		}
		if (k->q.ref.slot == h->key.slot && k->q.proto == h->key.proto && k->q.port == h->key.dport &&
			k->q.inbound == h->key.inbound && k->q.withheld == withheld && name_equal(&k->q.name, name) &&
			(name->len != 0 || addr_equal(&k->q.address, h->key.inbound ? &h->key.src : &h->key.dst)))
			return k;
	}
	return free_one;
}

static unsigned questions_of(const struct gate *g, uint16_t slot)
{
	unsigned n = 0;
	for (unsigned i = 0; i < QUESTIONS_MAX; i++)
		n += g->question[i].number != 0 && g->question[i].q.ref.slot == slot;
	return n;
}

/* From here on the packet waits: only now does it take a place of the app's. An allowed packet never needs one,
 * whatever else the app has open. */
static struct held *keep(struct gate *g, struct held *h)
{
	return h->kept ? h : held_keep(g->held, h);
}

/* The packet waits for a person; the first of its kind opens the question. False: too many are open. */
static bool ask(struct gate *g, struct app *app, struct held *h, const struct name *name, const struct addr *address,
	bool withheld)
{
	struct question *k = question_find(g, h, name, withheld);
	h = keep(g, h);
	if (h == NULL)
		return false;
	if (k == NULL || (k->number == 0 && questions_of(g, h->key.slot) >= QUESTIONS_APP_MAX))
		return false;
	if (k->number == 0) {
		if (++g->next_question == 0)
			g->next_question = 1;
		k->number = g->next_question;
		k->q = (struct ipc_question){ .number = k->number,
			.ref = app->a.ref,
			.inbound = h->key.inbound,
			.proto = h->key.proto,
			.port = h->key.dport,
			.withheld = withheld,
			.name = *name,
			.held_wall_ms = g->wall_ms,
			.gives_up_wall_ms = g->wall_ms + g->ask_expires_ms };
		if (address != NULL)
			k->q.address = *address;
		out_tell(&g->messages, ROLE_DESK, IPC_QUESTION, 0, question, &k->q);
	}
	h->question = k->number;
	h->state = WAIT_ANSWER;
	if (h->expires_ms == 0)
		h->expires_ms = g->boot_ms + g->ask_expires_ms;
	return true;
}

static bool charge(struct gate *g, struct app *app, struct held *h, const struct policy_verdict *v,
	const struct addr *real)
{
	h = keep(g, h);
	if (h == NULL)
		return false;
	struct ipc_charge c = { .ref = app->a.ref };
	memcpy(c.rule, policy_rule_meta(g->policy, v->rule)->id, sizeof(c.rule));
	memcpy(h->rule, c.rule, sizeof(h->rule));
	h->charged_wall_ms = g->wall_ms;
	h->real = *real;
	h->state = WAIT_CHARGE;
	h->expires_ms = g->boot_ms + g->ask_expires_ms;
	out_tell(&g->messages, ROLE_DESK, IPC_CHARGE, h->id, charge, &c);
	return true;
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

static void allow(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct addr *real, const struct policy_verdict *v)
{
	struct mac hop;
	enum next_hop way = neighbour_hop(g, app, real, &hop);
	if (way == NEXT_HOP_ASKED && need_neighbour(g, h))
		return;
	if (way != NEXT_HOP_KNOWN) {
		refuse_held(g, app, h, name, v, VERDICT_ALLOW, "no way to this address");
		return;
	}
	if (v->counted) {
		if (!charge(g, app, h, v, real))
			refuse_held(g, app, h, name, v, VERDICT_ALLOW, "too many packets wait");
		return;
	}
	if (!admit_packet(g, app, h, name, syn, real, v)) {
		refuse_held(g, app, h, name, v, VERDICT_ALLOW, "no room for another grant");
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
		uint32_t id = resolve_ask(g->resolve, name, g->boot_ms);
		struct ipc_resolve q = { .name = *name, .want_v4 = true, .want_v6 = true };
		out_tell(&g->messages, ROLE_RESOLVER, IPC_RESOLVE, id, resolve, &q);
	}
	h->state = WAIT_ADDRESS;
	h->expires_ms = g->boot_ms + RESOLVE_PATIENCE_MS;
	return true;
}

static void act(struct gate *g, struct app *app, struct held *h, const struct name *name, unsigned syn,
	const struct addr *real, const struct policy_verdict *v)
{
	h->real = *real;
	switch (v->answer) {
	case POLICY_SAYS_ALLOW:
		allow(g, app, h, name, syn, real, v);
		break;
	case POLICY_SAYS_DENY:
		refuse_held(g, app, h, name, v, VERDICT_DENY, "");
		break;
	case POLICY_SAYS_DROP:
		refuse_held(g, app, h, name, v, VERDICT_DROP, "");
		break;
	case POLICY_SAYS_ASK:
	case POLICY_SAYS_WITHHELD:
		if (app->a.ask == ASK_DENY)
			refuse_held(g, app, h, name, v, VERDICT_ASK, "nobody is asked for this application");
		else if (!ask(g, app, h, name, real->len == 0 ? NULL : real, v->answer == POLICY_SAYS_WITHHELD))
			refuse_held(g, app, h, name, v, VERDICT_ASK, "too many questions are open");
		break;
	}
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
	struct policy_request q = request_of(g, app, &h->key, &name);
	struct policy_verdict v;
	policy_decide(g->policy, &q, &v);
	if (name.len == 0) {
		struct addr real = h->key.inbound ? h->key.src : h->key.dst;
		act(g, app, h, &name, 0, &real, &v);
		return;
	}
	struct addr none = { 0 };
	if (v.answer != POLICY_SAYS_ALLOW) {
		act(g, app, h, &name, syn, &none, &v);
		return;
	}
	const struct resolved *r = resolve_get(g->resolve, &name, g->boot_ms);
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
	decide_addresses(g, &q, r, v6, &real, &v);
	if (v.answer == POLICY_SAYS_WITHHELD) {
		/* The address judged without the name: a question only where an answer could help, not where the floor
		 * says no. */
		struct policy_verdict alone;
		struct policy_request by_address = request_of(g, app, &h->key, &(struct name){ 0 });
		by_address.addr = &real;
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

/* The verdict on one address that a name or a packet stands for, with the names of its chain as far as they are known.
 */
static void decide_address(struct gate *g, const struct app *app, const struct flow_key *key, const struct name *name,
	const struct addr *real, struct policy_verdict *ret)
{
	struct policy_request q = request_of(g, app, key, name);
	const struct resolved *r = name->len == 0 ? NULL : resolve_last(g->resolve, name);
	q.addr = real;
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

/* A used-up rule that still speaks for what it admitted: its own time runs, and no refusal came after `since_wall_ms`
 * (one that stood before was outranked). */
static bool used_up_holds(const struct gate *g, size_t own, const struct policy_verdict *now, int64_t since_wall_ms,
	struct policy_verdict *ret)
{
	const struct policy_meta *m = own == POLICY_NO_RULE ? NULL : policy_rule_meta(g->policy, own);
	if (m == NULL || m->ended != POLICY_END_USED || m->deadline_ms <= g->wall_ms)
		return false;
	if (refuses(now) && policy_rule_meta(g->policy, now->rule)->created_ms > since_wall_ms)
		return false;
	*ret = (struct policy_verdict){ .answer = POLICY_SAYS_ALLOW,
		.rule = own,
		.origin = m->origin,
		.counted = true,
		.next_change_ms = m->deadline_ms };
	return true;
}

/* The policy may have changed while the count became durable. What speaks now must be the very rule that was charged,
 * or have been it until this charge used it up. */
static bool charged_verdict(struct gate *g, const struct app *app, const struct held *h, const struct name *name,
	struct policy_verdict *ret)
{
	struct policy_verdict now;
	size_t own = decide_rule(g, h->rule);
	decide_address(g, app, &h->key, name, &h->real, &now);
	if (now.answer == POLICY_SAYS_ALLOW && own != POLICY_NO_RULE && now.rule == own) {
		*ret = now;
		return true;
	}
	return used_up_holds(g, own, &now, h->charged_wall_ms, ret);
}

void decide_charged(struct gate *g, struct held *h, int err)
{
	struct app *app = app_of(g, h->key.slot);
	struct name name;
	unsigned syn;
	if (app == NULL || h->state != WAIT_CHARGE)
		return;
	if (err != 0 || !decide_name(g, app, &h->key, &name, &syn)) {
		/* Used up meanwhile, or the desk is away: the rule is not there for this packet; judged by the others.
		 */
		h->state = WAIT_JUDGE;
		decide_held(g, h);
		return;
	}
	struct policy_verdict v;
	if (!charged_verdict(g, app, h, &name, &v)) {
		h->state = WAIT_JUDGE;
		decide_held(g, h);
		return;
	}
	if (!admit_packet(g, app, h, &name, syn, &h->real, &v))
		refuse_packet(g, app, h->frame, h->len, h->key.inbound);
	held_remove(g->held, h);
}

/* `b` speaks for its id rather than `a`: one that runs before one that is used up, then the later one. */
static bool rule_before(const struct policy_meta *a, const struct policy_meta *b)
{
	if ((a->ended == POLICY_RUNNING) != (b->ended == POLICY_RUNNING))
		return b->ended == POLICY_RUNNING;
	return b->created_ms > a->created_ms;
}

/* The rule of that id if it runs or has only been used up; POLICY_NO_RULE when it ended in any other way. The same rule
 * may have been used up more than once. */
size_t decide_rule(const struct gate *g, const uint8_t id[IPC_RULE_ID_LEN])
{
	size_t best = POLICY_NO_RULE;
	for (size_t i = 0; i < policy_n_rules(g->policy); i++) {
		const struct policy_meta *m = policy_rule_meta(g->policy, i);
		/* The id is the same whatever the verb: a refusal in the place of an allow is not that rule any more.
		 */
		const char *text = policy_rule_text(g->policy, i);
		bool allows = strncmp(text, "allow ", 6) == 0 || strncmp(text, "final allow ", 12) == 0;
		if ((m->ended != POLICY_RUNNING && m->ended != POLICY_END_USED) || !allows ||
			memcmp(m->id, id, sizeof(m->id)) != 0)
			continue;
		if (best == POLICY_NO_RULE || rule_before(policy_rule_meta(g->policy, best), m))
			best = i;
	}
	return best;
}

void decide_all_held(struct gate *g)
{
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		/* A question stays open while packets of its kind wait: decide_held() finds it again. */
		h->question = 0;
		decide_held(g, h);
	}
	decide_questions(g);
}

void decide_questions(struct gate *g)
{
	for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
		struct question *k = &g->question[i];
		bool waits = false;
		if (k->number == 0)
			continue;
		for (struct held *h = held_next(g->held, NULL); h != NULL && !waits; h = held_next(g->held, h))
			waits = h->state == WAIT_ANSWER && h->question == k->number;
		if (waits)
			continue;
		struct ipc_u32 n = { .v = k->number };
		out_tell(&g->messages, ROLE_DESK, IPC_QUESTION_END, 0, u32, &n);
		k->number = 0;
	}
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
		decide_questions(g);
}

void decide_forget_app(struct gate *g, uint16_t slot)
{
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		if (h->key.slot == slot)
			held_remove(g->held, h);
	}
	decide_questions(g);
}

/* A grant under the policy as it is now. */
static void decide_grant(struct gate *g, struct grant *gr)
{
	struct app *app = app_of(g, gr->key.slot);
	struct policy_verdict v;
	if (app == NULL) {
		live_end(g, gr, "the application ended");
		return;
	}
	struct flow_key key = { .slot = gr->key.slot,
		.inbound = gr->key.inbound,
		.proto = gr->key.proto,
		.dport = gr->key.port };
	if (gr->key.inbound)
		key.src = gr->key.real;
	else
		key.dst = gr->key.peer;
	struct policy_verdict kept;
	decide_address(g, app, &key, &gr->name, &gr->key.real, &v);
	if (v.answer == POLICY_SAYS_ALLOW) {
		live_set_rule(g, gr, &v);
		return;
	}
	/* A used-up count admits nothing more; what it admitted runs to its own end. */
	if (used_up_holds(g, decide_rule(g, gr->rule), &v, gr->since_wall_ms, &kept)) {
		live_set_rule(g, gr, &kept);
		return;
	}
	live_end(g, gr, "its rule ended");
}

void decide_all_grants(struct gate *g)
{
	g->policy_next_wall_ms = POLICY_NEVER;
	for (struct grant *gr = grants_next(g->grants, NULL), *next; gr != NULL; gr = next) {
		next = grants_next(g->grants, gr);
		decide_grant(g, gr);
	}
}
