/* SPDX-License-Identifier: Apache-2.0 */
/* Questions that are open at desk. Any number of held packets wait for one; it ends when none does. */
#include "gate/state.h"

static bool same(const struct ipc_question *a, const struct ipc_question *b)
{
	return a->ref.slot == b->ref.slot && a->proto == b->proto && a->port == b->port && a->inbound == b->inbound &&
	       a->withheld == b->withheld && name_equal(&a->name, &b->name) &&
	       (a->name.len != 0 || addr_equal(&a->address, &b->address));
}

/* The open one, or a free place for it; NULL: neither. */
static struct question *find(struct gate *g, const struct ipc_question *what)
{
	struct question *free_one = NULL;
	for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
		struct question *k = &g->question[i];
		if (k->number != 0 && same(&k->q, what))
			return k;
		if (k->number == 0 && free_one == NULL)
			free_one = k;
	}
	return free_one;
}

static unsigned questions_of(const struct gate *g, uint16_t slot)
{
	unsigned n = 0;
	for (unsigned i = 0; i < QUESTIONS_MAX; i++)
		n += g->question[i].number != 0 && g->question[i].slot == slot;
	return n;
}

/* A burst, then one a second: whoever floods people with questions is refused and counted, never allowed. */
static bool may_ask(struct gate *g, uint16_t slot)
{
	struct app *app = app_of(g, slot);
	if (app == NULL)
		return false;
	int64_t due = app->ask_due_ms > g->boot_ms ? app->ask_due_ms : g->boot_ms;
	if (due - g->boot_ms > (QUESTIONS_BURST - 1) * QUESTION_EVERY_MS)
		return false;
	app->ask_due_ms = due + QUESTION_EVERY_MS;
	return true;
}

bool ask_person(struct gate *g, struct held *h, const struct ipc_question *what)
{
	struct question *k = find(g, what);
	if (k == NULL || (k->number == 0 && questions_of(g, h->key.slot) >= QUESTIONS_APP_MAX))
		return false;
	bool fresh = k->number == 0, kept = h->kept;
	h = kept ? h : held_keep(g->held, h);
	if (h == NULL)
		return false;
	if (fresh && !may_ask(g, h->key.slot)) {
		if (!kept)
			held_remove(g->held, h);
		return false;
	}
	if (fresh) {
		if (++g->next_question == 0)
			g->next_question = 1;
		k->number = g->next_question;
		k->slot = h->key.slot;
		k->q = *what;
		k->q.number = k->number;
		k->q.held_wall_ms = g->wall_ms;
		k->q.gives_up_wall_ms = g->wall_ms + g->ask_expires_ms;
		out_tell(&g->messages, ROLE_DESK, IPC_QUESTION, 0, question, &k->q);
	}
	/* It may have waited for an address first, which has a patience of its own. */
	if (h->state != WAIT_ANSWER || h->expires_ms == 0)
		h->expires_ms = g->boot_ms + g->ask_expires_ms;
	h->question = k->number;
	h->state = WAIT_ANSWER;
	return true;
}

void ask_settle(struct gate *g)
{
	for (unsigned i = 0; i < QUESTIONS_MAX; i++) {
		struct question *k = &g->question[i];
		bool waits = false;
		if (k->number == 0)
			continue;
		for (struct held *h = held_next(g->held, NULL); h != NULL && !waits; h = held_next(g->held, h))
			waits = h->state == WAIT_ANSWER && h->question == k->number;
		if (waits)
			continue;
		struct ipc_u32 n = { .v = k->number };
		out_tell(&g->messages, ROLE_DESK, IPC_QUESTION_END, 0, u32, &n);
		k->number = 0;
	}
}
