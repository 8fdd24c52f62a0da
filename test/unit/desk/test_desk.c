/* SPDX-License-Identifier: Apache-2.0 */
/* The desk's promises, seen from both its sides. Built twice: with confine.c, and with a stand-in that only changes the
 * directory. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_rules(void **state)
{
	(void)state;
	start("deny any to ads.example.com\n");
	assert_int_equal(judge("ads.example.com"), POLICY_SAYS_DENY);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	json_t *r = add("allow  web to WWW.example.org port https");
	assert_string_equal(str(r, "rule"), "allow web to www.example.org port 443");
	assert_true(strlen(str(r, "rule_id")) >= 4);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	expect_error("org.sekisho.Rules.Add",
		json_pack("{s:[s, s]}", "rules", "allow web to a.example.org", "alow web"), "org.sekisho.BadRule");
	assert_int_equal(judge("a.example.org"), POLICY_SAYS_ASK);
	/* the same rule, whatever its verb, is replaced */
	json_t *again = add("deny web to www.example.org port 443");
	assert_string_equal(str(again, "replaced"), "allow web to www.example.org port 443");
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_DENY);
	json_t *p = expect("org.sekisho.Rules.Why", json_pack("{s:s, s:s}", "app", "web", "name", "www.example.org"));
	assert_string_equal(str(p, "verdict"), "deny");
	assert_string_equal(str(p, "origin"), "answer");
	json_decref(p);
	p = expect("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(again, "rule_id")));
	json_decref(p);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	expect_error("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(again, "rule_id")),
		"org.sekisho.NoSuchThing");
	p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "ended", 1));
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 3);
	json_decref(p);
	json_decref(r);
	json_decref(again);
	assert_int_equal(end_desk(0), 0);
}

/* The answer comes when the gate has the rule, not before. */
static void test_in_force(void **state)
{
	(void)state;
	struct call c;
	struct pollfd p;
	start(NULL);
	w.hold_policy = true;
	uint64_t before = w.generation;
	call_begin(&c, "org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", "allow web to www.example.org"), NULL);
	UNTIL(w.generation > before);
	/* Durable by now: a second desk would have it; the client still waits. */
	p = (struct pollfd){ .fd = c.fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	assert_int_equal(ipc_send_result(w.chan[ROLE_GATE], w.held_id, 0, 0, NULL), 0);
	json_t *m = call_next(&c);
	assert_true(json_is_true(json_object_get(json_object_get(m, "parameters"), "in_force")));
	json_decref(m);
	call_end(&c);
}

/* Acknowledged is durable: the very next thing is kill -9. */
static void test_acknowledged(void **state)
{
	(void)state;
	start(NULL);
	json_decref(add("allow web to www.example.org"));
	end_desk(SIGKILL);
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	json_t *p = expect("org.sekisho.Rules.List", NULL);
	json_t *r = json_array_get(json_object_get(p, "rules"), 0);
	json_decref(expect("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(r, "rule_id"))));
	json_decref(p);
	end_desk(SIGKILL);
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
}

static void test_survives_kill(void **state)
{
	(void)state;
	start(NULL);
	json_decref(add("allow web to www.example.org for 1h"));
	json_decref(add("allow web to n.example.org 2 times"));
	attach("web");
	struct ipc_app was = w.app;
	struct ipc_block block = w.block;
	struct ipc_charge charge = { .ref = was.ref };
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		if (policy_rule_meta(w.policy, i)->times_left != 0)
			memcpy(charge.rule, policy_rule_meta(w.policy, i)->id, sizeof(charge.rule));
	}
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, 7, charge, &charge, NULL, 0), 0);
	UNTIL(w.n_charged == 1);
	assert_int_equal(w.charged.err, 0);
	end_desk(SIGKILL);
	w.n_apps = 0;
	start(NULL);
	UNTIL(w.n_apps >= 2); /* with the sync, and when the port has been asked for again */
	assert_int_equal(w.app.ref.run, was.ref.run);
	assert_int_equal(w.app.zone, was.zone);
	assert_true(mac_equal(&w.app.mac, &was.mac));
	assert_true(w.block.first >= block.first + block.count);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, 8, charge, &charge, NULL, 0), 0);
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, 9, charge, &charge, NULL, 0), 0);
	UNTIL(w.n_charged == 3);
	assert_int_equal(w.charged.err, -ENOENT);
	/* used up: no longer decides, still known to the gate */
	UNTIL(judge("n.example.org") == POLICY_SAYS_ASK);
	unsigned used = 0;
	for (size_t i = 0; i < policy_n_rules(w.policy); i++)
		used += policy_rule_meta(w.policy, i)->ended == POLICY_END_USED;
	assert_int_equal(used, 1);
}

