/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"
#include "policy/parse.h"
#include "policy/print.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *line, *canonical; /* NULL: the same */
} good[] = {
	{ "ask any", NULL },
	{ "allow firefox to internet port 80,443", NULL },
	{ "deny any to list:ads quiet", NULL },
	{ "allow firefox to ads.example.com note \"needed by shop\"", NULL },
	{ "allow agent-build to files.packages.example port 443/tcp until exit", NULL },
	{ "allow agent-build to *.githubusercontent.com port 443 for 1h", NULL },
	{ "allow agent-build to api.example.com port 443 3 times log", NULL },
	{ "allow backup to .s3.example.net port https between 01:00-05:00 on mon,wed,fri",
		"allow backup to .s3.example.net port 443 between 01:00-05:00 on mon,wed,fri" },
	{ "allow @office to 10.20.0.0/16 port 445/tcp until 18:00", NULL },
	{ "allow dbtool to 2001:db8:5::/48 port 5432-5439/tcp until 2026-12-31", NULL },
	{ "allow game from lan port 27015-27030/udp", NULL },
	{ "final deny untrusted-pdf", NULL },
	{ "allow web to app:db port 5432/tcp", NULL },
	{ "ask agent-build to 192.0.2.7 port 22/tcp", NULL },
	{ "allow ping to 192.0.2.1 port /icmp once", NULL },
	/* one form only */
	{ "  reject   web\tto any  # comment", "deny web" },
	{ "allow web from any", NULL },
	{ "allow web to any port 443 , 80,443", "allow web port 80,443" },
	{ "allow web to 192.0.2.1/32", "allow web to 192.0.2.1" },
	{ "allow web to 2001:DB8:0:0::1/128", "allow web to 2001:db8::1" },
	{ "allow web to ::ffff:192.0.2.0/120", "allow web to 192.0.2.0/24" },
	{ "allow web to 0.0.0.0/0", NULL },
	{ "allow web to WWW.Example.ORG.", "allow web to www.example.org" },
	{ "allow web to bücher.example", "allow web to xn--bcher-kva.example" },
	{ "allow web to _dmarc.example.org", NULL },
	{ "allow web to *.home.arpa", NULL },
	{ "allow web port 80-80/6,/17,8/icmp,/47,https/132", "allow web port 8/icmp,80/tcp,443/sctp,/udp,/47" },
	{ "allow web for 90m", "allow web for 1h30m" },
	{ "allow web for 7d24h60m60s", "allow web for 1w1d1h1m" },
	{ "allow web 1 times", "allow web once" },
	{ "allow web until 2026-12-31 18:00", NULL },
	{ "allow web once on sun,mon,sun until reboot for 1s between 22:00-06:00",
		"allow web for 1s until reboot between 22:00-06:00 on mon,sun once" },
	{ "allow web note \"日本 \xe2\x80\x8c ü\"", NULL },
	{ "deny web note \"a\\\"b\\\\c ü\" log", "deny web log note \"a\\\"b\\\\c ü\"" },
};

static void test_good(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct policy_rule r, back;
		struct policy_diag d;
		char text[POLICY_PRINT_MAX];
		if (policy_parse_rule(good[i].line, strlen(good[i].line), &r, &d) != 0)
			fail_msg("%s: %u: %s", good[i].line, d.col, d.message);
		assert_true(policy_print_rule(&r, text, sizeof(text)) > 0);
		assert_string_equal(text, good[i].canonical == NULL ? good[i].line : good[i].canonical);
		assert_int_equal(policy_parse_rule(text, strlen(text), &back, NULL), 0);
		assert_true(policy_rule_equal(&r, &back));
		policy_rule_fini(&r);
		policy_rule_fini(&back);
	}
}

