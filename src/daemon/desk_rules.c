/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/desk_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENDED_KEPT_MS = 7 * 86400 * 1000, EXPIRE_LATEST_MS = 3600000 };

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
	d->rules[d->n_rules++] = r;
	return 0;
}

/* Takes the parsed rule over, also on failure. */
static int rule_new(struct policy_rule *parsed, enum policy_origin origin, uint32_t owner, struct rule **ret)
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

static void rule_begin(struct desk *d, struct rule *r, int64_t now)
{
	r->e.meta.created_ms = now;
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
		.boot_id = d->host.boot_id };
}

static int rule_store(struct desk *d, struct rule *r)
{
	struct store_rule row = rule_row(d, r);
	int err = store_rule_add(d->store, &row);
	if (err == 0)
		r->seq = row.seq;
	return err;
}

int rule_note(struct desk *d, const struct rule *r, uint32_t who, const char *event, const char *why)
{
	struct store_journal j = { .time_ms = clock_wall_ms(),
		.who = who,
		.what = event,
		.rule_id = r->id,
		.line = r->line,
		.why = why };
	return store_journal_add(d->store, &j);
}

/* Only after the commit: the log tells what is so. */
static void rule_log(struct desk *d, const struct rule *r, const char *event, uint32_t who)
{
	char id[POLICY_ID_TEXT];
	bool ended = r->e.meta.ended != POLICY_RUNNING;
	json_t *by = who == UINT32_MAX ? json_null() : owner_json(d, who);
	log_entry(d, event, r->e.meta.owner, r->e.rule.subject == POLICY_SUBJECT_APP ? r->e.rule.who : NULL,
		json_pack("{s:s, s:s, s:o, s:s*}", "rule", r->line, "rule_id", rule_short_id(d, r->id, id), "by", by,
			"text", ended ? policy_end_text(r->e.meta.ended) : NULL));
}