static void test_lives(void **state)
{
	(void)state;
	start(NULL);
	json_decref(add("allow web to www.example.org for 1s"));
	attach("web");
	json_decref(add("allow web to exit.example.org until exit"));
	assert_int_equal(judge("exit.example.org"), POLICY_SAYS_ALLOW);
	uint64_t g = w.generation;
	UNTIL(w.generation > g);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	json_decref(expect("org.sekisho.Apps.Detach", json_pack("{s:s}", "app", "web")));
	UNTIL(judge("exit.example.org") == POLICY_SAYS_ASK);
	assert_int_equal(w.n_apps, 0);
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(w.n_released, 1);
}

/* Whatever step fails, nothing half made stays. */
static void test_undo(void **state)
{
	(void)state;
	static const int steps[] = { IPC_LINK_TAKE, IPC_PORT_ADD, IPC_APP_ADD, IPC_LINK_UP };
	start(NULL);
	json_decref(add("allow web to exit.example.org until exit"));
	for (unsigned i = 0; i < 4; i++) {
		w.fail_type = steps[i];
		w.n_released = w.n_apps = w.n_ports = 0;
		expect_error("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", "web", "port", "veth-x"),
			"org.sekisho.Failed");
		assert_int_equal(w.n_released, i > 0);
		/* What was answered with an error was counted by this program, but not made. */
		assert_int_equal(w.n_ports, i == 1);
		assert_int_equal(w.n_apps, i == 2);
		json_t *p = expect("org.sekisho.Apps.List", NULL);
		assert_int_equal(json_array_size(json_object_get(p, "apps")), 0);
		json_decref(p);
	}
	/* What never ran has not exited. */
	assert_int_equal(judge("exit.example.org"), POLICY_SAYS_ALLOW);
}

static void test_questions(void **state)
{
	(void)state;
	struct call one, two;
	start("deny any to bad.example.com\n");
	attach("web");
	call_begin(&one, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(&one, "snapshot"));
	ask_gate(5, "www.example.org", 60000);
	json_t *p = event(&one, "question"), *q = json_object_get(p, "question");
	assert_string_equal(str(q, "name"), "www.example.org");
	assert_int_equal(strlen(str(q, "digest")), 64);
	json_t *suggestions = json_object_get(q, "suggestions");
	assert_true(json_array_size(suggestions) > 0);
	assert_non_null(
		strstr(json_string_value(json_array_get(suggestions, 0)), "web to www.example.org port 443/tcp"));
	/* Who comes later sees it in the snapshot. */
	w.other_agent = true;
	call_begin(&two, "org.sekisho.Questions.Serve", NULL, "more");
	w.other_agent = false;
	json_t *snapshot = event(&two, "snapshot");
	assert_int_equal(json_array_size(json_object_get(snapshot, "questions")), 1);
	json_decref(snapshot);
	/* The first goes away; nothing is lost, nothing is decided. */
	call_end(&one);
	expect_error("org.sekisho.Questions.Answer", answer_params(q, "alow web"), "org.sekisho.BadRule");
	expect_error("org.sekisho.Questions.Answer", answer_params(q, "allow web to other.example.org"),
		"org.sekisho.WouldNotWin");
	json_t *stale = answer_params(q, "allow web to www.example.org");
	json_object_set_new(stale, "digest", json_string("00"));
	expect_error("org.sekisho.Questions.Answer", stale, "org.sekisho.Changed");
	json_t *done = expect("org.sekisho.Questions.Answer",
		answer_params(q, "allow web to www.example.org port 443/tcp for 10m"));
	assert_string_equal(str(done, "rule"), "allow web to www.example.org port 443/tcp for 10m");
	assert_true(json_is_true(json_object_get(done, "in_force")));
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	json_t *cancelled = event(&two, "cancelled");
	assert_string_equal(str(cancelled, "by"), "answered elsewhere");
	expect_error("org.sekisho.Questions.Answer", answer_params(q, "deny web to www.example.org"),
		"org.sekisho.Changed");
	json_decref(cancelled);
	json_decref(done);
	json_decref(p);
	call_end(&two);
}

