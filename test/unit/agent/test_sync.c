/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sync.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* Where the key ends in `text`, given in pieces of `piece` bytes; -1: nowhere. */
static long find(const char *key, const char *text, size_t len, size_t piece)
{
	struct agent_sync s;
	agent_sync_init(&s, (const uint8_t *)key);
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece, used;
		if (agent_sync_find(&s, (const uint8_t *)text + at, n, &used))
			return (long)(at + used);
		assert_int_equal(used, n);
		assert_true(s.have < AGENT_SYNC_LEN && s.have <= at + n);
		assert_memory_equal(text + at + n - s.have, key, s.have);
	}
	return -1;
}

static void test_every_split(void **state)
{
	(void)state;
	static const struct {
		const char *key, *text;
		long end;
	} rows[] = {
		{ "0123456789abcdef", "0123456789abcdef", 16 },
		{ "0123456789abcdef", "xx0123456789abcdefyy", 18 },
		{ "0123456789abcdef", "01230123456789abcdef", 20 },
		{ "0123456789abcdef", "0123456789abcde0123456789abcdef0123456789abcdef", 31 },
		{ "0123456789abcdef", "0123456789abcdeF", -1 },
		{ "aaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaab", 21 },
		{ "abababababababac", "xababababababababababac", 23 },
		{ "abcabcabcabcabcd", "abcabcabcabcabcabcabcd", 22 },
		{ "aaaaaaaaaaaaaaaa", "baaaaaaaaaaaaaaab", -1 },
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t piece = 1; piece <= strlen(rows[i].text); piece++)
			assert_int_equal(find(rows[i].key, rows[i].text, strlen(rows[i].text), piece), rows[i].end);
	}
}

/* The same as looking at every place, for all texts over two letters. */
static void test_against_memcmp(void **state)
{
	(void)state;
	static const char key[] = "abaababaabaababa";
	char text[20];
	for (unsigned bits = 0; bits < 1U << sizeof(text); bits++) {
		long want = -1;
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = (bits >> i & 1) != 0 ? 'b' : 'a';
		for (size_t i = 0; want < 0 && i + AGENT_SYNC_LEN <= sizeof(text); i++) {
			if (memcmp(text + i, key, AGENT_SYNC_LEN) == 0)
				want = (long)(i + AGENT_SYNC_LEN);
		}
		assert_int_equal(find(key, text, sizeof(text), 7), want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_split), cmocka_unit_test(test_against_memcmp) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
