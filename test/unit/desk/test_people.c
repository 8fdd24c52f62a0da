/* SPDX-License-Identifier: Apache-2.0 */
/* Who may do what, whose question is shown to whom, how much one may take, and what a person finds when the store is
 * damaged. */
#include "world.h"

#include "api/conn.h"
#include "base/clock.h"
#include "desk/desk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { ALICE = 1001, BOB = 1002, CAROL = 1003, DAVE = 1004, U01 = 1101, NOBODY = 1999 };
#define DENIED "org.sekisho.NotPermitted"

static void as(uid_t uid)
{
	w.as = uid;
}

static json_t *rules(const char *line)
{
	return json_pack("{s:[s]}", "rules", line);
}

/* As that user's own application; the interface is made by an admin, as it has to be. */
static void attach_for(const char *app, const char *user, const char *port)
{
	as(0);
	json_decref(expect("org.sekisho.Apps.Attach",
		json_pack("{s:s, s:s, s:s}", "app", app, "port", port, "owner", user)));
}

static void run_begin(struct call *c, const char *app)
{
	call_begin(c, "org.sekisho.Apps.Run", json_pack("{s:s, s:[s]}", "app", app, "argv", "true"), "upgrade");
}

static void expect_run(const char *app, const char *error)
{
	struct call c;
	run_begin(&c, app);
	json_t *m = call_next(&c);
	const char *got = json_string_value(json_object_get(m, "error"));
	assert_true(error == NULL ? got == NULL : got != NULL && strcmp(got, error) == 0);
	json_decref(m);
	call_end(&c);
}

/* In neither group: versions and the doctor, nothing else; without an entry not even that. */
static void test_strangers(void **state)
{
	(void)state;
	static const char *const methods[] = { "Admin.Status", "Apps.Run", "Apps.Attach", "Apps.Detach", "Apps.Stop",
		"Apps.List", "Rules.Add", "Rules.Remove", "Rules.List", "Rules.Why", "Questions.Serve",
		"Questions.Answer", "Questions.List", "Connections.Log" };
	start(NULL);
	as(DAVE);
	for (unsigned i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		char method[64];
		snprintf(method, sizeof(method), "org.sekisho.%s", methods[i]);
		expect_error(method, NULL, DENIED);
	}
	json_decref(expect("org.sekisho.Admin.Version", NULL));
	json_decref(expect("org.sekisho.Admin.Doctor", NULL));
	as(NOBODY);
	expect_error("org.sekisho.Admin.Version", NULL, DENIED);
	as(ALICE);
	json_decref(expect("org.sekisho.Admin.Status", NULL));
	as(BOB);
	json_decref(expect("org.sekisho.Admin.Status", NULL));
}

/* Without admin rights: rules about one application of one's own, outbound, not final, not to the computer or others'.
 */
