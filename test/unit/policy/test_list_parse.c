/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/list_digest.h"
#include "policy/list_parse.h"
#include "policy/print.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct got {
	char text[4096]; /* the entries as a rule would print them, a blank after each */
	size_t len, n, most;
};

static int collect(void *arg, const struct policy_peer *p)
{
	struct got *g = arg;
	char name[NAME_TEXT_MAX], addr[ADDR_TEXT_MAX];
	size_t room = sizeof(g->text) - g->len;
	int n;
	if (g->n == g->most)
		return -E2BIG;
	g->n++;
	if (p->kind == POLICY_PEER_NET)
		n = snprintf(g->text + g->len, room, "%s/%u ", addr_format(&p->net.addr, addr, sizeof(addr)),
			p->net.prefix);
	else
		n = snprintf(g->text + g->len, room, "%s%s ",
			p->kind == POLICY_PEER_NAME    ? ""
			: p->kind == POLICY_PEER_BELOW ? "*."
						       : ".",
			name_format(&p->name, name, sizeof(name)));
	assert_in_range(n, 1, room - 1);
	g->len += (size_t)n;
	return 0;
}

static int parse(const char *text, struct got *g, struct list_report *r)
{
	*g = (struct got){ .most = 64 };
	return list_parse(text, strlen(text), collect, g, r);
}

static void test_formats(void **state)
{
	(void)state;
	static const struct {
		const char *text, *entries;
	} cases[] = {
		{ "ads.example.org\n", "ads.example.org " },
		{ "\xef\xbb\xbf"
		  "# a list\r\n\r\nADS.example.org.\r\n",
			"ads.example.org " },
		{ "*.example.org\n.example.net # both\n", "*.example.org .example.net " },
		{ "b\xc3\xbc"
		  "cher.example.org",
			"xn--bcher-kva.example.org " },
		{ "192.0.2.0/24 ; SBL1\n2001:db8::/32\n192.0.2.7\n", "192.0.2.0/24 2001:db8::/32 192.0.2.7/32 " },
		{ "127.0.0.1 localhost\n::1 localhost ip6-loopback\n0.0.0.0 0.0.0.0\n0.0.0.0 ads.example.org\n",
			"ads.example.org " },
		{ "0.0.0.0\ta.example.org  b.example.org # two\n::\tc.example.org\n",
			"a.example.org b.example.org c.example.org " },
		{ "[Adblock Plus 2.0]\n! Title: x\n||ads.example.org^\n||192.0.2.1^\n",
			".ads.example.org 192.0.2.1/32 " },
		{ ";\n;x\nads.example.org ;x\n", "ads.example.org " },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct got g;
		struct list_report r;
		if (parse(cases[i].text, &g, &r) != 0 || r.n_bad != 0)
			fail_msg("%s: line %u: %s", cases[i].text, r.errors[0].line, r.errors[0].message);
		assert_string_equal(g.text, cases[i].entries);
		assert_int_equal(r.n_names + r.n_nets, g.n);
	}
}

static void test_left_out(void **state)
{
	(void)state;
	struct got g;
	struct list_report r;
	assert_int_equal(parse("||ads.example.org^\n@@||good.ads.example.org^\n||x.example.org^$third-party\n"
			       "||x.example.org/banner\n||*.x.example.org^\n/banner/*\n|https://x\nexample.org##.ad\n"
			       "example.org#@#.ad\n",
				 &g, &r),
		0);
	assert_string_equal(g.text, ".ads.example.org ");
	assert_int_equal(r.n_exceptions, 1);
	assert_int_equal(r.n_browser, 7);
	assert_int_equal(r.n_bad, 0);
}

