/* SPDX-License-Identifier: Apache-2.0 */
/* What rules and definitions name and nobody defines, or defines twice: all of it at once, where policy_compile ends at
 * the first. */
#include "policy/check.h"

#include "policy/build.h"
#include "policy/lex.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = { [DEF_GROUP] = "group", [DEF_SET] = "set", [DEF_LIST] = "list" };

/* A definition's name and place, whatever it defines. */
struct def {
	const char *id, *file;
	uint32_t line;
	unsigned kind;
};

struct finder {
	const struct policy_input *in;
	struct policy_finding *out;
	size_t cap, n;
	struct def *defs; /* groups, sets, lists */
	size_t n_defs;
	struct keytab ids; /* row → defs, the first of that name */
	size_t *of_row;
};

static struct policy_finding *found(struct finder *f, const struct policy_finding *k, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static struct policy_finding *found(struct finder *f, const struct policy_finding *k, const char *fmt, ...)
{
	va_list ap;
	if (f->n++ >= f->cap)
		return NULL;
	struct policy_finding *out = &f->out[f->n - 1];
	*out = *k;
	va_start(ap, fmt);
	vsnprintf(out->message, sizeof(out->message), fmt, ap);
	va_end(ap);
	return out;
}

static bool defs_take(struct finder *f)
{
	const struct policy_input *in = f->in;
	size_t n = in->n_groups + in->n_sets + in->n_lists;
	f->defs = calloc(n + 1, sizeof(*f->defs));
	f->of_row = calloc(n + 1, sizeof(*f->of_row));
	if (f->defs == NULL || f->of_row == NULL)
		return false;
	for (size_t i = 0; i < in->n_groups; i++)
		f->defs[f->n_defs++] =
			(struct def){ in->groups[i].id, in->groups[i].file, in->groups[i].line, DEF_GROUP };
	for (size_t i = 0; i < in->n_sets; i++)
		f->defs[f->n_defs++] = (struct def){ in->sets[i].id, in->sets[i].file, in->sets[i].line, DEF_SET };
	for (size_t i = 0; i < in->n_lists; i++)
		f->defs[f->n_defs++] = (struct def){ in->lists[i].id, in->lists[i].file, in->lists[i].line, DEF_LIST };
	return true;
}

static bool defs_index(struct finder *f)
{
	for (size_t i = 0; i < f->n_defs; i++) {
		const struct def *d = &f->defs[i];
		uint32_t before = f->ids.n_rows, row = keytab_add(&f->ids, 0, d->id, strlen(d->id));
		if (row == KEYTAB_NONE)
			return false;
		if (f->ids.n_rows > before) {
			f->of_row[row] = i;
			continue;
		}
		const struct def *first = &f->defs[f->of_row[row]];
		struct policy_finding k = { .kind = POLICY_FIND_UNDEFINED,
			.error = true,
			.rule = SIZE_MAX,
			.other = SIZE_MAX,
			.file = d->file,
			.line = d->line };
		snprintf(k.word, sizeof(k.word), "%s", d->id);
		(void)found(f, &k,
			"\"%s\" is defined already, as a %s in %.200s line %u; groups, sets and lists share their names",
			d->id, kinds[first->kind], first->file == NULL ? "the policy" : first->file, first->line);
	}
	return true;
}

static const struct def *def_of(const struct finder *f, const char *id)
{
	uint32_t row = keytab_find(&f->ids, 0, id, strlen(id));
	return row == KEYTAB_NONE ? NULL : &f->defs[f->of_row[row]];
}

static const char *nearest(const struct finder *f, const char *id, unsigned kind)
{
	const char *best = NULL;
	for (size_t i = 0; i < f->n_defs; i++) {
		const char *const pair[] = { f->defs[i].id, best, NULL };
		if (f->defs[i].kind == kind)
			best = lex_near((struct span){ .p = id, .len = strlen(id) }, pair);
	}
	return best;
}

/* `id` has to be a `kind`; `k` says where it stands. False: it was found missing. */
static bool defined(struct finder *f, const char *id, unsigned kind, const char *sigil, struct policy_finding *k)
{
	const struct def *d = def_of(f, id);
	if (d != NULL && d->kind == kind)
		return true;
	k->kind = POLICY_FIND_UNDEFINED;
	k->error = true;
	k->other = SIZE_MAX;
	snprintf(k->word, sizeof(k->word), "%s%s", sigil, id);
	snprintf(k->expected, sizeof(k->expected), "the name of a %s", kinds[kind]);
	const char *near = d != NULL ? NULL : nearest(f, id, kind);
	if (near != NULL)
		snprintf(k->near, sizeof(k->near), "%s", near);
	if (d != NULL)
		(void)found(f, k, "\"%s\" is a %s (line %u), not a %s", id, kinds[d->kind], d->line, kinds[kind]);
	else if (near != NULL)
		(void)found(f, k, "no %s \"%s\" is defined; did you mean \"%s\"?", kinds[kind], id, near);
	else
		(void)found(f, k, "no %s \"%s\" is defined", kinds[kind], id);
	return false;
}

static bool peer_defined(struct finder *f, const struct policy_peer *p, struct policy_finding *k)
{
	if (p->kind == POLICY_PEER_SET)
		return defined(f, p->id, DEF_SET, "set:", k);
	return p->kind != POLICY_PEER_LIST || defined(f, p->id, DEF_LIST, "list:", k);
}

static struct policy_finding at_rule(const struct policy_input *in, size_t i)
{
	const struct policy_meta *m = &in->rules[i].meta;
	return (struct policy_finding){ .rule = i, .other = SIZE_MAX, .file = m->file, .line = m->line };
}

static void rule_refs(struct finder *f, const struct policy_rule *r, const struct policy_finding *place)
{
	struct policy_finding k = *place;
	if (r->subject == POLICY_SUBJECT_GROUP)
		(void)defined(f, r->who, DEF_GROUP, "@", &k);
	k = *place;
	(void)peer_defined(f, &r->peer, &k);
}

/* Whether `set` is reached from the members of `from`; `seen` by definition. */
static bool reaches(const struct finder *f, size_t from, size_t set, uint8_t *seen)
{
	size_t *queue = calloc(f->n_defs + 1, sizeof(*queue)), n = 0;
	bool yes = false;
	if (queue != NULL)
		queue[n++] = from;
	for (size_t at = 0; at < n && !yes; at++) {
		const struct policy_peerset *s = &f->in->sets[queue[at]];
		for (size_t i = 0; i < s->n_peers && !yes; i++) {
			const struct def *d = s->peers[i].kind == POLICY_PEER_SET ? def_of(f, s->peers[i].id) : NULL;
			if (d == NULL || d->kind != DEF_SET)
				continue;
			size_t next = (size_t)(d - f->defs) - f->in->n_groups;
			yes = next == set;
			if (!yes && seen[next] == 0)
				queue[n++] = next;
			seen[next] = 1;
		}
	}
	free(queue);
	return yes;
}

static void circle(struct finder *f, size_t set, const struct policy_peer *m, struct policy_finding *k)
{
	const struct def *d = def_of(f, m->id);
	if (d == NULL || d->kind != DEF_SET)
		return;
	size_t inner = (size_t)(d - f->defs) - f->in->n_groups;
	uint8_t *seen = calloc(f->in->n_sets + 1, 1);
	if (seen != NULL && (inner == set || reaches(f, inner, set, seen))) {
		k->kind = POLICY_FIND_UNDEFINED;
		k->error = true;
		snprintf(k->word, sizeof(k->word), "set:%s", m->id);
		snprintf(k->expected, sizeof(k->expected), "a set that does not lead back here");
		if (inner == set)
			(void)found(f, k, "set \"%s\" contains itself", m->id);
		else
			(void)found(f, k, "set \"%s\" contains itself by way of set \"%s\"", f->in->sets[set].id,
				m->id);
	}
	free(seen);
}

static void set_refs(struct finder *f, size_t set)
{
	const struct policy_peerset *s = &f->in->sets[set];
	for (size_t i = 0; i < s->n_peers; i++) {
		struct policy_finding k = { .rule = SIZE_MAX, .other = SIZE_MAX, .file = s->file, .line = s->line };
		if (peer_defined(f, &s->peers[i], &k) && s->peers[i].kind == POLICY_PEER_SET)
			circle(f, set, &s->peers[i], &k);
	}
}

static int by_id(const void *a, const void *b)
{
	const struct policy_entry *x, *y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	int c = memcmp(x->meta.id, y->meta.id, POLICY_ID_LEN);
	return c != 0 ? c : (x > y) - (x < y);
}

static void same_rule(struct finder *f, const struct policy_entry *first, const struct policy_entry *second)
{
	struct policy_finding k = at_rule(f->in, (size_t)(second - f->in->rules));
	k.kind = POLICY_FIND_DUPLICATE;
	k.error = true;
	k.other = (size_t)(first - f->in->rules);
	(void)found(f, &k,
		"the same rule stands in %.200s line %u: same application, direction, peer and ports, both with or both without an end",
		first->meta.file == NULL ? "the policy" : first->meta.file, first->meta.line);
}

/* Of one id at most one runs. Rules without an id yet are policy_compile's. */
static bool same_rules(struct finder *f)
{
	static const uint8_t none[POLICY_ID_LEN];
	const struct policy_input *in = f->in;
	const struct policy_entry **order = calloc(in->n_rules + 1, sizeof(const struct policy_entry *));
	size_t n = 0;
	if (order == NULL)
		return false;
	for (size_t i = 0; i < in->n_rules; i++) {
		const struct policy_entry *e = &in->rules[i];
		if (e->meta.ended == POLICY_RUNNING && memcmp(e->meta.id, none, POLICY_ID_LEN) != 0)
			order[n++] = e;
	}
	qsort(order, n, sizeof(const struct policy_entry *), by_id);
	for (size_t i = 1; i < n; i++) {
		if (memcmp(order[i - 1]->meta.id, order[i]->meta.id, POLICY_ID_LEN) == 0)
			same_rule(f, order[i - 1], order[i]);
	}
	free(order);
	return true;
}

static bool finder_init(struct finder *f, const struct policy_input *in, struct policy_finding *ret, size_t cap)
{
	*f = (struct finder){ .in = in, .out = ret, .cap = cap };
	return defs_take(f) && defs_index(f);
}

static void finder_fini(struct finder *f)
{
	keytab_fini(&f->ids);
	free(f->defs);
	free(f->of_row);
}

long policy_check_refs(const struct policy_input *in, struct policy_finding *ret, size_t cap)
{
	struct finder f;
	bool ok = finder_init(&f, in, ret, cap);
	for (size_t i = 0; ok && i < in->n_sets; i++)
		set_refs(&f, i);
	for (size_t i = 0; ok && i < in->n_rules; i++) {
		struct policy_finding place = at_rule(in, i);
		rule_refs(&f, &in->rules[i].rule, &place);
	}
	ok = ok && same_rules(&f);
	finder_fini(&f);
	return ok ? (long)f.n : -ENOMEM;
}

bool policy_check_rule(const struct policy_input *in, const struct policy_rule *r, struct policy_finding *ret)
{
	struct finder f;
	struct policy_finding place = { .rule = SIZE_MAX, .other = SIZE_MAX, .line = 1 };
	bool ok = finder_init(&f, in, ret, 0);
	f.n = 0; /* what is wrong with the definitions is not this rule's */
	f.cap = 1;
	if (ok)
		rule_refs(&f, r, &place);
	finder_fini(&f);
	return f.n == 0;
}

void policy_finding_diag(const struct policy_finding *f, const char *text, size_t len, struct policy_diag *ret)
{
	policy_place(text, len, f->line == 0 ? 1 : f->line, f->word, ret);
	memcpy(ret->message, f->message, sizeof(ret->message));
	snprintf(ret->expected, sizeof(ret->expected), "%s", f->expected);
	snprintf(ret->near, sizeof(ret->near), "%s", f->near);
}