static void test_own_rules(void **state)
{
	(void)state;
	static const char *const no[] = { "final allow web to a.example.org", "allow any to a.example.org",
		"allow web from internet port 80", "allow web to host port 22/tcp", "allow web to peers",
		"allow web to app:db port 5432/tcp", "allow web to 100.64.3.9 port 22/tcp", "ask web to 100.64.0.0/24",
		"allow web to 64:ff9b::6440:309", "allow web to fd73:6b69:7368::/64", "allow web to set:outer" };
	start("set inner = { 192.0.2.1, 100.64.3.9 }\nset outer = { 192.0.2.2, set:inner }\n");
	attach_for("db", "bob", "veth-db");
	as(ALICE);
	for (unsigned i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		expect_error("org.sekisho.Rules.Add", rules(no[i]), DENIED);
	expect_error("org.sekisho.Rules.Add",
		json_pack("{s:[s], s:s}", "rules", "allow web to a.example.org", "owner", "bob"), DENIED);
	/* Refusing is everybody's right, and a wider network does not reach inside. */
	json_decref(add("deny web to 100.64.3.9"));
	json_decref(add("allow web to 100.0.0.0/8"));
	json_t *mine = add("allow web to a.example.org");
	assert_string_equal(str(mine, "owner"), "alice");
	as(BOB);
	expect_error("org.sekisho.Rules.List", json_pack("{s:b}", "all", 1), DENIED);
	json_t *p = expect("org.sekisho.Rules.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "rules")), 0);
	json_decref(p);
	expect_error("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(mine, "rule_id")),
		"org.sekisho.NoSuchThing");
	expect_error("org.sekisho.Rules.Why",
		json_pack("{s:s, s:s, s:s}", "app", "web", "name", "a.example.org", "owner", "alice"), DENIED);
	as(CAROL);
	json_decref(expect("org.sekisho.Rules.Remove", json_pack("{s:[s]}", "ids", str(mine, "rule_id"))));
	json_decref(mine);
}

/* So many rules are one person's; an admin's refusal about his applications has room all the same. */
static void test_rules_limit(void **state)
{
	(void)state;
	start(NULL);
	as(ALICE);
	for (unsigned i = 0; i < DESK_RULES_PER_OWNER / 1000; i++) {
		json_t *lines = json_array();
		for (unsigned k = 0; k < 1000; k++)
			json_array_append_new(lines, json_sprintf("allow web to n%u.example.org", 1000 * i + k));
		json_decref(expect("org.sekisho.Rules.Add", json_pack("{s:o}", "rules", lines)));
	}
	expect_error("org.sekisho.Rules.Add", rules("deny web to bad.example.org"), "org.sekisho.Failed");
	as(CAROL);
	json_decref(expect("org.sekisho.Rules.Add",
		json_pack("{s:[s], s:s}", "rules", "deny web to bad.example.org", "owner", "alice")));
	as(BOB);
	json_decref(add("allow web to bob.example.org"));
}

static long resident_kib(void)
{
	char path[40];
	long pages = 0;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)w.pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %ld", &pages), 1);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Connections that were given much and then say nothing keep none of it. */
static void test_idle_memory(void **state)
{
	(void)state;
	enum { IDLE = 40, RULES = 1900 };
	static struct call all[IDLE];
	start(NULL);
	as(ALICE);
	for (unsigned part = 0; part < 2; part++) {
		json_t *lines = json_array();
		for (unsigned k = 0; k < RULES / 2; k++)
			json_array_append_new(lines,
				json_sprintf("allow web to n%u.example.org note \"%0100u\"", RULES * part + k, k));
		json_decref(expect("org.sekisho.Rules.Add", json_pack("{s:o}", "rules", lines)));
	}
	json_decref(expect("org.sekisho.Rules.List", NULL));
	long before = resident_kib();
	for (unsigned i = 0; i < IDLE; i++) {
		call_begin(&all[i], "org.sekisho.Rules.List", NULL, NULL);
		json_t *m = call_next(&all[i]);
		assert_int_equal(json_array_size(json_object_get(json_object_get(m, "parameters"), "rules")), RULES);
		json_decref(m);
	}
	long grown = resident_kib() - before;
	print_message("%d idle connections after a long reply: %ld KiB\n", (int)IDLE, grown);
	/* The address sanitizer keeps what was released. */
#ifndef __SANITIZE_ADDRESS__
	assert_true(grown < 8192);
#endif
	for (unsigned i = 0; i < IDLE; i++)
		call_end(&all[i]);
}

static void test_own_apps(void **state)
{
	(void)state;
	start("allow payroll to pay.example.org\ngroup office = { writer, reader }\n"
	      "set trusted = { app:scanner, lan }\nallow any from app:proxy port 22\n");
	as(ALICE);
	expect_error("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", "web", "port", "veth-x"), DENIED);
	/* Names that the admin's rules and groups speak of are lent to nobody. */
	expect_run("payroll", DENIED);
	expect_run("reader", DENIED);
	expect_run("proxy", DENIED);
	expect_run("scanner", DENIED);
	expect_run("web", NULL);
	as(BOB);
	json_t *p = expect("org.sekisho.Apps.List", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "apps")), 0);
	json_decref(p);
	expect_error("org.sekisho.Apps.List", json_pack("{s:b}", "all", 1), DENIED);
	expect_error("org.sekisho.Apps.Stop", json_pack("{s:s}", "app", "web"), "org.sekisho.NoSuchThing");
	expect_error("org.sekisho.Apps.Stop", json_pack("{s:s, s:s}", "app", "web", "owner", "alice"), DENIED);
	as(CAROL);
	expect_run("payroll", NULL);
	json_decref(expect("org.sekisho.Apps.Stop", json_pack("{s:s, s:s}", "app", "web", "owner", "alice")));
}

