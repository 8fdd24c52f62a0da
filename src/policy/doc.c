/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"
#include "policy/lex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A definition or a rule by where it stands, for finding two of the same. */
struct place {
	uint8_t key[POLICY_TOKEN_MAX + 1];
	size_t off;
	uint32_t line;
};

struct places {
	struct place *p;
	size_t n;
};

struct policy_reading {
	struct lex x;
	struct policy_doc *doc;
	struct places rules, defs;
	/* Beginnings of the rules' keys, hashed: sorting all of them at the end only to find none twice would take as
	 * long as thousands of lines. */
	uint64_t *seen;
	size_t n_seen; /* a power of two, at most half full; 0: none yet */
	bool perhaps_twice;
	size_t counted; /* line ends before this byte are in `line` */
	uint32_t line;
	int err; /* worst so far */
};

/* Room for one more element: arrays grow when their count reaches a power of two. */
static bool grow(struct lex *x, void *array, size_t n, size_t size)
{
	if ((n & (n - 1)) != 0)
		return true;
	void *old, *p;
	memcpy(&old, array, sizeof(old));
	p = reallocarray(old, n == 0 ? 1 : n * 2, size);
	if (p == NULL)
		return lex_fail(x, -ENOMEM, x->off, NULL, NULL, "out of memory");
	memcpy(array, &p, sizeof(p));
	return true;
}

/* Asked with offsets that only grow, so that a large file is counted once. */
static uint32_t line_at(struct policy_reading *r, size_t off)
{
	for (; r->counted < off; r->counted++)
		r->line += r->x.text[r->counted] == '\n';
	return r->line;
}

static bool add_place(struct policy_reading *r, struct places *l, const void *key, size_t len, size_t off,
	uint32_t line)
{
	if (!grow(&r->x, &l->p, l->n, sizeof(*l->p)))
		return false;
	struct place *p = &l->p[l->n++];
	*p = (struct place){ .off = off, .line = line };
	memcpy(p->key, key, len);
	return true;
}

static void put_seen(struct policy_reading *r, const uint8_t *key)
{
	uint64_t mark;
	memcpy(&mark, key, sizeof(mark));
	mark |= 1; /* 0: free */
	size_t i = (mark >> 1) & (r->n_seen - 1);
	while (r->seen[i] != 0 && r->seen[i] != mark)
		i = (i + 1) & (r->n_seen - 1);
	r->perhaps_twice = r->perhaps_twice || r->seen[i] == mark;
	r->seen[i] = mark;
}

/* Of the rule that was just placed. */
static bool note_seen(struct policy_reading *r)
{
	enum { FIRST = 1024 };
	const struct places *l = &r->rules;
	if (l->n * 2 > r->n_seen) {
		size_t n = r->n_seen == 0 ? FIRST : r->n_seen * 2;
		uint64_t *more = calloc(n, sizeof(*more));
		if (more == NULL)
			return lex_fail(&r->x, -ENOMEM, r->x.off, NULL, NULL, "out of memory");
		free(r->seen);
		r->seen = more;
		r->n_seen = n;
		for (size_t i = 0; i + 1 < l->n; i++)
			put_seen(r, l->p[i].key);
	}
	put_seen(r, l->p[l->n - 1].key);
	return true;
}

static bool read_rule(struct policy_reading *r)
{
	struct lex *x = &r->x;
	size_t off = x->off, start = off;
	while (start > 0 && x->text[start - 1] != '\n')
		start--;
	const char *end = memchr(x->text + off, '\n', x->len - off);
	size_t line_len = (end == NULL ? x->len : (size_t)(end - x->text)) - start;
	if (line_len > POLICY_TEXT_MAX)
		return lex_fail(x, -E2BIG, start + POLICY_TEXT_MAX, NULL, NULL, "a line has at most %d bytes",
			POLICY_TEXT_MAX);
	struct policy_entry e = {
		.meta = { .origin = POLICY_ORIGIN_FILE, .owner = POLICY_OWNER_ANY, .deadline_ms = POLICY_NEVER }
	};
	if (!parse_rule(x, &e.rule))
		return false;
	e.meta.line = line_at(r, off);
	e.meta.times_left = e.rule.lives.times;
	int rc = policy_id(&e.rule, e.meta.origin, e.meta.owner, e.meta.id);
	if (rc < 0)
		lex_fail(x, rc, off, NULL, NULL, "no id could be made for this rule");
	if (rc < 0 || !grow(x, &r->doc->rules, r->doc->n_rules, sizeof(e)) ||
		!add_place(r, &r->rules, e.meta.id, sizeof(e.meta.id), off, e.meta.line) || !note_seen(r)) {
		policy_rule_fini(&e.rule);
		return false;
	}
	r->doc->rules[r->doc->n_rules++] = e;
	return true;
}

