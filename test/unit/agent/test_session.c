/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/session.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct agent_session s;
static uint8_t data[AGENT_DATA_MAX];

static int say(enum agent_side from, enum agent_type type, enum agent_stream stream, const void *body, size_t len)
{
	struct agent_frame f = { .type = type, .stream = stream, .body = body, .len = len };
	return agent_session_check(&s, from, &f);
}

static int send_data(enum agent_side from, enum agent_stream stream, size_t len)
{
	return say(from, AGENT_DATA, stream, data, len);
}

static int hello(void)
{
	return say(AGENT_GUEST, AGENT_HELLO, AGENT_STDIN, "\0\0\0\4", 4);
}

static int running(void **state)
{
	(void)state;
	agent_session_init(&s);
	assert_int_equal(hello(), 0);
	agent_session_started(&s);
	return 0;
}

static void test_order(void **state)
{
	(void)state;
	agent_session_init(&s);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_EXIT, AGENT_STDIN, "\0\0", 2), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_HELLO, AGENT_STDIN, "\0\0\0\1", 4), -EPROTO);
	assert_int_equal(hello(), 0);
	assert_int_equal(hello(), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), -EPROTO);
	agent_session_started(&s);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), 0);
	assert_int_equal(say(AGENT_GUEST, AGENT_EXIT, AGENT_STDIN, "\0\0", 2), 0);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_EXIT, AGENT_STDIN, "\0\0", 2), -EPROTO);
}

static void test_started(void **state)
{
	running(state);
	assert_int_equal(say(AGENT_CLIENT, AGENT_STARTED, AGENT_STDIN, NULL, 0), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_STARTED, AGENT_STDIN, NULL, 0), 0);
	assert_int_equal(say(AGENT_GUEST, AGENT_STARTED, AGENT_STDIN, NULL, 0), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), 0);
}

static void test_directions(void **state)
{
	(void)state;
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDIN, 1), -EPROTO);
	assert_int_equal(send_data(AGENT_CLIENT, AGENT_STDOUT, 1), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_SIGNAL, AGENT_STDIN, "\11", 1), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_WINCH, AGENT_STDIN, "\0\1\0\1", 4), -EPROTO);
	assert_int_equal(say(AGENT_CLIENT, AGENT_SIGNAL, AGENT_STDIN, "\11", 1), 0);
	assert_int_equal(say(AGENT_CLIENT, AGENT_SIGNAL, AGENT_STDIN, "\0", 1), -EPROTO);
	assert_int_equal(say(AGENT_CLIENT, AGENT_EXIT, AGENT_STDIN, "\0\0", 2), -EPROTO);
	assert_int_equal(say(AGENT_CLIENT, AGENT_HELLO, AGENT_STDIN, "\0\0\0\4", 4), -EPROTO);
	assert_int_equal(say(AGENT_CLIENT, AGENT_EXEC, AGENT_STDIN, data, 100), -EPROTO);
	assert_int_equal(say(AGENT_GUEST, AGENT_CREDIT, AGENT_STDOUT, "\0\0\0\1", 4), -EPROTO);
}

static void test_credit(void **state)
{
	(void)state;
	assert_int_equal(say(AGENT_CLIENT, AGENT_CREDIT, AGENT_STDOUT, "\0\0\0\1", 4), -EPROTO);
	for (unsigned i = 0; i < AGENT_WINDOW / AGENT_DATA_MAX; i++)
		assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, AGENT_DATA_MAX), 0);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), -EPROTO);
	/* the other stream has its own */
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDERR, 1), 0);
	assert_int_equal(say(AGENT_CLIENT, AGENT_CREDIT, AGENT_STDOUT, "\0\0\0\2", 4), 0);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 3), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 2), 0);
	/* never more than was used */
	assert_int_equal(say(AGENT_CLIENT, AGENT_CREDIT, AGENT_STDERR, "\0\0\0\2", 4), -EPROTO);
}

static void test_eof(void **state)
{
	(void)state;
	/* Its reader may stop, once; what is under way still comes. */
	assert_int_equal(say(AGENT_CLIENT, AGENT_EOF, AGENT_STDOUT, NULL, 0), 0);
	assert_int_equal(say(AGENT_CLIENT, AGENT_EOF, AGENT_STDOUT, NULL, 0), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), 0);
	assert_int_equal(say(AGENT_GUEST, AGENT_EOF, AGENT_STDOUT, NULL, 0), 0);
	assert_int_equal(say(AGENT_GUEST, AGENT_EOF, AGENT_STDOUT, NULL, 0), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDOUT, 1), -EPROTO);
	assert_int_equal(send_data(AGENT_GUEST, AGENT_STDERR, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_order), cmocka_unit_test(test_started),
		cmocka_unit_test_setup(test_directions, running), cmocka_unit_test_setup(test_credit, running),
		cmocka_unit_test_setup(test_eof, running) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
