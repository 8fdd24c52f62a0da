/* SPDX-License-Identifier: Apache-2.0 */
/* What the switch says: packets by purpose, flows that went, barriers. Nothing a guest put into a packet is believed
 * beyond its parsed header; whose packet it is comes from the registers that the pipeline set and is held against the
 * port it came in by. */
#include "gate/table.h"

#include <errno.h>
#include <string.h>

enum { PROBE_MS = 5000, BULK_OUT_MAX = 64 << 20, QUESTIONS_OUT_MAX = 16 << 20, FULL_SAY_MS = 1000 };

static struct ofp_session *session_of(struct gate *g, enum gate_conn conn)
{
	struct conn *c = &g->conn[conn];
	struct ofp_session_conf conf = { .packet_in = conn == CONN_QUESTIONS,
		.controller_id = conn == CONN_QUESTIONS ? CONTROLLER_ID : 0,
		.role = OFP_ROLE_NOCHANGE,
		.probe_ms = PROBE_MS,
		.out_max = conn == CONN_BULK ? BULK_OUT_MAX : QUESTIONS_OUT_MAX };
	if (c->session == NULL)
		c->session = ofp_session_new(&conf);
	return c->session;
}

void gate_switch(struct gate *g, const struct ipc_switch *sw)
{
	g->sw = *sw;
	g->have_switch = true;
	g->synced = false;
	g->sync_xid = 0;
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		g->conn[i].up = g->conn[i].broken = false;
		if (session_of(g, (enum gate_conn)i) != NULL)
			ofp_session_start(g->conn[i].session, g->boot_ms);
	}
}

struct ofp_session *gate_session(struct gate *g, enum gate_conn conn)
{
	return g->conn[conn].session;
}

void gate_conn_lost(struct gate *g, enum gate_conn conn)
{
	g->conn[conn].up = false;
	g->synced = false;
	g->sync_xid = 0;
	if (g->have_switch)
		out_msg_put(&g->messages, ROLE_SWITCHD, IPC_OF_WANT, 0, NULL, 0);
	g->have_switch = false;
}

/* The app of a packet-in: by register, and only if its port agrees (inbound packets come in by the uplink). */
static struct app *app_of_packet(struct gate *g, const struct ofp_packet_in *pi)
{
	struct app *app = pi->reg[R_APP] < PLAN_SLOTS ? app_of(g, (uint16_t)pi->reg[R_APP]) : NULL;
	if (app == NULL || pi->reg[R_DIR] > 1)
		return NULL;
	/* The second turn: it came in by the port of the app that sent it. */
	if (pi->reg[R_TURN] == 1 && pi->reg[R_DIR] == 1) {
		const struct app *sender = peer_by_port(g, pi->in_port);
		return sender != NULL && sender != app ? app : NULL;
	}
	uint32_t port = pi->reg[R_DIR] == 1 ? g->sw.uplink_ofport : app->a.ofport;
	return pi->in_port == port ? app : NULL;
}

static bool key_of(const struct app *app, const struct ofp_packet_in *pi, struct flow_key *ret)
{
	struct packet p;
	if (packet_parse(pi->frame, pi->frame_len, &p) != 0 || p.kind == PACKET_ARP || p.later_fragment)
		return false;
	/* OVS takes an atomic IPv6 fragment for none at all, and looks through extension headers: a connection may not
	 * begin so. */
	if (p.options || (p.fragment && !app->a.fragments))
		return false;
	bool icmp = p.has_l4 && (p.proto == IP_ICMP || p.proto == IP_ICMP6);
	*ret = (struct flow_key){ .slot = app->a.ref.slot,
		.inbound = (uint8_t)pi->reg[R_DIR],
		.proto = p.proto,
		.src = p.src,
		.dst = p.dst,
		.sport = icmp ? p.icmp_id : p.sport,
		.dport = icmp ? p.icmp_type : p.dport };
	return true;
}

static void asked(struct gate *g, struct app *app, const struct ofp_packet_in *pi)
{
	struct flow_key key;
	if (g->synced && pi->reg[R_TURN] == 0 && pi->full_len == pi->frame_len && key_of(app, pi, &key))
		decide_packet(g, app, &key, pi->frame, pi->frame_len);
}

/* An entry whose number means nothing (any more): the sender is told if it just ended, the entry is flushed either way.
 */
