/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/held.h"

#include "ipc/plan.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct held_table {
	struct held *all;
	struct held *spare; /* removed entries are kept: holding a packet allocates only while the table grows */
	uint32_t next_id;
	unsigned n;
	uint8_t count[PLAN_SLOTS];
};

struct held_table *held_new(void)
{
	return calloc(1, sizeof(struct held_table));
}

static void free_list(struct held *h)
{
	for (struct held *next; h != NULL; h = next) {
		next = h->next;
		free(h);
	}
}

void held_free(struct held_table *t)
{
	if (t == NULL)
		return;
	free_list(t->all);
	free_list(t->spare);
	free(t);
}

bool flow_key_equal(const struct flow_key *a, const struct flow_key *b)
{
	return a->slot == b->slot && a->inbound == b->inbound && a->proto == b->proto && a->sport == b->sport &&
	       a->dport == b->dport && addr_equal(&a->src, &b->src) && addr_equal(&a->dst, &b->dst);
}

static struct held *take_spare(struct held_table *t)
{
	struct held *h = t->spare;
	if (h == NULL)
		return malloc(sizeof(*h));
	t->spare = h->next;
	return h;
}

struct held *held_find(const struct held_table *t, const struct flow_key *key)
{
	struct held *h = t->all;
	while (h != NULL && !flow_key_equal(&h->key, key))
		h = h->next;
	return h;
}

struct held *held_keep(struct held_table *t, const struct held *own)
{
	uint16_t slot = own->key.slot % PLAN_SLOTS;
	if (t->n >= HELD_ALL_MAX || t->count[slot] >= HELD_APP_MAX)
		return NULL;
	struct held *h = take_spare(t);
	if (h == NULL)
		return NULL;
	memcpy(h, own, offsetof(struct held, frame) + own->len);
	h->kept = true;
	if (++t->next_id == 0)
		t->next_id = 1;
	h->id = t->next_id;
	h->next = t->all;
	t->all = h;
	t->n++;
	t->count[slot]++;
	return h;
}

void held_remove(struct held_table *t, struct held *h)
{
	struct held **at = &t->all;
	if (!h->kept)
		return;
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	t->n--;
	t->count[h->key.slot % PLAN_SLOTS]--;
	h->next = t->spare;
	t->spare = h;
}

struct held *held_by_id(const struct held_table *t, uint32_t id)
{
	struct held *h = t->all;
	while (h != NULL && h->id != id)
		h = h->next;
	return h;
}

struct held *held_next(const struct held_table *t, const struct held *after)
{
	return after == NULL ? t->all : after->next;
}

unsigned held_count(const struct held_table *t, uint16_t slot)
{
	return t->count[slot % PLAN_SLOTS];
}