struct rule *rule_by_id(const struct desk *d, const uint8_t id[POLICY_ID_LEN])
{
	for (size_t i = 0; i < d->n_rules; i++) {
		if (memcmp(d->rules[i]->e.meta.id, id, POLICY_ID_LEN) == 0 && rule_running(d->rules[i]))
			return d->rules[i];
	}
	return NULL;
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
	size_t low = 0, high = d->n_ids, need = 4;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(d->ids[mid], id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	size_t next = low;
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
	return j;
}

/* What ended long ago is no longer listed. Used-up rules may still be referred to by the build in force. */
static void rules_forget(struct desk *d)
{
	int64_t before = clock_wall_ms() - ENDED_KEPT_MS;
	size_t kept = 0;
	for (size_t i = 0; i < d->n_rules; i++) {
		struct rule *r = d->rules[i];
		bool listed = rule_running(r) || r->e.meta.ended == POLICY_END_USED || r->ended_ms >= before;
		if (listed || r->e.meta.origin != POLICY_ORIGIN_ANSWER)
			d->rules[kept++] = r;
		else
			rule_free(r);
	}
	d->n_rules = kept;
	d->n_ids = 0;
}

int rules_activate(struct desk *d, char *ret_error)
{
	struct build b;
	rules_forget(d);
	int err = build_policy(d, d->rules, d->n_rules, d->docs, d->n_docs, &b, ret_error);
	if (err == 0)
		build_install(d, &b);
	return err;
}

static void rule_unend(struct rule *r)
{
	r->e.meta.ended = POLICY_RUNNING;
	r->ended_ms = 0;
}

/* In memory alone, to be undone by rule_unend(). */
static void rule_set_end(struct rule *r, enum policy_end why)
{
	r->e.meta.ended = why;
	r->ended_ms = clock_wall_ms();
}

static int store_ends(struct desk *d, struct rule **rules, size_t n, uint32_t who, const char *event)
{
	int err = 0;
	for (size_t i = 0; i < n && err == 0; i++) {
		if (rules[i] == NULL)
			continue;
		if (rules[i]->seq != 0)
			err = store_rule_end(d->store, rules[i]->seq, rules[i]->e.meta.ended, rules[i]->ended_ms);
		if (err == 0)
			err = rule_note(d, rules[i], who, event, policy_end_text(rules[i]->e.meta.ended));
	}
	return err;
}

static const char *end_event(enum policy_end why)
{
	return why == POLICY_END_REMOVED ? "rule-removed" : why == POLICY_END_REPLACED ? "rule-replaced" : "rule-ended";
}

/* Durable from here on, or nothing happened. */
static int commit_or_undo(struct desk *d, int err)
{
	if (err == 0)
		err = store_commit(d->store);
	if (err != 0)
		store_rollback(d->store);
	return err;
}

int rules_end(struct desk *d, struct rule **rules, size_t n, uint32_t who, enum policy_end why)
{
	int err = store_commit(d->store);
	for (size_t i = 0; i < n; i++)
		rule_set_end(rules[i], why);
	if (err == 0)
		err = commit_or_undo(d, store_ends(d, rules, n, who, end_event(why)));
	/* An end by itself holds whether the disk takes it or not; a removal that is not durable did not happen. */
	if (err != 0 && why == POLICY_END_REMOVED) {
		for (size_t i = 0; i < n; i++)
			rule_unend(rules[i]);
		return err;
	}
	if (err != 0)
		log_msg(LOG_ERROR, "the end of a rule could not be stored: %s", strerror(-err));
	for (size_t i = 0; i < n; i++)
		rule_log(d, rules[i], end_event(why), who);
	return rules_activate(d, NULL);
}

static int store_adds(struct desk *d, struct rule **rules, size_t n, struct rule **replaced, uint32_t who)
{
	int err = store_ends(d, replaced, n, who, "replaced");
	for (size_t i = 0; i < n && err == 0; i++) {
		err = rule_store(d, rules[i]);
		if (err == 0)
			err = rule_note(d, rules[i], who, "added", NULL);
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

int rules_add(struct desk *d, struct rule **rules, size_t n, uint32_t who, struct rule **replaced, char *ret_error)
{
	struct build b;
	size_t before = d->n_rules;
	int err = before + n > DESK_RULES_MAX ? -E2BIG : 0;
	for (size_t i = 0; i < n; i++)
		replaced[i] = NULL;
	for (size_t i = 0; i < n && err == 0; i++) {
		replaced[i] = rule_by_id(d, rules[i]->e.meta.id);
		if (replaced[i] != NULL)
			rule_set_end(replaced[i], POLICY_END_REPLACED);
		err = rule_append(d, rules[i]);
	}
	if (err == 0)
		err = build_policy(d, d->rules, d->n_rules, d->docs, d->n_docs, &b, ret_error);
	else
		snprintf(ret_error, 512, "there are too many rules (%d at most)", DESK_RULES_MAX);
	if (err == 0) {
		err = store_commit(d->store);
		if (err == 0)
			err = commit_or_undo(d, store_adds(d, rules, n, replaced, who));
		if (err != 0) {
			snprintf(ret_error, 512, "the rule cannot be stored: %s", strerror(-err));
			build_free(&b);
		}
	}
	if (err != 0) {
		d->n_rules = before;
		for (size_t i = 0; i < n; i++) {
			if (replaced[i] != NULL)
				rule_unend(replaced[i]);
			rule_free(rules[i]);
		}
		return err;
	}
	build_install(d, &b);
	log_adds(d, rules, n, replaced, who);
	return 0;
}

/* Lives */

static bool due(const struct rule *r, int64_t now)
{
	return rule_running(r) && r->e.meta.deadline_ms <= now;
}

void rules_expire(struct desk *d)
{
	int64_t now = clock_wall_ms();
	struct rule *ended[64];
	size_t n = 0;
	for (size_t i = 0; i < d->n_rules && n < 64; i++) {
		if (due(d->rules[i], now))
			ended[n++] = d->rules[i];
	}
	if (n > 0 && rules_end(d, ended, n, UINT32_MAX, POLICY_END_TIME) != 0)
		log_msg(LOG_ERROR, "a policy without the rules that have ended could not be made");
}

int64_t rules_next_ms(const struct desk *d)
{
	int64_t next = POLICY_NEVER, now = clock_wall_ms();
	for (size_t i = 0; i < d->n_rules; i++) {
		if (rule_running(d->rules[i]) && d->rules[i]->e.meta.deadline_ms < next)
			next = d->rules[i]->e.meta.deadline_ms;
	}
	if (next == POLICY_NEVER)
		return -1;
	/* The wall clock may be set while we wait, so never sleep long on it. */
	int64_t left = next <= now ? 0 : next - now;
	return clock_boot_ms() + (left > EXPIRE_LATEST_MS ? EXPIRE_LATEST_MS : left);
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
		if (failed == 0 && rule[i] != NULL && rule[i]->e.meta.times_left == 0)
			used[n_used++] = rule[i];
	}
	if (n_used > 0 && rules_end(d, used, n_used, UINT32_MAX, POLICY_END_USED) != 0)
		log_msg(LOG_ERROR, "a policy without the used-up rules could not be made");
}

/* From the store */

static bool run_alive(const struct desk *d, uint32_t run)
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
	if (rule_running(r) && r->e.rule.lives.until == POLICY_UNTIL_REBOOT &&
		strcmp(row->boot_id, d->host.boot_id) != 0)
		rule_set_end(r, POLICY_END_REBOOT);
	/* Killed between a last count, or an app's end, and its consequence. */
	if (rule_running(r) && r->e.rule.lives.times != 0 && r->e.meta.times_left == 0)
		rule_set_end(r, POLICY_END_USED);
	if (rule_running(r) && r->e.rule.lives.until == POLICY_UNTIL_EXIT && r->run != 0 && !run_alive(d, r->run))
		rule_set_end(r, POLICY_END_EXIT);
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
	while ((got = store_rules_next(q, &row)) == 1 && err == 0)
		err = rule_from_row(d, &row);
	store_rows_end(q);
	uint32_t generation = 0;
	if (err == 0 && got == 0)
		err = store_take(d->store, STORE_GENERATIONS, 1, &generation);
	d->generation = (uint64_t)generation << 32;
	d->in_force = 0;
	return err != 0 ? err : got;
}

/* The admin's files */

static void docs_free(struct policy_doc **docs, char **names, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++) {
		policy_doc_free(docs[i]);
		free(names[i]);
	}
	*n = 0;
}

