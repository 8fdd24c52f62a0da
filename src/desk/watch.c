/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of what there is, once or as a stream: Apps.List, Rules.List, Connections.List. With `more` the list comes in
 * replies of WATCH_BATCH, each made when the reader has taken the one before, so that no list is too long and a slow
 * reader of a long list costs nothing; with `follow` then what changes. Indices move when files are read again or old
 * rules are forgotten: then the list begins anew, and says so.
 */
#include "desk/desk.h"

#include <stdio.h>
#include <string.h>

enum { WATCH_BATCH = 200, WATCH_BATCHES = 4, WATCH_BYTES = API_MESSAGE_MAX - 4096 };

static const char *const members[] = { "apps", "rules", "connections" };

static bool sees(const struct client *c, enum watch_kind kind, uint32_t owner, const char *app)
{
	if (c->fd < 0 || c->wait != CLIENT_WATCHES || c->watch.kind != kind)
		return false;
	bool any = owner == POLICY_OWNER_ANY;
	if (c->follow_owner != POLICY_OWNER_ANY && !any && c->follow_owner != owner)
		return false;
	return c->follow_app[0] == '\0' || app == NULL || strcmp(c->follow_app, app) == 0;
}

static const char *rule_app(const struct rule *r)
{
	return r->e.rule.subject == POLICY_SUBJECT_APP ? r->e.rule.who : NULL;
}

/* The object at `at`, NULL: none of his. */
static json_t *item_at(struct desk *d, const struct client *c, size_t at)
{
	const struct app *a;
	const struct rule *r;
	switch (c->watch.kind) {
	case WATCH_APPS:
		a = &d->apps[at + 1];
		return a->state != APP_FREE && sees(c, WATCH_APPS, a->gate.owner, a->gate.name) ? app_json(d, a) : NULL;
	case WATCH_RULES:
		r = d->rules[at];
		if (c->watch.unused_ms > 0 && !uses_unused(d, r, c->watch.unused_ms))
			return NULL;
		return (rule_running(r) || c->watch.ended) && sees(c, WATCH_RULES, r->e.meta.owner, rule_app(r))
			     ? c->watch.brief ? rule_brief_json(d, r) : rule_json(d, r)
			     : NULL;
	case WATCH_CONNECTIONS:
		break;
	}
	return NULL;
}

/* Everything in one hash bucket at once: buckets are short. */
static void take_connections(struct desk *d, const struct client *c, size_t bucket, json_t *list)
{
	for (const struct grant *g = d->grants[bucket]; g != NULL; g = g->next) {
		const struct app *a = app_by_ref(d, &g->g.ref);
		if (a != NULL && sees(c, WATCH_CONNECTIONS, a->gate.owner, a->gate.name))
			json_array_append_new(list, connection_json(d, a, &g->g));
	}
}

static size_t end_of(const struct desk *d, enum watch_kind kind)
{
	switch (kind) {
	case WATCH_APPS:
		return PLAN_SLOTS - 1;
	case WATCH_RULES:
		return d->n_rules;
	case WATCH_CONNECTIONS:
		break;
	}
	return DESK_GRANT_BUCKETS;
}

/* From the cursor on, at most `max`. */
static json_t *take(struct desk *d, struct client *c, size_t max)
{
	json_t *list = json_array();
	size_t end = end_of(d, c->watch.kind);
	while (c->watch.at < end && json_array_size(list) < max) {
		size_t at = c->watch.at++;
		json_t *item = c->watch.kind == WATCH_CONNECTIONS ? NULL : item_at(d, c, at);
		if (c->watch.kind == WATCH_CONNECTIONS)
			take_connections(d, c, at, list);
		else if (item != NULL)
			json_array_append_new(list, item);
	}
	return list;
}

static void batch(struct desk *d, struct client *c)
{
	bool first = c->watch.first;
	json_t *list = take(d, c, WATCH_BATCH);
	bool done = c->watch.at >= end_of(d, c->watch.kind);
	json_t *p = json_pack("{s:s, s:I, s:b, s:b, s:o}", "event", "snapshot", "sequence", (json_int_t)c->sequence++,
		"first", first, "caught_up", done, members[c->watch.kind], list);
	c->watch.first = false;
	c->watch.whole = done;
	if (done && !c->watch.follow)
		client_reply(d, c, p);
	else
		client_stream(d, c, p);
}

