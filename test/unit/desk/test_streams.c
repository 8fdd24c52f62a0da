/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in parts and what changes in them: rules, applications, live connections; and cutting one's own. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { ALICE = 1001, BOB = 1002, CAROL = 1003 };

static void add_many(const char *owner, unsigned from, unsigned n)
{
	json_t *list = json_array();
	for (unsigned i = from; i < from + n; i++)
		json_array_append_new(list,
			json_sprintf("allow web to a-name-of-some-length-%u.example.org port 443/tcp note \"%0100u\"",
				i, i));
	json_decref(expect("org.sekisho.Rules.Add", json_pack("{s:o, s:s}", "rules", list, "owner", owner)));
}

/* The parameters of the next reply; *ret_more: another follows. */
static json_t *part(struct call *c, bool *ret_more)
{
	json_t *m = call_next(c), *p = json_incref(json_object_get(m, "parameters"));
	if (json_object_get(m, "error") != NULL)
		fail_msg("%s", json_dumps(m, 0));
	*ret_more = json_is_true(json_object_get(m, "continues"));
	json_decref(m);
	return p;
}

static bool flag(const json_t *p, const char *name)
{
	return json_is_true(json_object_get(p, name));
}

/* One change: event, sequence and its one thing. */
static void change(struct call *c, const char *event_name, const char *member, int sequence, const char *key,
	const char *value)
{
	bool more;
	json_t *p = part(c, &more);
	assert_true(more);
	assert_string_equal(str(p, "event"), event_name);
	assert_int_equal(json_integer_value(json_object_get(p, "sequence")), sequence);
	assert_int_equal(json_array_size(json_object_get(p, member)), 1);
	const json_t *item = json_array_get(json_object_get(p, member), 0);
	if (strcmp(str(item, key), value) != 0)
		fail_msg("%s: %s", value, json_dumps(p, 0));
	json_decref(p);
}

/* A list that is too long for one reply comes in parts, whole, in order, and then what changes. */
static void test_rules(void **state)
{
	(void)state;
	struct call c;
	bool more = true;
	size_t n = 0;
	start(NULL);
	for (unsigned i = 0; i < 4; i++)
		add_many("root", i * 1000, 1000);
	expect_error("org.sekisho.Rules.List", NULL, "org.sekisho.Limit");
	call_begin(&c, "org.sekisho.Rules.List", NULL, "more");
	for (int i = 0; more; i++) {
		json_t *p = part(&c, &more);
		assert_int_equal(flag(p, "first"), i == 0);
		assert_int_equal(flag(p, "caught_up"), !more);
		assert_int_equal(json_integer_value(json_object_get(p, "sequence")), i);
		n += json_array_size(json_object_get(p, "rules"));
		json_decref(p);
	}
	assert_int_equal(n, 4000);
	call_end(&c);
}

static void test_rules_follow(void **state)
{
	(void)state;
	struct call c;
	bool more;
	start("deny any to ads.example.com\n");
	w.as = ALICE;
	call_begin(&c, "org.sekisho.Rules.List", json_pack("{s:b}", "follow", 1), "more");
	json_t *p = part(&c, &more);
	assert_true(more && flag(p, "caught_up"));
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 1);
	json_decref(p);
	w.as = BOB;
	json_decref(add("allow web to bob.example.org"));
	w.as = ALICE;
	json_t *mine = add("allow web to a.example.org");
	change(&c, "changed", "rules", 1, "rule", "allow web to a.example.org");
	json_decref(expect("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(mine, "rule_id"))));
	change(&c, "gone", "rules", 2, "rule", "allow web to a.example.org");
	/* The files are read again: the list begins anew. */
	w.as = 0;
	unsigned before = w.n_policy_results;
	give_policy("deny any to ads.example.com\ndeny any to more.example.com\n");
	UNTIL(w.n_policy_results > before);
	p = part(&c, &more);
	assert_true(more && flag(p, "first") && flag(p, "caught_up"));
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 2);
	json_decref(p);
	json_decref(mine);
	call_end(&c);
	expect_error("org.sekisho.Rules.List", json_pack("{s:b}", "follow", 1), "org.varlink.service.ExpectedMore");
}

static void attach_for(const char *app, const char *user, const char *port)
{
	w.as = 0;
	json_decref(expect("org.sekisho.Apps.Attach",
		json_pack("{s:s, s:s, s:s}", "app", app, "port", port, "owner", user)));
}

static void test_apps_follow(void **state)
{
	(void)state;
	struct call c;
	bool more;
	start(NULL);
	w.as = ALICE;
	call_begin(&c, "org.sekisho.Apps.List", json_pack("{s:b}", "follow", 1), "more");
	json_decref(part(&c, &more));
	attach_for("db", "bob", "veth-db");
	attach_for("web", "alice", "veth-x");
	change(&c, "changed", "apps", 1, "app", "web");
	json_decref(expect("org.sekisho.Apps.Detach", json_pack("{s:s, s:s}", "app", "web", "owner", "alice")));
	change(&c, "gone", "apps", 2, "app", "web");
	call_end(&c);
}

