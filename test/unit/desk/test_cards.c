/* SPDX-License-Identifier: Apache-2.0 */
/* From what the gate waits for to what a person is asked: cards of many names, what an answer settles, reviews, the
 * inbox. */
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

#include <cmocka.h>

enum { LONG_MS = 60000 };

static void serve(struct call *c)
{
	call_begin(c, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(c, "snapshot"));
}

/* The next question, whatever is said about reviews before. */
static json_t *question(struct call *c)
{
	for (;;) {
		json_t *m = call_next(c), *p = json_object_get(m, "parameters"), *q = NULL;
		if (strcmp(str(p, "event"), "review") != 0) {
			assert_string_equal(str(p, "event"), "question");
			q = json_incref(json_object_get(p, "question"));
		}
		json_decref(m);
		if (q != NULL)
			return q;
	}
}

static void card_is(const json_t *q, const char *name, int more)
{
	assert_string_equal(str(q, "name"), name);
	assert_int_equal(json_integer_value(json_object_get(q, "more")), more);
	assert_int_equal(json_array_size(json_object_get(q, "names")), more);
}

/* The gate says that nothing waits under these numbers any more, as it does before it says that a policy is in force.
 */
static void settled(const uint32_t *numbers, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct ipc_u32 number = { .v = numbers[i] };
		assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION_END, 0, u32, &number, NULL, 0), 0);
	}
}

/* Answers; the gate settles these numbers, then takes the policy. */
static void answer(const json_t *q, const char *rule, const uint32_t *numbers, unsigned n)
{
	struct call c;
	uint64_t before = w.generation;
	w.hold_policy = true;
	call_begin(&c, "org.sekisho.Questions.Answer", answer_params(q, rule), NULL);
	UNTIL(w.generation > before);
	settled(numbers, n);
	assert_int_equal(ipc_send_result(w.chan[ROLE_GATE], w.held_id, 0, 0, NULL), 0);
	json_t *m = call_next(&c);
	if (json_object_get(m, "error") != NULL)
		fail_msg("%s", json_dumps(m, 0));
	json_decref(m);
	call_end(&c);
	w.hold_policy = false;
}

static bool silent(struct call *c)
{
	/* Whatever the desk had to say it has said when it has answered a later call. */
	json_decref(expect("org.sekisho.Ping", NULL));
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	return poll(&p, 1, 100) == 0;
}

/* Three names of one domain are one card; a name of another, and under a public suffix each one, has its own. An answer
 * settles what its rule matches; the rest is the next card. */
static void test_one_card(void **state)
{
	(void)state;
	static const char *const names[] = { "www.example.org", "a.example.org", "example.org", "www.example.net",
		"one.github.io", "two.github.io" };
	struct call c;
	start(NULL);
	attach("web");
	serve(&c);
	for (unsigned i = 0; i < 6; i++)
		ask_gate(i + 1, names[i], LONG_MS);
	json_t *q = question(&c);
	card_is(q, "www.example.org", 2);
	assert_string_equal(json_string_value(json_array_get(json_object_get(q, "names"), 0)), "a.example.org");
	for (unsigned i = 3; i < 6; i++) {
		json_t *other = question(&c);
		card_is(other, names[i], 0);
		json_decref(other);
	}
	answer(q, "allow web to www.example.org port 443/tcp", (uint32_t[]){ 1 }, 1);
	json_t *next = question(&c);
	assert_string_not_equal(str(next, "id"), str(q, "id"));
	card_is(next, "a.example.org", 1);
	answer(next, "allow web to .example.org port 443/tcp", (uint32_t[]){ 2, 3 }, 2);
	assert_true(silent(&c));
	json_decref(next);
	json_decref(q);
	call_end(&c);
}

/* A card that was seen never changes: what comes later is the next one, asked when this one is answered or left for
 * later; one that nobody has seen may still say more. */
