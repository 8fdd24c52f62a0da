/* SPDX-License-Identifier: Apache-2.0 */
/* Undo is the inverse of every change: of random sequences, of replaced rules, of counts, of what others changed since.
 */
#include "world.h"

#include "policy/id.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NAMES = 6, DEPTH = 24, ROUNDS = 12 };

static unsigned seed;

static unsigned pick(unsigned n)
{
	seed = seed * 1103515245U + 12345U;
	return (seed >> 16) % n;
}

static void verdicts(enum policy_answer v[NAMES + 1])
{
	char name[64];
	for (unsigned i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%u.example.org", i);
		v[i] = judge(name);
	}
	v[NAMES] = judge("other.example.net");
}

static void random_rule(char *line, size_t cap)
{
	static const char *const verbs[] = { "allow", "deny", "drop", "ask" };
	static const char *const lives[] = { "", "", " for 1h", " 5 times", " for 2h" };
	const char *verb = verbs[pick(4)], *life = lives[pick(5)];
	unsigned n = pick(NAMES + 2);
	if (n < NAMES)
		snprintf(line, cap, "%s web to n%u.example.org%s", verb, n, life);
	else
		snprintf(line, cap, "%s web to %s%s", verb, n == NAMES ? "*.example.org" : "internet", life);
}

/* Removes one to three of what runs; false: nothing runs. */
static bool remove_some(void)
{
	json_t *p = expect("org.sekisho.Rules.List", NULL), *ids = json_array(), *rules = json_object_get(p, "rules");
	size_t n = json_array_size(rules), want = 1 + pick(3);
	for (size_t i = 0, at = pick((unsigned)n); i < want && i < n; i++) {
		const json_t *r = json_array_get(rules, (at + i) % n);
		if (strcmp(str(r, "origin"), "answer") == 0)
			json_array_append(ids, json_object_get(r, "rule_id"));
	}
	json_decref(p);
	n = json_array_size(ids);
	if (n > 0)
		json_decref(expect("org.sekisho.Rules.Remove", json_pack("{s:O}", "ids", ids)));
	json_decref(ids);
	return n > 0;
}

static void change(void)
{
	char a[128], b[128];
	if (pick(3) == 0 && remove_some())
		return;
	random_rule(a, sizeof(a));
	random_rule(b, sizeof(b));
	if (pick(2) == 0 || strcmp(strstr(a, "to"), strstr(b, "to")) == 0) {
		json_decref(add(a));
		return;
	}
	/* Two at once; those that are the same rule are refused, and that is no change. */
	json_t *p = json_pack("{s:[s]}", "rules", a);
	if (strncmp(strstr(a, "to"), strstr(b, "to"), 12) != 0)
		json_array_append_new(json_object_get(p, "rules"), json_string(b));
	json_decref(expect("org.sekisho.Rules.Add", p));
}

static void undo(unsigned n)
{
	json_t *p = expect("org.sekisho.Rules.Undo", json_pack("{s:i}", "count", (int)n));
	assert_int_equal(json_array_size(json_object_get(p, "undone")), n);
	json_decref(p);
}

static void test_random(void **state)
{
	(void)state;
	static enum policy_answer before[DEPTH + 1][NAMES + 1];
	const char *given = getenv("SEED");
	seed = given != NULL ? (unsigned)atoi(given) : (unsigned)getpid();
	print_message("SEED=%u\n", seed);
	start("ask web to n5.example.org port 22\n");
	unsigned depth = 0;
	verdicts(before[0]);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned up = 1 + pick(8), down;
		for (; up > 0 && depth < DEPTH; up--) {
			change();
			verdicts(before[++depth]);
		}
		if (pick(4) == 0) {
			end_desk(SIGKILL);
			start("ask web to n5.example.org port 22\n");
		}
		down = 1 + pick(depth);
		/* Looking changes nothing. */
		json_decref(expect("org.sekisho.Rules.Undo", json_pack("{s:i, s:b}", "count", (int)down, "dry", 1)));
		enum policy_answer now[NAMES + 1];
		verdicts(now);
		assert_memory_equal(now, before[depth], sizeof(now));
		undo(down);
		depth -= down;
		verdicts(now);
		assert_memory_equal(now, before[depth], sizeof(now));
	}
	if (depth > 0)
		undo(depth);
	expect_error("org.sekisho.Rules.Undo", json_object(), "org.sekisho.NoSuchThing");
	json_t *p = expect("org.sekisho.Rules.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 1);
	json_decref(p);
}

