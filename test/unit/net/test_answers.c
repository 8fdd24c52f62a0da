/* SPDX-License-Identifier: Apache-2.0 */
/* What must not be answered, and what must not be accepted. Right answers are compared byte for byte in test_vectors.c.
 */
#include "net/build.h"
#include "net/checksum.h"
#include "net/dhcp.h"
#include "net/dhcp6.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mac us = { { 2, 0, 0, 0, 0, 1 } }, guest = { { 2, 0, 0, 0, 0, 2 } };

static struct addr address(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return a;
}

struct made {
	uint8_t buf[BUILD_MAX + 1400];
	size_t len;
	struct packet p;
};

static void made_parse(struct made *m, const struct wr *w)
{
	assert_true(wr_ok(w));
	m->len = w->len;
	assert_int_equal(packet_parse(m->buf, m->len, &m->p), 0);
	if (m->p.has_l4 && !m->p.more_fragments)
		assert_int_equal(packet_fix_l4_checksum(m->buf, m->len, &m->p), 0);
}

/* A frame around `body`, checksums right. */
static void make(struct made *m, const char *src, const char *dst, uint8_t proto, uint8_t ttl, const void *body,
	size_t len)
{
	struct addr s = address(src), d = address(dst);
	struct wr w = wr_init(m->buf, sizeof(m->buf));
	wr_bytes(&w, us.b, 6);
	wr_bytes(&w, guest.b, 6);
	wr_u16(&w, s.len == 4 ? 0x0800 : 0x86dd);
	if (s.len == 4) {
		wr_u16(&w, 0x4500);
		wr_u16(&w, (uint16_t)(20 + len));
		wr_u32(&w, 0);
		wr_u8(&w, ttl);
		wr_u8(&w, proto);
		wr_u16(&w, 0);
	} else {
		wr_u32(&w, 0x60000000);
		wr_u16(&w, (uint16_t)len);
		wr_u8(&w, proto);
		wr_u8(&w, ttl);
	}
	wr_bytes(&w, s.b, s.len);
	wr_bytes(&w, d.b, d.len);
	if (s.len == 4)
		wr_patch_u16(&w, 24, checksum_fold(checksum_add(0, m->buf + 14, 20)));
	wr_bytes(&w, body, len);
	made_parse(m, &w);
}

static void make_tcp(struct made *m, const char *src, const char *dst, uint8_t flags)
{
	uint8_t tcp[20] = { 0, 1, 0, 2, [12] = 0x50, [13] = flags };
	make(m, src, dst, IP_TCP, 64, tcp, sizeof(tcp));
}

static void make_udp(struct made *m, const char *src, const char *dst, uint16_t sport, uint16_t dport, const void *body,
	size_t len)
{
	uint8_t udp[1600] = { 0 };
	struct wr w = wr_init(udp, sizeof(udp));
	wr_u16(&w, sport);
	wr_u16(&w, dport);
	wr_u16(&w, (uint16_t)(8 + len));
	wr_u16(&w, 0);
	wr_bytes(&w, body, len);
	make(m, src, dst, IP_UDP, 64, udp, w.len);
}

static int unreachable(const struct made *m)
{
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	int err = build_unreachable(&w, m->buf, &m->p, UNREACHABLE_PROHIBITED, NULL);
	assert_true(err == 0 || w.len == 0);
	return err;
}

static int reset(const struct made *m)
{
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	int err = build_tcp_reset(&w, &m->p);
	assert_true(err == 0 || w.len == 0);
	return err;
}

