/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/build.h"
#include "policy/id.h"
#include "policy/image.h"
#include "policy/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t rule_line(const struct build *b, size_t rule)
{
	return rule < b->in->n_rules ? b->in->rules[rule].meta.line : 0;
}

bool build_fail(struct build *b, int rc, size_t rule, size_t other, const char *fmt, ...)
{
	if (b->rc != 0)
		return false;
	b->rc = rc;
	if (b->err == NULL)
		return false;
	*b->err = (struct policy_error){ .rule = rule,
		.other = other,
		.line = rule_line(b, rule),
		.other_line = rule_line(b, other) };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(b->err->message, sizeof(b->err->message), fmt, ap);
	va_end(ap);
	return false;
}

bool build_no_memory(struct build *b)
{
	return build_fail(b, -ENOMEM, SIZE_MAX, SIZE_MAX, "out of memory");
}

bool build_text(struct build *b, const char *s, size_t len, uint32_t *ret)
{
	if (len + 1 > b->cap_text - b->text_len) {
		size_t cap = (b->cap_text + len + 1) * 2;
		char *text = cap > UINT32_MAX ? NULL : realloc(b->text, cap);
		if (text == NULL)
			return build_no_memory(b);
		b->text = text;
		b->cap_text = cap;
	}
	*ret = (uint32_t)b->text_len;
	memcpy(b->text + b->text_len, s, len);
	b->text[b->text_len + len] = '\0';
	b->text_len += len + 1;
	return true;
}

static bool keep_ports(struct build *b, const struct policy_rule *r, struct crule *c)
{
	if (r->n_ports > b->cap_ports - b->n_ports) {
		size_t cap = (b->cap_ports + r->n_ports) * 2;
		struct cport *ports = reallocarray(b->ports, cap, sizeof(*ports));
		if (ports == NULL)
			return build_no_memory(b);
		b->ports = ports;
		b->cap_ports = cap;
	}
	c->ports = (uint32_t)b->n_ports;
	c->n_ports = r->n_ports;
	if (r->n_ports == 0)
		return true;
	for (size_t i = 0; i < r->n_ports; i++)
		b->ports[b->n_ports++] = (struct cport){ .lo = r->ports[i].lo,
			.hi = r->ports[i].hi,
			.proto_kind = r->ports[i].proto_kind,
			.proto = r->ports[i].proto,
			.ranged = r->ports[i].ranged };
	c->port = b->ports[c->ports];
	return true;
}

static uint8_t final_rank(const struct policy_entry *e)
{
	if (!e->rule.final)
		return 0;
	switch (e->meta.origin) {
	case POLICY_ORIGIN_FLEET:
		return 3;
	case POLICY_ORIGIN_ADMIN:
	case POLICY_ORIGIN_FILE:
		return 2;
	case POLICY_ORIGIN_ANSWER:
	case POLICY_ORIGIN_FLOOR:
	case POLICY_ORIGIN_DEFAULT:
		break;
	}
	return 1;
}

static bool subject_of(struct build *b, size_t i, uint32_t *ret)
{
	const struct policy_rule *r = &b->in->rules[i].rule;
	uint32_t id = 0, def;
	if (r->subject == POLICY_SUBJECT_GROUP) {
		if (!build_find(b, r->who, DEF_GROUP, i, &def))
			return false;
		id = keytab_add(&b->groups, 0, r->who, strlen(r->who));
	} else if (r->subject == POLICY_SUBJECT_APP) {
		id = keytab_add(&b->apps, 0, r->who, strlen(r->who));
	}
	if (id == KEYTAB_NONE)
		return build_no_memory(b);
	*ret = subject_key(r->subject, id);
	return true;
}

/* Files are few and rules many: a file's name is kept once while it repeats. */
static bool keep_file(struct build *b, size_t i, uint32_t *ret)
{
	const char *f = b->in->rules[i].meta.file, *before = i == 0 ? NULL : b->in->rules[i - 1].meta.file;
	*ret = POLICY_NO_FILE;
	if (f == NULL)
		return true;
	if (before != NULL && (before == f || strcmp(before, f) == 0)) {
		*ret = b->facts[i - 1].file;
		return true;
	}
	return build_text(b, f, strlen(f), ret);
}

static bool keep_facts(struct build *b, size_t i)
{
	static const uint8_t zero[POLICY_ID_LEN];
	const struct policy_entry *e = &b->in->rules[i];
	const struct policy_meta *m = &e->meta;
	struct policy_fact *f = &b->facts[i];
	char text[POLICY_PRINT_MAX];
	*f = (struct policy_fact){ .created_ms = m->created_ms,
		.deadline_ms = m->deadline_ms,
		.owner = m->owner,
		.times_left = m->times_left,
		.line = m->line,
		.origin = (uint8_t)m->origin,
		.ended = (uint8_t)m->ended,
		.verb = (uint8_t)e->rule.verb,
		.quiet = e->rule.quiet };
	memcpy(f->id, m->id, sizeof(f->id));
	if (m->origin > POLICY_ORIGIN_FILE || (m->origin == POLICY_ORIGIN_ANSWER && m->owner == POLICY_OWNER_ANY))
		return build_fail(b, -EINVAL, i, SIZE_MAX, "this rule has no lawful origin or owner");
	if (memcmp(f->id, zero, sizeof(zero)) == 0 && policy_id(&e->rule, m->origin, m->owner, f->id) < 0)
		return build_fail(b, -EINVAL, i, SIZE_MAX, "no id could be made for this rule");
	int n = policy_print_rule(&e->rule, text, sizeof(text));
	if (n < 0)
		return build_fail(b, -EINVAL, i, SIZE_MAX, "this rule cannot be printed");
	return build_text(b, text, (size_t)n, &f->text) && keep_file(b, i, &f->file);
}

