/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "desk/build.h"
#include "desk/lists.h"
#include "desk/rule.h"
#include "policy/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void append(void *to, size_t *n, const void *from, size_t n_from, size_t size)
{
	if (n_from > 0)
		memcpy((char *)to + *n * size, from, n_from * size);
	*n += n_from;
}

/* The definitions of all files side by side; shallow. */
static int definitions_join(struct policy_doc *const *docs, unsigned n_docs, struct definitions *ret)
{
	size_t groups = 1, sets = 1, lists = 1;
	for (unsigned i = 0; i < n_docs; i++) {
		groups += docs[i]->n_groups;
		sets += docs[i]->n_sets;
		lists += docs[i]->n_lists;
	}
	*ret = (struct definitions){ .groups = calloc(groups, sizeof(*ret->groups)),
		.sets = calloc(sets, sizeof(*ret->sets)),
		.lists = calloc(lists, sizeof(*ret->lists)) };
	if (ret->groups == NULL || ret->sets == NULL || ret->lists == NULL) {
		free(ret->groups);
		free(ret->sets);
		free(ret->lists);
		*ret = (struct definitions){ 0 };
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n_docs; i++) {
		append(ret->groups, &ret->n_groups, docs[i]->groups, docs[i]->n_groups, sizeof(*ret->groups));
		append(ret->sets, &ret->n_sets, docs[i]->sets, docs[i]->n_sets, sizeof(*ret->sets));
		append(ret->lists, &ret->n_lists, docs[i]->lists, docs[i]->n_lists, sizeof(*ret->lists));
	}
	return 0;
}

/* Running rules, and used-up ones so that the gate lets what they admitted run to its own end. */
static bool wanted(const struct desk *d, const struct rule *r)
{
	return rule_running(r) || (r->e.meta.ended == POLICY_END_USED && rule_by_id(d, r->e.meta.id) == NULL);
}

static struct place *place_in(const struct base *b, struct rule *r)
{
	struct place *p = &r->place[b->slot];
	if (p->base != b->number)
		*p = (struct place){ .base = b->number };
	return p;
}

static void take_in(struct base *b, struct rule *r)
{
	b->entries[b->n] = r->e;
	b->by_index[b->n++] = r;
	place_in(b, r)->at = (uint32_t)b->n;
}

int base_new(struct desk *d, size_t n, struct policy_doc *const *docs, unsigned n_docs, struct base **ret)
{
	struct base *b = calloc(1, sizeof(*b));
	if (b == NULL)
		return -ENOMEM;
	b->fd = -1;
	b->number = ++d->last_base;
	b->env = d->env;
	b->slot = d->base == NULL ? 0 : !d->base->slot;
	b->cap = n + PLAN_SLOTS + BASE_TOUCHED;
	b->entries = calloc(b->cap, sizeof(*b->entries));
	b->by_index = calloc(b->cap, sizeof(struct rule *));
	int err = b->entries == NULL || b->by_index == NULL ? -ENOMEM : definitions_join(docs, n_docs, &b->def);
	if (err != 0) {
		base_free(b);
		return err;
	}
	*ret = b;
	return 0;
}

void base_take(struct desk *d, struct base *b, struct rule *const *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (wanted(d, rules[i]))
			take_in(b, rules[i]);
	}
}

void base_ready(struct desk *d, struct base *b)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].rehearsal != NULL)
			take_in(b, d->apps[i].rehearsal);
	}
	b->in = (struct policy_input){ .rules = b->entries,
		.n_rules = b->n,
		.groups = b->def.groups,
		.n_groups = b->def.n_groups,
		.sets = b->def.sets,
		.n_sets = b->def.n_sets,
		.lists = b->def.lists,
		.n_lists = b->def.n_lists,
		.env = host_env(&d->host) };
}

