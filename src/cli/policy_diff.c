/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"

#include "cli/file.h"
#include "policy/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIFF_SAME, DIFF_OTHER, DIFF_TROUBLE };

/* Canonical lines, sorted: the order of rules means nothing. */
struct side {
	char **line;
	size_t n, cap;
};

static bool side_add(struct side *s, const char *line, size_t len)
{
	if (s->n == s->cap) {
		size_t cap = s->cap == 0 ? 64 : s->cap * 2;
		char **more = reallocarray(s->line, cap, sizeof(*more));
		if (more == NULL)
			return false;
		s->line = more;
		s->cap = cap;
	}
	s->line[s->n] = strndup(line, len);
	return s->line[s->n++] != NULL;
}

static int line_cmp(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

static void side_fini(struct side *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->line[i]);
	free(s->line);
}

static bool from_file(struct cli *c, const char *name, bool rules_only, struct side *ret)
{
	size_t len;
	char *text = file_text(name, &len), *all = NULL;
	struct policy_doc *d = text == NULL ? NULL : doc_parse(name, text, len, c->json);
	free(text);
	if (d == NULL)
		return false;
	struct policy_doc shown = *d;
	if (rules_only)
		shown.n_groups = shown.n_sets = shown.n_lists = 0;
	bool ok = policy_print_doc(&shown, &all) == 0;
	for (const char *at = all; ok && *at != '\0'; at += strcspn(at, "\n") + 1)
		ok = side_add(ret, at, strcspn(at, "\n"));
	free(all);
	policy_doc_free(d);
	if (!ok)
		cli_error("no memory");
	return ok;
}

static bool from_daemon(struct cli *c, const char *name, struct side *ret)
{
	const char *slash = strrchr(name, '/'), *base = slash == NULL ? name : slash + 1;
	json_t *rules, *rule;
	size_t i;
	if (cli_list(c, "org.sekisho.Rules.List", json_pack("{s:b}", "all", c->all), "rules", &rules) != 0)
		return false;
	bool ok = true;
	json_array_foreach(rules, i, rule)
	{
		const char *file = json_string_value(json_object_get(rule, "file"));
		const char *line = json_string_value(json_object_get(rule, "rule"));
		const char *last = file == NULL ? NULL : strrchr(file, '/');
		if (file == NULL || line == NULL || strcmp(last == NULL ? file : last + 1, base) != 0)
			continue;
		ok = ok && side_add(ret, line, strlen(line));
	}
	json_decref(rules);
	return ok;
}

static void say(const struct cli *c, char sign, const char *line)
{
	if (c->json) {
		json_t *o = json_pack("{s:s, s:s}", "change", sign == '-' ? "removed" : "added", "rule", line);
		cli_print_json(o);
		json_decref(o);
	} else {
		printf("%c%s\n", sign, line);
	}
}

static int compare(const struct cli *c, struct side *a, struct side *b)
{
	size_t i = 0, k = 0;
	int code = DIFF_SAME;
	if (a->n > 0)
		qsort(a->line, a->n, sizeof(*a->line), line_cmp);
	if (b->n > 0)
		qsort(b->line, b->n, sizeof(*b->line), line_cmp);
	while (i < a->n || k < b->n) {
		int order = i == a->n ? 1 : k == b->n ? -1 : strcmp(a->line[i], b->line[k]);
		if (order < 0)
			say(c, '-', a->line[i]);
		if (order > 0)
			say(c, '+', b->line[k]);
		code = order == 0 ? code : DIFF_OTHER;
		i += order <= 0;
		k += order >= 0;
	}
	return code;
}

int policy_diff(struct cli *c, const char *const *names, size_t n)
{
	struct side a = { 0 }, b = { 0 };
	bool ok = n == 2 ? from_file(c, names[0], false, &a) : from_daemon(c, names[0], &a);
	ok = ok && from_file(c, names[n - 1], n == 1, &b);
	int code = ok ? compare(c, &a, &b) : DIFF_TROUBLE;
	side_fini(&a);
	side_fini(&b);
	return code;
}
