/* SPDX-License-Identifier: Apache-2.0 */
/* The policy as a base and what was touched since, and bases that a process beside compiles. */
#include "world.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 2000, TOUCHED = 300 };

/* Rules enough for a process beside, and then these lines; malloc'd. */
static char *many(const char *more)
{
	size_t len;
	char *text;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	for (unsigned i = 0; i < MANY; i++)
		fprintf(f, "deny app%u to host%u.example.net\n", i % 50, i);
	fputs(more, f);
	assert_int_equal(fclose(f), 0);
	return text;
}

static void give_many(const char *more)
{
	char *text = many(more);
	give_policy(text);
	free(text);
}

static void begin(void)
{
	start(NULL);
	attach("web");
}

/* The files are in force. */
static void files(const char *more)
{
	unsigned n = w.n_policy_results;
	give_many(more);
	UNTIL(w.n_policy_results > n);
	assert_int_equal(w.policy_result.err, 0);
}

/* What has come by now. */
static void play_now(void)
{
	int idle = open("/dev/null", O_RDONLY | O_CLOEXEC);
	play(idle);
	close(idle);
}

static pid_t child_of(pid_t parent)
{
	char path[64], line[512];
	pid_t found = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)parent, (int)parent);
	FILE *f = fopen(path, "r");
	if (f != NULL && fgets(line, sizeof(line), f) != NULL)
		found = (pid_t)strtol(line, NULL, 10);
	if (f != NULL)
		fclose(f);
	return found;
}

static void test_joined(void **state)
{
	(void)state;
	begin();
	files("deny web to a.example.org\n");
	unsigned bases = w.n_bases;
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_DENY);
	json_decref(add("allow web to a.example.org port 443/tcp"));
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_ALLOW);
	json_decref(add("deny web to a.example.org port 443/tcp"));
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_DENY);
	json_t *p = expect("org.sekisho.Rules.Undo", NULL);
	json_decref(p);
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_ALLOW);
	/* All that without another base. */
	assert_int_equal(w.n_bases, bases);
	/* What the files no longer say, and a rule of theirs that an answer named. */
	files("");
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_ALLOW);
	expect_error("org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", "deny @nobody to b.example.org"),
		"org.sekisho.BadRule");
	assert_int_equal(judge("b.example.org"), POLICY_SAYS_ASK);
}

/* So many changes that another base is made; meanwhile more of them. */
static void test_another_base(void **state)
{
	char line[80];
	(void)state;
	begin();
	files("");
	unsigned bases = w.n_bases;
	for (unsigned i = 0; i < TOUCHED; i++) {
		snprintf(line, sizeof(line), "allow web to n%u.example.org port 443/tcp", i);
		json_decref(add(line));
	}
	for (unsigned i = 0; w.n_bases == bases; i++) {
		snprintf(line, sizeof(line), "%s web to m.example.org port 443/tcp", i % 2 ? "deny" : "allow");
		json_decref(add(line));
		assert_int_equal(judge("m.example.org"), i % 2 ? POLICY_SAYS_DENY : POLICY_SAYS_ALLOW);
	}
	for (unsigned i = 0; i < TOUCHED; i++) {
		snprintf(line, sizeof(line), "n%u.example.org", i);
		assert_int_equal(judge(line), POLICY_SAYS_ALLOW);
	}
}

/* Files that take long to compile: calls are answered meanwhile, and what they changed is in the new policy. */
static void test_beside(void **state)
{
	(void)state;
	begin();
	files("");
	json_decref(add("allow web to old.example.org port 443/tcp"));
	unsigned n = w.n_policy_results;
	w.hold_policy = true;
	give_many("deny web to a.example.org\n");
	/* The desk has forked: what comes now is not in what is compiled. */
	while (child_of(w.pid) == 0 && w.n_policy_results == n && w.n_bases < 2)
		play_now();
	w.hold_policy = false;
	json_decref(add("deny web to old.example.org port 443/tcp"));
	json_decref(add("allow web to new.example.org port 443/tcp"));
	UNTIL(w.n_policy_results > n && judge("a.example.org") == POLICY_SAYS_DENY);
	assert_int_equal(judge("old.example.org"), POLICY_SAYS_DENY);
	assert_int_equal(judge("new.example.org"), POLICY_SAYS_ALLOW);
}

static void test_newest_wins(void **state)
{
	(void)state;
	begin();
	files("");
	for (unsigned i = 0; i < 10; i++)
		give_many(i < 9 ? "allow web to a.example.org port 443\n" : "deny web to a.example.org\n");
	UNTIL(judge("a.example.org") == POLICY_SAYS_DENY);
	json_decref(add("allow web to b.example.org port 443/tcp"));
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_DENY);
	assert_int_equal(judge("b.example.org"), POLICY_SAYS_ALLOW);
}

