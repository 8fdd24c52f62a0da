/* SPDX-License-Identifier: Apache-2.0 */
/* Lives over restarts and over clocks that are set: the desk's wall clock is this program's (linked with --wrap). */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define YEAR_MS	   (365LL * 86400 * 1000)
#define FILE_RULES "allow web to t.example.org for 1h\nallow web to n.example.org 3 times\n"

/* Shared with the desk, which is a child of this process: what is added to the two clocks. */
static struct shift {
	int64_t wall_ms, boot_ms;
} * shift;

int64_t __real_clock_wall_ms(void);
int64_t __wrap_clock_wall_ms(void);
int64_t __real_clock_boot_ms(void);
int64_t __wrap_clock_boot_ms(void);

int64_t __wrap_clock_wall_ms(void)
{
	return __real_clock_wall_ms() + shift->wall_ms;
}

int64_t __wrap_clock_boot_ms(void)
{
	return __real_clock_boot_ms() + shift->boot_ms;
}

static int setup(void **state)
{
	*shift = (struct shift){ 0 };
	return world_setup(state);
}

static int64_t times_left(void)
{
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "all", 1)), *r;
	int64_t left = -1;
	size_t i;
	json_array_foreach(json_object_get(p, "rules"), i, r)
	{
		if (json_is_integer(json_object_get(r, "times_left")))
			left = json_integer_value(json_object_get(r, "times_left"));
	}
	json_decref(p);
	return left;
}

static void charge(uint32_t id)
{
	struct ipc_charge c = { .ref = w.app.ref };
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		if (policy_rule_meta(w.policy, i)->times_left != 0)
			memcpy(c.rule, policy_rule_meta(w.policy, i)->id, sizeof(c.rule));
	}
	unsigned before = w.n_charged;
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, id, charge, &c, NULL, 0), 0);
	UNTIL(w.n_charged == before + 1);
	assert_int_equal(w.charged.err, 0);
}

static void again(const char *policy)
{
	end_desk(SIGKILL);
	start(policy);
}

/* Set back a year while the daemon is down: nothing is lost, and an hour is still an hour. */
static void test_set_back(void **state)
{
	(void)state;
	start(NULL);
	json_decref(add("allow web to www.example.org for 1h"));
	json_decref(add("deny web to ads.example.org"));
	end_desk(SIGKILL);
	shift->wall_ms = -YEAR_MS;
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	assert_int_equal(judge("ads.example.org"), POLICY_SAYS_DENY);
	json_decref(add("allow web to new.example.org for 1h"));
	shift->boot_ms = shift->wall_ms = 0;
	shift->wall_ms = -YEAR_MS + 3601 * 1000;
	shift->boot_ms = 3601 * 1000;
	UNTIL(judge("www.example.org") == POLICY_SAYS_ASK);
	UNTIL(judge("new.example.org") == POLICY_SAYS_ASK);
	assert_int_equal(judge("ads.example.org"), POLICY_SAYS_DENY);
}

/* Neither reading again nor a restart renews the life or the count of a file's rule. */
static void test_files_not_renewed(void **state)
{
	(void)state;
	start(FILE_RULES);
	attach("web");
	charge(5);
	UNTIL(times_left() == 2);
	shift->wall_ms = shift->boot_ms = 1800 * 1000;
	give_policy(FILE_RULES);
	UNTIL(w.n_policy_results > 0);
	assert_int_equal(times_left(), 2);
	again(FILE_RULES);
	assert_int_equal(times_left(), 2);
	assert_int_equal(judge("t.example.org"), POLICY_SAYS_ALLOW);
	shift->wall_ms = shift->boot_ms = 3601 * 1000;
	UNTIL(judge("t.example.org") == POLICY_SAYS_ASK);
	again(FILE_RULES);
	assert_int_equal(judge("t.example.org"), POLICY_SAYS_ASK);
	/* The line goes, and comes again: afresh. */
	again("deny web to ads.example.org\n");
	again(FILE_RULES);
	assert_int_equal(judge("t.example.org"), POLICY_SAYS_ALLOW);
	assert_int_equal(times_left(), 3);
}

static size_t unused(int64_t seconds)
{
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:I}", "unused", (json_int_t)seconds));
	size_t n = json_array_size(json_object_get(p, "rules"));
	json_decref(p);
	return n;
}

