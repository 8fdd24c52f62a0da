/* SPDX-License-Identifier: Apache-2.0 */
/* What a question is: immutable once made, its digest covers all that is shown, and its id outlives us in the inbox. */
#include "base/clock.h"
#include "base/log.h"
#include "desk/question.h"
#include "policy/suggest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUESTION_NUMBERS = 256 };

void question_clear(struct question *q)
{
	json_decref(q->shown);
	json_decref(q->names);
	*q = (struct question){ 0 };
}

struct question *question_by_id(struct desk *d, uint32_t id)
{
	for (unsigned i = 0; i < d->questions_top; i++) {
		if (d->questions[i].id == id)
			return &d->questions[i];
	}
	return NULL;
}

static void inbox_drop(struct desk *d, struct question *q)
{
	if (store_question_del(d->store, q->id) != 0)
		log_msg(LOG_WARNING, "an old question could not be taken out of the inbox");
	desk_flush_later(d);
	question_clear(q);
}

static bool elder(const struct question *q, const struct question *than)
{
	return !q->waiting && (than == NULL || q->id < than->id);
}

struct question *question_place(struct desk *d, uint32_t owner, const char *app)
{
	struct question *free_one = NULL, *of_app = NULL, *of_owner = NULL, *of_all = NULL;
	unsigned n_app = 0, n_owner = 0;
	for (unsigned i = 0; i < d->questions_top; i++) {
		struct question *q = &d->questions[i];
		bool his = q->id != 0 && q->owner == owner, its = his && strcmp(q->app, app) == 0;
		n_app += its;
		n_owner += his;
		if (q->id == 0 && free_one == NULL)
			free_one = q;
		if (q->id != 0 && elder(q, of_all))
			of_all = q;
		if (his && elder(q, of_owner))
			of_owner = q;
		if (its && elder(q, of_app))
			of_app = q;
	}
	struct question *old = n_app >= DESK_QUESTIONS_PER_APP	   ? of_app
			     : n_owner >= DESK_QUESTIONS_PER_OWNER ? of_owner
			     : free_one != NULL			   ? free_one
			     : d->questions_top < DESK_QUESTIONS   ? &d->questions[d->questions_top++]
								   : of_all;
	if (old != NULL && old->id != 0)
		inbox_drop(d, old);
	return old;
}

static int question_number(struct desk *d, uint32_t *ret)
{
	if (d->question_next == d->question_end) {
		int err = store_take(d->store, STORE_QUESTIONS, QUESTION_NUMBERS, &d->question_next);
		if (err != 0)
			return err;
		d->question_end = d->question_next + QUESTION_NUMBERS;
	}
	*ret = d->question_next++;
	return 0;
}

struct policy_request question_request(const struct question *q)
{
	return (struct policy_request){ .owner = q->owner,
		.app = q->app,
		.dir = q->q.inbound ? POLICY_IN : POLICY_OUT,
		.name = q->q.name.len == 0 || q->q.withheld || q->q.inbound ? NULL : &q->q.name,
		.addr = q->q.address.len == 0 ? NULL : &q->q.address,
		.peer_app = q->peer_app[0] == '\0' ? NULL : q->peer_app,
		.peer_owner = q->peer_owner,
		.proto = q->q.proto,
		.port = q->q.port,
		.now_ms = clock_wall_ms() };
}

static void digest_of(const json_t *shown, char ret[65])
{
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned len = 0;
	char *text = json_dumps(shown, JSON_COMPACT | JSON_SORT_KEYS);
	ret[0] = '\0';
	if (text != NULL && EVP_Digest(text, strlen(text), sum, &len, EVP_sha256(), NULL) == 1) {
		for (unsigned i = 0; i < len && i < 32; i++)
			snprintf(ret + 2 * i, 3, "%02x", sum[i]);
	}
	free(text);
}

