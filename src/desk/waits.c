/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what the gate waits for to what a person is asked. The gate asks about each name by itself; people are shown one
 * card for all names under one registrable domain that an application wants on one port. A card that somebody has seen
 * never changes: what comes later, and what an answer did not settle, is the next card. Whether an answer settled
 * something is the gate's word, so what stood on an answered card waits until the answer is in force.
 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/question.h"
#include "policy/suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COALESCE_MS = 30, REVIEW_WAITING = 5, REVIEW_MINUTE_MS = 60000 };

static struct wait *wait_by_number(struct desk *d, uint32_t number)
{
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		if (d->waits[i].number == number)
			return number == 0 ? NULL : &d->waits[i];
	}
	return NULL;
}

static struct wait *wait_place(struct desk *d)
{
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		if (d->waits[i].number == 0)
			return &d->waits[i];
	}
	return NULL;
}

/* Until the admin's files are read nobody can say what would win. */
static void ask_early(struct desk *d, const struct ipc_question *iq)
{
	if (d->n_early == sizeof(d->early) / sizeof(d->early[0]))
		log_msg(LOG_WARNING, "a question came before the policy and had no place; it is not asked");
	else
		d->early[d->n_early++] = *iq;
}

static void early_end(struct desk *d, uint32_t number)
{
	for (unsigned i = 0; i < d->n_early; i++) {
		if (d->early[i].number == number)
			d->early[i--] = d->early[--d->n_early];
	}
}

void questions_loaded(struct desk *d)
{
	for (unsigned i = 0; i < d->n_early; i++)
		questions_ask(d, &d->early[i]);
	d->n_early = 0;
}

void questions_ask(struct desk *d, const struct ipc_question *iq)
{
	const struct app *a = app_by_ref(d, &iq->ref);
	const struct app *peer = iq->peer_slot == 0 || iq->peer_slot >= PLAN_SLOTS ? NULL : &d->apps[iq->peer_slot];
	if (!d->loaded) {
		ask_early(d, iq);
		return;
	}
	if (a == NULL || iq->number == 0 || wait_by_number(d, iq->number) != NULL)
		return;
	struct wait *w = wait_place(d);
	/* No room: the packet is refused when its patience ends, never allowed. */
	if (w == NULL) {
		log_msg(LOG_WARNING, "a question of %s had no place and is not asked", a->gate.name);
		return;
	}
	*w = (struct wait){ .number = iq->number, .q = *iq, .came_ms = clock_boot_ms(), .owner = a->gate.owner };
	memcpy(w->app, a->gate.name, sizeof(w->app));
	if (peer != NULL && peer->state != APP_FREE) {
		memcpy(w->peer_app, peer->gate.name, sizeof(w->peer_app));
		w->peer_owner = peer->gate.owner;
	}
	if (!policy_registrable(&iq->name, &w->group))
		w->group = iq->name;
	d->waits_changed = true;
}

/* Names of one card. What has no name, or whose name resolved to a private address, has a card of its own. */
static bool same_card(const struct ipc_question *a, const struct name *group_a, const struct ipc_question *b,
	const struct name *group_b)
{
	if (a->ref.slot != b->ref.slot || a->ref.run != b->ref.run || a->port != b->port || a->proto != b->proto ||
		a->inbound != b->inbound || a->withheld != b->withheld || a->peer_slot != b->peer_slot ||
		!name_equal(group_a, group_b))
		return false;
	bool alone = a->name.len == 0 || a->withheld;
	return !alone || (name_equal(&a->name, &b->name) && addr_equal(&a->address, &b->address));
}

static struct question *card_of(struct desk *d, const struct wait *w)
{
	for (unsigned i = 0; i < d->questions_top; i++) {
		struct question *q = &d->questions[i];
		if (q->id != 0 && q->waiting && !q->later && same_card(&q->q, &q->group, &w->q, &w->group))
			return q;
	}
	return NULL;
}