static void serve(struct call *c, uid_t uid)
{
	as(uid);
	call_begin(c, "org.sekisho.Questions.Serve", NULL, "more");
	json_decref(event(c, "snapshot"));
}

static bool silent(struct call *c)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	return poll(&p, 1, 0) == 0;
}

/* The owner at once, admins when he has not answered for a while, others never, neither by serving nor by guessing the
 * id. */
static void test_whose_question(void **state)
{
	(void)state;
	struct call alice, bob, carol;
	start(NULL);
	attach_for("web", "alice", "veth-x");
	serve(&alice, ALICE);
	serve(&bob, BOB);
	serve(&carol, CAROL);
	int64_t asked = clock_boot_ms();
	ask_gate(5, "www.example.org", 60000);
	json_t *p = event(&alice, "question"), *q = json_object_get(p, "question");
	assert_true(silent(&carol));
	json_t *admins = event(&carol, "question");
	assert_in_range(clock_boot_ms() - asked, DESK_ADMIN_AFTER_MS - 100, DESK_ADMIN_AFTER_MS + 10000);
	assert_string_equal(str(json_object_get(admins, "question"), "id"), str(q, "id"));
	as(BOB);
	expect_error("org.sekisho.Questions.Answer", answer_params(q, "allow web to www.example.org"),
		"org.sekisho.Changed");
	expect_error("org.sekisho.Questions.List", json_pack("{s:b}", "all", 1), DENIED);
	json_t *list = expect("org.sekisho.Questions.List", NULL);
	assert_int_equal(json_array_size(json_object_get(list, "questions")), 0);
	json_decref(list);
	/* An admin's answer belongs to the owner of the application. */
	as(CAROL);
	json_decref(
		expect("org.sekisho.Questions.Answer", answer_params(q, "allow web to www.example.org port 443/tcp")));
	json_decref(event(&alice, "cancelled"));
	assert_true(silent(&bob));
	as(ALICE);
	list = expect("org.sekisho.Rules.List", NULL);
	assert_string_equal(str(json_array_get(json_object_get(list, "rules"), 0), "owner"), "alice");
	json_decref(list);
	json_decref(admins);
	json_decref(p);
	call_end(&alice);
	call_end(&bob);
	call_end(&carol);
}

static json_t *next_question(struct call *c, uint32_t number)
{
	ask_gate(number, "www.example.org", 60000);
	json_t *p = event(c, "question"), *q = json_incref(json_object_get(p, "question"));
	json_decref(p);
	return q;
}

/* The same question of the same run has one id, whoever was killed in between; of another run, or of another policy,
 * another. */
static void test_same_question(void **state)
{
	(void)state;
	struct call c;
	start("deny any to bad.example.com\n");
	attach_for("web", "root", "veth-x");
	serve(&c, 0);
	json_t *q = next_question(&c, 5);
	call_end(&c);
	end_desk(SIGKILL);
	start("deny any to bad.example.com\n");
	serve(&c, 0);
	json_t *again = next_question(&c, 5);
	assert_string_equal(str(again, "id"), str(q, "id"));
	assert_string_equal(str(again, "digest"), str(q, "digest"));
	json_decref(again);
	lose_channel(ROLE_GATE);
	json_decref(event(&c, "cancelled"));
	w.generation = 0;
	give_channel(ROLE_GATE);
	again = next_question(&c, 1);
	assert_string_equal(str(again, "id"), str(q, "id"));
	json_decref(again);
	json_decref(expect("org.sekisho.Apps.Detach", json_pack("{s:s}", "app", "web")));
	json_decref(event(&c, "cancelled"));
	attach_for("web", "root", "veth-x");
	again = next_question(&c, 2);
	assert_string_not_equal(str(again, "id"), str(q, "id"));
	json_decref(again);
	json_decref(q);
	call_end(&c);
}

