/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"
#include "policy/walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void visit_best(struct walk *w, uint32_t row, const struct hit *h)
{
	struct candidate *best = w->arg, c;
	if (walk_match(w, row, h, &c) && (best->row == NO_ROW || candidate_better(w->p, &c, best) > 0))
		*best = c;
}

static struct candidate find_best(struct walk *w)
{
	struct candidate best = { .row = NO_ROW };
	w->visit = visit_best;
	w->arg = &best;
	walk_all(w);
	return best;
}

static enum policy_answer answer_of(const struct policy *p, uint32_t row)
{
	static const enum policy_answer says[] = { POLICY_SAYS_ALLOW, POLICY_SAYS_ASK, POLICY_SAYS_DENY,
		POLICY_SAYS_DROP };
	return says[policy_row(p, row)->verb];
}

static void no_rule(const struct walk *w, struct policy_verdict *v)
{
	const struct policy_request *q = w->q;
	bool martian = w->has_class && w->class == POLICY_CLASS_MARTIAN;
	bool floored = floor_port(q->proto, q->port) || martian || (w->has_class && floor_restricted(w->class));
	if (q->dir == POLICY_OUT) {
		v->answer = floored ? POLICY_SAYS_DENY : POLICY_SAYS_ASK;
		v->origin = floored ? POLICY_ORIGIN_FLOOR : POLICY_ORIGIN_DEFAULT;
	} else if (q->peer_app != NULL && q->peer_owner == q->owner) {
		/* The app that connects was judged already; between apps of one owner that is enough. */
		v->answer = POLICY_SAYS_ALLOW;
		v->origin = POLICY_ORIGIN_DEFAULT;
	} else {
		v->answer = POLICY_SAYS_DROP;
		v->origin = floored ? POLICY_ORIGIN_FLOOR : POLICY_ORIGIN_DEFAULT;
	}
}

/*
 * Rebinding: a name led to an address no public name has any business with. Takes the place of an allow, by a rule that
 * counts or by one that only the class of the address keeps from counting.
 */
static void withhold(struct walk *w, struct candidate *best, struct policy_verdict *v)
{
	const struct policy *p = w->p;
	bool lan = w->class == POLICY_CLASS_LAN && !floor_local_name(w->name);
	if (!lan && !floor_restricted(w->class))
		return;
	if (best->row != NO_ROW) {
		if (policy_row(p, best->row)->verb != POLICY_ALLOW)
			return;
		const struct name *name = w->name;
		w->name = NULL;
		struct candidate c = find_best(w);
		w->name = name;
		if (c.row != NO_ROW && policy_row(p, c.row)->verb == POLICY_ALLOW)
			return;
	} else {
		w->lifted = true;
		*best = find_best(w);
		w->lifted = false;
		if (best->row == NO_ROW || policy_row(p, best->row)->verb != POLICY_ALLOW) {
			best->row = NO_ROW;
			return;
		}
	}
	v->answer = POLICY_SAYS_WITHHELD;
}

void policy_decide(const struct policy *p, const struct policy_request *q, struct policy_verdict *ret)
{
	struct walk w;
	walk_init(&w, p, q);
	struct candidate best = find_best(&w);
	struct policy_verdict v = { .rule = POLICY_NO_RULE, .answer = POLICY_SAYS_ALLOW };
	if (best.row != NO_ROW)
		v.answer = answer_of(p, best.row);
	if (w.name != NULL && w.has_class)
		withhold(&w, &best, &v);
	if (best.row == NO_ROW) {
		no_rule(&w, &v);
	} else {
		const struct crule *c = policy_row(p, best.row);
		v.rule = policy_number(p, best.row);
		v.origin = (enum policy_origin)c->origin;
		v.counted = (c->flags & RULE_COUNTED) != 0;
		v.log = (c->flags & RULE_LOG) != 0;
		v.quiet = (c->flags & RULE_QUIET) != 0;
		memcpy(v.rank, best.rank, sizeof(v.rank));
	}
	v.next_change_ms = w.change_ms;
	*ret = v;
}

/* --- all that matched --- */

struct found {
	struct candidate *c;
	size_t n, cap;
	bool failed;
};

static void visit_all(struct walk *w, uint32_t row, const struct hit *h)
{
	struct found *f = w->arg;
	struct candidate c;
	if (!walk_match(w, row, h, &c))
		return;
	if (f->n == f->cap) {
		size_t cap = f->cap == 0 ? 64 : f->cap * 2;
		struct candidate *more = reallocarray(f->c, cap, sizeof(*more));
		f->failed = f->failed || more == NULL;
		if (more == NULL)
			return;
		f->c = more;
		f->cap = cap;
	}
	f->c[f->n++] = c;
}

static int by_rank(const void *a, const void *b, void *policy)
{
	return -candidate_better(policy, a, b);
}