/* The process that compiles is killed: the files are refused, everything stays, the next try succeeds. */
static void test_worker_dies(void **state)
{
	(void)state;
	begin();
	files("deny web to a.example.org\n");
	unsigned killed = 0;
	for (unsigned tries = 0; tries < 200 && killed == 0; tries++) {
		unsigned n = w.n_policy_results;
		give_many("allow web to a.example.org port 443\n");
		pid_t pid = 0;
		while (w.n_policy_results == n) {
			if (pid == 0 && (pid = child_of(w.pid)) != 0)
				kill(pid, SIGKILL);
			play_now();
		}
		killed += w.policy_result.err != 0;
		if (killed != 0)
			assert_non_null(strstr(w.policy_result.text.s, "died"));
		else
			files("deny web to a.example.org\n");
	}
	assert_int_equal(killed, 1);
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_DENY);
	files("allow web to a.example.org port 443\n");
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_ALLOW);
}

/* Main is told that the files are in force when they are. */
static void test_report(void **state)
{
	(void)state;
	begin();
	unsigned n = w.n_policy_results;
	uint64_t generation = w.generation;
	w.hold_policy = true;
	give_policy("deny web to a.example.org\ndeny web to b.example.org\n");
	UNTIL(w.generation > generation);
	for (unsigned i = 0; i < 20; i++)
		json_decref(expect("org.sekisho.Admin.Status", NULL));
	assert_int_equal(w.n_policy_results, n);
	w.hold_policy = false;
	assert_int_equal(ipc_send_result(w.chan[ROLE_GATE], w.held_id, 0, 0, NULL), 0);
	UNTIL(w.n_policy_results > n);
	assert_int_equal(w.policy_result.err, 0);
	assert_string_equal(w.policy_result.text.s, "2 rules (2 added, 0 removed)");
	give_policy("deny web to b.example.org\nallow web to a.example.org\n");
	UNTIL(w.n_policy_results > n + 1);
	/* A line that is another one is one gone and one come. */
	assert_string_equal(w.policy_result.text.s, "2 rules (1 added, 1 removed)");
}

/* A gate that is new gets the base again, and what is joined. */
static void test_new_gate(void **state)
{
	(void)state;
	begin();
	files("deny web to a.example.org\n");
	json_decref(add("allow web to b.example.org port 443/tcp"));
	unsigned bases = w.n_bases;
	lose_channel(ROLE_GATE);
	w.generation = 0;
	give_channel(ROLE_GATE);
	UNTIL(w.n_bases > bases);
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_DENY);
	assert_int_equal(judge("b.example.org"), POLICY_SAYS_ALLOW);
}

/* Calls that come together are committed together and answered each for itself; a bad one spoils none. */
static void test_together(void **state)
{
	enum { CALLS = 40 };
	struct call c[CALLS];
	char line[80];
	(void)state;
	begin();
	for (unsigned i = 0; i < CALLS; i++) {
		snprintf(line, sizeof(line),
			i == 7 ? "allow @nobody to x.example.org" : "%s web to n%u.example.org port 443/tcp",
			i % 2 ? "deny" : "allow", i / 2);
		call_begin(&c[i], "org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", line), NULL);
	}
	for (unsigned i = 0; i < CALLS; i++) {
		json_t *r = call_next(&c[i]);
		assert_true((json_object_get(r, "error") != NULL) == (i == 7));
		json_decref(r);
		call_end(&c[i]);
	}
	/* Of each two the later one stands, but where it was the bad one. */
	unsigned n = 0;
	json_t *list = expect("org.sekisho.Rules.List", json_pack("{s:b}", "ended", 1)), *r;
	size_t k;
	json_array_foreach(json_object_get(list, "rules"), k, r) n += strcmp(str(r, "state"), "active") == 0;
	assert_int_equal(n, CALLS / 2);
	assert_int_equal(json_array_size(json_object_get(list, "rules")), CALLS - 1);
	json_decref(list);
	json_decref(expect("org.sekisho.Rules.Undo", json_pack("{s:i}", "count", 3)));
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_joined), DESK_TEST(test_another_base),
		DESK_TEST(test_beside), DESK_TEST(test_newest_wins), DESK_TEST(test_worker_dies),
		DESK_TEST(test_report), DESK_TEST(test_new_gate), DESK_TEST(test_together) };
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0 || !private_users())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
