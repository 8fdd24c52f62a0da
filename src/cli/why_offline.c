/* SPDX-License-Identifier: Apache-2.0 */
/* `why --policy`: the evaluator on files alone, without a daemon, so that a policy can be tested where it is written.
 */
#include "cli/cli.h"
#include "cli/file.h"

#include "base/clock.h"
#include "policy/id.h"
#include "policy/policy.h"
#include "policy/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MATCHES_MAX = 1000 };

static bool time_parse(const char *at, int64_t *ret_ms)
{
	struct tm tm = { .tm_isdst = -1 };
	if (at == NULL) {
		*ret_ms = clock_wall_ms();
		return true;
	}
	const char *end = strptime(at, "%Y-%m-%d %H:%M", &tm);
	if (end == NULL)
		end = strptime(at, "%Y-%m-%dT%H:%M", &tm);
	time_t t = mktime(&tm);
	if (end == NULL || *end != '\0' || t == (time_t)-1)
		return false;
	*ret_ms = (int64_t)t * 1000;
	return true;
}

static int protocol_number(const char *text, const struct addr *a)
{
	static const struct {
		const char *name;
		int number;
	} known[] = { { "tcp", POLICY_PROTO_TCP }, { "udp", POLICY_PROTO_UDP }, { "sctp", POLICY_PROTO_SCTP } };
	char *end;
	if (text[0] == '\0')
		return POLICY_PROTO_TCP;
	if (strcmp(text, "icmp") == 0)
		return a->len == 16 ? POLICY_ICMP6 : POLICY_ICMP4;
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].name, text) == 0)
			return known[i].number;
	}
	long v = strtol(text, &end, 10);
	return end == text || *end != '\0' || v < 0 || v > 255 ? -1 : (int)v;
}

/* What a request borrows. */
struct asked {
	struct name name;
	struct addr addr;
	struct cli_peer peer;
	struct policy_request q;
};

static int asked_init(struct asked *a, const char *app, const char *peer, bool inbound, const char *at)
{
	*a = (struct asked){ 0 };
	a->q = (struct policy_request){ .owner = getuid(), .app = app, .dir = inbound ? POLICY_IN : POLICY_OUT };
	if (!cli_peer_parse(peer, &a->peer))
		return cli_usage("why", "\"%s\" is not PEER[:PORT[/PROTO]] (IPv6 with a port stands in brackets)",
			peer);
	if (!time_parse(at, &a->q.now_ms))
		return cli_usage("why", "--at takes \"YYYY-MM-DD HH:MM\"");
	if (a->peer.address[0] != '\0') {
		(void)addr_parse(a->peer.address, &a->addr);
		a->q.addr = &a->addr;
	}
	if (a->peer.name[0] != '\0') {
		if (!name_from_text(a->peer.name, strlen(a->peer.name), &a->name))
			return cli_usage("why", "\"%s\" is not a host name", a->peer.name);
		a->q.name = &a->name;
	}
	if (a->peer.app[0] != '\0') {
		a->q.peer_app = a->peer.app;
		a->q.peer_owner = a->q.owner;
	}
	int proto = protocol_number(a->peer.protocol, &a->addr);
	if (proto < 0)
		return cli_usage("why", "\"%s\" is not a protocol (tcp, udp, icmp, sctp or a number)",
			a->peer.protocol);
	a->q.proto = (uint8_t)proto;
	a->q.port = (uint16_t)(a->peer.port >= 0       ? a->peer.port
			       : proto == POLICY_ICMP4 ? 8
			       : proto == POLICY_ICMP6 ? 128
						       : 443);
	return EXIT_DONE;
}

int why_valid(const char *app, const char *peer, bool inbound, const char *at)
{
	struct asked a;
	return asked_init(&a, app, peer, inbound, at);
}

static json_t *rule_object(const struct policy *p, size_t rule)
{
	char id[POLICY_ID_TEXT];
	const struct policy_fact *m = policy_rule_meta(p, rule);
	return json_pack("{s:s, s:s, s:s}", "rule", policy_rule_text(p, rule), "rule_id",
		policy_rule_short_id(p, rule, id), "origin", policy_origin_text((enum policy_origin)m->origin));
}

static json_t *verdict_object(const struct policy *p, const struct policy_request *q)
{
	static struct policy_match match[MATCHES_MAX];
	struct policy_verdict v;
	policy_decide(p, q, &v);
	long n = policy_explain(p, q, match, MATCHES_MAX);
	json_t *matched = json_array();
	for (long i = 0; i < n && i < MATCHES_MAX; i++) {
		json_t *m = rule_object(p, match[i].rule), *rank = json_array();
		for (unsigned k = 0; k < POLICY_RANKS; k++)
			json_array_append_new(rank, json_integer(match[i].rank[k]));
		json_object_set_new(m, "rank", rank);
		json_array_append_new(matched, m);
	}
	json_t *o = json_pack("{s:s}", "verdict", policy_answer_text(v.answer));
	if (v.rule != POLICY_NO_RULE) {
		json_t *r = rule_object(p, v.rule);
		json_object_update(o, r);
		json_decref(r);
	} else {
		json_object_set_new(o, "rule", json_null());
		json_object_set_new(o, "rule_id", json_null());
		json_object_set_new(o, "origin", json_string(policy_origin_text(v.origin)));
	}
	json_object_set_new(o, "matched", matched);
	return o;
}

/* Another application's rules are asked, too, as the daemon would: both of one owner here. */
static json_t *both_sides(const struct policy *p, const struct policy_request *q)
{
	static const char *const members[] = { "verdict", "rule", "rule_id", "origin" };
	struct policy_request in = *q;
	json_t *o = verdict_object(p, q);
	if (q->peer_app == NULL || q->dir == POLICY_IN)
		return o;
	in.dir = POLICY_IN;
	in.app = q->peer_app;
	in.peer_app = q->app;
	json_t *other = verdict_object(p, &in);
	json_object_set_new(other, "app", json_string(in.app));
	json_object_set_new(other, "owner", json_null());
	if (strcmp(json_string_value(json_object_get(o, "verdict")), "allow") == 0 &&
		strcmp(json_string_value(json_object_get(other, "verdict")), "allow") != 0)
		for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			json_object_set(o, members[i], json_object_get(other, members[i]));
	json_object_set_new(o, "receiver", other);
	return o;
}

int why_offline(struct cli *c, const char *const *files, size_t n_files, const char *at, bool inbound, const char *app,
	const char *peer)
{
	struct asked a;
	struct policy_files pf;
	struct policy *p;
	struct policy_error error;
	int code = asked_init(&a, app, peer, inbound, at);
	if (code != EXIT_DONE)
		return code;
	if (!files_read(files, n_files, c->json, &pf))
		return EXIT_USAGE;
	if (policy_compile(&pf.in, &p, &error) != 0) {
		cli_error("%s", error.message);
		files_free(&pf);
		return EXIT_USAGE;
	}
	json_t *o = both_sides(p, &a.q);
	why_print(c, o);
	json_decref(o);
	policy_free(p);
	files_free(&pf);
	return EXIT_DONE;
}