static void grant(uint32_t number)
{
	struct ipc_grant g = { .grant = number,
		.ref = w.app.ref,
		.proto = 6,
		.port = 443,
		.since_wall_ms = clock_wall_ms() };
	assert_true(addr_parse("198.18.0.9", &g.peer) && addr_parse("198.51.100.7", &g.real));
	assert_true(name_from_text("www.example.org", 15, &g.name));
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_GRANT, 0, grant, &g, NULL, 0), 0);
}

/* Live connections come and go; who may not see one cannot cut it either, and learns nothing about it. */
static void test_connections(void **state)
{
	(void)state;
	struct call c;
	bool more;
	start(NULL);
	attach_for("web", "alice", "veth-x");
	w.as = ALICE;
	call_begin(&c, "org.sekisho.Connections.List", json_pack("{s:b}", "follow", 1), "more");
	json_decref(part(&c, &more));
	grant(77);
	change(&c, "changed", "connections", 1, "address", "198.51.100.7");
	json_t *p = expect("org.sekisho.Connections.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "connections")), 1);
	json_decref(p);
	w.as = BOB;
	p = expect("org.sekisho.Connections.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "connections")), 0);
	json_decref(p);
	expect_error("org.sekisho.Connections.Cut", json_pack("{s:[i]}", "grants", 77), "org.sekisho.NoSuchThing");
	expect_error("org.sekisho.Connections.Cut", json_pack("{s:[i]}", "grants", 78), "org.sekisho.NoSuchThing");
	expect_error("org.sekisho.Connections.Cut", json_pack("{s:[]}", "grants"),
		"org.varlink.service.InvalidParameter");
	assert_int_equal(w.cut, 0);
	w.as = ALICE;
	json_decref(expect("org.sekisho.Connections.Cut", json_pack("{s:[i]}", "grants", 77)));
	UNTIL(w.cut == 77);
	w.as = CAROL;
	json_decref(expect("org.sekisho.Connections.Cut", json_pack("{s:[i]}", "grants", 77)));
	struct ipc_grant_end e = { .grant = 77 };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_GRANT_END, 0, grant_end, &e, NULL, 0), 0);
	change(&c, "gone", "connections", 2, "name", "www.example.org");
	call_end(&c);
}

/* Of each rule what a table shows, and nothing that is null; what follows is whole. */
static void test_rules_brief(void **state)
{
	(void)state;
	start("deny any to ads.example.com\n");
	json_decref(add("allow web to a.example.org for 1h"));
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "brief", 1)), *r;
	size_t i;
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 2);
	json_array_foreach(json_object_get(p, "rules"), i, r)
	{
		bool answer = strcmp(str(r, "origin"), "answer") == 0;
		assert_int_equal(json_object_size(r), answer ? 5 : 3);
		assert_true(json_is_string(json_object_get(r, "deadline")) == answer);
		assert_true(strlen(str(r, "rule_id")) >= 4 && strstr(str(r, "rule"), " to ") != NULL);
	}
	json_decref(p);
}

static void refuse(uint16_t port)
{
	struct ipc_event e = { .ref = w.app.ref,
		.kind = EVENT_REFUSED,
		.verdict = VERDICT_DENY,
		.proto = 6,
		.port = port };
	assert_true(name_from_text("www.example.org", 15, &e.name));
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_EVENT, 0, event, &e, NULL, 0), 0);
	/* What the channel holds is taken. */
	if (port % 50 == 0)
		json_decref(expect("org.sekisho.Ping", NULL));
}

/* An app that tries the same again and again, and every port once: its refusals take a few rows, which make the sum. */
static void test_refusals(void **state)
{
	(void)state;
	enum { SAME = 3000, PORTS = 3000 };
	bool more = true;
	struct call c;
	json_int_t same = 0, ports = 0;
	size_t n_same = 0, n_ports = 0, i;
	start("deny web\n");
	attach("web");
	for (unsigned n = 0; n < SAME; n++)
		refuse(50);
	for (uint16_t n = 1; n <= PORTS; n++)
		refuse((uint16_t)(1000 + n));
	json_decref(expect("org.sekisho.Apps.Detach", json_pack("{s:s}", "app", "web")));
	call_begin(&c, "org.sekisho.Connections.Log", json_pack("{s:i, s:s}", "limit", 2500, "app", "web"), "more");
	while (more) {
		json_t *p = part(&c, &more), *e;
		json_array_foreach(json_object_get(p, "entries"), i, e)
		{
			json_int_t times = 1 + json_integer_value(json_object_get(e, "repeated"));
			bool of_same = json_integer_value(json_object_get(e, "port")) == 50;
			if (strcmp(str(e, "verdict"), "deny") != 0)
				continue;
			same += of_same ? times : 0;
			ports += of_same ? 0 : times;
			n_same += of_same;
			n_ports += !of_same;
		}
		json_decref(p);
	}
	call_end(&c);
	assert_int_equal(same, SAME);
	assert_int_equal(ports, PORTS);
	assert_in_range(n_same, 10, 20);
	assert_in_range(n_ports, 512, 540);
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_rules), DESK_TEST(test_rules_follow),
		DESK_TEST(test_apps_follow), DESK_TEST(test_connections), DESK_TEST(test_rules_brief),
		DESK_TEST(test_refusals) };
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0 || !private_users())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