long policy_explain(const struct policy *p, const struct policy_request *q, struct policy_match *ret, size_t cap)
{
	struct walk w;
	walk_init(&w, p, q);
	struct found f = { 0 };
	w.visit = visit_all;
	w.arg = &f;
	walk_all(&w);
	uint8_t *seen = calloc(policy_n_rules(p) + 1, 1);
	long n = 0;
	if (f.failed || seen == NULL)
		n = -ENOMEM;
	union {
		const struct policy *c;
		void *v;
	} arg = { .c = p };
	if (n == 0 && f.n != 0)
		qsort_r(f.c, f.n, sizeof(*f.c), by_rank, arg.v);
	/* A rule met by several of its members stands once, at its best. */
	for (size_t i = 0; n >= 0 && i < f.n; i++) {
		if (seen[f.c[i].row]++ != 0)
			continue;
		if ((size_t)n < cap) {
			ret[n].rule = policy_number(p, f.c[i].row);
			memcpy(ret[n].rank, f.c[i].rank, sizeof(ret[n].rank));
		}
		n++;
	}
	free(seen);
	free(f.c);
	return n;
}

size_t policy_n_rules(const struct policy *p)
{
	return p->n_rules + (p->more == NULL ? 0 : p->more->n_rules);
}

const struct policy_fact *policy_rule_meta(const struct policy *p, size_t rule)
{
	p = policy_part(p, &rule);
	return &p->facts[rule];
}

const char *policy_rule_text(const struct policy *p, size_t rule)
{
	p = policy_part(p, &rule);
	return p->text + p->facts[rule].text;
}

const char *policy_rule_file(const struct policy *p, size_t rule)
{
	p = policy_part(p, &rule);
	return p->facts[rule].file == POLICY_NO_FILE ? NULL : p->text + p->facts[rule].file;
}

/* The first place in by_id whose id is not below this one. */
static size_t id_place(const struct policy *p, const uint8_t id[POLICY_ID_LEN])
{
	size_t lo = 0, hi = p->n_rules;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (memcmp(p->facts[p->by_id[mid]].id, id, POLICY_ID_LEN) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t policy_rule_by_id(const struct policy *p, const uint8_t id[POLICY_ID_LEN], size_t nth)
{
	const struct policy *const parts[] = { p, p->more };
	for (unsigned k = 0; k < 2 && parts[k] != NULL; k++) {
		const struct policy *part = parts[k];
		for (size_t at = id_place(part, id); at < part->n_rules; at++) {
			uint32_t input = part->by_id[at];
			if (memcmp(part->facts[input].id, id, POLICY_ID_LEN) != 0)
				break;
			if (!policy_gone(part, input) && nth-- == 0)
				return input + (k == 0 ? 0 : p->n_rules);
		}
	}
	return POLICY_NO_RULE;
}

/* Characters that tell `text` from the id at this place; 0 when there is none or it is the same. */
static size_t tell_apart(const struct policy *p, size_t place, const char *text)
{
	char other[POLICY_ID_TEXT];
	size_t n = 0;
	if (place >= p->n_rules)
		return 0;
	policy_id_text(p->facts[p->by_id[place]].id, other);
	while (text[n] != '\0' && text[n] == other[n])
		n++;
	return text[n] == '\0' ? 0 : n + 1;
}

/* Characters that tell the id from all others of this part. */
static size_t tell_from_all(const struct policy *p, const uint8_t *id, const char *text)
{
	size_t first = id_place(p, id), after = first;
	while (after < p->n_rules && memcmp(p->facts[p->by_id[after]].id, id, POLICY_ID_LEN) == 0)
		after++;
	size_t below = first == 0 ? 0 : tell_apart(p, first - 1, text), above = tell_apart(p, after, text);
	return below > above ? below : above;
}

const char *policy_rule_short_id(const struct policy *p, size_t rule, char buf[POLICY_ID_TEXT])
{
	enum { SHORTEST = 4 };
	const uint8_t *id = policy_rule_meta(p, rule)->id;
	policy_id_text(id, buf);
	size_t n = tell_from_all(p, id, buf), more = p->more == NULL ? 0 : tell_from_all(p->more, id, buf);
	n = more > n ? more : n;
	n = n < SHORTEST ? SHORTEST : n;
	buf[n < POLICY_ID_TEXT - 1 ? n : POLICY_ID_TEXT - 1] = '\0';
	return buf;
}

size_t policy_memory(const struct policy *p)
{
	return sizeof(*p) + p->head->len + (p->more == NULL ? 0 : policy_memory(p->more));
}

const char *policy_answer_text(enum policy_answer a)
{
	static const char *const text[] = { "allow", "ask", "deny", "drop", "withheld" };
	return text[a];
}
