/* SPDX-License-Identifier: Apache-2.0 */
/* The switch as it is against the switch as it should be: every few seconds the number of rows of each table that only
 * a resync changes. A difference that lasts is somebody else's doing: said, and put right. */
#include "gate/table.h"

#include <string.h>

enum { AUDIT_MS = 3000 };

/* row_send() writes through `ret`. NOLINTNEXTLINE(readability-non-const-parameter) */
static void count_rows(struct gate *g, const struct app *app, unsigned *ret)
{
	struct sink s = { .g = g, .conn = CONN_BULK, .count = ret };
	if (app == NULL)
		rows_static(&s);
	else
		rows_app(&s, app);
}

/* Rows of one app depend on nothing of it but whether inbound is judged, so one app of each kind is counted. */
void audit_expect(struct gate *g)
{
	unsigned one[2][AUDIT_TABLES] = { { 0 } };
	bool counted[2] = { false, false };
	memset(g->expected, 0, sizeof(g->expected));
	count_rows(g, NULL, g->expected);
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *app = &g->app[i];
		if (app->a.ref.slot == 0)
			continue;
		if (!counted[app->inbound])
			count_rows(g, app, one[app->inbound]);
		counted[app->inbound] = true;
		for (unsigned t = 0; t < AUDIT_TABLES; t++)
			g->expected[t] += one[app->inbound][t];
	}
	g->audit_ms = g->boot_ms + AUDIT_MS;
	g->audit_bad = 0;
}

void audit_tick(struct gate *g)
{
	struct sink s = { .g = g, .conn = CONN_BULK };
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	if (!g->synced || g->boot_ms < g->audit_ms)
		return;
	g->audit_ms = g->boot_ms + AUDIT_MS;
	ofp_put_table_stats_request(&w, sink_xid(&s));
	sink_bytes(&s, buf, w.len);
}

void audit_stats(struct gate *g, struct rd *body)
{
	struct ofp_table_stats t;
	bool bad = false;
	if (!g->synced)
		return;
	while (ofp_next_table_stats(body, &t)) {
		/* Live and hot rows come and go with grants. */
		if (t.table < AUDIT_TABLES && t.table != T_LIVE && t.table != T_HOT && t.flows != g->expected[t.table])
			bad = true;
	}
	g->audit_bad = bad ? g->audit_bad + 1 : 0;
	if (g->audit_bad < 2)
		return;
	struct flow_key none = { 0 };
	gate_event(g, NULL, EVENT_SWITCH, VERDICT_DENY, &none, NULL, NULL, NULL,
		"somebody else changed our flows; they are put right");
	pipeline_resync(g);
}
