/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation: the pipeline.
 *
 * 0 classify: in_port and exact source MAC, untagged → app (reg0), zone (reg1), port (reg3); from the uplink by exact
 * destination, inbound (reg2 = 1). 10 security: only the app's own addresses towards our router; ARP, ND, DHCP in their
 * exact lawful forms → 11 → gate. 20 names: port 53 to any server is committed in the app's names zone with mark 1 and
 * translated to the names service; 22 outputs only what carries that mark, so a full zone lets nothing out
 * untranslated. 23: the answers. 30 conntrack in the app's zone. 40 state: established → 45; new without a grant's mark
 * → 48; new with one (the kernel datapath says "new" until the first reply) → 45; TCP begins with SYN only. 45 live: a
 * grant's two flows lead to 60. A mark nobody knows, or no mark: 46 → gate; nothing leaves. 48 hot and refused, exact
 * rows of short life. 50 → 51 → gate. 60 egress: never synthetic or guests' ranges, MACs rewritten, an explicit port.
 *
 * Between two apps a packet takes two turns: as its sender's, outbound, to 60; there a destination that is another
 * app's address makes it that app's, inbound (reg4 = 1), through its conntrack zone, 40 and 45 once more. The same
 * grant's number stands in both zones; the second zone's entry is made by the first packet alone (reg5 = 1). Replies
 * mirror it.
 *
 * A table without a matching row drops.
 */
#include "gate/table.h"

enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58, TYPE_ARP = 0x0806 };
enum { ND_RS_TYPE = 133, ND_NS_TYPE = 135, ND_LAST_TYPE = 137, DNS_PORT = 53 };

static const struct mac broadcast = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

static struct addr link_local_net(void)
{
	return addr_v6((const uint8_t[16]){ 0xfe, 0x80 });
}

static void begin(struct row *r, uint8_t table, uint16_t priority)
{
	row_init(r, table, priority, pipeline_cookie(0, table));
}

static void begin_app(struct row *r, const struct app *app, uint8_t table, uint16_t priority)
{
	row_init(r, table, priority, pipeline_cookie(app->a.ref.slot, 0));
}

static void static_security(const struct sink *s)
{
	struct row r;
	/* Protocol 0 made OVS install too wide a megaflow (CVE-2023-1668): never a lawful packet. */
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin(&r, T_SECURITY, 300);
		ofp_match_ip_any(&r.fm.match, v6 == 1);
		ofp_match_ip_proto(&r.fm.match, 0);
		row_send(s, &r);
		begin(&r, T_NAMES, 1);
		ofp_match_ip_any(&r.fm.match, v6 == 1);
		row_goto(&r, T_CONNTRACK);
		row_send(s, &r);
	}
}

static void static_names(const struct sink *s)
{
	const struct ipc_switch *sw = &s->g->sw;
	struct mac router = plan_router_mac();
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct addr us = v6 ? plan_v6(&s->g->plan, 0, 3) : plan_v4(&s->g->plan, 0, 3);
		begin(&r, T_NAMES_OUT, 100);
		ofp_match_ip_dst(&r.fm.match, &us, v6 ? 128 : 32);
		ofp_match_ct_mark(&r.fm.match, NAMES_MARK);
		ofp_act_dec_ttl(&r.acts);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_SRC, &router);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_DST, &sw->names_mac);
		ofp_act_output(&r.acts, sw->names_ofport);
		row_send(s, &r);
	}
}

static void static_conntrack(const struct sink *s)
{
	struct ofp_ct ct = { .zone_from_reg = true, .zone_reg = R_ZONE, .table = T_STATE, .nat = OFP_NAT_REPLY };
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin(&r, T_CONNTRACK, 100);
		ofp_match_ip_any(&r.fm.match, v6 == 1);
		ofp_act_ct(&r.acts, &ct);
		row_send(s, &r);
	}
}

static void state_row(const struct sink *s, uint16_t priority, uint32_t value, uint32_t mask, uint8_t table)
{
	struct row r;
	begin(&r, T_STATE, priority);
	ofp_match_ct_state(&r.fm.match, value, mask);
	if (table != 0)
		row_goto(&r, table);
	row_send(s, &r);
}

