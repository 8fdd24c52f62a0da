/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/state.h"

#include "policy/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ZONE_LIMIT = 4096, NAMES_ZONE_LIMIT = 512, GRANT_LOW_WATER = 1024, CLOCK_LOOK_MS = 500 };

struct gate *gate_new(const struct plan *plan, uint64_t seed, uint32_t ask_expires_ms)
{
	struct gate *g = calloc(1, sizeof(*g));
	if (g == NULL)
		return NULL;
	g->plan = *plan;
	g->seed = seed;
	g->ask_expires_ms = ask_expires_ms;
	g->policy_next_wall_ms = POLICY_NEVER;
	g->live_next_ms = -1;
	/* Numbers start anywhere: an answer meant for an earlier life of gate must not fit a question of this one. */
	g->next_question = (uint32_t)seed;
	g->next_request = (uint32_t)(seed >> 32);
	g->grants = grants_new(seed);
	g->held = held_new();
	g->resolve = resolve_new(seed);
	if (g->grants == NULL || g->held == NULL || g->resolve == NULL) {
		gate_free(g);
		return NULL;
	}
	return g;
}

void gate_free(struct gate *g)
{
	if (g == NULL)
		return;
	for (unsigned i = 0; i < PLAN_SLOTS; i++)
		syn_free(g->app[i].syn);
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		ofp_session_free(g->conn[i].session);
	}
	grants_free(g->grants);
	held_free(g->held);
	resolve_free(g->resolve);
	policy_opening_free(g->reload.opening);
	policy_free(g->policy);
	out_fini(&g->messages);
	free(g);
}

void gate_clock(struct gate *g, int64_t boot_ms, int64_t wall_ms)
{
	g->boot_ms = boot_ms;
	g->wall_ms = wall_ms;
}

void gate_last_error(const struct gate *g, unsigned *ret_type, unsigned *ret_code)
{
	*ret_type = g->last_error_type;
	*ret_code = g->last_error_code;
}

bool gate_synced(const struct gate *g)
{
	return g->synced;
}

struct out *gate_messages(struct gate *g)
{
	return &g->messages;
}

static bool client_is(const struct gate *g, const struct app *app, const struct addr *client)
{
	return addr_equal(client, &app->a.v4) || addr_in(client, &app->a.v6, plan_guest_prefix(&g->plan, true));
}

struct app *app_of_client(struct gate *g, const struct addr *client)
{
	/* With addresses of our own pools the slot stands in the address; with a LAN's it has to be looked for. */
	unsigned guess = plan_slot(&g->plan, client);
	if (guess != 0 && g->app[guess].a.ref.slot != 0 && client_is(g, &g->app[guess], client))
		return &g->app[guess];
	for (unsigned i = 1; i < PLAN_SLOTS && guess == 0; i++) {
		if (g->app[i].a.ref.slot != 0 && client_is(g, &g->app[i], client))
			return &g->app[i];
	}
	return NULL;
}

static void result(struct gate *g, uint32_t request, int err, const char *text)
{
	struct ipc_result r = { .err = err };
	ipc_text_set(&r.text, text);
	out_tell(&g->messages, ROLE_DESK, IPC_RESULT, request, result, &r);
}

void gate_event(struct gate *g, const struct app *app, enum ipc_event_kind kind, enum ipc_verdict verdict,
	const struct flow_key *key, const struct name *name, const struct addr *address, const uint8_t *rule,
	const char *text)
{
	struct ipc_event e = { .kind = (uint8_t)kind,
		.verdict = (uint8_t)verdict,
		.inbound = key->inbound,
		.proto = key->proto,
		.port = key->dport };
	if (app != NULL)
		e.ref = app->a.ref;
	if (name != NULL)
		e.name = *name;
	if (address != NULL)
		e.address = *address;
	else if (name == NULL || name->len == 0)
		e.address = key->inbound ? key->src : key->dst;
	if (rule != NULL)
		memcpy(e.rule, rule, sizeof(e.rule));
	ipc_text_set(&e.text, text);
	out_tell(&g->messages, ROLE_DESK, IPC_EVENT, 0, event, &e);
}

void gate_used(struct gate *g, const uint8_t rule[IPC_RULE_ID_LEN], uint64_t times)
{
	struct ipc_used u = { .count = times > UINT32_MAX ? UINT32_MAX : (uint32_t)times };
	memcpy(u.rule, rule, sizeof(u.rule));
	out_tell(&g->messages, ROLE_DESK, IPC_USED, 0, used, &u);
}