static void test_never_answered(void **state)
{
	(void)state;
	struct made m;
	make_tcp(&m, "192.0.2.2", "203.0.113.9", TCP_SYN);
	assert_int_equal(reset(&m), 0);
	assert_int_equal(unreachable(&m), 0);
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	assert_int_equal(build_tcp_end(&w, &m.p), -EINVAL);
	assert_int_equal(build_echo_reply(&w, m.buf, &m.p), -EINVAL);
	make_tcp(&m, "192.0.2.2", "203.0.113.9", TCP_RST | TCP_ACK);
	assert_int_equal(reset(&m), -EINVAL);
	assert_int_equal(unreachable(&m), -EINVAL);
	static const char *const ends[][2] = { { "192.0.2.2", "224.0.0.251" }, { "192.0.2.2", "255.255.255.255" },
		{ "0.0.0.0", "203.0.113.9" }, { "239.1.1.1", "203.0.113.9" }, { "2001:db8::2", "ff02::fb" },
		{ "::", "2001:db8:1::9" }, { "192.0.2.2", "0.0.0.0" } };
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		make_udp(&m, ends[i][0], ends[i][1], 1, 2, "x", 1);
		assert_int_equal(unreachable(&m), -EINVAL);
		make_tcp(&m, ends[i][0], ends[i][1], TCP_SYN);
		assert_int_equal(reset(&m), -EINVAL);
	}
	make_udp(&m, "192.0.2.2", "203.0.113.9", 1, 2, "x", 1);
	assert_int_equal(reset(&m), -EINVAL);
	struct addr other = address("2001:db8::1");
	assert_int_equal(build_unreachable(&w, m.buf, &m.p, UNREACHABLE_HOST, &other), -EINVAL);
	m.p.eth_dst.b[0] = 3;
	assert_int_equal(unreachable(&m), -EINVAL);
}

/* Every ICMP type: exactly the errors get no error. */
static void test_icmp_errors(void **state)
{
	(void)state;
	struct made m;
	for (unsigned type = 0; type < 256; type++) {
		uint8_t icmp[8] = { (uint8_t)type };
		make(&m, "192.0.2.2", "203.0.113.9", IP_ICMP, 64, icmp, sizeof(icmp));
		bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
		assert_int_equal(unreachable(&m), error ? -EINVAL : 0);
		make(&m, "2001:db8::2", "2001:db8:1::9", IP_ICMP6, 64, icmp, sizeof(icmp));
		assert_int_equal(unreachable(&m), type < 128 ? -EINVAL : 0);
	}
}

static void test_fragments(void **state)
{
	(void)state;
	struct made m;
	make(&m, "192.0.2.2", "203.0.113.9", IP_UDP, 64, "\0\1\0\2\0\x10\0\0abcdefgh", 16);
	m.buf[20] = 0x20; /* more fragments, offset 0 */
	m.buf[24] = m.buf[25] = 0;
	uint16_t sum = checksum_fold(checksum_add(0, m.buf + 14, 20));
	m.buf[24] = (uint8_t)(sum >> 8);
	m.buf[25] = (uint8_t)sum;
	assert_int_equal(packet_parse(m.buf, m.len, &m.p), 0);
	assert_true(m.p.fragment && m.p.more_fragments && !m.p.later_fragment && m.p.has_l4);
	assert_int_equal(unreachable(&m), 0);
	assert_int_equal(packet_fix_l4_checksum(m.buf, m.len, &m.p), -EOPNOTSUPP);
	assert_false(packet_l4_checksum_ok(m.buf, m.len, &m.p));
	m.p.later_fragment = true;
	assert_int_equal(unreachable(&m), -EINVAL);
	assert_int_equal(packet_parse(m.buf, PACKET_MAX + 1, &m.p), -EBADMSG);
	assert_int_equal(packet_parse(NULL, 0, &m.p), -EBADMSG);
}

static int parse_nd(struct made *m, const char *src, const char *dst, uint8_t ttl, const void *body, size_t len,
	struct nd *ret)
{
	make(m, src, dst, IP_ICMP6, ttl, body, len);
	return nd_parse(m->buf, m->len, &m->p, ret);
}

/* fe80::1, then a source or target link-layer option of the guest. */
#define TARGET	     "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
#define GROUP_TARGET "\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\1"
#define SLLA	     "\1\1\2\0\0\0\0\2"
#define TLLA	     "\2\1\2\0\0\0\0\2"
#define NS	     "\x87\0\0\0\0\0\0\0"
#define NA	     "\x88\0\0\0\x60\0\0\0"
#define NA_ROUTER    "\x88\0\0\0\x80\0\0\0"
#define RS	     "\x85\0\0\0\0\0\0\0"