static void test_immutable(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	attach("web");
	ask_gate(1, "www.example.org", LONG_MS);
	json_t *status;
	bool there = false;
	while (!there) {
		status = expect("org.sekisho.Admin.Status", NULL);
		there = json_integer_value(json_object_get(status, "questions")) == 1;
		json_decref(status);
	}
	ask_gate(2, "a.example.org", LONG_MS);
	json_decref(expect("org.sekisho.Ping", NULL));
	call_begin(&c, "org.sekisho.Questions.Serve", NULL, "more");
	json_t *p = event(&c, "snapshot"), *q = json_array_get(json_object_get(p, "questions"), 0);
	card_is(q, "www.example.org", 1);
	ask_gate(3, "b.example.org", LONG_MS);
	assert_true(silent(&c));
	json_decref(expect("org.sekisho.Questions.Answer",
		json_pack("{s:s, s:s, s:b}", "id", str(q, "id"), "digest", str(q, "digest"), "later", 1)));
	json_t *next = question(&c);
	card_is(next, "b.example.org", 0);
	/* The first is still there, as it was, and can be answered. */
	answer(q, "deny web to .example.org port 443/tcp", (uint32_t[]){ 1, 2, 3 }, 3);
	json_t *gone = event(&c, "cancelled");
	assert_string_equal(str(gone, "id"), str(next, "id"));
	assert_string_equal(str(gone, "by"), "settled by a rule");
	json_decref(gone);
	json_decref(next);
	json_decref(p);
	call_end(&c);
}

/* The name on the card is settled by somebody's rule: the card goes, the others are asked. It gives up: the card stays
 * while one of its names waits, then it is in the inbox as one. */
static void test_card_ends(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	attach("web");
	serve(&c);
	ask_gate(1, "www.example.org", LONG_MS);
	ask_gate(2, "a.example.org", LONG_MS);
	json_t *q = question(&c);
	card_is(q, "www.example.org", 1);
	settled((uint32_t[]){ 1 }, 1);
	json_t *gone = event(&c, "cancelled"), *next = question(&c);
	assert_string_equal(str(gone, "by"), "settled by a rule");
	card_is(next, "a.example.org", 0);
	settled((uint32_t[]){ 2 }, 1);
	json_decref(event(&c, "cancelled"));
	ask_gate(3, "www.example.org", 0);
	ask_gate(4, "a.example.org", 0);
	json_t *late = question(&c);
	card_is(late, "www.example.org", 1);
	settled((uint32_t[]){ 3 }, 1);
	assert_true(silent(&c));
	settled((uint32_t[]){ 4 }, 1);
	json_t *gave = event(&c, "cancelled");
	assert_string_equal(str(gave, "by"), "gave up");
	call_end(&c);
	end_desk(SIGKILL);
	start(NULL);
	json_t *list = expect("org.sekisho.Questions.List", NULL);
	assert_int_equal(json_array_size(json_object_get(list, "questions")), 1);
	const json_t *kept = json_array_get(json_object_get(list, "questions"), 0);
	card_is(kept, "www.example.org", 1);
	assert_string_equal(str(kept, "id"), str(late, "id"));
	assert_string_equal(str(kept, "digest"), str(late, "digest"));
	/* Its answer counts for the next try. */
	json_decref(expect("org.sekisho.Questions.Answer",
		answer_params(kept, "allow web to www.example.org port 443/tcp")));
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	json_t *empty = expect("org.sekisho.Questions.List", NULL);
	assert_int_equal(json_array_size(json_object_get(empty, "questions")), 0);
	json_t *all[] = { empty, list, gave, late, next, gone, q };
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		json_decref(all[i]);
}

static void domain(uint32_t n, char buf[32])
{
	snprintf(buf, 32, "www.site%u.org", n);
}

