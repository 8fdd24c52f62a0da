/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/state.h"
#include "net/build.h"

/* Answers go to the port the packet came from, as if from the gateway; what the app does with them is its own affair.
 */
void refuse_answer(struct gate *g, const struct app *app, const uint8_t *frame, size_t len)
{
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (packet_parse(frame, len, &p) != 0)
		return;
	struct addr from = p.kind == PACKET_IPV4 ? app->a.v4_gateway : plan_v6(&g->plan, app->a.ref.slot, 1);
	int err = p.proto == IP_TCP ? build_tcp_reset(&w, &p)
				    : build_unreachable(&w, frame, &p, UNREACHABLE_PROHIBITED, &from);
	if (err == 0)
		pipeline_send(g, app->a.ofport, w.buf, w.len);
}

void refuse_packet(struct gate *g, struct app *app, const uint8_t *frame, size_t len, bool silent)
{
	struct packet p;
	if (packet_parse(frame, len, &p) != 0)
		return;
	pipeline_refused(g, app, &p);
	if (!silent)
		refuse_answer(g, app, frame, len);
}

/*
 * A packet of an ended connection tells both ends, if it is TCP: its sender by RST whose sequence number is the
 * packet's acknowledgement number, its receiver by RST with the packet's own sequence number, which is the one the
 * receiver waits for. Payload-free, within two seconds of the end: the one class of frames that leaves without a live
 * flow (trust.md).
 */
static void send_reset(struct gate *g, const struct packet *to_sender_of, uint32_t ofport)
{
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (build_tcp_end(&w, to_sender_of) == 0)
		pipeline_send(g, ofport, w.buf, w.len);
}

/* What the receiver of `p` would have answered with: an answer to that reaches the receiver. */
static struct packet mirrored(const struct packet *p)
{
	struct packet m = *p;
	m.src = p->dst;
	m.dst = p->src;
	m.sport = p->dport;
	m.dport = p->sport;
	m.tcp_seq = p->tcp_ack;
	m.tcp_ack = p->tcp_seq;
	m.tcp_flags = TCP_ACK;
	return m;
}

/* Table 45 sees a packet after translation: what came from outside carries the address the guest uses, what goes out
 * the real one. Each end is told under the address it knows. */
static void end_remote(struct gate *g, const struct app *app, const struct ended *e, struct packet p)
{
	if (addr_equal(&p.src, &e->key.peer))
		p.src = e->key.real;
	bool lan = plan_has_lan(&g->plan, p.kind == PACKET_IPV6);
	if (neighbour_hop(g, app, &p.src, &p.eth_src) != NEXT_HOP_KNOWN)
		return;
	p.eth_dst = lan ? app->a.mac : plan_router_mac();
	send_reset(g, &p, g->sw.uplink_ofport);
}

static void end_guest(struct gate *g, const struct app *app, const struct ended *e, struct packet p)
{
	if (!e->key.inbound && addr_equal(&p.dst, &e->key.real))
		p.dst = e->key.peer;
	p.eth_src = app->a.mac;
	p.eth_dst = plan_router_mac();
	send_reset(g, &p, app->a.ofport);
}

void refuse_ended(struct gate *g, struct app *app, const struct ended *e, bool inbound, const uint8_t *frame,
	size_t len)
{
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (packet_parse(frame, len, &p) != 0)
		return;
	if (p.proto == IP_TCP) {
		end_guest(g, app, e, inbound ? mirrored(&p) : p);
		end_remote(g, app, e, inbound ? p : mirrored(&p));
		return;
	}
	struct addr from = p.kind == PACKET_IPV4 ? app->a.v4_gateway : plan_v6(&g->plan, app->a.ref.slot, 1);
	if (!inbound && build_unreachable(&w, frame, &p, UNREACHABLE_PROHIBITED, &from) == 0)
		pipeline_send(g, app->a.ofport, w.buf, w.len);
}

/* The same between two apps: `sender` is the one whose packet it was. Each is told under the address it knows the other
 * by; one that is gone is told nothing. */
void refuse_ended_peer(struct gate *g, const struct ended *e, const struct app *sender, const uint8_t *frame,
	size_t len)
{
	const struct app *from = app_of(g, e->key.slot), *to = app_of(g, e->peer_slot);
	struct packet p;
	if (sender == NULL || packet_parse(frame, len, &p) != 0 || p.proto != IP_TCP)
		return;
	bool forward = sender->a.ref.slot == e->key.slot;
	if (from != NULL && from->a.ref.run == e->run) {
		struct packet told = forward ? p : mirrored(&p);
		told.dst = e->key.peer;
		told.eth_src = from->a.mac;
		told.eth_dst = plan_router_mac();
		send_reset(g, &told, from->a.ofport);
	}
	if (to != NULL && to->a.ref.run == e->peer_run) {
		struct packet told = forward ? mirrored(&p) : p;
		told.src = e->key.real;
		told.eth_src = to->a.mac;
		told.eth_dst = plan_router_mac();
		send_reset(g, &told, to->a.ofport);
	}
}
