/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a grant in the switch. Two flows in table 45, one per direction, match its number in ct_mark; they are
 * leases. While they stand every packet whose conntrack entry carries the number passes; when they go nothing does. An
 * ended grant is remembered for two seconds so that the next packet of each end can be answered with RST, then its
 * conntrack entries are flushed (a fixed 5-tuple must not stay established under a dead number).
 */
#include "gate/state.h"

#include <string.h>

enum { TOGETHER_MS = 1000, ENDED_TOGETHER_MS = 100 };

/* What is left of the rule's own time, by whichever clock says less. */
static int64_t left_ms(const struct gate *g, const struct grant *gr)
{
	return deadline_left_ms(&gr->ends, g->wall_ms, g->boot_ms);
}

static int64_t lease_ms(const struct gate *g, const struct grant *gr)
{
	int64_t left = left_ms(g, gr);
	return left < 1 ? 1 : left > LIVE_LEASE_MS ? LIVE_LEASE_MS : left;
}

/* Looked at before every wait, so it is kept and not computed: work per packet must not grow with the number of grants.
 */
static void due(struct gate *g, int64_t at_ms)
{
	if (g->live_next_ms < 0 || at_ms < g->live_next_ms)
		g->live_next_ms = at_ms;
}

/* A look is at all grants: what need not be to the millisecond is done for many at once. */
static void due_grant(struct gate *g, const struct grant *gr)
{
	int64_t left = left_ms(g, gr), end = left == INT64_MAX ? INT64_MAX : g->boot_ms + left;
	int64_t renew = gr->lease_boot_ms;
	if (renew - LIVE_RENEW_MS > g->boot_ms)
		renew += TOGETHER_MS - LIVE_RENEW_MS - renew % TOGETHER_MS;
	due(g, end < renew ? end : renew);
}

void live_send(struct gate *g, struct grant *gr)
{
	int64_t lease = lease_ms(g, gr);
	unsigned timeout_s = (unsigned)((lease + 999) / 1000);
	gr->lease_boot_ms = g->boot_ms + (int64_t)timeout_s * 1000;
	struct live l = { .slot = gr->key.slot,
		.peer_slot = gr->peer_slot,
		.cookie = gr->cookie,
		.number = gr->number,
		.timeout_s = timeout_s };
	pipeline_live(g, &l);
	due_grant(g, gr);
}

