/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_escaped(const char *bytes, size_t len, const char *want)
{
	char buf[256];
	char *block = malloc(len == 0 ? 1 : len);
	assert_non_null(block);
	memcpy(block, bytes, len);
	assert_string_equal(text_escape(block, len, buf, sizeof(buf)), want);
	free(block);
}

static void test_escape(void **state)
{
	(void)state;
	static const struct {
		const char *bytes, *want;
	} cases[] = { { "", "" }, { "plain text!", "plain text!" },
		{ "a\nb\tc\x1b[31m\x7f", "a\\x0ab\\x09c\\x1b[31m\\x7f" },
		{ "gr\xc3\xbc\xc3\x9f \xe9\x96\xa2\xe6\x89\x80 \xf0\x9f\x8c\xb8",
			"gr\xc3\xbc\xc3\x9f \xe9\x96\xa2\xe6\x89\x80 \xf0\x9f\x8c\xb8" },
		{ "\xe2\x80\xae"
		  "gpj.exe",
			"\\u{202e}gpj.exe" },
		{ "a\xe2\x80\x8b"
		  "b",
			"a\\u{200b}b" },
		{ "\xef\xbb\xbfx", "\\u{feff}x" },
		{ "\xc2\x9b"
		  "31m",
			"\\u{9b}31m" },
		{ "\xe2\x81\xa6x", "\\u{2066}x" }, { "\xf3\xa0\x81\x81", "\\u{e0041}" },
		/* Overlong, surrogate, above the last code point, a lone tail, a cut sequence. */
		{ "\xc0\xaf", "\\xc0\\xaf" }, { "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
		{ "\x80", "\\x80" }, { "a\xe2\x82", "a\\xe2\\x82" }, { "\xff\xfe", "\\xff\\xfe" },
		{ "\xe2(\xa1", "\\xe2(\\xa1" } };
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_escaped(cases[i].bytes, strlen(cases[i].bytes), cases[i].want);
	assert_escaped("a\0b", 3, "a\\x00b");
}

/* Any bytes into any room: ended, inside the room, printable, cut at whole escapes. */
static void test_escape_room(void **state)
{
	(void)state;
	srand(11);
	for (unsigned i = 0; i < 20000; i++) {
		char in[12];
		size_t len = (size_t)rand() % sizeof(in), cap = 1 + (size_t)rand() % 40;
		for (size_t k = 0; k < len; k++) {
			int c = rand() % 4 == 0 ? rand() : 0xe2 - 0x62 * (rand() % 2) + rand() % 2;
			/* A backslash is passed as it is: it would look like the start of an escape below. */
			in[k] = (char)((char)c == '\\' ? '/' : c);
		}
		char *room = malloc(cap), whole[sizeof(in) * 10];
		assert_non_null(room);
		text_escape(in, len, room, cap);
		text_escape(in, len, whole, sizeof(whole));
		size_t n = strlen(room);
		assert_true(n < cap);
		assert_memory_equal(room, whole, n);
		for (size_t k = 0; k < n; k++)
			assert_true((unsigned char)room[k] >= 0x20 && room[k] != 0x7f);
		const char *last = strrchr(room, '\\');
		/* \xNN is four characters, \u{...} ends with a brace. */
		if (last != NULL && last[1] == 'x')
			assert_true(strlen(last) >= 4);
		else if (last != NULL)
			assert_non_null(strchr(last, '}'));
		free(room);
	}
	char none = 'k';
	assert_ptr_equal(text_escape("abc", 3, &none, 0), &none);
	assert_int_equal(none, 'k');
}

/* Standard error goes to a pipe while `write` runs; its text comes back. */
static char *captured(void (*write_lines)(void))
{
	static char text[1 << 20];
	int p[2], kept = dup(STDERR_FILENO);
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_true(fcntl(p[1], F_SETPIPE_SZ, (int)sizeof(text)) >= 0);
	assert_true(dup2(p[1], STDERR_FILENO) >= 0);
	write_lines();
	assert_true(dup2(kept, STDERR_FILENO) >= 0);
	close(kept);
	close(p[1]);
	size_t at = 0;
	for (ssize_t n; (n = read(p[0], text + at, sizeof(text) - 1 - at)) > 0;)
		at += (size_t)n;
	close(p[0]);
	text[at] = '\0';
	return text;
}

static void write_some(void)
{
	static char longest[3000];
	memset(longest, 'x', sizeof(longest) - 1);
	log_open("gate", LOG_INFO);
	log_msg(LOG_NOTICE, "name %s", "a\nb");
	log_msg(LOG_DEBUG, "not wanted");
	log_msg(LOG_ERROR, "%s", longest);
}

static void test_lines(void **state)
{
	(void)state;
	char *text = captured(write_some);
	assert_memory_equal(text, "<5>gate: name a\\x0ab\n<3>gate: xxx", 33);
	assert_null(strstr(text, "not wanted"));
	assert_true(strlen(text) < 1200);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

enum { FLOOD = 5000 };

static void write_flood(void)
{
	for (unsigned i = 0; i < FLOOD; i++)
		log_msg(LOG_INFO, "line %u", i);
}

/* The bucket fills with time: poll(2) on nothing lets 60 ms go by, enough for three lines. */
static void write_after(void)
{
	poll(NULL, 0, 60);
	log_msg(LOG_INFO, "after");
}

static void test_rate(void **state)
{
	(void)state;
	log_open("gate", LOG_INFO);
	int64_t began = clock_boot_ms();
	const char *text = captured(write_flood);
	int64_t took_ms = clock_boot_ms() - began;
	unsigned lines = 0;
	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	/* A burst of 200, and 50 a second while it ran (a notice of what was left out may stand between). */
	assert_in_range(lines, 150, 2 * (202 + (unsigned)(took_ms / 20)));
	assert_non_null(strstr(text, "line 0\n"));
	text = captured(write_after);
	assert_non_null(strstr(text, " lines left out (rate limit)\n"));
	assert_non_null(strstr(text, "gate: after\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escape),
		cmocka_unit_test(test_escape_room),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_rate),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
