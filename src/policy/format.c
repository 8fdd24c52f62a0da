/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct text {
	char *p;
	size_t len, cap;
	bool failed;
};

static void put(struct text *t, const char *s, size_t len)
{
	if (!t->failed && len > t->cap - t->len) {
		size_t cap = (t->cap + len) * 2;
		char *p = realloc(t->p, cap);
		if (p == NULL) {
			t->failed = true;
			return;
		}
		t->p = p;
		t->cap = cap;
	}
	if (t->failed)
		return;
	memcpy(t->p + t->len, s, len);
	t->len += len;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static size_t trimmed(const char *s, size_t len)
{
	while (len > 0 && blank(s[len - 1]))
		len--;
	return len;
}

/* Where the comment of a line begins; `len` without one. *ret_closed: a "}" stands before it. */
static size_t comment_at(const char *s, size_t len, bool *ret_closed)
{
	bool quoted = false;
	*ret_closed = false;
	for (size_t i = 0; i < len; i++) {
		if (quoted && s[i] == '\\')
			i++;
		else if (s[i] == '"')
			quoted = !quoted;
		else if (!quoted && s[i] == '#')
			return i;
		else if (!quoted && s[i] == '}')
			*ret_closed = true;
	}
	return len;
}

struct lines {
	const struct policy_doc *doc;
	size_t rule, group, set, list; /* the next of each: they stand in the order of the text */
	bool open;		       /* inside the braces of a definition that goes over several lines */
};

/* What begins on this line, as its canonical line; 0: nothing, or what stays as it is written. */
static int canonical(struct lines *l, uint32_t line, bool closed, char **ret)
{
	const struct policy_doc *d = l->doc;
	struct policy_doc one = { 0 };
	bool braces = false;
	*ret = NULL;
	if (l->rule < d->n_rules && d->rules[l->rule].meta.line == line) {
		one.rules = &d->rules[l->rule++];
		one.n_rules = 1;
	} else if (l->group < d->n_groups && d->groups[l->group].line == line) {
		one.groups = &d->groups[l->group++];
		one.n_groups = 1;
		braces = true;
	} else if (l->set < d->n_sets && d->sets[l->set].line == line) {
		one.sets = &d->sets[l->set++];
		one.n_sets = 1;
		braces = true;
	} else if (l->list < d->n_lists && d->lists[l->list].line == line) {
		one.lists = &d->lists[l->list++];
		one.n_lists = 1;
	} else {
		return 0;
	}
	l->open = braces && !closed;
	return l->open ? 0 : policy_print_doc(&one, ret);
}

static int one_line(struct text *t, struct lines *l, const char *s, size_t len, uint32_t line)
{
	char *words;
	bool closed;
	size_t comment = comment_at(s, len, &closed);
	bool inside = l->open;
	l->open = inside && !closed;
	int err = inside ? 0 : canonical(l, line, closed, &words);
	if (err != 0)
		return err;
	if (inside || words == NULL) {
		/* A comment, nothing, or part of a definition that somebody laid out. */
		put(t, s, trimmed(s, len));
	} else {
		put(t, words, strcspn(words, "\n"));
		if (comment < len)
			put(t, "  ", 2);
		put(t, s + comment, trimmed(s + comment, len - comment));
	}
	if (!inside)
		free(words);
	put(t, "\n", 1);
	return t->failed ? -ENOMEM : 0;
}

int policy_format(const char *text, size_t len, const struct policy_doc *doc, char **ret)
{
	struct text t = { .p = malloc(len + 64), .cap = len + 64 };
	struct lines l = { .doc = doc };
	int err = t.p == NULL ? -ENOMEM : 0;
	uint32_t line = 1;
	for (size_t at = 0; err == 0 && at < len; line++) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end == NULL ? len - at : (size_t)(end - (text + at));
		err = one_line(&t, &l, text + at, n, line);
		at += n + 1;
	}
	put(&t, "", 1);
	if (err == 0 && t.failed)
		err = -ENOMEM;
	if (err == 0)
		*ret = t.p;
	else
		free(t.p);
	return err;
}