static void charge_once(uint32_t id)
{
	struct ipc_charge charge = { .ref = w.app.ref };
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		if (policy_rule_meta(w.policy, i)->times_left != 0)
			memcpy(charge.rule, policy_rule_meta(w.policy, i)->id, sizeof(charge.rule));
	}
	unsigned before = w.n_charged;
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, id, charge, &charge, NULL, 0), 0);
	UNTIL(w.n_charged == before + 1);
	assert_int_equal(w.charged.err, 0);
}

/* What comes back has what was left of it: undo is no way to a second count. */
static void test_counts(void **state)
{
	(void)state;
	start(NULL);
	attach("web");
	json_decref(add("allow web to n.example.org 3 times"));
	charge_once(5);
	json_decref(add("allow web to n.example.org 9 times"));
	json_decref(expect("org.sekisho.Rules.Undo", json_object()));
	json_t *p = expect("org.sekisho.Rules.List", NULL), *r = json_array_get(json_object_get(p, "rules"), 0);
	assert_int_equal(json_integer_value(json_object_get(r, "times_left")), 2);
	json_decref(p);
	charge_once(6);
	charge_once(7);
	UNTIL(judge("n.example.org") == POLICY_SAYS_ASK);
	/* Used up is used up: the change is undone, and nothing is left to take away. */
	p = expect("org.sekisho.Rules.Undo", json_object());
	json_t *u = json_array_get(json_object_get(p, "undone"), 0);
	assert_int_equal(json_array_size(json_object_get(u, "notes")), 1);
	assert_int_equal(json_array_size(json_object_get(u, "removed")), 0);
	json_decref(p);
	assert_int_equal(judge("n.example.org"), POLICY_SAYS_ASK);
}

/* Somebody changed it since: all or nothing, and the caller's own changes only. */
static void test_changed_meanwhile(void **state)
{
	(void)state;
	start(NULL);
	w.as = 1001;
	json_decref(add("allow web to a.example.org"));
	json_decref(add("allow web to b.example.org"));
	w.as = 0;
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "all", 1));
	json_t *id = json_object_get(json_array_get(json_object_get(p, "rules"), 0), "rule_id");
	json_decref(expect("org.sekisho.Rules.Remove", json_pack("{s:[O]}", "ids", id)));
	json_decref(p);
	w.as = 1001;
	expect_error("org.sekisho.Rules.Undo", json_pack("{s:i}", "count", 2), "org.sekisho.Changed");
	expect_error("org.sekisho.Rules.Undo", json_pack("{s:b}", "all", 1), "org.sekisho.NotPermitted");
	p = expect("org.sekisho.Rules.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 1);
	json_decref(p);
	undo(1);
	expect_error("org.sekisho.Rules.Undo", json_object(), "org.sekisho.Changed");
	w.as = 0;
	undo(1); /* the removal */
	p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "all", 1));
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 1);
	json_decref(p);
	w.as = 1001;
	undo(1);
	w.as = 1002;
	expect_error("org.sekisho.Rules.Undo", json_object(), "org.sekisho.NoSuchThing");
	p = expect("org.sekisho.Rules.Journal", json_object());
	assert_int_equal(json_array_size(json_object_get(p, "changes")), 0);
	json_decref(p);
}

