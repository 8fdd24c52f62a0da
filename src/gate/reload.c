/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new policy comes as an image that is used where it lies. No decision waits for it: its rows are checked a part at a
 * time between two events, then one pointer changes, and what was admitted or waits under the old policy is judged
 * again, a part at a time too. New connections are judged by the new policy from the moment of the change; a grant that
 * has not had its turn can only carry what it carries already.
 */
#include "gate/state.h"

#include "policy/image.h"

#include <errno.h>
#include <stdlib.h>

/* Of each about half a millisecond on a slow machine. */
enum { ROWS_AT_ONCE = 16384, GRANTS_AT_ONCE = 128, HELD_AT_ONCE = 64 };

static void answer(struct gate *g, uint32_t request, int err)
{
	struct ipc_result r = { .err = err };
	ipc_text_set(&r.text, err == 0 ? "" : "the compiled policy is malformed, or there is no memory for it");
	out_tell(&g->messages, ROLE_DESK, IPC_RESULT, request, result, &r);
}

void reload_judge(struct gate *g)
{
	struct reload *r = &g->reload;
	r->again = r->judging;
	r->stamp++;
	if (r->judging)
		return;
	r->judging = true;
	r->next = grants_next(g->grants, NULL);
	g->policy_next_wall_ms = POLICY_NEVER;
}

static void swap(struct gate *g, struct policy *p)
{
	struct reload *r = &g->reload;
	policy_free(g->policy);
	g->policy = p;
	g->generation = r->coming.generation;
	r->current = r->coming.image;
	r->request = r->coming.request;
	r->coming = r->later;
	r->later = (struct image){ 0 };
	if (!g->sync_end) {
		answer(g, r->request, 0);
		r->request = 0;
		return;
	}
	pipeline_inbound(g);
	pipeline_refused_forget(g);
	reload_judge(g);
}

static void refuse(struct gate *g, int err)
{
	struct reload *r = &g->reload;
	answer(g, r->coming.request, err);
	r->coming = r->later;
	r->later = (struct image){ 0 };
}

static void open_some(struct gate *g, size_t rows)
{
	struct reload *r = &g->reload;
	struct policy *p;
	if (r->coming.image == NULL)
		return;
	if (r->opening == NULL)
		r->opening = policy_open(r->coming.image, r->coming.len);
	int err = r->opening == NULL ? -ENOMEM : policy_open_step(r->opening, rows, &p);
	if (err == -EAGAIN)
		return;
	policy_opening_free(r->opening);
	r->opening = NULL;
	if (err == 0)
		swap(g, p);
	else
		refuse(g, err);
}

void gate_policy(struct gate *g, uint32_t request, uint64_t generation, const void *image, size_t len)
{
	struct reload *r = &g->reload;
	struct image i = { .image = image, .len = len, .generation = generation, .request = request };
	/* Of those that wait only the newest counts. */
	if (r->coming.image == NULL)
		r->coming = i;
	else
		r->later = i;
	/* Without a policy nothing is decided that could be delayed. */
	while (g->policy == NULL && r->coming.image != NULL)
		open_some(g, SIZE_MAX);
}

bool gate_policy_uses(const struct gate *g, const void *image)
{
	const struct reload *r = &g->reload;
	return image == r->current || image == r->coming.image || image == r->later.image;
}

void reload_forget(struct gate *g, const struct grant *gr)
{
	if (g->reload.next == gr)
		g->reload.next = grants_next(g->grants, gr);
}

/* Grants first: what a rule no longer allows must be cut before what waits is judged. */
static void judge_some(struct gate *g)
{
	struct reload *r = &g->reload;
	for (unsigned n = 0; n < GRANTS_AT_ONCE && r->next != NULL; n++) {
		struct grant *gr = r->next;
		r->next = grants_next(g->grants, gr);
		judge_again(g, gr);
	}
	if (r->next != NULL)
		return;
	if (r->again) {
		r->judging = false;
		reload_judge(g);
		return;
	}
	if (!decide_some_held(g, r->stamp, HELD_AT_ONCE))
		return;
	r->judging = false;
	if (r->request != 0)
		answer(g, r->request, 0);
	r->request = 0;
}

bool reload_busy(const struct gate *g)
{
	return g->reload.coming.image != NULL || g->reload.judging;
}

void reload_tick(struct gate *g)
{
	if (g->reload.judging)
		judge_some(g);
	else
		open_some(g, ROWS_AT_ONCE);
}