static bool ready(const struct desk *d, const struct wait *w)
{
	return w->number != 0 && w->card == 0 && w->after <= d->in_force;
}

static bool older(const struct wait *a, const struct wait *b)
{
	if (a->q.held_wall_ms != b->q.held_wall_ms)
		return a->q.held_wall_ms < b->q.held_wall_ms;
	return a->number < b->number;
}

static int compare_waits(const void *a, const void *b)
{
	const struct wait *const *x = a, *const *y = b;
	return older(*x, *y) ? -1 : 1;
}

/* Who belongs on the card of `w`, oldest first: what stands on `card` already (0: a new one) and what is ready. */
static unsigned members(struct desk *d, const struct wait *w, uint32_t card, struct wait **ret)
{
	unsigned n = 0;
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		struct wait *m = &d->waits[i];
		bool on = card != 0 && m->number != 0 && m->card == card;
		if ((on || ready(d, m)) && same_card(&m->q, &m->group, &w->q, &w->group))
			ret[n++] = m;
	}
	qsort(ret, n, sizeof(*ret), compare_waits);
	return n;
}

static void card_names(struct question *q, struct wait *const *m, unsigned n)
{
	char text[NAME_TEXT_MAX];
	json_decref(q->names);
	q->names = json_array();
	q->more = n - 1;
	for (unsigned i = 1; i < n && i <= QUESTION_NAMES; i++)
		json_array_append_new(q->names, json_string(name_format(&m[i]->q.name, text, sizeof(text))));
}

static void card_put(struct desk *d, struct question *q, struct wait *const *m, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		m[i]->card = q->id;
	question_store(d, q);
	if (!q->known)
		question_log(d, q);
}

static void card_make(struct desk *d, const struct wait *w)
{
	static struct wait *m[DESK_WAITS];
	unsigned n = members(d, w, 0, m);
	struct wait *first = m[0];
	struct question *place = question_place(d, first->owner, first->app);
	struct question q = { .waiting = true,
		.q = first->q,
		.group = first->group,
		.owner = first->owner,
		.peer_owner = first->peer_owner,
		.served_ms = clock_boot_ms() };
	memcpy(q.app, first->app, sizeof(q.app));
	memcpy(q.peer_app, first->peer_app, sizeof(q.peer_app));
	card_names(&q, m, n);
	if (place == NULL || question_identify(d, &q) != 0) {
		question_clear(&q);
		for (unsigned i = 0; i < n; i++)
			*m[i] = (struct wait){ 0 };
		log_msg(LOG_WARNING, "a question of %s had no place and is not asked", first->app);
		return;
	}
	*place = q;
	card_put(d, place, m, n);
	struct app *a = app_by_ref(d, &q.q.ref);
	if (a != NULL && !q.known)
		a->carded_ms[a->n_carded++ % DESK_CARDED] = q.served_ms;
	questions_review(d, a);
}

/* Nobody has seen it yet, so that it may still say more. */
static void card_join(struct desk *d, struct question *q, const struct wait *w)
{
	static struct wait *m[DESK_WAITS];
	unsigned n = members(d, w, q->id, m);
	if (n == 0 || m[0]->number != q->q.number)
		return;
	card_names(q, m, n);
	if (question_show(d, q) == 0)
		card_put(d, q, m, n);
}

static void wait_tick(struct desk *d, struct wait *w, int64_t now)
{
	struct question *q = card_of(d, w);
	if (q != NULL && !q->seen)
		card_join(d, q, w);
	else if (q == NULL && now < w->came_ms + COALESCE_MS)
		d->waits_at_ms = d->waits_at_ms < 0 || w->came_ms + COALESCE_MS < d->waits_at_ms
				       ? w->came_ms + COALESCE_MS
				       : d->waits_at_ms;
	else if (q == NULL)
		card_make(d, w);
}

