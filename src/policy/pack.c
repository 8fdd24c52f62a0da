/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What only exists once all rules are known. */
struct packing {
	struct build *b;
	struct object_hit *hits;
	struct bucket *buckets;
	struct crule *rules; /* in the order of the buckets */
	uint32_t *row_of;    /* by number of the input */
	struct inbound *inbound;
	struct policy_net *nets;
	struct policy_tz *tz;
	struct pattern *patterns;
	size_t n_hits, n_buckets, n_inbound, n_nets;
};

static int link_cmp(const void *a, const void *b)
{
	const struct link *x = a, *y = b;
	if (x->pattern != y->pattern)
		return x->pattern < y->pattern ? -1 : 1;
	return (x->hit > y->hit) - (x->hit < y->hit);
}

/* Patterns are mostly linked in the order they were made in. */
static void sort_links(struct build *b)
{
	for (size_t i = 1; i < b->n_links; i++) {
		if (link_cmp(&b->links[i - 1], &b->links[i]) <= 0)
			continue;
		qsort(b->links, b->n_links, sizeof(*b->links), link_cmp);
		return;
	}
}

static bool pack_hits(struct packing *k)
{
	struct build *b = k->b;
	k->hits = calloc(b->n_links + 1, sizeof(*k->hits));
	b->first = malloc((b->patterns.n_rows + 1) * sizeof(*b->first));
	if (k->hits == NULL || b->first == NULL)
		return false;
	for (size_t i = 0; i < b->patterns.n_rows; i++)
		b->first[i] = NO_HITS;
	sort_links(b);
	for (size_t i = 0; i < b->n_links; i++) {
		uint32_t object = b->links[i].hit >> 2;
		if (i > 0 && link_cmp(&b->links[i], &b->links[i - 1]) == 0)
			continue;
		uint32_t *first = &b->first[b->links[i].pattern];
		if (*first == NO_HITS)
			*first = (uint32_t)k->n_hits;
		else
			k->hits[k->n_hits - 1].last = 0;
		k->hits[k->n_hits++] = (struct object_hit){ .object = object,
			.way = (uint8_t)(b->links[i].hit & 3),
			.who = b->who[object],
			.last = 1 };
	}
	for (size_t i = 0; i < b->n_lists; i++)
		b->lists[i].first = b->first[b->lists[i].first];
	return true;
}

static bool pack_patterns(struct packing *k)
{
	const struct keytab *t = &k->b->patterns;
	k->patterns = calloc(t->n_slots + 1, sizeof(*k->patterns));
	if (k->patterns == NULL)
		return false;
	for (size_t i = 0; i < t->n_slots; i++) {
		if (t->slots[i].row == 0)
			continue;
		uint32_t row = t->slots[i].row - 1;
		const struct keyrow *r = &t->rows[row];
		k->patterns[i] = (struct pattern){ .hash = t->slots[i].hash,
			.off = r->off,
			.first = k->b->first[row],
			.len = r->len,
			.kind = r->kind,
			.used = 1 };
	}
	return true;
}

static struct bucket *bucket_at(const struct packing *k, uint64_t key)
{
	size_t i = mix64(key) & (k->n_buckets - 1);
	while (k->buckets[i].key != UINT64_MAX && k->buckets[i].key != key)
		i = (i + 1) & (k->n_buckets - 1);
	return &k->buckets[i];
}

static bool pack_buckets(struct packing *k)
{
	const struct build *b = k->b;
	size_t n = b->in->n_rules;
	uint32_t at = 0;
	for (k->n_buckets = 16; k->n_buckets < n * 2; k->n_buckets *= 2)
		;
	k->buckets = calloc(k->n_buckets, sizeof(*k->buckets));
	k->rules = calloc(n + 1, sizeof(*k->rules));
	k->row_of = calloc(n + 1, sizeof(*k->row_of));
	if (k->buckets == NULL || k->rules == NULL || k->row_of == NULL)
		return false;
	for (size_t i = 0; i < k->n_buckets; i++)
		k->buckets[i].key = UINT64_MAX;
	for (size_t i = 0; i < n; i++) {
		struct bucket *u = bucket_at(k, b->keys[i]);
		u->key = b->keys[i];
		u->n++;
	}
	for (size_t i = 0; i < k->n_buckets; i++) {
		k->buckets[i].first = at;
		at += k->buckets[i].n;
		k->buckets[i].n = 0;
	}
	for (size_t i = 0; i < n; i++) {
		struct bucket *u = bucket_at(k, b->keys[i]);
		k->row_of[i] = u->first + u->n++;
		k->rules[k->row_of[i]] = b->rules[i];
	}
	return true;
}

/* Hits on an object with one bucket say what it says: one wait less. */
static bool pack_sole(struct packing *k)
{
	enum { NONE = UINT32_MAX, SEVERAL = UINT32_MAX - 1 };
	size_t len = ((size_t)k->b->objects.n_rows + 1) * sizeof(uint32_t);
	uint32_t *sole = malloc(len);
	if (sole == NULL)
		return false;
	memset(sole, 0xff, len);
	for (uint32_t i = 0; i < k->n_buckets; i++) {
		const struct bucket *u = &k->buckets[i];
		if (u->key != UINT64_MAX)
			sole[(uint32_t)u->key] = sole[(uint32_t)u->key] == (uint32_t)NONE ? i : (uint32_t)SEVERAL;
	}
	for (size_t i = 0; i < k->n_hits; i++) {
		struct object_hit *h = &k->hits[i];
		const struct bucket *u = sole[h->object] < k->n_buckets ? &k->buckets[sole[h->object]] : NULL;
		if (u == NULL || u->n > UINT8_MAX)
			continue;
		h->n = (uint8_t)u->n;
		h->first = u->first;
		h->subject = (uint32_t)(u->key >> 32) & INT32_MAX;
	}
	free(sole);
	return true;
}