void rules_reload(struct desk *d)
{
	docs_free(d->new_docs, d->new_names, &d->n_new_docs);
	ipc_text_set(&d->new_errors, "");
}

static void file_error(struct desk *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void file_error(struct desk *d, const char *fmt, ...)
{
	va_list ap;
	size_t len = d->new_errors.len;
	va_start(ap, fmt);
	int n = vsnprintf(d->new_errors.s + len, sizeof(d->new_errors.s) - len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(d->new_errors.s) - len)
		d->new_errors.len = (uint16_t)(len + (size_t)n);
	else
		d->new_errors.s[len] = '\0';
}

static int read_all(int fd, char **ret, size_t *ret_len)
{
	char *buf = malloc(POLICY_FILE_MAX + 1);
	size_t len = 0;
	if (buf == NULL)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, buf + len, POLICY_FILE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int err = -errno;
			free(buf);
			return err;
		}
		if (n == 0 || len > POLICY_FILE_MAX)
			break;
		len += (size_t)n;
	}
	*ret = buf;
	*ret_len = len;
	return 0;
}

void rules_file(struct desk *d, struct frame *f)
{
	struct ipc_text name;
	struct policy_diag diags[8];
	size_t n_diags = 0, len = 0;
	char *text = NULL;
	if (!ipc_text_get(f->body, f->len, &name) || f->n_fds != 1 ||
		d->n_new_docs == sizeof(d->new_docs) / sizeof(d->new_docs[0]))
		return;
	int err = read_all(f->fds[0], &text, &len);
	char *copy = strdup(name.s);
	if (err == 0 && copy != NULL)
		err = policy_parse_file(text, len, &d->new_docs[d->n_new_docs], diags, 8, &n_diags);
	free(text);
	if (err == 0 && copy != NULL) {
		d->new_names[d->n_new_docs++] = copy;
		return;
	}
	free(copy);
	for (size_t i = 0; i < n_diags && i < 8; i++)
		file_error(d, "%s:%u:%u: error: %s\n", name.s, diags[i].line, diags[i].col, diags[i].message);
	if (n_diags == 0)
		file_error(d, "%s: error: cannot be read: %s\n", name.s, strerror(err == 0 ? ENOMEM : -err));
}

/* The admin's rule as it has been known, by id and line; NULL when it is new. */
static struct rule *known_admin_rule(const struct desk *d, const struct rule *r)
{
	for (size_t i = 0; i < d->n_rules; i++) {
		struct rule *k = d->rules[i];
		if (k->e.meta.origin == POLICY_ORIGIN_ADMIN && memcmp(k->e.meta.id, r->e.meta.id, POLICY_ID_LEN) == 0 &&
			strcmp(k->line, r->line) == 0)
			return k;
	}
	return NULL;
}

static bool has_life(const struct policy_rule *r)
{
	return policy_rule_limited(r);
}

static int file_rule(struct desk *d, const struct policy_entry *e, const char *file, struct rule **ret)
{
	struct policy_rule copy;
	struct rule *r;
	int err = policy_rule_copy(&e->rule, &copy);
	if (err == 0)
		err = rule_new(&copy, POLICY_ORIGIN_ADMIN, POLICY_OWNER_ANY, &r);
	if (err != 0)
		return err;
	r->file = strdup(file);
	r->e.meta.file = r->file;
	r->e.meta.line = e->meta.line;
	struct rule *k = known_admin_rule(d, r);
	if (k == NULL) {
		rule_begin(d, r, clock_wall_ms());
	} else {
		/* A life begins when the rule is first seen; neither reading again nor a restart renews it. */
		r->seq = k->seq;
		r->run = k->run;
		r->ended_ms = k->ended_ms;
		r->e.meta.created_ms = k->e.meta.created_ms;
		r->e.meta.deadline_ms = k->e.meta.deadline_ms;
		r->e.meta.times_left = k->e.meta.times_left;
		r->e.meta.ended = k->e.meta.ended;
	}
	*ret = r;
	return 0;
}

