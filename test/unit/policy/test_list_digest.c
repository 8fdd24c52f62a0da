/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/list_digest.h"
#include "policy/parse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const uint64_t key[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };

static struct policy_peer peer_of(const char *text)
{
	struct policy_peer p;
	struct policy_diag d;
	if (policy_parse_peer(text, strlen(text), &p, &d) != 0)
		fail_msg("%s: %s", text, d.message);
	return p;
}

static void *write_out(struct list_builder *b, struct list_digest *ret)
{
	size_t len;
	assert_int_equal(list_builder_finish(b, &len), 0);
	void *bytes = malloc(len);
	assert_non_null(bytes);
	assert_int_equal(list_builder_write(b, bytes, len), 0);
	list_builder_free(b);
	assert_int_equal(list_digest_open(bytes, len, ret), 0);
	assert_true(list_digest_whole(ret));
	return bytes;
}

static void *build(const char *const *texts, size_t n, struct list_digest *ret)
{
	struct list_builder *b = list_builder_new(key);
	assert_non_null(b);
	for (size_t i = 0; i < n; i++) {
		struct policy_peer p = peer_of(texts[i]);
		assert_int_equal(list_builder_add(b, &p), 0);
	}
	return write_out(b, ret);
}

/* Labels of the entry, negative when it is the name itself; 0: none. */
static int hit(const struct list_digest *l, const char *text)
{
	struct name n;
	struct list_hit h;
	assert_true(name_from_text(text, strlen(text), &n));
	if (!list_digest_name(l, &n, &h))
		return 0;
	return h.exact ? -(int)h.labels : (int)h.labels;
}

static int covers(const struct list_digest *l, const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return list_digest_addr(l, &a);
}

static void test_names(void **state)
{
	(void)state;
	static const char *const in[] = { "ads.example.com", "*.example.org", ".example.net", "*.deep.example.org",
		"ads.example.com" };
	struct list_digest l;
	void *bytes = build(in, 5, &l);
	assert_int_equal(list_digest_entries(&l), 5);
	assert_int_equal(hit(&l, "ads.example.com"), -3);
	assert_int_equal(hit(&l, "x.ads.example.com"), 0);
	assert_int_equal(hit(&l, "example.com"), 0);
	assert_int_equal(hit(&l, "example.org"), 0);
	assert_int_equal(hit(&l, "a.b.example.org"), 2);
	assert_int_equal(hit(&l, "deep.example.org"), 2);
	assert_int_equal(hit(&l, "a.deep.example.org"), 3);
	assert_int_equal(hit(&l, "example.net"), -2);
	assert_int_equal(hit(&l, "a.example.net"), 2);
	assert_int_equal(hit(&l, "example.ne"), 0);
	assert_int_equal(covers(&l, "192.0.2.1"), -ENOENT);
	assert_int_equal(covers(&l, "2001:db8::1"), -ENOENT);
	free(bytes);
}

static void test_nets(void **state)
{
	(void)state;
	static const char *const in[] = { "192.0.2.0/24", "192.0.2.128/25", "192.0.2.200", "255.255.255.255",
		"0.0.0.0/8", "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8::7", "ffff::/16", "64:ff9b::c633:6407" };
	struct list_digest l;
	void *bytes = build(in, 10, &l);
	static const struct {
		const char *addr;
		int prefix;
	} cases[] = { { "192.0.1.255", -ENOENT }, { "192.0.2.0", 24 }, { "192.0.2.127", 24 }, { "192.0.2.128", 25 },
		{ "192.0.2.199", 25 }, { "192.0.2.200", 32 }, { "192.0.2.201", 25 }, { "192.0.2.255", 25 },
		{ "192.0.3.0", -ENOENT }, { "255.255.255.255", 32 }, { "255.255.255.254", -ENOENT }, { "0.0.0.0", 8 },
		{ "1.0.0.0", -ENOENT }, { "198.51.100.7", 32 }, { "2001:db8::", 32 }, { "2001:db8::7", 128 },
		{ "2001:db8::8", 32 }, { "2001:db8:0:1:ffff::", 64 }, { "2001:db8:0:2::", 32 },
		{ "2001:db9::", -ENOENT }, { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 16 }, { "::1", -ENOENT } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (covers(&l, cases[i].addr) != cases[i].prefix)
			fail_msg("%s: %d", cases[i].addr, covers(&l, cases[i].addr));
	}
	struct name n;
	struct list_hit h;
	assert_true(name_from_text("www.example.org", 15, &n));
	assert_false(list_digest_name(&l, &n, &h));
	free(bytes);
	static const char *const all[] = { "0.0.0.0/0" };
	bytes = build(all, 1, &l);
	assert_int_equal(covers(&l, "255.255.255.255"), 0);
	assert_int_equal(covers(&l, "::1"), -ENOENT);
	free(bytes);
	bytes = build(NULL, 0, &l);
	assert_int_equal(covers(&l, "192.0.2.1"), -ENOENT);
	assert_int_equal(hit(&l, "example.org"), 0);
	free(bytes);
}

