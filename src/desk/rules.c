/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/group.h"
#include "desk/rule.h"
#include "desk/undo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORGET_EVERY_MS = 60000 };

void rule_free(struct rule *r)
{
	if (r == NULL)
		return;
	policy_rule_fini(&r->e.rule);
	free(r->line);
	free(r->file);
	free(r);
}

int rule_append(struct desk *d, struct rule *r)
{
	if (d->n_rules == d->cap_rules) {
		size_t cap = d->cap_rules == 0 ? 64 : d->cap_rules * 2;
		struct rule **p = realloc(d->rules, cap * sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		d->rules = p;
		d->cap_rules = cap;
	}
	int err = index_add(d, r);
	if (err == 0)
		d->rules[d->n_rules++] = r;
	return err;
}

int rule_new(struct policy_rule *parsed, enum policy_origin origin, uint32_t owner, struct rule **ret)
{
	char line[POLICY_PRINT_MAX];
	struct rule *r = calloc(1, sizeof(*r));
	int n = r == NULL ? -ENOMEM : policy_print_rule(parsed, line, sizeof(line));
	int err = n < 0 ? n : policy_id(parsed, origin, owner, r->e.meta.id);
	if (err == 0 && (r->line = strdup(line)) == NULL)
		err = -ENOMEM;
	if (err != 0) {
		policy_rule_fini(parsed);
		free(r);
		return err;
	}
	r->e.rule = *parsed;
	r->e.meta.origin = origin;
	r->e.meta.owner = owner;
	r->e.meta.deadline_ms = POLICY_NEVER;
	r->e.meta.times_left = parsed->lives.times;
	policy_id_text(r->e.meta.id, r->id);
	*ret = r;
	return 0;
}

void rule_begin(struct desk *d, struct rule *r, int64_t now)
{
	r->e.meta.created_ms = now;
	r->boot_ms = clock_boot_ms();
	r->e.meta.deadline_ms = policy_lives_deadline(&r->e.rule.lives, d->host.tz, d->host.n_tz, now);
	r->e.meta.times_left = r->e.rule.lives.times;
	r->run = 0;
	if (r->e.rule.lives.until != POLICY_UNTIL_EXIT)
		return;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		bool his = r->e.meta.owner == POLICY_OWNER_ANY || r->e.meta.owner == a->gate.owner;
		if ((a->state == APP_RUNNING || a->state == APP_STARTING) && his &&
			strcmp(a->gate.name, r->e.rule.who) == 0)
			r->run = a->gate.ref.run;
	}
}

int rule_make(struct desk *d, struct policy_rule *parsed, uint32_t owner, struct rule **ret)
{
	int err = rule_new(parsed, POLICY_ORIGIN_ANSWER, owner, ret);
	if (err == 0)
		rule_begin(d, *ret, clock_wall_ms());
	return err;
}

static struct store_rule rule_row(const struct desk *d, const struct rule *r)
{
	return (struct store_rule){ .id = r->id,
		.line = r->line,
		.origin = r->e.meta.origin,
		.owner = r->e.meta.owner,
		.created_ms = r->e.meta.created_ms,
		.deadline_ms = r->e.meta.deadline_ms,
		.times_left = r->e.meta.times_left,
		.run = r->run,
		.end = r->e.meta.ended,
		.ended_ms = r->ended_ms,
		.boot_id = d->host.boot_id,
		.boot_ms = r->boot_ms };
}

int rule_store(struct desk *d, struct rule *r)
{
	struct store_rule row = rule_row(d, r);
	int err = store_rule_add(d->store, &row);
	if (err == 0)
		r->seq = row.seq;
	return err;
}

int rule_note(struct desk *d, const struct rule *r, const struct change *by, const char *what, const char *why)
{
	struct store_journal j = { .what = what,
		.rule = r->seq,
		.rule_id = r->id,
		.line = r->line,
		.owner = r->e.meta.owner,
		.why = why };
	return journal_note(d, &j, by);
}

