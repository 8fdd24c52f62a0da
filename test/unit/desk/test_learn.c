/* SPDX-License-Identifier: Apache-2.0 */
/* Learning lets through what would be asked because no rule speaks of it, and nothing else, and not a moment longer
 * than somebody watches; a rehearsal lets nothing through. */
#include "world.h"

#include "base/clock.h"
#include "desk/desk.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LONG_MS = 60000, ALICE = 1001, BOB = 1002 };

static void learn(struct call *c, const char *app, int seconds)
{
	call_begin(c, "org.sekisho.Rules.Learn", json_pack("{s:s, s:i}", "app", app, "seconds", seconds), "more");
	json_decref(event(c, "began"));
}

static void wanted(struct call *c, const char *rule)
{
	json_t *p = event(c, "wanted");
	assert_string_equal(str(p, "rule"), rule);
	json_decref(p);
}

/* The gate is given a policy that lets `number` pass, and says so before it says that the policy is in force. */
static void settle(uint32_t number, uint64_t before)
{
	struct ipc_u32 n = { .v = number };
	UNTIL(w.generation > before);
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION_END, 0, u32, &n, NULL, 0), 0);
	assert_int_equal(ipc_send_result(w.chan[ROLE_GATE], w.held_id, 0, 0, NULL), 0);
}

/* What the gate would do with the newest policy. */
static void verdict_is(const char *name, enum policy_answer answer)
{
	json_decref(expect("org.sekisho.Ping", NULL));
	if (judge(name) != answer)
		fail_msg("%s: %s, not %s", name, policy_answer_text(judge(name)), policy_answer_text(answer));
}

static void until_verdict(const char *name, enum policy_answer answer)
{
	while (judge(name) != answer)
		play(-1);
}

static void ask_address(uint32_t number, const char *address, const char *name, bool withheld)
{
	struct ipc_question q = { .number = number,
		.ref = w.app.ref,
		.proto = 6,
		.port = 443,
		.withheld = withheld,
		.held_wall_ms = clock_wall_ms(),
		.gives_up_wall_ms = clock_wall_ms() + LONG_MS };
	assert_true(addr_parse(address, &q.address));
	if (name != NULL)
		assert_true(name_from_text(name, strlen(name), &q.name));
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION, 0, question, &q, NULL, 0), 0);
}

static void question_about(struct call *agent, const char *key, const char *value)
{
	json_t *p = event(agent, "question"), *q = json_object_get(p, "question");
	assert_string_equal(str(q, key), value);
	json_decref(p);
}

/* Names and addresses of the internet are let through by a rule each; what a rule refuses or asks about, the local
 * network and rebinding names are not. */
static void test_what(void **state)
{
	(void)state;
	struct call c, agent;
	start("deny any to bad.example.com\nask web to special.example.org\n");
	attach("web");
	call_begin(&agent, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(&agent, "snapshot"));
	learn(&c, "web", 60);
	w.hold_policy = true;
	uint64_t before = w.generation;
	ask_gate(1, "www.example.org", LONG_MS);
	settle(1, before);
	wanted(&c, "allow web to www.example.org port 443/tcp");
	verdict_is("www.example.org", POLICY_SAYS_ALLOW);
	before = w.generation;
	ask_address(2, "198.51.100.7", NULL, false);
	settle(2, before);
	wanted(&c, "allow web to 198.51.100.7 port 443/tcp");
	w.hold_policy = false;
	ask_gate(3, "special.example.org", LONG_MS);
	question_about(&agent, "name", "special.example.org");
	ask_address(4, "10.1.2.3", NULL, false);
	question_about(&agent, "address", "10.1.2.3");
	ask_address(5, "10.1.2.4", "rebind.example.net", true);
	question_about(&agent, "name", "rebind.example.net");
	verdict_is("bad.example.com", POLICY_SAYS_DENY);
	verdict_is("other.example.org", POLICY_SAYS_ASK);
	/* Rules of a learning are seen as what they are. */
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:s}", "app", "web"));
	unsigned n = 0;
	json_t *r;
	size_t i;
	json_array_foreach(json_object_get(p, "rules"), i, r)
	{
		if (strstr(str(r, "rule"), "note \"learning\"") == NULL)
			continue;
		n++;
		expect_error("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(r, "rule_id")),
			"org.sekisho.Failed");
	}
	assert_int_equal(n, 2);
	json_decref(p);
	call_end(&c);
	until_verdict("www.example.org", POLICY_SAYS_ASK);
	call_end(&agent);
}