/* Files: one row for each that differs, none for reading the same again, who and why for each change. */
static void test_journal(void **state)
{
	(void)state;
	start("allow web to f.example.org\n");
	end_desk(0);
	start("allow web to f.example.org\n");
	json_t *p = expect("org.sekisho.Rules.Journal", json_pack("{s:b}", "all", 1));
	json_t *list = json_object_get(p, "changes");
	assert_int_equal(json_array_size(list), 1);
	assert_string_equal(str(json_array_get(list, 0), "what"), "applied");
	json_decref(p);
	give_policy("deny web to f.example.org\n");
	json_decref(add("allow web to a.example.org"));
	json_decref(expect("org.sekisho.Rules.Undo", json_object()));
	p = expect("org.sekisho.Rules.Journal", json_pack("{s:b}", "all", 1));
	list = json_object_get(p, "changes");
	static const char *const what[] = { "undone", "removed", "added", "applied", "applied" };
	assert_int_equal(json_array_size(list), 5);
	for (unsigned i = 0; i < 5; i++)
		assert_string_equal(str(json_array_get(list, i), "what"), what[i]);
	assert_string_equal(str(json_array_get(list, 2), "by"), "root");
	json_decref(p);
}

static json_t *history(const char *key, const char *value)
{
	json_t *params = json_pack("{s:s}", "event", "connection");
	if (key != NULL)
		json_object_set_new(params, key, json_string(value));
	json_t *p = expect("org.sekisho.Connections.Log", params);
	json_t *list = json_incref(json_object_get(p, "entries"));
	json_decref(p);
	return list;
}

static size_t found(const char *key, const char *value)
{
	json_t *list = history(key, value);
	size_t n = json_array_size(list);
	json_decref(list);
	return n;
}

/* What decided is counted under its rule, over restarts; history is found by verdict, peer and rule; pages follow. */
static void test_uses(void **state)
{
	(void)state;
	static struct ipc_event e = { .kind = EVENT_REFUSED, .verdict = VERDICT_DENY, .proto = 6, .port = 443 };
	start(NULL);
	attach("web");
	json_t *r = add("deny web to ads.example.org");
	json_decref(add("deny web to other.example.org"));
	e.ref = w.app.ref;
	assert_true(name_from_text("ads.example.org", 15, &e.name));
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		char id[POLICY_ID_TEXT];
		if (strncmp(policy_id_text(policy_rule_meta(w.policy, i)->id, id), str(r, "rule_id"), 4) == 0)
			memcpy(e.rule, policy_rule_meta(w.policy, i)->id, sizeof(e.rule));
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_EVENT, 0, event, &e, NULL, 0), 0);
	UNTIL(found(NULL, NULL) == 3);
	assert_int_equal(found("verdict", "deny"), 3);
	assert_int_equal(found("verdict", "allow"), 0);
	assert_int_equal(found("peer", "ads.example.org"), 3);
	assert_int_equal(found("rule", str(r, "rule_id")), 3);
	assert_int_equal(found("rule", "aaaa"), 0);
	json_t *p =
		expect("org.sekisho.Connections.Log", json_pack("{s:i, s:s}", "limit", 2, "peer", "ads.example.org"));
	json_t *next = json_object_get(p, "next");
	assert_true(json_is_integer(next));
	json_t *older = expect("org.sekisho.Connections.Log",
		json_pack("{s:O, s:s}", "before", next, "peer", "ads.example.org"));
	assert_int_equal(json_array_size(json_object_get(older, "entries")), 1);
	assert_true(json_is_null(json_object_get(older, "next")));
	json_decref(older);
	json_decref(p);
	/* One of the two was never used; neither stood there for an hour. */
	p = expect("org.sekisho.Rules.List", json_pack("{s:i}", "unused", 3600));
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 0);
	json_decref(p);
	end_desk(0);
	start(NULL);
	p = expect("org.sekisho.Rules.List", NULL);
	json_t *first = json_array_get(json_object_get(p, "rules"), 0);
	assert_int_equal(json_integer_value(json_object_get(first, "hits")), 3);
	assert_true(json_is_string(json_object_get(first, "last_used")));
	json_decref(p);
	json_decref(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_counts, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_uses, world_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_journal, world_setup, world_teardown),
	};
	const struct CMUnitTest people[] = {
		cmocka_unit_test_setup_teardown(test_changed_meanwhile, world_setup, world_teardown),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (private_users())
		failed += cmocka_run_group_tests(people, NULL, NULL);
	return failed;
}