static json_t *suggestions(struct desk *d, const struct question *q)
{
	static struct policy_suggestions s;
	struct policy_request r = question_request(q);
	json_t *lines = json_array();
	s.n = 0;
	int err = policy_suggest(&d->input, d->policy, &r, &s);
	if (err != 0)
		log_msg(LOG_WARNING, "no suggestions for a question: %s", strerror(-err));
	for (size_t i = 0; err == 0 && i < s.n; i++)
		json_array_append_new(lines, json_string(s.line[i]));
	return lines;
}

static json_t *shown_of(struct desk *d, const struct question *q)
{
	char buf[8], id[16];
	snprintf(id, sizeof(id), "q%u", q->id);
	return json_pack("{s:s, s:s, s:o, s:s, s:o, s:o, s:i, s:s, s:b, s:o, s:o, s:i, s:o}", "id", id, "app", q->app,
		"owner", owner_json(d, q->owner), "direction", q->q.inbound ? "in" : "out", "name",
		name_json(&q->q.name), "address", addr_json(&q->q.address), "port", q->q.port, "protocol",
		protocol_text(q->q.proto, buf), "withheld", q->q.withheld, "peer_app",
		q->peer_app[0] == '\0' ? json_null() : json_string(q->peer_app), "suggestions", suggestions(d, q),
		"more", (int)q->more, "names", q->names == NULL ? json_array() : json_incref(q->names));
}

json_t *question_json(struct desk *d, const struct question *q)
{
	const struct app *a = app_by_ref(d, &q->q.ref);
	int64_t now = clock_wall_ms(), held = now - q->q.held_wall_ms, left = q->q.gives_up_wall_ms - now;
	json_t *j = json_copy(q->shown);
	json_object_set_new(j, "digest", json_string(q->digest));
	json_object_set_new(j, "held_ms", json_integer(held < 0 ? 0 : held));
	json_object_set_new(j, "gives_up_ms", json_integer(!q->waiting || left < 0 ? 0 : left));
	json_object_set_new(j, "waiting", json_boolean(q->waiting));
	json_object_set_new(j, "first", json_boolean(q->first));
	json_object_set_new(j, "review", json_boolean(q->waiting && a != NULL && a->review));
	return j;
}

void question_store(struct desk *d, const struct question *q)
{
	json_t *j = json_pack("{s:O, s:b, s:s, s:I, s:i, s:i, s:i, s:I, s:s, s:I}", "shown", q->shown, "first",
		q->first, "app", q->app, "run", (json_int_t)q->q.ref.run, "inbound", q->q.inbound, "proto", q->q.proto,
		"withheld", q->q.withheld, "held", (json_int_t)q->q.held_wall_ms, "peer_app", q->peer_app, "peer_owner",
		(json_int_t)q->peer_owner);
	char *text = j == NULL ? NULL : json_dumps(j, JSON_COMPACT);
	struct store_question row = { .id = q->id, .owner = q->owner, .time_ms = q->q.held_wall_ms, .json = text };
	if (text == NULL || store_question_put(d->store, &row) != 0)
		log_msg(LOG_WARNING, "a question could not be put into the inbox");
	free(text);
	json_decref(j);
	desk_flush_later(d);
}

