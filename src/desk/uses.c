/* SPDX-License-Identifier: Apache-2.0 */
/* How often each rule decided, and when last: in memory, sorted by id, written down with the history. */
#include "base/clock.h"
#include "base/log.h"
#include "desk/desk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t use_at(const struct desk *d, const char *id)
{
	size_t low = 0, high = d->n_uses;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(d->uses[mid].id, id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int use_insert(struct desk *d, size_t at, const char *id)
{
	if (d->n_uses == d->cap_uses) {
		size_t cap = d->cap_uses == 0 ? 64 : d->cap_uses * 2;
		struct use *p = realloc(d->uses, cap * sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		d->uses = p;
		d->cap_uses = cap;
	}
	memmove(&d->uses[at + 1], &d->uses[at], (d->n_uses - at) * sizeof(*d->uses));
	d->uses[at] = (struct use){ 0 };
	snprintf(d->uses[at].id, sizeof(d->uses[at].id), "%s", id);
	d->n_uses++;
	return 0;
}

int uses_load(struct desk *d)
{
	struct store_rows *q;
	const char *id;
	int64_t last;
	uint64_t hits;
	int got = 0, err = store_used(d->store, &q);
	if (err != 0)
		return err;
	while (err == 0 && (got = store_used_next(q, &id, &last, &hits)) == 1) {
		err = use_insert(d, d->n_uses, id);
		if (err == 0) {
			d->uses[d->n_uses - 1].last_ms = last;
			d->uses[d->n_uses - 1].hits = hits;
		}
	}
	store_rows_end(q);
	return err != 0 ? err : got;
}

int uses_store(struct desk *d)
{
	int err = 0;
	if (!d->uses_dirty)
		return 0;
	d->uses_dirty = false;
	for (size_t i = 0; i < d->n_uses && err == 0; i++) {
		struct use *u = &d->uses[i];
		if (u->dirty)
			err = store_used_put(d->store, u->id, u->last_ms, u->hits);
		u->dirty = false;
	}
	return err;
}

/* What is counted is in memory, so there are never more than there are rules. */
static bool known(const struct desk *d, const char *id)
{
	size_t low = 0, high = d->n_ids;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = strcmp(d->ids[mid], id);
		if (c == 0)
			return true;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* Those of rules that are no longer there make room. */
static void uses_forget(struct desk *d)
{
	size_t kept = 0;
	for (size_t i = 0; i < d->n_uses; i++) {
		if (known(d, d->uses[i].id))
			d->uses[kept++] = d->uses[i];
		else if (store_used_del(d->store, d->uses[i].id) != 0)
			log_msg(LOG_WARNING, "the count of a rule that is gone could not be forgotten");
	}
	d->n_uses = kept;
}

void uses_count(struct desk *d, const uint8_t id[IPC_RULE_ID_LEN], uint32_t times)
{
	static const uint8_t none[IPC_RULE_ID_LEN];
	char text[POLICY_ID_TEXT];
	if (memcmp(id, none, sizeof(none)) == 0 || !known(d, policy_id_text(id, text)))
		return;
	if (d->n_uses > 1000 && d->n_uses > 2 * d->n_ids)
		uses_forget(d);
	size_t at = use_at(d, text);
	if ((at == d->n_uses || strcmp(d->uses[at].id, text) != 0) && use_insert(d, at, text) != 0)
		return;
	d->uses[at].hits += times;
	d->uses[at].last_ms = clock_wall_ms();
	d->uses[at].dirty = d->uses_dirty = true;
}

uint64_t uses_of(const struct desk *d, const char *id, int64_t *ret_last_ms)
{
	size_t at = use_at(d, id);
	if (at == d->n_uses || strcmp(d->uses[at].id, id) != 0)
		return 0;
	*ret_last_ms = d->uses[at].last_ms;
	return d->uses[at].hits;
}

/* Since when it stands there: an answer since it was made, a file's rule since its file was applied last. */
static int64_t stands_since(struct desk *d, const struct rule *r)
{
	/* The rules of a file stand one after the other. */
	static struct {
		char *file;
		uint64_t generation;
		int64_t ms;
	} last;
	if (r->file == NULL)
		return r->e.meta.created_ms;
	if (last.file != NULL && last.generation == d->generation && strcmp(last.file, r->file) == 0)
		return last.ms;
	free(last.file);
	last.file = strdup(r->file);
	last.generation = d->generation;
	last.ms = r->e.meta.created_ms;
	if (store_journal_applied(d->store, r->file, &last.ms) != 0)
		log_msg(LOG_WARNING, "when %s was applied could not be read", r->file);
	return last.ms;
}

bool uses_unused(struct desk *d, const struct rule *r, int64_t for_ms)
{
	int64_t last = 0, before = clock_wall_ms() - for_ms;
	(void)uses_of(d, r->id, &last);
	return rule_running(r) && last < before && stands_since(d, r) < before;
}