static void zone_tell(struct gate *g, struct ipc_zone z)
{
	out_tell(&g->messages, ROLE_SWITCHD, IPC_ZONE_SET, 0, zone, &z);
}

/* An app's zones, empty or with the live connections that are in them. */
static void zones_set(struct gate *g, const struct app *app, bool keep)
{
	zone_tell(g, (struct ipc_zone){ .zone = app->a.zone, .limit = ZONE_LIMIT, .keep = keep });
	zone_tell(g, (struct ipc_zone){ .zone = app->a.names_zone, .limit = NAMES_ZONE_LIMIT, .keep = keep });
}

void gate_switchd_back(struct gate *g)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (g->app[i].a.ref.slot != 0)
			zones_set(g, &g->app[i], true);
	}
}

void gate_app_add(struct gate *g, uint32_t request, const struct ipc_app *a)
{
	uint16_t slot = a->ref.slot;
	if (slot == 0 || slot >= PLAN_SLOTS || a->v4.len != 4 || a->v6.len != 16 || a->zone == 0 ||
		a->names_zone == 0) {
		result(g, request, -EINVAL, "the application has no lawful place");
		return;
	}
	struct app *app = &g->app[slot];
	if (app->a.ref.slot != 0 && app->a.ref.run != a->ref.run)
		gate_app_del(g, 0, &app->a.ref);
	bool again = app->a.ref.slot != 0;
	app->a = *a;
	if (app->syn == NULL)
		app->syn = syn_new(g->seed ^ slot);
	if (app->syn == NULL) {
		app->a.ref.slot = 0;
		result(g, request, -ENOMEM, "out of memory");
		return;
	}
	/* A new run inherits nothing of whoever had the zone before. Of what desk tells a new gate live connections may
	 * be in it. */
	if (!again)
		zones_set(g, app, !g->sync_end);
	app->request = request;
	/* Without a barrier of its own it is answered when the switch is in step. */
	app->barrier = pipeline_app(g, app, true) ? pipeline_barrier(g, CONN_BULK) : 0;
}

void gate_app_del(struct gate *g, uint32_t request, const struct ipc_app_ref *ref)
{
	struct app *app = app_of(g, ref->slot);
	if (app != NULL && app->a.ref.run == ref->run) {
		(void)pipeline_app(g, app, false);
		decide_forget_app(g, ref->slot);
		live_forget_app(g, ref->slot);
		for (unsigned i = 0; i < LOOKUPS_MAX; i++) {
			if (g->lookup[i].slot == ref->slot)
				names_forget(g, i);
		}
		/* The next run has other zones, and there is room for those of running apps only. */
		zone_tell(g, (struct ipc_zone){ .zone = app->a.zone });
		zone_tell(g, (struct ipc_zone){ .zone = app->a.names_zone });
		syn_free(app->syn);
		*app = (struct app){ 0 };
		audit_expect(g);
		/* What other apps wanted of this one has nobody to reach any more. */
		if (g->policy != NULL && g->sync_end)
			decide_all_held(g);
	}
	if (request != 0)
		result(g, request, 0, "");
}

void gate_block(struct gate *g, const struct ipc_block *b)
{
	g->block_wanted = false;
	if (g->block_left == 0) {
		g->block_first = b->first;
		g->block_left = b->count;
	} else {
		g->spare_first = b->first;
		g->spare_left = b->count;
	}
}

uint32_t gate_number(struct gate *g)
{
	if (g->block_left == 0 && g->spare_left > 0) {
		g->block_first = g->spare_first;
		g->block_left = g->spare_left;
		g->spare_left = 0;
	}
	if (g->block_left < GRANT_LOW_WATER && g->spare_left == 0 && !g->block_wanted) {
		g->block_wanted = true;
		out_msg_put(&g->messages, ROLE_DESK, IPC_GRANT_WANT, 0, NULL, 0);
	}
	if (g->block_left == 0)
		return 0;
	g->block_left--;
	return g->block_first++;
}

void gate_grant_restore(struct gate *g, const struct ipc_grant *m)
{
	struct app *app = app_of(g, m->ref.slot);
	struct grant_key key = { .slot = m->ref.slot,
		.inbound = m->inbound,
		.proto = m->proto,
		.port = m->port,
		.peer = m->peer,
		.real = m->real };
	if (app == NULL || app->a.ref.run != m->ref.run || m->grant == 0 ||
		grants_by_number(g->grants, m->grant) != NULL || grants_find(g->grants, &key) != NULL ||
		grants_count(g->grants, key.slot) >= GRANT_APP_MAX)
		return;
	struct grant *gr = grants_add(g->grants, &key, m->grant);
	if (gr == NULL)
		return;
	gr->run = m->ref.run;
	gr->peer_slot = m->other.slot;
	gr->peer_run = m->other.run;
	memcpy(gr->rule_in, m->rule_in, sizeof(gr->rule_in));
	gr->name = m->name;
	gr->syn = plan_syn_index(&g->plan, &m->peer);
	memcpy(gr->rule, m->rule, sizeof(gr->rule));
	gr->since_wall_ms = m->since_wall_ms;
	gr->ends.wall_ms = DEADLINE_NEVER;
	gr->counted = true; /* perhaps: judged before it matters */
	grants_used(g->grants, gr, g->boot_ms);
	syn_hold(app->syn, gr->syn, 1);
}