static void test_clients_limit(void **state)
{
	(void)state;
	enum { USERS = 9 };
	static struct call all[USERS * DESK_CLIENTS_PER_UID];
	unsigned kept = 0, refused = 0, n = 0;
	start(NULL);
	for (unsigned u = 0; u < USERS; u++) {
		as(U01 + u);
		for (unsigned i = 0; i < DESK_CLIENTS_PER_UID; i++, n++) {
			call_begin(&all[n], "org.sekisho.Ping", NULL, NULL);
			json_t *m = call_next(&all[n]);
			bool no = json_object_get(m, "error") != NULL;
			assert_true(!no || strcmp(str(m, "error"), "org.sekisho.Limit") == 0);
			kept += !no;
			refused += no;
			json_decref(m);
		}
	}
	assert_int_equal(kept, DESK_CLIENTS);
	assert_int_equal(refused, USERS * DESK_CLIENTS_PER_UID - DESK_CLIENTS);
	while (n > 0)
		call_end(&all[--n]);
}

static void test_apps_limit(void **state)
{
	(void)state;
	start(NULL);
	as(ALICE);
	for (unsigned i = 0; i < DESK_APPS_PER_UID; i++) {
		char name[16];
		snprintf(name, sizeof(name), "a%u", i);
		expect_run(name, NULL);
		close(w.stream);
		w.stream = -1;
	}
	expect_run("one-more", "org.sekisho.Limit");
	as(BOB);
	expect_run("one-more", NULL);
}

static void send_all(struct call *c, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		if (n < 0) {
			struct pollfd p = { .fd = c->fd, .events = POLLOUT };
			assert_true(poll(&p, 1, 30000) == 1);
			continue;
		}
		bytes += n;
		len -= (size_t)n;
	}
}

/* Too long, and too deep: the connection ends, the others go on. */
static void test_message_limits(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	char *spaces = malloc(API_MESSAGE_MAX + 1),
	     deep[128] = "{\"method\":\"org.sekisho.Ping\",\"parameters\":{\"x\":";
	memset(spaces, ' ', API_MESSAGE_MAX + 1);
	as(ALICE);
	call_begin(&c, "org.sekisho.Ping", NULL, NULL);
	json_decref(call_next(&c));
	send_all(&c, spaces, API_MESSAGE_MAX + 1);
	expect_closed(&c);
	call_end(&c);
	call_begin(&c, "org.sekisho.Ping", NULL, NULL);
	json_decref(call_next(&c));
	size_t n = strlen(deep);
	memset(deep + n, '[', API_DEPTH_MAX - 2);
	memset(deep + n + API_DEPTH_MAX - 2, ']', API_DEPTH_MAX - 2);
	strcpy(deep + n + 2 * (API_DEPTH_MAX - 2), "}}");
	send_all(&c, deep, strlen(deep) + 1);
	json_decref(call_next(&c));
	/* One level more. */
	memset(deep + n, '[', API_DEPTH_MAX - 1);
	memset(deep + n + API_DEPTH_MAX - 1, ']', API_DEPTH_MAX - 1);
	strcpy(deep + n + 2 * (API_DEPTH_MAX - 1), "}}");
	send_all(&c, deep, strlen(deep) + 1);
	expect_closed(&c);
	call_end(&c);
	free(spaces);
	json_decref(expect("org.sekisho.Ping", NULL));
}

