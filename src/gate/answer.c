/* SPDX-License-Identifier: Apache-2.0 */
/* What an unmodified guest needs to find its gateway: ARP, ND, DHCP, RA, answered here and nowhere else (switch.md 7).
 */
#include "gate/state.h"
#include "net/arp.h"
#include "net/build.h"
#include "net/dhcp.h"
#include "net/dhcp6.h"
#include "net/nd.h"

enum { LEASE_S = 3600, ROUTER_LIFETIME_S = 1800, GUEST_MTU = 1500 };

static struct addr gateway6(void)
{
	return addr_v6((const uint8_t[16]){ 0xfe, 0x80, [15] = 1 });
}

static struct addr dns6(const struct gate *g, const struct app *app)
{
	return plan_v6(&g->plan, app->a.ref.slot, 1);
}

static int answer_arp(struct wr *w, const struct app *app, const uint8_t *frame, size_t len)
{
	struct arp q;
	struct mac router = plan_router_mac();
	int err = arp_parse(frame, len, &q);
	if (err != 0)
		return err;
	if (q.op != ARP_REQUEST || !addr_equal(&q.tpa, &app->a.v4_gateway))
		return -1;
	return build_arp_reply(w, &q, &router);
}

static int answer_router(struct gate *g, struct wr *w, const struct app *app, const struct nd *rs)
{
	struct router_advert ra = { .mac = plan_router_mac(),
		.src = gateway6(),
		.hop_limit = 64,
		.managed = true,
		.other = true,
		.lifetime_s = ROUTER_LIFETIME_S,
		.prefix = app->a.v6,
		.prefix_len = (uint8_t)plan_guest_prefix(&g->plan, true),
		.autonomous = true,
		.valid_s = LEASE_S,
		.preferred_s = LEASE_S,
		.mtu = GUEST_MTU,
		.dns = { dns6(g, app) },
		.n_dns = 1,
		.dns_lifetime_s = LEASE_S };
	/* On a LAN only the one address is lawful, and DHCPv6 gives it. */
	if (plan_has_lan(&g->plan, true))
		ra.prefix.len = 0;
	return build_router_advert(w, rs, &ra);
}

static int answer_nd(struct gate *g, struct wr *w, const struct app *app, const uint8_t *frame, size_t len,
	const struct packet *p)
{
	struct nd q;
	struct mac router = plan_router_mac();
	struct addr gw = gateway6(), own = dns6(g, app);
	int err = nd_parse(frame, len, p, &q);
	if (err != 0)
		return err;
	if (q.type == ND_RS)
		return answer_router(g, w, app, &q);
	if (q.type != ND_NS || addr_is_unspecified(&q.src) ||
		(!addr_equal(&q.target, &gw) && !addr_equal(&q.target, &own)))
		return -1;
	return build_neighbor_advert(w, &q, &router, true);
}

static int answer_dhcp(struct gate *g, struct wr *w, const struct app *app, const uint8_t *frame, size_t len,
	const struct packet *p)
{
	struct dhcp q;
	int err = dhcp_parse(frame, len, p, &q);
	if (err != 0)
		return err;
	if (!mac_equal(&q.chaddr, &app->a.mac))
		return -1;
	struct dhcp_lease lease = { .mac = plan_router_mac(),
		.server = app->a.v4_gateway,
		.address = app->a.v4,
		.prefix_len = (uint8_t)plan_guest_prefix(&g->plan, false),
		.router = app->a.v4_gateway,
		.dns = { app->a.v4_gateway },
		.n_dns = 1,
		.lease_s = LEASE_S,
		.mtu = GUEST_MTU };
	return dhcp_answer(w, &q, &lease);
}

static int answer_dhcp6(struct gate *g, struct wr *w, const struct app *app, const uint8_t *frame, size_t len,
	const struct packet *p)
{
	struct dhcp6 q;
	int err = dhcp6_parse(frame, len, p, &q);
	if (err != 0)
		return err;
	struct dhcp6_lease lease = { .mac = plan_router_mac(),
		.src = gateway6(),
		.address = app->a.v6,
		.preferred_s = LEASE_S,
		.valid_s = LEASE_S,
		.dns = { dns6(g, app) },
		.n_dns = 1 };
	return dhcp6_answer(w, &q, &lease);
}

void answer_frame(struct gate *g, struct app *app, const uint8_t *frame, size_t len)
{
	struct packet p;
	uint8_t buf[BUILD_MAX > (int)DHCP6_FRAME_MAX ? BUILD_MAX : DHCP6_FRAME_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	int err = packet_parse(frame, len, &p);
	if (err != 0 || !mac_equal(&p.eth_src, &app->a.mac))
		return;
	if (p.kind == PACKET_ARP)
		err = answer_arp(&w, app, frame, len);
	else if (p.proto == IP_ICMP6)
		err = answer_nd(g, &w, app, frame, len, &p);
	else if (p.kind == PACKET_IPV4)
		err = answer_dhcp(g, &w, app, frame, len, &p);
	else
		err = answer_dhcp6(g, &w, app, frame, len, &p);
	/* A malformed question gets no answer; its sender alone is worse off. */
	if (err == 0)
		pipeline_send(g, app->a.ofport, w.buf, w.len);
}