static bool take(struct lex *x, enum lex_kind kind, const char *what)
{
	if (x->kind != kind)
		return lex_expected(x, what, NULL);
	lex_next(x);
	return true;
}

static bool def_id(struct policy_reading *r, char id[POLICY_TOKEN_MAX + 1], uint32_t *ret_line)
{
	struct lex *x = &r->x;
	size_t off = x->off;
	if (x->kind != LEX_WORD)
		return lex_expected(x, "a name for the definition", NULL);
	if (!word_token(x, lex_span(x), "a name for the definition", id))
		return false;
	*ret_line = line_at(r, off);
	lex_next(x);
	return add_place(r, &r->defs, id, strlen(id), off, *ret_line);
}

/* "= { member, member }"; `member` takes the word that stands next. */
static bool members(struct policy_reading *r, void *def, bool (*member)(struct policy_reading *, void *, struct span))
{
	struct lex *x = &r->x;
	if (!take(x, LEX_EQUALS, "\"=\""))
		return false;
	if (x->kind != LEX_OPEN)
		return lex_expected(x, "\"{\"", NULL);
	x->braces = true;
	lex_next(x);
	for (size_t n = 0;; n++) {
		if (x->kind != LEX_WORD)
			return lex_expected(x, "a member", NULL);
		if (n == POLICY_SET_MAX)
			return lex_fail(x, -E2BIG, x->off, NULL, NULL, "a definition has at most %d members",
				POLICY_SET_MAX);
		if (!member(r, def, lex_span(x)))
			return false;
		lex_next(x);
		if (x->kind != LEX_COMMA)
			break;
		lex_next(x);
	}
	x->braces = false;
	return take(x, LEX_CLOSE, "\",\" or \"}\"");
}

static bool group_member(struct policy_reading *r, void *def, struct span s)
{
	struct policy_group *g = def;
	if (!grow(&r->x, &g->apps, g->n_apps, sizeof(*g->apps)))
		return false;
	return word_token(&r->x, s, "an application", g->apps[g->n_apps++]);
}

static bool set_member(struct policy_reading *r, void *def, struct span s)
{
	struct policy_peerset *set = def;
	if (!grow(&r->x, &set->peers, set->n_peers, sizeof(*set->peers)))
		return false;
	return word_peer(&r->x, s, &set->peers[set->n_peers++]);
}

/* The definition is in the document before its members are read, so that whatever happens it is freed with it. */
static bool read_group(struct policy_reading *r)
{
	struct policy_doc *d = r->doc;
	if (!grow(&r->x, &d->groups, d->n_groups, sizeof(*d->groups)))
		return false;
	struct policy_group *g = &d->groups[d->n_groups++];
	*g = (struct policy_group){ 0 };
	return def_id(r, g->id, &g->line) && members(r, g, group_member);
}

static bool read_set(struct policy_reading *r)
{
	struct policy_doc *d = r->doc;
	if (!grow(&r->x, &d->sets, d->n_sets, sizeof(*d->sets)))
		return false;
	struct policy_peerset *s = &d->sets[d->n_sets++];
	*s = (struct policy_peerset){ 0 };
	return def_id(r, s->id, &s->line) && members(r, s, set_member);
}

static bool read_list(struct policy_reading *r)
{
	struct policy_doc *d = r->doc;
	struct lex *x = &r->x;
	static const char *const from[] = { "from", NULL }, *const every[] = { "every", NULL };
	if (!grow(x, &d->lists, d->n_lists, sizeof(*d->lists)))
		return false;
	struct policy_list *l = &d->lists[d->n_lists++];
	*l = (struct policy_list){ 0 };
	if (!def_id(r, l->id, &l->line))
		return false;
	if (!lex_take(x, "from"))
		return lex_expected(x, "\"from\"", from);
	if (x->kind != LEX_STRING)
		return lex_expected(x, "a string in \"quotes\": where the list comes from", NULL);
	memcpy(l->source, x->string, sizeof(l->source));
	lex_next(x);
	if (x->kind == LEX_NEWLINE || x->kind == LEX_END)
		return true;
	if (!lex_take(x, "every"))
		return lex_expected(x, "\"every\" or the end of the line", every);
	if (x->kind != LEX_WORD)
		return lex_expected(x, "a duration (such as 6h or 1d)", NULL);
	if (!word_duration(x, lex_span(x), &l->every_s))
		return false;
	lex_next(x);
	return true;
}

