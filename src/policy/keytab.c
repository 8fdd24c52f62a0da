/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/compiled.h"

#include <stdlib.h>
#include <string.h>

uint32_t keytab_hash(const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t h = 0x9e3779b97f4a7c15U ^ len;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v;
		memcpy(&v, p, 8);
		h = (h ^ v) * 0xff51afd7ed558ccdU;
		h ^= h >> 32;
	}
	uint64_t tail = 0;
	memcpy(&tail, p, len);
	return (uint32_t)mix64(h ^ tail);
}

uint32_t keytab_find(const struct keytab *t, const void *key, size_t len, uint32_t hash)
{
	if (t->n_slots == 0)
		return KEYTAB_NONE;
	for (uint32_t i = hash & (t->n_slots - 1); t->slots[i] != 0; i = (i + 1) & (t->n_slots - 1)) {
		const struct keyrow *r = &t->rows[t->slots[i] - 1];
		if (r->hash == hash && r->len == len && memcmp(t->pool + r->off, key, len) == 0)
			return t->slots[i] - 1;
	}
	return KEYTAB_NONE;
}

static bool rehash(struct keytab *t)
{
	uint32_t n = t->n_slots == 0 ? 16 : t->n_slots * 2;
	uint32_t *slots = calloc(n, sizeof(*slots));
	if (slots == NULL)
		return false;
	for (uint32_t row = 0; row < t->n_rows; row++) {
		uint32_t i = t->rows[row].hash & (n - 1);
		while (slots[i] != 0)
			i = (i + 1) & (n - 1);
		slots[i] = row + 1;
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots = n;
	return true;
}

static bool room(struct keytab *t, size_t len)
{
	if (t->n_rows == t->cap_rows) {
		uint32_t cap = t->cap_rows == 0 ? 16 : t->cap_rows * 2;
		struct keyrow *rows = reallocarray(t->rows, cap, sizeof(*rows));
		if (rows == NULL)
			return false;
		t->rows = rows;
		t->cap_rows = cap;
	}
	if (len > t->pool_cap - t->pool_len) {
		size_t cap = (t->pool_cap + len) * 2;
		uint8_t *pool = cap > UINT32_MAX ? NULL : realloc(t->pool, cap);
		if (pool == NULL)
			return false;
		t->pool = pool;
		t->pool_cap = cap;
	}
	return true;
}

uint32_t keytab_add(struct keytab *t, const void *key, size_t len)
{
	uint32_t hash = keytab_hash(key, len), row = keytab_find(t, key, len, hash);
	if (row != KEYTAB_NONE)
		return row;
	if (!room(t, len) || (t->n_rows >= t->n_slots / 2 && !rehash(t)))
		return KEYTAB_NONE;
	row = t->n_rows++;
	t->rows[row] = (struct keyrow){ .off = (uint32_t)t->pool_len, .hash = hash, .len = (uint16_t)len };
	memcpy(t->pool + t->pool_len, key, len);
	t->pool_len += len;
	uint32_t i = hash & (t->n_slots - 1);
	while (t->slots[i] != 0)
		i = (i + 1) & (t->n_slots - 1);
	t->slots[i] = row + 1;
	return row;
}

void keytab_fini(struct keytab *t)
{
	free(t->pool);
	free(t->rows);
	free(t->slots);
	*t = (struct keytab){ 0 };
}

size_t keytab_memory(const struct keytab *t)
{
	return t->pool_cap + t->cap_rows * sizeof(*t->rows) + t->n_slots * sizeof(*t->slots);
}