int base_begin(struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs, unsigned n_docs,
	struct base **ret)
{
	int err = base_new(d, n, docs, n_docs, ret);
	if (err != 0)
		return err;
	base_take(d, *ret, rules, n);
	base_ready(d, *ret);
	return 0;
}

void base_free(struct base *b)
{
	if (b == NULL)
		return;
	free(b->def.groups);
	free(b->def.sets);
	free(b->def.lists);
	free(b->entries);
	free(b->by_index);
	policy_free(b->policy);
	if (b->map != NULL)
		munmap(b->map, b->len);
	if (b->fd >= 0)
		close(b->fd);
	free(b->touched);
	free(b->gone);
	free(b);
}

void base_error(const struct base *b, const struct policy_error *e, int err, char *ret)
{
	const struct rule *r = e->rule < b->n ? b->by_index[e->rule] : NULL;
	if (ret == NULL)
		return;
	if (e->message[0] == '\0')
		snprintf(ret, 512, "the policy cannot be compiled: %s", strerror(-err));
	else if (r != NULL && r->file != NULL)
		snprintf(ret, 512, "%s:%u:1: error: %s", r->file, e->line, e->message);
	else
		snprintf(ret, 512, "%s", e->message);
}

int build_policy(struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs, unsigned n_docs,
	struct build *ret, char *ret_error)
{
	struct policy_error e = { .rule = SIZE_MAX };
	*ret = (struct build){ 0 };
	compile_forget(d);
	int err = base_begin(d, rules, n, docs, n_docs, &ret->base);
	if (err != 0) {
		if (ret_error != NULL)
			snprintf(ret_error, 512, "the policy cannot be compiled: %s", strerror(-err));
		return err;
	}
	err = policy_compile(&ret->base->in, &ret->base->policy, &e);
	if (err != 0) {
		bool said = err == -EINVAL && docs == d->new_docs && files_refused(d, &ret->base->in);
		base_error(ret->base, &e, err, said ? NULL : ret_error);
		build_free(ret);
	}
	return err;
}

/* --- what was touched --- */

static bool room(void **p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return true;
	size_t more = *cap == 0 ? 64 : *cap * 2;
	void *q = reallocarray(*p, more, size);
	if (q == NULL)
		return false;
	*p = q;
	*cap = more;
	return true;
}

/* It does not count in the base from here on. */
static bool base_gone(struct base *b, struct place *p)
{
	void *gone = b->gone;
	bool ok = room(&gone, b->n_gone, &b->cap_gone, sizeof(*b->gone));
	b->gone = gone;
	if (!ok)
		return false;
	b->gone[b->n_gone++] = p->at - 1;
	b->entries[p->at - 1].meta.ended = POLICY_END_REPLACED;
	return true;
}

void base_touch(struct base *b, struct rule *r)
{
	if (b == NULL)
		return;
	struct place *p = place_in(b, r);
	if (p->touched)
		return;
	void *touched = b->touched;
	bool ok = room(&touched, b->n_touched, &b->cap_touched, sizeof(*b->touched));
	b->touched = touched;
	if (ok && p->at != 0)
		ok = base_gone(b, p);
	if (!ok) {
		b->spoilt = true;
		return;
	}
	b->touched[b->n_touched++] = r;
	p->touched = true;
}

void policy_touch(struct desk *d, struct rule *r)
{
	base_touch(d->base, r);
	base_touch(d->base_coming, r);
	/* One that was used up counts while no other of its id runs. */
	for (struct rule *k = index_find(d, r->e.meta.id, NULL); k != NULL; k = index_find(d, r->e.meta.id, k)) {
		if (k->e.meta.ended != POLICY_END_USED && !rule_running(k))
			continue;
		base_touch(d->base, k);
		base_touch(d->base_coming, k);
	}
}