static void state_family(const struct sink *s, bool v6)
{
	const uint32_t fresh = OFP_CS_TRK | OFP_CS_NEW, fresh_mask = fresh | OFP_CS_INV;
	struct row r;
	begin(&r, T_STATE, 200);
	ofp_match_ip_any(&r.fm.match, v6);
	ofp_match_ip_proto(&r.fm.match, v6 ? PROTO_ICMP6 : PROTO_ICMP);
	ofp_match_ct_state(&r.fm.match, OFP_CS_TRK | OFP_CS_REL, OFP_CS_TRK | OFP_CS_REL | OFP_CS_NEW | OFP_CS_INV);
	row_goto(&r, T_LIVE);
	row_send(s, &r);
	/* A bare ACK counts as new in OVS: only a SYN may begin a connection. */
	for (unsigned opening = 0; opening < 2; opening++) {
		begin(&r, T_STATE, opening ? 120 : 110);
		ofp_match_ip_any(&r.fm.match, v6);
		ofp_match_ip_proto(&r.fm.match, PROTO_TCP);
		if (opening)
			ofp_match_tcp_opening(&r.fm.match);
		ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
		ofp_match_ct_mark(&r.fm.match, 0);
		if (opening) {
			ofp_match_reg(&r.fm.match, R_DIR, 0);
			row_goto(&r, T_HOT);
		}
		row_send(s, &r);
	}
}

/* The second turn. What is not in the second zone's table, or found no room there, does not go on to anybody: no mark
 * in 45. */
static void state_second_turn(const struct sink *s)
{
	const uint32_t fresh = OFP_CS_TRK | OFP_CS_NEW, fresh_mask = fresh | OFP_CS_INV;
	struct ofp_ct commit = { .commit = true,
		.zone_from_reg = true,
		.zone_reg = R_ZONE,
		.table = T_LIVE,
		.mark_from = OFP_MARK_FROM_REG,
		.mark_reg = R_GRANT };
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin(&r, T_STATE, 130);
		ofp_match_ip_any(&r.fm.match, v6 == 1);
		ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
		ofp_match_ct_mark(&r.fm.match, 0);
		ofp_match_reg(&r.fm.match, R_TURN, 1);
		ofp_match_reg(&r.fm.match, R_VERDICT, 1);
		ofp_act_ct(&r.acts, &commit);
		row_send(s, &r);
	}
	begin(&r, T_STATE, 125);
	ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
	ofp_match_ct_mark(&r.fm.match, 0);
	ofp_match_reg(&r.fm.match, R_TURN, 1);
	row_goto(&r, T_LIVE);
	row_send(s, &r);
}

static void static_state(const struct sink *s)
{
	const uint32_t fresh = OFP_CS_TRK | OFP_CS_NEW, fresh_mask = fresh | OFP_CS_INV;
	struct row r;
	state_second_turn(s);
	state_row(s, 300, OFP_CS_TRK | OFP_CS_INV, OFP_CS_TRK | OFP_CS_INV, 0);
	state_row(s, 200, OFP_CS_TRK | OFP_CS_EST, OFP_CS_TRK | OFP_CS_EST | OFP_CS_NEW | OFP_CS_INV, T_LIVE);
	state_family(s, false);
	state_family(s, true);
	begin(&r, T_STATE, 100);
	ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
	ofp_match_ct_mark(&r.fm.match, 0);
	ofp_match_reg(&r.fm.match, R_DIR, 0);
	row_goto(&r, T_HOT);
	row_send(s, &r);
	begin(&r, T_STATE, 95);
	ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
	ofp_match_ct_mark(&r.fm.match, 0);
	row_send(s, &r);
	state_row(s, 90, fresh, fresh_mask, T_LIVE);
}

static void static_asking(const struct sink *s)
{
	struct row r;
	begin(&r, T_LIVE, 1);
	row_ask(&r, T_STALE);
	row_send(s, &r);
	begin(&r, T_HOT, 1);
	row_goto(&r, T_UNKNOWN);
	row_send(s, &r);
	begin(&r, T_UNKNOWN, 1);
	row_ask(&r, T_ASK);
	row_send(s, &r);
}

static void egress_drop(const struct sink *s, const struct addr *net, unsigned prefix)
{
	struct row r;
	begin(&r, T_EGRESS, 300);
	ofp_match_reg(&r.fm.match, R_DIR, 0);
	ofp_match_ip_dst(&r.fm.match, net, prefix);
	row_send(s, &r);
}

static void static_egress(const struct sink *s)
{
	const struct plan *p = &s->g->plan;
	struct mac router = plan_router_mac();
	struct addr syn4 = plan_syn4(0), v4 = p->v4, v6 = p->v6;
	struct row r;
	egress_drop(s, &syn4, 15);
	egress_drop(s, &v4, p->v4_prefix);
	egress_drop(s, &v6, PLAN_V6_PREFIX);
	if (s->g->sw.uplink_kind == UPLINK_PORT) {
		rows_lan(s);
		return;
	}
	for (unsigned family = 0; family < 2; family++) {
		begin(&r, T_EGRESS, 100);
		ofp_match_reg(&r.fm.match, R_DIR, 0);
		ofp_match_ip_any(&r.fm.match, family == 1);
		ofp_act_dec_ttl(&r.acts);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_SRC, &router);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_DST, &s->g->sw.uplink_mac);
		ofp_act_output(&r.acts, s->g->sw.uplink_ofport);
		row_send(s, &r);
	}
}