void rule_log(struct desk *d, const struct rule *r, const char *event, uint32_t who)
{
	char id[POLICY_ID_TEXT];
	bool ended = r->e.meta.ended != POLICY_RUNNING;
	json_t *by = who == UINT32_MAX ? json_null() : owner_json(d, who);
	log_entry(d, event, r->e.meta.owner, r->e.rule.subject == POLICY_SUBJECT_APP ? r->e.rule.who : NULL,
		json_pack("{s:s, s:s, s:o, s:s*}", "rule", r->line, "rule_id", rule_short_id(d, r->id, id), "by", by,
			"text", ended ? policy_end_text(r->e.meta.ended) : NULL));
	watch_rule(d, r);
}

static size_t common(const char *a, const char *b)
{
	size_t n = 0;
	while (a[n] != '\0' && a[n] == b[n])
		n++;
	return n;
}

const char *rule_short_id(const struct desk *d, const char *id, char buf[POLICY_ID_TEXT])
{
	size_t low = index_place(d, id), next = low, need = 4;
	while (next < d->n_ids && strcmp(d->ids[next], id) == 0)
		next++;
	if (low > 0 && common(d->ids[low - 1], id) >= need)
		need = common(d->ids[low - 1], id) + 1;
	if (next < d->n_ids && common(d->ids[next], id) >= need)
		need = common(d->ids[next], id) + 1;
	snprintf(buf, POLICY_ID_TEXT, "%.*s", (int)need, id);
	return buf;
}

static json_t *ms_json(int64_t ms)
{
	return ms == POLICY_NEVER || ms == 0 ? json_null() : time_json(ms);
}

json_t *rule_json(struct desk *d, const struct rule *r)
{
	char id[POLICY_ID_TEXT];
	const struct policy_meta *m = &r->e.meta;
	bool ended = m->ended != POLICY_RUNNING;
	json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "rule", r->line, "rule_id",
		rule_short_id(d, r->id, id), "origin", policy_origin_text(m->origin), "owner",
		m->owner == POLICY_OWNER_ANY ? json_null() : owner_json(d, m->owner), "state",
		ended ? "ended" : "active", "created", ms_json(m->created_ms), "deadline", ms_json(m->deadline_ms),
		"times_left", r->e.rule.lives.times == 0 ? json_null() : json_integer(m->times_left), "ended",
		ended ? ms_json(r->ended_ms) : json_null());
	json_object_set_new(j, "reason", ended ? json_string(policy_end_text(m->ended)) : json_null());
	json_object_set_new(j, "file", r->file == NULL ? json_null() : json_string(r->file));
	json_object_set_new(j, "line", r->file == NULL ? json_null() : json_integer(m->line));
	int64_t last = 0;
	json_object_set_new(j, "hits", json_integer((json_int_t)uses_of(d, r->id, &last)));
	json_object_set_new(j, "last_used", ms_json(last));
	char note[160];
	json_object_set_new(j, "note", forwards_note(d, r, note, sizeof(note)) ? json_string(note) : json_null());
	return j;
}

static void some(json_t *j, const char *name, json_t *value)
{
	if (json_is_null(value))
		json_decref(value);
	else
		json_object_set_new(j, name, value);
}

json_t *rule_brief_json(struct desk *d, const struct rule *r)
{
	char id[POLICY_ID_TEXT], note[160];
	const struct policy_meta *m = &r->e.meta;
	json_t *j = json_object();
	json_object_set_new(j, "rule", json_string(r->line));
	json_object_set_new(j, "rule_id", json_string(rule_short_id(d, r->id, id)));
	json_object_set_new(j, "origin", json_string(policy_origin_text(m->origin)));
	if (m->owner != POLICY_OWNER_ANY)
		json_object_set_new(j, "owner", owner_json(d, m->owner));
	some(j, "deadline", ms_json(m->deadline_ms));
	if (r->e.rule.lives.times != 0)
		json_object_set_new(j, "times_left", json_integer(m->times_left));
	if (m->ended != POLICY_RUNNING) {
		some(j, "ended", ms_json(r->ended_ms));
		json_object_set_new(j, "reason", json_string(policy_end_text(m->ended)));
	}
	if (forwards_note(d, r, note, sizeof(note)))
		json_object_set_new(j, "note", json_string(note));
	return j;
}