static uint32_t cookie_of(const uint8_t id[GRANT_RULE_LEN])
{
	return (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
}

void live_set_rule(struct gate *g, struct grant *gr, const struct sides *s)
{
	const struct policy_verdict *v = &s->out, *in = s->peer == NULL ? NULL : &s->in;
	const struct policy_fact *m = v->rule == POLICY_NO_RULE ? NULL : policy_rule_meta(g->policy, v->rule);
	bool stands = gr->ready, fresh = gr->lease_boot_ms == 0 || stands;
	int64_t ends = in != NULL && in->next_change_ms < v->next_change_ms ? in->next_change_ms : v->next_change_ms;
	if (ends < g->policy_next_wall_ms)
		g->policy_next_wall_ms = ends;
	/* A life that begins or ends later may leave the grant allowed; only its judge can say. The lease is cut to
	 * that moment all the same. */
	bool same = !fresh && m != NULL && memcmp(gr->rule, m->id, sizeof(gr->rule)) == 0 && gr->ends.wall_ms == ends;
	if (m != NULL)
		memcpy(gr->rule, m->id, sizeof(gr->rule));
	memset(gr->rule_in, 0, sizeof(gr->rule_in));
	if (in != NULL && in->rule != POLICY_NO_RULE)
		memcpy(gr->rule_in, policy_rule_meta(g->policy, in->rule)->id, sizeof(gr->rule_in));
	gr->cookie = cookie_of(gr->rule);
	gr->counted = v->counted || (in != NULL && in->counted);
	gr->logged = v->log || (in != NULL && in->log);
	if (gr->counted || gr->logged)
		hot_end(g, gr);
	deadline_set(&gr->ends, ends, g->wall_ms, g->boot_ms);
	gr->ready = false;
	if (stands)
		due_grant(g, gr);
	else if (!same)
		live_send(g, gr);
}

static void tell_end(struct gate *g, const struct ended *e)
{
	struct ipc_grant_end m = { .grant = e->number,
		.bytes_out = e->bytes_out,
		.bytes_in = e->bytes_in,
		.connections = e->connections };
	ipc_text_set(&m.reason, e->reason);
	out_tell(&g->messages, ROLE_DESK, IPC_GRANT_END, 0, grant_end, &m);
	const uint16_t zones[] = { e->zone, e->peer_zone };
	for (unsigned i = 0; i < 2; i++) {
		struct ipc_cut c = { .zone = zones[i], .mark = e->number };
		if (c.zone != 0)
			out_tell(&g->messages, ROLE_SWITCHD, IPC_CT_CUT, 0, cut, &c);
	}
}

static void remember(struct gate *g, const struct grant *gr, const char *reason)
{
	const struct app *app = app_of(g, gr->key.slot), *peer = app_of(g, gr->peer_slot);
	struct ended *e = &g->ended[gr->number % ENDED_MAX];
	if (e->number != 0)
		tell_end(g, e);
	*e = (struct ended){ .number = gr->number,
		.key = gr->key,
		.run = gr->run,
		.peer_slot = gr->peer_slot,
		.peer_run = gr->peer_run,
		.zone = app == NULL ? 0 : app->a.zone,
		.peer_zone = peer == NULL ? 0 : peer->a.zone,
		.until_boot_ms = g->boot_ms + ENDED_MS - (g->boot_ms + ENDED_MS) % ENDED_TOGETHER_MS,
		.bytes_out = gr->bytes_out,
		.bytes_in = gr->bytes_in,
		.connections = gr->connections,
		.reason = reason };
	memcpy(e->rule, gr->rule, sizeof(e->rule));
	due(g, e->until_boot_ms);
}

void live_end(struct gate *g, struct grant *gr, const char *reason)
{
	struct app *app = app_of(g, gr->key.slot);
	hot_end(g, gr);
	pipeline_live_delete(g, gr->number);
	remember(g, gr, reason);
	if (app != NULL)
		syn_hold(app->syn, gr->syn, -1);
	reload_forget(g, gr);
	neighbour_release(g, gr);
	grants_remove(g->grants, gr);
}

struct ended *live_ended(struct gate *g, uint32_t number)
{
	struct ended *e = &g->ended[number % ENDED_MAX];
	return number != 0 && e->number == number ? e : NULL;
}

void live_removed(struct gate *g, uint32_t number, bool inbound, uint64_t bytes)
{
	struct grant *gr = grants_by_number(g->grants, number);
	struct ended *e = gr == NULL ? live_ended(g, number) : NULL;
	if (gr != NULL) {
		*(inbound ? &gr->bytes_in : &gr->bytes_out) += bytes;
		/* A lease ran out under us (a long stall): permission stands, so it is given again. */
		if (g->policy != NULL && left_ms(g, gr) > 0)
			live_send(g, gr);
	} else if (e != NULL) {
		*(inbound ? &e->bytes_in : &e->bytes_out) += bytes;
	} else {
		ready_lost(g, number);
	}
}

void live_forget_app(struct gate *g, uint16_t slot)
{
	for (struct grant *gr = grants_next(g->grants, NULL), *next; gr != NULL; gr = next) {
		next = grants_next(g->grants, gr);
		if (gr->key.slot == slot || gr->peer_slot == slot)
			live_end(g, gr, "the application ended");
	}
}

int64_t live_deadline(const struct gate *g)
{
	return g->live_next_ms;
}

void live_tick(struct gate *g)
{
	if (g->live_next_ms < 0 || g->boot_ms < g->live_next_ms)
		return;
	g->live_next_ms = -1;
	for (struct grant *gr = grants_next(g->grants, NULL), *next; gr != NULL; gr = next) {
		next = grants_next(g->grants, gr);
		int64_t lease = gr->lease_boot_ms - g->boot_ms, left = left_ms(g, gr);
		if (left <= 0)
			live_end(g, gr, "its time is over");
		else if (lease <= LIVE_RENEW_MS && left > lease && g->policy != NULL)
			live_send(g, gr);
		else
			due_grant(g, gr);
	}
	for (unsigned i = 0; i < ENDED_MAX; i++) {
		struct ended *e = &g->ended[i];
		if (e->number == 0)
			continue;
		if (g->boot_ms < e->until_boot_ms) {
			due(g, e->until_boot_ms);
			continue;
		}
		tell_end(g, e);
		e->number = 0;
	}
}
