/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers whose live flows stand before anybody needs them. A new grant takes one, so its first packet leaves at once;
 * the flows of the next ones follow when the connection is under way. Nothing passes by them: no conntrack entry
 * carries a number before gate's packet-out commits it. They are leases like any live flow, so a rule that ends sooner
 * than a lease takes no ready number. Their cookie names no rule until the grant's first renewal.
 */
#include "gate/state.h"

enum { READY_MIN = 4, FILL_MS = 20, MARGIN_MS = 5000 };

static void due(struct gate *g, int64_t at_ms)
{
	if (g->ready_next_ms == 0 || at_ms < g->ready_next_ms)
		g->ready_next_ms = at_ms;
}

void ready_begin(struct gate *g, struct app *app)
{
	app->n_ready = 0;
	app->ready_want = READY_MIN;
	app->ready_fill_ms = g->boot_ms + FILL_MS;
	due(g, app->ready_fill_ms);
}

uint32_t ready_take(struct gate *g, struct app *app, int64_t ends_wall_ms, int64_t *ret_lease_ms)
{
	if (ends_wall_ms != POLICY_NEVER && ends_wall_ms - g->wall_ms < LIVE_LEASE_MS)
		return 0;
	if (app->ready_fill_ms == 0) {
		app->ready_fill_ms = g->boot_ms + FILL_MS;
		due(g, app->ready_fill_ms);
	}
	app->ready_taken = true;
	if (app->n_ready == 0) {
		app->ready_want = app->ready_want * 2 > READY_MAX ? READY_MAX : app->ready_want * 2;
		return 0;
	}
	if (app->ready_lease_ms - g->boot_ms < MARGIN_MS)
		return 0;
	*ret_lease_ms = app->ready_lease_ms;
	return app->ready[--app->n_ready];
}

void ready_lost(struct gate *g, uint32_t number)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *app = &g->app[i];
		for (unsigned k = 0; k < app->n_ready; k++) {
			if (app->ready[k] != number)
				continue;
			app->ready[k] = app->ready[--app->n_ready];
			return;
		}
	}
}

bool ready_known(const struct gate *g, uint32_t number)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		for (unsigned k = 0; k < g->app[i].n_ready; k++) {
			if (g->app[i].ready[k] == number)
				return true;
		}
	}
	return false;
}

/* The flows of number `k` and on, for a whole lease from now. */
static void send_from(struct gate *g, struct app *app, unsigned k)
{
	if (k == 0)
		app->ready_lease_ms = g->boot_ms + LIVE_LEASE_MS;
	for (; k < app->n_ready; k++) {
		struct live l = { .slot = app->a.ref.slot, .number = app->ready[k], .timeout_s = LIVE_LEASE_MS / 1000 };
		pipeline_live(g, &l);
	}
}

static void fill(struct gate *g, struct app *app)
{
	unsigned had = app->n_ready;
	while (app->n_ready < app->ready_want) {
		uint32_t number = gate_number(g);
		if (number == 0)
			break;
		app->ready[app->n_ready++] = number;
	}
	send_from(g, app, had);
	app->ready_fill_ms = 0;
}

static void renew(struct gate *g, struct app *app)
{
	if (!app->ready_taken && app->ready_want > READY_MIN)
		app->ready_want /= 2;
	while (app->n_ready > app->ready_want)
		pipeline_live_delete(g, app->ready[--app->n_ready]);
	app->ready_taken = false;
	send_from(g, app, 0);
}

void ready_tick(struct gate *g)
{
	if (!g->synced || g->ready_next_ms == 0 || g->boot_ms < g->ready_next_ms)
		return;
	g->ready_next_ms = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *app = &g->app[i];
		if (app->a.ref.slot == 0 || app->ready_want == 0)
			continue;
		if (app->n_ready > 0 && app->ready_lease_ms - g->boot_ms <= LIVE_RENEW_MS)
			renew(g, app);
		if (app->ready_fill_ms != 0 && g->boot_ms >= app->ready_fill_ms)
			fill(g, app);
		if (app->ready_fill_ms != 0)
			due(g, app->ready_fill_ms);
		if (app->n_ready > 0)
			due(g, app->ready_lease_ms - LIVE_RENEW_MS);
	}
}

int64_t ready_deadline(const struct gate *g)
{
	return g->synced && g->ready_next_ms != 0 ? g->ready_next_ms : -1;
}