static void forget(struct base *b, struct rule *r)
{
	if (b == NULL || r->place[b->slot].base != b->number)
		return;
	struct place *p = &r->place[b->slot];
	/* What goes from memory was touched when it ended; a file's lines go with their base. */
	if (!p->touched && p->at != 0 && !base_gone(b, p))
		b->spoilt = true;
	for (size_t i = 0; p->touched && i < b->n_touched; i++) {
		if (b->touched[i] == r)
			b->touched[i--] = b->touched[--b->n_touched];
	}
	*p = (struct place){ 0 };
}

void base_leave_files(struct base *b)
{
	size_t kept = 0;
	for (size_t i = 0; i < b->n_touched; i++) {
		struct rule *r = b->touched[i];
		if (r->e.meta.origin != POLICY_ORIGIN_ADMIN || place_in(b, r)->at != 0)
			b->touched[kept++] = r;
	}
	b->n_touched = kept;
}

void policy_forget(struct desk *d, struct rule *r)
{
	forget(d->base, r);
	forget(d->base_coming, r);
}

/* --- what is joined --- */

static bool defined(const struct policy_rule *r)
{
	return r->subject == POLICY_SUBJECT_GROUP || r->peer.kind == POLICY_PEER_SET ||
	       r->peer.kind == POLICY_PEER_LIST;
}

/* Definitions only where some rule needs them: there may be many. */
static struct policy_input beside(const struct base *b, const struct policy_entry *rules, size_t n)
{
	struct policy_input in = { .rules = rules, .n_rules = n, .env = b->in.env };
	for (size_t i = 0; i < n; i++) {
		if (!defined(&rules[i].rule))
			continue;
		in = b->in;
		in.rules = rules;
		in.n_rules = n;
		break;
	}
	return in;
}

static int compile_beside(const struct base *b, const struct policy_entry *rules, size_t n, struct policy **ret,
	char *ret_error)
{
	struct policy_input in = beside(b, rules, n);
	struct policy_error e = { .rule = SIZE_MAX };
	int err = policy_compile(&in, ret, &e);
	if (err != 0 && ret_error != NULL)
		snprintf(ret_error, 512, "%s", e.message[0] != '\0' ? e.message : strerror(-err));
	return err;
}

