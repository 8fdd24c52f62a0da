/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is asked, and what he answers. A question waits while the gate holds packets for it; when nobody answered in time
 * it stays in the inbox, where an answer counts for the next try. The first answer wins: the desk has one thread, and
 * an answered question is gone before the next call is looked at.
 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/group.h"
#include "desk/question.h"
#include "policy/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVE_BYTES = API_MESSAGE_MAX / 4 };

unsigned questions_count(const struct desk *d)
{
	unsigned n = 0;
	for (unsigned i = 0; i < d->questions_top; i++)
		n += d->questions[i].id != 0 && d->questions[i].waiting;
	return n;
}

/* The owner's agents at once, admins' after a while, others never. */
static bool may_see(const struct client *c, const struct question *q)
{
	return c->may && (c->uid == q->owner || (c->admin && q->admins_told));
}

static void tell(struct desk *d, struct client *c, struct question *q)
{
	q->seen = true;
	client_stream(d, c,
		json_pack("{s:s, s:I, s:o}", "event", "question", "sequence", (json_int_t)c->sequence++, "question",
			question_json(d, q)));
}

static json_t *review_json(struct desk *d, const struct app *a)
{
	return json_pack("{s:s, s:o, s:b, s:i, s:I}", "app", a->gate.name, "owner", owner_json(d, a->gate.owner), "on",
		a->review, "waiting", (int)a->waiting, "refused", (json_int_t)a->overflow);
}

void questions_tell_review(struct desk *d, const struct app *a)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd >= 0 && c->wait == CLIENT_SERVES && c->may && (c->uid == a->gate.owner || c->admin))
			client_stream(d, c,
				json_pack("{s:s, s:I, s:o}", "event", "review", "sequence", (json_int_t)c->sequence++,
					"review", review_json(d, a)));
	}
}

/* Who answered knows it from his call; he may serve on a connection of its own. */
static bool same_agent(const struct client *c, const struct client *who)
{
	return who != NULL && (c == who || (c->uid == who->uid && c->pid == who->pid));
}

static void tell_cancelled(struct desk *d, const struct question *q, const char *by, const struct client *except)
{
	char id[16];
	snprintf(id, sizeof(id), "q%u", q->id);
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd >= 0 && c->wait == CLIENT_SERVES && !same_agent(c, except) && may_see(c, q))
			client_stream(d, c,
				json_pack("{s:s, s:I, s:s, s:s}", "event", "cancelled", "sequence",
					(json_int_t)c->sequence++, "id", id, "by", by));
	}
}

/* Those that the pump is going to bring. */
static bool serve_behind(const struct client *c, unsigned index, const struct question *q)
{
	return c->serve_last != 0 && index >= c->serve_at && q->id <= c->serve_last;
}

/* Agents are told of a question when its id outlives us; one commit for all of a turn. */
static void questions_tell(struct desk *d)
{
	bool committed = false;
	for (unsigned n = 0; n < d->questions_top; n++) {
		struct question *q = &d->questions[n];
		if (q->id == 0 || !q->waiting || q->told)
			continue;
		if (!committed && store_commit(d->store) != 0)
			log_msg(LOG_WARNING, "the inbox could not be stored; should the desk restart now, ids change");
		committed = true;
		q->told = true;
		for (unsigned i = 0; i < DESK_CLIENTS; i++) {
			struct client *c = &d->clients[i];
			if (c->fd >= 0 && c->wait == CLIENT_SERVES && may_see(c, q) && !serve_behind(c, n, q))
				tell(d, c, q);
		}
	}
}

void question_end(struct desk *d, struct question *q, const char *by)
{
	struct app *a = app_by_ref(d, &q->q.ref);
	if (q->told)
		tell_cancelled(d, q, by, NULL);
	q->waiting = false;
	q->admins_told = true;
	if (strcmp(by, "gave up") != 0) {
		if (store_question_del(d->store, q->id) != 0)
			log_msg(LOG_WARNING, "a question could not be taken out of the inbox");
		desk_flush_later(d);
		question_clear(q);
	}
	questions_review(d, a);
}

void questions_tick(struct desk *d)
{
	waits_tick(d);
	questions_tell(d);
	for (unsigned n = 0; n < d->questions_top; n++) {
		struct question *q = &d->questions[n];
		if (q->id == 0 || !q->waiting || q->admins_told || clock_boot_ms() < q->served_ms + DESK_ADMIN_AFTER_MS)
			continue;
		q->admins_told = true;
		for (unsigned i = 0; i < DESK_CLIENTS; i++) {
			struct client *c = &d->clients[i];
			if (c->fd >= 0 && c->wait == CLIENT_SERVES && c->admin && c->uid != q->owner &&
				!serve_behind(c, n, q))
				tell(d, c, q);
		}
	}
}

