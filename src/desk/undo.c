/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inverse of changes, newest first. It is tried in memory, compiled, written in one transaction and only then in
 * force; what fails on the way leaves everything as it was. A rule comes back as the very row it was, so with what is
 * left of its count and with its old deadline: undo never gives more than there was. What ended by itself in the
 * meantime has ended.
 */
#include "desk/undo.h"
#include "base/clock.h"
#include "desk/build.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { UNDO_MAX = 100, UNDO_STEPS = 10000 };

/* One rule taken away or brought back; what it was before. */
struct undo_step {
	struct rule *rule;
	bool back;
	uint32_t change; /* that it takes back */
	enum policy_end was;
	int64_t was_ms;
};

struct undo {
	struct desk *d;
	struct client *c;
	struct undo_step steps[UNDO_STEPS];
	size_t n_steps;
	uint32_t changes[UNDO_MAX];
	unsigned n_changes;
	json_t *report; /* one object per change */
	bool failed;	/* an error was replied */
};

/* What was learnt, and lines of files, have no row: nothing of them can be undone. */
static struct rule *rule_by_row(const struct desk *d, int64_t seq)
{
	for (size_t i = seq == 0 ? 0 : d->n_rules; i-- > 0;) {
		if (d->rules[i]->seq == seq)
			return d->rules[i];
	}
	return NULL;
}

static void changed(struct undo *u, const struct store_journal *j, const char *why)
{
	u->failed = true;
	client_fail(u->d, u->c, "org.sekisho.Changed", "\"%.300s\" %s; nothing was undone", j->line, why);
}

static const char *life_over(const struct desk *d, const struct rule *r)
{
	enum policy_until until = r->e.rule.lives.until;
	if (r->e.meta.deadline_ms <= clock_wall_ms())
		return "its time is over";
	if (r->e.rule.lives.times != 0 && r->e.meta.times_left == 0)
		return "nothing is left of its count";
	if (until == POLICY_UNTIL_EXIT && r->run != 0 && !run_alive(d, r->run))
		return "the application has exited";
	if (until == POLICY_UNTIL_REBOOT && r->older_boot)
		return "the computer was started again";
	if (until == POLICY_UNTIL_LOGOUT && (r->older_boot || !auth_logged_in(d, r->e.meta.owner)))
		return "its owner has logged out";
	return NULL;
}

static void note(json_t *report, const struct store_journal *j, const char *why)
{
	json_array_append_new(json_object_get(report, "notes"), json_sprintf("\"%s\" stays ended: %s", j->line, why));
}

static void step(struct undo *u, struct rule *r, bool back, const struct store_journal *j, json_t *report)
{
	if (u->n_steps == UNDO_STEPS) {
		u->failed = true;
		client_fail(u->d, u->c, "org.sekisho.Failed",
			"this is more than %d rules; undo fewer changes at a time", (int)UNDO_STEPS);
		return;
	}
	u->steps[u->n_steps++] = (struct undo_step){ .rule = r,
		.back = back,
		.change = j->change,
		.was = r->e.meta.ended,
		.was_ms = r->ended_ms };
	if (back) {
		r->e.meta.ended = POLICY_RUNNING;
		r->ended_ms = 0;
		index_wake(u->d, r);
	} else {
		rule_set_end(u->d, r, POLICY_END_REMOVED);
	}
	json_array_append_new(json_object_get(report, back ? "restored" : "removed"), json_string(r->line));
}

static bool by_itself(enum policy_end why)
{
	return why != POLICY_RUNNING && why != POLICY_END_REMOVED && why != POLICY_END_REPLACED;
}

static void take_away(struct undo *u, const struct store_journal *j, json_t *report)
{
	struct rule *r = rule_by_row(u->d, j->rule);
	if (r == NULL)
		changed(u, j, "ended more than seven days ago");
	else if (by_itself(r->e.meta.ended))
		note(report, j, policy_end_text(r->e.meta.ended));
	else if (!rule_running(r))
		changed(u, j, "has been removed or replaced by somebody else since");
	else if (!rule_permitted(u->d, u->c, &r->e.rule, r->e.meta.owner))
		u->failed = true;
	else
		step(u, r, false, j, report);
}

static void bring_back(struct undo *u, const struct store_journal *j, json_t *report)
{
	struct rule *r = rule_by_row(u->d, j->rule);
	if (r == NULL) {
		changed(u, j, "ended more than seven days ago");
		return;
	}
	if (rule_running(r) || rule_by_id(u->d, r->e.meta.id) != NULL) {
		changed(u, j, "has been added again or replaced by somebody else since");
		return;
	}
	const char *over = life_over(u->d, r);
	if (over != NULL)
		note(report, j, over);
	else if (!rule_permitted(u->d, u->c, &r->e.rule, r->e.meta.owner))
		u->failed = true;
	else
		step(u, r, true, j, report);
}

static void undo_row(struct undo *u, const struct store_journal *j, json_t *report)
{
	if (strcmp(j->what, "added") == 0)
		take_away(u, j, report);
	else if (strcmp(j->what, "replaced") == 0 || strcmp(j->what, "removed") == 0)
		bring_back(u, j, report);
	if (json_is_null(json_object_get(report, "time"))) {
		json_object_set_new(report, "time", time_json(j->time_ms));
		json_object_set_new(report, "by", json_string(j->who_name));
	}
}

