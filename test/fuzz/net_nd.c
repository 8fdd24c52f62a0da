/* SPDX-License-Identifier: Apache-2.0 */
/* ARP, neighbour and router solicitation: accepted ones are answered, and our own answers are lawful. */
#include "net/build.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static const struct mac our_mac = { { 2, 0, 0, 0, 0, 1 } };

static void check_arp(const uint8_t *data, size_t len)
{
	struct arp a, b;
	if (arp_parse(data, len, &a) != 0)
		return;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	int err = build_arp_reply(&w, &a, &our_mac);
	check((err == 0) == (a.op == ARP_REQUEST));
	if (err != 0)
		return;
	check(arp_parse(w.buf, w.len, &b) == 0 && b.op == ARP_REPLY);
	check(addr_equal(&b.spa, &a.tpa) && addr_equal(&b.tpa, &a.spa) && mac_equal(&b.tha, &a.sha));
}

static void check_advert(const struct nd *nd)
{
	struct nd back;
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	check(build_neighbor_advert(&w, nd, &our_mac, true) == 0);
	check(packet_parse(w.buf, w.len, &p) == 0 && nd_parse(w.buf, w.len, &p, &back) == 0);
	check(back.type == ND_NA && addr_equal(&back.target, &nd->target) && back.has_lla &&
		mac_equal(&back.lla, &our_mac));
	check(back.solicited == !addr_is_unspecified(&nd->src));
}

static void check_router(const struct nd *nd)
{
	struct packet p;
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	struct router_advert ra = { .mac = our_mac, .src = { .len = 16, .b = { 0xfe, 0x80, [15] = 1 } }, .mtu = 1500 };
	ra.prefix = (struct addr){ .len = 16, .b = { 0x20, 0x01, 0x0d, 0xb8 } };
	ra.prefix_len = 64;
	check(build_router_advert(&w, nd, &ra) == 0);
	check(packet_parse(w.buf, w.len, &p) == 0 && p.icmp_type == ND_RA && p.ttl == 255);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct packet p;
	struct nd nd;
	check_arp(data, len);
	if (packet_parse(data, len, &p) != 0 || nd_parse(data, len, &p, &nd) != 0)
		return 0;
	check(p.ttl == 255);
	if (nd.type == ND_NS)
		check_advert(&nd);
	else if (nd.type == ND_RS)
		check_router(&nd);
	return 0;
}
