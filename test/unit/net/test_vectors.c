/* SPDX-License-Identifier: Apache-2.0 */
/* vectors.txt holds what scapy reads in frames and how it builds our answers; gen-vectors writes it. Byte for byte both
 * ways. */
#include "net/build.h"
#include "net/checksum.h"
#include "net/dhcp.h"
#include "net/dhcp6.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FRAME_BYTES = 4096, FIELDS_MAX = 20, LINE_BYTES = 3 * FRAME_BYTES };

static const char *vectors;
static const struct mac us = { { 2, 0, 0, 0, 0, 1 } };

static struct addr address(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return a;
}

static size_t unhex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	if (strcmp(hex, "none") == 0)
		return 0;
	for (; hex[0] != '\0' && hex[1] != '\0'; hex += 2) {
		char pair[3] = { hex[0], hex[1], '\0' };
		assert_true(n < FRAME_BYTES);
		out[n++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return n;
}

static void assert_number(const char *name, const char *what, uint64_t got, const char *want)
{
	uint64_t w = strtoull(want, NULL, 10);
	if (got != w)
		fail_msg("%s: %s is %" PRIu64 ", scapy says %" PRIu64, name, what, got, w);
}

static void check_described(char *const *f, const struct packet *p)
{
	char text[ADDR_TEXT_MAX];
	assert_string_equal(addr_format(&p->src, text, sizeof(text)), f[4]);
	assert_string_equal(addr_format(&p->dst, text, sizeof(text)), f[5]);
	const uint64_t got[] = { p->proto, p->ttl, p->sport, p->dport, p->icmp_type, p->icmp_code, p->icmp_id,
		p->tcp_flags, p->tcp_seq, p->tcp_ack, packet_payload_len(p) };
	static const char *const what[] = { "proto", "ttl", "sport", "dport", "type", "code", "id", "flags", "seq",
		"ack", "payload" };
	assert_number(f[1], "kind", p->kind, f[3]);
	for (unsigned i = 0; i < sizeof(got) / sizeof(got[0]); i++)
		assert_number(f[1], what[i], got[i], f[6 + i]);
}

/* The frame in a block of its own length, so that a sanitizer sees every read past its end. */
static uint8_t *exact(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len == 0 ? 1 : len);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

static void check_parse(char *const *f)
{
	uint8_t bytes[FRAME_BYTES];
	size_t len = unhex(f[17], bytes);
	struct packet p;
	uint8_t *frame = exact(bytes, len);
	int err = packet_parse(frame, len, &p);
	int want = strcmp(f[2], "ok") == 0 ? 0 : strcmp(f[2], "bad") == 0 ? -EBADMSG : -EPROTONOSUPPORT;
	if (err != want)
		fail_msg("%s: %d, expected %d", f[1], err, want);
	if (err == 0) {
		check_described(f, &p);
		/* Scapy's checksum is right, and a spoilt one is mended to just these bytes. */
		bool known = p.has_l4 && !p.more_fragments;
		if (known && !packet_l4_checksum_ok(frame, len, &p))
			fail_msg("%s: checksum", f[1]);
		uint32_t field = p.proto == IP_TCP ? 16 : p.proto == IP_UDP ? 6 : p.proto == IP_SCTP ? 8 : 2;
		if (known)
			frame[p.l4 + field] ^= 0x5a;
		int fixed = packet_fix_l4_checksum(frame, len, &p);
		assert_int_equal(fixed, known ? 0 : -EOPNOTSUPP);
		if (strcmp(f[1], "udp4-nosum") != 0 && memcmp(frame, bytes, len) != 0)
			fail_msg("%s: mended checksum differs", f[1]);
	}
	free(frame);
	/* No shorter piece is taken for a whole frame of the same length, and none is read past its end. */
	for (size_t cut = 0; cut < len; cut++) {
		struct packet q;
		uint8_t *part = exact(bytes, cut);
		if (packet_parse(part, cut, &q) == 0 && (err != 0 || q.len != p.len || cut < p.len))
			fail_msg("%s: cut to %zu bytes it still parses", f[1], cut);
		free(part);
	}
}

static struct router_advert our_router(void)
{
	struct router_advert ra = { .mac = us,
		.src = address("fe80::1"),
		.hop_limit = 64,
		.other = true,
		.lifetime_s = 1800,
		.prefix = address("2001:db8::ffff"),
		.prefix_len = 64,
		.autonomous = true,
		.valid_s = 3600,
		.preferred_s = 1800,
		.mtu = 1500,
		.dns = { address("2001:db8::1"), address("2001:db8:1::9") },
		.n_dns = 2,
		.dns_lifetime_s = 600 };
	return ra;
}

static int answer_dhcp(struct wr *w, const uint8_t *in, size_t len, const struct packet *p)
{
	struct dhcp d;
	assert_int_equal(dhcp_parse(in, len, p, &d), 0);
	assert_int_equal(d.xid, 0x11223344);
	assert_int_equal(d.client_id_len, 10);
	struct dhcp_lease l = { .mac = us,
		.server = address("192.0.2.1"),
		.address = address("192.0.2.2"),
		.prefix_len = 32,
		.router = address("169.254.1.1"),
		.dns = { address("192.0.2.1"), address("203.0.113.9") },
		.n_dns = 2,
		.lease_s = 3600,
		.mtu = 1500 };
	return dhcp_answer(w, &d, &l);
}

static int answer_dhcp6(struct wr *w, const uint8_t *in, size_t len, const struct packet *p)
{
	struct dhcp6 d;
	assert_int_equal(dhcp6_parse(in, len, p, &d), 0);
	assert_int_equal(d.xid, 0xabcdef);
	struct dhcp6_lease l = { .mac = us,
		.src = address("fe80::1"),
		.address = address("2001:db8::2"),
		.preferred_s = 1800,
		.valid_s = 3600,
		.dns = { address("2001:db8::1") },
		.n_dns = 1 };
	return dhcp6_answer(w, &d, &l);
}

static int answer(const char *what, struct wr *w, const uint8_t *in, size_t len)
{
	struct packet p;
	assert_int_equal(packet_parse(in, len, &p), 0);
	struct addr gateway = address("192.0.2.1");
	struct router_advert ra = our_router();
	struct arp arp;
	struct nd nd;
	if (strcmp(what, "reset") == 0)
		return build_tcp_reset(w, &p);
	if (strcmp(what, "end") == 0)
		return build_tcp_end(w, &p);
	if (strcmp(what, "prohibited") == 0)
		return build_unreachable(w, in, &p, UNREACHABLE_PROHIBITED, NULL);
	if (strcmp(what, "prohibited-from") == 0)
		return build_unreachable(w, in, &p, UNREACHABLE_PROHIBITED, &gateway);
	if (strcmp(what, "host") == 0)
		return build_unreachable(w, in, &p, UNREACHABLE_HOST, NULL);
	if (strcmp(what, "port") == 0)
		return build_unreachable(w, in, &p, UNREACHABLE_PORT, NULL);
	if (strcmp(what, "echo") == 0)
		return build_echo_reply(w, in, &p);
	if (strcmp(what, "dhcp") == 0)
		return answer_dhcp(w, in, len, &p);
	if (strcmp(what, "dhcp6") == 0)
		return answer_dhcp6(w, in, len, &p);
	if (strcmp(what, "arp") == 0) {
		assert_int_equal(arp_parse(in, len, &arp), 0);
		return build_arp_reply(w, &arp, &us);
	}
	assert_int_equal(nd_parse(in, len, &p, &nd), 0);
	return strcmp(what, "advert") == 0 ? build_neighbor_advert(w, &nd, &us, true)
					   : build_router_advert(w, &nd, &ra);
}

static void check_build(char *const *f)
{
	uint8_t in[FRAME_BYTES], want[FRAME_BYTES], got[BUILD_MAX];
	size_t in_len = unhex(f[3], in), want_len = unhex(f[4], want);
	struct wr w = wr_init(got, sizeof(got));
	int err = answer(f[2], &w, in, in_len);
	if (want_len == 0) {
		assert_int_equal(err, -ENOMSG);
		assert_int_equal(w.len, 0);
		return;
	}
	if (err != 0 || w.len != want_len)
		fail_msg("%s: error %d, %zu bytes, expected %zu", f[1], err, w.len, want_len);
	for (size_t i = 0; i < want_len; i++) {
		if (got[i] != want[i])
			fail_msg("%s: byte %zu is %02x, scapy builds %02x", f[1], i, got[i], want[i]);
	}
	/* Every smaller buffer is refused, not overrun. */
	for (size_t cap = 0; cap < want_len; cap++) {
		uint8_t *small = malloc(cap == 0 ? 1 : cap);
		assert_non_null(small);
		struct wr s = wr_init(small, cap);
		assert_int_equal(answer(f[2], &s, in, in_len), -ENOSPC);
		free(small);
	}
}

static unsigned each_line(const char *kind, unsigned n_fields, void (*check)(char *const *))
{
	static char line[LINE_BYTES];
	unsigned n = 0;
	FILE *file = fopen(vectors, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		char *f[FIELDS_MAX], *save = NULL;
		unsigned count = 0;
		for (char *t = strtok_r(line, " \n", &save); t != NULL && count < FIELDS_MAX;
			t = strtok_r(NULL, " \n", &save))
			f[count++] = t;
		if (count == 0 || strcmp(f[0], kind) != 0)
			continue;
		if (count != n_fields)
			fail_msg("%s: %u fields", f[1], count);
		check(f);
		n++;
	}
	fclose(file);
	return n;
}

static void test_parse(void **state)
{
	(void)state;
	assert_true(each_line("parse", 18, check_parse) > 70);
}

static void test_build(void **state)
{
	(void)state;
	assert_true(each_line("build", 5, check_build) > 40);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	vectors = argv[1];
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parse), cmocka_unit_test(test_build) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
