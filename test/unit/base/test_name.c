/* SPDX-License-Identifier: Apache-2.0 */
#include "base/name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct name name(const char *text)
{
	struct name n;
	if (!name_from_text(text, strlen(text), &n))
		fail_msg("\"%s\" is no name", text);
	return n;
}

static void assert_text(const struct name *n, const char *want)
{
	char text[NAME_TEXT_MAX];
	assert_string_equal(name_format(n, text, sizeof(text)), want);
}

static void test_text(void **state)
{
	(void)state;
	struct name n = name("WWW.Example.ORG.");
	static const uint8_t wire[] = "\3www\7example\3org";
	assert_int_equal(n.len, sizeof(wire));
	assert_memory_equal(n.wire, wire, sizeof(wire));
	assert_text(&n, "www.example.org");
	n = name("_dns._udp.x-1");
	assert_text(&n, "_dns._udp.x-1");
	static const char *const bad[] = { "", ".", "..", ".a", "a..b", "a...", "a b", "a\tb", "*.a", "a/b",
		"\xc3\xa4.de", "a\\.b", "a:b" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct name kept = { .len = 9 };
		if (name_from_text(bad[i], strlen(bad[i]), &kept) || kept.len != 9)
			fail_msg("\"%s\" was taken or *ret touched", bad[i]);
	}
	assert_false(name_from_text("a\0b", 3, &n));
	assert_false(name_from_text("ab", 0, &n));
}

/* The longest label, the longest name, and one byte more of each. */
static void test_limits(void **state)
{
	(void)state;
	char text[300];
	struct name n;
	memset(text, 'a', sizeof(text));
	assert_true(name_from_text(text, 63, &n));
	assert_false(name_from_text(text, 64, &n));
	for (size_t i = 63; i < 253; i += 64)
		text[i] = '.';
	assert_true(name_from_text(text, 253, &n));
	assert_int_equal(n.len, NAME_WIRE_MAX);
	assert_false(name_from_text(text, 254, &n));
	text[253] = '.';
	assert_true(name_from_text(text, 254, &n));
	for (size_t i = 0; i < 253; i++)
		text[i] = i % 2 == 0 ? 'a' : '.';
	assert_true(name_from_text(text, 253, &n));
	assert_int_equal(name_labels(&n), NAME_LABELS_MAX);
}

/* A block of exactly `len` bytes, for the sanitizer. */
static bool from_wire(const void *bytes, size_t len, struct name *ret)
{
	uint8_t *block = malloc(len == 0 ? 1 : len);
	assert_non_null(block);
	memcpy(block, bytes, len);
	bool ok = name_from_wire(block, len, ret);
	free(block);
	return ok;
}

static void test_wire(void **state)
{
	(void)state;
	struct name n = { .len = 0 };
	assert_true(from_wire("\0", 1, &n));
	assert_int_equal(n.len, 1);
	assert_text(&n, ".");
	assert_int_equal(name_labels(&n), 0);
	assert_true(from_wire("\2A.\0", 4, &n));
	assert_text(&n, "a\\046");
	assert_true(from_wire("\4a\0\\\xff\0", 6, &n));
	assert_text(&n, "a\\000\\092\\255");
	assert_false(name_is_plain(&n));
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = { { "", 0 }, { "\1", 1 }, { "\1a", 2 }, { "\2a\0", 3 }, { "\0\0", 2 }, { "\1a\0\0", 4 },
		{ "\300\14", 2 }, { "\100", 1 } };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		n.len = 99;
		if (from_wire(bad[i].bytes, bad[i].len, &n) || n.len != 99)
			fail_msg("case %u was taken or *ret touched", i);
	}
	uint8_t big[300];
	memset(big, 1, sizeof(big));
	for (size_t i = 1; i < sizeof(big); i += 2)
		big[i] = 'a';
	big[254] = 0;
	assert_true(from_wire(big, 255, &n));
	assert_int_equal(name_labels(&n), NAME_LABELS_MAX);
	big[254] = 1;
	big[256] = 0;
	assert_false(from_wire(big, 257, &n));
}