/* What ended long ago is no longer listed. Used-up rules may still be referred to by the build in force. */
static void rules_forget(struct desk *d)
{
	int64_t now = clock_wall_ms(), before = now - ENDED_KEPT_MS;
	size_t kept = 0;
	if (now >= d->forgot_ms && now < d->forgot_ms + FORGET_EVERY_MS)
		return;
	d->forgot_ms = now;
	index_ids_forget(d);
	for (size_t i = 0; i < d->n_rules; i++) {
		struct rule *r = d->rules[i];
		bool listed = rule_running(r) || r->e.meta.ended == POLICY_END_USED || r->ended_ms >= before;
		if (listed || r->e.meta.origin != POLICY_ORIGIN_ANSWER)
			d->rules[kept++] = r;
		else {
			index_drop(d, r);
			rule_free(r);
		}
	}
	if (kept < d->n_rules)
		watch_rules_moved(d);
	d->n_rules = kept;
	index_ids(d);
}

int rules_activate(struct desk *d, char *ret_error)
{
	struct build b;
	rules_forget(d);
	int err = build_change(d, &b, ret_error);
	if (err == 0)
		build_install(d, &b);
	return err;
}

static void rule_unend(struct desk *d, struct rule *r)
{
	r->e.meta.ended = POLICY_RUNNING;
	r->ended_ms = 0;
	index_wake(d, r);
}

void rule_set_end(struct desk *d, struct rule *r, enum policy_end why)
{
	r->e.meta.ended = why;
	r->ended_ms = clock_wall_ms();
	policy_touch(d, r);
}

static int store_ends(struct desk *d, struct rule **rules, size_t n, const struct change *by)
{
	int err = 0;
	for (size_t i = 0; i < n && err == 0; i++) {
		if (rules[i] == NULL)
			continue;
		enum policy_end end = rules[i]->e.meta.ended;
		if (rules[i]->seq != 0)
			err = store_rule_end(d->store, rules[i]->seq, end, rules[i]->ended_ms);
		if (err == 0)
			err = rule_note(d, rules[i], by, journal_end(end),
				by->why != NULL ? by->why : policy_end_text(end));
	}
	return err;
}

static const char *end_event(enum policy_end why)
{
	return why == POLICY_END_REMOVED ? "rule-removed" : why == POLICY_END_REPLACED ? "rule-replaced" : "rule-ended";
}

int commit_or_undo(struct desk *d, int err)
{
	if (err == 0)
		err = store_commit(d->store);
	if (err != 0)
		store_rollback(d->store);
	return err;
}

void rules_save_ends(struct desk *d)
{
	struct change by = { .who = UINT32_MAX };
	struct rule **ended = d->ends_unsaved ? calloc(d->n_rules + 1, sizeof(*ended)) : NULL;
	size_t n = 0;
	if (ended == NULL)
		return;
	for (size_t i = 0; i < d->n_rules; i++) {
		if (d->rules[i]->end_unsaved)
			ended[n++] = d->rules[i];
	}
	int err = store_commit(d->store);
	if (err == 0)
		err = change_begin(d, &by);
	if (err == 0)
		err = commit_or_undo(d, store_ends(d, ended, n, &by));
	for (size_t i = 0; i < n && err == 0; i++)
		ended[i]->end_unsaved = false;
	d->ends_unsaved = err != 0;
	free(ended);
	if (err != 0)
		log_msg(LOG_ERROR, "the end of a rule could not be stored: %s", strerror(-err));
}