static int64_t cpu_ms(void)
{
	struct timespec t;
	clockid_t clock;
	assert_int_equal(clock_getcpuclockid(w.pid, &clock), 0);
	assert_int_equal(clock_gettime(clock, &t), 0);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Half a message is waited for, not looked for again and again. */
static void test_half_message(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	as(DAVE);
	call_begin(&c, "org.sekisho.Ping", NULL, NULL);
	json_decref(call_next(&c));
	send_all(&c, "{\"method\":", 10);
	json_decref(expect("org.sekisho.Ping", NULL));
	int64_t before = cpu_ms();
	poll(NULL, 0, 400);
	assert_in_range(cpu_ms() - before, 0, 200);
	send_all(&c, "\"org.sekisho.Ping\"}", 20);
	json_decref(call_next(&c));
	call_end(&c);
}

/* Many calls that came together, while one before them waited, are answered one a turn: others do not wait for all of
 * them. */
static void test_pipelined(void **state)
{
	(void)state;
	static const char ping[] = "{\"method\":\"org.sekisho.Ping\",\"oneway\":true}";
	enum { PINGS = API_MESSAGE_MAX / sizeof(ping) };
	struct call c;
	start(NULL);
	as(ALICE);
	w.hold_policy = true;
	call_begin(&c, "org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", "allow web to a.example.org"), NULL);
	char *many = malloc(PINGS * sizeof(ping));
	for (unsigned i = 0; i < PINGS; i++)
		memcpy(many + i * sizeof(ping), ping, sizeof(ping));
	send_all(&c, many, PINGS * sizeof(ping));
	free(many);
	int unread = 1;
	while (unread > 0) {
		assert_int_equal(ioctl(c.fd, SIOCOUTQ, &unread), 0);
		json_decref(expect("org.sekisho.Ping", NULL));
	}
	assert_int_equal(ipc_send_result(w.chan[ROLE_GATE], w.held_id, 0, 0, NULL), 0);
	json_decref(call_next(&c));
	/* By the desk's own time, which no other test beside us lengthens. */
	int64_t dearest = 0;
	for (unsigned i = 0; i < 20; i++) {
		int64_t at = cpu_ms();
		json_decref(expect("org.sekisho.Ping", NULL));
		dearest = cpu_ms() - at > dearest ? cpu_ms() - at : dearest;
	}
	print_message("a call beside %d others cost at most %lld ms\n", (int)PINGS, (long long)dearest);
	assert_in_range(dearest, 0, 150);
	call_end(&c);
	w.hold_policy = false;
}

/* Members of a call that make it dear: refused before they are made, the ids of a removal by their number. */
static void test_dear_calls(void **state)
{
	(void)state;
	struct call c;
	start(NULL);
	as(ALICE);
	json_t *ids = json_array(), *m = json_object();
	for (unsigned i = 0; i <= 1000; i++)
		json_array_append_new(ids, json_string("abcd"));
	json_object_set_new(m, "ids", ids);
	expect_error("org.sekisho.Rules.Remove", m, "org.sekisho.Limit");
	char *text = malloc(API_MESSAGE_MAX);
	size_t n = (size_t)sprintf(text, "{\"method\":\"org.sekisho.Ping\",\"parameters\":{\"x\":[[]");
	for (unsigned i = 0; i < API_VALUES_MAX; i++, n += 3)
		memcpy(text + n, ",[]", 3);
	memcpy(text + n, "]}}", 4);
	call_begin(&c, "org.sekisho.Ping", NULL, NULL);
	json_decref(call_next(&c));
	send_all(&c, text, n + 4);
	expect_closed(&c);
	call_end(&c);
	free(text);
}

/* A change whose reply does not fit into a message is made, and its maker is told so. */
static void test_long_reply(void **state)
{
	(void)state;
	enum { RULES = 900 };
	char line[1024];
	start(NULL);
	for (unsigned again = 0; again < 2; again++) {
		json_t *lines = json_array();
		for (unsigned i = 0; i < RULES; i++) {
			int n = snprintf(line, sizeof(line), "allow web to www.site%u.org port ", i);
			for (unsigned port = 0; port < 160; port++)
				n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%u", port == 0 ? "" : ",",
					1000 + port);
			json_array_append_new(lines, json_string(line));
		}
		json_t *p = json_pack("{s:o}", "rules", lines);
		if (again != 0)
			expect_error("org.sekisho.Rules.Add", p, "org.sekisho.Limit");
		else
			json_decref(expect("org.sekisho.Rules.Add", p));
	}
	json_t *p = expect("org.sekisho.Admin.Status", NULL);
	assert_int_equal(json_integer_value(json_object_get(p, "rules")), RULES);
	json_decref(p);
}