static void test_nd_lawful(void **state)
{
	(void)state;
	static const struct {
		const char *what, *src, *dst, *body;
		size_t len;
		uint8_t ttl;
		int err;
	} cases[] = {
		{ "ns", "fe80::2", "ff02::1:ff00:1", NS TARGET SLLA, 32, 255, 0 },
		{ "ns unicast, no option", "fe80::2", "fe80::1", NS TARGET, 24, 255, 0 },
		{ "unknown option", "fe80::2", "fe80::1", NS TARGET "\x0e\1\0\0\0\0\0\0" SLLA, 40, 255, 0 },
		{ "dad", "::", "ff02::1:ff00:1", NS TARGET, 24, 255, 0 },
		{ "dad with option", "::", "ff02::1:ff00:1", NS TARGET SLLA, 32, 255, -EBADMSG },
		{ "dad to unicast", "::", "fe80::1", NS TARGET, 24, 255, -EBADMSG },
		{ "routed", "fe80::2", "fe80::1", NS TARGET, 24, 254, -EBADMSG },
		{ "code", "fe80::2", "fe80::1", "\x87\1\0\0\0\0\0\0" TARGET, 24, 255, -EBADMSG },
		{ "short", "fe80::2", "fe80::1", NS TARGET, 23, 255, -EBADMSG },
		{ "group target", "fe80::2", "fe80::1", NS GROUP_TARGET, 24, 255, -EBADMSG },
		{ "no target", "fe80::2", "fe80::1", NS "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, 255, -EBADMSG },
		{ "option of length 0", "fe80::2", "fe80::1", NS TARGET "\1\0\2\0\0\0\0\2", 32, 255, -EBADMSG },
		{ "unknown option of length 0", "fe80::2", "fe80::1", NS TARGET "\x0e\0\0\0\0\0\0\0", 32, 255,
			-EBADMSG },
		{ "option too long", "fe80::2", "fe80::1", NS TARGET "\1\2\2\0\0\0\0\2", 32, 255, -EBADMSG },
		{ "option of two units", "fe80::2", "fe80::1", NS TARGET "\1\2\2\0\0\0\0\2\0\0\0\0\0\0\0\0", 40, 255,
			-EBADMSG },
		{ "said twice", "fe80::2", "fe80::1", NS TARGET SLLA SLLA, 40, 255, -EBADMSG },
		{ "group lla", "fe80::2", "fe80::1", NS TARGET "\1\1\3\0\0\0\0\2", 32, 255, -EBADMSG },
		{ "half an option", "fe80::2", "fe80::1", NS TARGET "\1", 25, 255, -EBADMSG },
		{ "from a group", "ff02::2", "fe80::1", NS TARGET, 24, 255, -EBADMSG },
		{ "na", "fe80::1", "fe80::2", NA TARGET TLLA, 32, 255, 0 },
		{ "na router", "fe80::1", "ff02::1", NA_ROUTER TARGET TLLA, 32, 255, 0 },
		{ "solicited to a group", "fe80::1", "ff02::1", NA TARGET TLLA, 32, 255, -EBADMSG },
		{ "na from none", "::", "fe80::2", NA TARGET, 24, 255, -EBADMSG },
		{ "rs", "fe80::2", "ff02::2", RS SLLA, 16, 255, 0 },
		{ "rs from none", "::", "ff02::2", RS, 8, 255, 0 },
		{ "rs from none with option", "::", "ff02::2", RS SLLA, 16, 255, -EBADMSG },
		{ "ra", "fe80::2", "ff02::1", "\x86\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16, 255, -EPROTONOSUPPORT },
		{ "redirect", "fe80::2", "fe80::1", "\x89\0\0\0\0\0\0\0", 8, 255, -EPROTONOSUPPORT },
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct made m;
		struct nd nd;
		int err = parse_nd(&m, cases[i].src, cases[i].dst, cases[i].ttl, cases[i].body, cases[i].len, &nd);
		if (err != cases[i].err)
			fail_msg("%s: %d, expected %d", cases[i].what, err, cases[i].err);
	}
}

static void test_nd_fields(void **state)
{
	(void)state;
	struct made m;
	struct nd nd;
	assert_int_equal(parse_nd(&m, "fe80::1", "fe80::2", 255, NA TARGET TLLA, 32, &nd), 0);
	assert_true(nd.type == ND_NA && nd.solicited && nd.override && !nd.router && nd.has_lla &&
		    mac_equal(&nd.lla, &guest));
	assert_int_equal(parse_nd(&m, "fe80::1", "ff02::1", 255, NA_ROUTER TARGET, 24, &nd), 0);
	assert_true(nd.router && !nd.solicited && !nd.override && !nd.has_lla);
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	struct router_advert ra = { .mac = us, .src = address("fe80::1") };
	assert_int_equal(build_neighbor_advert(&w, &nd, &us, true), -EINVAL);
	assert_int_equal(build_router_advert(&w, &nd, &ra), -EINVAL);
	m.buf[m.p.l4 + 2] ^= 1;
	assert_int_equal(nd_parse(m.buf, m.len, &m.p, &nd), -EBADMSG);
	make_udp(&m, "fe80::1", "fe80::2", 1, 2, "x", 1);
	assert_int_equal(nd_parse(m.buf, m.len, &m.p, &nd), -EPROTONOSUPPORT);
}

static void test_router_refused(void **state)
{
	(void)state;
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	struct router_advert good = { .mac = us,
		.src = address("fe80::1"),
		.prefix = address("2001:db8::"),
		.prefix_len = 64 },
			     ra = good;
	struct packet p;
	assert_int_equal(build_router_advert(&w, NULL, &ra), 0);
	assert_int_equal(packet_parse(out, w.len, &p), 0);
	assert_true(p.icmp_type == ND_RA && addr_is_multicast(&p.dst) && mac_is_group(&p.eth_dst));
	w = wr_init(out, sizeof(out));
	ra.src = address("2001:db8::1");
	assert_int_equal(build_router_advert(&w, NULL, &ra), -EINVAL);
	ra = good;
	ra.prefix_len = 129;
	assert_int_equal(build_router_advert(&w, NULL, &ra), -EINVAL);
	ra = good;
	ra.preferred_s = 1;
	assert_int_equal(build_router_advert(&w, NULL, &ra), -EINVAL);
	ra = good;
	ra.n_dns = ROUTER_DNS_MAX + 1;
	assert_int_equal(build_router_advert(&w, NULL, &ra), -EINVAL);
	ra.n_dns = 1;
	ra.dns[0] = address("192.0.2.1");
	assert_int_equal(build_router_advert(&w, NULL, &ra), -EINVAL);
	assert_int_equal(w.len, 0);
}

/* Prefix bits behind the length are not sent, at every length. */
static void test_prefix_cut(void **state)
{
	(void)state;
	for (unsigned len = 0; len <= 128; len++) {
		uint8_t out[BUILD_MAX];
		struct wr w = wr_init(out, sizeof(out));
		struct router_advert ra = { .mac = us,
			.src = address("fe80::1"),
			.prefix_len = (uint8_t)len,
			.on_link = true };
		ra.prefix = address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
		assert_int_equal(build_router_advert(&w, NULL, &ra), 0);
		const uint8_t *prefix = out + w.len - 16;
		for (unsigned bit = 0; bit < 128; bit++)
			assert_int_equal(prefix[bit / 8] >> (7 - bit % 8) & 1, bit < len);
	}
}

static void test_own_requests(void **state)
{
	(void)state;
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	struct addr src = address("192.0.2.1"), target = address("192.0.2.2"), none = address("0.0.0.0");
	struct arp a;
	assert_int_equal(build_arp_request(&w, &us, &src, &target), 0);
	assert_int_equal(arp_parse(out, w.len, &a), 0);
	assert_true(a.op == ARP_REQUEST && mac_is_group(&a.eth_dst) && addr_equal(&a.spa, &src) &&
		    addr_equal(&a.tpa, &target));
	w = wr_init(out, sizeof(out));
	assert_int_equal(build_arp_request(&w, &us, &none, &target), 0);
	a.op = ARP_REPLY;
	assert_int_equal(build_arp_reply(&w, &a, &us), -EINVAL);
	struct addr src6 = address("fe80::1"), target6 = address("2001:db8::1234:5678"), none6 = address("::");
	assert_int_equal(build_arp_request(&w, &us, &src6, &target6), -EINVAL);
	assert_int_equal(build_neighbor_solicit(&w, &us, &src, &target), -EINVAL);
	struct packet p;
	struct nd nd;
	char text[ADDR_TEXT_MAX];
	for (unsigned i = 0; i < 2; i++) {
		w = wr_init(out, sizeof(out));
		assert_int_equal(build_neighbor_solicit(&w, &us, i == 0 ? &src6 : &none6, &target6), 0);
		assert_int_equal(packet_parse(out, w.len, &p), 0);
		assert_int_equal(nd_parse(out, w.len, &p, &nd), 0);
		assert_true(nd.has_lla == (i == 0) && addr_equal(&nd.target, &target6));
		assert_string_equal(addr_format(&nd.dst, text, sizeof(text)), "ff02::1:ff34:5678");
		assert_string_equal(mac_format(&nd.eth_dst, text, sizeof(text)), "33:33:ff:34:56:78");
	}
}

static void test_arp_refused(void **state)
{
	(void)state;
	uint8_t out[BUILD_MAX];
	struct wr w = wr_init(out, sizeof(out));
	struct addr src = address("192.0.2.1");
	struct arp a;
	assert_int_equal(build_arp_request(&w, &us, &src, &src), 0);
	out[22 + 5] ^= 4; /* sender's hardware address is not the frame's */
	assert_int_equal(arp_parse(out, w.len, &a), -EBADMSG);
	out[22 + 5] ^= 4;
	out[21] = 3; /* reverse ARP */
	assert_int_equal(arp_parse(out, w.len, &a), -EBADMSG);
	out[21] = 1;
	out[6] |= 1;
	out[22] |= 1;
	assert_int_equal(arp_parse(out, w.len, &a), -EBADMSG);
	struct made m;
	make_udp(&m, "192.0.2.2", "203.0.113.9", 1, 2, "x", 1);
	assert_int_equal(arp_parse(m.buf, m.len, &a), -EBADMSG);
}

/* A DISCOVER's fixed part and magic, then `options`. */
static int parse_dhcp(const void *options, size_t len, void (*spoil)(uint8_t *bootp))
{
	uint8_t body[600] = { 1, 1, 6 };
	memcpy(body + 28, guest.b, 6);
	memcpy(body + 236, "\x63\x82\x53\x63", 4);
	memcpy(body + 240, options, len);
	if (spoil != NULL)
		spoil(body);
	struct made m;
	struct dhcp d;
	make_udp(&m, "0.0.0.0", "255.255.255.255", 68, 67, body, 240 + len);
	return dhcp_parse(m.buf, m.len, &m.p, &d);
}

static void spoil_op(uint8_t *b)
{
	b[0] = 2;
}
static void spoil_hardware(uint8_t *b)
{
	b[2] = 16;
}
static void spoil_relay(uint8_t *b)
{
	b[24] = 192;
}
static void spoil_chaddr(uint8_t *b)
{
	b[28] |= 1;
}
static void spoil_magic(uint8_t *b)
{
	b[236] = 0;
}

static void test_dhcp_refused(void **state)
{
	(void)state;
	assert_int_equal(parse_dhcp("\x35\1\1\xff", 4, NULL), 0);
	assert_int_equal(parse_dhcp("\0\0\x35\1\1\0\xff\1\2\3", 10, NULL), 0);
	assert_int_equal(parse_dhcp("\x35\1\1", 3, NULL), 0);
	void (*const spoil[])(uint8_t *) = { spoil_op, spoil_hardware, spoil_relay, spoil_chaddr, spoil_magic };
	for (unsigned i = 0; i < sizeof(spoil) / sizeof(spoil[0]); i++)
		assert_int_equal(parse_dhcp("\x35\1\1\xff", 4, spoil[i]), -EBADMSG);
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{ "\xff", 1 },
		{ "\x35\1\2\xff", 4 },
		{ "\x35\1\x63\xff", 4 },
		{ "\x35\1\1\x35\1\3\xff", 7 },
		{ "\x35\2\1\1\xff", 5 },
		{ "\x35\1\1\x32\3\1\2\3\xff", 9 },
		{ "\x35\1\1\x36\5\1\2\3\4\5\xff", 11 },
		{ "\x35\1\1\x3d\1\1\xff", 7 },
		{ "\x35\1\1\x34\1\1\xff", 7 },
		{ "\x35\1\1\x50\1\1\xff", 7 },
		{ "\x35\1\1\x0c\x09s", 6 },
		{ "\x35\1\1\x0c", 4 },
		{ "\x35", 1 },
	};
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse_dhcp(bad[i].bytes, bad[i].len, NULL) != -EBADMSG)
			fail_msg("case %u was taken", i);
	}
	uint8_t id[80] = { 0x35, 1, 1, 61, DHCP_CLIENT_ID_MAX + 1 };
	assert_int_equal(parse_dhcp(id, 5 + DHCP_CLIENT_ID_MAX + 1, NULL), -EBADMSG);
	id[4] = DHCP_CLIENT_ID_MAX;
	assert_int_equal(parse_dhcp(id, 5 + DHCP_CLIENT_ID_MAX, NULL), 0);
	struct made m;
	struct dhcp d;
	make_udp(&m, "0.0.0.0", "255.255.255.255", 68, 69, "x", 1);
	assert_int_equal(dhcp_parse(m.buf, m.len, &m.p, &d), -EPROTONOSUPPORT);
}

