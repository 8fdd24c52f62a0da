/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways to the rules in memory that do not pass by all of them: by id, by owner, by when they end, by the beginning of
 * an id. A rule whose end is taken back is in the heaps again; one that ended leaves them when its turn comes.
 */
#include "base/clock.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct rule **bucket_of(const struct rule_index *x, const uint8_t id[POLICY_ID_LEN])
{
	size_t hash;
	memcpy(&hash, id, sizeof(hash)); /* of a digest: any of its bytes will do */
	return &x->buckets[hash & (x->n_buckets - 1)];
}

/* The newest of an id stays in front. */
static void rehash(struct rule_index *x, struct rule **buckets, size_t n_buckets)
{
	struct rule_index more = { .buckets = buckets, .n_buckets = n_buckets };
	for (size_t i = 0; i < x->n_buckets; i++) {
		for (struct rule *r = x->buckets[i], *next; r != NULL; r = next) {
			struct rule **last = bucket_of(&more, r->e.meta.id);
			next = r->next;
			while (*last != NULL)
				last = &(*last)->next;
			r->next = NULL;
			*last = r;
		}
	}
	free(x->buckets);
	x->buckets = buckets;
	x->n_buckets = n_buckets;
}

static int room(struct rule_index *x, size_t n)
{
	size_t n_buckets = x->n_buckets == 0 ? 256 : x->n_buckets;
	while (n_buckets < n)
		n_buckets *= 2;
	if (heap_reserve(&x->by_wall, n) != 0 || heap_reserve(&x->by_boot, n) != 0)
		return -ENOMEM;
	if (n_buckets == x->n_buckets)
		return 0;
	struct rule **buckets = calloc(n_buckets, sizeof(*buckets));
	if (buckets == NULL)
		return -ENOMEM;
	rehash(x, buckets, n_buckets);
	return 0;
}

static struct owned *owned_by(struct rule_index *x, uint32_t owner)
{
	for (size_t i = 0; i < x->n_owned; i++) {
		if (x->owned[i].owner == owner)
			return &x->owned[i];
	}
	struct owned *p = reallocarray(x->owned, x->n_owned + 1, sizeof(*p));
	if (p == NULL)
		return NULL;
	x->owned = p;
	x->owned[x->n_owned] = (struct owned){ .owner = owner };
	return &x->owned[x->n_owned++];
}

size_t index_owned(const struct desk *d, uint32_t owner)
{
	const struct rule_index *x = &d->index;
	for (size_t i = 0; i < x->n_owned; i++) {
		if (x->owned[i].owner == owner)
			return x->owned[i].n;
	}
	return 0;
}

void index_wake(struct desk *d, struct rule *r)
{
	struct rule_index *x = &d->index;
	policy_touch(d, r);
	if (!rule_running(r) || r->e.meta.deadline_ms == POLICY_NEVER || r->by_wall.at != 0)
		return;
	deadline_set(&r->ends, r->e.meta.deadline_ms, clock_wall_ms(), clock_boot_ms());
	heap_push(&x->by_wall, &r->by_wall, r->ends.wall_ms);
	heap_push(&x->by_boot, &r->by_boot, r->ends.boot_ms);
}