/* A file's rule stands there since its file was applied, not since the last start. */
static void test_unused(void **state)
{
	(void)state;
	start("allow web to f.example.org\n");
	json_decref(add("allow web to www.example.org"));
	assert_int_equal(unused(86400), 0);
	shift->wall_ms = 2 * 86400 * 1000LL;
	again("allow web to f.example.org\n");
	json_decref(add("allow web to new.example.org"));
	assert_int_equal(unused(86400), 2);
	assert_int_equal(unused(3 * 86400), 0);
}

/* Set back while it runs, then the daemon dies: what is left is what was left before. */
static void test_set_back_under_way(void **state)
{
	(void)state;
	start(FILE_RULES);
	json_decref(add("allow web to www.example.org for 1h"));
	shift->boot_ms = 3000 * 1000;
	shift->wall_ms = 600 * 1000;
	give_policy(FILE_RULES);
	UNTIL(w.n_policy_results > 1);
	again(FILE_RULES);
	give_policy(FILE_RULES);
	UNTIL(w.n_policy_results > 1);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	assert_int_equal(judge("t.example.org"), POLICY_SAYS_ALLOW);
	shift->boot_ms += 601 * 1000;
	shift->wall_ms += 601 * 1000;
	UNTIL(judge("www.example.org") == POLICY_SAYS_ASK);
	UNTIL(judge("t.example.org") == POLICY_SAYS_ASK);
}

/* As if the computer had been started since. */
static void other_boot(void)
{
	char path[96];
	sqlite3 *db;
	end_desk(SIGKILL);
	snprintf(path, sizeof(path), "%s/store/store.db", w.dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "UPDATE rule SET boot_id = 'older'", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* The one rule that ended, as the list has it. */
static json_t *ended_rule(void)
{
	json_t *p = expect("org.sekisho.Rules.List", json_pack("{s:b}", "ended", 1)), *r, *found = NULL;
	size_t i;
	json_array_foreach(json_object_get(p, "rules"), i, r)
	{
		if (strcmp(str(r, "state"), "ended") != 0)
			continue;
		assert_null(found);
		found = json_incref(r);
	}
	json_decref(p);
	assert_non_null(found);
	return found;
}

static unsigned journal_rows(const char *what)
{
	json_t *p = expect("org.sekisho.Rules.Journal", NULL), *row;
	unsigned n = 0;
	size_t i;
	json_array_foreach(json_object_get(p, "changes"), i, row) n += strcmp(str(row, "what"), what) == 0;
	json_decref(p);
	return n;
}

/* What a restart of the computer ends has ended for good: journaled once, at one time, and the rule may be made again.
 */
static void test_reboot(void **state)
{
	(void)state;
	start("deny web to f.example.org until reboot\n");
	json_decref(add("allow web to www.example.org until reboot"));
	again("deny web to f.example.org until reboot\n");
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
	assert_int_equal(judge("f.example.org"), POLICY_SAYS_DENY);
	other_boot();
	start("deny web to f.example.org until reboot\n");
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	assert_int_equal(judge("f.example.org"), POLICY_SAYS_ASK);
	assert_int_equal(journal_rows("ended"), 2);
	shift->wall_ms = shift->boot_ms = 3600 * 1000;
	again(NULL);
	assert_int_equal(journal_rows("ended"), 2);
	json_t *r = ended_rule();
	int64_t now = clock_wall_ms();
	char text[32];
	assert_true(strcmp(str(r, "ended"), clock_format(now - 1800 * 1000, text)) < 0);
	json_decref(r);
	json_decref(add("allow web to www.example.org until reboot"));
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
}

/* Killed between an application's end and that of its rules. */
static void test_exit_unnoticed(void **state)
{
	(void)state;
	start(NULL);
	attach("web");
	json_decref(add("allow web to www.example.org until exit"));
	char path[96];
	sqlite3 *db;
	end_desk(SIGKILL);
	snprintf(path, sizeof(path), "%s/store/store.db", w.dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "DELETE FROM app", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	start(NULL);
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ASK);
	json_decref(add("allow web to www.example.org until exit"));
	assert_int_equal(judge("www.example.org"), POLICY_SAYS_ALLOW);
}

int main(void)
{
	shift = mmap(NULL, sizeof(*shift), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shift == MAP_FAILED)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_set_back, setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_set_back_under_way, setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_reboot, setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_exit_unnoticed, setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_unused, setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_files_not_renewed, setup, world_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