static bool inbox_read(const struct store_question *row, const json_t *j, struct question *q)
{
	const json_t *shown = json_object_get(j, "shown");
	const char *app = json_string_value(json_object_get(j, "app")),
		   *peer = json_string_value(json_object_get(j, "peer_app"));
	const char *name = json_string_value(json_object_get(shown, "name")),
		   *address = json_string_value(json_object_get(shown, "address"));
	if (app == NULL || peer == NULL || !json_is_object(shown))
		return false;
	*q = (struct question){ .id = row->id, .owner = row->owner, .admins_told = true };
	snprintf(q->app, sizeof(q->app), "%s", app);
	snprintf(q->peer_app, sizeof(q->peer_app), "%s", peer);
	q->peer_owner = (uint32_t)json_integer_value(json_object_get(j, "peer_owner"));
	q->q.ref.run = (uint32_t)json_integer_value(json_object_get(j, "run"));
	q->q.inbound = (uint8_t)json_integer_value(json_object_get(j, "inbound"));
	q->q.proto = (uint8_t)json_integer_value(json_object_get(j, "proto"));
	q->q.withheld = json_integer_value(json_object_get(j, "withheld")) != 0;
	q->q.port = (uint16_t)json_integer_value(json_object_get(shown, "port"));
	q->q.held_wall_ms = json_integer_value(json_object_get(j, "held"));
	if (name != NULL && !name_from_text(name, strlen(name), &q->q.name))
		return false;
	if (address != NULL && !addr_parse(address, &q->q.address))
		return false;
	q->shown = json_copy(json_object_get(j, "shown"));
	q->names = json_incref(json_object_get(shown, "names"));
	q->more = (unsigned)json_integer_value(json_object_get(shown, "more"));
	q->seen = true;
	q->first = json_is_true(json_object_get(j, "first"));
	digest_of(q->shown, q->digest);
	return q->shown != NULL;
}

void questions_load(struct desk *d)
{
	struct store_rows *rows;
	struct store_question row;
	if (store_questions(d->store, &rows) != 0)
		return;
	while (store_questions_next(rows, &row) == 1) {
		struct question q = { 0 };
		json_t *j = json_loads(row.json, 0, NULL);
		if (j != NULL && inbox_read(&row, j, &q) && d->questions_top < DESK_QUESTIONS)
			d->questions[d->questions_top++] = q;
		else
			question_clear(&q);
		json_decref(j);
	}
	store_rows_end(rows);
}

/* The same thing asked before and left in the inbox, or asked of an earlier desk; NULL. */
static struct question *question_before(struct desk *d, const struct question *n)
{
	for (unsigned i = 0; i < d->questions_top; i++) {
		struct question *q = &d->questions[i];
		if (q->id != 0 && q != n && !q->waiting && q->owner == n->owner && strcmp(q->app, n->app) == 0 &&
			q->q.port == n->q.port && q->q.proto == n->q.proto && q->q.inbound == n->q.inbound &&
			q->q.withheld == n->q.withheld && name_equal(&q->q.name, &n->q.name) &&
			addr_equal(&q->q.address, &n->q.address))
			return q;
	}
	return NULL;
}

int question_show(struct desk *d, struct question *q)
{
	json_t *shown = shown_of(d, q);
	if (shown == NULL)
		return -ENOMEM;
	json_decref(q->shown);
	q->shown = shown;
	digest_of(shown, q->digest);
	return 0;
}

static bool is_first(struct desk *d, const struct question *n)
{
	json_t *name = name_json(&n->q.name), *address = addr_json(&n->q.address);
	const char *peer = json_string_value(json_is_string(name) ? name : address);
	bool first = peer != NULL && store_event_seen(d->store, n->owner, n->app, peer) == 0;
	json_decref(name);
	json_decref(address);
	return first;
}

int question_identify(struct desk *d, struct question *n)
{
	struct question *old = question_before(d, n);
	if (old != NULL && old->q.ref.run == n->q.ref.run) {
		n->id = old->id;
		if (question_show(d, n) == 0 && strcmp(n->digest, old->digest) == 0) {
			n->known = n->seen = true;
			n->first = old->first;
			question_clear(old);
			return 0;
		}
	}
	int err = question_number(d, &n->id);
	if (err == 0)
		err = question_show(d, n);
	if (err == 0)
		n->first = is_first(d, n);
	if (err == 0 && old != NULL)
		inbox_drop(d, old);
	return err;
}

void question_log(struct desk *d, const struct question *q)
{
	char id[16], buf[8];
	snprintf(id, sizeof(id), "q%u", q->id);
	log_entry(d, "question", q->owner, q->app,
		json_pack("{s:s, s:o, s:o, s:i, s:s}", "id", id, "name", name_json(&q->q.name), "address",
			addr_json(&q->q.address), "port", q->q.port, "protocol", protocol_text(q->q.proto, buf)));
}
