/* SPDX-License-Identifier: Apache-2.0 */
/* Further programs of a machine: a port carries one session after the other, whatever its guest does. */
#include "vm/sessions.h"

#include "agent/session.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
	struct loop *loop;
	struct vm_sessions *sessions;
	int guest[AGENT_EXTRAS];
	int64_t now;
} B;
static const uint8_t key[AGENT_SYNC_LEN] = "a guest's key";
static uint8_t buf[1 << 20];

static int setup(void **state)
{
	(void)state;
	int theirs[AGENT_EXTRAS];
	B.now = 1000;
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		int pair[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		B.guest[i] = pair[0];
		theirs[i] = pair[1];
	}
	assert_int_equal(loop_new(&B.loop), 0);
	assert_int_equal(vm_sessions_new(B.loop, 1, 0, theirs, key, false, &B.sessions), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_sessions_free(B.sessions, "the end");
	loop_free(B.loop);
	for (unsigned i = 0; i < AGENT_EXTRAS; i++)
		close(B.guest[i]);
	return 0;
}

static void turn(void)
{
	struct loop_event ev;
	for (unsigned i = 0; i < 10000 && loop_next(B.loop, 0, &ev); i++)
		vm_sessions_event(B.sessions, &ev, B.now);
}

static void tick(int64_t ms)
{
	B.now += ms;
	vm_sessions_tick(B.sessions, B.now);
	turn();
}

/* The client's end of a new session. */
static int begin(void)
{
	static struct agent_exec e;
	int pair[2];
	memset(&e, 0, sizeof(e));
	e.argc = 1;
	memcpy(e.strings, "true", 5);
	e.strings_len = 5;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	vm_sessions_exec(B.sessions, pair[1], &e, B.now);
	turn();
	return pair[0];
}

static void send_frames(int fd, const struct wr *w)
{
	assert_true(wr_ok(w));
	assert_int_equal(send(fd, w->buf, w->len, MSG_NOSIGNAL), (ssize_t)w->len);
	turn();
}

static bool next_frame(int fd, struct agent_in *in, struct agent_frame *f)
{
	uint8_t c;
	while (recv(fd, &c, 1, 0) == 1) {
		const uint8_t *p = &c;
		size_t len = 1;
		int got = agent_in_take(in, &p, &len, f);
		assert_true(got >= 0);
		if (got == 1)
			return true;
	}
	return false;
}

static struct agent_in ins[AGENT_EXTRAS + 8];

static void expect(int fd, struct agent_in *in, enum agent_type type, const char *text)
{
	struct agent_frame f;
	assert_true(next_frame(fd, in, &f));
	assert_int_equal(f.type, type);
	if (text != NULL)
		assert_memory_equal(f.body, text, strlen(text));
}

static void expect_exit(int fd, uint8_t status, const char *part)
{
	static struct agent_in in;
	struct agent_frame f;
	struct agent_exit e;
	uint8_t c;
	memset(&in, 0, sizeof(in));
	do {
		/* What it has taken makes room for more. */
		if (!next_frame(fd, &in, &f)) {
			turn();
			assert_true(next_frame(fd, &in, &f));
		}
	} while (f.type != AGENT_EXIT);
	assert_true(agent_get_exit(&f, &e));
	assert_int_equal(e.status, status);
	assert_non_null(strstr(e.reason, part));
	turn();
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	close(fd);
}

static void expect_signal(unsigned port, uint8_t number)
{
	struct agent_frame f;
	uint8_t got;
	assert_true(next_frame(B.guest[port], &ins[port], &f));
	assert_true(agent_get_signal(&f, &got));
	assert_int_equal(got, number);
}

/* The guest's side of a beginning, after whatever stood in its port. */
static void answer_key(unsigned port)
{
	uint8_t got[2 * AGENT_SYNC_LEN];
	assert_int_equal(recv(B.guest[port], got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(got, key, AGENT_SYNC_LEN);
	memset(&ins[port], 0, sizeof(ins[port]));
	struct wr w = wr_init(buf, sizeof(buf));
	wr_bytes(&w, got + AGENT_SYNC_LEN, AGENT_SYNC_LEN);
	agent_put_hello(&w);
	send_frames(B.guest[port], &w);
}

static void started(unsigned port)
{
	answer_key(port);
	expect(B.guest[port], &ins[port], AGENT_EXEC, NULL);
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	send_frames(B.guest[port], &w);
}

static void guest_exit(unsigned port, uint8_t status)
{
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, status, 0, NULL);
	send_frames(B.guest[port], &w);
}

static void one_after_the_other(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	/* Of a session that was cut, or a guest that talks to nobody. */
	memset(buf, 0x55, 5000);
	w.len = 5000;
	send_frames(B.guest[0], &w);
	for (uint8_t i = 0; i < 5; i++) {
		int client = begin();
		static struct agent_in in;
		memset(&in, 0, sizeof(in));
		started(0);
		w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_DATA, AGENT_STDOUT, "hello", 5);
		send_frames(B.guest[0], &w);
		expect(client, &in, AGENT_HELLO, NULL);
		expect(client, &in, AGENT_STARTED, NULL);
		expect(client, &in, AGENT_DATA, "hello");
		w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_DATA, AGENT_STDIN, "in", 2);
		send_frames(client, &w);
		expect(B.guest[0], &ins[0], AGENT_DATA, "in");
		guest_exit(0, i);
		expect_exit(client, i, "");
		assert_int_equal(vm_sessions_deadline(B.sessions), -1);
	}
}

