/* SPDX-License-Identifier: Apache-2.0 */
/* How rules end: by time, with their application, by use, by a reboot; and what of them comes back from the store. */
#include "base/clock.h"
#include "base/log.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Nothing tells us that the wall clock was set, or that the computer slept. */
enum { EXPIRE_LATEST_MS = 1000 };

void rules_expire(struct desk *d)
{
	struct rule *ended[64];
	size_t n = 0;
	while (n < 64 && (ended[n] = index_over(d)) != NULL)
		n++;
	if (n > 0 && rules_end(d, ended, n, UINT32_MAX, POLICY_END_TIME) != 0)
		log_msg(LOG_ERROR, "a policy without the rules that have ended could not be made");
}

int64_t rules_next_ms(const struct desk *d)
{
	int64_t next = index_left_ms(d);
	if (next == DEADLINE_NEVER)
		return -1;
	next = next < 0 ? 0 : next;
	return clock_boot_ms() + (next > EXPIRE_LATEST_MS ? EXPIRE_LATEST_MS : next);
}

static bool of_app(const struct rule *r, const struct app *a)
{
	return rule_running(r) && r->e.rule.lives.until == POLICY_UNTIL_EXIT &&
	       strcmp(r->e.rule.who, a->gate.name) == 0 &&
	       (r->e.meta.owner == POLICY_OWNER_ANY || r->e.meta.owner == a->gate.owner);
}

static void bind_rules(struct desk *d, const struct app *a, uint32_t from, uint32_t to)
{
	for (size_t i = 0; i < d->n_rules; i++) {
		struct rule *r = d->rules[i];
		if (!of_app(r, a) || r->run != from)
			continue;
		r->run = to;
		if (r->seq != 0 && store_rule_run(d->store, r->seq, to) != 0)
			log_msg(LOG_ERROR, "which run a rule belongs to could not be stored");
	}
	desk_flush_later(d);
}

void rules_app_started(struct desk *d, const struct app *a)
{
	bind_rules(d, a, 0, a->gate.ref.run);
}

void rules_app_not_started(struct desk *d, const struct app *a)
{
	bind_rules(d, a, a->gate.ref.run, 0);
}

void rules_app_ended(struct desk *d, const struct app *a)
{
	struct rule **ended = calloc(d->n_rules + 1, sizeof(*ended));
	size_t n = 0;
	for (size_t i = 0; ended != NULL && i < d->n_rules; i++) {
		if (of_app(d->rules[i], a) && d->rules[i]->run == a->gate.ref.run)
			ended[n++] = d->rules[i];
	}
	if (n > 0 && rules_end(d, ended, n, UINT32_MAX, POLICY_END_EXIT) != 0)
		log_msg(LOG_ERROR, "a policy without the rules that ended with %s could not be made", a->gate.name);
	free(ended);
}

/* Counts */

void rules_charge(struct desk *d, const struct frame *f)
{
	struct charge *c = &d->charges[d->n_charges];
	if (!ipc_charge_get(f->body, f->len, &c->c)) {
		(void)role_result(d->role, ROLE_GATE, f->id, -EBADMSG, 0, NULL);
		return;
	}
	c->request = f->id;
	if (++d->n_charges == sizeof(d->charges) / sizeof(d->charges[0]))
		rules_charges_settle(d);
}

static int charge_one(struct desk *d, const struct charge *c, struct rule **ret)
{
	struct rule *r = rule_by_id(d, c->c.rule);
	if (r == NULL || r->e.rule.lives.times == 0 || r->e.meta.times_left == 0 || r->seq == 0)
		return -ENOENT;
	int err = store_rule_times(d->store, r->seq, r->e.meta.times_left - 1);
	if (err != 0)
		return err;
	r->e.meta.times_left--;
	*ret = r;
	return 0;
}

/* All charges of a turn in one commit. A count is given out only when it is durable; a lost answer costs a count, never
 * gives one. */