/* The column is where the pencil would point; `says` stands in the message. */
static const struct {
	const char *line;
	unsigned col;
	const char *says, *near;
} bad[] = {
	{ "", 1, "expected a verb", "" },
	{ "alow web", 1, "did you mean \"allow\"?", "allow" },
	{ "Allow web", 1, "did you mean \"allow\"?", "allow" },
	{ "final web", 7, "expected a verb", "" },
	{ "allow", 6, "expected an application", "" },
	{ "allow lan", 7, "keyword", "" },
	{ "allow Web", 7, "a-z", "" },
	{ "allow weB", 9, "a-z", "" },
	{ "allow @", 8, "the name of a group", "" },
	{ "allow web too any", 11, "did you mean \"to\"?", "to" },
	{ "allow web to", 13, "expected a peer", "" },
	{ "allow web to port 80", 14, "expected a peer", "" },
	{ "allow web to intrenet", 14, "did you mean \"internet\"?", "internet" },
	{ "allow web to example", 14, "two labels", "" },
	{ "allow web to *.com", 14, "top-level", "" },
	{ "allow web to *.co.uk", 14, "public suffix", "" },
	{ "allow web to .co.uk", 14, "public suffix", "" },
	{ "allow web to *", 14, "did you mean \"any\"?", "any" },
	{ "allow web to a*.example.org", 15, "stands only at the front", "" },
	{ "allow web to a..example.org", 16, "expected a label", "" },
	{ "allow web to https://example.org/", 14, "is a URL", "" },
	{ "allow web to example.org:443", 25, "a port is not part of the name", "" },
	{ "allow web to ex!ample.org", 16, "no part of a host name", "" },
	{ "allow web to 10.20.0.1/16", 14, "the network is 10.20.0.0/16", "" },
	{ "allow web to 2001:db8::1/64", 14, "the network is 2001:db8::/64", "" },
	{ "allow web to 10.0.0.0/33", 23, "from 0 to 32", "" },
	{ "allow web to 10.0.0.0/", 23, "prefix length", "" },
	{ "allow web to 10.0.0.256", 14, "is no address", "" },
	{ "allow web to 10.50.0.", 14, "neither a host name nor an address", "" },
	{ "allow web to *.a.1", 16, "neither", "" },
	{ "allow web to a.\xef\xbc\x91", 14, "neither", "" },
	{ "allow web to [2001:db8::1]:443", 14, "without brackets", "" },
	{ "allow web to set:", 18, "the name of a set", "" },
	{ "allow web to app:DB", 18, "the name of an application", "" },
	{ "allow web from www.example.org", 16, "cannot stand after \"from\"", "" },
	{ "allow web from *.example.org", 16, "cannot stand after \"from\"", "" },
	{ "allow web port", 15, "expected a port", "" },
	{ "allow web port 80,", 19, "expected a port", "" },
	{ "allow web port 80,,443", 19, "expected a port", "" },
	{ "allow web port 65536", 16, "at most 65535", "" },
	{ "allow web port 90-80", 19, "ends before it starts", "" },
	{ "allow web port 80-", 19, "last port", "" },
	{ "allow web port htps", 16, "did you mean \"https\"?", "https" },
	{ "allow web port 80/tpc", 19, "did you mean \"tcp\"?", "tcp" },
	{ "allow web port 80/", 19, "a protocol", "" },
	{ "allow web port 80/47", 16, "has no ports", "" },
	{ "allow web port 256/icmp", 16, "type from 0 to 255", "" },
	{ "allow web port /256", 17, "a protocol", "" },
	{ "allow web port 80 to example.org", 19, "out of place", "" },
	{ "allow web for 1h for 2h", 18, "said twice", "" },
	{ "allow web until exit until 18:00", 22, "said twice", "" },
	{ "allow web once 3 times", 16, "said twice", "" },
	{ "allow web on mon on tue", 18, "said twice", "" },
	{ "allow web between 01:00-02:00 between 03:00-04:00", 31, "said twice", "" },
	{ "allow web for", 14, "a duration", "" },
	{ "allow web for 10", 17, "a unit", "" },
	{ "allow web for 10x", 17, "a unit", "" },
	{ "allow web for 1h2", 18, "a unit", "" },
	{ "allow web for 0s", 15, "longer than nothing", "" },
	{ "allow web for 99999999w", 15, "hundred years", "" },
	{ "allow any until exit", 11, "one application", "" },
	{ "allow @g until exit", 10, "one application", "" },
	{ "allow web until exitt", 17, "did you mean \"exit\"?", "exit" },
	{ "allow web until 24:00", 17, "00 to 23", "" },
	{ "allow web until 23:60", 20, "00 to 59", "" },
	{ "allow web until 2026-13-01", 22, "01 to 12", "" },
	{ "allow web until 2026-02-29", 25, "01 to 28", "" },
	{ "allow web between 01:00", 19, "two times", "" },
	{ "allow web between 01:00-01:00", 25, "empty", "" },
	{ "allow web on mno", 14, "did you mean \"mon\"?", "mon" },
	{ "allow web on mon,", 18, "a day", "" },
	{ "allow web 0 times", 11, "a number of times", "" },
	{ "allow web 3", 12, "\"times\" after the number", "" },
	{ "allow web 3 tmes", 13, "did you mean \"times\"?", "times" },
	{ "allow web log log", 15, "said twice", "" },
	{ "allow web note x", 16, "a string", "" },
	{ "allow web note \"x", 16, "no end", "" },
	{ "allow web note \"a\xc2\x9b"
	  "2Jb\"",
		18, "no control", "" },
	{ "allow web note \"\xe2\x80\xae"
	  "b\"",
		17, "turn text round", "" },
	{ "allow web note \"\xe2\x81\xa6"
	  "b\"",
		17, "turn text round", "" },
	{ "allow web note \"a\\n\"", 18, "a backslash", "" },
	{ "allow web note \"ü\\n\"", 18, "a backslash", "" },
	{ "allow web log for 1h", 15, "out of place", "" },
	{ "allow web to example.org quite", 26, "did you mean \"quiet\"?", "quiet" },
	{ "allow web \001", 11, "control character", "" },
	{ "allow web = x", 11, "found \"=\"", "" },
};

