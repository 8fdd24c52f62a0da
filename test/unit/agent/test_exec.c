/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct agent_exec e, back;
static uint8_t buf[AGENT_BODY_MAX];

static void fill(void)
{
	memset(&e, 0, sizeof(e));
	e.uid = 1000;
	e.gid = 100;
	memcpy(e.user, "person", 7);
	memcpy(e.home, "/home/person", 13);
	memcpy(e.hostname, "web", 4);
	e.tty = true;
	e.rows = 24;
	e.cols = 80;
	e.guest_user = true;
	e.n_shares = AGENT_SHARES_MAX;
	e.share_home = true;
	memcpy(e.share[1], "/srv/work", 10);
	e.has_net = true;
	e.v4 = addr_v4(0xc0000202);
	e.v4_prefix = 30;
	e.v6 = addr_v6((const uint8_t[16]){ 0x20, 1, 0xd, 0xb8 });
	e.v6_prefix = 64;
	e.dns[1] = addr_v4(0xc0000201);
	e.wall_us = 1795395740000000;
	e.argc = 2;
	e.envc = 1;
	memcpy(e.strings, "curl\0\0A=b", 10);
	e.strings_len = 10;
}

static size_t encode(void)
{
	struct wr w = wr_init(buf, sizeof(buf));
	assert_true(agent_exec_put(&w, &e));
	return w.len;
}

static void test_round_trip(void **state)
{
	(void)state;
	fill();
	assert_true(agent_exec_get(buf, encode(), &back));
	assert_memory_equal(&e, &back, sizeof(e));
}

static void test_too_many_shares(void **state)
{
	(void)state;
	enum { N_SHARES = 4 + 4 + 1 + 2 + 6 + 2 + 12 + 2 + 2 + 3 };
	fill();
	size_t len = encode();
	assert_int_equal(buf[N_SHARES], AGENT_SHARES_MAX);
	buf[N_SHARES]++;
	assert_false(agent_exec_get(buf, len, &back));
	fill();
	e.n_shares = 0;
	assert_false(agent_exec_get(buf, encode(), &back)); /* a home that is not there */
	e.n_shares = AGENT_SHARES_MAX + 1;
	struct wr w = wr_init(buf, sizeof(buf));
	assert_false(agent_exec_put(&w, &e));
}

static void test_every_cut_is_refused(void **state)
{
	(void)state;
	fill();
	size_t len = encode();
	for (size_t i = 0; i < len; i++)
		assert_false(agent_exec_get(buf, i, &back));
	buf[len] = 0;
	assert_false(agent_exec_get(buf, len + 1, &back));
}

static void test_bad_strings(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	fill();
	e.argc = 3;
	assert_false(agent_exec_put(&w, &e));
	fill();
	e.argc = 0;
	assert_false(agent_exec_put(&w, &e));
	fill();
	e.strings_len = 9;
	assert_false(agent_exec_put(&w, &e));
	fill();
	memset(e.user, 'x', sizeof(e.user));
	assert_false(agent_exec_put(&w, &e));
}

static void test_bad_family(void **state)
{
	(void)state;
	fill();
	e.v4 = e.v6;
	assert_false(agent_exec_get(buf, encode(), &back));
	fill();
	e.v4_prefix = 33;
	assert_false(agent_exec_get(buf, encode(), &back));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_round_trip), cmocka_unit_test(test_too_many_shares),
		cmocka_unit_test(test_every_cut_is_refused), cmocka_unit_test(test_bad_strings),
		cmocka_unit_test(test_bad_family) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