/* Any bytes: what is taken keeps its length and only changes case; text of the worst name fits NAME_TEXT_MAX. */
static void test_random_wire(void **state)
{
	(void)state;
	srand(7);
	unsigned taken = 0;
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t bytes[40];
		size_t len = 0;
		while (len < 30 && rand() % 4 != 0) {
			size_t label = (size_t)(1 + rand() % 4);
			bytes[len++] = (uint8_t)label;
			for (size_t k = 0; k < label; k++)
				bytes[len++] = (uint8_t)rand();
		}
		bytes[len++] = 0;
		if (rand() % 3 == 0)
			bytes[(size_t)rand() % len] ^= (uint8_t)(1 << rand() % 8);
		struct name n;
		if (!from_wire(bytes, len, &n))
			continue;
		taken++;
		assert_int_equal(n.len, len);
		for (size_t k = 0; k < len; k++)
			assert_true(n.wire[k] == bytes[k] ||
				    (bytes[k] >= 'A' && bytes[k] <= 'Z' && n.wire[k] == bytes[k] + 32));
	}
	assert_true(taken > 10000);
	struct name worst = { .len = NAME_WIRE_MAX };
	memset(worst.wire, 0xff, sizeof(worst.wire));
	worst.wire[0] = worst.wire[64] = worst.wire[128] = 63;
	worst.wire[192] = 61;
	worst.wire[254] = 0;
	char text[NAME_TEXT_MAX];
	name_format(&worst, text, sizeof(text));
	assert_int_equal(strlen(text), 250 * 4 + 3);
	for (size_t cap = 1; cap < 64; cap++) {
		char *small = malloc(cap);
		assert_non_null(small);
		assert_true(strlen(name_format(&worst, small, cap)) < cap);
		free(small);
	}
}

static void test_relations(void **state)
{
	(void)state;
	struct name www = name("www.example.org"), example = name("example.org"), other = name("notexample.org"),
		    root = { .len = 1 };
	assert_int_equal(name_labels(&www), 3);
	assert_true(name_within(&www, &example, false));
	assert_true(name_within(&www, &example, true));
	assert_true(name_within(&example, &example, false));
	assert_false(name_within(&example, &example, true));
	assert_false(name_within(&other, &example, false));
	assert_false(name_within(&example, &www, false));
	assert_true(name_within(&www, &root, true));
	assert_true(name_within(&root, &root, false));
	assert_false(name_within(&root, &root, true));
	struct name p = name_parent(&www, 1);
	assert_true(name_equal(&p, &example));
	p = name_parent(&www, 0);
	assert_true(name_equal(&p, &www));
	p = name_parent(&www, 3);
	assert_true(name_equal(&p, &root));
	assert_false(name_equal(&www, &example));
	assert_true(name_is_plain(&www) && name_is_plain(&root));
	/* The bytes of a name inside a label of another are not that name. */
	struct name trap;
	assert_true(from_wire("\5x\3org\0", 7, &trap));
	struct name org = name("org");
	assert_false(name_within(&trap, &org, false));
}

static void test_hash(void **state)
{
	(void)state;
	struct name a = name("www.example.org"), b = name("WWW.example.org");
	assert_true(name_hash(&a, 1) == name_hash(&b, 1));
	assert_true(name_hash(&a, 1) != name_hash(&a, 2));
	/* Low bits spread: 4096 numbered names over 4096 buckets leave about 1/e empty. */
	static bool used[4096];
	unsigned n = 0;
	for (unsigned i = 0; i < 4096; i++) {
		char text[32];
		snprintf(text, sizeof(text), "h%u.example.org", i);
		struct name h = name(text);
		bool *bucket = &used[name_hash(&h, 7) % 4096];
		n += !*bucket;
		*bucket = true;
	}
	assert_in_range(n, 2400, 2800);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_wire),
		cmocka_unit_test(test_random_wire),
		cmocka_unit_test(test_relations),
		cmocka_unit_test(test_hash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