static void test_bad(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct policy_rule r;
		struct policy_diag d;
		if (policy_parse_rule(bad[i].line, strlen(bad[i].line), &r, &d) != -EINVAL)
			fail_msg("accepted: %s", bad[i].line);
		if (d.line != 1 || d.col != bad[i].col || strstr(d.message, bad[i].says) == NULL ||
			strcmp(d.near, bad[i].near) != 0)
			fail_msg("%s: %u:%u: %s (near %s)", bad[i].line, d.line, d.col, d.message, d.near);
	}
}

static int parse(const char *text, struct policy_doc **doc, struct policy_diag *d, size_t *n)
{
	return policy_parse_file(text, strlen(text), doc, d, 4, n);
}

static void test_file(void **unused)
{
	(void)unused;
	struct policy_doc *doc;
	struct policy_diag d[4];
	size_t n;
	char *text;
	assert_int_equal(
		parse("# head\r\n\ngroup office = { web, # who\n\tmail }\nset s = { 192.0.2.0/24,\n\n*.example.org }\n"
		      "list ads from \"https://lists.example.org/\" every 1d\nallow @office to set:s # yes\ndeny any to list:ads",
			&doc, d, &n),
		0);
	assert_int_equal(n, 0);
	assert_int_equal(doc->n_groups, 1);
	assert_int_equal(doc->groups[0].n_apps, 2);
	assert_int_equal(doc->sets[0].n_peers, 2);
	assert_int_equal(doc->sets[0].line, 5);
	assert_int_equal(doc->lists[0].every_s, 86400);
	assert_int_equal(doc->n_rules, 2);
	assert_int_equal(doc->rules[0].meta.line, 9);
	assert_int_equal(doc->rules[1].meta.line, 10);
	assert_int_equal(policy_print_doc(doc, &text), 0);
	assert_string_equal(text,
		"group office = { web, mail }\nset s = { 192.0.2.0/24, *.example.org }\n"
		"list ads from \"https://lists.example.org/\" every 1d\nallow @office to set:s\ndeny any to list:ads\n");
	free(text);
	policy_doc_free(doc);
	assert_int_equal(parse("", &doc, d, &n), 0);
	policy_doc_free(doc);
}

static void test_file_errors(void **unused)
{
	(void)unused;
	struct policy_doc *doc = NULL;
	struct policy_diag d[4];
	size_t n;
	/* each line its own error, in order, at its own place */
	assert_int_equal(parse("ask any\nalow x\nallow y prot 80\n\nset a = { 10.0.0.1/8 }\n", &doc, d, &n), -EINVAL);
	assert_int_equal(n, 3);
	assert_int_equal(d[0].line, 2);
	assert_int_equal(d[0].offset, 8);
	assert_int_equal(d[1].line, 3);
	assert_int_equal(d[1].col, 9);
	assert_string_equal(d[1].near, "port");
	assert_int_equal(d[2].line, 5);
	assert_int_equal(d[2].col, 11);
	assert_int_equal(parse("allow web to example.org\nask any\ndeny web to example.org log\n", &doc, d, &n),
		-EINVAL);
	assert_int_equal(d[0].line, 3);
	assert_int_equal(d[0].other_line, 1);
	assert_int_equal(parse("allow web to example.org\ndeny web to example.org for 1h\n", &doc, d, &n), 0);
	policy_doc_free(doc);
	assert_int_equal(parse("group a = { x }\nset a = { lan }\n", &doc, d, &n), -EINVAL);
	assert_int_equal(d[0].line, 2);
	assert_int_equal(d[0].other_line, 1);
	assert_int_equal(parse("set a = { lan, }\n", &doc, d, &n), -EINVAL);
	assert_int_equal(d[0].col, 16);
	assert_int_equal(parse("set a = { lan\nask any\n", &doc, d, &n), -EINVAL);
	assert_int_equal(d[0].line, 2);
	assert_int_equal(parse("group g = { } \n", &doc, d, &n), -EINVAL);
	assert_int_equal(parse("list l from x\n", &doc, d, &n), -EINVAL);
	assert_null(strstr(d[0].message, "\001"));
}

