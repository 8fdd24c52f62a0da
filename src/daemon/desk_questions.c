/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question waits while the gate holds packets for it; when nobody answered in time it stays in the inbox, where an
 * answer counts for the next try. The first answer wins: the desk has one thread, and an answered question is gone
 * before the next call is looked at.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/desk_question.h"
#include "policy/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned questions_count(const struct desk *d)
{
	unsigned n = 0;
	for (unsigned i = 0; i < DESK_QUESTIONS; i++)
		n += d->questions[i].id != 0 && d->questions[i].waiting;
	return n;
}

/* The owner's agents at once, admins' after a while, others never. */
static bool may_see(const struct client *c, const struct question *q)
{
	return c->may && (c->uid == q->owner || (c->admin && q->admins_told));
}

static void tell(struct desk *d, struct client *c, const struct question *q)
{
	client_stream(d, c,
		json_pack("{s:s, s:I, s:o}", "event", "question", "sequence", (json_int_t)c->sequence++, "question",
			question_json(q)));
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

static struct question *question_by_number(struct desk *d, uint32_t number)
{
	for (unsigned i = 0; i < DESK_QUESTIONS; i++) {
		struct question *q = &d->questions[i];
		if (q->id != 0 && q->waiting && q->q.number == number)
			return q;
	}
	return NULL;
}

static void log_question(struct desk *d, const struct question *q)
{
	char id[16], buf[8];
	snprintf(id, sizeof(id), "q%u", q->id);
	log_entry(d, "question", q->owner, q->app,
		json_pack("{s:s, s:o, s:o, s:i, s:s}", "id", id, "name", name_json(&q->q.name), "address",
			addr_json(&q->q.address), "port", q->q.port, "protocol", protocol_text(q->q.proto, buf)));
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
	if (a == NULL || question_by_number(d, iq->number) != NULL)
		return;
	struct question *place = question_place(d);
	struct question q = { .waiting = true, .q = *iq, .owner = a->gate.owner, .served_ms = clock_boot_ms() };
	memcpy(q.app, a->gate.name, sizeof(q.app));
	if (peer != NULL && peer->state != APP_FREE) {
		memcpy(q.peer_app, peer->gate.name, sizeof(q.peer_app));
		q.peer_owner = peer->gate.owner;
	}
	/* No room: the packet is refused when its patience ends, never allowed. */
	if (place == NULL || question_identify(d, &q) != 0) {
		json_decref(q.shown);
		log_msg(LOG_WARNING, "a question of %s had no place and is not asked", a->gate.name);
		return;
	}
	*place = q;
	question_store(d, place);
	if (!q.known)
		log_question(d, place);
}

/* Agents are told of a question when its id outlives us; one commit for all of a turn. */
static void questions_tell(struct desk *d)
{
	bool committed = false;
	for (unsigned n = 0; n < DESK_QUESTIONS; n++) {
		struct question *q = &d->questions[n];
		if (q->id == 0 || !q->waiting || q->told)
			continue;
		if (!committed && store_commit(d->store) != 0)
			log_msg(LOG_WARNING, "the inbox could not be stored; should the desk restart now, ids change");
		committed = true;
		q->told = true;
		for (unsigned i = 0; i < DESK_CLIENTS; i++) {
			struct client *c = &d->clients[i];
			if (c->fd >= 0 && c->wait == CLIENT_SERVES && may_see(c, q))
				tell(d, c, q);
		}
	}
}

/* Nothing waits any more; unanswered, it stays in the inbox. */
static void question_end(struct desk *d, struct question *q, const char *by)
{
	if (q->told)
		tell_cancelled(d, q, by, NULL);
	q->waiting = false;
	q->admins_told = true;
	if (strcmp(by, "gave up") == 0)
		return;
	if (store_question_del(d->store, q->id) != 0)
		log_msg(LOG_WARNING, "a question could not be taken out of the inbox");
	desk_flush_later(d);
	question_clear(q);
}

void questions_end(struct desk *d, uint32_t number, const char *by)
{
	struct question *q = question_by_number(d, number);
	early_end(d, number);
	if (q == NULL)
		return;
	if (by == NULL)
		by = clock_wall_ms() + 1000 >= q->q.gives_up_wall_ms ? "gave up" : "settled by a rule";
	question_end(d, q, by);
}

void questions_app_ended(struct desk *d, const struct app *a)
{
	for (unsigned i = 0; i < DESK_QUESTIONS; i++) {
		struct question *q = &d->questions[i];
		if (q->id != 0 && q->waiting && q->q.ref.slot == a->gate.ref.slot && q->q.ref.run == a->gate.ref.run)
			question_end(d, q, "app stopped");
	}
}

void questions_gate_lost(struct desk *d)
{
	for (unsigned i = 0; i < DESK_QUESTIONS; i++) {
		if (d->questions[i].id != 0 && d->questions[i].waiting)
			question_end(d, &d->questions[i], "gave up");
	}
}

void questions_tick(struct desk *d)
{
	questions_tell(d);
	for (unsigned n = 0; n < DESK_QUESTIONS; n++) {
		struct question *q = &d->questions[n];
		if (q->id == 0 || !q->waiting || q->admins_told || clock_boot_ms() < q->served_ms + DESK_ADMIN_AFTER_MS)
			continue;
		q->admins_told = true;
		for (unsigned i = 0; i < DESK_CLIENTS; i++) {
			struct client *c = &d->clients[i];
			if (c->fd >= 0 && c->wait == CLIENT_SERVES && c->admin && c->uid != q->owner)
				tell(d, c, q);
		}
	}
}

int64_t questions_next_ms(const struct desk *d)
{
	int64_t next = -1;
	for (unsigned n = 0; n < DESK_QUESTIONS; n++) {
		const struct question *q = &d->questions[n];
		if (q->id != 0 && q->waiting && !q->admins_told &&
			(next < 0 || q->served_ms + DESK_ADMIN_AFTER_MS < next))
			next = q->served_ms + DESK_ADMIN_AFTER_MS;
	}
	return next;
}

/* Calls */

void questions_serve(struct desk *d, struct client *c)
{
	if (!c->call.more) {
		client_error(d, c, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	c->wait = CLIENT_SERVES;
	c->sequence = 0;
	json_t *waiting = json_array();
	for (unsigned n = 0; n < DESK_QUESTIONS; n++) {
		const struct question *q = &d->questions[n];
		if (q->id != 0 && q->waiting && q->told && may_see(c, q))
			json_array_append_new(waiting, question_json(q));
	}
	client_stream(d, c,
		json_pack("{s:s, s:I, s:o}", "event", "snapshot", "sequence", (json_int_t)c->sequence++, "questions",
			waiting));
}

void questions_list(struct desk *d, struct client *c)
{
	bool all;
	if (!arg_all(d, c, &all))
		return;
	json_t *list = json_array();
	for (unsigned n = 0; n < DESK_QUESTIONS; n++) {
		const struct question *q = &d->questions[n];
		if (q->id != 0 && (q->owner == c->uid || all))
			json_array_append_new(list, question_json(q));
	}
	client_reply(d, c, json_pack("{s:o}", "questions", list));
}

static struct question *question_by_text(struct desk *d, const struct client *c, const char *text)
{
	char *end;
	unsigned long id = text[0] == 'q' && text[1] >= '0' && text[1] <= '9' ? strtoul(text + 1, &end, 10) : 0;
	for (unsigned n = 0; id != 0 && *end == '\0' && n < DESK_QUESTIONS; n++) {
		struct question *q = &d->questions[n];
		if (q->id == id)
			return c->uid == q->owner || c->admin ? q : NULL;
	}
	return NULL;
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

static void answered(struct desk *d, struct client *c, struct question *q, const struct rule *r,
	const struct rule *replaced)
{
	char ids[16], short_id[POLICY_ID_TEXT];
	snprintf(ids, sizeof(ids), "q%u", q->id);
	rule_short_id(d, r->id, short_id);
	log_entry(d, "answer", q->owner, q->app,
		json_pack("{s:s, s:s, s:s, s:o}", "id", ids, "rule", r->line, "rule_id", short_id, "by",
			owner_json(d, c->uid)));
	tell_cancelled(d, q, "answered elsewhere", c);
	if (store_question_del(d->store, q->id) != 0)
		log_msg(LOG_WARNING, "a question could not be taken out of the inbox");
	question_clear(q);
	json_t *note = replaced == NULL ? json_null() : json_sprintf("it takes the place of: %s", replaced->line);
	client_reply_in_force(d, c,
		json_pack("{s:s, s:s, s:s, s:o}", "id", ids, "rule", r->line, "rule_id", short_id, "note", note),
		d->generation);
}

static void answer_rule(struct desk *d, struct client *c, struct question *q, const char *line)
{
	struct policy_rule parsed;
	struct policy_diag diag = { 0 };
	struct rule *r, *replaced;
	char error[512] = "";
	int err = policy_parse_rule(line, strlen(line), &parsed, &diag);
	if (err == -EINVAL || err == -E2BIG) {
		client_bad_rule(d, c, 0, &diag);
		return;
	}
	if (err == 0 && (!rule_permitted(d, c, &parsed, q->owner) || !would_win(d, c, &parsed, line, q))) {
		policy_rule_fini(&parsed);
		return;
	}
	if (err == 0)
		err = rule_make(d, &parsed, q->owner, &r);
	if (err == 0)
		err = rules_add(d, &r, 1, c->uid, &replaced, error);
	if (err != 0)
		client_fail(d, c, "org.sekisho.Failed", "%s", error[0] != '\0' ? error : strerror(-err));
	else
		answered(d, c, q, r, replaced);
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
	if (q == NULL) {
		client_fail(d, c, "org.sekisho.Changed",
			"question %.20s does not wait for you: it was answered elsewhere, or there is no such question",
			id);
	} else if (strcmp(q->digest, digest) != 0) {
		client_fail(d, c, "org.sekisho.Changed", "what was shown is not question %.20s (its digest differs)",
			id);
	} else if (later) {
		/* Later is no answer: others may give one, and the packet waits on. */
		client_reply(d, c,
			json_pack("{s:s, s:n, s:n, s:n, s:b}", "id", id, "rule", "rule_id", "note", "in_force", 1));
	} else {
		answer_rule(d, c, q, rule);
	}
}
