/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation: the LAN behind the NIC (uplink port:IFACE). Each app is a host of its own there, with its own
 * MAC and address; gate speaks ARP and ND for it. A packet is admitted only when its next hop (a peer on the LAN, or
 * the gateway) is known; till then it waits in WAIT_NEIGHBOUR. A known neighbour is one row of table 60, for a gateway
 * two; what has none goes nowhere. Only an answer to a question that is open is believed, and the first one: nothing
 * that a host of the LAN says by itself changes where packets go. A neighbour that a grant needs is asked again every
 * FRESH_MS and keeps its rows while it is silent; any other is forgotten then. At most NEIGHBOURS_MAX, and of one app
 * UNKNOWN_APP_MAX unanswered and NEIGHBOURS_APP_MAX in all, so that neither a scan of the LAN nor an accomplice there
 * who answers for every address takes places from others; those of the gateways are nobody's.
 */
#include "gate/table.h"

#include "net/arp.h"
#include "net/build.h"
#include "net/nd.h"

enum { ASK_MS = 1000, ASK_TRIES = 3, FRESH_MS = 30000, RETRY_MS = 5000, UNKNOWN_APP_MAX = 16, GATEWAYS = 2 };

static const struct plan_lan *lan_of(const struct gate *g, const struct addr *a)
{
	return a->len == 16 ? &g->plan.lan6 : &g->plan.lan4;
}

/* Where packets to `peer` go next; false: nowhere. */
static bool next_hop(const struct gate *g, const struct addr *peer, struct addr *ret)
{
	const struct plan_lan *lan = lan_of(g, peer);
	if (lan->first.len == 0 || addr_is_multicast(peer) || addr_is_unspecified(peer) || addr_is_link_local6(peer))
		return false;
	*ret = addr_in(peer, &lan->first, lan->prefix) ? *peer : lan->gateway;
	return true;
}

static bool is_guest(const struct gate *g, const struct addr *a)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *app = &g->app[i];
		if (app->a.ref.slot != 0 && (addr_equal(a, &app->a.v4) || addr_equal(a, &app->a.v6)))
			return true;
	}
	return false;
}

static struct neighbour *find(struct gate *g, const struct addr *a)
{
	for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
		if (addr_equal(&g->neighbour[i].addr, a))
			return &g->neighbour[i];
	}
	return NULL;
}

/* The app in whose name is asked: the first that wanted it, or any other once that one is gone. */
static const struct app *asker(struct gate *g, const struct neighbour *n)
{
	const struct app *app = app_of(g, n->slot);
	for (uint16_t i = 1; app == NULL && i < PLAN_SLOTS; i++)
		app = app_of(g, i);
	return app;
}

