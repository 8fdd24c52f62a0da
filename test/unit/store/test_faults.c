/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At every single write, sync, truncation and deletion of a run of changes: killed there, killed in the middle of it,
 * told that it failed although it was done or was not, without room from there on. Then the store is opened again:
 * every change that was acknowledged is in it whole, none that was refused is, one that was neither is whole or absent.
 */
#include "store/store.h"
#include "vfs.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A run takes eight times as long under the address sanitizer, whose business is memory: a part of the places does. */
#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 13 };
#else
enum { STRIDE = 1 };
#endif
enum { STEPS = 22, LAG = 3 };
enum told { NOTHING, DONE, REFUSED };

static char dir[64], path[96];
static unsigned kills, runs;

static void rule_id(char id[STORE_RULE_ID], unsigned k)
{
	snprintf(id, STORE_RULE_ID, "%052u", k);
}

/* One change: a rule comes, an older one loses a count, a still older one ends; a row of the journal, one of history.
 */
static int change(struct store *s, unsigned k)
{
	char id[STORE_RULE_ID];
	rule_id(id, k);
	struct store_rule r = { .id = id,
		.line = "allow web to www.example.org 3 times",
		.owner = 1000,
		.origin = 2,
		.deadline_ms = INT64_MAX,
		.times_left = 3,
		.boot_id = "b" };
	int err = store_rule_add(s, &r);
	if (err == 0 && k > 1)
		err = store_rule_times(s, r.seq - 1, 2);
	if (err == 0 && k > LAG) {
		struct store_rows *q;
		struct store_rule old;
		int64_t seq = 0;
		rule_id(id, k - LAG);
		err = store_rules(s, &q);
		while (err == 0 && store_rules_next(q, &old) == 1)
			seq = strcmp(old.id, id) == 0 ? old.seq : seq;
		if (err == 0)
			store_rows_end(q);
		if (err == 0 && seq != 0)
			err = store_rule_end(s, seq, 1, 5);
	}
	struct store_journal j = { .who = 1000, .change = k, .what = "added", .line = "allow web", .rule = r.seq };
	if (err == 0)
		err = store_journal_add(s, &j);
	struct store_event e = { .time_ms = k, .owner = 1000, .app = "web", .json = "{}" };
	return err != 0 ? err : store_event_add(s, &e);
}

/* The child: tells each result on `fd`; ends without closing anything, at the first refusal if `stop`. */
static void child(enum vfs_fault what, unsigned at, bool stop, int fd)
{
	char error[STORE_ERROR_MAX];
	struct store *s;
	vfs_fault(what, at);
	if (store_open(path, &s, error) != 0)
		_exit(0);
	for (unsigned k = 1; k <= STEPS; k++) {
		int err = change(s, k);
		if (err == 0)
			err = store_commit(s);
		else
			store_rollback(s);
		/* Torn: neither yes nor no is said, as the desk says nothing and ends. */
		if (store_torn(s))
			_exit(0);
		char word[2] = { (char)k, err == 0 ? DONE : REFUSED };
		if (write(fd, word, 2) != 2)
			_exit(1);
		if (err != 0 && stop)
			_exit(0);
	}
	unsigned n = vfs_count();
	char end[6] = { 0, 0, (char)(n & 0x7f), (char)(n >> 7 & 0x7f), (char)(n >> 14 & 0x7f), 0 };
	if (write(fd, end, 6) != 6)
		_exit(1);
	_exit(0);
}

