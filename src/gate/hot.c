/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A known peer is admitted by the switch (switch.md 11). When a grant is used again, gate asks once whether the peer
 * has ever answered; if it has, one exact row lets further connections to it in without a packet-in, for at most
 * HOT_MS, so that gate sees one now and then. It commits the grant's own number, so whatever ends the grant ends these
 * connections, too. Never for counted or logged rules; HOT_APP_MAX per app, exact fields only. What a row let in is
 * counted when it goes: its packets are first packets alone, and its cookie names the grant.
 */
#include "gate/table.h"

#include "net/packet.h"

enum { HOT_MS = 10000, HOT_ASK_MS = 500 };

static bool eligible(const struct grant *gr)
{
	return !gr->counted && !gr->logged && !gr->key.inbound && (gr->key.proto == IP_TCP || gr->key.proto == IP_UDP);
}

static void hot_match(struct row *r, const struct grant *gr)
{
	ofp_match_reg(&r->fm.match, R_APP, gr->key.slot);
	ofp_match_ip_dst(&r->fm.match, &gr->key.peer, gr->key.peer.len * 8U);
	ofp_match_ip_proto(&r->fm.match, gr->key.proto);
	ofp_match_tp_dst(&r->fm.match, gr->key.port);
}

static void hot_add(struct gate *g, const struct app *app, const struct grant *gr, int64_t ms)
{
	struct sink s = { .g = g, .conn = CONN_QUESTIONS };
	struct row r;
	struct ofp_ct ct = { .commit = true,
		.zone = app->a.zone,
		.table = T_LIVE,
		.mark_from = OFP_MARK_SET,
		.mark = gr->number };
	if (!addr_equal(&gr->key.peer, &gr->key.real)) {
		ct.nat = OFP_NAT_DST;
		ct.nat_addr = gr->key.real;
	}
	row_init(&r, T_HOT, 200, pipeline_cookie(app->a.ref.slot, gr->number));
	hot_match(&r, gr);
	r.fm.flags = OFP_FLOW_SEND_REMOVED;
	r.fm.hard_s = (uint16_t)((ms + 999) / 1000);
	ofp_act_set_reg(&r.acts, R_GRANT, gr->number);
	if (gr->peer_slot != 0)
		ofp_act_set_reg(&r.acts, R_VERDICT, 1);
	ofp_act_ct(&r.acts, &ct);
	row_send(&s, &r);
}

/* A free one of the app's places, NULL when all are taken. */
static int64_t *hot_place(const struct gate *g, struct app *app)
{
	for (unsigned i = 0; i < HOT_APP_MAX; i++) {
		if (app->hot_until_ms[i] <= g->boot_ms)
			return &app->hot_until_ms[i];
	}
	return NULL;
}

void hot_consider(struct gate *g, struct grant *gr)
{
	struct sink s = { .g = g, .conn = CONN_BULK };
	uint8_t buf[256];
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_match m;
	if (gr->connections < 2 || !eligible(gr) || !g->synced || gr->hot_until_ms > g->boot_ms ||
		g->boot_ms - gr->hot_asked_ms < HOT_ASK_MS)
		return;
	gr->hot_asked_ms = g->boot_ms;
	ofp_match_init(&m);
	ofp_match_reg(&m, R_APP, gr->key.slot);
	ofp_match_reg(&m, R_DIR, 1);
	ofp_match_ct_mark(&m, gr->number);
	ofp_put_flow_desc_request(&w, sink_xid(&s), T_LIVE, 0, 0, &m);
	if (wr_ok(&w))
		sink_bytes(&s, buf, w.len);
}

void hot_answered(struct gate *g, struct grant *gr)
{
	struct app *app = app_of(g, gr->key.slot);
	if (app == NULL || gr->hot_asked_ms == 0 || gr->hot_until_ms > g->boot_ms || !eligible(gr))
		return;
	int64_t left = deadline_left_ms(&gr->ends, g->wall_ms, g->boot_ms);
	int64_t *place = hot_place(g, app);
	if (place == NULL || left <= 0)
		return;
	left = left < HOT_MS ? left : HOT_MS;
	gr->hot_until_ms = *place = g->boot_ms + left;
	hot_add(g, app, gr, left);
}

void hot_end(struct gate *g, struct grant *gr)
{
	struct sink s = { .g = g, .conn = CONN_QUESTIONS };
	struct row r;
	/* The switch's clock may be behind ours: the row is taken out even if it should be gone. */
	if (gr->hot_until_ms == 0)
		return;
	gr->hot_until_ms = 0;
	row_init(&r, T_HOT, 200, 0);
	r.fm.command = OFP_FLOW_DELETE_STRICT;
	hot_match(&r, gr);
	row_send(&s, &r);
}

void hot_removed(struct gate *g, uint32_t number, uint64_t connections)
{
	struct grant *gr = grants_by_number(g->grants, number);
	struct ended *e = gr == NULL ? live_ended(g, number) : NULL;
	if (connections == 0 || (gr == NULL && e == NULL))
		return;
	*(gr != NULL ? &gr->connections : &e->connections) += connections;
	if (gr != NULL)
		grants_used(g->grants, gr, g->boot_ms);
	gate_used(g, gr != NULL ? gr->rule : e->rule, connections);
}