void rules_charges_settle(struct desk *d)
{
	int err[sizeof(d->charges) / sizeof(d->charges[0])];
	struct rule *rule[sizeof(d->charges) / sizeof(d->charges[0])] = { NULL };
	struct rule *used[sizeof(d->charges) / sizeof(d->charges[0])];
	unsigned n = d->n_charges;
	size_t n_used = 0;
	if (n == 0)
		return;
	d->n_charges = 0;
	int failed = store_commit(d->store);
	for (unsigned i = 0; i < n; i++)
		err[i] = failed != 0 ? failed : charge_one(d, &d->charges[i], &rule[i]);
	if (failed == 0)
		failed = commit_or_undo(d, 0);
	for (unsigned i = 0; i < n; i++) {
		if (failed != 0 && rule[i] != NULL)
			rule[i]->e.meta.times_left++;
		int result = failed != 0 ? failed : err[i];
		(void)role_result(d->role, ROLE_GATE, d->charges[i].request, result, 0,
			result == 0 ? NULL : "nothing is left of the count");
		/* Several charges of one turn may be of one rule: it ends once. */
		bool known = false;
		for (size_t k = 0; k < n_used; k++)
			known = known || used[k] == rule[i];
		if (failed == 0 && rule[i] != NULL && rule[i]->e.meta.times_left == 0 && !known)
			used[n_used++] = rule[i];
	}
	if (n_used > 0 && rules_end(d, used, n_used, UINT32_MAX, POLICY_END_USED) != 0)
		log_msg(LOG_ERROR, "a policy without the used-up rules could not be made");
}

/* From the store */

bool run_alive(const struct desk *d, uint32_t run)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && d->apps[i].gate.ref.run == run)
			return true;
	}
	return false;
}

static int rule_from_row(struct desk *d, const struct store_rule *row)
{
	struct policy_rule parsed;
	struct policy_diag diag;
	struct rule *r;
	int err = policy_parse_rule(row->line, strlen(row->line), &parsed, &diag);
	if (err == 0)
		err = rule_new(&parsed, (enum policy_origin)row->origin, row->owner, &r);
	if (err != 0)
		return err;
	r->seq = row->seq;
	r->run = row->run;
	r->ended_ms = row->ended_ms;
	r->e.meta.created_ms = row->created_ms;
	r->e.meta.deadline_ms = row->deadline_ms;
	r->e.meta.times_left = row->times_left;
	r->e.meta.ended = (enum policy_end)row->end;
	r->older_boot = strcmp(row->boot_id, d->host.boot_id) != 0;
	r->boot_ms = r->older_boot ? 0 : row->boot_ms;
	/* The clock was set back while nobody looked: no life may be longer than it was given. */
	if (r->boot_ms != 0)
		deadline_set(&r->ends, row->deadline_ms, row->created_ms, r->boot_ms);
	else if (row->created_ms > clock_wall_ms())
		deadline_set(&r->ends, row->deadline_ms, row->created_ms, clock_boot_ms());
	if (rule_running(r) && r->older_boot) {
		if (r->e.rule.lives.until == POLICY_UNTIL_REBOOT)
			rule_set_end(d, r, POLICY_END_REBOOT);
		else if (r->e.rule.lives.until == POLICY_UNTIL_LOGOUT)
			rule_set_end(d, r, POLICY_END_LOGOUT);
	}
	/* Killed between a last count, or an app's end, and its consequence. */
	if (rule_running(r) && r->e.rule.lives.times != 0 && r->e.meta.times_left == 0)
		rule_set_end(d, r, POLICY_END_USED);
	if (rule_running(r) && r->e.rule.lives.until == POLICY_UNTIL_EXIT && r->run != 0 && !run_alive(d, r->run))
		rule_set_end(d, r, POLICY_END_EXIT);
	r->end_unsaved = row->end == POLICY_RUNNING && !rule_running(r);
	d->ends_unsaved = d->ends_unsaved || r->end_unsaved;
	err = rule_append(d, r);
	if (err != 0)
		rule_free(r);
	return err;
}

int rules_load(struct desk *d)
{
	struct store_rows *q;
	struct store_rule row;
	int err = store_rules_prune(d->store, clock_wall_ms() - ENDED_KEPT_MS);
	if (err == 0)
		err = store_commit(d->store);
	if (err == 0)
		err = store_rules(d->store, &q);
	if (err != 0)
		return err;
	int got;
	index_ids_forget(d);
	while ((got = store_rules_next(q, &row)) == 1 && err == 0)
		err = rule_from_row(d, &row);
	store_rows_end(q);
	uint32_t generation = 0;
	if (err == 0 && got == 0)
		err = store_take(d->store, STORE_GENERATIONS, 1, &generation);
	d->generation = (uint64_t)generation << 32;
	d->in_force = 0;
	if (err != 0 || got != 0)
		return err != 0 ? err : got;
	index_ids(d);
	for (size_t i = 0; i < d->n_rules; i++) {
		if (d->rules[i]->end_unsaved)
			rule_log(d, d->rules[i], "rule-ended", UINT32_MAX);
	}
	rules_save_ends(d);
	return 0;
}