static void test_dhcp_lease(void **state)
{
	(void)state;
	uint8_t out[DHCP_FRAME_MAX];
	struct dhcp d = { .type = DHCP_DISCOVER, .chaddr = guest, .eth_src = guest };
	struct dhcp_lease good = { .mac = us,
		.server = address("192.0.2.1"),
		.address = address("192.0.2.2"),
		.prefix_len = 30,
		.router = address("192.0.2.1"),
		.lease_s = 60 },
			  l = good;
	struct wr w = wr_init(out, sizeof(out));
	assert_int_equal(dhcp_answer(&w, &d, &l), 0);
	/* A router inside the prefix needs no route of its own: option 121 is not there. */
	for (size_t i = 42 + 240; out[i] != 255; i += 2U + out[i + 1])
		assert_int_not_equal(out[i], 121);
	w = wr_init(out, sizeof(out));
	l.server.len = 0;
	assert_int_equal(dhcp_answer(&w, &d, &l), -EINVAL);
	l = good;
	l.n_dns = 1;
	assert_int_equal(dhcp_answer(&w, &d, &l), -EINVAL);
	l = good;
	l.prefix_len = 33;
	assert_int_equal(dhcp_build(&w, DHCP_OFFER, &d, &l), -EINVAL);
	assert_int_equal(dhcp_build(&w, DHCP_DISCOVER, &d, &good), -EINVAL);
	d.type = DHCP_OFFER;
	assert_int_equal(dhcp_answer(&w, &d, &good), -ENOMSG);
	assert_int_equal(w.len, 0);
}