/* Small worlds, so that entries nest and meet: a list against a walk over its entries. */
enum { WORLDS = 400, ENTRIES = 40, ASKED = 200 };
static uint64_t seed;

static unsigned rnd(unsigned n)
{
	seed = seed * 6364136223846793005U + 1442695040888963407U;
	return (unsigned)(seed >> 33) % n;
}

static void random_name(char *buf, size_t len)
{
	unsigned labels = 1 + rnd(4);
	size_t at = 0;
	for (unsigned i = 0; i < labels; i++)
		at += (size_t)snprintf(buf + at, len - at, "%c.", 'a' + (int)rnd(3));
	snprintf(buf + at, len - at, "example");
}

static struct policy_peer random_entry(void)
{
	struct policy_peer p = { .kind = POLICY_PEER_NET };
	if (rnd(2) != 0) {
		char text[64];
		random_name(text, sizeof(text));
		p.kind = (enum policy_peer_kind)(POLICY_PEER_NAME + rnd(3));
		assert_true(name_from_text(text, strlen(text), &p.name));
		return p;
	}
	bool six = rnd(2) != 0;
	unsigned from = six ? 112 : 16, prefix = from + rnd(17);
	uint8_t b[16] = { 0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)rnd(256), [15] = (uint8_t)rnd(256) };
	p.net.addr = six ? addr_v6(b) : addr_v4(0xc0000000 | rnd(65536));
	for (unsigned bit = prefix; bit < p.net.addr.len * 8U; bit++)
		p.net.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	p.net.prefix = (uint8_t)prefix;
	return p;
}

static int naive_name(const struct policy_peer *e, size_t n, const struct name *asked)
{
	int best = 0;
	for (size_t i = 0; i < n; i++) {
		int labels = (int)name_labels(&e[i].name);
		bool named = e[i].kind == POLICY_PEER_NAME || e[i].kind == POLICY_PEER_WITHIN;
		if (named && name_equal(&e[i].name, asked))
			return -labels;
		if ((e[i].kind == POLICY_PEER_BELOW || e[i].kind == POLICY_PEER_WITHIN) &&
			name_within(asked, &e[i].name, true) && labels > best)
			best = labels;
	}
	return best;
}

static int naive_addr(const struct policy_peer *e, size_t n, const struct addr *asked)
{
	int best = -ENOENT;
	for (size_t i = 0; i < n; i++) {
		if (e[i].kind == POLICY_PEER_NET && addr_in(asked, &e[i].net.addr, e[i].net.prefix) &&
			(int)e[i].net.prefix > best)
			best = e[i].net.prefix;
	}
	return best;
}

static void ask_world(const struct list_digest *l, const struct policy_peer *e, size_t n)
{
	char text[64];
	struct name name;
	for (unsigned i = 0; i < ASKED; i++) {
		random_name(text, sizeof(text));
		assert_true(name_from_text(text, strlen(text), &name));
		assert_int_equal(hit(l, text), naive_name(e, n, &name));
		uint8_t b[16] = { 0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)rnd(256), [15] = (uint8_t)rnd(256) };
		struct addr a = rnd(2) != 0 ? addr_v6(b) : addr_v4(0xc0000000 | rnd(65536));
		assert_int_equal(list_digest_addr(l, &a), naive_addr(e, n, &a));
	}
}

static void test_naive(void **state)
{
	(void)state;
	for (unsigned w = 0; w < WORLDS; w++) {
		struct policy_peer e[ENTRIES];
		struct list_digest l;
		uint64_t k[2] = { w, 7 };
		seed = w + 1;
		struct list_builder *b = list_builder_new(k);
		assert_non_null(b);
		size_t n = rnd(ENTRIES + 1);
		for (size_t i = 0; i < n; i++) {
			e[i] = random_entry();
			assert_int_equal(list_builder_add(b, &e[i]), 0);
		}
		void *bytes = write_out(b, &l);
		ask_world(&l, e, n);
		free(bytes);
	}
}