/* Nobody answers: no rule is written, the question stays in the inbox over a restart, its answer counts for the next
 * try. */
static void test_inbox(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	attach("web");
	call_begin(&c, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(&c, "snapshot"));
	ask_gate(5, "www.example.org", 0);
	json_decref(event(&c, "question"));
	struct ipc_u32 number = { .v = 5 };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_QUESTION_END, 0, u32, &number, NULL, 0), 0);
	json_t *p = event(&c, "cancelled");
	assert_string_equal(str(p, "by"), "gave up");
	json_decref(p);
	call_end(&c);
	poll(NULL, 0, 0);
	assert_int_equal(end_desk(0), 0);
	start(NULL);
	p = expect("org.sekisho.Questions.List", NULL);
	json_t *list = json_object_get(p, "questions");
	assert_int_equal(json_array_size(list), 1);
	json_t *q = json_array_get(list, 0);
	assert_true(json_is_false(json_object_get(q, "waiting")));
	json_t *done = expect("org.sekisho.Questions.Answer", answer_params(q, "deny web to www.example.org"));
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_DENY);
	json_decref(done);
	json_decref(p);
}

static void test_gate_restarts(void **state)
{
	(void)state;
	start(NULL);
	attach("web");
	struct ipc_grant g = { .grant = 77,
		.ref = w.app.ref,
		.proto = 6,
		.port = 443,
		.peer = addr_v4(0xc6120001),
		.real = addr_v4(0xcb007101),
		.since_wall_ms = clock_wall_ms() };
	struct ipc_syn s = { .ref = w.app.ref, .index = 1 };
	assert_true(name_from_text("www.example.org", 15, &s.name));
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_GRANT, 0, grant, &g, NULL, 0), 0);
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_SYN, 0, syn, &s, NULL, 0), 0);
	json_decref(add("allow web to www.example.org"));
	w.n_apps = w.n_sync_ends = 0;
	w.generation = 0;
	lose_channel(ROLE_GATE);
	give_channel(ROLE_GATE);
	UNTIL(w.n_sync_ends == 1);
	assert_int_equal(w.n_apps, 1);
	assert_int_equal(w.n_grants, 1);
	assert_int_equal(w.n_syns, 1);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	struct ipc_grant_end e = { .grant = 77, .bytes_out = 5, .bytes_in = 6, .connections = 1 };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_GRANT_END, 0, grant_end, &e, NULL, 0), 0);
	struct call c;
	call_begin(&c, "org.sekisho.Connections.Log", json_pack("{s:b}", "follow", 1), "more");
	bool found = false;
	while (!found) {
		json_t *m = call_next(&c), *entry;
		size_t i;
		json_array_foreach(json_object_get(json_object_get(m, "parameters"), "entries"), i, entry) found =
			found || json_integer_value(json_object_get(entry, "bytes_in")) == 6;
		json_decref(m);
	}
	call_end(&c);
}

static void test_run(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	call_begin(&c, "org.sekisho.Apps.Run",
		json_pack("{s:s, s:[s, s], s:[s]}", "app", "web", "argv", "echo", "hi there", "env", "A=b"), "upgrade");
	json_t *m = call_next(&c);
	assert_null(json_object_get(m, "error"));
	json_decref(m);
	UNTIL(w.stream >= 0);
	assert_string_equal(w.vm.tap, "skt1");
	assert_int_equal(w.vm.argc, 2);
	assert_int_equal(w.vm.envc, 1);
	assert_memory_equal(w.vm.strings, "echo\0hi there\0A=b", 18);
	assert_int_equal(w.vm.uid, getuid());
	/* The connection is the keeper's now. */
	assert_int_equal(write(w.stream, "hello", 5), 5);
	char got[5];
	assert_int_equal(recv(c.fd, got, 5, MSG_WAITALL), 5);
	json_decref(expect("org.sekisho.Apps.Stop", json_pack("{s:s}", "app", "web")));
	assert_int_equal(w.n_vm_stops, 1);
	assert_int_equal(w.n_apps, 0);
	assert_int_equal(w.n_released, 1);
	call_end(&c);
}

