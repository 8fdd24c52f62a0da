/* SPDX-License-Identifier: Apache-2.0 */
#include "base/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { BOOT = 1000, WALL = 5000000, YEAR_S = 365 * 86400 };
static const int64_t year_ms = YEAR_S * 1000LL;

static struct deadline in_ten(void)
{
	struct deadline d = { 0 };
	deadline_set(&d, WALL + 10000, WALL, BOOT);
	return d;
}

static void both_clocks_go(void **state)
{
	(void)state;
	struct deadline d = in_ten();
	assert_int_equal(deadline_left_ms(&d, WALL + 9999, BOOT + 9999), 1);
	assert_int_equal(deadline_left_ms(&d, WALL + 10000, BOOT + 10000), 0);
}

static void wall_set_back(void **state)
{
	(void)state;
	struct deadline d = in_ten();
	assert_int_equal(deadline_left_ms(&d, WALL - year_ms, BOOT + 9999), 1);
	assert_int_equal(deadline_left_ms(&d, WALL - year_ms, BOOT + 10000), 0);
	/* Told again under the wrong clock: no longer life. */
	deadline_set(&d, WALL + 10000, WALL - year_ms, BOOT + 5000);
	assert_int_equal(deadline_left_ms(&d, WALL - year_ms, BOOT + 10000), 0);
}

static void wall_set_forward(void **state)
{
	(void)state;
	struct deadline d = in_ten();
	assert_true(deadline_left_ms(&d, WALL + year_ms, BOOT + 1) < 0);
}

static void asleep(void **state)
{
	(void)state;
	struct deadline d = in_ten();
	assert_true(deadline_left_ms(&d, WALL + 3600000, BOOT + 3600000) < 0);
}

static void never_and_another_end(void **state)
{
	(void)state;
	struct deadline d = { 0 };
	deadline_set(&d, DEADLINE_NEVER, WALL, BOOT);
	assert_true(deadline_left_ms(&d, WALL + year_ms, BOOT + year_ms) == DEADLINE_NEVER);
	deadline_set(&d, WALL + 10000, WALL + 4000, BOOT + 1);
	assert_int_equal(deadline_left_ms(&d, WALL + 4000, BOOT + 1), 6000);
	assert_int_equal(deadline_left_ms(&d, WALL + 4000, BOOT + 6001), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_clocks_go),
		cmocka_unit_test(wall_set_back),
		cmocka_unit_test(wall_set_forward),
		cmocka_unit_test(asleep),
		cmocka_unit_test(never_and_another_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