static void stale(struct gate *g, struct app *app, const struct ofp_packet_in *pi)
{
	struct ended *e = live_ended(g, pi->ct_mark);
	if (grants_by_number(g->grants, pi->ct_mark) != NULL)
		return; /* it was on its way while the flows were */
	if (e != NULL && e->peer_slot != 0) {
		refuse_ended_peer(g, e, peer_by_port(g, pi->in_port), pi->frame, pi->frame_len);
		return;
	}
	if (e != NULL) {
		refuse_ended(g, app, e, pi->reg[R_DIR] == 1, pi->frame, pi->frame_len);
		return;
	}
	struct ipc_cut c = { .zone = app->a.zone, .mark = pi->ct_mark };
	out_tell(&g->messages, ROLE_SWITCHD, IPC_CT_CUT, 0, cut, &c);
	if (pi->reg[R_DIR] == 0)
		refuse_answer(g, app, pi->frame, pi->frame_len);
}

/* A commit that failed: the zone or the table is full. */
static void full(struct gate *g, struct app *app, const struct ofp_packet_in *pi)
{
	struct flow_key key;
	if (g->boot_ms - app->full_said_boot_ms < FULL_SAY_MS || !key_of(app, pi, &key))
		return;
	app->full_said_boot_ms = g->boot_ms;
	gate_event(g, app, EVENT_REFUSED, VERDICT_ALLOW, &key, NULL, NULL, NULL, "the connection table is full");
	if (pi->reg[R_DIR] == 0)
		refuse_answer(g, app, pi->frame, pi->frame_len);
}

static void packet_in(struct gate *g, const uint8_t *msg, size_t len)
{
	struct ofp_packet_in pi;
	if (ofp_read_packet_in(msg, len, &pi) != 0 || pi.userdata_len != 4 || pi.userdata[0] != 0x5e ||
		pi.userdata[1] != 0x6b)
		return;
	struct app *app = app_of_packet(g, &pi);
	if (app == NULL)
		return;
	switch ((enum purpose)pi.userdata[2]) {
	case PURPOSE_ASK:
		asked(g, app, &pi);
		break;
	case PURPOSE_ANSWER:
		answer_frame(g, app, pi.frame, pi.frame_len);
		break;
	case PURPOSE_STALE:
		stale(g, app, &pi);
		break;
	case PURPOSE_FULL:
		full(g, app, &pi);
		break;
	case PURPOSE_UPLINK:
		if (g->synced)
			neighbour_frame(g, app, pi.frame, pi.frame_len);
		break;
	}
}

static void flow_removed(struct gate *g, const uint8_t *msg, size_t len)
{
	struct ofp_flow_removed fr;
	if (ofp_read_flow_removed(msg, len, &fr) != 0)
		return;
	if (fr.table == T_HOT)
		hot_removed(g, (uint32_t)fr.cookie, fr.packets);
	else if (fr.table == T_LIVE)
		live_removed(g, (uint32_t)ofp_match_get(&fr.match, OFP_F_CT_MARK, 0),
			ofp_match_get_reg(&fr.match, R_DIR, NULL) == 1, fr.bytes);
}

static void message(struct gate *g, const struct ofp_event *ev)
{
	if (ev->header.type == OFP_EXPERIMENTER && ev->header.nx_type == OFP_NX_PACKET_IN2)
		packet_in(g, ev->msg, ev->len);
	else if (ev->header.type == OFP_FLOW_REMOVED)
		flow_removed(g, ev->msg, ev->len);
	else if (ev->header.type == OFP_MULTIPART_REPLY)
		pipeline_multipart(g, ev->msg, ev->len);
}

/* Meters are added and modified in pairs, one of which is always refused; any other error means the switch is not as we
 * think. */
static int refused(struct gate *g, const struct ofp_event *ev)
{
	enum { ERROR_METER_MOD = 12 };
	if (ev->error.type == ERROR_METER_MOD)
		return 0;
	g->last_error_type = ev->error.type;
	g->last_error_code = ev->error.code;
	return -EPROTO;
}

int gate_events(struct gate *g, enum gate_conn conn)
{
	struct conn *c = &g->conn[conn];
	struct ofp_event ev;
	for (;;) {
		switch (ofp_session_next(c->session, g->boot_ms, &ev)) {
		case OFP_EV_NONE:
			return c->broken ? -EPROTO : 0;
		case OFP_EV_CONNECTED:
			c->up = true;
			pipeline_resync(g);
			break;
		case OFP_EV_MESSAGE:
			message(g, &ev);
			break;
		case OFP_EV_BARRIER:
			gate_barrier(g, conn, ev.header.xid);
			break;
		case OFP_EV_ERROR:
			if (refused(g, &ev) != 0)
				return -EPROTO;
			break;
		case OFP_EV_CLOSED:
			return -EPROTO;
		}
	}
}