static json_t *run_image(struct call *c, unsigned n_fds, const char *root, bool layer)
{
	struct api_fds fds = { .n = n_fds };
	for (unsigned i = 0; i < n_fds; i++)
		fds.fd[i] = STDERR_FILENO;
	w.give = n_fds > 0 ? &fds : NULL;
	call_begin(c, "org.sekisho.Apps.Run",
		json_pack("{s:s, s:[s], s:s, s:b, s:s, s:s}", "app", "web", "argv", "true", "root", root, "layer",
			layer, "user", "nginx:www", "cwd", "/srv"),
		"upgrade");
	w.give = NULL;
	return call_next(c);
}

static void test_run_image(void **state)
{
	(void)state;
	static const struct {
		unsigned n_fds;
		const char *root;
		bool layer;
	} bad[] = { { 0, "image", false }, { 1, "image", true }, { 2, "image", false }, { 1, "host", false },
		{ 0, "host", true }, { 1, "disc", false }, { API_FDS_MAX, "image", false } };
	struct call c;
	start(NULL);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *m = run_image(&c, bad[i].n_fds, bad[i].root, bad[i].layer);
		assert_string_equal(json_string_value(json_object_get(m, "error")),
			"org.varlink.service.InvalidParameter");
		json_decref(m);
		call_end(&c);
	}
	json_t *m = run_image(&c, 2, "image", true);
	assert_null(json_object_get(m, "error"));
	json_decref(m);
	UNTIL(w.stream >= 0);
	assert_int_equal(w.n_blocks, 2);
	assert_int_equal(w.vm.root.kind, IPC_ROOT_IMAGE);
	assert_true(w.vm.root.layer && w.vm.guest_user);
	assert_string_equal(w.vm.user, "nginx:www");
	assert_string_equal(w.vm.cwd, "/srv");
	call_end(&c);
}

static void test_bad_files(void **state)
{
	(void)state;
	start("deny any to bad.example.com\nallow web to one.example.org once\n");
	give_policy("deny any to\n");
	UNTIL(w.n_policy_results == 2);
	assert_int_equal(w.policy_result.err, -EINVAL);
	assert_non_null(strstr(w.policy_result.text.s, "10-test.rules:1:"));
	assert_int_equal(judge("bad.example.com"), POLICY_SAYS_DENY);
	/* A count of a file's rule goes on over a reload. */
	struct ipc_charge charge = { 0 };
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		if (policy_rule_meta(w.policy, i)->times_left != 0)
			memcpy(charge.rule, policy_rule_meta(w.policy, i)->id, sizeof(charge.rule));
	}
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, 7, charge, &charge, NULL, 0), 0);
	UNTIL(w.n_charged == 1 && judge("one.example.org") == POLICY_SAYS_ASK);
	assert_int_equal(w.charged.err, 0);
	give_policy("allow web to one.example.org once\n");
	UNTIL(w.n_policy_results == 3);
	assert_int_equal(w.policy_result.err, 0);
	UNTIL(judge("bad.example.com") == POLICY_SAYS_ASK);
	assert_int_equal(judge("one.example.org"), POLICY_SAYS_ASK);
}

