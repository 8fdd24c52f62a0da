/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/grant.h"

#include "ipc/plan.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384, CHUNK = 64 };

struct chunk {
	struct chunk *next;
	struct grant grant[CHUNK];
};

struct grants {
	uint64_t seed;
	struct grant *by_key[BUCKETS], *by_number[BUCKETS];
	struct grant *all;  /* doubly linked by next, prev */
	struct grant *free; /* linked by next */
	struct chunk *chunks;
	uint16_t count[PLAN_SLOTS];
	struct grant *idlest[PLAN_SLOTS], *busiest[PLAN_SLOTS]; /* linked by busier, idler */
};

static uint64_t mix(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;
	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3U;
	return h ^ h >> 29;
}

static unsigned key_bucket(const struct grants *g, const struct grant_key *k)
{
	uint64_t h = mix(g->seed ^ 0xcbf29ce484222325U, k->peer.b, k->peer.len);
	h = mix(h, k->real.b, k->real.len);
	h = mix(h, &k->slot, sizeof(k->slot));
	h = mix(h, &k->port, sizeof(k->port));
	h = mix(h, &k->proto, sizeof(k->proto));
	h = mix(h, &k->inbound, sizeof(k->inbound));
	return (unsigned)(h ^ h >> 17) & (BUCKETS - 1);
}

static bool key_equal(const struct grant_key *a, const struct grant_key *b)
{
	return a->slot == b->slot && a->inbound == b->inbound && a->proto == b->proto && a->port == b->port &&
	       addr_equal(&a->peer, &b->peer) && addr_equal(&a->real, &b->real);
}

struct grants *grants_new(uint64_t seed)
{
	struct grants *g = calloc(1, sizeof(*g));
	if (g != NULL)
		g->seed = seed;
	return g;
}

void grants_free(struct grants *g)
{
	if (g == NULL)
		return;
	for (struct chunk *c = g->chunks, *next; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	free(g);
}

struct grant *grants_find(const struct grants *g, const struct grant_key *key)
{
	struct grant *gr = g->by_key[key_bucket(g, key)];
	while (gr != NULL && !key_equal(&gr->key, key))
		gr = gr->by_key;
	return gr;
}

struct grant *grants_by_number(const struct grants *g, uint32_t number)
{
	struct grant *gr = g->by_number[number & (BUCKETS - 1)];
	while (gr != NULL && gr->number != number)
		gr = gr->by_number;
	return gr;
}

static bool refill(struct grants *g)
{
	struct chunk *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return false;
	c->next = g->chunks;
	g->chunks = c;
	for (unsigned i = 0; i < CHUNK; i++) {
		c->grant[i].next = g->free;
		g->free = &c->grant[i];
	}
	return true;
}

static void use_unlink(struct grants *g, struct grant *gr)
{
	uint16_t slot = gr->key.slot % PLAN_SLOTS;
	*(gr->idler != NULL ? &gr->idler->busier : &g->idlest[slot]) = gr->busier;
	*(gr->busier != NULL ? &gr->busier->idler : &g->busiest[slot]) = gr->idler;
	gr->idler = gr->busier = NULL;
}

static void use_append(struct grants *g, struct grant *gr)
{
	uint16_t slot = gr->key.slot % PLAN_SLOTS;
	gr->idler = g->busiest[slot];
	*(gr->idler != NULL ? &gr->idler->busier : &g->idlest[slot]) = gr;
	g->busiest[slot] = gr;
}

void grants_used(struct grants *g, struct grant *gr, int64_t boot_ms)
{
	gr->used_boot_ms = boot_ms;
	use_unlink(g, gr);
	use_append(g, gr);
}

struct grant *grants_add(struct grants *g, const struct grant_key *key, uint32_t number)
{
	if (g->free == NULL && !refill(g))
		return NULL;
	struct grant *gr = g->free;
	g->free = gr->next;
	struct grant **k = &g->by_key[key_bucket(g, key)], **n = &g->by_number[number & (BUCKETS - 1)];
	*gr = (struct grant){ .number = number, .key = *key, .by_key = *k, .by_number = *n, .next = g->all };
	*k = *n = gr;
	if (g->all != NULL)
		g->all->prev = gr;
	g->all = gr;
	use_append(g, gr);
	g->count[key->slot % PLAN_SLOTS]++;
	return gr;
}

void grants_remove(struct grants *g, struct grant *gr)
{
	struct grant **k = &g->by_key[key_bucket(g, &gr->key)], **n = &g->by_number[gr->number & (BUCKETS - 1)];
	while (*k != gr)
		k = &(*k)->by_key;
	*k = gr->by_key;
	while (*n != gr)
		n = &(*n)->by_number;
	*n = gr->by_number;
	if (gr->prev != NULL)
		gr->prev->next = gr->next;
	else
		g->all = gr->next;
	if (gr->next != NULL)
		gr->next->prev = gr->prev;
	use_unlink(g, gr);
	g->count[gr->key.slot % PLAN_SLOTS]--;
	gr->next = g->free;
	g->free = gr;
}

unsigned grants_count(const struct grants *g, uint16_t slot)
{
	return g->count[slot % PLAN_SLOTS];
}

struct grant *grants_idlest(const struct grants *g, uint16_t slot)
{
	return g->idlest[slot % PLAN_SLOTS];
}

struct grant *grants_next(const struct grants *g, const struct grant *after)
{
	return after == NULL ? g->all : after->next;
}
