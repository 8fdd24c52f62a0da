/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/build.h"

#include <stdlib.h>
#include <string.h>

uint32_t keytab_hash(uint8_t kind, const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t h = (0x9e3779b97f4a7c15U * (kind + 1U)) ^ len;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v;
		memcpy(&v, p, 8);
		h = (h ^ v) * 0xff51afd7ed558ccdU;
		h ^= h >> 32;
	}
	return (uint32_t)mix64(h ^ tail_word(p, len));
}

uint32_t keyview_find(const struct keyview *t, uint8_t kind, const void *key, size_t len, uint32_t hash)
{
	if (t->n_slots == 0)
		return KEYTAB_NONE;
	for (uint32_t i = hash & (t->n_slots - 1); t->slots[i].row != 0; i = (i + 1) & (t->n_slots - 1)) {
		if (t->slots[i].hash != hash)
			continue;
		const struct keyrow *r = &t->rows[t->slots[i].row - 1];
		if (r->kind == kind && r->len == len && (len == 0 || memcmp(t->pool + r->off, key, len) == 0))
			return t->slots[i].row - 1;
	}
	return KEYTAB_NONE;
}

struct keyview keytab_view(const struct keytab *t)
{
	return (struct keyview){ .slots = t->slots,
		.rows = t->rows,
		.pool = t->pool,
		.n_slots = t->n_slots,
		.n_rows = t->n_rows,
		.pool_len = (uint32_t)t->pool_len };
}

uint32_t keytab_find(const struct keytab *t, uint8_t kind, const void *key, size_t len)
{
	struct keyview v = keytab_view(t);
	return keyview_find(&v, kind, key, len, keytab_hash(kind, key, len));
}

static void put_slot(struct keyslot *slots, uint32_t n, struct keyslot s)
{
	uint32_t i = s.hash & (n - 1);
	while (slots[i].row != 0)
		i = (i + 1) & (n - 1);
	slots[i] = s;
}

static bool rehash(struct keytab *t)
{
	uint32_t n = t->n_slots == 0 ? 16 : t->n_slots * 2;
	struct keyslot *slots = calloc(n, sizeof(*slots));
	if (slots == NULL)
		return false;
	for (uint32_t i = 0; i < t->n_slots; i++) {
		if (t->slots[i].row != 0)
			put_slot(slots, n, t->slots[i]);
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

uint32_t keytab_add(struct keytab *t, uint8_t kind, const void *key, size_t len)
{
	struct keyview v = keytab_view(t);
	uint32_t hash = keytab_hash(kind, key, len), row = keyview_find(&v, kind, key, len, hash);
	if (row != KEYTAB_NONE)
		return row;
	if (!room(t, len) || (t->n_rows >= t->n_slots / 2 && !rehash(t)))
		return KEYTAB_NONE;
	row = t->n_rows++;
	t->rows[row] = (struct keyrow){ .off = (uint32_t)t->pool_len, .len = (uint16_t)len, .kind = kind };
	if (len != 0)
		memcpy(t->pool + t->pool_len, key, len);
	t->pool_len += len;
	put_slot(t->slots, t->n_slots, (struct keyslot){ .hash = hash, .row = row + 1 });
	return row;
}

void keytab_fini(struct keytab *t)
{
	free(t->pool);
	free(t->rows);
	free(t->slots);
	*t = (struct keytab){ 0 };
}
