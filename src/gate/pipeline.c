/* SPDX-License-Identifier: Apache-2.0 */
/* What is sent to the switch and when: the resync, an app's rows, a grant's flows, frames of ours. The rows themselves
 * are in rows.c. */
#include "gate/table.h"

#include "net/packet.h"

enum { REFUSED_IDLE_S = 2 };
#define REFUSED_COOKIE 0xffffffffU

static const uint8_t all_tables_but_live[] = { T_CLASSIFY, T_SECURITY, T_ANSWER, T_UPLINK, T_NAMES, T_NAMES_OUT,
	T_NAMES_IN, T_CONNTRACK, T_STATE, T_STALE, T_HOT, T_UNKNOWN, T_ASK, T_EGRESS };

static struct sink bulk(struct gate *g)
{
	return (struct sink){ .g = g, .conn = CONN_BULK };
}

static struct sink questions(struct gate *g)
{
	return (struct sink){ .g = g, .conn = CONN_QUESTIONS };
}

static void delete_table(const struct sink *s, uint8_t table)
{
	struct row r;
	row_init(&r, table, 0, 0);
	r.fm.command = OFP_FLOW_DELETE;
	row_send(s, &r);
}

static void put_bundle(const struct sink *s, enum ofp_bundle_control control)
{
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	ofp_put_bundle(&w, sink_xid(s), s->bundle, control);
	sink_bytes(s, buf, w.len);
}

uint32_t pipeline_barrier(struct gate *g, enum gate_conn conn)
{
	struct conn *c = &g->conn[conn];
	uint32_t xid = c->session == NULL ? 0 : ofp_session_barrier(c->session);
	if (xid == 0)
		c->broken = true;
	return xid;
}

static void ask_live(const struct sink *s)
{
	uint8_t buf[128];
	struct wr w = wr_init(buf, sizeof(buf));
	ofp_put_flow_desc_request(&w, sink_xid(s), T_LIVE, 0, 0, NULL);
	sink_bytes(s, buf, w.len);
}

/* Everything as it should be, in one atomic bundle; live flows are mended apart, because admits go on (switch.md 6). */
void pipeline_resync(struct gate *g)
{
	struct sink s = bulk(g);
	if (!g->conn[CONN_BULK].up || !g->conn[CONN_QUESTIONS].up || !g->sync_end)
		return;
	g->synced = false;
	rows_uplink_meters(&s);
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *app = &g->app[i];
		if (app->a.ref.slot == 0)
			continue;
		app->inbound = g->policy != NULL && policy_inbound_possible(g->policy, app->a.name, app->a.owner);
		app->barrier = 0;
		rows_meters(&s, app);
	}
	s.bundle = ++g->next_bundle;
	put_bundle(&s, OFP_BUNDLE_OPEN);
	for (unsigned i = 0; i < sizeof(all_tables_but_live); i++)
		delete_table(&s, all_tables_but_live[i]);
	rows_static(&s);
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (g->app[i].a.ref.slot != 0)
			rows_app(&s, &g->app[i]);
		ready_begin(g, &g->app[i]);
	}
	put_bundle(&s, OFP_BUNDLE_CLOSE);
	put_bundle(&s, OFP_BUNDLE_COMMIT);
	s.bundle = 0;
	audit_expect(g);
	for (struct grant *gr = grants_next(g->grants, NULL); gr != NULL && g->policy != NULL;
		gr = grants_next(g->grants, gr)) {
		gr->hot_until_ms = 0;
		live_send(g, gr);
	}
	ask_live(&s);
	g->sync_xid = pipeline_barrier(g, CONN_BULK);
}

/* The switch has our rows, or they are on their way to it: what is sent now comes after them. */
static bool rows_sent(const struct gate *g)
{
	return g->synced || g->sync_xid != 0;
}

bool pipeline_app(struct gate *g, const struct app *app, bool add)
{
	struct sink s = bulk(g);
	if (!rows_sent(g))
		return false;
	if (add) {
		struct app *own = app_of(g, app->a.ref.slot);
		own->inbound = g->policy != NULL && policy_inbound_possible(g->policy, app->a.name, app->a.owner);
		rows_meters(&s, app);
		rows_app(&s, app);
		audit_expect(g);
		return true;
	}
	struct row r;
	row_init(&r, OFP_TABLE_ALL, 0, pipeline_cookie(app->a.ref.slot, 0));
	r.fm.command = OFP_FLOW_DELETE;
	r.fm.cookie_mask = 0xffffffff00000000U;
	row_send(&s, &r);
	g->audit_bad = 0;
	return true;
}

void pipeline_inbound(struct gate *g)
{
	struct sink s = bulk(g);
	for (unsigned i = 1; i < PLAN_SLOTS && rows_sent(g); i++) {
		struct app *app = &g->app[i];
		bool want = app->a.ref.slot != 0 && policy_inbound_possible(g->policy, app->a.name, app->a.owner);
		if (app->a.ref.slot == 0 || want == app->inbound)
			continue;
		app->inbound = want;
		rows_inbound(&s, app, want);
	}
	audit_expect(g);
}

static void live_row(const struct sink *s, const struct live *l, uint16_t slot, unsigned dir)
{
	struct row r;
	row_init(&r, T_LIVE, 200, pipeline_cookie(l->slot, l->cookie));
	ofp_match_reg(&r.fm.match, R_APP, slot);
	ofp_match_reg(&r.fm.match, R_DIR, dir);
	ofp_match_ct_mark(&r.fm.match, l->number);
	r.fm.hard_s = (uint16_t)l->timeout_s;
	/* The grant's own two tell its bytes; the others of a grant between apps see the same packets again. */
	if (slot == l->slot)
		r.fm.flags = OFP_FLOW_SEND_REMOVED;
	row_goto(&r, T_EGRESS);
	row_send(s, &r);
}

