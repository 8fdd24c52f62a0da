/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/clock.h"
#include "desk/desk.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OVERFLOW_SAY_MS = 1000, LOG_LIMIT = 1000, LOG_LIMIT_MAX = 2500, LOG_BATCH = 100 };

const char *protocol_text(uint8_t proto, char buf[8])
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_SCTP:
		return "sctp";
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return "icmp";
	default:
		snprintf(buf, 8, "%u", proto);
		return buf;
	}
}

json_t *name_json(const struct name *n)
{
	char text[NAME_TEXT_MAX];
	return n->len == 0 ? json_null() : json_string(name_format(n, text, sizeof(text)));
}

json_t *addr_json(const struct addr *a)
{
	char text[ADDR_TEXT_MAX];
	return a->len == 0 ? json_null() : json_string(addr_format(a, text, sizeof(text)));
}

json_t *time_json(int64_t wall_ms)
{
	char buf[32];
	return json_string(clock_format(wall_ms, buf));
}

static bool follows(const struct client *c, uint32_t owner, const char *app)
{
	return c->fd >= 0 && c->wait == CLIENT_FOLLOWS && (c->follow_owner == UINT32_MAX || c->follow_owner == owner) &&
	       (c->follow_app[0] == '\0' || (app != NULL && strcmp(c->follow_app, app) == 0));
}

/* What the beginning of an id means among the rules in memory; itself when it means none. */
static const char *rule_full_id(const struct desk *d, const char *id)
{
	size_t low = 0, high = d->n_ids;
	while (id != NULL && low < high) {
		size_t mid = low + (high - low) / 2;
		if (strcmp(d->ids[mid], id) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	bool means = id != NULL && low < d->n_ids && strncmp(d->ids[low], id, strlen(id)) == 0;
	return means ? d->ids[low] : id;
}

static bool fits(const char *wanted, const char *is)
{
	return wanted[0] == '\0' || (is != NULL && strcmp(wanted, is) == 0);
}

static bool follows_entry(const struct client *c, const struct store_event *e)
{
	return follows(c, e->owner, e->app) && fits(c->follow_event, e->event) && fits(c->follow_verdict, e->verdict) &&
	       fits(c->follow_peer, e->peer) && fits(c->follow_rule, e->rule);
}

void log_entry(struct desk *d, const char *event, uint32_t owner, const char *app, json_t *entry)
{
	json_t *j = json_pack("{s:o, s:s}", "time", time_json(clock_wall_ms()), "event", event);
	if (app != NULL)
		json_object_set_new(j, "app", json_string(app));
	if (owner != UINT32_MAX)
		json_object_set_new(j, "owner", owner_json(d, owner));
	if (entry != NULL)
		json_object_update(j, entry);
	json_decref(entry);
	char *text = json_dumps(j, JSON_COMPACT);
	const char *name = json_string_value(json_object_get(j, "name"));
	struct store_event e = { .time_ms = clock_wall_ms(),
		.owner = owner,
		.app = app,
		.json = text,
		.event = event,
		.verdict = json_string_value(json_object_get(j, "verdict")),
		.peer = name != NULL ? name : json_string_value(json_object_get(j, "address")),
		.rule = rule_full_id(d, json_string_value(json_object_get(j, "rule_id"))) };
	if (text == NULL || store_event_add(d->store, &e) != 0)
		log_msg(LOG_WARNING, "an event could not be stored");
	free(text);
	desk_flush_later(d);
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (follows_entry(c, &e))
			client_stream(d, c,
				json_pack("{s:[O], s:I, s:b}", "entries", j, "sequence", (json_int_t)c->sequence++,
					"caught_up", 1));
	}
	json_decref(j);
}

void log_app(struct desk *d, const struct app *a, const char *event, const char *text)
{
	log_entry(d, event, a->gate.owner, a->gate.name, json_pack("{s:s*}", "text", text));
	watch_app(d, a, strcmp(event, "app-stopped") == 0);
}

void log_text(struct desk *d, const char *event, const char *text)
{
	log_entry(d, event, UINT32_MAX, NULL, json_pack("{s:s*}", "text", text));
}

static const char *verdict_text(uint8_t v)
{
	static const char *const texts[] = { "allow", "deny", "drop", "ask", "withheld" };
	return v < sizeof(texts) / sizeof(texts[0]) ? texts[v] : "deny";
}

json_t *rule_id_json(const struct desk *d, const uint8_t id[IPC_RULE_ID_LEN])
{
	static const uint8_t none[IPC_RULE_ID_LEN];
	char text[POLICY_ID_TEXT], buf[POLICY_ID_TEXT];
	if (memcmp(id, none, sizeof(none)) == 0)
		return json_null();
	return json_string(rule_short_id(d, policy_id_text(id, text), buf));
}

static const char *event_text(const struct ipc_event *e)
{
	switch ((enum ipc_event_kind)e->kind) {
	case EVENT_CONNECTION:
		return "connection";
	case EVENT_REFUSED:
		/* What policy says no to is a connection with that verdict; "refused" is what was not judged. */
		return e->verdict == VERDICT_DENY || e->verdict == VERDICT_DROP ? "connection" : "refused";
	case EVENT_NAME:
		return "name";
	case EVENT_SWITCH:
		return "switch";
	}
	return "switch";
}

void log_gate_event(struct desk *d, const struct ipc_event *e)
{
	char buf[8];
	struct app *a = app_by_ref(d, &e->ref);
	if (e->kind == EVENT_SWITCH) {
		log_text(d, "switch", e->text.s);
		return;
	}
	if (a != NULL && e->kind == EVENT_REFUSED && strcmp(e->text.s, IPC_OVERFLOW) == 0) {
		/* Counted one by one, told once a second: an app must not fill the history with its own noise. */
		a->overflow++;
		if (clock_boot_ms() < a->overflow_said_ms + OVERFLOW_SAY_MS)
			return;
		a->overflow_said_ms = clock_boot_ms();
	}
	uses_count(d, e->rule, 1);
	bool refused = e->kind != EVENT_CONNECTION;
	json_t *zero = refused ? json_integer(0) : json_null();
	json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:i, s:s, s:o, s:O, s:O, s:O, s:s*}", "verdict",
		verdict_text(e->verdict), "direction", e->inbound ? "in" : "out", "name", name_json(&e->name),
		"address", addr_json(&e->address), "port", e->port, "protocol", protocol_text(e->proto, buf), "rule_id",
		rule_id_json(d, e->rule), "bytes_out", zero, "bytes_in", zero, "duration_ms", zero, "text",
		e->text.len == 0 ? NULL : e->text.s);
	json_decref(zero);
	if (a != NULL && refused)
		refusals_log(d, a, event_text(e), j);
	else
		log_entry(d, event_text(e), a == NULL ? UINT32_MAX : a->gate.owner, a == NULL ? NULL : a->gate.name, j);
}