size_t index_place(const struct desk *d, const char *id)
{
	size_t low = 0, high = d->n_ids;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(d->ids[mid], id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int ids_room(struct desk *d)
{
	if (d->n_ids < d->cap_ids)
		return 0;
	size_t cap = d->cap_ids == 0 ? 256 : d->cap_ids * 2;
	const char **ids = reallocarray(d->ids, cap, sizeof(*ids));
	if (ids == NULL)
		return -ENOMEM;
	d->ids = ids;
	d->cap_ids = cap;
	return 0;
}

static void id_insert(struct desk *d, const char *id)
{
	size_t at = index_place(d, id);
	memmove(d->ids + at + 1, d->ids + at, (d->n_ids - at) * sizeof(*d->ids));
	d->ids[at] = id;
	d->n_ids++;
}

static void id_take(struct desk *d, const char *id)
{
	size_t at = index_place(d, id);
	while (at < d->n_ids && d->ids[at] != id)
		at++;
	if (at < d->n_ids)
		memmove(d->ids + at, d->ids + at + 1, (--d->n_ids - at) * sizeof(*d->ids));
}

static int compare_ids(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;
	return strcmp(*x, *y);
}

void index_ids(struct desk *d)
{
	if (!d->ids_stale)
		return;
	d->n_ids = 0;
	for (size_t i = 0; i < d->n_rules; i++) {
		if (ids_room(d) != 0) {
			d->n_ids = 0;
			return;
		}
		d->ids[d->n_ids++] = d->rules[i]->id;
	}
	if (d->n_ids > 1)
		qsort(d->ids, d->n_ids, sizeof(*d->ids), compare_ids);
	d->ids_stale = false;
}

void index_ids_forget(struct desk *d)
{
	d->ids_stale = true;
	d->n_ids = 0;
}

int index_room(struct desk *d, size_t n)
{
	return owned_by(&d->index, POLICY_OWNER_ANY) == NULL ? -ENOMEM : room(&d->index, n);
}

int index_add(struct desk *d, struct rule *r)
{
	struct rule_index *x = &d->index;
	struct owned *o = owned_by(x, r->e.meta.owner);
	if (o == NULL || room(x, x->n + 1) != 0 || (!d->ids_stale && ids_room(d) != 0))
		return -ENOMEM;
	struct rule **at = bucket_of(x, r->e.meta.id);
	r->next = *at;
	*at = r;
	x->n++;
	o->n += r->e.meta.origin == POLICY_ORIGIN_ANSWER;
	if (!d->ids_stale)
		id_insert(d, r->id);
	index_wake(d, r);
	return 0;
}

void index_drop(struct desk *d, struct rule *r)
{
	struct rule_index *x = &d->index;
	struct rule **at = bucket_of(x, r->e.meta.id);
	policy_forget(d, r);
	while (*at != NULL && *at != r)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = r->next;
	x->n--;
	/* Its owner has been counted, so this finds him. */
	struct owned *o = owned_by(x, r->e.meta.owner);
	if (o != NULL && r->e.meta.origin == POLICY_ORIGIN_ANSWER)
		o->n--;
	heap_remove(&x->by_wall, &r->by_wall);
	heap_remove(&x->by_boot, &r->by_boot);
	if (!d->ids_stale)
		id_take(d, r->id);
}

struct rule *index_find(const struct desk *d, const uint8_t id[POLICY_ID_LEN], const struct rule *after)
{
	struct rule *r = after != NULL ? after->next : d->index.n_buckets == 0 ? NULL : *bucket_of(&d->index, id);
	while (r != NULL && memcmp(r->e.meta.id, id, POLICY_ID_LEN) != 0)
		r = r->next;
	return r;
}

struct rule *rule_by_id(const struct desk *d, const uint8_t id[POLICY_ID_LEN])
{
	struct rule *r = index_find(d, id, NULL);
	while (r != NULL && !rule_running(r))
		r = index_find(d, id, r);
	return r;
}

static struct rule *over(struct heap *h, size_t offset, int64_t now_ms)
{
	struct heap_node *min;
	while ((min = heap_min(h)) != NULL && min->key <= now_ms) {
		union {
			struct heap_node *node;
			char *p;
			struct rule *r;
		} at = { .node = min };
		at.p -= offset;
		if (rule_running(at.r))
			return at.r;
		heap_remove(h, min);
	}
	return NULL;
}

struct rule *index_over(struct desk *d)
{
	struct rule_index *x = &d->index;
	struct rule *r = over(&x->by_wall, offsetof(struct rule, by_wall), clock_wall_ms());
	if (r == NULL)
		r = over(&x->by_boot, offsetof(struct rule, by_boot), clock_boot_ms());
	if (r != NULL) {
		heap_remove(&x->by_wall, &r->by_wall);
		heap_remove(&x->by_boot, &r->by_boot);
	}
	return r;
}

int64_t index_left_ms(const struct desk *d)
{
	const struct heap_node *wall = heap_min(&d->index.by_wall), *boot = heap_min(&d->index.by_boot);
	int64_t left = wall == NULL ? DEADLINE_NEVER : wall->key - clock_wall_ms();
	int64_t other = boot == NULL ? DEADLINE_NEVER : boot->key - clock_boot_ms();
	return other < left ? other : left;
}
