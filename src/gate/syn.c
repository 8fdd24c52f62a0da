/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/syn.h"

#include <stdlib.h>
#include <string.h>

/* Names are kept at their own length: 65,536 of them stay well below the 16 MiB of names.md. */
struct entry {
	uint8_t *wire; /* NULL: free */
	int64_t answered_ms;
	uint32_t next; /* in its bucket */
	uint16_t holds;
	uint8_t len;
	bool used;
};

struct syn {
	uint64_t seed;
	unsigned n;    /* names in use */
	unsigned made; /* entries 1..made have been used at least once */
	unsigned cap;  /* allocated entries */
	struct entry *entry;
	uint32_t *bucket; /* n_buckets, a power of two */
	unsigned n_buckets;
};

enum { FIRST_CAP = 64 };

static uint32_t *bucket_of(struct syn *s, const uint8_t *wire, uint8_t len)
{
	struct name n = { .len = len };
	memcpy(n.wire, wire, len);
	return &s->bucket[name_hash(&n, s->seed) & (s->n_buckets - 1)];
}

struct syn *syn_new(uint64_t seed)
{
	struct syn *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->seed = seed;
	s->cap = s->n_buckets = FIRST_CAP;
	s->entry = calloc(s->cap, sizeof(*s->entry));
	s->bucket = calloc(s->n_buckets, sizeof(*s->bucket));
	if (s->entry == NULL || s->bucket == NULL) {
		syn_free(s);
		return NULL;
	}
	return s;
}

void syn_free(struct syn *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; s->entry != NULL && i < s->cap; i++)
		free(s->entry[i].wire);
	free(s->entry);
	free(s->bucket);
	free(s);
}

static void rehash(struct syn *s)
{
	memset(s->bucket, 0, s->n_buckets * sizeof(*s->bucket));
	for (unsigned i = 1; i < s->cap; i++) {
		struct entry *e = &s->entry[i];
		if (e->wire == NULL)
			continue;
		uint32_t *b = bucket_of(s, e->wire, e->len);
		e->next = *b;
		*b = i;
	}
}

static bool grow(struct syn *s, unsigned cap)
{
	struct entry *entry = realloc(s->entry, cap * sizeof(*entry));
	if (entry == NULL)
		return false;
	memset(entry + s->cap, 0, (cap - s->cap) * sizeof(*entry));
	s->entry = entry;
	s->cap = cap;
	uint32_t *bucket = calloc(cap, sizeof(*bucket));
	if (bucket == NULL)
		return true; /* longer chains, nothing worse */
	free(s->bucket);
	s->bucket = bucket;
	s->n_buckets = cap;
	rehash(s);
	return true;
}

unsigned syn_find(struct syn *s, const struct name *name)
{
	for (unsigned i = *bucket_of(s, name->wire, name->len); i != 0; i = s->entry[i].next) {
		const struct entry *e = &s->entry[i];
		if (e->len == name->len && memcmp(e->wire, name->wire, e->len) == 0)
			return i;
	}
	return 0;
}

static void drop(struct syn *s, unsigned index)
{
	struct entry *e = &s->entry[index];
	uint32_t *at = bucket_of(s, e->wire, e->len);
	while (*at != index)
		at = &s->entry[*at].next;
	*at = e->next;
	free(e->wire);
	*e = (struct entry){ 0 };
	s->n--;
}

static bool fill(struct syn *s, unsigned index, const struct name *name, int64_t now_ms)
{
	uint8_t *wire = malloc(name->len);
	if (wire == NULL)
		return false;
	memcpy(wire, name->wire, name->len);
	uint32_t *b = bucket_of(s, name->wire, name->len);
	s->entry[index] = (struct entry){ .wire = wire, .len = name->len, .answered_ms = now_ms, .next = *b };
	*b = index;
	s->n++;
	return true;
}

/* A free index, the next unused one, or the least recently answered that nothing holds. */
static unsigned choose(struct syn *s, int64_t now_ms)
{
	if (s->made + 1 < s->cap || (s->cap < SYN_MAX && grow(s, s->cap * 2)))
		return ++s->made;
	unsigned oldest = 0;
	for (unsigned i = 1; i < s->cap; i++) {
		const struct entry *e = &s->entry[i];
		if (e->wire == NULL)
			return i;
		if (e->holds == 0 && (oldest == 0 || e->answered_ms < s->entry[oldest].answered_ms))
			oldest = i;
	}
	if (oldest == 0 || now_ms - s->entry[oldest].answered_ms < SYN_KEEP_MS)
		return 0;
	drop(s, oldest);
	return oldest;
}

unsigned syn_give(struct syn *s, const struct name *name, int64_t now_ms, bool *ret_new)
{
	*ret_new = false;
	unsigned index = syn_find(s, name);
	if (index != 0) {
		s->entry[index].answered_ms = now_ms;
		return index;
	}
	index = choose(s, now_ms);
	if (index == 0 || !fill(s, index, name, now_ms))
		return 0;
	*ret_new = true;
	return index;
}

bool syn_put(struct syn *s, unsigned index, const struct name *name, int64_t now_ms)
{
	if (index == 0 || index >= SYN_MAX || name->len == 0 || syn_find(s, name) != 0)
		return false;
	while (index >= s->cap) {
		if (!grow(s, s->cap * 2))
			return false;
	}
	if (s->entry[index].wire != NULL || !fill(s, index, name, now_ms))
		return false;
	if (index > s->made)
		s->made = index;
	return true;
}

bool syn_name(const struct syn *s, unsigned index, struct name *ret)
{
	if (index == 0 || index >= s->cap || s->entry[index].wire == NULL)
		return false;
	*ret = (struct name){ .len = s->entry[index].len };
	memcpy(ret->wire, s->entry[index].wire, ret->len);
	return true;
}

void syn_hold(struct syn *s, unsigned index, int change)
{
	if (index == 0 || index >= s->cap || s->entry[index].wire == NULL)
		return;
	s->entry[index].holds = (uint16_t)(s->entry[index].holds + change);
}

void syn_use(struct syn *s, unsigned index)
{
	if (index != 0 && index < s->cap && s->entry[index].wire != NULL)
		s->entry[index].used = true;
}

bool syn_used(const struct syn *s, unsigned index)
{
	return index != 0 && index < s->cap && s->entry[index].wire != NULL && s->entry[index].used;
}

unsigned syn_count(const struct syn *s)
{
	return s->n;
}