static void no_fifth(void **state)
{
	(void)state;
	int client[AGENT_EXTRAS];
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		client[i] = begin();
		started(i);
	}
	expect_exit(begin(), 125, "as many programs");
	guest_exit(2, 9);
	expect_exit(client[2], 9, "");
	client[2] = begin();
	started(2);
	for (unsigned i = 0; i < AGENT_EXTRAS; i++)
		close(client[i]);
}

static void silent_and_lying_guests(void **state)
{
	(void)state;
	int client = begin();
	tick(VM_SESSIONS_BEGIN_MS - 1);
	assert_true(vm_sessions_deadline(B.sessions) > 0);
	tick(1);
	expect_exit(client, 125, "does not answer");
	uint8_t rest[4096];
	while (recv(B.guest[0], rest, sizeof(rest), 0) > 0)
		;
	/* An exit of what was never begun; more than the window; no frame at all. */
	for (unsigned i = 0; i < 3; i++) {
		client = begin();
		if (i == 0)
			answer_key(0);
		else
			started(0);
		struct wr w = wr_init(buf, sizeof(buf));
		for (unsigned n = 0; i == 1 && n <= AGENT_WINDOW / AGENT_DATA_MAX; n++) {
			w = wr_init(buf, sizeof(buf));
			agent_put(&w, AGENT_DATA, AGENT_STDOUT, buf + AGENT_FRAME_MAX, AGENT_DATA_MAX);
			send_frames(B.guest[0], &w);
		}
		if (i == 0) {
			expect(B.guest[0], &ins[0], AGENT_EXEC, NULL);
			agent_put(&w, AGENT_DATA, AGENT_STDIN, "x", 1);
			send_frames(B.guest[0], &w);
		} else if (i == 2) {
			memset(buf, 0xff, 64);
			w.len = 64;
			send_frames(B.guest[0], &w);
		}
		if (i < 2)
			expect_signal(0, SIGKILL);
		expect_exit(client, 125, i == 2 ? "no frame" : "broke the rules");
		while (recv(B.guest[0], rest, sizeof(rest), 0) > 0)
			;
	}
	client = begin();
	started(0);
	close(client);
}

static void clients_that_go(void **state)
{
	(void)state;
	int client = begin();
	started(0);
	close(client);
	turn();
	expect_signal(0, SIGHUP);
	tick(VM_SESSIONS_HUP_MS);
	expect_signal(0, SIGKILL);
	client = begin(); /* that port is not free yet */
	started(1);
	guest_exit(1, 0);
	expect_exit(client, 0, "");
	tick(VM_SESSIONS_HUP_MS);
	client = begin();
	started(0);
	/* One that breaks the rules is one that goes. */
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	send_frames(client, &w);
	expect_signal(0, SIGHUP);
	guest_exit(0, 129);
	assert_int_equal(vm_sessions_deadline(B.sessions), -1);
	close(client);
	client = begin();
	started(0);
	close(client);
}

static void a_guest_that_ends(void **state)
{
	(void)state;
	int client = begin();
	started(0);
	close(B.guest[0]);
	B.guest[0] = dup(0);
	turn();
	expect_exit(client, 125, "has ended");
	client = begin(); /* on the next port */
	started(1);
	close(client);
}

static void another_keeper(void **state)
{
	(void)state;
	uint8_t got[2 * AGENT_SYNC_LEN + 1];
	int theirs[AGENT_EXTRAS], ours[AGENT_EXTRAS];
	struct vm_sessions *adopted;
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		int pair[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
		ours[i] = pair[0];
		theirs[i] = pair[1];
	}
	assert_int_equal(vm_sessions_new(B.loop, 2, 0, theirs, key, true, &adopted), 0);
	for (unsigned i = 0; i < AGENT_EXTRAS; i++) {
		assert_int_equal(recv(ours[i], got, sizeof(got), 0), 2 * AGENT_SYNC_LEN);
		assert_memory_equal(got, key, AGENT_SYNC_LEN);
		close(ours[i]);
	}
	vm_sessions_free(adopted, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_after_the_other, setup, teardown),
		cmocka_unit_test_setup_teardown(no_fifth, setup, teardown),
		cmocka_unit_test_setup_teardown(silent_and_lying_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(clients_that_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_guest_that_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(another_keeper, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