static int undo_change(struct undo *u, uint32_t change)
{
	struct store_rows *q;
	struct store_journal j;
	json_t *report = json_pack("{s:i, s:n, s:n, s:[], s:[], s:[]}", "change", (int)change, "time", "by", "removed",
		"restored", "notes");
	int err = store_journal_of(u->d->store, change, &q);
	if (err == 0) {
		int got = 1;
		while (!u->failed && got == 1) {
			got = store_journal_row(q, &j);
			if (got == 1)
				undo_row(u, &j, report);
		}
		store_rows_end(q);
		err = got < 0 ? got : 0;
	}
	u->changes[u->n_changes++] = change;
	json_array_append_new(u->report, report);
	return err;
}

static void no_change(struct undo *u, const char *text)
{
	client_error(u->d, u->c, "org.sekisho.NoSuchThing",
		json_pack("{s:s, s:s, s:s}", "kind", "change", "what", "undo", "text", text));
}

/* In memory. False: an error was replied. */
static bool undo_try(struct undo *u, uint32_t who, unsigned count)
{
	uint32_t change = INT32_MAX;
	while (!u->failed && u->n_changes < count) {
		int err = store_journal_undoable(u->d->store, who, change, &change);
		if (err == -ENOENT && u->n_changes == 0)
			no_change(u, "nothing is there that could be undone");
		else if (err == -ENOENT)
			no_change(u, "nothing is undone: there are not so many changes that could be");
		else if (err == 0)
			err = undo_change(u, change);
		if (err != 0 && err != -ENOENT && !u->failed)
			client_fail(u->d, u->c, "org.sekisho.Failed", "the journal cannot be read: %s", strerror(-err));
		u->failed = u->failed || err != 0;
	}
	return !u->failed;
}

static void undo_forget(struct undo *u)
{
	while (u->n_steps > 0) {
		const struct undo_step *s = &u->steps[--u->n_steps];
		s->rule->e.meta.ended = s->was;
		s->rule->ended_ms = s->was_ms;
		index_wake(u->d, s->rule);
	}
}

static int undo_note(struct undo *u, const struct change *by, const struct undo_step *s, uint32_t change)
{
	struct store_journal j = { .what = "undone", .owner = UINT32_MAX, .undoes = change };
	if (s != NULL) {
		j.what = s->back ? "restored" : "removed";
		j.rule = s->rule->seq;
		j.rule_id = s->rule->id;
		j.line = s->rule->line;
		j.owner = s->rule->e.meta.owner;
	}
	return journal_note(u->d, &j, by);
}

static int undo_store(struct undo *u)
{
	struct change by = { .who = u->c->uid };
	int err = change_begin(u->d, &by);
	for (size_t i = 0; i < u->n_steps && err == 0; i++) {
		const struct undo_step *s = &u->steps[i];
		err = s->back ? store_rule_back(u->d->store, s->rule->seq)
			      : store_rule_end(u->d->store, s->rule->seq, POLICY_END_REMOVED, clock_wall_ms());
		if (err == 0)
			err = undo_note(u, &by, s, s->change);
	}
	for (unsigned i = 0; i < u->n_changes && err == 0; i++)
		err = undo_note(u, &by, NULL, u->changes[i]);
	return err;
}

/* What waited for the application's next start waits no longer when it runs by now. */
static void bind_run(struct desk *d, struct rule *r)
{
	if (r->e.rule.lives.until != POLICY_UNTIL_EXIT || r->run != 0)
		return;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		if (a->state != APP_FREE && a->gate.owner == r->e.meta.owner &&
			strcmp(a->gate.name, r->e.rule.who) == 0)
			rules_app_started(d, a);
	}
}

static bool undo_do(struct undo *u)
{
	struct desk *d = u->d;
	struct build b;
	char error[512] = "";
	int err = build_change(d, &b, error);
	if (err == 0) {
		err = store_commit(d->store);
		if (err == 0)
			err = commit_or_undo(d, undo_store(u));
		if (err != 0)
			build_free(&b);
	}
	if (err != 0) {
		client_fail(d, u->c, "org.sekisho.Failed", "it cannot be undone: %s",
			error[0] != '\0' ? error : strerror(-err));
		return false;
	}
	build_install(d, &b);
	for (size_t i = 0; i < u->n_steps; i++) {
		struct rule *r = u->steps[i].rule;
		if (rule_running(r) == u->steps[i].back)
			rule_log(d, r, u->steps[i].back ? "rule-added" : "rule-removed", u->c->uid);
		if (rule_running(r))
			bind_run(d, r);
	}
	return true;
}

void undo_api(struct desk *d, struct client *c)
{
	int64_t count = 1;
	bool all = false, dry = false;
	if (!arg_int(d, c, "count", 1, UNDO_MAX, &count) || !arg_bool(d, c, "all", &all) ||
		!arg_bool(d, c, "dry", &dry))
		return;
	if (all && !c->admin) {
		client_denied(d, c, "only admins may undo what others have changed");
		return;
	}
	struct undo *u = calloc(1, sizeof(*u));
	if (u == NULL) {
		client_fail(d, c, "org.sekisho.Failed", "no memory");
		return;
	}
	u->d = d;
	u->c = c;
	u->report = json_array();
	bool ok = undo_try(u, all ? UINT32_MAX : c->uid, (unsigned)count);
	if (ok && !dry)
		ok = undo_do(u);
	if (!ok || dry)
		undo_forget(u);
	if (ok && dry)
		client_reply(d, c, json_pack("{s:O, s:n}", "undone", u->report, "in_force"));
	else if (ok)
		client_reply_in_force(d, c, json_pack("{s:O}", "undone", u->report), d->generation);
	json_decref(u->report);
	free(u);
}