void log_grant_end(struct desk *d, const struct ipc_grant *g, const struct ipc_grant_end *e)
{
	char buf[8];
	const struct app *a = app_by_ref(d, &g->ref);
	int64_t lasted = clock_wall_ms() - g->since_wall_ms;
	json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:i, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:s*}", "verdict", "allow",
		"direction", g->inbound ? "in" : "out", "name", name_json(&g->name), "address", addr_json(&g->real),
		"port", g->port, "protocol", protocol_text(g->proto, buf), "rule_id", rule_id_json(d, g->rule),
		"bytes_out", (json_int_t)e->bytes_out, "bytes_in", (json_int_t)e->bytes_in, "duration_ms",
		(json_int_t)(lasted < 0 ? 0 : lasted), "connections", (json_int_t)e->connections, "grant",
		(json_int_t)g->grant, "text", e->reason.len == 0 ? NULL : e->reason.s);
	log_entry(d, "connection", a == NULL ? UINT32_MAX : a->gate.owner, a == NULL ? NULL : a->gate.name, j);
}

/* ".123" and further digits as milliseconds; *p moves behind them. */
static int64_t fraction_ms(const char **p)
{
	int64_t ms = 0, unit = 100;
	if (**p != '.')
		return 0;
	for (++*p; **p >= '0' && **p <= '9'; ++*p, unit /= 10)
		ms += (**p - '0') * unit;
	return ms;
}

/* RFC 3339 with Z or an offset; -1 otherwise. */
static int64_t time_parse(const char *text)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int sign, hours, minutes;
	char c;
	if (rest == NULL)
		return -1;
	int64_t ms = fraction_ms(&rest);
	if (strcmp(rest, "Z") == 0 || strcmp(rest, "z") == 0)
		return timegm(&tm) * 1000LL + ms;
	if (sscanf(rest, "%c%2d:%2d", &c, &hours, &minutes) != 3 || (c != '+' && c != '-'))
		return -1;
	sign = c == '-' ? -1 : 1;
	return (timegm(&tm) - sign * (hours * 3600 + minutes * 60)) * 1000LL + ms;
}

