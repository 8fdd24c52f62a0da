/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/table.h"

enum { COOKIE_OWNER = 0x5e, COOKIE_SCHEMA = 1 };

uint64_t pipeline_cookie(uint16_t slot, uint32_t rule)
{
	return (uint64_t)COOKIE_OWNER << 56 | (uint64_t)COOKIE_SCHEMA << 48 | (uint64_t)slot << 32 | rule;
}

uint32_t table_meter(uint16_t slot, enum meter m)
{
	return (uint32_t)slot * METERS + (uint32_t)m + 1;
}

void row_init(struct row *r, uint8_t table, uint16_t priority, uint64_t cookie)
{
	ofp_flow_mod_init(&r->fm);
	r->fm.table = table;
	r->fm.priority = priority;
	r->fm.cookie = cookie;
	r->acts = wr_init(r->buf, sizeof(r->buf));
}

void row_goto(struct row *r, uint8_t table)
{
	r->fm.goto_table = table;
}

void row_ask(struct row *r, uint8_t table)
{
	ofp_act_check_pkt_larger(&r->acts, CONTROLLER_FRAME_MAX, R_LARGE, 0);
	row_goto(r, table);
}

void row_controller(struct row *r, enum purpose purpose, uint32_t meter)
{
	const uint8_t userdata[4] = { 0x5e, 0x6b, (uint8_t)purpose, 0 };
	struct ofp_controller c = { .max_len = 65535,
		.controller_id = CONTROLLER_ID,
		.reason = OFP_REASON_ACTION,
		.userdata = userdata,
		.userdata_len = sizeof(userdata) };
	ofp_match_reg_masked(&r->fm.match, R_LARGE, 0, 1);
	ofp_act_meter(&r->acts, meter);
	ofp_act_controller(&r->acts, &c);
}

void sink_bytes(const struct sink *s, const void *msg, size_t len)
{
	struct conn *c = &s->g->conn[s->conn];
	/* Before the connection is up nothing is lost: the resync sends it all. What does not fit later means a switch
	 * that does not read: the connection is given up and made anew in step. */
	if (c->up && ofp_session_send(c->session, msg, len) != 0)
		c->broken = true;
}

uint32_t sink_xid(const struct sink *s)
{
	struct conn *c = &s->g->conn[s->conn];
	return c->session == NULL ? 0 : ofp_session_xid(c->session);
}

void row_send(const struct sink *s, struct row *r)
{
	uint8_t buf[2048];
	struct wr w = wr_init(buf, sizeof(buf));
	if (s->count != NULL) {
		s->count[r->fm.table]++;
		return;
	}
	uint32_t xid = sink_xid(s);
	r->fm.actions = r->acts.buf;
	r->fm.actions_len = r->acts.len;
	if (s->bundle != 0)
		ofp_put_bundle_flow_mod(&w, xid, s->bundle, &r->fm);
	else
		ofp_put_flow_mod(&w, xid, &r->fm);
	if (wr_ok(&w) && wr_ok(&r->acts) && !r->fm.match.err)
		sink_bytes(s, buf, w.len);
	else
		s->g->conn[s->conn].broken = true;
}

void row_owner(struct row *r, const struct app *app, uint16_t zone, bool inbound)
{
	ofp_act_set_reg(&r->acts, R_APP, app->a.ref.slot);
	ofp_act_set_reg(&r->acts, R_ZONE, zone);
	ofp_act_set_reg(&r->acts, R_DIR, inbound ? 1 : 0);
	ofp_act_set_reg(&r->acts, R_PORT, app->a.ofport);
}

void row_meter(const struct sink *s, uint16_t slot, enum meter m, uint32_t rate)
{
	uint8_t buf[256];
	struct ofp_meter meter = { .id = table_meter(slot, m), .rate = rate, .burst = rate };
	struct wr w = wr_init(buf, sizeof(buf));
	/* One of the two is refused, depending on whether an earlier life left it: both together always leave it
	 * right. */
	ofp_put_meter_mod(&w, sink_xid(s), OFP_METER_ADD, &meter);
	ofp_put_meter_mod(&w, sink_xid(s), OFP_METER_MODIFY, &meter);
	if (wr_ok(&w))
		sink_bytes(s, buf, w.len);
}