void gate_cut(struct gate *g, uint32_t number)
{
	struct grant *gr = grants_by_number(g->grants, number);
	if (gr != NULL)
		live_end(g, gr, "cut by a person");
}

void gate_syn_restore(struct gate *g, const struct ipc_syn *s)
{
	struct app *app = app_of(g, s->ref.slot);
	if (app != NULL && app->a.ref.run == s->ref.run)
		(void)syn_put(app->syn, s->index, &s->name, g->boot_ms);
}

void gate_sync_end(struct gate *g)
{
	g->sync_end = true;
	if (g->policy != NULL)
		judge_all_grants(g);
	if (g->have_switch)
		pipeline_resync(g);
}

void gate_desk_back(struct gate *g)
{
	/* Its questions died with it; the packets still wait and are asked about again. */
	g->block_wanted = false;
	for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
		if (g->question[i].number != 0)
			out_tell(&g->messages, ROLE_DESK, IPC_QUESTION, 0, question, &g->question[i].q);
	}
	for (struct held *h = held_next(g->held, NULL); h != NULL; h = held_next(g->held, h)) {
		if (h->state == WAIT_CHARGE)
			h->expires_ms = g->boot_ms; /* the count may or may not be durable: refused, never sent twice */
	}
}

void gate_charged(struct gate *g, uint32_t request, int err)
{
	struct held *h = held_by_id(g->held, request);
	if (h != NULL)
		decide_charged(g, h, err);
}

/* The flows of an app are in the switch: desk may bring the interface up. */
void gate_barrier(struct gate *g, enum gate_conn conn, uint32_t xid)
{
	if (conn == CONN_BULK && xid == g->sync_xid && xid != 0) {
		g->sync_xid = 0;
		g->synced = true;
		neighbour_restore(g);
		decide_all_held(g);
	}
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *app = &g->app[i];
		if (app->request == 0 || !g->synced || (app->barrier != 0 && app->barrier != xid))
			continue;
		neighbour_announce(g, app);
		ready_begin(g, app);
		result(g, app->request, 0, "");
		app->request = app->barrier = 0;
	}
}

int64_t gate_deadline(const struct gate *g)
{
	int64_t at = live_deadline(g), neighbour = neighbour_deadline(g);
	int64_t ready = ready_deadline(g), look = g->looked_ms + CLOCK_LOOK_MS, chains = judge_chains_deadline(g);
	if (reload_busy(g))
		return g->boot_ms;
	if (neighbour >= 0 && (at < 0 || neighbour < at))
		at = neighbour;
	if (ready >= 0 && (at < 0 || ready < at))
		at = ready;
	if (chains >= 0 && (at < 0 || chains < at))
		at = chains;
	/* Nothing tells us that the wall clock was set, or that the computer slept. */
	if (g->policy_next_wall_ms != POLICY_NEVER && (at < 0 || look < at))
		at = look;
	if (g->synced && (at < 0 || g->audit_ms < at))
		at = g->audit_ms;
	for (struct held *h = held_next(g->held, NULL); h != NULL; h = held_next(g->held, h)) {
		if (h->expires_ms != 0 && (at < 0 || h->expires_ms < at))
			at = h->expires_ms;
	}
	for (unsigned i = 0; i < LOOKUPS_MAX && g->n_lookups > 0; i++) {
		int64_t end = g->lookup[i].since_boot_ms + RESOLVE_PATIENCE_MS;
		if (g->lookup[i].request != 0 && (at < 0 || end < at))
			at = end;
	}
	return at;
}

void gate_tick(struct gate *g)
{
	g->looked_ms = g->boot_ms;
	if (g->policy != NULL && g->wall_ms >= g->policy_next_wall_ms)
		reload_judge(g);
	reload_tick(g);
	judge_chains_tick(g);
	live_tick(g);
	ready_tick(g);
	neighbour_tick(g);
	audit_tick(g);
	decide_tick(g);
	names_tick(g);
}