static void check(const enum told told[STEPS + 1], enum vfs_fault what, unsigned at)
{
	bool rule[STEPS + LAG + 1] = { false }, running[STEPS + 1] = { false }, journal[STEPS + 1] = { false };
	char error[STORE_ERROR_MAX];
	struct store *s;
	struct store_rows *q;
	struct store_rule r;
	struct store_journal j;
	vfs_fault(VFS_NOTHING, 0);
	if (store_open(path, &s, error) != 0)
		fail_msg("fault %d at %u: %s", (int)what, at, error);
	assert_int_equal(store_rules(s, &q), 0);
	while (store_rules_next(q, &r) == 1) {
		rule[atoi(r.id)] = true;
		running[atoi(r.id)] = r.end == 0;
	}
	store_rows_end(q);
	assert_int_equal(store_journal_list(s, UINT32_MAX, INT64_MAX, 10000, &q), 0);
	while (store_journal_row(q, &j) == 1)
		journal[j.change] = true;
	store_rows_end(q);
	for (unsigned k = 1; k <= STEPS; k++) {
		if (told[k] == DONE && !rule[k])
			fail_msg("fault %d at %u: change %u was acknowledged and is lost", (int)what, at, k);
		if (told[k] == REFUSED && rule[k])
			fail_msg("fault %d at %u: change %u was refused and is there", (int)what, at, k);
		assert_int_equal(rule[k], journal[k]);
		assert_int_equal(running[k], rule[k] && !rule[k + LAG]);
	}
	/* And goes on. */
	struct store_event e = { .time_ms = 1, .owner = 1, .json = "{}" };
	assert_int_equal(store_event_add(s, &e), 0);
	assert_int_equal(store_commit(s), 0);
	store_close(s);
}

static void fresh(void)
{
	static const char *const ends[] = { "", "-wal", "-shm", "-journal", ".seal" };
	for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		char name[128];
		snprintf(name, sizeof(name), "%s%s", path, ends[i]);
		unlink(name);
	}
}

/* The number of operations of a whole run, 0 when it did not end. */
static unsigned run(enum vfs_fault what, unsigned at, bool stop)
{
	enum told told[STEPS + 1] = { NOTHING };
	unsigned char word[6];
	int p[2], status;
	unsigned total = 0;
	fresh();
	assert_int_equal(pipe(p), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(p[0]);
		child(what, at, stop, p[1]);
	}
	close(p[1]);
	while (read(p[0], word, 2) == 2 && word[0] != 0)
		told[word[0]] = (enum told)word[1];
	if (word[0] == 0 && read(p[0], word, 4) == 4)
		total = word[0] + (unsigned)word[1] * 128 + (unsigned)word[2] * 128 * 128;
	close(p[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	kills += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	runs++;
	check(told, what, at);
	return total;
}

static void everywhere(enum vfs_fault what, bool stop)
{
	unsigned n = run(VFS_NOTHING, 0, false);
	assert_true(n > 4 * STEPS);
	for (unsigned at = 1; at <= n; at += STRIDE)
		run(what, at, stop);
}

static void test_kill(void **state)
{
	(void)state;
	everywhere(VFS_KILL, false);
}

static void test_kill_half(void **state)
{
	(void)state;
	everywhere(VFS_KILL_HALF, false);
}

static void test_fail(void **state)
{
	(void)state;
	everywhere(VFS_FAIL_ONCE, false);
}

/* The refusal is the last thing said. */
static void test_fail_and_end(void **state)
{
	(void)state;
	everywhere(VFS_FAIL_ONCE, true);
	everywhere(VFS_FAIL_AFTER, true);
}

static void test_full(void **state)
{
	(void)state;
	everywhere(VFS_FULL, false);
}

static void test_enough(void **state)
{
	(void)state;
	print_message("%u kills, %u runs\n", kills, runs);
	assert_true(kills >= 1000 / STRIDE);
}

int main(void)
{
	strcpy(dir, access("/dev/shm", W_OK) == 0 ? "/dev/shm/sekisho-faults-XXXXXX" : "/tmp/sekisho-faults-XXXXXX");
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/store.db", dir);
	vfs_install();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill),
		cmocka_unit_test(test_kill_half),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_fail_and_end),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_enough),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	fresh();
	rmdir(dir);
	return failed;
}
