/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/held.h"

#include "ipc/plan.h"

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
	return a->slot == b->slot && a->inbound == b->inbound && a->proto == b->proto && a->sport == b->sport && a->dport == b->dport &&
	       addr_equal(&a->src, &b->src) && addr_equal(&a->dst, &b->dst);
}

static struct held *take_spare(struct held_table *t)
{
	struct held *h = t->spare;
	if (h == NULL)
		return malloc(sizeof(*h));
	t->spare = h->next;
	return h;
}

struct held *held_add(struct held_table *t, const struct flow_key *key, const uint8_t *frame, size_t len, int64_t now_ms, bool *ret_known)
{
	uint16_t slot = key->slot % PLAN_SLOTS;
	*ret_known = false;
	for (struct held *h = t->all; h != NULL; h = h->next) {
		if (flow_key_equal(&h->key, key)) {
			*ret_known = true;
			return NULL;
		}
	}
	if (len > HELD_FRAME_MAX || t->n >= HELD_ALL_MAX || t->count[slot] >= HELD_APP_MAX)
		return NULL;
	struct held *h = take_spare(t);
	if (h == NULL)
		return NULL;
	memset(h, 0, offsetof(struct held, frame));
	h->key = *key;
	h->since_ms = now_ms;
	h->len = len;
	memcpy(h->frame, frame, len);
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
