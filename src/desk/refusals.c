/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that is refused tries again, some of them a thousand times a second, and each try would be a row of the
 * history, for which others' rows have to go. So the same refusal is told ten times, then at intervals that double up
 * to a minute, and new ones come out of a bucket. Whatever is left out is counted: a row's `repeated` says how many
 * more it stands for, and all rows together make the sum.
 */
#include "base/clock.h"
#include "desk/desk.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEPT = 16,	  /* refusals of one application that are told apart */
	TOLD_FIRST = 10,  /* one by one */
	QUIET_MS = 60000, /* after so long it is a new one; the longest interval */
	BURST = 512,
	REFILL_MS = 1000,
	REST_MS = 10000, /* what the bucket kept back is told together */
};

struct refusal {
	uint8_t key[SHA256_DIGEST_LENGTH];
	int64_t last_ms, next_ms; /* boot time; 0: free */
	unsigned told;
	uint32_t more;	   /* since it was told */
	const char *event; /* a constant */
	json_t *entry;	   /* of the last one; NULL while `more` is 0 */
};

struct refusals {
	struct refusal kept[KEPT];
	unsigned tokens;
	int64_t refilled_ms;
	uint32_t rest;
	int64_t rest_ms;
};

static void tell(struct desk *d, const struct app *a, const char *event, json_t *entry, uint32_t repeated)
{
	if (repeated > 0)
		json_object_set_new(entry, "repeated", json_integer(repeated));
	log_entry(d, event, a->gate.owner, a->gate.name, entry);
}

static void interval(struct refusal *r, int64_t now)
{
	unsigned doubled = r->told < TOLD_FIRST ? 0 : r->told - TOLD_FIRST;
	int64_t ms = r->told < TOLD_FIRST ? 0 : doubled > 5 ? QUIET_MS : INT64_C(1000) << doubled;
	r->next_ms = now + ms;
}

/* What it has counted since it was told last. */
static void tell_more(struct desk *d, const struct app *a, struct refusal *r, int64_t now)
{
	if (r->more == 0)
		return;
	tell(d, a, r->event, r->entry, r->more - 1);
	r->entry = NULL;
	r->more = 0;
	r->told++;
	interval(r, now);
}

static struct refusal *place(struct refusals *s, const char *event, const uint8_t key[SHA256_DIGEST_LENGTH],
	bool *ret_known)
{
	struct refusal *oldest = &s->kept[0];
	for (unsigned i = 0; i < KEPT; i++) {
		struct refusal *r = &s->kept[i];
		*ret_known =
			r->last_ms != 0 && memcmp(r->key, key, sizeof(r->key)) == 0 && strcmp(r->event, event) == 0;
		if (*ret_known)
			return r;
		oldest = r->last_ms < oldest->last_ms ? r : oldest;
	}
	return oldest;
}

static bool token(struct refusals *s, int64_t now)
{
	int64_t n = (now - s->refilled_ms) / REFILL_MS;
	s->tokens = n >= BURST - (int64_t)s->tokens ? BURST : s->tokens + (unsigned)n;
	s->refilled_ms += n * REFILL_MS;
	if (s->tokens == 0)
		return false;
	s->tokens--;
	return true;
}

static void tell_rest(struct desk *d, const struct app *a, struct refusals *s)
{
	if (s->rest == 0)
		return;
	tell(d, a, "refused", json_pack("{s:s, s:s}", "verdict", "deny", "text", "more than can be listed one by one"),
		s->rest - 1);
	s->rest = 0;
}

static void due(struct desk *d, int64_t at_ms)
{
	if (d->refusals_at_ms < 0 || at_ms < d->refusals_at_ms)
		d->refusals_at_ms = at_ms;
}

static bool key_of(const json_t *entry, uint8_t key[SHA256_DIGEST_LENGTH])
{
	char *text = json_dumps(entry, JSON_COMPACT | JSON_SORT_KEYS);
	bool ok = text != NULL && SHA256((const unsigned char *)text, strlen(text), key) != NULL;
	free(text);
	return ok;
}

/* The same again. */
static void again(struct desk *d, const struct app *a, struct refusal *r, json_t *entry, int64_t now)
{
	if (now - r->last_ms >= QUIET_MS) {
		r->told = 0;
		r->next_ms = now;
	}
	r->last_ms = now;
	if (now < r->next_ms) {
		json_decref(r->entry);
		r->entry = entry;
		r->more++;
		due(d, r->next_ms);
		return;
	}
	json_decref(r->entry);
	tell(d, a, r->event, entry, r->more);
	r->entry = NULL;
	r->more = 0;
	r->told++;
	interval(r, now);
}

void refusals_log(struct desk *d, struct app *a, const char *event, json_t *entry)
{
	uint8_t key[SHA256_DIGEST_LENGTH];
	int64_t now = clock_boot_ms();
	bool known = false;
	if (a->refusals == NULL && (a->refusals = calloc(1, sizeof(*a->refusals))) != NULL)
		*a->refusals = (struct refusals){ .tokens = BURST, .refilled_ms = now };
	struct refusals *s = a->refusals;
	if (s == NULL || entry == NULL || !key_of(entry, key)) {
		log_entry(d, event, a->gate.owner, a->gate.name, entry);
		return;
	}
	struct refusal *r = place(s, event, key, &known);
	if (known) {
		again(d, a, r, entry, now);
		return;
	}
	if (!token(s, now)) {
		json_decref(entry);
		if (s->rest++ == 0)
			s->rest_ms = now + REST_MS;
		due(d, s->rest_ms);
		return;
	}
	tell_more(d, a, r, now);
	*r = (struct refusal){ .last_ms = now, .next_ms = now, .told = 1, .event = event };
	memcpy(r->key, key, sizeof(key));
	tell(d, a, event, entry, 0);
}

void refusals_tick(struct desk *d)
{
	int64_t now = clock_boot_ms();
	if (d->refusals_at_ms < 0 || now < d->refusals_at_ms)
		return;
	d->refusals_at_ms = -1;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		struct refusals *s = a->state == APP_FREE ? NULL : a->refusals;
		for (unsigned k = 0; s != NULL && k < KEPT; k++) {
			struct refusal *r = &s->kept[k];
			if (r->more > 0 && now >= r->next_ms)
				tell_more(d, a, r, now);
			if (r->more > 0)
				due(d, r->next_ms);
		}
		if (s != NULL && s->rest > 0 && now >= s->rest_ms)
			tell_rest(d, a, s);
		if (s != NULL && s->rest > 0)
			due(d, s->rest_ms);
	}
}

void refusals_end(struct desk *d, struct app *a)
{
	struct refusals *s = a->refusals;
	if (s == NULL)
		return;
	for (unsigned k = 0; k < KEPT; k++)
		tell_more(d, a, &s->kept[k], s->kept[k].last_ms);
	tell_rest(d, a, s);
	free(s);
	a->refusals = NULL;
}