static void test_limits(void **unused)
{
	(void)unused;
	struct policy_doc *doc;
	struct policy_diag d[4];
	struct policy_rule r;
	size_t n, len;
	char *text = calloc(1, POLICY_FILE_MAX + 2);
	assert_non_null(text);
	/* a line of exactly 4 KiB, and one byte more */
	strcpy(text, "allow web note \"x\" #");
	memset(text + strlen(text), 'c', POLICY_TEXT_MAX - strlen(text));
	assert_int_equal(policy_parse_rule(text, POLICY_TEXT_MAX, &r, d), 0);
	policy_rule_fini(&r);
	assert_int_equal(policy_parse_file(text, POLICY_TEXT_MAX, &doc, d, 4, &n), 0);
	policy_doc_free(doc);
	text[POLICY_TEXT_MAX] = 'c';
	assert_int_equal(policy_parse_rule(text, POLICY_TEXT_MAX + 1, &r, d), -E2BIG);
	assert_int_equal(policy_parse_file(text, POLICY_TEXT_MAX + 1, &doc, d, 4, &n), -E2BIG);
	/* what would print longer than it may be read */
	len = (size_t)sprintf(text, "allow web port 1/6");
	for (unsigned i = 2; len < POLICY_TEXT_MAX - 10; i++)
		len += (size_t)sprintf(text + len, ",%u/6", i);
	assert_int_equal(policy_parse_rule(text, len, &r, d), -E2BIG);
	/* a string of 200 bytes, 201 */
	len = (size_t)sprintf(text, "allow web note \"%0200d\"", 0);
	assert_int_equal(policy_parse_rule(text, len, &r, d), 0);
	policy_rule_fini(&r);
	len = (size_t)sprintf(text, "allow web note \"%0201d\"", 0);
	assert_int_equal(policy_parse_rule(text, len, &r, d), -E2BIG);
	assert_int_equal(d[0].col, 217);
	/* a name of 63 characters, 64 */
	len = (size_t)sprintf(text, "allow a%062d", 0);
	assert_int_equal(policy_parse_rule(text, len, &r, d), 0);
	policy_rule_fini(&r);
	len = (size_t)sprintf(text, "allow a%063d", 0);
	assert_int_equal(policy_parse_rule(text, len, &r, d), -E2BIG);
	/* 65,536 members, one more */
	for (unsigned members = POLICY_SET_MAX; members <= POLICY_SET_MAX + 1; members++) {
		len = (size_t)sprintf(text, "set s = { lan");
		for (unsigned i = 1; i < members; i++)
			len += (size_t)sprintf(text + len, ",10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		len += (size_t)sprintf(text + len, " }\n");
		int rc = policy_parse_file(text, len, &doc, d, 4, &n);
		assert_int_equal(rc, members == POLICY_SET_MAX ? 0 : -E2BIG);
		if (rc == 0)
			policy_doc_free(doc);
	}
	memset(text, '\n', POLICY_FILE_MAX + 1);
	assert_int_equal(policy_parse_file(text, POLICY_FILE_MAX, &doc, d, 4, &n), 0);
	policy_doc_free(doc);
	assert_int_equal(policy_parse_file(text, POLICY_FILE_MAX + 1, &doc, d, 4, &n), -E2BIG);
	free(text);
}

static void id_of(const char *line, enum policy_origin origin, uint32_t owner, char text[POLICY_ID_TEXT])
{
	struct policy_rule r;
	uint8_t id[POLICY_ID_LEN];
	assert_int_equal(policy_parse_rule(line, strlen(line), &r, NULL), 0);
	assert_int_equal(policy_id(&r, origin, owner, id), 0);
	assert_int_equal(strlen(policy_id_text(id, text)), 52);
	policy_rule_fini(&r);
}