static int parse_dhcp6(const char *src, const void *body, size_t len, struct dhcp6 *ret)
{
	struct made m;
	make_udp(&m, src, "ff02::1:2", 546, 547, body, len);
	return dhcp6_parse(m.buf, m.len, &m.p, ret);
}

#define CID	 "\0\1\0\4\0\3\0\1"
#define SID	 "\0\2\0\4\0\3\0\2"
#define IA_EMPTY "\0\3\0\x0c\0\0\0\5\0\0\0\0\0\0\0\0"

static void test_dhcp6_refused(void **state)
{
	(void)state;
	static const struct {
		const char *what, *body;
		size_t len;
		int err;
	} cases[] = {
		{ "solicit", "\1\0\0\1" CID IA_EMPTY, 28, 0 },
		{ "solicit without client", "\1\0\0\1" IA_EMPTY, 20, -EBADMSG },
		{ "solicit with server", "\1\0\0\1" CID SID, 20, -EBADMSG },
		{ "request without server", "\3\0\0\1" CID IA_EMPTY, 28, -EBADMSG },
		{ "request", "\3\0\0\1" CID SID IA_EMPTY, 36, 0 },
		{ "information", "\x0b\0\0\1", 4, 0 },
		{ "information with address", "\x0b\0\0\1" IA_EMPTY, 20, -EBADMSG },
		{ "reply", "\7\0\0\1" CID SID, 20, -EBADMSG },
		{ "relay", "\x0c\0\0\1" CID, 12, -EBADMSG },
		{ "type 200", "\xc8\0\0\1" CID, 12, -EBADMSG },
		{ "short", "\1\0\0", 3, -EBADMSG },
		{ "option too long", "\1\0\0\1" CID "\0\x63\0\2x", 17, -EBADMSG },
		{ "half an option", "\1\0\0\1" CID "\0\x63", 14, -EBADMSG },
		{ "client twice", "\1\0\0\1" CID CID, 20, -EBADMSG },
		{ "client too short", "\1\0\0\1\0\1\0\2\0\3", 10, -EBADMSG },
		{ "short association", "\1\0\0\1" CID "\0\3\0\4\0\0\0\5", 20, -EBADMSG },
		{ "short address", "\1\0\0\1" CID "\0\3\0\x11\0\0\0\5\0\0\0\0\0\0\0\0\0\5\0\1x", 33, -EBADMSG },
		{ "second association", "\1\0\0\1" CID IA_EMPTY "\0\3\0\1x", 33, 0 },
		{ "other option inside", "\1\0\0\1" CID "\0\3\0\x11\0\0\0\5\0\0\0\0\0\0\0\0\0\x0d\0\1x", 33, 0 },
	};
	struct dhcp6 d;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = parse_dhcp6("fe80::2", cases[i].body, cases[i].len, &d);
		if (err != cases[i].err)
			fail_msg("%s: %d, expected %d", cases[i].what, err, cases[i].err);
	}
	assert_int_equal(parse_dhcp6("2001:db8::2", "\x0b\0\0\1", 4, &d), -EBADMSG);
	struct made m;
	make_udp(&m, "fe80::2", "ff02::1:2", 546, 548, "x", 1);
	assert_int_equal(dhcp6_parse(m.buf, m.len, &m.p, &d), -EPROTONOSUPPORT);
}

