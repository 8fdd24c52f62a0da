/* SPDX-License-Identifier: Apache-2.0 */
/* Who may be taken over: a process is its number and the moment it started. */
#include "vm/state.h"

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

#include "vm/process.h"

static char dir[] = "/tmp/test_state.XXXXXX";

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
	(void)state;
	vm_state_remove(dir);
	return rmdir(dir);
}

static struct vm_process child(void)
{
	struct vm_proc p = { .share.pidfd = -1, .vmm = { .pid = fork(), .pidfd = -1 } };
	if (p.vmm.pid == 0) {
		pause();
		_exit(0);
	}
	assert_int_equal(vm_proc_note(&p), 0);
	return p.vmm;
}

static void test_round_trip(void **state)
{
	(void)state;
	struct vm_state s = { .slot = 7,
		.run = 70000,
		.runs = true,
		.tap = "skt7",
		.cgroup = "/x/y",
		.sync = "0123456789abcde" },
			back;
	s.proc.vmm = (struct vm_process){ .pid = 1234, .start = UINT64_MAX - 1 };
	s.proc.share = (struct vm_process){ .pid = 1235, .start = 5 };
	assert_int_equal(vm_state_write(dir, &s), 0);
	assert_int_equal(vm_state_read(dir, &back), 0);
	assert_true(back.slot == 7 && back.run == 70000 && back.runs && strcmp(back.tap, "skt7") == 0 &&
		    strcmp(back.cgroup, "/x/y") == 0);
	assert_memory_equal(back.sync, s.sync, sizeof(s.sync));
	assert_true(back.proc.vmm.pid == 1234 && back.proc.vmm.start == UINT64_MAX - 1 && back.proc.vmm.pidfd == -1);
	assert_true(back.proc.share.pid == 1235 && back.proc.share.start == 5);
}

/* Every byte counts: another version, another boot, a file cut short are not read as ours. */
static void test_damage(void **state)
{
	(void)state;
	struct vm_state s = { .slot = 7, .run = 1, .proc.vmm.pid = 1234 }, back;
	char path[64], bytes[1024];
	snprintf(path, sizeof(path), "%s/state", dir);
	assert_int_equal(vm_state_write(dir, &s), 0);
	FILE *f = fopen(path, "r+");
	assert_non_null(f);
	size_t len = fread(bytes, 1, sizeof(bytes), f);
	enum { HEAD = 4 + 2 + 36 };
	for (size_t i = 0; i < HEAD; i++) {
		bytes[i]++;
		rewind(f);
		assert_int_equal(fwrite(bytes, 1, len, f), len);
		fflush(f);
		assert_int_equal(vm_state_read(dir, &back), -ESTALE);
		bytes[i]--;
	}
	rewind(f);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	fflush(f);
	assert_int_equal(vm_state_read(dir, &back), 0);
	for (size_t n = len; n-- > 0;) {
		assert_int_equal(ftruncate(fileno(f), (off_t)n), 0);
		assert_true(vm_state_read(dir, &back) < 0);
	}
	fclose(f);
}

static void test_process(void **state)
{
	(void)state;
	struct vm_process p = child();
	assert_int_equal(vm_process_find(&p, getuid()), 0);
	assert_false(vm_process_ended(&p));
	struct vm_process other = { .pid = p.pid, .start = p.start + 1 };
	/* The number has come back. */
	assert_int_equal(vm_process_find(&other, getuid()), -ESRCH);
	assert_int_equal(other.pidfd, -1);
	other = p;
	assert_int_equal(vm_process_find(&other, getuid() + 1), -EPERM);
	other = p;
	vm_process_kill(&p);
	assert_int_equal(p.pid, 0);
	assert_int_equal(vm_process_find(&other, getuid()), -ESRCH);
	assert_int_equal(waitpid(other.pid, NULL, WNOHANG), -1); /* it was reaped */
	other.pid = 1;
	assert_int_equal(vm_process_find(&other, 0), -ESRCH);
}

static void test_zombie_has_ended(void **state)
{
	(void)state;
	struct vm_process p = child();
	kill(p.pid, SIGKILL);
	siginfo_t si;
	assert_int_equal(waitid(P_PID, (id_t)p.pid, &si, WEXITED | WNOWAIT), 0);
	assert_int_equal(vm_process_find(&p, getuid()), -ESRCH);
	vm_process_kill(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_process), cmocka_unit_test(test_zombie_has_ended) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