int rules_end(struct desk *d, struct rule **rules, size_t n, uint32_t who, enum policy_end why)
{
	int err = store_commit(d->store);
	for (size_t i = 0; i < n; i++)
		rule_set_end(d, rules[i], why);
	struct change by = { .who = who };
	if (err == 0)
		err = change_begin(d, &by);
	if (err == 0)
		err = commit_or_undo(d, store_ends(d, rules, n, &by));
	/* An end by itself holds whether the disk takes it or not; a removal that is not durable did not happen. */
	if (err != 0 && why == POLICY_END_REMOVED) {
		for (size_t i = 0; i < n; i++)
			rule_unend(d, rules[i]);
		return err;
	}
	if (err != 0)
		log_msg(LOG_ERROR, "the end of a rule could not be stored: %s", strerror(-err));
	for (size_t i = 0; i < n; i++) {
		rules[i]->end_unsaved = err != 0 && rules[i]->seq != 0;
		d->ends_unsaved = d->ends_unsaved || rules[i]->end_unsaved;
		rule_log(d, rules[i], end_event(why), who);
	}
	return rules_activate(d, NULL);
}

static int store_adds(struct desk *d, struct rule **rules, size_t n, struct rule **replaced, struct change *by)
{
	int err = change_begin(d, by);
	if (err == 0)
		err = store_ends(d, replaced, n, by);
	for (size_t i = 0; i < n && err == 0; i++) {
		err = rule_store(d, rules[i]);
		if (err == 0)
			err = rule_note(d, rules[i], by, "added", by->why);
	}
	return err;
}

static void log_adds(struct desk *d, struct rule **rules, size_t n, struct rule **replaced, uint32_t who)
{
	for (size_t i = 0; i < n; i++) {
		if (replaced[i] != NULL)
			rule_log(d, replaced[i], "rule-replaced", who);
		rule_log(d, rules[i], "rule-added", who);
	}
}

/* One person's rules must not take the room of another's: an admin's refusals fit whatever the others have written. */
static bool room_for(const struct desk *d, struct rule *const *rules, size_t n, bool admin)
{
	size_t own = n == 0 ? 0 : index_owned(d, rules[0]->e.meta.owner);
	return admin || (own + n <= DESK_RULES_PER_OWNER && d->n_rules + n <= DESK_RULES_MAX);
}

void rules_untry(struct desk *d, struct group_item *item)
{
	for (size_t i = item->n; i-- > 0;) {
		if (d->n_rules > 0 && d->rules[d->n_rules - 1] == item->rules[i])
			index_drop(d, d->rules[--d->n_rules]);
		rule_free(item->rules[i]);
		if (item->replaced[i] != NULL)
			rule_unend(d, item->replaced[i]);
	}
}

int rules_try(struct desk *d, struct group_item *item, bool admin, bool *ret_stored, char *ret_error)
{
	struct change by = { .who = item->who, .why = item->why[0] == '\0' ? NULL : item->why };
	int err = room_for(d, item->rules, item->n, admin) ? 0 : -E2BIG;
	*ret_stored = true;
	if (err == 0)
		err = build_check(d, item->rules, item->n, ret_error);
	else
		snprintf(ret_error, 512,
			"there are too many rules (%d of one person, %d in all; ended ones count for seven days)",
			DESK_RULES_PER_OWNER, DESK_RULES_MAX);
	for (size_t i = 0; i < item->n && err == 0; i++) {
		item->replaced[i] = rule_by_id(d, item->rules[i]->e.meta.id);
		if (item->replaced[i] != NULL)
			rule_set_end(d, item->replaced[i], POLICY_END_REPLACED);
		err = rule_append(d, item->rules[i]);
	}
	if (err != 0) {
		rules_untry(d, item);
		return err;
	}
	err = store_adds(d, item->rules, item->n, item->replaced, &by);
	*ret_stored = err == 0;
	return err;
}

void rules_tried(struct desk *d, const struct group_item *item)
{
	log_adds(d, item->rules, item->n, item->replaced, item->who);
}