/* Follows the log and never reads: gone when its backlog is full, and nobody had to wait for it. */
static void test_slow_reader(void **state)
{
	(void)state;
	struct call slow;
	start(NULL);
	attach_for("web", "alice", "veth-x");
	as(ALICE);
	call_begin(&slow, "org.sekisho.Connections.Log", json_pack("{s:b}", "follow", 1), "more");
	json_decref(call_next(&slow));
	struct ipc_event e = { .kind = EVENT_CONNECTION, .ref = w.app.ref, .proto = 6, .port = 443 };
	static const char name[] =
		"a-name-that-is-long-enough-to-fill-the-backlog-soon.and-a-second-label-of-that-kind.example.org";
	assert_true(name_from_text(name, strlen(name), &e.name));
	bool gone = false;
	for (unsigned i = 0; i < 400 && !gone; i++) {
		for (unsigned k = 0; k < 50; k++)
			assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_EVENT, 0, event, &e, NULL, 0), 0);
		as(0);
		json_t *p = expect("org.sekisho.Admin.Status", NULL);
		/* This call's own connection, perhaps the one before it, and the slow one. */
		gone = json_integer_value(json_object_get(p, "clients")) == 1;
		json_decref(p);
	}
	assert_true(gone);
	expect_closed(&slow);
	call_end(&slow);
}

/* What the groups do not give polkit may, for one call. */
static void test_polkit(void **state)
{
	(void)state;
	json_t *attach_params = json_pack("{s:s, s:s}", "app", "web", "port", "veth-x");
	start(NULL);
	as(ALICE);
	w.polkit = -EACCES;
	expect_error("org.sekisho.Apps.Attach", json_incref(attach_params), DENIED);
	assert_int_equal(w.n_auth_asks, 0);
	auth_says(true, false, 0);
	/* The desk has taken the state when it has answered a later call. */
	json_decref(expect("org.sekisho.Ping", NULL));
	expect_error("org.sekisho.Apps.Attach", json_incref(attach_params), DENIED);
	assert_int_equal(w.n_auth_asks, 1);
	assert_int_equal(w.auth_ask.action, AUTH_ADMIN);
	assert_int_equal(w.auth_peer.uid, ALICE);
	w.polkit = 0;
	json_decref(expect("org.sekisho.Apps.Attach", attach_params));
	json_decref(expect("org.sekisho.Apps.List", json_pack("{s:b}", "all", 1)));
	assert_int_equal(w.auth_ask.action, AUTH_VIEW_ALL);
	/* For that call alone. */
	unsigned before = w.n_auth_asks;
	w.polkit = -EACCES;
	expect_error("org.sekisho.Rules.Add", rules("final deny web"), DENIED);
	assert_int_equal(w.n_auth_asks, before + 1);
	/* Somebody in no group. */
	as(DAVE);
	expect_error("org.sekisho.Apps.List", NULL, DENIED);
	assert_int_equal(w.auth_ask.action, AUTH_VIEW_OWN);
	w.polkit = 0;
	json_decref(expect("org.sekisho.Apps.List", NULL));
	/* Who is to say so has died: no. */
	struct call c;
	w.polkit = 1;
	before = w.n_auth_asks;
	call_begin(&c, "org.sekisho.Apps.List", NULL, NULL);
	UNTIL(w.n_auth_asks > before);
	lose_channel(ROLE_AUTH);
	json_t *m = call_next(&c);
	assert_string_equal(str(m, "error"), DENIED);
	json_decref(m);
	call_end(&c);
	as(0);
	json_t *p = expect("org.sekisho.Admin.WhoAmI", NULL);
	assert_int_equal(json_array_size(json_object_get(p, "rights")), 5);
	json_decref(p);
}

static size_t n_rules(void)
{
	json_t *p = expect("org.sekisho.Rules.List", NULL);
	size_t n = json_array_size(json_object_get(p, "rules"));
	json_decref(p);
	return n;
}