int64_t questions_next_ms(const struct desk *d)
{
	int64_t next = d->waits_at_ms;
	for (unsigned n = 0; n < d->questions_top; n++) {
		const struct question *q = &d->questions[n];
		if (q->id != 0 && q->waiting && !q->admins_told &&
			(next < 0 || q->served_ms + DESK_ADMIN_AFTER_MS < next))
			next = q->served_ms + DESK_ADMIN_AFTER_MS;
	}
	return next;
}

/* Calls */

static uint32_t newest_id(const struct desk *d)
{
	uint32_t id = 0;
	for (unsigned i = 0; i < d->questions_top; i++)
		id = d->questions[i].id > id ? d->questions[i].id : id;
	return id;
}

/* The next of them, as many as one message holds; at the end there are no more to come. */
static json_t *serve_part(struct desk *d, struct client *c)
{
	json_t *part = json_array();
	for (size_t bytes = 0; c->serve_at < d->questions_top; c->serve_at++) {
		struct question *q = &d->questions[c->serve_at];
		if (q->id == 0 || q->id > c->serve_last || !(q->waiting ? q->told : c->serve_inbox) || !may_see(c, q))
			continue;
		json_t *j = question_json(d, q);
		bytes += json_dumpb(j, NULL, 0, JSON_COMPACT) + 1;
		if (bytes > SERVE_BYTES) {
			json_decref(j);
			break;
		}
		q->seen = true;
		json_array_append_new(part, j);
	}
	if (c->serve_at >= d->questions_top)
		c->serve_last = 0;
	else if (c->serve_last == UINT32_MAX)
		c->serve_last = newest_id(d);
	return part;
}

void serve_pump(struct desk *d, struct client *c)
{
	const char *p;
	if (c->fd < 0 || c->dead || c->wait != CLIENT_SERVES || c->serve_last == 0 || api_conn_out(c->conn, &p) > 0)
		return;
	json_t *part = serve_part(d, c), *q;
	size_t i;
	json_array_foreach(part, i, q) client_stream(d, c,
		json_pack("{s:s, s:I, s:O}", "event", "question", "sequence", (json_int_t)c->sequence++, "question",
			q));
	json_decref(part);
	d->again = d->again || c->serve_last != 0;
}