void rows_static(const struct sink *s)
{
	static_security(s);
	static_names(s);
	static_conntrack(s);
	static_state(s);
	static_asking(s);
	static_egress(s);
}

static void match_guest(const struct sink *s, struct row *r, const struct app *app, bool v6, bool source)
{
	const struct addr *a = v6 ? &app->a.v6 : &app->a.v4;
	unsigned prefix = v6 ? plan_guest_prefix(&s->g->plan, true) : 32;
	if (source)
		ofp_match_ip_src(&r->fm.match, a, prefix);
	else
		ofp_match_ip_dst(&r->fm.match, a, prefix);
}

static void app_classify(const struct sink *s, const struct app *app)
{
	bool lan = s->g->sw.uplink_kind == UPLINK_PORT;
	const struct ipc_switch *sw = &s->g->sw;
	struct mac router = plan_router_mac();
	struct row r;
	begin_app(&r, app, T_CLASSIFY, 200);
	ofp_match_in_port(&r.fm.match, app->a.ofport);
	ofp_match_vlan_none(&r.fm.match);
	ofp_match_eth_src(&r.fm.match, &app->a.mac);
	row_owner(&r, app, app->a.zone, false);
	row_goto(&r, T_SECURITY);
	row_send(s, &r);
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin_app(&r, app, T_CLASSIFY, 200);
		ofp_match_in_port(&r.fm.match, sw->uplink_ofport);
		ofp_match_vlan_none(&r.fm.match);
		ofp_match_eth_dst(&r.fm.match, lan ? &app->a.mac : &router);
		match_guest(s, &r, app, v6 == 1, false);
		row_owner(&r, app, app->a.zone, true);
		row_goto(&r, T_CONNTRACK);
		row_send(s, &r);
	}
}

/* Answers of the names service have a row of their own: nothing passes because it looks like one (CVE-2025-0650). */
static void app_names_in(const struct sink *s, const struct app *app)
{
	const struct ipc_switch *sw = &s->g->sw;
	struct mac router = plan_router_mac();
	struct ofp_ct ct = { .zone = app->a.names_zone, .table = T_NAMES_IN, .nat = OFP_NAT_REPLY };
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		struct addr us = v6 ? plan_v6(&s->g->plan, 0, 3) : plan_v4(&s->g->plan, 0, 3);
		begin_app(&r, app, T_CLASSIFY, 200);
		ofp_match_in_port(&r.fm.match, sw->names_ofport);
		ofp_match_vlan_none(&r.fm.match);
		ofp_match_eth_src(&r.fm.match, &sw->names_mac);
		ofp_match_eth_dst(&r.fm.match, &router);
		ofp_match_ip_src(&r.fm.match, &us, v6 ? 128 : 32);
		match_guest(s, &r, app, v6 == 1, false);
		row_owner(&r, app, app->a.names_zone, true);
		ofp_act_ct(&r.acts, &ct);
		row_send(s, &r);
		begin_app(&r, app, T_NAMES_IN, 100);
		match_guest(s, &r, app, v6 == 1, false);
		ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
		ofp_match_ct_state(&r.fm.match, OFP_CS_TRK | OFP_CS_EST | OFP_CS_RPL,
			OFP_CS_TRK | OFP_CS_EST | OFP_CS_RPL | OFP_CS_INV);
		ofp_match_ct_mark(&r.fm.match, NAMES_MARK);
		ofp_act_dec_ttl(&r.acts);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_SRC, &router);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_DST, &app->a.mac);
		ofp_act_output(&r.acts, app->a.ofport);
		row_send(s, &r);
	}
}