static void ask(struct gate *g, struct neighbour *n)
{
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	const struct app *app = asker(g, n);
	n->asking = true;
	n->asked_ms = g->boot_ms;
	n->tries++;
	if (app == NULL)
		return;
	int err = n->addr.len == 4 ? build_arp_request(&w, &app->a.mac, &app->a.v4, &n->addr)
				   : build_neighbor_solicit(&w, &app->a.mac, &app->a.v6, &n->addr);
	if (err == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
}

/* Room for one more question of this app, which may have less than `max` open. The gateways always find some. */
static struct neighbour *place(struct gate *g, const struct app *app, const struct addr *hop, unsigned max)
{
	struct neighbour *room = NULL;
	unsigned unknown = 0, mine = 0, n_free = 0;
	bool gateway = addr_equal(hop, &lan_of(g, hop)->gateway);
	for (unsigned i = 0; i < NEIGHBOURS_MAX; i++) {
		struct neighbour *n = &g->neighbour[i];
		bool own = n->addr.len != 0 && n->slot == app->a.ref.slot;
		if (n->addr.len == 0)
			room = n;
		n_free += n->addr.len == 0;
		mine += own;
		unknown += own && !n->known;
	}
	if (gateway)
		return room;
	return unknown < max && mine < NEIGHBOURS_APP_MAX && n_free > GATEWAYS ? room : NULL;
}

enum next_hop neighbour_hop(struct gate *g, const struct app *app, const struct addr *peer, struct mac *ret)
{
	struct addr hop;
	if (g->sw.uplink_kind != UPLINK_PORT) {
		*ret = g->sw.uplink_mac;
		return NEXT_HOP_KNOWN;
	}
	if (!next_hop(g, peer, &hop) || is_guest(g, &hop))
		return NEXT_HOP_NONE;
	struct neighbour *n = find(g, &hop);
	if (n != NULL && n->known) {
		*ret = n->mac;
		return NEXT_HOP_KNOWN;
	}
	if (n != NULL)
		return NEXT_HOP_ASKED;
	n = place(g, app, &hop, UNKNOWN_APP_MAX);
	if (n == NULL)
		return NEXT_HOP_NONE;
	*n = (struct neighbour){ .addr = hop, .slot = app->a.ref.slot };
	ask(g, n);
	return NEXT_HOP_ASKED;
}

static void send_rows(struct gate *g, const struct neighbour *n, bool add)
{
	struct sink s = { .g = g, .conn = CONN_QUESTIONS };
	rows_neighbour(&s, n, add);
	audit_expect(g);
}

static void forget(struct gate *g, struct neighbour *n)
{
	struct neighbour gone = *n;
	*n = (struct neighbour){ 0 };
	if (gone.known)
		send_rows(g, &gone, false);
}

static void learn(struct gate *g, const struct addr *a, const struct mac *mac)
{
	struct neighbour *n = find(g, a);
	if (a->len == 0 || n == NULL || !n->asking || mac_is_group(mac))
		return;
	bool changed = !n->known || !mac_equal(&n->mac, mac);
	n->mac = *mac;
	n->known = true;
	n->asking = false;
	n->tries = 0;
	n->confirmed_ms = g->boot_ms;
	if (!changed)
		return;
	/* On the connection that the packets follow on. */
	send_rows(g, n, true);
	for (struct held *h = held_next(g->held, NULL), *next; h != NULL; h = next) {
		next = held_next(g->held, h);
		if (h->state == WAIT_NEIGHBOUR)
			decide_held(g, h);
	}
}

static void arp_frame(struct gate *g, const struct app *app, const uint8_t *frame, size_t len)
{
	struct arp q;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (arp_parse(frame, len, &q) != 0 || !addr_equal(&q.tpa, &app->a.v4))
		return;
	if (q.op == ARP_REPLY)
		learn(g, &q.spa, &q.sha);
	else if (build_arp_reply(&w, &q, &app->a.mac) == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
}

static void nd_frame(struct gate *g, const struct app *app, const uint8_t *frame, size_t len, const struct packet *p)
{
	struct nd q;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (nd_parse(frame, len, p, &q) != 0)
		return;
	if (q.type == ND_NA && q.solicited && addr_equal(&q.dst, &app->a.v6))
		learn(g, &q.target, q.has_lla ? &q.lla : &q.eth_src);
	else if (q.type == ND_NS && addr_equal(&q.target, &app->a.v6) &&
		 build_neighbor_advert(&w, &q, &app->a.mac, false) == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
}

void neighbour_frame(struct gate *g, struct app *app, const uint8_t *frame, size_t len)
{
	struct packet p;
	if (g->sw.uplink_kind != UPLINK_PORT || packet_parse(frame, len, &p) != 0)
		return;
	if (p.kind == PACKET_ARP)
		arp_frame(g, app, frame, len);
	else
		nd_frame(g, app, frame, len, &p);
}

/* An address of ours had another MAC in an earlier run, which the LAN may remember for minutes. */
void neighbour_announce(struct gate *g, const struct app *app)
{
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	struct nd unasked = { .type = ND_NS, .target = app->a.v6, .src = addr_v6((const uint8_t[16]){ 0 }) };
	if (g->sw.uplink_kind != UPLINK_PORT)
		return;
	if (plan_has_lan(&g->plan, false) && build_arp_request(&w, &app->a.mac, &app->a.v4, &app->a.v4) == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
	w = wr_init(buf, sizeof(buf));
	if (plan_has_lan(&g->plan, true) && build_neighbor_advert(&w, &unasked, &app->a.mac, false) == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
}

void neighbour_hold(struct gate *g, struct grant *gr)
{
	struct addr hop;
	if (gr->hop != 0 || gr->peer_slot != 0 || g->sw.uplink_kind != UPLINK_PORT || !next_hop(g, &gr->key.real, &hop))
		return;
	struct neighbour *n = find(g, &hop);
	if (n == NULL)
		return;
	n->n_grants++;
	gr->hop = (uint16_t)(n - g->neighbour + 1);
}

void neighbour_release(struct gate *g, struct grant *gr)
{
	if (gr->hop != 0)
		g->neighbour[gr->hop - 1].n_grants--;
	gr->hop = 0;
}

/* A new gate has grants whose neighbours it does not know: their connections wait for nobody's first packet. */
void neighbour_restore(struct gate *g)
{
	struct addr hop;
	if (g->sw.uplink_kind != UPLINK_PORT)
		return;
	for (struct grant *gr = grants_next(g->grants, NULL); gr != NULL; gr = grants_next(g->grants, gr)) {
		const struct app *app = app_of(g, gr->key.slot);
		if (app == NULL || gr->hop != 0 || gr->peer_slot != 0 || !next_hop(g, &gr->key.real, &hop))
			continue;
		struct neighbour *n = find(g, &hop) == NULL ? place(g, app, &hop, NEIGHBOURS_MAX) : NULL;
		if (n != NULL) {
			*n = (struct neighbour){ .addr = hop, .slot = gr->key.slot };
			ask(g, n);
		}
		neighbour_hold(g, gr);
	}
}

static int64_t due(const struct neighbour *n)
{
	if (n->asking)
		return n->asked_ms + ASK_MS;
	int64_t fresh = n->confirmed_ms + FRESH_MS, retry = n->asked_ms + RETRY_MS;
	return fresh > retry ? fresh : retry;
}

static void tick(struct gate *g, struct neighbour *n)
{
	if (n->asking && n->tries < ASK_TRIES) {
		ask(g, n);
	} else if (n->asking && (n->known || n->n_grants > 0)) {
		n->asking = false;
		n->tries = 0;
	} else if (!n->asking && n->n_grants > 0) {
		ask(g, n);
	} else {
		forget(g, n);
	}
}

void neighbour_tick(struct gate *g)
{
	for (unsigned i = 0; i < NEIGHBOURS_MAX && g->sw.uplink_kind == UPLINK_PORT && g->synced; i++) {
		struct neighbour *n = &g->neighbour[i];
		if (n->addr.len != 0 && g->boot_ms >= due(n))
			tick(g, n);
	}
}

int64_t neighbour_deadline(const struct gate *g)
{
	int64_t at = -1;
	for (unsigned i = 0; i < NEIGHBOURS_MAX && g->sw.uplink_kind == UPLINK_PORT && g->synced; i++) {
		const struct neighbour *n = &g->neighbour[i];
		if (n->addr.len != 0 && (at < 0 || due(n) < at))
			at = due(n);
	}
	return at;
}