void watch_pump(struct desk *d, struct client *c)
{
	const char *p;
	for (unsigned i = 0; c->fd >= 0 && !c->dead && c->wait == CLIENT_WATCHES && !c->watch.whole; i++) {
		if (api_conn_out(c->conn, &p) > 0)
			return;
		/* Others are to be served, too. */
		if (i == WATCH_BATCHES) {
			d->again = true;
			return;
		}
		batch(d, c);
	}
}

/* One reply; what is too long for one has to be asked for with `more`. */
static void whole(struct desk *d, struct client *c)
{
	json_t *list = take(d, c, SIZE_MAX);
	json_t *p = json_pack("{s:o, s:s, s:i, s:b, s:b}", members[c->watch.kind], list, "event", "snapshot",
		"sequence", 0, "first", 1, "caught_up", 1);
	if (json_dumpb(p, NULL, 0, JSON_COMPACT) <= WATCH_BYTES) {
		client_reply(d, c, p);
		return;
	}
	json_decref(p);
	client_error(d, c, "org.sekisho.Limit",
		json_pack("{s:s, s:i, s:s}", "what", "bytes of a reply", "limit", (int)WATCH_BYTES, "text",
			"the list is too long for one reply; call with \"more\""));
}

void watch_begin(struct desk *d, struct client *c, const struct watch *what)
{
	const char *app = NULL;
	bool all, follow = false, said = false;
	uint32_t owner = c->uid;
	if (!arg_app(d, c, false, &app) || !arg_owner(d, c, &owner, &said) || !arg_bool(d, c, "follow", &follow) ||
		!arg_all(d, c, &all))
		return;
	if (follow && !c->call.more) {
		client_error(d, c, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	c->watch = *what;
	c->watch.follow = follow;
	c->watch.first = true;
	c->sequence = 0;
	c->follow_owner = all && !said ? POLICY_OWNER_ANY : owner;
	snprintf(c->follow_app, sizeof(c->follow_app), "%s", app == NULL ? "" : app);
	c->wait = CLIENT_WATCHES;
	/* The first part goes out at the end of this turn. */
	if (!c->call.more)
		whole(d, c);
}

static void tell(struct desk *d, struct client *c, const char *event, json_t *item)
{
	client_stream(d, c,
		json_pack("{s:s, s:I, s:[O]}", "event", event, "sequence", (json_int_t)c->sequence++,
			members[c->watch.kind], item));
}

static bool anybody(const struct desk *d, enum watch_kind kind, uint32_t owner, const char *app)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		if (sees(&d->clients[i], kind, owner, app) && d->clients[i].watch.follow)
			return true;
	}
	return false;
}

static void tell_all(struct desk *d, enum watch_kind kind, uint32_t owner, const char *app, const char *event,
	json_t *item)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (sees(c, kind, owner, app) && c->watch.follow)
			tell(d, c, event, item);
	}
	json_decref(item);
}

void watch_app(struct desk *d, const struct app *a, bool gone)
{
	if (anybody(d, WATCH_APPS, a->gate.owner, a->gate.name))
		tell_all(d, WATCH_APPS, a->gate.owner, a->gate.name, gone ? "gone" : "changed", app_json(d, a));
}

void watch_rule(struct desk *d, const struct rule *r)
{
	if (anybody(d, WATCH_RULES, r->e.meta.owner, rule_app(r)))
		tell_all(d, WATCH_RULES, r->e.meta.owner, rule_app(r), rule_running(r) ? "changed" : "gone",
			rule_json(d, r));
}

void watch_connection(struct desk *d, const struct ipc_grant *g, bool gone)
{
	const struct app *a = app_by_ref(d, &g->ref);
	if (a != NULL && anybody(d, WATCH_CONNECTIONS, a->gate.owner, a->gate.name))
		tell_all(d, WATCH_CONNECTIONS, a->gate.owner, a->gate.name, gone ? "gone" : "changed",
			connection_json(d, a, g));
}

void watch_rules_moved(struct desk *d)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd < 0 || c->wait != CLIENT_WATCHES || c->watch.kind != WATCH_RULES)
			continue;
		c->watch.at = 0;
		c->watch.first = true;
		c->watch.whole = false;
	}
}