static void test_refused(void **state)
{
	(void)state;
	static const char *const no[] = { "any", "lan", "set:a", "list:a", "app:a" };
	struct list_builder *b = list_builder_new(key);
	assert_non_null(b);
	for (unsigned i = 0; i < 5; i++) {
		struct policy_peer p = peer_of(no[i]);
		assert_int_equal(list_builder_add(b, &p), -EINVAL);
	}
	struct policy_peer bits = peer_of("192.0.2.1");
	bits.net.prefix = 24;
	assert_int_equal(list_builder_add(b, &bits), -EINVAL);
	struct policy_peer one = peer_of("192.0.2.1");
	for (size_t i = 0; i < LIST_ENTRIES_MAX; i++)
		assert_int_equal(list_builder_add(b, &one), 0);
	assert_int_equal(list_builder_add(b, &one), -E2BIG);
	list_builder_free(b);
}

static void test_damaged(void **state)
{
	(void)state;
	static const char *const in[] = { "ads.example.com", "*.example.org", "192.0.2.0/24", "2001:db8::/32" };
	struct list_digest l, other;
	uint8_t *bytes = build(in, 4, &l);
	for (size_t len = 0; len < l.len; len++)
		assert_int_equal(list_digest_open(bytes, len, &other), -EBADMSG);
	for (size_t i = 0; i < l.len; i++) {
		bytes[i] ^= 0x40;
		if (list_digest_open(bytes, l.len, &other) == 0)
			assert_false(list_digest_whole(&other));
		bytes[i] ^= 0x40;
	}
	assert_true(list_digest_whole(&l));
	/* A table without a free slot, and no slot that fits: the search ends. */
	memset((void *)(uintptr_t)l.slots, 0xfc, l.n_slots * sizeof(*l.slots));
	assert_int_equal(list_digest_open(bytes, l.len, &other), 0);
	assert_int_equal(hit(&other, "www.example.com"), 0);
	free(bytes);
}

static double since_ns(const struct timespec *a)
{
	struct timespec b;
	clock_gettime(CLOCK_MONOTONIC, &b);
	return (double)(b.tv_sec - a->tv_sec) * 1e9 + (double)(b.tv_nsec - a->tv_nsec);
}

static void test_million(void **state)
{
	(void)state;
	enum { MANY = 1000000, ASKS = 1000000 };
	struct timespec a;
	struct policy_peer p = { .kind = POLICY_PEER_WITHIN };
	struct list_builder *b = list_builder_new(key);
	struct list_digest l;
	struct list_hit h;
	char text[64];
	assert_non_null(b);
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned i = 0; i < MANY; i++) {
		int n = snprintf(text, sizeof(text), "host%u.zone%u.example", i, i % 977);
		assert_true(name_from_text(text, (size_t)n, &p.name));
		assert_int_equal(list_builder_add(b, &p), 0);
	}
	void *bytes = write_out(b, &l);
	double built = since_ns(&a);
	assert_in_range(l.len, 1, 17 << 20);
	double ns[2];
	for (unsigned miss = 0; miss < 2; miss++) {
		unsigned found = 0;
		struct name *names = calloc(ASKS, sizeof(*names));
		assert_non_null(names);
		for (unsigned i = 0; i < ASKS; i++) {
			unsigned k = (unsigned)((uint64_t)i * 7919 % MANY);
			int n = snprintf(text, sizeof(text), "%shost%u.zone%u.example", miss != 0 ? "x" : "a.", k,
				k % 977);
			assert_true(name_from_text(text, (size_t)n, &names[i]));
		}
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (unsigned i = 0; i < ASKS; i++)
			found += list_digest_name(&l, &names[i], &h);
		ns[miss] = since_ns(&a) / ASKS;
		assert_int_equal(found, miss != 0 ? 0 : ASKS);
		free(names);
	}
	print_message(
		"1,000,000 names: built, written and checked in %.2f s, %.1f MiB, %.0f ns a hit, %.0f ns a miss\n",
		built / 1e9, (double)l.len / 1048576, ns[0], ns[1]);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_nets),
		cmocka_unit_test(test_naive), cmocka_unit_test(test_refused), cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_million) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