struct rule_list {
	struct rule **v;
	size_t n, cap;
};

static int list_add(struct rule_list *l, struct rule *r)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 64 : l->cap * 2;
		struct rule **p = realloc(l->v, cap * sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = r;
	return 0;
}

/* All rules as they would be with the new files: the answers, then the files'. Answers are shared with d->rules. */
static int new_rules(struct desk *d, struct rule_list *ret, size_t *ret_answers)
{
	int err = 0;
	for (size_t i = 0; i < d->n_rules && err == 0; i++) {
		if (d->rules[i]->e.meta.origin != POLICY_ORIGIN_ADMIN)
			err = list_add(ret, d->rules[i]);
	}
	*ret_answers = ret->n;
	for (unsigned f = 0; f < d->n_new_docs; f++) {
		for (size_t i = 0; i < d->new_docs[f]->n_rules && err == 0; i++) {
			struct rule *r;
			err = file_rule(d, &d->new_docs[f]->rules[i], d->new_names[f], &r);
			if (err == 0 && (err = list_add(ret, r)) != 0)
				rule_free(r);
		}
	}
	return err;
}

static bool list_has_row(const struct rule_list *l, int64_t seq)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i]->seq == seq)
			return true;
	}
	return false;
}

/* Lives of the files' rules become rows; rows whose line has gone are forgotten. */
static int store_file_rules(struct desk *d, const struct rule_list *l, size_t answers)
{
	int err = store_commit(d->store);
	for (size_t i = 0; i < d->n_rules && err == 0; i++) {
		const struct rule *r = d->rules[i];
		if (r->e.meta.origin == POLICY_ORIGIN_ADMIN && r->seq != 0 && !list_has_row(l, r->seq))
			err = store_rule_forget(d->store, r->seq);
	}
	for (size_t i = answers; i < l->n && err == 0; i++) {
		if (l->v[i]->seq == 0 && has_life(&l->v[i]->e.rule))
			err = rule_store(d, l->v[i]);
	}
	return commit_or_undo(d, err);
}

static void list_drop(struct rule_list *l, size_t from)
{
	for (size_t i = from; i < l->n; i++)
		rule_free(l->v[i]);
	free(l->v);
}

/* The new files take the place of the old. */
static void install_files(struct desk *d, struct rule_list *l, struct build *b)
{
	for (size_t i = 0; i < d->n_rules; i++) {
		if (d->rules[i]->e.meta.origin == POLICY_ORIGIN_ADMIN)
			rule_free(d->rules[i]);
	}
	free(d->rules);
	d->rules = l->v;
	d->n_rules = l->n;
	d->cap_rules = l->cap;
	docs_free(d->docs, d->doc_names, &d->n_docs);
	memcpy(d->docs, d->new_docs, sizeof(d->docs));
	memcpy(d->doc_names, d->new_names, sizeof(d->doc_names));
	d->n_docs = d->n_new_docs;
	d->n_new_docs = 0;
	d->loaded = true;
	build_install(d, b);
	if (!d->gate_synced)
		gate_sync(d);
	questions_loaded(d);
}

/* Instead of the admin's files: they alone may deny less than what was lost. */
static void hold_all(struct desk *d)
{
	static const char text[] = "final deny any\nfinal deny any from any\n";
	struct policy_diag diag;
	size_t n = 0;
	char *name = strdup("damaged store");
	rules_reload(d);
	if (name == NULL || policy_parse_file(text, strlen(text), &d->new_docs[0], &diag, 1, &n) != 0) {
		free(name);
		file_error(d, "no memory for the policy of a damaged store\n");
		return;
	}
	d->new_names[d->n_new_docs++] = name;
}

void rules_files_end(struct desk *d, uint32_t id)
{
	if (d->damaged[0] != '\0')
		hold_all(d);
	struct rule_list l = { 0 };
	struct build b;
	size_t answers = 0;
	char error[512] = "";
	int err = d->new_errors.len > 0 ? -EINVAL : new_rules(d, &l, &answers);
	if (err == 0) {
		err = build_policy(d, l.v, l.n, d->new_docs, d->n_new_docs, &b, error);
		if (err == 0 && (err = store_file_rules(d, &l, answers)) != 0)
			build_free(&b);
	}
	if (err != 0) {
		if (error[0] != '\0')
			file_error(d, "%s\n", error);
		else if (d->new_errors.len == 0)
			file_error(d, "the policy files cannot be used: %s\n", strerror(-err));
		list_drop(&l, answers);
		(void)role_result(d->role, ROLE_MAIN, id, err, 0, d->new_errors.s);
		rules_reload(d);
		return;
	}
	install_files(d, &l, &b);
	(void)role_result(d->role, ROLE_MAIN, id, 0, (uint32_t)d->n_rules, NULL);
}