/* More than five wait: a review, until none waits. Then more than three in a minute. */
static void test_review(void **state)
{
	(void)state;
	struct call c, other;
	char name[32];
	start(NULL);
	attach("web");
	serve(&c);
	for (uint32_t i = 0; i < 4; i++) {
		domain(i, name);
		ask_gate(i + 1, name, LONG_MS);
		if (i == 3) {
			json_t *on = event(&c, "review"), *r = json_object_get(on, "review");
			assert_string_equal(str(r, "app"), "web");
			assert_true(json_is_true(json_object_get(r, "on")));
			assert_int_equal(json_integer_value(json_object_get(r, "waiting")), 4);
			json_decref(on);
		}
		json_t *q = question(&c);
		assert_int_equal(json_is_true(json_object_get(q, "review")), i == 3);
		json_decref(q);
	}
	call_begin(&other, "org.sekisho.Questions.Serve", NULL, "more");
	json_t *p = event(&other, "snapshot");
	assert_int_equal(json_array_size(json_object_get(p, "reviews")), 1);
	assert_true(json_is_true(json_object_get(json_array_get(json_object_get(p, "questions"), 0), "review")));
	json_decref(p);
	for (uint32_t i = 1; i <= 4; i++) {
		settled(&i, 1);
		json_decref(event(&c, "cancelled"));
	}
	p = event(&c, "review");
	assert_true(json_is_false(json_object_get(json_object_get(p, "review"), "on")));
	json_decref(p);
	call_end(&other);
	call_end(&c);
}

/* The next of these events, whatever comes before. */
static void skip_to(struct call *c, const char *what)
{
	bool found = false;
	while (!found) {
		json_t *m = call_next(c);
		found = strcmp(str(json_object_get(m, "parameters"), "event"), what) == 0;
		json_decref(m);
	}
}

static size_t listed(void)
{
	json_t *list = expect("org.sekisho.Questions.List", NULL);
	size_t n = json_array_size(json_object_get(list, "questions"));
	json_decref(list);
	return n;
}

/* An app has a place for so many questions, waiting or not; the oldest gives way, in the store, too. */
static void test_inbox_limit(void **state)
{
	(void)state;
	char name[32];
	struct call c;
	start(NULL);
	attach("web");
	serve(&c);
	for (uint32_t i = 1; i <= DESK_QUESTIONS_PER_APP + 6; i++) {
		domain(i, name);
		ask_gate(i, name, 0);
		skip_to(&c, "question");
		settled(&i, 1);
		skip_to(&c, "cancelled");
	}
	assert_int_equal(listed(), DESK_QUESTIONS_PER_APP);
	call_end(&c);
	assert_int_equal(end_desk(0), 0);
	start(NULL);
	assert_int_equal(listed(), DESK_QUESTIONS_PER_APP);
}

/* More questions than fit into one message: whoever begins to serve gets every one of them all the same. */
static void test_many(void **state)
{
	(void)state;
	enum { APPS = DESK_QUESTIONS_PER_OWNER / DESK_QUESTIONS_PER_APP };
	char name[256], label[64];
	struct call c;
	start(NULL);
	memset(label, 'a', 60);
	label[60] = '\0';
	for (uint32_t a = 0, n = 1; a < APPS; a++) {
		char app[16], port[16];
		snprintf(app, sizeof(app), "app%u", a);
		snprintf(port, sizeof(port), "veth-%u", a);
		json_decref(expect("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", app, "port", port)));
		for (unsigned i = 0; i < DESK_QUESTIONS_PER_APP; i++, n++) {
			snprintf(name, sizeof(name), "%s.%s.%s.site%u.org", label, label, label, n);
			ask_gate(n, name, LONG_MS);
		}
	}
	for (json_int_t asked = 0; asked < DESK_QUESTIONS_PER_OWNER;) {
		json_t *p = expect("org.sekisho.Admin.Status", NULL);
		asked = json_integer_value(json_object_get(p, "questions"));
		json_decref(p);
	}
	expect_error("org.sekisho.Questions.List", NULL, "org.sekisho.Limit");
	call_begin(&c, "org.sekisho.Questions.Serve", NULL, "more");
	json_t *first = event(&c, "snapshot");
	size_t got = json_array_size(json_object_get(first, "questions"));
	json_decref(first);
	for (; got < DESK_QUESTIONS_PER_OWNER; got++)
		json_decref(question(&c));
	call_end(&c);
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_one_card), DESK_TEST(test_immutable),
		DESK_TEST(test_card_ends), DESK_TEST(test_review), DESK_TEST(test_inbox_limit), DESK_TEST(test_many) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
