/* SPDX-License-Identifier: Apache-2.0 */
/* Rules.Why: the verdict on a connection that need not be, and every rule that matched. */
#include "base/clock.h"
#include "desk/desk.h"
#include "desk/lists.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MATCHED_MAX = 64 };

static int proto_number(const char *text)
{
	static const struct {
		const char *name;
		int number;
	} names[] = { { "tcp", POLICY_PROTO_TCP }, { "udp", POLICY_PROTO_UDP }, { "sctp", POLICY_PROTO_SCTP },
		{ "icmp", POLICY_ICMP4 } };
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0)
			return names[i].number;
	}
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	return *text == '\0' || *end != '\0' || n > 255 ? -1 : (int)n;
}

static int64_t local_to_utc(const struct desk *d, int64_t local_ms)
{
	int64_t utc = local_ms;
	for (size_t i = 0; i < d->host.n_tz; i++) {
		int64_t t = local_ms - d->host.tz[i].offset_s * 1000LL;
		if (t >= d->host.tz[i].from_ms)
			utc = t;
	}
	return utc;
}

static bool why_time(const struct desk *d, const char *at, int64_t *ret)
{
	struct tm tm = { 0 };
	const char *rest;
	if ((rest = strptime(at, "%Y-%m-%d %H:%M", &tm)) != NULL && *rest == '\0') {
		*ret = local_to_utc(d, timegm(&tm) * 1000LL);
		return true;
	}
	memset(&tm, 0, sizeof(tm));
	rest = strptime(at, "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest != NULL && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (rest == NULL || strcmp(rest, "Z") != 0)
		return false;
	*ret = timegm(&tm) * 1000LL;
	return true;
}

struct why {
	struct policy_request q, in; /* in: the other application's side; its app is NULL where there is none */
	struct name name;
	struct addr addr, own;
	uint32_t owner;
};

/* An application's address, or one that a machine of ours could have. */
static struct addr guest_address(struct desk *d, const struct app *a)
{
	return a != NULL ? a->gate.v4 : plan_v4(&d->role->conf.plan, PLAN_SLOTS - 1, 2);
}

/* What goes out to another application is judged there, too, as gate/peer.c does. */
static void why_inbound(struct desk *d, struct why *w)
{
	if (w->q.peer_app == NULL || w->q.dir == POLICY_IN)
		return;
	w->own = guest_address(d, app_by_name(d, w->owner, w->q.app));
	w->in = w->q;
	w->in.dir = POLICY_IN;
	w->in.app = w->q.peer_app;
	w->in.owner = w->q.peer_owner;
	w->in.name = NULL;
	w->in.addr = &w->own;
	w->in.peer_app = w->q.app;
	w->in.peer_owner = w->owner;
}

static bool why_peer(struct desk *d, struct client *c, struct why *w)
{
	const char *name = NULL, *address = NULL, *peer = NULL;
	if (!arg_str(d, c, "name", false, &name) || !arg_str(d, c, "address", false, &address) ||
		!arg_str(d, c, "peer_app", false, &peer))
		return false;
	if (name == NULL && address == NULL && peer == NULL)
		return arg_bad(d, c, "name", "a name, an address or a peer_app is needed");
	if (name != NULL && !name_from_text(name, strlen(name), &w->name))
		return arg_bad(d, c, "name", "\"%.100s\" is no host name", name);
	if (address != NULL && !addr_parse(address, &w->addr))
		return arg_bad(d, c, "address", "\"%.64s\" is no address", address);
	w->q.name = name != NULL ? &w->name : NULL;
	w->q.addr = address != NULL ? &w->addr : NULL;
	if (peer == NULL)
		return true;
	const struct app *a = app_by_name(d, w->owner, peer);
	for (unsigned i = 1; a == NULL && i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].gate.name, peer) == 0)
			a = &d->apps[i];
	}
	w->q.peer_app = peer;
	w->q.peer_owner = a != NULL ? a->gate.owner : w->owner;
	/* The peer's address decides the class: a machine of ours. */
	if (w->q.addr == NULL) {
		w->addr = guest_address(d, a);
		w->q.addr = &w->addr;
	}
	return true;
}

static bool why_request(struct desk *d, struct client *c, struct why *w)
{
	const char *app = NULL, *protocol = "tcp", *at = NULL;
	int64_t port = 443;
	bool from = false, said;
	if (!arg_app(d, c, true, &app) || !arg_owner(d, c, &w->owner, &said) ||
		!arg_int(d, c, "port", 0, UINT16_MAX, &port) || !arg_str(d, c, "protocol", false, &protocol) ||
		!arg_bool(d, c, "from", &from) || !arg_str(d, c, "at", false, &at))
		return false;
	const struct app *a = app_by_name(d, w->owner, app);
	for (unsigned i = 1; a == NULL && c->view_all && !said && i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].gate.name, app) == 0)
			a = &d->apps[i];
	}
	w->owner = a != NULL ? a->gate.owner : w->owner;
	int proto = proto_number(protocol);
	w->q = (struct policy_request){ .owner = w->owner,
		.app = app,
		.dir = from ? POLICY_IN : POLICY_OUT,
		.proto = (uint8_t)proto,
		.port = (uint16_t)port,
		.now_ms = clock_wall_ms() };
	if (proto < 0)
		return arg_bad(d, c, "protocol", "it is tcp, udp, icmp, sctp or a number to 255");
	if (at != NULL && !why_time(d, at, &w->q.now_ms))
		return arg_bad(d, c, "at", "it is YYYY-MM-DD HH:MM or RFC 3339 with Z");
	if (!why_peer(d, c, w))
		return false;
	if (from && w->q.name != NULL)
		return arg_bad(d, c, "name", "what comes in has no name");
	if (proto == POLICY_ICMP4 && w->q.addr != NULL && w->q.addr->len == 16)
		w->q.proto = POLICY_ICMP6;
	why_inbound(d, w);
	return true;
}