/* What is being learnt is not asked; it waits for the gate's word like anything that was answered. */
static void take_learned(struct desk *d)
{
	bool made = false;
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		struct wait *w = &d->waits[i];
		if (ready(d, w) && learn_take(d, w, &made))
			w->after = UINT64_MAX;
	}
	bool in_force = made && rules_activate(d, NULL) == 0;
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		if (d->waits[i].after == UINT64_MAX)
			d->waits[i].after = in_force || !made ? d->generation : 0;
	}
}

void waits_tick(struct desk *d)
{
	int64_t now = clock_boot_ms();
	if (!d->waits_changed && (d->waits_at_ms < 0 || now < d->waits_at_ms))
		return;
	d->waits_changed = false;
	d->waits_at_ms = -1;
	take_learned(d);
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		if (ready(d, &d->waits[i]))
			wait_tick(d, &d->waits[i], now);
	}
}

static bool on_card(const struct desk *d, uint32_t id)
{
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		if (d->waits[i].number != 0 && d->waits[i].card == id)
			return true;
	}
	return false;
}

void waits_release(struct desk *d, uint32_t card, uint64_t after)
{
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		struct wait *w = &d->waits[i];
		if (w->number == 0 || w->card != card)
			continue;
		w->card = 0;
		w->after = after;
	}
	d->waits_changed = true;
}

void questions_end(struct desk *d, uint32_t number)
{
	early_end(d, number);
	struct wait *w = wait_by_number(d, number);
	if (w == NULL)
		return;
	bool gave_up = clock_wall_ms() + 1000 >= w->q.gives_up_wall_ms;
	uint32_t card = w->card;
	*w = (struct wait){ 0 };
	d->waits_changed = true;
	struct question *q = card == 0 ? NULL : question_by_id(d, card);
	if (q == NULL || !q->waiting)
		return;
	/* What the card is named after has been settled, so the card asks nothing any more; the others are asked again.
	 */
	if (!on_card(d, card) || (q->q.number == number && !gave_up)) {
		waits_release(d, card, 0);
		question_end(d, q, gave_up ? "gave up" : "settled by a rule");
	}
}

static void end_all(struct desk *d, const struct app *a, const char *by)
{
	for (unsigned i = 0; i < DESK_WAITS; i++) {
		struct wait *w = &d->waits[i];
		if (w->number != 0 &&
			(a == NULL || (w->q.ref.slot == a->gate.ref.slot && w->q.ref.run == a->gate.ref.run)))
			*w = (struct wait){ 0 };
	}
	for (unsigned i = 0; i < d->questions_top; i++) {
		struct question *q = &d->questions[i];
		if (q->id != 0 && q->waiting &&
			(a == NULL || (q->q.ref.slot == a->gate.ref.slot && q->q.ref.run == a->gate.ref.run)))
			question_end(d, q, by);
	}
}

void questions_app_ended(struct desk *d, const struct app *a)
{
	end_all(d, a, "app stopped");
}

void questions_gate_lost(struct desk *d)
{
	end_all(d, NULL, "gave up");
	d->n_early = 0;
}

/* More than a person can take one by one: to be shown as a list, until nothing waits. */
void questions_review(struct desk *d, struct app *a)
{
	if (a == NULL)
		return;
	unsigned waiting = 0;
	for (unsigned i = 0; i < d->questions_top; i++) {
		const struct question *q = &d->questions[i];
		waiting += q->id != 0 && q->waiting && q->q.ref.slot == a->gate.ref.slot;
	}
	int64_t fourth = a->n_carded < DESK_CARDED ? INT64_MIN : a->carded_ms[a->n_carded % DESK_CARDED];
	bool many = waiting > REVIEW_WAITING ||
		    (fourth != INT64_MIN && clock_boot_ms() - fourth < REVIEW_MINUTE_MS && waiting > 0);
	bool on = many || (a->review && waiting > 0);
	a->waiting = waiting;
	if (on == a->review)
		return;
	a->review = on;
	questions_tell_review(d, a);
}