static void test_hostile_clients(void **state)
{
	(void)state;
	start(NULL);
	static const char *const bad[] = { "x", "{}",
		"{\"method\":\"org.sekisho.Apps.Run\",\"parameters\":{\"app\":1}}" };
	for (unsigned i = 0; i < 2; i++) {
		struct call c;
		call_begin(&c, "org.sekisho.Ping", NULL, NULL);
		json_decref(call_next(&c));
		assert_int_equal(send(c.fd, bad[i], strlen(bad[i]) + 1, 0), strlen(bad[i]) + 1);
		char byte;
		assert_int_equal(recv(c.fd, &byte, 1, 0), 0);
		call_end(&c);
	}
	struct call many[70];
	for (unsigned i = 0; i < 70; i++)
		call_begin(&many[i], "org.sekisho.Ping", NULL, NULL);
	unsigned refused = 0;
	for (unsigned i = 0; i < 70; i++) {
		json_t *m = call_next(&many[i]);
		refused += json_object_get(m, "error") != NULL;
		json_decref(m);
	}
	assert_int_equal(refused, 70 - 64);
	for (unsigned i = 0; i < 70; i++)
		call_end(&many[i]);
	/* The places are free again as soon as the desk has seen them go. */
	for (bool refused_still = true; refused_still;) {
		call_begin(&many[0], "org.sekisho.Ping", NULL, NULL);
		json_t *m = call_next(&many[0]);
		refused_still = json_object_get(m, "error") != NULL;
		json_decref(m);
		call_end(&many[0]);
	}
	expect_error("org.sekisho.Nothing", NULL, "org.varlink.service.MethodNotFound");
	expect_error("org.sekisho.Apps.Run", json_pack("{s:i}", "app", 1), "org.sekisho.Failed");
	expect_error("org.sekisho.Apps.Attach", json_pack("{s:s}", "app", "web"),
		"org.varlink.service.InvalidParameter");
	expect_error("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", "Web!", "port", "x"),
		"org.varlink.service.InvalidParameter");
}

/* A file may be named in any encoding: its rules and its application to the policy are listed all the same. */
static void test_file_name(void **state)
{
	(void)state;
	w.file = "10-\xff\xe2\x80\xae.rules";
	start("deny any to ads.example.org\n");
	json_t *p = expect("org.sekisho.Rules.List", NULL);
	assert_string_equal(str(json_array_get(json_object_get(p, "rules"), 0), "file"), "10-\\xff\\u{202e}.rules");
	json_decref(p);
	p = expect("org.sekisho.Rules.Journal", NULL);
	assert_string_equal(str(json_array_get(json_object_get(p, "changes"), 0), "what"), "applied");
	json_decref(p);
}

/* One file too many is an error, not a file less. */
static void test_many_files(void **state)
{
	(void)state;
	start("deny any to ads.example.org\n");
	struct frame_chan *m = w.chan[ROLE_MAIN];
	assert_int_equal(frame_send(m, IPC_RELOAD, 0, NULL, 0, NULL, 0), 0);
	for (unsigned i = 0; i < 257; i++) {
		char line[64];
		struct ipc_text name;
		int fd = memfd_create("rules", MFD_CLOEXEC),
		    n = snprintf(line, sizeof(line), "deny any to n%u.org\n", i);
		char file[16];
		snprintf(file, sizeof(file), "%03u.rules", i);
		ipc_text_set(&name, file);
		assert_int_equal(write(fd, line, (size_t)n), n);
		lseek(fd, 0, SEEK_SET);
		assert_int_equal(ipc_send(m, IPC_POLICY_FILE, 0, text, &name, &fd, 1), 0);
		close(fd);
		if (i % 20 == 0)
			json_decref(expect("org.sekisho.Ping", NULL));
	}
	unsigned before = w.n_policy_results;
	assert_int_equal(frame_send(m, IPC_POLICY_END, 1, NULL, 0, NULL, 0), 0);
	UNTIL(w.n_policy_results > before);
	assert_int_equal(w.policy_result.err, -EINVAL);
	assert_non_null(strstr(w.policy_result.text.s, "more than 256"));
	assert_int_equal(judge("ads.example.org"), POLICY_SAYS_DENY);
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_rules), DESK_TEST(test_in_force),
		DESK_TEST(test_acknowledged), DESK_TEST(test_survives_kill), DESK_TEST(test_lives),
		DESK_TEST(test_undo), DESK_TEST(test_questions), DESK_TEST(test_inbox), DESK_TEST(test_gate_restarts),
		DESK_TEST(test_run), DESK_TEST(test_run_image), DESK_TEST(test_bad_files), DESK_TEST(test_file_name),
		DESK_TEST(test_many_files), DESK_TEST(test_hostile_clients) };
	signal(SIGPIPE, SIG_IGN);
	/* Whether one may call the desk at all follows from one's groups; root always may. */
	if (geteuid() != 0)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