static int inbound_cmp(const void *a, const void *b)
{
	const struct inbound *x = a, *y = b;
	if (x->subject != y->subject)
		return x->subject < y->subject ? -1 : 1;
	return (x->row > y->row) - (x->row < y->row);
}

static bool pack_inbound(struct packing *k)
{
	const struct build *b = k->b;
	k->inbound = calloc(b->in->n_rules + 1, sizeof(*k->inbound));
	if (k->inbound == NULL)
		return false;
	for (size_t i = 0; i < b->in->n_rules; i++) {
		if (b->in->rules[i].rule.dir == POLICY_IN && b->rules[i].verb <= POLICY_ASK)
			k->inbound[k->n_inbound++] =
				(struct inbound){ .subject = b->keys[i] >> 32 & 0x7fffffffU, .row = k->row_of[i] };
	}
	if (k->n_inbound != 0)
		qsort(k->inbound, k->n_inbound, sizeof(*k->inbound), inbound_cmp);
	return true;
}

static bool pack_env(struct packing *k)
{
	const struct policy_env *e = &k->b->in->env;
	const struct policy_net *from[] = { e->host, e->peers, e->onlink, e->synthetic };
	const size_t count[] = { e->n_host, e->n_peers, e->n_onlink, e->n_synthetic };
	k->n_nets = e->n_host + e->n_peers + e->n_onlink + e->n_synthetic;
	k->nets = calloc(k->n_nets + 1, sizeof(*k->nets));
	k->tz = calloc(e->n_tz + 1, sizeof(*k->tz));
	if (k->nets == NULL || k->tz == NULL)
		return false;
	struct policy_net *at = k->nets;
	for (unsigned i = 0; i < 4; i++) {
		if (count[i] != 0)
			memcpy(at, from[i], count[i] * sizeof(*at));
		at += count[i];
	}
	for (size_t i = 0; i < e->n_tz; i++) {
		k->tz[i].from_ms = e->tz[i].from_ms;
		k->tz[i].offset_s = e->tz[i].offset_s;
	}
	return true;
}

static bool lay_out(const struct packing *k, void **ret, size_t *ret_len)
{
	const struct build *b = k->b;
	const struct policy_env *e = &b->in->env;
	const struct {
		const void *p;
		size_t n;
	} parts[PARTS] = { [PART_RULES] = { k->rules, b->in->n_rules },
		[PART_FACTS] = { b->facts, b->in->n_rules },
		[PART_BY_ID] = { b->by_id, b->in->n_rules },
		[PART_WINDOWS] = { b->windows, b->n_windows },
		[PART_PORTS] = { b->ports, b->n_ports },
		[PART_TEXT] = { b->text, b->text_len },
		[PART_APP_SLOTS] = { b->apps.slots, b->apps.n_slots },
		[PART_APP_ROWS] = { b->apps.rows, b->apps.n_rows },
		[PART_APP_POOL] = { b->apps.pool, b->apps.pool_len },
		[PART_SLOTS] = { k->patterns, b->patterns.n_slots },
		[PART_POOL] = { b->patterns.pool, b->patterns.pool_len },
		[PART_APP_GROUPS] = { b->app_groups, b->n_grouped + 1 },
		[PART_MEMBER] = { b->member, b->n_member },
		[PART_HITS] = { k->hits, k->n_hits },
		[PART_BUCKETS] = { k->buckets, k->n_buckets },
		[PART_INBOUND] = { k->inbound, k->n_inbound },
		[PART_LISTS] = { b->lists, b->n_lists },
		[PART_NETS] = { k->nets, k->n_nets },
		[PART_TZ] = { k->tz, e->n_tz } };
	struct image_head h = { .magic = IMAGE_MAGIC,
		.prefixes4 = b->prefixes4,
		.n_nets = { (uint32_t)e->n_host, (uint32_t)e->n_peers, (uint32_t)e->n_onlink,
			(uint32_t)e->n_synthetic } };
	memcpy(h.prefixes6, b->prefixes6, sizeof(h.prefixes6));
	h.len = sizeof(h);
	for (unsigned i = 0; i < PARTS; i++) {
		h.part[i].off = h.len;
		h.part[i].n = parts[i].n;
		h.len += (parts[i].n * image_part_size[i] + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
	}
	uint8_t *image = calloc(1, h.len);
	if (image == NULL)
		return false;
	memcpy(image, &h, sizeof(h));
	for (unsigned i = 0; i < PARTS; i++) {
		if (parts[i].n != 0)
			memcpy(image + h.part[i].off, parts[i].p, parts[i].n * image_part_size[i]);
	}
	*ret = image;
	*ret_len = h.len;
	return true;
}

bool build_pack(struct build *b, void **ret, size_t *ret_len)
{
	struct packing k = { .b = b };
	bool ok = pack_hits(&k) && pack_patterns(&k) && pack_buckets(&k) && pack_sole(&k) && pack_inbound(&k) &&
		  pack_env(&k) && lay_out(&k, ret, ret_len);
	void *const blocks[] = { k.hits, k.buckets, k.rules, k.row_of, k.inbound, k.nets, k.tz, k.patterns };
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		free(blocks[i]);
	return ok || build_no_memory(b);
}