static uint32_t keep_window(struct build *b, const struct policy_lives *l)
{
	if (!l->between && l->on == 0)
		return NO_WINDOW;
	b->windows[b->n_windows] = (struct cwindow){ .from_minute = l->from_minute,
		.to_minute = l->to_minute,
		.between = l->between,
		.on = l->on };
	return (uint32_t)b->n_windows++;
}

static bool one_rule(struct build *b, size_t i)
{
	const struct policy_entry *e = &b->in->rules[i];
	const struct policy_rule *r = &e->rule;
	uint32_t subject = 0, object = 0;
	struct crule *c = &b->rules[i];
	bool counted = r->lives.times != 0;
	bool over = e->meta.ended != POLICY_RUNNING || (counted && e->meta.times_left == 0);
	*c = (struct crule){ .deadline_ms = e->meta.deadline_ms,
		.input = (uint32_t)i,
		.owner = e->meta.owner,
		.window = keep_window(b, &r->lives),
		.verb = (uint8_t)r->verb,
		.final_rank = final_rank(e),
		.subject_rank = (uint8_t)r->subject,
		.origin = (uint8_t)e->meta.origin,
		.flags = (uint8_t)((policy_rule_limited(r) ? RULE_LIMITED : 0) | (counted ? RULE_COUNTED : 0) |
				   (r->log ? RULE_LOG : 0) | (r->quiet ? RULE_QUIET : 0) | (over ? RULE_OVER : 0)) };
	if (!keep_facts(b, i) || !keep_ports(b, r, c) || !subject_of(b, i, &subject) ||
		!build_object(b, &r->peer, i, &object))
		return false;
	b->who[object] |= who_bit(r->subject, r->dir);
	b->keys[i] = bucket_key(r->dir, subject, object);
	return true;
}

static int by_id_cmp(const void *a, const void *b, void *facts)
{
	const struct policy_fact *f = facts;
	uint32_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	int c = memcmp(f[x].id, f[y].id, POLICY_ID_LEN);
	return c != 0 ? c : (x > y) - (x < y);
}

static bool twice(struct build *b, size_t first, size_t second)
{
	const char *f = b->in->rules[first].meta.file, *g = b->in->rules[second].meta.file;
	return build_fail(b, -EINVAL, second, first, "%.80s line %u is the same rule as %.80s line %u: %.100s",
		g == NULL ? "rule" : g, rule_line(b, second), f == NULL ? "rule" : f, rule_line(b, first),
		b->text + b->facts[second].text);
}

/* Sorted by id; of one id at most one runs: ended rules stay listed beside what replaced them. */
static bool ids(struct build *b)
{
	size_t running = SIZE_MAX;
	for (size_t i = 0; i < b->in->n_rules; i++)
		b->by_id[i] = (uint32_t)i;
	qsort_r(b->by_id, b->in->n_rules, sizeof(*b->by_id), by_id_cmp, b->facts);
	for (size_t i = 0; i < b->in->n_rules; i++) {
		uint32_t at = b->by_id[i];
		if (i > 0 && memcmp(b->facts[at].id, b->facts[b->by_id[i - 1]].id, POLICY_ID_LEN) != 0)
			running = SIZE_MAX;
		if (b->facts[at].ended != POLICY_RUNNING)
			continue;
		if (running != SIZE_MAX)
			return twice(b, running, at);
		running = at;
	}
	return true;
}

static bool room(struct build *b)
{
	size_t n = b->in->n_rules + 1;
	if (n > UINT32_MAX / 4)
		return build_fail(b, -E2BIG, SIZE_MAX, SIZE_MAX, "too many rules");
	b->rules = calloc(n, sizeof(*b->rules));
	b->facts = calloc(n, sizeof(*b->facts));
	b->windows = calloc(n, sizeof(*b->windows));
	b->keys = calloc(n, sizeof(*b->keys));
	b->by_id = calloc(n, sizeof(*b->by_id));
	bool ok = b->rules != NULL && b->facts != NULL && b->windows != NULL && b->keys != NULL && b->by_id != NULL;
	return ok || build_no_memory(b);
}

static bool build(struct build *b)
{
	if (!room(b) || !build_definitions(b) || !build_groups(b) || !build_sets_sane(b))
		return false;
	for (size_t i = 0; i < b->in->n_rules; i++) {
		if (!one_rule(b, i))
			return false;
	}
	return ids(b);
}

static void build_fini(struct build *b)
{
	struct keytab *const tabs[] = { &b->defs, &b->objects, &b->apps, &b->groups, &b->patterns };
	void *const blocks[] = { b->def_index, b->who, b->links, b->app_groups, b->member, b->rules, b->facts, b->keys,
		b->by_id, b->first, b->windows, b->ports, b->text };
	for (size_t i = 0; i < sizeof(tabs) / sizeof(tabs[0]); i++)
		keytab_fini(tabs[i]);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		free(blocks[i]);
}

int policy_compile(const struct policy_input *in, struct policy **ret, struct policy_error *reterr)
{
	struct build b = { .in = in, .err = reterr };
	void *image;
	size_t len;
	bool ok = build(&b) && build_pack(&b, &image, &len);
	build_fini(&b);
	return ok ? image_own(image, len, ret) : b.rc;
}
