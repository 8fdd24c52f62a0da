/* SPDX-License-Identifier: Apache-2.0 */
/* Every error that takes more than one line to see has its file's place, what was expected and a near miss. */
#include "policy/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FILES_MAX = 2, FOUND_MAX = 8, MANY = 40000 };

struct files {
	const char *text[FILES_MAX];
	struct policy_doc *doc[FILES_MAX];
	struct policy_entry rules[16];
	struct policy_group groups[8];
	struct policy_peerset sets[8];
	struct policy_input in;
};

static const char *const names[FILES_MAX] = { "a", "b" };

static void take(struct files *f, unsigned at)
{
	size_t n;
	struct policy_diag d;
	if (policy_parse_file(f->text[at], strlen(f->text[at]), &f->doc[at], &d, 1, &n) != 0)
		fail_msg("%u: %s", d.line, d.message);
	const struct policy_doc *doc = f->doc[at];
	for (size_t i = 0; i < doc->n_rules; i++) {
		f->rules[f->in.n_rules] = doc->rules[i];
		f->rules[f->in.n_rules++].meta.file = names[at];
	}
	for (size_t i = 0; i < doc->n_groups; i++) {
		f->groups[f->in.n_groups] = doc->groups[i];
		f->groups[f->in.n_groups++].file = names[at];
	}
	for (size_t i = 0; i < doc->n_sets; i++) {
		f->sets[f->in.n_sets] = doc->sets[i];
		f->sets[f->in.n_sets++].file = names[at];
	}
	f->in.rules = f->rules;
	f->in.groups = f->groups;
	f->in.sets = f->sets;
}

static void drop(struct files *f)
{
	policy_doc_free(f->doc[0]);
	policy_doc_free(f->doc[1]);
}

/* The first finding, at file:line:col, with these words. */
static void finds(const char *a, const char *b, size_t n, const char *file, uint32_t line, uint32_t col,
	const char *expected, const char *near, const char *words)
{
	struct files f = { .text = { a, b } };
	struct policy_finding out[FOUND_MAX];
	struct policy_diag d = { 0 };
	take(&f, 0);
	if (b != NULL)
		take(&f, 1);
	long got = policy_check(&f.in, out, FOUND_MAX);
	if (got > 0) {
		const char *text = f.text[out[0].file != NULL && strcmp(out[0].file, "b") == 0];
		policy_finding_diag(&out[0], text, strlen(text), &d);
	}
	if (got != (long)n || strcmp(out[0].file, file) != 0 || d.line != line || d.col != col ||
		strcmp(d.expected, expected) != 0 || strcmp(d.near, near) != 0 || strstr(d.message, words) == NULL)
		fail_msg("%s: %ld found: %s:%u:%u: %s (expected \"%s\", near \"%s\")", a, got,
			got > 0 ? out[0].file : "", d.line, d.col, d.message, d.expected, d.near);
	drop(&f);
}

static void test_places(void **unused)
{
	(void)unused;
	finds("group office = { web }\n  allow @ofice to host\n", NULL, 1, "a", 2, 9, "the name of a group", "office",
		"did you mean \"office\"");
	finds("allow web\nallow web to list:no\n", NULL, 1, "a", 2, 14, "the name of a list", "", "no list \"no\"");
	finds("group g = { web }\nallow @g to set:g\n", NULL, 1, "a", 2, 13, "the name of a set", "",
		"\"g\" is a group (line 1), not a set");
	finds("# é\nset s = { 192.0.2.1,\n  set:t }\n", NULL, 1, "a", 3, 3, "the name of a set", "", "no set \"t\"");
	finds("set s = { set:s }\n", NULL, 1, "a", 1, 11, "a set that does not lead back here", "", "contains itself");
	finds("set s = { set:t }\nset t = { set:u }\nset u = { set:s }\n", NULL, 3, "a", 1, 11,
		"a set that does not lead back here", "", "by way of set \"t\"");
	finds("group g = { web }\n", "\nset g = { lan }\n", 1, "b", 2, 5, "", "", "as a group in a line 1");
	finds("allow web to lan\n", "\n deny web to lan\n", 1, "b", 2, 2, "", "", "stands in a line 1");
	finds("group g = { web, db }\nset s = { lan }\nset t = { set:s }\nallow @h to set:r\nallow @g to set:t\n", NULL,
		2, "a", 4, 7, "the name of a group", "", "no group \"h\"");
	finds("allow web to host\n", "  final deny any to host\n", 1, "a", 1, 1, "", "", "(b line 1)");
}

static void test_one_rule(void **unused)
{
	(void)unused;
	struct files f = { .text = { "group office = { web }\nset s = { lan }\n" } };
	struct policy_finding out;
	struct policy_rule r;
	static const char *const lines[] = { "allow @office to set:s", "allow @office to set:q", "deny @ofice",
		"deny web to lan" };
	static const bool good[] = { true, false, false, true };
	take(&f, 0);
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(policy_parse_rule(lines[i], strlen(lines[i]), &r, NULL), 0);
		assert_int_equal(policy_check_rule(&f.in, &r, &out), good[i]);
		policy_rule_fini(&r);
	}
	drop(&f);
}

/* A finding about a limit has the place of the definition. */
static void test_limit(void **unused)
{
	(void)unused;
	char *text = malloc((size_t)MANY * 40), *p = text;
	assert_non_null(text);
	for (unsigned s = 0; s < 2; s++) {
		p += sprintf(p, "set s%u = {", s);
		for (unsigned i = 0; i < MANY; i++)
			p += sprintf(p, "%s2001:db8:%u::%x", i == 0 ? "" : ",", s, i + 1);
		p += sprintf(p, "%s}\n", s == 1 ? ",set:s0" : "");
	}
	finds(text, NULL, 1, "a", 2, 1, "", "", "more than 65536 members");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_places), cmocka_unit_test(test_one_rule),
		cmocka_unit_test(test_limit) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
