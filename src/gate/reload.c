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
	judge_chains(g);
	if (r->judging)
		return;
	r->judging = true;
	r->next = grants_next(g->grants, NULL);
	g->policy_next_wall_ms = POLICY_NEVER;
}

static void swap(struct gate *g, struct policy *p, const struct image *i)
{
	struct reload *r = &g->reload;
	gate_lists_attach(g, p);
	policy_free(g->policy);
	g->policy = p;
	g->generation = i->generation;
	r->current = i->i;
	r->request = i->request;
	if (!g->sync_end) {
		answer(g, r->request, 0);
		r->request = 0;
		return;
	}
	pipeline_inbound(g);
	pipeline_refused_forget(g);
	reload_judge(g);
}

/* What has changed since the base was compiled: little, so it is looked at in one go. */
static int join(const struct policy *base, const struct gate_image *i, struct policy **ret)
{
	struct policy *more = NULL;
	int err = 0;
	if (i->more != NULL) {
		struct policy_opening *o = policy_open(i->more, i->more_len);
		err = o == NULL ? -ENOMEM : policy_open_step(o, SIZE_MAX, &more);
		policy_opening_free(o);
	}
	return err != 0 ? err : policy_join(base, more, i->gone, i->n_gone, ret);
}

static void next_image(struct reload *r)
{
	r->coming = r->later;
	r->later = (struct image){ 0 };
}

static void open_some(struct gate *g, size_t rows)
{
	struct reload *r = &g->reload;
	struct policy *base = NULL, *p;
	if (r->coming.i.base == NULL)
		return;
	if (r->opening == NULL)
		r->opening = policy_open(r->coming.i.base, r->coming.i.len);
	int err = r->opening == NULL ? -ENOMEM : policy_open_step(r->opening, rows, &base);
	if (err == -EAGAIN)
		return;
	policy_opening_free(r->opening);
	r->opening = NULL;
	if (err == 0)
		err = join(base, &r->coming.i, &p);
	policy_free(base);
	struct image i = r->coming;
	next_image(r);
	if (err == 0)
		swap(g, p, &i);
	else
		answer(g, i.request, err);
}

void gate_policy(struct gate *g, uint32_t request, uint64_t generation, const struct gate_image *image)
{
	struct reload *r = &g->reload;
	struct image i = { .i = *image, .generation = generation, .request = request };
	struct policy *p;
	/* Of those that wait only the newest counts. */
	if (r->coming.i.base == NULL && g->policy != NULL && image->base == r->current.base) {
		int err = join(g->policy, image, &p);
		if (err == 0)
			swap(g, p, &i);
		else
			answer(g, request, err);
	} else if (r->coming.i.base == NULL || r->coming.i.base == image->base) {
		r->coming = i;
	} else {
		r->later = i;
	}
	/* Without a policy nothing is decided that could be delayed. */
	while (g->policy == NULL && r->coming.i.base != NULL)
		open_some(g, SIZE_MAX);
}

static bool uses(const struct gate_image *i, const void *bytes)
{
	return bytes == i->base || bytes == i->more || bytes == i->gone;
}

bool gate_policy_uses(const struct gate *g, const void *bytes)
{
	const struct reload *r = &g->reload;
	return uses(&r->current, bytes) || uses(&r->coming.i, bytes) || uses(&r->later.i, bytes);
}

void reload_forget(struct gate *g, const struct grant *gr)
{
	if (g->reload.next == gr)
		g->reload.next = grants_next(g->grants, gr);
	if (g->chain_next == gr)
		g->chain_next = grants_next(g->grants, gr);
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
	return g->reload.coming.i.base != NULL || g->reload.judging;
}

void reload_tick(struct gate *g)
{
	if (g->reload.judging)
		judge_some(g);
	else
		open_some(g, ROWS_AT_ONCE);
}
