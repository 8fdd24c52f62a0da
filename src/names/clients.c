/* SPDX-License-Identifier: Apache-2.0 */
#include "names/clients.h"

#include <stdlib.h>
#include <string.h>

/* Half full at most, so that probing stays short. */
enum { SLOTS = 2 * CLIENTS_MAX };

struct slot {
	struct addr who; /* len 0: free */
	unsigned n;
};

struct clients {
	uint64_t seed;
	unsigned v6_bytes;
	unsigned n;
	struct slot slot[SLOTS];
};

struct clients *clients_new(uint64_t seed, unsigned v6_bytes)
{
	struct clients *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return NULL;
	c->seed = seed;
	c->v6_bytes = v6_bytes < 16 ? v6_bytes : 16;
	return c;
}

void clients_free(struct clients *c)
{
	free(c);
}

static struct addr client_of(const struct clients *c, const struct addr *a)
{
	struct addr who = *a;
	if (who.len == 16)
		memset(who.b + c->v6_bytes, 0, sizeof(who.b) - c->v6_bytes);
	return who;
}

static unsigned home(const struct clients *c, const struct addr *who)
{
	uint64_t h = c->seed ^ who->len;
	for (unsigned i = 0; i < sizeof(who->b); i++)
		h = (h ^ who->b[i]) * 0x100000001b3U;
	h = (h ^ h >> 32) * 0xbf58476d1ce4e5b9U;
	return (unsigned)(h >> 32) % SLOTS;
}

/* Where `who` is, or the free slot where it would go. */
static unsigned find(const struct clients *c, const struct addr *who)
{
	unsigned at = home(c, who);
	while (c->slot[at].who.len != 0 && !addr_equal(&c->slot[at].who, who))
		at = (at + 1) % SLOTS;
	return at;
}

bool clients_take(struct clients *c, const struct addr *a, unsigned limit)
{
	struct addr who = client_of(c, a);
	struct slot *s = &c->slot[find(c, &who)];
	if (s->n >= limit || (s->who.len == 0 && (c->n >= CLIENTS_MAX || who.len == 0)))
		return false;
	if (s->who.len == 0) {
		s->who = who;
		c->n++;
	}
	s->n++;
	return true;
}

/* Closes the hole at `at`: whatever behind it had to pass over it moves forward. */
static void fill_hole(struct clients *c, unsigned at)
{
	for (unsigned i = (at + 1) % SLOTS; c->slot[i].who.len != 0; i = (i + 1) % SLOTS) {
		unsigned from_home = (i + SLOTS - home(c, &c->slot[i].who)) % SLOTS,
			 from_hole = (i + SLOTS - at) % SLOTS;
		if (from_home < from_hole)
			continue;
		c->slot[at] = c->slot[i];
		at = i;
	}
	c->slot[at] = (struct slot){ 0 };
}

void clients_drop(struct clients *c, const struct addr *a)
{
	struct addr who = client_of(c, a);
	unsigned at = find(c, &who);
	if (c->slot[at].n == 0 || --c->slot[at].n > 0)
		return;
	c->n--;
	fill_hole(c, at);
}

unsigned clients_count(const struct clients *c, const struct addr *a)
{
	struct addr who = client_of(c, a);
	return c->slot[find(c, &who)].n;
}
