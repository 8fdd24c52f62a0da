/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/resolve.h"

#include "ipc/plan.h"

#include <stdlib.h>
#include <string.h>

enum { PROBES = 8 };

struct resolve {
	uint64_t seed;
	uint32_t round;
	struct resolved *entry[RESOLVE_TABLE];
	uint32_t request[RESOLVE_TABLE];
	uint16_t count[PLAN_SLOTS];
	unsigned lost_at; /* resolve_lost_next() has looked at all before */
};

struct resolve *resolve_new(uint64_t seed)
{
	struct resolve *t = calloc(1, sizeof(*t));
	if (t != NULL)
		t->seed = seed;
	return t;
}

static void resolved_free(struct resolved *r)
{
	if (r == NULL)
		return;
	free(r->chain);
	free(r->v4);
	free(r->v6);
	free(r);
}

void resolve_free(struct resolve *t)
{
	if (t == NULL)
		return;
	for (unsigned i = 0; i < RESOLVE_TABLE; i++)
		resolved_free(t->entry[i]);
	free(t);
}

static unsigned probe(const struct resolve *t, const struct name *name, unsigned i)
{
	return (unsigned)(name_hash(name, t->seed) + i) & (RESOLVE_TABLE - 1);
}

const struct resolved *resolve_get(struct resolve *t, const struct name *name, int64_t now_ms)
{
	for (unsigned i = 0; i < PROBES; i++) {
		const struct resolved *r = t->entry[probe(t, name, i)];
		if (r != NULL && name_equal(&r->name, name))
			return r->until_ms > now_ms ? r : NULL;
	}
	return NULL;
}

const struct resolved *resolve_last(struct resolve *t, const struct name *name)
{
	const struct resolved *r = resolve_get(t, name, INT64_MIN);
	return r != NULL && r->chain != NULL ? r : NULL;
}

void resolve_for_grants(struct resolve *t, const struct name *name)
{
	for (unsigned i = 0; i < PROBES; i++) {
		struct resolved *r = t->entry[probe(t, name, i)];
		if (r != NULL && name_equal(&r->name, name))
			r->for_grants = r->pending;
	}
}

static void forget(struct resolve *t, unsigned at)
{
	struct resolved *r = t->entry[at];
	if (r == NULL)
		return;
	t->count[r->slot % PLAN_SLOTS]--;
	resolved_free(r);
	t->entry[at] = NULL;
}

/* `a` makes room rather than `b`: one's own before others', what nobody waits for, then what is nearer its end. */
static bool goes_first(const struct resolved *a, const struct resolved *b, uint16_t slot)
{
	if ((a->slot == slot) != (b->slot == slot))
		return a->slot == slot;
	return a->pending != b->pending ? b->pending : a->until_ms < b->until_ms;
}

/* The place of this name, a free one, or that of the answer that goes first. */
static unsigned place(struct resolve *t, const struct name *name, uint16_t slot)
{
	unsigned best = probe(t, name, 0), room = RESOLVE_TABLE;
	for (unsigned i = 0; i < PROBES; i++) {
		unsigned at = probe(t, name, i);
		if (t->entry[at] == NULL)
			room = room == RESOLVE_TABLE ? at : room;
		else if (name_equal(&t->entry[at]->name, name))
			return at;
		else if (t->entry[best] == NULL || goes_first(t->entry[at], t->entry[best], slot))
			best = at;
	}
	return room == RESOLVE_TABLE ? best : room;
}

/* An app that has its share gives up the answer of its own that is nearest its end. */
static void keep_share(struct resolve *t, uint16_t slot)
{
	unsigned best = RESOLVE_TABLE;
	if (t->count[slot % PLAN_SLOTS] < RESOLVE_APP_MAX)
		return;
	for (unsigned i = 0; i < RESOLVE_TABLE; i++) {
		const struct resolved *r = t->entry[i];
		if (r != NULL && r->slot == slot && (best == RESOLVE_TABLE || goes_first(r, t->entry[best], slot)))
			best = i;
	}
	forget(t, best);
}

