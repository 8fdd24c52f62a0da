/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static void sealed_memory(void **state)
{
	(void)state;
	int fd = fd_memory("test");
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "12345", 5), 0);
	assert_false(fd_sealed(fd, 5));
	assert_int_equal(fd_seal(fd), 0);
	assert_true(fd_sealed(fd, 5));
	assert_false(fd_sealed(fd, 4));
	assert_false(fd_sealed(fd, 6));
	assert_false(fd_sealed(fd, 0));
	assert_int_equal(fd_write_all(fd, "6", 1), -EPERM);
	assert_int_equal(ftruncate(fd, 2), -1);
	close(fd);
}

/* What knows no seals has none: an ordinary file could shrink under who mapped it. */
static void nothing_else_is_sealed(void **state)
{
	(void)state;
	int ends[2];
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fd_write_all(fileno(file), "12345", 5), 0);
	assert_false(fd_sealed(fileno(file), 5));
	fclose(file);
	assert_int_equal(pipe(ends), 0);
	assert_false(fd_sealed(ends[0], 5));
	close(ends[0]);
	close(ends[1]);
	assert_false(fd_sealed(-1, 5));
}

static void full(void **state)
{
	(void)state;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, "x", 1), -ENOSPC);
	close(fd);
	assert_int_equal(fd_write_all(-1, "", 0), 0);
}

/* Who reads the other end sees when another process has closed this one. */
static void closed_beside(void **state)
{
	(void)state;
	char c;
	for (unsigned i = 0; i < 20; i++) {
		int ends[2];
		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		fd_close_aside(&ends[1], 1);
		assert_int_equal(read(ends[0], &c, 1), 0);
		close(ends[0]);
	}
	while (!fd_closers_free())
		sched_yield();
	fd_close_aside(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealed_memory),
		cmocka_unit_test(nothing_else_is_sealed),
		cmocka_unit_test(full),
		cmocka_unit_test(closed_beside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