int build_check(struct desk *d, struct rule *const *rules, size_t n, char *ret_error)
{
	struct policy_entry *entries = calloc(n + 1, sizeof(*entries));
	struct policy *p;
	if (entries == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		entries[i] = rules[i]->e;
	int err = compile_beside(d->base, entries, n, &p, ret_error);
	if (err == 0)
		policy_free(p);
	free(entries);
	return err;
}

static int entries_room(struct desk *d, struct base *b, size_t n)
{
	if (b->n + n <= b->cap)
		return 0;
	size_t cap = b->n + 2 * n;
	struct policy_entry *e = reallocarray(b->entries, cap, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	b->entries = e;
	b->in.rules = e;
	if (b == d->base)
		d->input.rules = d->entries = e;
	struct rule **by_index = reallocarray(b->by_index, cap, sizeof(struct rule *));
	if (by_index == NULL)
		return -ENOMEM;
	b->by_index = by_index;
	if (b == d->base)
		d->by_index = by_index;
	b->cap = cap;
	return 0;
}

int base_take_answers(struct desk *d, struct base *b)
{
	size_t n = PLAN_SLOTS + BASE_TOUCHED;
	for (size_t i = 0; i < d->n_rules; i++)
		n += d->rules[i]->e.meta.origin != POLICY_ORIGIN_ADMIN;
	int err = entries_room(d, b, n);
	for (size_t i = 0; i < d->n_rules && err == 0; i++) {
		if (d->rules[i]->e.meta.origin != POLICY_ORIGIN_ADMIN)
			base_take(d, b, &d->rules[i], 1);
	}
	return err;
}

static int build_joined(struct desk *d, struct base *b, struct build *ret, char *ret_error)
{
	ret->entries = calloc(b->n_touched + 1, sizeof(*ret->entries));
	ret->by_index = calloc(b->n_touched + 1, sizeof(struct rule *));
	int err = ret->entries == NULL || ret->by_index == NULL ? -ENOMEM : entries_room(d, b, b->n_touched);
	for (size_t i = 0; err == 0 && i < b->n_touched; i++) {
		struct rule *r = b->touched[i];
		if (!wanted(d, r))
			continue;
		ret->entries[ret->n] = r->e;
		ret->by_index[ret->n++] = r;
	}
	if (err == 0 && ret->n != 0)
		err = compile_beside(b, ret->entries, ret->n, &ret->more, ret_error);
	else if (err != 0 && ret_error != NULL)
		snprintf(ret_error, 512, "the policy cannot be compiled: %s", strerror(-err));
	if (err != 0)
		build_free(ret);
	return err;
}

int build_change(struct desk *d, struct build *ret, char *ret_error)
{
	struct base *b = d->base;
	*ret = (struct build){ 0 };
	bool many = b != NULL && (b->n_touched + b->n_gone > BASE_TOUCHED || b->env != d->env);
	bool whole = b == NULL || b->spoilt || (many && d->n_rules <= BASE_SMALL && d->base_coming == NULL) ||
		     b->n_touched + b->n_gone > BASE_PATIENCE;
	if (whole)
		return build_policy(d, d->rules, d->n_rules, d->docs, d->n_docs, ret, ret_error);
	return build_joined(d, b, ret, ret_error);
}

int build_rebase(struct desk *d, struct base *b, struct build *ret)
{
	*ret = (struct build){ 0 };
	int err = b->spoilt ? -ENOMEM : build_joined(d, b, ret, NULL);
	if (err != 0)
		base_free(b);
	else
		ret->base = b;
	return err;
}

void build_free(struct build *b)
{
	base_free(b->base);
	policy_free(b->more);
	free(b->entries);
	free(b->by_index);
	*b = (struct build){ 0 };
}

static void base_use(struct desk *d, struct base *b)
{
	static const struct policy_input none = { 0 };
	struct base *old = d->base;
	if (old != NULL && old->fd >= 0) {
		image_keep(old->fd);
		old->fd = -1;
	}
	d->base = b;
	d->input = none;
	if (b != NULL)
		d->input = b->in;
	d->entries = b == NULL ? NULL : b->entries;
	d->by_index = b == NULL ? NULL : b->by_index;
	policy_free(d->policy);
	d->policy = NULL;
	base_free(old);
}

void policy_drop(struct desk *d)
{
	base_use(d, NULL);
}

void build_install(struct desk *d, struct build *b)
{
	struct policy *joined;
	if (b->base != NULL) {
		base_use(d, b->base);
		b->base = NULL;
	}
	struct base *base = d->base;
	for (size_t i = 0; i < b->n; i++) {
		base->entries[base->n + i] = b->entries[i];
		base->by_index[base->n + i] = b->by_index[i];
	}
	d->input.n_rules = base->n + b->n;
	d->more_len = 0;
	free(d->more);
	d->more = NULL;
	size_t len = 0;
	const void *image = b->more == NULL ? NULL : policy_image(b->more, &len);
	if (image != NULL && (d->more = malloc(len)) != NULL) {
		memcpy(d->more, image, len);
		d->more_len = len;
	}
	struct policy *more = b->more;
	b->more = NULL;
	build_free(b);
	/* Without memory for a few pages nothing goes on here; the gate keeps what it has until main starts another. */
	if ((more != NULL && d->more == NULL) ||
		policy_join(base->policy, more, base->gone, base->n_gone, &joined) != 0) {
		log_msg(LOG_ERROR, "no memory for the policy; beginning afresh");
		d->restart = true;
		return;
	}
	policy_free(d->policy);
	d->policy = joined;
	lists_attach(d, joined);
	index_ids(d);
	d->generation++;
	rules_send(d);
}
