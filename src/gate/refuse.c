/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/state.h"
#include "net/build.h"

/* Answers go to the port the packet came from, as if from the gateway; what the app does with them is its own affair. */
void refuse_packet(struct gate *g, struct app *app, const uint8_t *frame, size_t len, bool silent)
{
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (packet_parse(frame, len, &p) != 0)
		return;
	pipeline_refused(g, app, &p);
	if (silent)
		return;
	struct addr from = p.kind == PACKET_IPV4 ? app->a.v4_gateway : plan_v6(&g->plan, app->a.ref.slot, 1);
	int err = p.proto == IP_TCP ? build_tcp_reset(&w, &p) : build_unreachable(&w, frame, &p, UNREACHABLE_PROHIBITED, &from);
	if (err == 0)
		pipeline_send(g, app->a.ofport, w.buf, w.len);
}

/* The other end of an ended connection, beyond the uplink: its packet was seen after translation, so the answer is addressed to what
 * the wire uses. Payload-free, within two seconds of the end: the one class of frames that leaves without a live flow (trust.md). */
static void end_remote(struct gate *g, const struct ended *e, const struct packet *seen)
{
	struct packet p = *seen;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (!e->key.inbound && addr_equal(&p.src, &e->key.peer))
		p.src = e->key.real;
	p.eth_src = g->sw.uplink_mac;
	p.eth_dst = plan_router_mac();
	if (build_tcp_end(&w, &p) == 0)
		pipeline_send(g, g->sw.uplink_ofport, w.buf, w.len);
}

void refuse_ended(struct gate *g, struct app *app, const struct ended *e, bool inbound, const uint8_t *frame, size_t len)
{
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	if (packet_parse(frame, len, &p) != 0)
		return;
	if (inbound) {
		if (p.proto == IP_TCP)
			end_remote(g, e, &p);
		return;
	}
	struct addr from = p.kind == PACKET_IPV4 ? app->a.v4_gateway : plan_v6(&g->plan, app->a.ref.slot, 1);
	int err = p.proto == IP_TCP ? build_tcp_end(&w, &p) : build_unreachable(&w, frame, &p, UNREACHABLE_PROHIBITED, &from);
	if (err == 0)
		pipeline_send(g, app->a.ofport, w.buf, w.len);
}