static void read_line(struct policy_reading *r)
{
	struct lex *x = &r->x;
	bool ok;
	if (lex_take(x, "group"))
		ok = read_group(r);
	else if (lex_take(x, "set"))
		ok = read_set(r);
	else if (lex_take(x, "list"))
		ok = read_list(r);
	else
		ok = read_rule(r);
	if (ok && x->kind != LEX_NEWLINE && x->kind != LEX_END)
		lex_expected(x, "the end of the line", NULL);
	if (x->err != 0 && r->err != -ENOMEM)
		r->err = x->err;
	if (x->err != 0 || x->kind == LEX_NEWLINE)
		lex_skip_line(x);
}

static int place_cmp(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int c = memcmp(x->key, y->key, sizeof(x->key));
	return c != 0 ? c : (x->off > y->off) - (x->off < y->off);
}

static void find_twice(struct policy_reading *r, struct places *l, bool rules)
{
	if (l->n < 2)
		return;
	qsort(l->p, l->n, sizeof(*l->p), place_cmp);
	for (size_t i = 1; i < l->n; i++) {
		const struct place *a = &l->p[i - 1], *b = &l->p[i];
		if (memcmp(a->key, b->key, sizeof(a->key)) != 0)
			continue;
		r->x.err = 0;
		r->err = -EINVAL;
		if (rules)
			lex_fail(&r->x, -EINVAL, b->off, NULL, NULL,
				"line %u is the same rule as line %u: same application, direction, peer and ports, both with or both without an end",
				b->line, a->line);
		else
			lex_fail(&r->x, -EINVAL, b->off, NULL, NULL,
				"\"%s\" is defined on line %u and on line %u; groups, sets and lists share their names",
				(const char *)b->key, a->line, b->line);
		if (r->x.n <= r->x.cap)
			r->x.diags[r->x.n - 1].other_line = a->line;
	}
}

/* False: there is more. */
static bool read_some(struct policy_reading *r, size_t n)
{
	struct lex *x = &r->x;
	for (; x->kind != LEX_END; n--) {
		if (n == 0)
			return false;
		while (x->kind == LEX_NEWLINE)
			lex_next(x);
		if (x->kind != LEX_END && x->err == 0)
			read_line(r);
		if (x->err != 0) { /* a bad byte at the start of a line */
			r->err = r->err == -ENOMEM ? r->err : x->err;
			lex_skip_line(x);
		}
	}
	return true;
}

struct policy_reading *policy_reading_new(const char *text, size_t len, struct policy_diag *diags, size_t cap)
{
	struct policy_reading *r = calloc(1, sizeof(*r));
	if (r == NULL || (r->doc = calloc(1, sizeof(*r->doc))) == NULL) {
		free(r);
		return NULL;
	}
	r->line = 1;
	lex_init(&r->x, text, len, diags, cap);
	if (len > POLICY_FILE_MAX) {
		lex_fail(&r->x, -E2BIG, 0, NULL, NULL, "a file has at most %d bytes", POLICY_FILE_MAX);
		r->err = -E2BIG;
	} else {
		lex_next(&r->x);
	}
	return r;
}

int policy_reading_step(struct policy_reading *r, size_t n, struct policy_doc **ret, size_t *ret_n)
{
	if (!read_some(r, n))
		return -EAGAIN;
	find_twice(r, &r->defs, false);
	if (r->perhaps_twice)
		find_twice(r, &r->rules, true);
	if (ret_n != NULL)
		*ret_n = r->x.n;
	if (r->err != 0)
		return r->err;
	*ret = r->doc;
	r->doc = NULL;
	return 0;
}

void policy_reading_free(struct policy_reading *r)
{
	if (r == NULL)
		return;
	policy_doc_free(r->doc);
	free(r->rules.p);
	free(r->defs.p);
	free(r->seen);
	free(r);
}

int policy_parse_file(const char *text, size_t len, struct policy_doc **ret, struct policy_diag *diags, size_t cap,
	size_t *ret_n)
{
	struct policy_reading *r = policy_reading_new(text, len, diags, cap);
	int err = r == NULL ? -ENOMEM : policy_reading_step(r, SIZE_MAX, ret, ret_n);
	policy_reading_free(r);
	return err;
}

void policy_doc_free(struct policy_doc *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->n_rules; i++)
		policy_rule_fini(&d->rules[i].rule);
	for (size_t i = 0; i < d->n_groups; i++)
		free(d->groups[i].apps);
	for (size_t i = 0; i < d->n_sets; i++)
		free(d->sets[i].peers);
	free(d->rules);
	free(d->groups);
	free(d->sets);
	free(d->lists);
	free(d);
}