/* The history in replies of LOG_BATCH entries. */
static void give_history(struct desk *d, struct client *c, const struct store_event_filter *f, bool more)
{
	struct store_rows *q;
	struct store_event e;
	int err = store_events(d->store, f, &q);
	if (err != 0) {
		client_fail(d, c, "org.sekisho.Failed", "the history cannot be read: %s", strerror(-err));
		return;
	}
	json_t *entries = json_array();
	int64_t next = 0, oldest = 0;
	uint32_t n = 0;
	if (store_events_low(d->store, f, &next) != 0)
		next = 0;
	while (!c->dead && store_events_next(q, &e) == 1) {
		oldest = n++ == 0 ? e.seq : oldest;
		json_t *j = json_loads(e.json, 0, NULL);
		if (j != NULL)
			json_array_append_new(entries, j);
		if (more && json_array_size(entries) == LOG_BATCH) {
			client_stream(d, c,
				json_pack("{s:o, s:I, s:b}", "entries", entries, "sequence", (json_int_t)c->sequence++,
					"caught_up", 0));
			entries = json_array();
		}
	}
	store_rows_end(q);
	/* There was room for no more: older ones may follow. */
	next = n > 0 && n == f->limit ? oldest : next;
	json_t *last = json_pack("{s:o, s:I, s:b, s:o}", "entries", entries, "sequence", (json_int_t)c->sequence++,
		"caught_up", 1, "next", next > 0 ? json_integer(next) : json_null());
	if (c->wait == CLIENT_FOLLOWS)
		client_stream(d, c, last);
	else
		client_reply(d, c, last);
}

/* What to look for; absent: everything. False: an error was replied. */
static bool filter_args(struct desk *d, struct client *c, struct store_event_filter *f)
{
	const char *since = NULL;
	bool said;
	uint32_t owner;
	if (!arg_app(d, c, false, &f->app) || !arg_owner(d, c, &owner, &said) ||
		!arg_str(d, c, "since", false, &since) || !arg_str(d, c, "event", false, &f->event) ||
		!arg_str(d, c, "verdict", false, &f->verdict) || !arg_str(d, c, "peer", false, &f->peer) ||
		!arg_str(d, c, "rule", false, &f->rule) || !arg_int(d, c, "before", 1, INT64_MAX, &f->before))
		return false;
	f->owner = c->view_all && !said ? UINT32_MAX : owner;
	f->rule = rule_full_id(d, f->rule);
	f->since_ms = since == NULL ? 0 : time_parse(since);
	if (f->since_ms < 0)
		arg_bad(d, c, "since", "it is a time of RFC 3339, such as 2026-11-22T14:05:00Z");
	return f->since_ms >= 0;
}

static void follow_set(struct client *c, const struct store_event_filter *f)
{
	c->follow_owner = f->owner;
	snprintf(c->follow_app, sizeof(c->follow_app), "%s", f->app == NULL ? "" : f->app);
	snprintf(c->follow_event, sizeof(c->follow_event), "%s", f->event == NULL ? "" : f->event);
	snprintf(c->follow_verdict, sizeof(c->follow_verdict), "%s", f->verdict == NULL ? "" : f->verdict);
	snprintf(c->follow_peer, sizeof(c->follow_peer), "%s", f->peer == NULL ? "" : f->peer);
	snprintf(c->follow_rule, sizeof(c->follow_rule), "%s", f->rule == NULL ? "" : f->rule);
	c->wait = CLIENT_FOLLOWS;
}

void log_api(struct desk *d, struct client *c)
{
	bool follow = false;
	int64_t limit = LOG_LIMIT;
	struct store_event_filter f = { .app = NULL };
	if (!filter_args(d, c, &f) || !arg_bool(d, c, "follow", &follow) ||
		!arg_int(d, c, "limit", 0, LOG_LIMIT_MAX, &limit))
		return;
	bool more = c->call.more;
	if (follow && !more) {
		client_error(d, c, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	f.limit = (uint32_t)(!more && limit > LOG_LIMIT ? LOG_LIMIT : limit);
	c->sequence = 0;
	if (follow)
		follow_set(c, &f);
	give_history(d, c, &f, more);
}