static void app_names_out(const struct sink *s, const struct app *app)
{
	static const uint8_t protos[] = { PROTO_TCP, PROTO_UDP };
	struct row r;
	for (unsigned i = 0; i < 4; i++) {
		bool v6 = i >= 2;
		struct ofp_ct ct = { .commit = true,
			.zone = app->a.names_zone,
			.table = T_NAMES_OUT,
			.nat = OFP_NAT_DST,
			.nat_addr = v6 ? plan_v6(&s->g->plan, 0, 3) : plan_v4(&s->g->plan, 0, 3),
			.mark_from = OFP_MARK_SET,
			.mark = NAMES_MARK };
		begin_app(&r, app, T_NAMES, 100);
		ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
		ofp_match_ip_any(&r.fm.match, v6);
		ofp_match_ip_proto(&r.fm.match, protos[i % 2]);
		ofp_match_tp_dst(&r.fm.match, DNS_PORT);
		ofp_act_ct(&r.acts, &ct);
		row_send(s, &r);
	}
}

/* A row of table 10 for this app; `answer`: to gate, else on into the pipeline. */
static void begin_security(struct row *r, const struct app *app, uint16_t priority)
{
	begin_app(r, app, T_SECURITY, priority);
	ofp_match_reg(&r->fm.match, R_APP, app->a.ref.slot);
}

static void app_sources(const struct sink *s, const struct app *app)
{
	struct mac router = plan_router_mac();
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin_security(&r, app, 200);
		ofp_match_eth_dst(&r.fm.match, &router);
		match_guest(s, &r, app, v6 == 1, true);
		if (!app->a.fragments)
			ofp_match_ip_frag_no(&r.fm.match);
		row_goto(&r, T_NAMES);
		row_send(s, &r);
	}
}

static void app_arp_dhcp(const struct sink *s, const struct app *app)
{
	struct addr none = addr_v4(0), all = addr_v4(0xffffffffU);
	struct row r;
	begin_security(&r, app, 220);
	ofp_match_arp_op(&r.fm.match, 1);
	ofp_match_arp_spa(&r.fm.match, &app->a.v4);
	ofp_match_arp_tpa(&r.fm.match, &app->a.v4_gateway);
	ofp_match_arp_sha(&r.fm.match, &app->a.mac);
	row_ask(&r, T_ANSWER);
	row_send(s, &r);
	for (unsigned renew = 0; renew < 2; renew++) {
		begin_security(&r, app, 220);
		if (!renew)
			ofp_match_eth_dst(&r.fm.match, &broadcast);
		ofp_match_ip_src(&r.fm.match, renew ? &app->a.v4 : &none, 32);
		ofp_match_ip_dst(&r.fm.match, renew ? &app->a.v4_gateway : &all, 32);
		ofp_match_ip_frag_no(&r.fm.match);
		ofp_match_ip_proto(&r.fm.match, PROTO_UDP);
		ofp_match_tp_src(&r.fm.match, 68);
		ofp_match_tp_dst(&r.fm.match, 67);
		row_ask(&r, T_ANSWER);
		row_send(s, &r);
	}
}

static void nd_row(const struct sink *s, const struct app *app, const struct addr *src, unsigned prefix, uint8_t type)
{
	struct row r;
	begin_security(&r, app, 220);
	ofp_match_ip_src(&r.fm.match, src, prefix);
	ofp_match_ip_frag_no(&r.fm.match);
	ofp_match_ip_ttl(&r.fm.match, 255);
	ofp_match_icmp_type(&r.fm.match, type);
	ofp_match_icmp_code(&r.fm.match, 0);
	row_ask(&r, T_ANSWER);
	row_send(s, &r);
}

static void app_nd_dhcp6(const struct sink *s, const struct app *app)
{
	struct addr ll = link_local_net();
	struct addr unspecified = addr_v6((const uint8_t[16]){ 0 });
	struct row r;
	nd_row(s, app, &ll, 10, ND_NS_TYPE);
	nd_row(s, app, &app->a.v6, plan_guest_prefix(&s->g->plan, true), ND_NS_TYPE);
	nd_row(s, app, &ll, 10, ND_RS_TYPE);
	nd_row(s, app, &unspecified, 128, ND_RS_TYPE);
	/* Whatever else looks like ND from the app's own prefix goes nowhere: no guest of ours is a router. */
	for (unsigned type = ND_RS_TYPE; type <= ND_LAST_TYPE; type++) {
		begin_security(&r, app, 215);
		match_guest(s, &r, app, true, true);
		ofp_match_icmp_type(&r.fm.match, (uint8_t)type);
		row_send(s, &r);
	}
	begin_security(&r, app, 220);
	ofp_match_ip_src(&r.fm.match, &ll, 10);
	ofp_match_ip_frag_no(&r.fm.match);
	ofp_match_ip_proto(&r.fm.match, PROTO_UDP);
	ofp_match_tp_src(&r.fm.match, 546);
	ofp_match_tp_dst(&r.fm.match, 547);
	row_ask(&r, T_ANSWER);
	row_send(s, &r);
}