static json_t *rank_json(const uint32_t rank[POLICY_RANKS])
{
	json_t *j = json_array();
	for (unsigned i = 0; i < POLICY_RANKS; i++)
		json_array_append_new(j, json_integer(rank[i]));
	return j;
}

static json_t *id_json(const struct desk *d, size_t rule)
{
	char id[POLICY_ID_TEXT];
	return rule >= d->input.n_rules ? json_null() : json_string(rule_short_id(d, d->by_index[rule]->id, id));
}

/* What of its list speaks of the connection, for a rule `to list:ID`. */
static json_t *entry_json(const struct desk *d, const char *rule, const struct policy_request *q)
{
	char id[POLICY_TOKEN_MAX + 1], entry[NAME_TEXT_MAX + 3];
	const char *at = strstr(rule, " list:"), *quote = strchr(rule, '"');
	if (at == NULL || (quote != NULL && quote < at))
		return json_null();
	at += strlen(" list:");
	snprintf(id, sizeof(id), "%.*s", (int)strcspn(at, " "), at);
	return lists_entry(d, id, q->name, q->addr, entry, sizeof(entry)) ? json_string(entry) : json_null();
}

static json_t *matched_json(struct desk *d, const struct policy_match *m, const struct policy_request *q)
{
	const char *rule = policy_rule_text(d->policy, m->rule);
	const struct policy_fact *meta = policy_rule_meta(d->policy, m->rule);
	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o}", "rule", rule, "rule_id", id_json(d, m->rule), "origin",
		policy_origin_text((enum policy_origin)meta->origin), "owner",
		meta->owner == POLICY_OWNER_ANY ? json_null() : owner_json(d, meta->owner), "rank", rank_json(m->rank),
		"entry", entry_json(d, rule, q));
}

/* One side's verdict; NULL: the reason is in *ret_err. */
static json_t *side_json(struct desk *d, const struct policy_request *q, struct policy_verdict *v, long *ret_err)
{
	struct policy_match matches[MATCHED_MAX];
	long n = d->policy == NULL ? -EAGAIN : policy_explain(d->policy, q, matches, MATCHED_MAX);
	*ret_err = n;
	if (n < 0)
		return NULL;
	policy_decide(d->policy, q, v);
	json_t *matched = json_array();
	for (long i = 0; i < n && i < MATCHED_MAX; i++)
		json_array_append_new(matched, matched_json(d, &matches[i], q));
	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:s, s:o}", "app", q->app, "owner", owner_json(d, q->owner),
		"verdict", policy_answer_text(v->answer), "rule",
		v->rule == POLICY_NO_RULE ? json_null() : json_string(policy_rule_text(d->policy, v->rule)), "rule_id",
		id_json(d, v->rule), "origin", policy_origin_text(v->origin), "matched", matched);
}

/* Whether it comes in there may be known; by which of somebody else's rules may not. */
static void other_hidden(json_t *other)
{
	json_object_set_new(other, "rule", json_null());
	json_object_set_new(other, "rule_id", json_null());
	json_object_set_new(other, "matched", json_array());
}

/* What the other application does not let in is refused by its side: that verdict and rule are the connection's. */
static void other_decides(json_t *reply, const json_t *other)
{
	static const char *const members[] = { "verdict", "rule", "rule_id", "origin" };
	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_set(reply, members[i], json_object_get(other, members[i]));
}

void rules_api_why(struct desk *d, struct client *c)
{
	struct why w = { 0 };
	struct policy_verdict v, in;
	long err;
	if (!why_request(d, c, &w))
		return;
	json_t *reply = side_json(d, &w.q, &v, &err);
	json_t *other = reply == NULL || w.in.app == NULL ? NULL : side_json(d, &w.in, &in, &err);
	if (err < 0) {
		json_decref(reply);
		client_fail(d, c, "org.sekisho.Failed", "the policy cannot be asked just now: %s", strerror((int)-err));
		return;
	}
	if (other != NULL && w.in.owner != c->uid && !c->view_all)
		other_hidden(other);
	if (other != NULL && v.answer == POLICY_SAYS_ALLOW && in.answer != POLICY_SAYS_ALLOW)
		other_decides(reply, other);
	json_object_set_new(reply, "receiver", other == NULL ? json_null() : other);
	client_reply(d, c, reply);
}