/* It ends with its time, with its client, with the desk. */
static void test_ends(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	attach("web");
	learn(&c, "web", 1);
	ask_gate(1, "www.example.org", LONG_MS);
	wanted(&c, "allow web to www.example.org port 443/tcp");
	json_t *m = call_next(&c);
	assert_string_equal(str(json_object_get(m, "parameters"), "event"), "ended");
	assert_null(json_object_get(m, "continues"));
	json_decref(m);
	call_end(&c);
	until_verdict("www.example.org", POLICY_SAYS_ASK);
	learn(&c, "web", 60);
	ask_gate(2, "a.example.org", LONG_MS);
	wanted(&c, "allow web to a.example.org port 443/tcp");
	until_verdict("a.example.org", POLICY_SAYS_ALLOW);
	end_desk(SIGKILL);
	call_end(&c);
	start(NULL);
	verdict_is("a.example.org", POLICY_SAYS_ASK);
}

/* Whose: one's own application, never another's of the same name; so many, so much. */
static void test_whose(void **state)
{
	(void)state;
	struct call c[DESK_LEARNINGS_PER_UID], agent;
	start(NULL);
	json_decref(expect("org.sekisho.Apps.Attach",
		json_pack("{s:s, s:s, s:s}", "app", "web", "port", "veth-x", "owner", "alice")));
	w.as = BOB;
	expect_error("org.sekisho.Rules.Learn",
		json_pack("{s:s, s:i, s:s}", "app", "web", "seconds", 5, "owner", "alice"), "org.sekisho.NotPermitted");
	for (unsigned i = 0; i < DESK_LEARNINGS_PER_UID; i++) {
		static const char *const names[] = { "web", "a", "b", "c" };
		learn(&c[i], names[i], 60);
	}
	struct call one_more;
	call_begin(&one_more, "org.sekisho.Rules.Learn", json_pack("{s:s, s:i}", "app", "d", "seconds", 5), "more");
	json_t *m = call_next(&one_more);
	assert_string_equal(str(m, "error"), "org.sekisho.Limit");
	json_decref(m);
	call_end(&one_more);
	w.as = ALICE;
	call_begin(&agent, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(&agent, "snapshot"));
	ask_gate(1, "www.example.org", LONG_MS);
	question_about(&agent, "name", "www.example.org");
	call_end(&agent);
	for (unsigned i = 0; i < DESK_LEARNINGS_PER_UID; i++)
		call_end(&c[i]);
}

static void ask_many(uint32_t from, uint32_t n)
{
	char name[32];
	for (uint32_t i = from; i < from + n; i++) {
		snprintf(name, sizeof(name), "www.site%u.org", i);
		ask_gate(i, name, LONG_MS);
	}
}

/* One learning makes so many rules; what comes after is asked. */
static void test_limit(void **state)
{
	(void)state;
	struct call c, agent;
	start(NULL);
	attach("web");
	learn(&c, "web", 600);
	for (uint32_t n = 1; n <= DESK_LEARNED_MAX; n += 50) {
		ask_many(n, 50);
		for (uint32_t i = n; i < n + 50; i++) {
			struct ipc_u32 number = { .v = i };
			json_decref(event(&c, "wanted"));
			assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION_END, 0, u32, &number, NULL, 0), 0);
		}
	}
	call_begin(&agent, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(&agent, "snapshot"));
	ask_gate(5000, "one.more.org", LONG_MS);
	question_about(&agent, "name", "one.more.org");
	call_end(&agent);
	call_end(&c);
}

/* Whatever the rules say, to the gate every name of a rehearsed application is unknown; after its end, and for others
 * of that name, they speak again. A desk that is killed in between does not forget it. */
static void test_rehearsal(void **state)
{
	(void)state;
	static const char rules[] = "final allow any to www.example.org port 443/tcp\n";
	start(rules);
	verdict_is("www.example.org", POLICY_SAYS_ALLOW);
	json_decref(expect("org.sekisho.Apps.Attach",
		json_pack("{s:s, s:s, s:s}", "app", "web", "port", "veth-x", "ask", "rehearse")));
	assert_int_equal(w.app.ask, ASK_REHEARSE);
	verdict_is("www.example.org", POLICY_SAYS_ASK);
	end_desk(SIGKILL);
	start(rules);
	verdict_is("www.example.org", POLICY_SAYS_ASK);
	assert_int_equal(w.app.ask, ASK_REHEARSE);
	json_decref(expect("org.sekisho.Apps.Detach", json_pack("{s:s}", "app", "web")));
	verdict_is("www.example.org", POLICY_SAYS_ALLOW);
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_what), DESK_TEST(test_ends), DESK_TEST(test_whose),
		DESK_TEST(test_limit), DESK_TEST(test_rehearsal) };
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0 || !private_users())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