static void app_controller(const struct sink *s, const struct app *app, uint8_t table, uint16_t priority,
	enum purpose purpose, enum meter m)
{
	struct row r;
	begin_app(&r, app, table, priority);
	ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
	if (purpose == PURPOSE_FULL)
		ofp_match_ct_mark(&r.fm.match, 0);
	row_controller(&r, purpose, table_meter(app->a.ref.slot, m));
	row_send(s, &r);
}

static void app_egress(const struct sink *s, const struct app *app)
{
	struct mac router = plan_router_mac();
	struct row r;
	for (unsigned v6 = 0; v6 < 2; v6++) {
		begin_app(&r, app, T_EGRESS, 100);
		ofp_match_reg(&r.fm.match, R_DIR, 1);
		ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
		match_guest(s, &r, app, v6 == 1, false);
		ofp_act_dec_ttl(&r.acts);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_SRC, &router);
		ofp_act_set_mac(&r.acts, OFP_F_ETH_DST, &app->a.mac);
		ofp_act_output(&r.acts, app->a.ofport);
		row_send(s, &r);
	}
}

/* What another app sends to this one begins its second turn here; what it sends to itself has no business outside. */
static void app_turn(const struct sink *s, const struct app *app)
{
	struct ofp_ct ct = { .zone = app->a.zone, .table = T_STATE, .nat = OFP_NAT_REPLY };
	struct row r;
	for (unsigned i = 0; i < 4; i++) {
		bool v6 = i >= 2, self = i % 2 == 1;
		begin_app(&r, app, T_EGRESS, self ? 320 : 310);
		ofp_match_reg(&r.fm.match, R_DIR, 0);
		if (self)
			ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
		match_guest(s, &r, app, v6, false);
		if (!self) {
			row_owner(&r, app, app->a.zone, true);
			ofp_act_set_reg(&r.acts, R_TURN, 1);
			ofp_act_ct(&r.acts, &ct);
		}
		row_send(s, &r);
	}
}

void rows_app(const struct sink *s, const struct app *app)
{
	app_sources(s, app);
	app_arp_dhcp(s, app);
	app_nd_dhcp6(s, app);
	app_names_out(s, app);
	app_controller(s, app, T_ANSWER, 100, PURPOSE_ANSWER, METER_ANSWER);
	app_controller(s, app, T_STALE, 110, PURPOSE_FULL, METER_STALE);
	app_controller(s, app, T_STALE, 100, PURPOSE_STALE, METER_STALE);
	app_controller(s, app, T_ASK, 100, PURPOSE_ASK, METER_ASK);
	app_egress(s, app);
	app_turn(s, app);
	if (app->inbound)
		rows_inbound(s, app, true);
	app_names_in(s, app);
	if (s->g->sw.uplink_kind == UPLINK_PORT)
		rows_lan_app(s, app);
	/* Last: from here its packets are seen. */
	app_classify(s, app);
}

void rows_meters(const struct sink *s, const struct app *app)
{
	static const uint32_t rate[METERS] = { [METER_ASK] = 4000, [METER_ANSWER] = 50, [METER_STALE] = 200 };
	for (unsigned m = 0; m < METERS; m++)
		row_meter(s, app->a.ref.slot, (enum meter)m, rate[m]);
}

void rows_inbound(const struct sink *s, const struct app *app, bool add)
{
	const uint32_t fresh = OFP_CS_TRK | OFP_CS_NEW, fresh_mask = fresh | OFP_CS_INV;
	struct row r;
	for (unsigned kind = 0; kind < 3; kind++) {
		/* TCP of either family by its SYN, then everything that is not TCP; the static rows below 120 drop
		 * other TCP. */
		begin_app(&r, app, T_STATE, kind < 2 ? 121 : 101);
		ofp_match_reg(&r.fm.match, R_APP, app->a.ref.slot);
		ofp_match_reg(&r.fm.match, R_DIR, 1);
		if (kind < 2) {
			ofp_match_ip_any(&r.fm.match, kind == 1);
			ofp_match_ip_proto(&r.fm.match, PROTO_TCP);
			ofp_match_tcp_opening(&r.fm.match);
		}
		ofp_match_ct_state(&r.fm.match, fresh, fresh_mask);
		ofp_match_ct_mark(&r.fm.match, 0);
		row_goto(&r, T_UNKNOWN);
		if (!add) {
			r.fm.command = OFP_FLOW_DELETE_STRICT;
			r.fm.goto_table = OFP_NO_TABLE;
			r.fm.cookie = r.fm.cookie_mask = 0;
		}
		row_send(s, &r);
	}
}
