/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[96], error[STORE_ERROR_MAX];
#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/sekisho-store-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/store.db", dir);
	return 0;
}

static int drop_dir(void **state)
{
	(void)state;
	char cmd[128];
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static struct store *open_store(void)
{
	struct store *s = NULL;
	assert_int_equal(store_open(path, &s, error), 0);
	return s;
}

static struct store_rule rule_a(void)
{
	return (struct store_rule){ .id = ID_A,
		.line = "allow web to www.example.org 3 times",
		.origin = 2,
		.owner = 1000,
		.created_ms = 5,
		.deadline_ms = INT64_MAX,
		.times_left = 3,
		.boot_id = "b" };
}

static unsigned count_rules(struct store *s, struct store_rule *last, char line[STORE_TEXT_MAX])
{
	struct store_rows *q;
	struct store_rule r;
	unsigned n = 0;
	assert_int_equal(store_rules(s, &q), 0);
	for (; store_rules_next(q, &r) == 1; n++) {
		*last = r;
		snprintf(line, STORE_TEXT_MAX, "%s", r.line);
	}
	store_rows_end(q);
	return n;
}

/* Whatever was committed is there after kill -9; what was not, is not. */
static void test_kill(void **state)
{
	(void)state;
	int p[2];
	assert_int_equal(pipe(p), 0);
	pid_t pid = fork();
	if (pid == 0) {
		struct store *s = open_store();
		struct store_rule r = rule_a();
		uint32_t first;
		if (store_rule_add(s, &r) != 0 || store_commit(s) != 0 || store_rule_times(s, r.seq, 2) != 0 ||
			store_commit(s) != 0 || store_take(s, STORE_GRANTS, STORE_BLOCK, &first) != 0 || first != 1)
			_exit(1);
		r.id = ID_B;
		if (store_rule_add(s, &r) != 0 || write(p[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	char c;
	assert_int_equal(read(p[0], &c, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	struct store *s = open_store();
	struct store_rule r;
	char line[STORE_TEXT_MAX];
	assert_int_equal(count_rules(s, &r, line), 1);
	assert_int_equal(r.times_left, 2);
	assert_string_equal(line, "allow web to www.example.org 3 times");
	uint32_t first = 0;
	assert_int_equal(store_take(s, STORE_GRANTS, STORE_BLOCK, &first), 0);
	assert_int_equal(first, 1 + STORE_BLOCK);
	store_close(s);
	close(p[0]);
	close(p[1]);
}

static void test_rules(void **state)
{
	(void)state;
	struct store *s = open_store();
	struct store_rule r = rule_a(), again = rule_a();
	assert_int_equal(store_rule_add(s, &r), 0);
	/* One running rule per id; an ended one stands beside its successor. */
	assert_int_equal(store_rule_add(s, &again), -EEXIST);
	assert_int_equal(store_rule_end(s, r.seq, 7, 100), 0);
	assert_int_equal(store_rule_add(s, &again), 0);
	assert_int_equal(store_commit(s), 0);
	char line[STORE_TEXT_MAX];
	struct store_rule last;
	assert_int_equal(count_rules(s, &last, line), 2);
	assert_int_equal(store_rules_prune(s, 101), 0);
	assert_int_equal(count_rules(s, &last, line), 1);
	store_rollback(s);
	assert_int_equal(count_rules(s, &last, line), 2);
	store_close(s);
}

static void test_journal(void **state)
{
	(void)state;
	struct store *s = open_store();
	struct store_journal j = { .time_ms = 1,
		.who = 1000,
		.what = "added",
		.rule_id = ID_A,
		.line = "allow web",
		.why = NULL };
	assert_int_equal(store_journal_add(s, &j), 0);
	assert_int_equal(store_commit(s), 0);
	uint64_t n = 0;
	assert_int_equal(store_journal_count(s, &n), 0);
	assert_int_equal(n, 1);
	uint32_t change = 0;
	assert_int_equal(store_journal_undoable(s, 1000, UINT32_MAX, &change), -ENOENT);
	assert_int_equal(store_journal_next(s, &j.change), 0);
	assert_int_equal(j.change, 1);
	assert_int_equal(store_journal_add(s, &j), 0);
	assert_int_equal(store_journal_undoable(s, 1001, UINT32_MAX, &change), -ENOENT);
	assert_int_equal(store_journal_undoable(s, 1000, UINT32_MAX, &change), 0);
	assert_int_equal(change, 1);
	j.undoes = j.change++;
	assert_int_equal(store_journal_add(s, &j), 0);
	assert_int_equal(store_commit(s), 0);
	assert_int_equal(store_journal_undoable(s, UINT32_MAX, UINT32_MAX, &change), -ENOENT);
	store_close(s);
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_not_equal(sqlite3_exec(db, "DELETE FROM journal", NULL, NULL, NULL), SQLITE_OK);
	assert_int_not_equal(sqlite3_exec(db, "UPDATE journal SET who = 0", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void test_apps(void **state)
{
	(void)state;
	struct store *s = open_store();
	struct store_app a = { .slot = 3,
		.run = 9,
		.owner = 1000,
		.name = "web",
		.ifname = "veth1",
		.mac = { { 2, 0, 0, 0, 0, 1 } },
		.zone = 40018,
		.names_zone = 40019,
		.started_ms = 77 };
	assert_int_equal(store_app_put(s, &a), 0);
	assert_int_equal(store_copy_put(s, STORE_SYN, 9, 1, "abc", 3), 0);
	assert_int_equal(store_copy_put(s, STORE_SYN, 9, 1, "abcd", 4), 0);
	assert_int_equal(store_copy_put(s, STORE_GRANT, 9, 1, "g", 1), 0);
	assert_int_equal(store_commit(s), 0);
	store_close(s);
	s = open_store();
	struct store_rows *q;
	struct store_app b;
	assert_int_equal(store_apps(s, &q), 0);
	assert_int_equal(store_apps_next(q, &b), 1);
	assert_string_equal(b.name, "web");
	assert_string_equal(b.ifname, "veth1");
	assert_true(mac_equal(&a.mac, &b.mac));
	assert_int_equal(b.names_zone, 40019);
	assert_int_equal(store_apps_next(q, &b), 0);
	store_rows_end(q);
	struct store_copy_row c;
	assert_int_equal(store_copies(s, STORE_SYN, &q), 0);
	assert_int_equal(store_copies_next(q, &c), 1);
	assert_int_equal(c.len, 4);
	assert_memory_equal(c.body, "abcd", 4);
	assert_int_equal(store_copies_next(q, &c), 0);
	store_rows_end(q);
	assert_int_equal(store_app_del(s, 3, 9), 0);
	assert_int_equal(store_copies(s, STORE_GRANT, &q), 0);
	assert_int_equal(store_copies_next(q, &c), 0);
	store_rows_end(q);
	store_close(s);
}

static void test_history(void **state)
{
	(void)state;
	struct store *s = open_store();
	for (int i = 0; i < 10; i++) {
		struct store_event e = { .time_ms = i,
			.owner = (uint32_t)(1000 + i % 2),
			.app = i < 5 ? "web" : "db",
			.json = "{}" };
		assert_int_equal(store_event_add(s, &e), 0);
	}
	struct store_event_filter f = { .app = "db", .owner = 1001, .since_ms = 0, .limit = 2 };
	struct store_rows *q;
	struct store_event e;
	assert_int_equal(store_events(s, &f, &q), 0);
	assert_int_equal(store_events_next(q, &e), 1);
	assert_int_equal(e.time_ms, 7);
	assert_int_equal(store_events_next(q, &e), 1);
	assert_int_equal(e.time_ms, 9);
	assert_int_equal(store_events_next(q, &e), 0);
	store_rows_end(q);
	struct store_question in = { .id = 4, .owner = 1000, .time_ms = 1, .json = "{\"a\":1}" }, out;
	assert_int_equal(store_question_put(s, &in), 0);
	assert_int_equal(store_questions(s, &q), 0);
	assert_int_equal(store_questions_next(q, &out), 1);
	assert_int_equal(out.id, 4);
	assert_string_equal(out.json, "{\"a\":1}");
	store_rows_end(q);
	assert_int_equal(store_question_del(s, 4), 0);
	store_close(s);
}

static unsigned count_events(struct store *s, const struct store_event_filter *f)
{
	struct store_rows *q;
	struct store_event e;
	unsigned n = 0;
	assert_int_equal(store_events(s, f, &q), 0);
	while (store_events_next(q, &e) == 1)
		n++;
	store_rows_end(q);
	return n;
}

/* Rows, bytes and age are each a limit; what is found by is found. */
static void test_retention(void **state)
{
	(void)state;
	struct store *s = open_store();
	struct store_event_filter all = { .owner = UINT32_MAX, .limit = 100000 };
	store_history_limits(s, 1000, 1 << 20, 1000000);
	for (int i = 0; i < 3000; i++) {
		struct store_event e = { .time_ms = i,
			.owner = 1000,
			.app = "web",
			.json = "{\"n\":1234567890}",
			.event = "connection",
			.verdict = i % 2 == 0 ? "allow" : "deny",
			.peer = i == 2900 ? "rare.example.org" : "www.example.org",
			.rule = i == 2901 ? ID_A : NULL };
		assert_int_equal(store_event_add(s, &e), 0);
	}
	assert_int_equal(store_commit(s), 0);
	assert_in_range(count_events(s, &all), 1000, 1064);
	struct store_event_filter f = { .owner = UINT32_MAX, .limit = 100000, .peer = "rare.example.org" };
	assert_int_equal(count_events(s, &f), 1);
	f.verdict = "deny";
	assert_int_equal(count_events(s, &f), 0);
	f = (struct store_event_filter){ .owner = 1000, .limit = 100000, .rule = ID_A, .event = "connection" };
	assert_int_equal(count_events(s, &f), 1);
	f = (struct store_event_filter){ .owner = UINT32_MAX, .limit = 10, .since_ms = 2990, .verdict = "allow" };
	assert_int_equal(count_events(s, &f), 5);
	f.before = 2993; /* seq: one more than the time */
	assert_int_equal(count_events(s, &f), 1);
	int64_t low = -1;
	assert_int_equal(store_events_low(s, &f, &low), 0);
	assert_int_equal(low, 0);
	/* Bytes: 17 each. The sum outlives a restart. */
	store_close(s);
	s = open_store();
	store_history_limits(s, 1000000, 17 * 500, 1000000);
	struct store_event e = { .time_ms = 3000, .owner = 1000, .json = "{\"n\":1234567890}" };
	for (int i = 0; i < 1000; i++)
		assert_int_equal(store_event_add(s, &e), 0);
	assert_int_equal(store_commit(s), 0);
	assert_in_range(count_events(s, &all), 200, 600);
	/* Age. */
	store_history_limits(s, 1000000, 1 << 20, 10);
	e.time_ms = 5000;
	for (int i = 0; i < 640; i++)
		assert_int_equal(store_event_add(s, &e), 0);
	assert_int_equal(count_events(s, &all), 640);
	store_close(s);
}

/* A full disk is an error before anything is acknowledged, and the store stays whole and usable. */
static void test_full(void **state)
{
	(void)state;
	struct store *s = open_store();
	assert_int_equal(store_limit_pages(s, 40), 0);
	static char line[8001];
	memset(line, 'x', sizeof(line) - 1);
	int err = 0;
	unsigned kept = 0;
	for (unsigned i = 0; i < 200 && err == 0; i++) {
		char id[STORE_RULE_ID];
		snprintf(id, sizeof(id), "%052u", i);
		struct store_rule r = { .id = id, .line = line, .boot_id = "" };
		err = store_rule_add(s, &r);
		if (err == 0)
			err = store_commit(s);
		else
			store_rollback(s);
		kept += err == 0;
	}
	assert_int_equal(err, -ENOSPC);
	store_close(s);
	s = open_store();
	struct store_rule last;
	char text[STORE_TEXT_MAX];
	assert_int_equal(count_rules(s, &last, text), kept);
	assert_true(kept > 0);
	store_close(s);
}

static void test_newer_and_damaged(void **state)
{
	(void)state;
	store_close(open_store());
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 99", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	struct store *s = NULL;
	assert_int_equal(store_open(path, &s, error), -EPROTO);
	assert_non_null(strstr(error, "newer"));
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "no database at all ", 16, 0), 16);
	close(fd);
	assert_int_equal(store_open(path, &s, error), -EUCLEAN);
	assert_null(s);
}

static void sql(const char *text)
{
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

static void add_rule(const char *id)
{
	struct store *s = open_store();
	struct store_rule r = rule_a();
	r.id = id;
	assert_int_equal(store_rule_add(s, &r), 0);
	assert_int_equal(store_commit(s), 0);
	store_close(s);
}

static void decide(void)
{
	char name[128];
	snprintf(name, sizeof(name), "%s.accept", path);
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void expect_damaged(const char *why)
{
	struct store *s = NULL;
	assert_int_equal(store_open(path, &s, error), -EUCLEAN);
	assert_null(s);
	if (strstr(error, why) == NULL || strstr(error, ".accept") == NULL)
		fail_msg("%s", error);
}

/* Moved aside, kept, and never taken for a new one until a person has decided. */
static void test_moved_aside(void **state)
{
	(void)state;
	char aside[128];
	add_rule(ID_A);
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "no database at all ", 16, 0), 16);
	close(fd);
	expect_damaged("store.db.damaged-1");
	snprintf(aside, sizeof(aside), "%s.damaged-1", path);
	assert_int_equal(access(aside, F_OK), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	expect_damaged("gone");
	expect_damaged("gone");
	assert_int_not_equal(access(path, F_OK), 0);
	decide();
	add_rule(ID_B);
	store_close(open_store());
}

/* Whole, but not what we left: a row gone, a row changed, an older copy, another database, no database. */
static void test_seal(void **state)
{
	(void)state;
	static const char *const harm[] = { "DELETE FROM rule", "UPDATE rule SET line = 'allow any'",
		"UPDATE rule SET end = 3", "UPDATE rule SET deadline = 7", "UPDATE rule SET owner = 0",
		"UPDATE counter SET next = next + 1 WHERE id = 1000" };
	for (unsigned i = 0; i < sizeof(harm) / sizeof(harm[0]); i++) {
		add_rule(ID_A);
		sql(harm[i]);
		expect_damaged("not those that were stored last");
		decide();
	}
	char cmd[400];
	add_rule(ID_A);
	snprintf(cmd, sizeof(cmd), "cp %s %s/old", path, dir);
	assert_int_equal(system(cmd), 0);
	add_rule(ID_B);
	snprintf(cmd, sizeof(cmd), "mv %s/old %s; rm -f %s-wal", dir, path, path);
	assert_int_equal(system(cmd), 0);
	expect_damaged("not those that were stored last");
	decide();
	add_rule(ID_A);
	unlink(path);
	expect_damaged("gone");
}

/* A seal that is gone is no decision: nothing is taken, nothing moved, until there is one; and that counts once. */
static void test_seal_gone(void **state)
{
	(void)state;
	char seal[128], accept[128];
	snprintf(seal, sizeof(seal), "%s.seal", path);
	snprintf(accept, sizeof(accept), "%s.accept", path);
	add_rule(ID_A);
	assert_int_equal(unlink(seal), 0);
	sql("DELETE FROM rule");
	sql("INSERT INTO journal(time, who, what) VALUES(1, 0, 'added')");
	expect_damaged("its seal is gone");
	expect_damaged("its seal is gone");
	assert_int_equal(access(path, F_OK), 0);
	decide();
	store_close(open_store());
	assert_int_not_equal(access(accept, F_OK), 0);
	assert_int_equal(access(seal, F_OK), 0);
	/* Decided about a backup that is damaged itself: that is not to begin without rules. */
	int fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "no database at all ", 16, 0), 16);
	close(fd);
	decide();
	expect_damaged("store.db.damaged-1");
	expect_damaged("gone");
}

/* Wherever a kill falls among many changes, the seal fits what is found. */
static void test_seal_kill(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		int p[2];
		assert_int_equal(pipe(p), 0);
		pid_t pid = fork();
		if (pid == 0) {
			struct store *s = open_store();
			for (unsigned i = 0;; i++) {
				char id[STORE_RULE_ID];
				snprintf(id, sizeof(id), "%026u%026u", round, i);
				struct store_rule r = rule_a();
				r.id = id;
				if (store_rule_add(s, &r) != 0 || store_commit(s) != 0 ||
					(i % 2 == 0 && store_rule_end(s, r.seq, 3, 9) != 0) || store_commit(s) != 0 ||
					write(p[1], "x", 1) != 1)
					_exit(1);
			}
		}
		char c;
		for (unsigned i = 0; i <= round % 7; i++)
			assert_int_equal(read(p[0], &c, 1), 1);
		for (volatile unsigned spin = 0; spin < round * 997U; spin++)
			;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		close(p[0]);
		close(p[1]);
		store_close(open_store());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kill, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_rules, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_journal, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_apps, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_history, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_retention, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_full, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_newer_and_damaged, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_moved_aside, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_seal, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_seal_gone, make_dir, drop_dir),
		cmocka_unit_test_setup_teardown(test_seal_kill, make_dir, drop_dir),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
