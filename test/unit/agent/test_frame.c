/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/frame.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct agent_in in;
static uint8_t big[AGENT_FRAME_MAX + 64];

static int take_one(const uint8_t *p, size_t len, struct agent_frame *f)
{
	memset(&in, 0, sizeof(in));
	int got = agent_in_take(&in, &p, &len, f);
	if (got == 1)
		assert_int_equal(len, 0);
	return got;
}

static void test_bytes(void **state)
{
	(void)state;
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_winch(&w, 24, 80);
	static const uint8_t want[] = { 5, 0, 0, 0, 0, 0, 0, 4, 0, 24, 0, 80 };
	assert_true(wr_ok(&w));
	assert_int_equal(w.len, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void test_round_trips(void **state)
{
	(void)state;
	struct agent_frame f;
	struct agent_exit e;
	struct wr w = wr_init(big, sizeof(big));
	uint32_t version = 0, credit = 0;
	uint16_t rows = 0, cols = 0;
	uint8_t sig = 0;
	agent_put_hello(&w);
	assert_int_equal(take_one(big, w.len, &f), 1);
	assert_true(agent_get_hello(&f, &version));
	assert_int_equal(version, AGENT_VERSION);
	w.len = 0;
	agent_put_winch(&w, 1, 65535);
	assert_int_equal(take_one(big, w.len, &f), 1);
	assert_true(agent_get_winch(&f, &rows, &cols));
	assert_int_equal(rows, 1);
	assert_int_equal(cols, 65535);
	w.len = 0;
	agent_put_signal(&w, 15);
	assert_int_equal(take_one(big, w.len, &f), 1);
	assert_true(agent_get_signal(&f, &sig));
	assert_int_equal(sig, 15);
	w.len = 0;
	agent_put_credit(&w, AGENT_STDERR, AGENT_WINDOW);
	assert_int_equal(take_one(big, w.len, &f), 1);
	assert_int_equal(f.stream, AGENT_STDERR);
	assert_true(agent_get_credit(&f, &credit));
	assert_int_equal(credit, AGENT_WINDOW);
	w.len = 0;
	agent_put_exit(&w, 137, 9, "why");
	assert_int_equal(take_one(big, w.len, &f), 1);
	assert_true(agent_get_exit(&f, &e));
	assert_int_equal(e.status, 137);
	assert_int_equal(e.signal, 9);
	assert_string_equal(e.reason, "why");
}

static void test_byte_by_byte(void **state)
{
	(void)state;
	struct wr w = wr_init(big, sizeof(big));
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, "hello", 5);
	agent_put(&w, AGENT_EOF, AGENT_STDOUT, NULL, 0);
	memset(&in, 0, sizeof(in));
	unsigned frames = 0;
	for (size_t i = 0; i < w.len; i++) {
		const uint8_t *p = big + i;
		size_t len = 1;
		struct agent_frame f;
		int got = agent_in_take(&in, &p, &len, &f);
		assert_true(got >= 0);
		if (got == 1 && frames++ == 0) {
			assert_int_equal(f.len, 5);
			assert_memory_equal(f.body, "hello", 5);
		}
	}
	assert_int_equal(frames, 2);
}

static void test_refused(void **state)
{
	(void)state;
	static const uint8_t bad[][12] = {
		{ 0, 0, 0, 0, 0, 0, 0, 4 },					    /* no such type */
		{ 10, 0, 0, 0, 0, 0, 0, 0 },					    /* no such type */
		{ 9, 1, 0, 0, 0, 0, 0, 0 },					    /* started has no stream */
		{ 3, 3, 0, 0, 0, 0, 0, 1 },					    /* no such stream */
		{ 3, 1, 0, 1, 0, 0, 0, 1 },					    /* not zero */
		{ 3, 1, 0, 0, 0, 0, 0, 0 },					    /* no data */
		{ 3, 1, 0, 0, 0, 0, 0x80, 1 },					    /* above AGENT_DATA_MAX */
		{ 2, 0, 0, 0, 0, 1, 0, 1 },					    /* above AGENT_BODY_MAX */
		{ 3, 1, 0, 0, 0xff, 0xff, 0xff, 0xff }, { 4, 1, 0, 0, 0, 0, 0, 1 }, /* eof with a body */
		{ 5, 1, 0, 0, 0, 0, 0, 4 },					    /* a window has no stream */
		{ 7, 0, 0, 0, 0, 0, 0, 1 },					    /* exit too short */
		{ 8, 0, 0, 0, 0, 0, 0, 3 },					    /* credit too short */
	};
	struct agent_frame f;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(take_one(bad[i], 8, &f), -EPROTO);
	/* and for good */
	const uint8_t *p = bad[0];
	size_t len = 0;
	assert_int_equal(take_one(bad[0], 8, &f), -EPROTO);
	assert_int_equal(agent_in_take(&in, &p, &len, &f), -EPROTO);
}

static void test_limits(void **state)
{
	(void)state;
	struct agent_frame f = { .type = AGENT_SIGNAL, .body = (const uint8_t *)"\101", .len = 1 };
	uint8_t sig;
	assert_false(agent_get_signal(&f, &sig));
	uint32_t credit;
	f = (struct agent_frame){ .type = AGENT_CREDIT, .body = (const uint8_t *)"\0\4\0\1", .len = 4 };
	assert_false(agent_get_credit(&f, &credit));
	f.body = (const uint8_t *)"\0\0\0\0";
	assert_false(agent_get_credit(&f, &credit));
	struct wr w = wr_init(big, sizeof(big));
	agent_put(&w, AGENT_EXEC, AGENT_STDIN, big, AGENT_BODY_MAX + 1);
	assert_false(wr_ok(&w));
	uint8_t small[10];
	w = wr_init(small, sizeof(small));
	agent_put_credit(&w, AGENT_STDIN, 1);
	assert_false(wr_ok(&w));
	assert_int_equal(w.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_bytes), cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_byte_by_byte), cmocka_unit_test(test_refused), cmocka_unit_test(test_limits) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