/* `until logout`: the owner's last session; without logind, and without a session, refused with the reason. */
static void test_until_logout(void **state)
{
	(void)state;
	start(NULL);
	as(ALICE);
	expect_error("org.sekisho.Rules.Add", rules("allow web to a.example.org until logout"), "org.sekisho.Failed");
	auth_says(false, true, BOB);
	json_decref(expect("org.sekisho.Ping", NULL));
	expect_error("org.sekisho.Rules.Add", rules("allow web to a.example.org until logout"), "org.sekisho.Failed");
	auth_says(false, true, ALICE);
	json_decref(expect("org.sekisho.Ping", NULL));
	json_decref(add("allow web to a.example.org until logout"));
	assert_int_equal(n_rules(), 1);
	/* logind restarts: nobody has logged out; and a rule can be taken away whatever it says. */
	auth_says(false, false, 0);
	json_decref(expect("org.sekisho.Ping", NULL));
	assert_int_equal(n_rules(), 1);
	json_t *list = expect("org.sekisho.Rules.List", NULL);
	json_decref(expect("org.sekisho.Rules.Remove",
		json_pack("{s:[s]}", "ids", str(json_array_get(json_object_get(list, "rules"), 0), "rule_id"))));
	json_decref(list);
	auth_says(false, true, ALICE);
	json_decref(expect("org.sekisho.Ping", NULL));
	json_decref(add("allow web to a.example.org until logout"));
	auth_says(false, true, BOB);
	json_decref(expect("org.sekisho.Ping", NULL));
	assert_int_equal(n_rules(), 0);
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "ended", 1));
	assert_string_equal(str(json_array_get(json_object_get(p, "rules"), 1), "reason"), "its owner has logged out");
	json_decref(p);
}

/* A parameter that is refused is refused with a reason. */
static void test_parameter_reasons(void **state)
{
	(void)state;
	static const struct {
		const char *method, *params, *parameter;
	} wrong[] = {
		{ "Apps.List", "{\"all\": 1}", "all" },
		{ "Apps.Stop", "{}", "app" },
		{ "Apps.Stop", "{\"app\": \"to\"}", "app" },
		{ "Apps.Attach", "{\"app\": \"web\", \"port\": \"x\", \"ask\": \"maybe\"}", "ask" },
		{ "Rules.Add", "{\"rules\": [1]}", "rules" },
		{ "Rules.Add", "{\"rules\": \"allow web\"}", "rules" },
		{ "Rules.Why", "{\"app\": \"web\"}", "name" },
		{ "Rules.Why", "{\"app\": \"web\", \"address\": \"here\"}", "address" },
		{ "Rules.Why", "{\"app\": \"web\", \"name\": \"a.example.org\", \"protocol\": \"ip\"}", "protocol" },
		{ "Rules.Why", "{\"app\": \"web\", \"name\": \"a.example.org\", \"port\": 65536}", "port" },
		{ "Questions.Answer", "{\"id\": \"q1\", \"digest\": \"x\"}", "rule" },
		{ "Connections.Log", "{\"since\": \"yesterday\"}", "since" },
	};
	start(NULL);
	as(CAROL);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct call c;
		char method[64];
		snprintf(method, sizeof(method), "org.sekisho.%s", wrong[i].method);
		call_begin(&c, method, json_loads(wrong[i].params, 0, NULL), NULL);
		json_t *m = call_next(&c), *p = json_object_get(m, "parameters");
		assert_string_equal(str(m, "error"), "org.varlink.service.InvalidParameter");
		assert_string_equal(str(p, "parameter"), wrong[i].parameter);
		assert_true(strlen(str(p, "text")) > strlen("parameter : ") + strlen(wrong[i].parameter));
		json_decref(m);
		call_end(&c);
	}
}

static const json_t *doctor(json_t *p, const char *what)
{
	const json_t *k;
	size_t i;
	json_array_foreach(json_object_get(p, "checks"), i, k)
	{
		if (strcmp(str(k, "check"), what) == 0)
			return k;
	}
	return NULL;
}

static void damage(void)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/store/store.db", w.dir);
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "no database at all ", 16, 0), 16);
	close(fd);
}