static void test_dhcp6_lease(void **state)
{
	(void)state;
	uint8_t out[DHCP6_FRAME_MAX];
	struct wr w = wr_init(out, sizeof(out));
	struct dhcp6 d;
	assert_int_equal(parse_dhcp6("fe80::2", "\1\0\0\1" CID IA_EMPTY, 28, &d), 0);
	assert_true(d.has_ia && d.iaid == 5 && d.n_addrs == 0);
	struct dhcp6_lease good = { .mac = us, .src = address("fe80::1") }, l = good;
	/* No address to give: said inside the association. */
	assert_int_equal(dhcp6_answer(&w, &d, &l), 0);
	static const uint8_t no_addrs[] = { 0, 13, 0, 2, 0, 2 };
	assert_memory_equal(out + w.len - sizeof(no_addrs), no_addrs, sizeof(no_addrs));
	w = wr_init(out, sizeof(out));
	l.src = address("2001:db8::1");
	assert_int_equal(dhcp6_answer(&w, &d, &l), -EINVAL);
	l = good;
	l.preferred_s = 1;
	assert_int_equal(dhcp6_answer(&w, &d, &l), -EINVAL);
	l = good;
	l.n_dns = 1;
	assert_int_equal(dhcp6_answer(&w, &d, &l), -EINVAL);
	l = good;
	l.address = address("192.0.2.2");
	assert_int_equal(dhcp6_answer(&w, &d, &l), -EINVAL);
	assert_int_equal(w.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_answered),
		cmocka_unit_test(test_icmp_errors),
		cmocka_unit_test(test_fragments),
		cmocka_unit_test(test_nd_lawful),
		cmocka_unit_test(test_nd_fields),
		cmocka_unit_test(test_router_refused),
		cmocka_unit_test(test_prefix_cut),
		cmocka_unit_test(test_own_requests),
		cmocka_unit_test(test_arp_refused),
		cmocka_unit_test(test_dhcp_refused),
		cmocka_unit_test(test_dhcp_lease),
		cmocka_unit_test(test_dhcp6_refused),
		cmocka_unit_test(test_dhcp6_lease),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