static void test_errors(void **state)
{
	(void)state;
	static const char *const bad[] = { "com", "*.com", "co.uk", "||com^", "||co.uk^", ".github.io.", "any", "lan",
		"set:x", "list:x", "app:x", "10.0.0.1/8", "192.0.2.1 www.example.org",
		"www.example.org www.example.net", "0.0.0.0 *.example.org", "0.0.0.0 co.uk", "www..example.org",
		"<html>", "a.example.org,b.example.org", "x=y.example.org", "a\x01.example.org", "||^", "*", ".",
		"\xff\xfe.example.org", "\"a.example.org\"" };
	struct got g;
	struct list_report r;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text), "ok.example.org\n\n%s\nok.example.net\n", bad[i]);
		bool own = strcmp(bad[i], ".github.io.") == 0; /* whoever has a name there answers for it */
		if (parse(text, &g, &r) != 0 || r.n_bad != (own ? 0 : 1))
			fail_msg("%s: %zu bad, %s", bad[i], r.n_bad, g.text);
		if (own)
			continue;
		assert_string_equal(g.text, "ok.example.org ok.example.net ");
		assert_int_equal(r.n_errors, 1);
		assert_int_equal(r.errors[0].line, 3);
		assert_true(r.errors[0].message[0] != '\0');
	}
	assert_int_equal(list_parse("a.example.org\nb\0.example.org\n", 29, collect, &g, &r), 0);
	assert_int_equal(r.n_bad, 1);
}

static void test_limits(void **state)
{
	(void)state;
	struct got g;
	struct list_report r;
	assert_int_equal(parse("", &g, &r), -EBADMSG);
	assert_int_equal(parse("# nothing\n", &g, &r), -EBADMSG);
	assert_int_equal(parse("a.example.org\nx\n", &g, &r), 0);
	assert_int_equal(parse("a.example.org\nx\ny\n", &g, &r), -EBADMSG);
	assert_int_equal(parse("a\na\na\na\na\na\na\na\na\na\n", &g, &r), -EBADMSG);
	assert_int_equal(r.n_bad, 10);
	assert_int_equal(r.n_errors, LIST_ERRORS_MAX);
	assert_int_equal(r.errors[7].line, 8);
	g = (struct got){ .most = 1 };
	assert_int_equal(list_parse("a.example.org\nb.example.org\n", 28, collect, &g, &r), -E2BIG);
	assert_int_equal(list_parse("", (size_t)LIST_BYTES_MAX + 1, collect, &g, &r), -E2BIG);
	/* The longest line that is read, and one byte more. */
	char *text = malloc(LIST_LINE_MAX + 32);
	assert_non_null(text);
	for (unsigned more = 0; more < 2; more++) {
		memset(text, ' ', LIST_LINE_MAX + 16);
		memcpy(text, "a.example.org", 13);
		text[LIST_LINE_MAX - 1 + more] = '#';
		g = (struct got){ .most = 4 };
		assert_int_equal(list_parse(text, LIST_LINE_MAX + more, collect, &g, &r), more == 0 ? 0 : -EBADMSG);
		assert_int_equal(r.n_bad, more);
	}
	free(text);
}

static int into_digest(void *arg, const struct policy_peer *p)
{
	return list_builder_add(arg, p);
}

static void test_million(void **state)
{
	(void)state;
	enum { MANY = 1000000 };
	static const uint64_t key[2] = { 1, 2 };
	struct timespec a, b;
	struct list_report r;
	struct list_digest l;
	size_t at = 0, len;
	char *text = malloc((size_t)MANY * 48);
	struct list_builder *build = list_builder_new(key);
	assert_non_null(text);
	assert_non_null(build);
	for (unsigned i = 0; i < MANY; i++)
		at += (size_t)sprintf(text + at, "0.0.0.0 host%u.zone%u.example\n", i, i % 977);
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(list_parse(text, at, into_digest, build, &r), 0);
	assert_int_equal(r.n_names, MANY);
	assert_int_equal(list_builder_finish(build, &len), 0);
	void *bytes = malloc(len);
	assert_non_null(bytes);
	assert_int_equal(list_builder_write(build, bytes, len), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_int_equal(list_digest_open(bytes, len, &l), 0);
	assert_int_equal(list_digest_entries(&l), MANY);
	print_message("1,000,000 names of a hosts file, %.1f MiB: read and made a digest in %.2f s\n",
		(double)at / 1048576, (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9);
	list_builder_free(build);
	free(bytes);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_formats), cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_errors), cmocka_unit_test(test_limits), cmocka_unit_test(test_million) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
