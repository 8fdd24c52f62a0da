/* SPDX-License-Identifier: Apache-2.0 */
#include "net/checksum.h"

#include "base/wr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 2000, BYTES_MAX = 300 };

static uint64_t random_state = 0x5eed;

/* splitmix64: the same numbers on every run. */
static uint64_t next_random(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15U;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
	z = (z ^ z >> 27) * 0x94d049bb133111ebU;
	return z ^ z >> 31;
}

static size_t random_bytes(uint8_t *buf, size_t max)
{
	size_t len = next_random() % (max + 1);
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)next_random();
	return len;
}

static void test_rfc1071(void **state)
{
	(void)state;
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	assert_int_equal(checksum_fold(checksum_add(0, example, sizeof(example))), (uint16_t)~0xddf2);
	assert_int_equal(checksum_fold(checksum_add(0, example, 1)), 0xffff);
	assert_int_equal(checksum_fold(checksum_add(0, NULL, 0)), 0xffff);
}

/* Sum of parts is the sum of the whole; with its own checksum appended a block sums to 0; 16-bit words may change
 * places. */
static void test_sum_properties(void **state)
{
	(void)state;
	uint8_t buf[BYTES_MAX + 2];
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t len = random_bytes(buf, BYTES_MAX) & ~(size_t)1;
		size_t cut = len == 0 ? 0 : next_random() % len & ~(size_t)1;
		uint16_t whole = checksum_fold(checksum_add(0, buf, len));
		assert_int_equal(checksum_fold(checksum_add(checksum_add(0, buf, cut), buf + cut, len - cut)), whole);
		assert_int_equal(checksum_fold(checksum_add(checksum_add(0, buf + cut, len - cut), buf, cut)), whole);
		buf[len] = (uint8_t)(whole >> 8);
		buf[len + 1] = (uint8_t)whole;
		assert_int_equal(checksum_fold(checksum_add(0, buf, len + 2)), 0);
	}
}

/* RFC 3720 B.4; on the wire the lowest byte comes first. */
static void test_crc32c(void **state)
{
	(void)state;
	uint8_t buf[32] = { 0 };
	assert_int_equal(checksum_crc32c(buf, 32), 0xaa36918a);
	memset(buf, 0xff, 32);
	assert_int_equal(checksum_crc32c(buf, 32), 0x43aba862);
	assert_int_equal(checksum_crc32c("123456789", 9), 0x839206e3);
}

static struct addr random_addr(uint8_t len)
{
	struct addr a = { .len = len };
	for (uint8_t i = 0; i < len; i++)
		a.b[i] = (uint8_t)next_random();
	return a;
}

static size_t make_frame(uint8_t *buf, size_t cap, uint8_t proto, bool v4)
{
	uint8_t body[BYTES_MAX + 20];
	size_t len = 20 + random_bytes(body + 20, BYTES_MAX);
	memset(body, 0, 20);
	body[12] = 0x50;
	struct wr w = wr_init(buf, cap);
	wr_zero(&w, 12);
	wr_u16(&w, v4 ? 0x0800 : 0x86dd);
	struct addr src = random_addr(v4 ? 4 : 16), dst = random_addr(src.len);
	if (proto == IP_UDP) {
		body[4] = (uint8_t)(len >> 8);
		body[5] = (uint8_t)len;
		body[6] = 1;
	}
	if (v4) {
		wr_u16(&w, 0x4500);
		wr_u16(&w, (uint16_t)(20 + len));
		wr_u32(&w, 0);
		wr_u8(&w, 64);
		wr_u8(&w, proto);
		wr_u16(&w, 0);
	} else {
		wr_u32(&w, 0x60000000);
		wr_u16(&w, (uint16_t)len);
		wr_u8(&w, proto);
		wr_u8(&w, 64);
	}
	wr_bytes(&w, src.b, src.len);
	wr_bytes(&w, dst.b, dst.len);
	if (v4)
		wr_patch_u16(&w, 24, checksum_fold(checksum_add(0, buf + 14, 20)));
	wr_bytes(&w, body, len);
	assert_true(wr_ok(&w));
	return w.len;
}

/* A mended frame is right, mending it again changes nothing, and any single bit flipped behind the IP header is
 * noticed. */
static void check_mend(uint8_t proto, bool v4)
{
	uint8_t buf[1000], copy[1000];
	struct packet p;
	size_t len = make_frame(buf, sizeof(buf), proto, v4);
	assert_int_equal(packet_parse(buf, len, &p), 0);
	assert_int_equal(packet_fix_l4_checksum(buf, len, &p), 0);
	assert_true(packet_l4_checksum_ok(buf, len, &p));
	memcpy(copy, buf, len);
	assert_int_equal(packet_fix_l4_checksum(copy, len, &p), 0);
	assert_memory_equal(copy, buf, len);
	size_t at = p.payload < len ? p.payload + next_random() % (len - p.payload) : len - 1;
	copy[at] ^= (uint8_t)(1U << next_random() % 8);
	assert_false(packet_l4_checksum_ok(copy, len, &p));
}

static void test_mend(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		static const uint8_t protos[] = { IP_TCP, IP_UDP, IP_SCTP, IP_ICMP, IP_ICMP6 };
		uint8_t proto = protos[i % 5];
		bool v4 = proto == IP_ICMP || (proto != IP_ICMP6 && next_random() % 2 == 0);
		check_mend(proto, v4);
	}
}

/* RFC 768: a sum that comes out as 0 is sent as all ones. */
static void test_udp_zero(void **state)
{
	(void)state;
	uint8_t buf[1000];
	struct packet p;
	size_t len = make_frame(buf, sizeof(buf), IP_UDP, false);
	assert_int_equal(packet_parse(buf, len, &p), 0);
	buf[p.payload] = buf[p.payload + 1] = 0;
	assert_int_equal(packet_fix_l4_checksum(buf, len, &p), 0);
	/* The old checksum as data brings the sum to all ones, its complement to 0. */
	buf[p.payload] = buf[p.l4 + 6];
	buf[p.payload + 1] = buf[p.l4 + 7];
	assert_int_equal(packet_fix_l4_checksum(buf, len, &p), 0);
	assert_int_equal(buf[p.l4 + 6], 0xff);
	assert_int_equal(buf[p.l4 + 7], 0xff);
	assert_true(packet_l4_checksum_ok(buf, len, &p));
	buf[p.l4 + 6] = buf[p.l4 + 7] = 0;
	assert_false(packet_l4_checksum_ok(buf, len, &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc1071),
		cmocka_unit_test(test_sum_properties),
		cmocka_unit_test(test_crc32c),
		cmocka_unit_test(test_mend),
		cmocka_unit_test(test_udp_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