static void test_id(void **unused)
{
	(void)unused;
	char a[POLICY_ID_TEXT], b[POLICY_ID_TEXT];
	id_of("allow web to example.org port 443 for 1h log", POLICY_ORIGIN_ANSWER, 1000, a);
	id_of("deny web to example.org port https once", POLICY_ORIGIN_ANSWER, 1000, b);
	assert_string_equal(a, b);
	static const char *const other[] = { "final allow web to example.org port 443 once",
		"allow any to example.org port 443 once", "allow web to .example.org port 443 once",
		"allow web to example.org port 443/tcp once", "allow web to example.org port 443" };
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		id_of(other[i], POLICY_ORIGIN_ANSWER, 1000, b);
		assert_string_not_equal(a, b);
	}
	id_of("deny web to example.org port https once", POLICY_ORIGIN_ANSWER, 1001, b);
	assert_string_not_equal(a, b);
	id_of("deny web to example.org port https once", POLICY_ORIGIN_ADMIN, 1000, b);
	assert_string_not_equal(a, b);
	/* RFC 4648 §10: "foobar" is CPNMUOJ1 in base32hex */
	uint8_t bytes[POLICY_ID_LEN] = "foobar";
	assert_memory_equal(policy_id_text(bytes, a), "cpnmuoj1", 8);
}

static int64_t deadline(const char *line, int64_t now_s)
{
	static const struct policy_tz berlin[] = { { 0, 3600 }, { 1774746000000, 7200 } }; /* 2026-03-29 01:00 UTC */
	struct policy_rule r;
	assert_int_equal(policy_parse_rule(line, strlen(line), &r, NULL), 0);
	int64_t d = policy_lives_deadline(&r.lives, berlin, 2, now_s * 1000);
	policy_rule_fini(&r);
	return d == POLICY_NEVER ? d : d / 1000;
}

static void test_deadlines(void **unused)
{
	(void)unused;
	const int64_t now = 1774713600; /* 2026-03-28 16:00 UTC, 17:00 there */
	assert_int_equal(deadline("allow web for 90s", now), now + 90);
	assert_int_equal(deadline("allow web until 18:00", now), now + 3600);
	/* tomorrow at 17:00 is 23 hours away: the clock goes forward */
	assert_int_equal(deadline("allow web until 17:00", now), now + 23 * 3600);
	assert_int_equal(deadline("allow web until 2026-03-28", now), now + 7 * 3600);
	assert_int_equal(deadline("allow web until 2026-03-29", now), now + 30 * 3600);
	assert_int_equal(deadline("allow web until 2026-03-29 12:00", now), now + 18 * 3600);
	assert_int_equal(deadline("allow web for 2h until 18:00", now), now + 3600);
	assert_true(deadline("allow web until exit", now) == POLICY_NEVER);
}

static void formed(const char *text, const char *want)
{
	struct policy_doc *d;
	char *got;
	assert_int_equal(policy_parse_file(text, strlen(text), &d, NULL, 0, NULL), 0);
	assert_int_equal(policy_format(text, strlen(text), d, &got), 0);
	assert_string_equal(got, want);
	policy_doc_free(d);
	free(got);
}

static void test_format(void **unused)
{
	(void)unused;
	static const char messy[] =
		"# head  \n\n  allow   web to WWW.example.org. port https # why \n"
		"set x={192.0.2.0/24,lan}#zones\ndeny any note \"a # b } \\\" c\" # d\n"
		"group g = {\n\tweb, # the browser\n\tdb }\nlist l from \"ads # 1\" every 24h\nreject db";
	static const char tidy[] =
		"# head\n\nallow web to www.example.org port 443  # why\n"
		"set x = { 192.0.2.0/24, lan }  #zones\ndeny any note \"a # b } \\\" c\"  # d\n"
		"group g = {\n\tweb, # the browser\n\tdb }\nlist l from \"ads # 1\" every 1d\ndeny db\n";
	formed(messy, tidy);
	formed(tidy, tidy);
	formed("", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad),
		cmocka_unit_test(test_file), cmocka_unit_test(test_file_errors), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_id), cmocka_unit_test(test_deadlines), cmocka_unit_test(test_format) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
