/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of the uplink port:IFACE, where apps are hosts of the LAN: egress by neighbour instead of one row to the
 * host, and ARP and ND of the LAN, as far as they are about our addresses, to gate. What enters is in rows.c.
 */
#include "gate/table.h"

enum { ND_NS_TYPE = 135, ND_NA_TYPE = 136 };

static void begin(struct row *r, uint8_t table, uint16_t priority)
{
	row_init(r, table, priority, pipeline_cookie(0, table));
}

/* One row to it alone, and for a gateway one to everything beyond the LAN. The source MAC is the app's own already:
 * nothing else gets in. */
void rows_neighbour(const struct sink *s, const struct neighbour *n, bool add)
{
	bool v6 = n->addr.len == 16;
	const struct plan_lan *lan = v6 ? &s->g->plan.lan6 : &s->g->plan.lan4;
	struct row r;
	for (unsigned beyond = 0; beyond < (addr_equal(&n->addr, &lan->gateway) ? 2U : 1U); beyond++) {
		begin(&r, T_EGRESS, beyond ? 100 : 200);
		ofp_match_reg(&r.fm.match, R_DIR, 0);
		if (beyond)
			ofp_match_ip_any(&r.fm.match, v6);
		else
			ofp_match_ip_dst(&r.fm.match, &n->addr, n->addr.len * 8U);
		if (add) {
			ofp_act_dec_ttl(&r.acts);
			ofp_act_set_mac(&r.acts, OFP_F_ETH_DST, &n->mac);
			ofp_act_output(&r.acts, s->g->sw.uplink_ofport);
		} else {
			r.fm.command = OFP_FLOW_DELETE_STRICT;
			r.fm.cookie = r.fm.cookie_mask = 0;
		}
		row_send(s, &r);
	}
}

/* What is on the LAN and not known goes nowhere, least of all to the gateway. */
static void static_egress(const struct sink *s)
{
	const struct plan *p = &s->g->plan;
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		const struct plan_lan *lan = v6 ? &p->lan6 : &p->lan4;
		if (lan->first.len == 0)
			continue;
		begin(&r, T_EGRESS, 150);
		ofp_match_reg(&r.fm.match, R_DIR, 0);
		ofp_match_ip_dst(&r.fm.match, &lan->first, lan->prefix);
		row_send(s, &r);
	}
	for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
		if (s->g->neighbour[i].addr.len != 0 && s->g->neighbour[i].known)
			rows_neighbour(s, &s->g->neighbour[i], true);
	}
}

/* ARP and ND of the LAN: questions and answers have a meter each, so that neither can starve the other. */
static void static_uplink(const struct sink *s)
{
	struct row r;
	for (unsigned kind = 0; kind < 4; kind++) {
		bool answer = kind % 2 == 1;
		begin(&r, T_UPLINK, 100);
		if (kind < 2) {
			ofp_match_arp_op(&r.fm.match, answer ? 2 : 1);
		} else {
			ofp_match_ip_any(&r.fm.match, true);
			ofp_match_icmp_type(&r.fm.match, answer ? ND_NA_TYPE : ND_NS_TYPE);
			ofp_match_icmp_code(&r.fm.match, 0);
		}
		row_controller(&r, PURPOSE_UPLINK, table_meter(0, answer ? METER_ANSWER : METER_ASK));
		row_send(s, &r);
	}
}

void rows_lan(const struct sink *s)
{
	static_egress(s);
	static_uplink(s);
}

/* A frame of the LAN for this app's address that gate answers or has asked for. */
static void begin_lan(const struct sink *s, struct row *r, const struct app *app)
{
	row_init(r, T_CLASSIFY, 300, pipeline_cookie(app->a.ref.slot, 0));
	ofp_match_in_port(&r->fm.match, s->g->sw.uplink_ofport);
	ofp_match_vlan_none(&r->fm.match);
	row_owner(r, app, app->a.zone, true);
}

void rows_lan_app(const struct sink *s, const struct app *app)
{
	struct row r;
	for (unsigned answer = 0; answer < 2 && plan_has_lan(&s->g->plan, false); answer++) {
		begin_lan(s, &r, app);
		if (answer)
			ofp_match_eth_dst(&r.fm.match, &app->a.mac);
		ofp_match_arp_op(&r.fm.match, answer ? 2 : 1);
		ofp_match_arp_tpa(&r.fm.match, &app->a.v4);
		row_ask(&r, T_UPLINK);
		row_send(s, &r);
	}
	for (unsigned answer = 0; answer < 2 && plan_has_lan(&s->g->plan, true); answer++) {
		begin_lan(s, &r, app);
		ofp_match_ip_any(&r.fm.match, true);
		ofp_match_ip_ttl(&r.fm.match, 255);
		ofp_match_ip_frag_no(&r.fm.match);
		ofp_match_icmp_type(&r.fm.match, answer ? ND_NA_TYPE : ND_NS_TYPE);
		ofp_match_icmp_code(&r.fm.match, 0);
		if (answer) {
			ofp_match_eth_dst(&r.fm.match, &app->a.mac);
			ofp_match_ip_dst(&r.fm.match, &app->a.v6, 128);
		} else {
			ofp_match_nd_target(&r.fm.match, &app->a.v6);
		}
		row_ask(&r, T_UPLINK);
		row_send(s, &r);
	}
}

void rows_uplink_meters(const struct sink *s)
{
	enum { LAN_PER_S = 500 };
	if (s->g->sw.uplink_kind != UPLINK_PORT)
		return;
	row_meter(s, 0, METER_ASK, LAN_PER_S);
	row_meter(s, 0, METER_ANSWER, LAN_PER_S);
}