void questions_serve(struct desk *d, struct client *c)
{
	if (!c->call.more) {
		client_error(d, c, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	bool inbox = false;
	if (!arg_bool(d, c, "inbox", &inbox))
		return;
	c->wait = CLIENT_SERVES;
	c->sequence = 0;
	c->serve_inbox = inbox;
	c->serve_at = 0;
	c->serve_last = UINT32_MAX;
	json_t *waiting = serve_part(d, c), *reviews = json_array();
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		if (a->state != APP_FREE && a->review && (c->uid == a->gate.owner || c->admin))
			json_array_append_new(reviews, review_json(d, a));
	}
	client_stream(d, c,
		json_pack("{s:s, s:I, s:o, s:o}", "event", "snapshot", "sequence", (json_int_t)c->sequence++,
			"questions", waiting, "reviews", reviews));
}

void questions_list(struct desk *d, struct client *c)
{
	bool all;
	if (!arg_all(d, c, &all))
		return;
	json_t *list = json_array();
	for (unsigned n = 0; n < d->questions_top; n++) {
		struct question *q = &d->questions[n];
		if (q->id == 0 || (q->owner != c->uid && !all))
			continue;
		q->seen = true;
		json_array_append_new(list, question_json(d, q));
	}
	client_reply(d, c, json_pack("{s:o}", "questions", list));
}

static struct question *question_by_text(struct desk *d, const struct client *c, const char *text)
{
	char *end;
	unsigned long id = text[0] == 'q' && text[1] >= '0' && text[1] <= '9' ? strtoul(text + 1, &end, 10) : 0;
	struct question *q = id == 0 || id > UINT32_MAX || *end != '\0' ? NULL : question_by_id(d, (uint32_t)id);
	return q != NULL && (c->uid == q->owner || c->admin) ? q : NULL;
}

static bool would_win(struct desk *d, struct client *c, const struct policy_rule *rule, const char *line,
	const struct question *q)
{
	size_t by = POLICY_NO_RULE;
	struct policy_request r = question_request(q);
	int won = policy_would_win(&d->input, d->policy, rule, q->owner, &r, &by);
	if (won == 1)
		return true;
	if (won < 0) {
		client_fail(d, c, "org.sekisho.Failed", "the rule cannot be judged: %s", strerror(-won));
		return false;
	}
	char id[POLICY_ID_TEXT], text[1024];
	const struct rule *other = by < d->input.n_rules ? d->by_index[by] : NULL;
	snprintf(text, sizeof(text), "this rule would not decide the question: %.400s",
		other != NULL ? other->line : "it does not speak of this connection, or the built-in floor refuses it");
	json_t *j = json_pack("{s:s, s:s, s:o, s:s}", "rule", line, "outranked_by", other != NULL ? other->line : "",
		"rule_id", other != NULL ? json_string(rule_short_id(d, other->id, id)) : json_null(), "text", text);
	client_error(d, c, "org.sekisho.WouldNotWin", j);
	return false;
}

static void answered(struct desk *d, struct client *c, const struct group_item *item)
{
	struct question *q = question_by_id(d, item->question);
	const struct rule *r = item->rules[0], *replaced = item->replaced[0];
	char ids[16], short_id[POLICY_ID_TEXT];
	snprintf(ids, sizeof(ids), "q%u", q->id);
	rule_short_id(d, r->id, short_id);
	log_entry(d, "answer", q->owner, q->app,
		json_pack("{s:s, s:s, s:s, s:o}", "id", ids, "rule", r->line, "rule_id", short_id, "by",
			owner_json(d, c->uid)));
	tell_cancelled(d, q, "answered elsewhere", c);
	if (store_question_del(d->store, q->id) != 0)
		log_msg(LOG_WARNING, "a question could not be taken out of the inbox");
	waits_release(d, q->id, d->generation);
	struct app *a = app_by_ref(d, &q->q.ref);
	question_clear(q);
	questions_review(d, a);
	json_t *note = replaced == NULL ? json_null() : json_sprintf("it takes the place of: %s", replaced->line);
	client_reply_in_force(d, c,
		json_pack("{s:s, s:s, s:s, s:o}", "id", ids, "rule", r->line, "rule_id", short_id, "note", note),
		d->generation);
}

static void answer_rule(struct desk *d, struct client *c, struct question *q, const char *line)
{
	struct policy_rule parsed;
	struct policy_diag diag = { 0 };
	struct rule *r;
	char error[512] = "";
	struct group_item item = { .client = (int)(c - d->clients),
		.rules = &r,
		.n = 1,
		.who = c->uid,
		.question = q->id,
		.done = answered };
	snprintf(item.why, sizeof(item.why), "answer to question q%u", q->id);
	int err = policy_parse_rule(line, strlen(line), &parsed, &diag);
	if (err == -EINVAL || err == -E2BIG) {
		client_bad_rule(d, c, 0, &diag);
		return;
	}
	if (err == 0 && (!rule_may_begin(d, c, &parsed, q->owner) || !would_win(d, c, &parsed, line, q))) {
		policy_rule_fini(&parsed);
		return;
	}
	if (err == 0)
		err = rule_make(d, &parsed, q->owner, &r);
	if (err == 0)
		err = group_add(d, &item, c->admin, error);
	if (err != 0)
		client_fail(d, c, "org.sekisho.Failed", "%s", error[0] != '\0' ? error : strerror(-err));
}

void questions_answer(struct desk *d, struct client *c)
{
	const char *id = NULL, *digest = NULL, *rule = NULL;
	bool later = false;
	if (!arg_str(d, c, "id", true, &id) || !arg_str(d, c, "digest", true, &digest) ||
		!arg_str(d, c, "rule", false, &rule) || !arg_bool(d, c, "later", &later))
		return;
	if ((rule != NULL) == later) {
		arg_bad(d, c, rule == NULL ? "rule" : "later", "exactly one of rule and later is an answer");
		return;
	}
	struct question *q = question_by_text(d, c, id);
	if (q == NULL || group_answers(q->id)) {
		client_fail(d, c, "org.sekisho.Changed",
			"question %.20s does not wait for you: it was answered elsewhere, or there is no such question",
			id);
	} else if (strcmp(q->digest, digest) != 0) {
		client_fail(d, c, "org.sekisho.Changed", "what was shown is not question %.20s (its digest differs)",
			id);
	} else if (later) {
		/* Later is no answer: others may give one, and the packet waits on; so may what came after it. */
		q->later = true;
		d->waits_changed = true;
		client_reply(d, c,
			json_pack("{s:s, s:n, s:n, s:n, s:b}", "id", id, "rule", "rule_id", "note", "in_force", 1));
	} else {
		answer_rule(d, c, q, rule);
	}
}