uint32_t resolve_ask(struct resolve *t, const struct name *name, uint16_t slot, int64_t now_ms)
{
	struct resolved *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return 0;
	keep_share(t, slot);
	unsigned at = place(t, name, slot);
	*r = (struct resolved){ .name = *name,
		.slot = slot,
		.pending = true,
		.until_ms = now_ms + RESOLVE_PATIENCE_MS };
	if (t->entry[at] != NULL && name_equal(&t->entry[at]->name, name)) {
		struct resolved *old = t->entry[at];
		r->chain = old->chain;
		r->v4 = old->v4;
		r->v6 = old->v6;
		r->n_chain = old->n_chain;
		old->chain = NULL;
		old->v4 = old->v6 = NULL;
	}
	forget(t, at);
	t->entry[at] = r;
	t->count[slot % PLAN_SLOTS]++;
	/* The low bits find the place again, the high ones tell a late answer of an earlier request. */
	t->round = (t->round + 1) & 0xfffff;
	if (t->round == 0)
		t->round = 1;
	t->request[at] = t->round * RESOLVE_TABLE + at;
	return t->request[at];
}

/* False: without memory; what was known before stays. */
static bool copy_answer(struct resolved *r, const struct ipc_resolved *a)
{
	struct name *chain = calloc(a->n_chain + 1U, sizeof(*chain));
	struct addr *v4 = calloc(a->n_v4 + 1U, sizeof(*v4)), *v6 = calloc(a->n_v6 + 1U, sizeof(*v6));
	if (chain == NULL || v4 == NULL || v6 == NULL) {
		free(chain);
		free(v4);
		free(v6);
		return false;
	}
	free(r->chain);
	free(r->v4);
	free(r->v6);
	memcpy(chain, a->chain, a->n_chain * sizeof(*chain));
	memcpy(v4, a->v4, a->n_v4 * sizeof(*v4));
	memcpy(v6, a->v6, a->n_v6 * sizeof(*v6));
	r->chain = chain;
	r->v4 = v4;
	r->v6 = v6;
	r->n_chain = a->n_chain;
	r->n_v4 = a->n_v4;
	r->n_v6 = a->n_v6;
	return true;
}

const struct resolved *resolve_answer(struct resolve *t, uint32_t request, const struct ipc_resolved *a, int64_t now_ms)
{
	unsigned at = request & (RESOLVE_TABLE - 1);
	struct resolved *r = t->entry[at];
	if (r == NULL || !r->pending || t->request[at] != request)
		return NULL;
	r->pending = false;
	r->status = a->status;
	/* No answer says nothing about the names behind this one: those of the answer before count on for its grants.
	 */
	if (a->status == RESOLVE_OK && !copy_answer(r, a))
		r->status = RESOLVE_FAILED;
	if (r->status != RESOLVE_OK)
		r->n_v4 = r->n_v6 = 0;
	int64_t ttl = (int64_t)a->ttl * 1000;
	if (r->status != RESOLVE_OK)
		ttl = RESOLVE_FAIL_MS;
	else if (ttl < RESOLVE_TTL_MIN_MS)
		ttl = RESOLVE_TTL_MIN_MS;
	else if (ttl > RESOLVE_TTL_MAX_MS)
		ttl = RESOLVE_TTL_MAX_MS;
	r->until_ms = now_ms + ttl;
	return r;
}

void resolve_lost(struct resolve *t)
{
	for (unsigned i = 0; i < RESOLVE_TABLE; i++) {
		struct resolved *r = t->entry[i];
		if (r == NULL || !r->pending)
			continue;
		r->until_ms = INT64_MIN + 1;
		r->lost = true;
	}
	t->lost_at = 0;
}

bool resolve_lost_next(struct resolve *t, struct name *ret_name, bool *ret_for_grants)
{
	for (; t->lost_at < RESOLVE_TABLE; t->lost_at++) {
		struct resolved *r = t->entry[t->lost_at];
		if (r == NULL || !r->lost)
			continue;
		r->lost = false;
		*ret_name = r->name;
		*ret_for_grants = r->for_grants;
		return true;
	}
	return false;
}