void pipeline_live(struct gate *g, const struct live *l)
{
	struct sink s = questions(g);
	for (unsigned dir = 0; dir < 2; dir++) {
		live_row(&s, l, l->slot, dir);
		if (l->peer_slot != 0)
			live_row(&s, l, l->peer_slot, dir);
	}
}

void pipeline_live_delete(struct gate *g, uint32_t number)
{
	struct sink s = questions(g);
	struct row r;
	row_init(&r, T_LIVE, 0, 0);
	r.fm.command = OFP_FLOW_DELETE;
	ofp_match_ct_mark(&r.fm.match, number);
	row_send(&s, &r);
}

static void live_known(struct gate *g, struct rd *body)
{
	struct ofp_flow_desc fd;
	while (ofp_next_flow_desc(body, &fd)) {
		uint32_t mark = (uint32_t)ofp_match_get(&fd.match, OFP_F_CT_MARK, 0);
		if (fd.table != T_LIVE || mark == 0)
			continue;
		struct grant *gr = grants_by_number(g->grants, mark);
		if (gr == NULL && !ready_known(g, mark))
			pipeline_live_delete(g, mark);
		else if (gr != NULL && ofp_match_get_reg(&fd.match, R_DIR, NULL) == 1 &&
			 ofp_match_get_reg(&fd.match, R_APP, NULL) == gr->key.slot && fd.packets > 0)
			hot_answered(g, gr);
	}
}

void pipeline_multipart(struct gate *g, const void *msg, size_t len)
{
	struct ofp_multipart mp;
	if (ofp_read_multipart(msg, len, &mp) != 0)
		return;
	if (mp.type == OFP_MP_FLOW_DESC)
		live_known(g, &mp.body);
	else if (mp.type == OFP_MP_TABLE)
		audit_stats(g, &mp.body);
}

static void packet_out(struct gate *g, uint32_t in_port, const struct wr *acts, const uint8_t *frame, size_t len)
{
	static uint8_t buf[HELD_FRAME_MAX + 1024];
	struct sink s = questions(g);
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_packet_out po = { .in_port = in_port,
		.actions = acts->buf,
		.actions_len = acts->len,
		.frame = frame,
		.frame_len = len };
	ofp_put_packet_out(&w, sink_xid(&s), &po);
	if (wr_ok(&w) && wr_ok(acts))
		sink_bytes(&s, buf, w.len);
}

void pipeline_admit(struct gate *g, const struct app *app, const struct grant *gr, const uint8_t *frame, size_t len)
{
	uint8_t buf[512];
	struct wr acts = wr_init(buf, sizeof(buf));
	bool translated = !gr->key.inbound && !addr_equal(&gr->key.peer, &gr->key.real);
	struct ofp_ct ct = { .commit = true,
		.zone = app->a.zone,
		.table = T_LIVE,
		.mark_from = OFP_MARK_SET,
		.mark = gr->number };
	if (translated) {
		ct.nat = OFP_NAT_DST;
		ct.nat_addr = gr->key.real;
	}
	ofp_act_set_reg(&acts, R_APP, app->a.ref.slot);
	ofp_act_set_reg(&acts, R_ZONE, app->a.zone);
	ofp_act_set_reg(&acts, R_DIR, gr->key.inbound);
	ofp_act_set_reg(&acts, R_PORT, app->a.ofport);
	ofp_act_set_reg(&acts, R_GRANT, gr->number);
	if (gr->peer_slot != 0)
		ofp_act_set_reg(&acts, R_VERDICT, 1);
	ofp_act_ct(&acts, &ct);
	packet_out(g, gr->key.inbound ? g->sw.uplink_ofport : app->a.ofport, &acts, frame, len);
}

void pipeline_send(struct gate *g, uint32_t ofport, const uint8_t *frame, size_t len)
{
	uint8_t buf[64];
	struct wr acts = wr_init(buf, sizeof(buf));
	ofp_act_output(&acts, ofport);
	packet_out(g, OFP_PORT_CONTROLLER, &acts, frame, len);
}

void pipeline_refused_forget(struct gate *g)
{
	struct sink s = questions(g);
	struct row r;
	row_init(&r, T_HOT, 0, pipeline_cookie(0, REFUSED_COOKIE));
	r.fm.command = OFP_FLOW_DELETE;
	r.fm.cookie_mask = 0xffff0000ffffffffU;
	row_send(&s, &r);
}

void pipeline_refused(struct gate *g, struct app *app, const struct packet *p)
{
	struct sink s = questions(g);
	struct row r;
	int64_t *place = &app->refused_until_ms[app->refused_next];
	if (!p->has_l4 || (p->proto != IP_TCP && p->proto != IP_UDP) || *place > g->boot_ms)
		return;
	*place = g->boot_ms + REFUSED_IDLE_S * 1000;
	app->refused_next = (app->refused_next + 1) % REFUSED_APP_MAX;
	unsigned bits = p->dst.len * 8U;
	row_init(&r, T_HOT, 300, pipeline_cookie(app->a.ref.slot, REFUSED_COOKIE));
	ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
	ofp_match_ip_src(&r.fm.match, &p->src, bits);
	ofp_match_ip_dst(&r.fm.match, &p->dst, bits);
	ofp_match_ip_proto(&r.fm.match, p->proto);
	ofp_match_tp_src(&r.fm.match, p->sport);
	ofp_match_tp_dst(&r.fm.match, p->dport);
	r.fm.idle_s = REFUSED_IDLE_S;
	r.fm.hard_s = REFUSED_IDLE_S;
	row_send(&s, &r);
}