/* Nothing passes, whatever the files say; the control socket tells what to do; a person's decision is enough. */
static void test_damaged(void **state)
{
	(void)state;
	char path[128];
	start(NULL);
	json_decref(add("deny web to bad.example.com"));
	assert_int_equal(end_desk(0), 0);
	damage();
	start("final allow any to internet\n");
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_DENY);
	assert_int_equal(policy_n_rules(w.policy), 2);
	assert_int_equal(w.block.first, 1);
	json_t *p = expect("org.sekisho.Admin.Doctor", NULL);
	/* Main's part comes behind desk's own; that nobody answers questions is no fault. */
	const json_t *k = doctor(p, "offload");
	assert_true(json_is_false(json_object_get(k, "ok")));
	assert_string_equal(str(k, "fix"), "mend it");
	assert_true(json_is_true(json_object_get(doctor(p, "questions"), "ok")));
	k = doctor(p, "store");
	assert_true(json_is_false(json_object_get(k, "ok")));
	assert_non_null(strstr(str(k, "text"), "store.db.damaged-1"));
	assert_non_null(strstr(str(k, "fix"), "store/store.db.accept"));
	json_decref(p);
	expect_error("org.sekisho.Rules.Add", rules("allow web to www.example.org"), "org.sekisho.Failed");
	expect_error("org.sekisho.Apps.Attach", json_pack("{s:s, s:s}", "app", "web", "port", "veth-x"),
		"org.sekisho.Failed");
	end_desk(SIGKILL);
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_DENY);
	snprintf(path, sizeof(path), "%s/store/store.db.accept", w.dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
	/* A reload: the desk ends so that a fresh one looks; it does not wait for the gate's word about the last
	 * policy. */
	w.mortal = true;
	give_policy(NULL);
	assert_int_equal(wait_desk(), 0);
	w.mortal = false;
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	p = expect("org.sekisho.Admin.Doctor", NULL);
	assert_true(json_is_true(json_object_get(doctor(p, "store"), "ok")));
	json_decref(p);
}

/* Who asks while main is already answering another gets all of it, not the rest. */
static void test_two_doctors(void **state)
{
	(void)state;
	struct call a, b;
	start(NULL);
	w.hold_doctor = true;
	call_begin(&a, "org.sekisho.Admin.Doctor", NULL, NULL);
	UNTIL(w.n_doctors == 1);
	main_check("first");
	for (unsigned i = 0; i < 3; i++)
		json_decref(expect("org.sekisho.Ping", NULL));
	call_begin(&b, "org.sekisho.Admin.Doctor", NULL, NULL);
	UNTIL(w.n_doctors == 2);
	main_check("second");
	main_check(NULL);
	main_check("first");
	main_check("second");
	main_check(NULL);
	for (unsigned i = 0; i < 2; i++) {
		json_t *m = call_next(i == 0 ? &a : &b), *p = json_object_get(m, "parameters");
		assert_non_null(doctor(p, "first"));
		assert_non_null(doctor(p, "second"));
		size_t n = 0, k;
		const json_t *one;
		json_array_foreach(json_object_get(p, "checks"), k, one) n += strcmp(str(one, "check"), "first") == 0;
		assert_int_equal(n, 1);
		json_decref(m);
	}
	call_end(&a);
	call_end(&b);
}

int main(void)
{
#define DESK_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = { DESK_TEST(test_strangers), DESK_TEST(test_own_rules),
		DESK_TEST(test_own_apps), DESK_TEST(test_whose_question), DESK_TEST(test_same_question),
		DESK_TEST(test_clients_limit), DESK_TEST(test_apps_limit), DESK_TEST(test_message_limits),
		DESK_TEST(test_half_message), DESK_TEST(test_idle_memory), DESK_TEST(test_two_doctors),
		DESK_TEST(test_rules_limit), DESK_TEST(test_pipelined), DESK_TEST(test_dear_calls),
		DESK_TEST(test_long_reply), DESK_TEST(test_slow_reader), DESK_TEST(test_damaged),
		DESK_TEST(test_polkit), DESK_TEST(test_until_logout), DESK_TEST(test_parameter_reasons) };
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0 || !private_users())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
