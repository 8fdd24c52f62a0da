/* SPDX-License-Identifier: Apache-2.0 */
/* The relay between a well-behaved client and a guest that is not; time is given, nothing waits. */
#include "vm/relay.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
	struct loop *loop;
	struct vm_relay *relay;
	int client, guest, qmp, console, log;
	int64_t now;
	struct agent_in in;
	bool wide; /* the client's socket is as main makes it, which takes root */
};

static struct bench B;
static uint8_t buf[1 << 20];

static int end_of(int *ret_theirs)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	*ret_theirs = pair[1];
	return pair[0];
}

static bool warm;

static int setup(void **state)
{
	(void)state;
	static struct agent_exec e;
	memset(&B, 0, sizeof(B));
	memset(&e, 0, sizeof(e));
	e.argc = 1;
	memcpy(e.strings, "true", 5);
	e.strings_len = 5;
	struct vm_relay_fds fds;
	B.client = end_of(&fds.client);
	const int room = 4 * AGENT_WINDOW;
	B.wide = setsockopt(fds.client, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) == 0;
	B.guest = end_of(&fds.guest);
	B.qmp = end_of(&fds.qmp);
	B.console = end_of(&fds.console);
	B.log = end_of(&fds.log);
	B.now = 1000;
	assert_int_equal(loop_new(&B.loop), 0);
	assert_int_equal(vm_relay_new(B.loop, 1, &fds, &e, warm, B.now, &B.relay), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	vm_relay_free(B.relay);
	loop_free(B.loop);
	int fds[] = { B.client, B.guest, B.qmp, B.console, B.log };
	for (unsigned i = 0; i < 5; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	return 0;
}

static void turn(void)
{
	struct loop_event ev;
	for (unsigned i = 0; i < 1000 && loop_next(B.loop, 0, &ev); i++)
		vm_relay_event(B.relay, &ev, B.now);
}

static void send_bytes(int fd, const struct wr *w)
{
	assert_true(wr_ok(w));
	assert_int_equal(send(fd, w->buf, w->len, MSG_NOSIGNAL), (ssize_t)w->len);
	turn();
}

static void start(void)
{
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_hello(&w);
	send_bytes(B.guest, &w);
}

/* The next frame at `fd`; false when there is none whole. */
static bool next_frame(int fd, struct agent_frame *f)
{
	uint8_t c;
	while (recv(fd, &c, 1, 0) == 1) {
		const uint8_t *p = &c;
		size_t len = 1;
		int got = agent_in_take(&B.in, &p, &len, f);
		assert_true(got >= 0);
		if (got == 1)
			return true;
	}
	return false;
}

static void expect_exit(uint8_t status, const char *part)
{
	struct agent_frame f;
	struct agent_exit e;
	do
		assert_true(next_frame(B.client, &f));
	while (f.type != AGENT_EXIT);
	assert_true(agent_get_exit(&f, &e));
	assert_int_equal(e.status, status);
	assert_non_null(strstr(e.reason, part));
}

static void expect_quit(void)
{
	char text[512] = "";
	assert_true(recv(B.qmp, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "qmp_capabilities"));
	assert_non_null(strstr(text, "\"quit\""));
}

static void test_life(void **state)
{
	(void)state;
	struct agent_frame f;
	struct wr w = wr_init(buf, sizeof(buf));
	start();
	assert_true(next_frame(B.guest, &f));
	assert_int_equal(f.type, AGENT_EXEC);
	assert_true(next_frame(B.client, &f));
	assert_int_equal(f.type, AGENT_HELLO);
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, "out", 3);
	agent_put_exit(&w, 42, 0, NULL);
	send_bytes(B.guest, &w);
	assert_true(next_frame(B.client, &f));
	assert_int_equal(f.type, AGENT_DATA);
	expect_exit(42, "");
	expect_quit();
	assert_false(vm_relay_done(B.relay));
	close(B.guest);
	B.guest = -1;
	turn();
	assert_true(vm_relay_done(B.relay));
	assert_int_equal(vm_relay_exit(B.relay)->status, 42);
}

static void test_garbage(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	start();
	wr_bytes(&w, "\377\377\377\377\377\377\377\377", 8);
	send_bytes(B.guest, &w);
	expect_exit(125, "no frame");
	expect_quit();
	/* What it says afterwards reaches nobody. */
	w.len = 0;
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, "more", 4);
	send_bytes(B.guest, &w);
	struct agent_frame f;
	assert_false(next_frame(B.client, &f));
	B.now += VM_RELAY_QUIT_MS;
	vm_relay_tick(B.relay, B.now);
	assert_true(vm_relay_done(B.relay));
}

static void test_more_than_credit(void **state)
{
	(void)state;
	static uint8_t data[AGENT_DATA_MAX];
	size_t passed = 0;
	struct agent_frame f;
	start();
	for (unsigned i = 0; i <= AGENT_WINDOW / AGENT_DATA_MAX; i++) {
		struct wr w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_DATA, AGENT_STDOUT, data, sizeof(data));
		send_bytes(B.guest, &w);
		turn();
	}
	do {
		assert_true(next_frame(B.client, &f));
		passed += f.type == AGENT_DATA ? f.len : 0;
		turn();
	} while (f.type != AGENT_EXIT);
	assert_int_equal(passed, AGENT_WINDOW);
	assert_int_equal(vm_relay_exit(B.relay)->status, 125);
}

static void say_bytes(enum agent_stream stream, unsigned n, uint8_t first)
{
	struct wr w = wr_init(buf, sizeof(buf));
	for (unsigned i = 0; i < n; i++, first++)
		agent_put(&w, AGENT_DATA, stream, &first, 1);
	assert_true(wr_ok(&w));
	for (size_t done = 0; done < w.len;) {
		ssize_t n_sent = send(B.guest, w.buf + done, w.len - done, MSG_NOSIGNAL);
		assert_true(n_sent > 0);
		done += (size_t)n_sent;
		turn();
	}
}

/* The guest ends, time passes, then the client reads: nothing is missing. */
static void end_and_read(size_t n_out, size_t n_err)
{
	size_t got[AGENT_STREAMS] = { 0 };
	struct agent_frame f = { .type = AGENT_HELLO };
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, 4, 0, NULL);
	send_bytes(B.guest, &w);
	close(B.guest);
	B.guest = -1;
	turn();
	B.now += VM_RELAY_LAST_MS;
	vm_relay_tick(B.relay, B.now);
	assert_true(vm_relay_done(B.relay));
	vm_relay_free(B.relay);
	B.relay = NULL;
	while (f.type != AGENT_EXIT) {
		assert_true(next_frame(B.client, &f));
		for (size_t i = 0; f.type == AGENT_DATA && i < f.len; i++)
			assert_int_equal(f.body[i], (uint8_t)got[f.stream]++);
	}
	assert_int_equal(got[AGENT_STDOUT], n_out);
	assert_int_equal(got[AGENT_STDERR], n_err);
}

/* A program that writes byte by byte: each fills a socket like some hundred. */
static void test_late_reader_of_bytes(void **state)
{
	(void)state;
	enum { SINGLE = 8000, MORE = 10000 };
	if (!B.wide)
		skip();
	start();
	for (unsigned i = 0; i < SINGLE; i++)
		say_bytes(AGENT_STDOUT, 1, (uint8_t)i);
	say_bytes(AGENT_STDOUT, MORE, (uint8_t)SINGLE);
	end_and_read(SINGLE + MORE, 0);
}

/* All that it may say ahead. */
static void test_late_reader_of_windows(void **state)
{
	(void)state;
	enum { TURNS = 8, PIECES = AGENT_WINDOW / TURNS };
	if (!B.wide)
		skip();
	start();
	for (unsigned i = 0; i < TURNS; i++) {
		say_bytes(AGENT_STDOUT, PIECES, 0);
		say_bytes(AGENT_STDERR, PIECES, 0);
	}
	end_and_read(AGENT_WINDOW, AGENT_WINDOW);
}

static void test_dies_without_exit(void **state)
{
	(void)state;
	start();
	static const char words[] = "fine\nKernel panic - \033[31mnot syncing\n";
	assert_true(send(B.console, words, sizeof(words) - 1, 0) > 0);
	close(B.guest);
	B.guest = -1;
	turn();
	expect_exit(125, "Kernel panic - \\x1b[31mnot syncing");
	assert_true(vm_relay_done(B.relay));
}

static void test_never_boots(void **state)
{
	(void)state;
	B.now += VM_RELAY_BOOT_MS;
	assert_int_equal(vm_relay_deadline(B.relay), B.now);
	vm_relay_tick(B.relay, B.now);
	expect_exit(125, "in time");
}

static void test_client_goes(void **state)
{
	(void)state;
	struct agent_frame f;
	uint8_t sig = 0;
	start();
	assert_true(next_frame(B.guest, &f));
	close(B.client);
	B.client = -1;
	turn();
	assert_true(next_frame(B.guest, &f));
	assert_true(agent_get_signal(&f, &sig));
	assert_int_equal(sig, 1);
	assert_false(vm_relay_done(B.relay));
	B.now += VM_RELAY_HUP_MS;
	vm_relay_tick(B.relay, B.now);
	expect_quit();
	B.now += VM_RELAY_QUIT_MS;
	vm_relay_tick(B.relay, B.now);
	assert_true(vm_relay_done(B.relay));
}

static void test_client_breaks_rules(void **state)
{
	(void)state;
	struct agent_frame f;
	struct wr w = wr_init(buf, sizeof(buf));
	start();
	assert_true(next_frame(B.guest, &f));
	agent_put(&w, AGENT_EXEC, AGENT_STDIN, "x", 1);
	send_bytes(B.client, &w);
	assert_true(next_frame(B.guest, &f));
	assert_int_equal(f.type, AGENT_SIGNAL);
}

static void test_console_is_bounded(void **state)
{
	(void)state;
	start();
	size_t sent = 0;
	for (unsigned i = 0; i < 10000; i++) {
		ssize_t n = send(B.console, buf, 4096, MSG_DONTWAIT);
		if (n <= 0)
			break;
		sent += (size_t)n;
		turn();
	}
	/* One period's worth was read and what the socket holds was sent; then the guest waits. */
	assert_true(sent < 2 << 20);
	assert_true(vm_relay_deadline(B.relay) > B.now);
	static char ring[VM_RING + 1];
	assert_int_equal(vm_relay_console(B.relay, ring, sizeof(ring)), VM_RING);
}

/* --- a VM taken over */

static const uint8_t key[AGENT_SYNC_LEN] = "the guest's key";

static int setup_adopted(void **state)
{
	(void)state;
	memset(&B, 0, sizeof(B));
	struct vm_relay_fds fds = { .client = -1 };
	B.client = -1;
	B.guest = end_of(&fds.guest);
	B.qmp = end_of(&fds.qmp);
	B.console = end_of(&fds.console);
	B.log = end_of(&fds.log);
	B.now = 1000;
	assert_int_equal(loop_new(&B.loop), 0);
	assert_int_equal(vm_relay_adopt(B.loop, 1, &fds, key, &B.relay), 0);
	return 0;
}

/* What the new keeper says first: the key, then its challenge. */
static void read_challenge(uint8_t ret[AGENT_SYNC_LEN])
{
	uint8_t said[2 * AGENT_SYNC_LEN];
	turn();
	assert_int_equal(recv(B.guest, said, sizeof(said), 0), sizeof(said));
	assert_memory_equal(said, key, sizeof(key));
	memcpy(ret, said + AGENT_SYNC_LEN, AGENT_SYNC_LEN);
}

static void answer(bool ended)
{
	uint8_t challenge[AGENT_SYNC_LEN];
	read_challenge(challenge);
	struct wr w = wr_init(buf, sizeof(buf));
	/* The rest of a frame that the last keeper did not take, and a stale answer. */
	wr_bytes(&w, "half a frame", 12);
	wr_bytes(&w, challenge, 5);
	wr_bytes(&w, challenge, sizeof(challenge));
	agent_put_hello(&w);
	agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	if (ended)
		agent_put_exit(&w, 7, 0, NULL);
	send_bytes(B.guest, &w);
}

static void test_adopted_runs(void **state)
{
	(void)state;
	struct agent_frame f;
	uint32_t credit;
	assert_false(vm_relay_runs(B.relay));
	answer(false);
	assert_true(vm_relay_runs(B.relay));
	/* Its output is taken, more than a window of it in the end. */
	for (unsigned i = 0; i < 3 * AGENT_WINDOW / AGENT_DATA_MAX; i++) {
		static uint8_t data[AGENT_DATA_MAX];
		struct wr w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_DATA, AGENT_STDERR, data, sizeof(data));
		send_bytes(B.guest, &w);
		assert_true(next_frame(B.guest, &f));
		assert_true(agent_get_credit(&f, &credit) && f.stream == AGENT_STDERR);
		assert_int_equal(credit, sizeof(data));
	}
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, 3, 0, NULL);
	send_bytes(B.guest, &w);
	expect_quit();
	close(B.guest);
	B.guest = -1;
	turn();
	assert_true(vm_relay_done(B.relay));
	assert_int_equal(vm_relay_exit(B.relay)->status, 3);
}

static void test_adopted_had_ended(void **state)
{
	(void)state;
	answer(true);
	expect_quit();
	assert_int_equal(vm_relay_exit(B.relay)->status, 7);
}

/* Garbage instead of an answer is neither kept nor believed; the VM lives until it is stopped. */
static void test_adopted_mute(void **state)
{
	(void)state;
	uint8_t challenge[AGENT_SYNC_LEN];
	read_challenge(challenge);
	for (unsigned i = 0; i < 100; i++) {
		memset(buf, (int)i, 65536);
		(void)!send(B.guest, buf, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
		turn();
	}
	assert_false(vm_relay_runs(B.relay) || vm_relay_done(B.relay));
	assert_int_equal(vm_relay_deadline(B.relay), -1);
	vm_relay_stop(B.relay, B.now);
	assert_int_equal(vm_relay_deadline(B.relay), B.now + VM_RELAY_HUP_MS);
	vm_relay_tick(B.relay, B.now + VM_RELAY_HUP_MS);
	expect_quit();
}

static void test_adopted_stop_before_answer(void **state)
{
	(void)state;
	struct agent_frame f;
	uint8_t sig;
	vm_relay_stop(B.relay, B.now);
	answer(false);
	turn();
	assert_true(next_frame(B.guest, &f));
	assert_true(agent_get_signal(&f, &sig));
	assert_int_equal(sig, 15);
}

static void test_adopted_breaks_rules(void **state)
{
	(void)state;
	static uint8_t data[AGENT_DATA_MAX];
	answer(false);
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_DATA, AGENT_STDIN, data, sizeof(data));
	send_bytes(B.guest, &w);
	assert_int_equal(vm_relay_exit(B.relay)->status, 125);
	expect_quit();
}

static void guest_says(const char *text)
{
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, text, strlen(text));
	send_bytes(B.guest, &w);
}

static int attach(void)
{
	int theirs, ours = end_of(&theirs);
	vm_relay_attach(B.relay, theirs, 24, 80);
	turn();
	return ours;
}

static void test_clients_come_and_go(void **state)
{
	(void)state;
	struct agent_frame f;
	struct agent_exit e;
	uint16_t rows, cols;
	uint32_t credit;
	answer(false);
	guest_says("before ");
	assert_true(next_frame(B.guest, &f) && f.type == AGENT_CREDIT);
	for (unsigned i = 0; i < 3; i++) {
		int c = attach();
		assert_true(next_frame(c, &f) && agent_get_credit(&f, &credit) && f.stream == AGENT_STDIN);
		assert_int_equal(credit, AGENT_WINDOW - 2 * i);
		assert_true(next_frame(B.guest, &f) && agent_get_winch(&f, &rows, &cols) && rows == 24);
		/* One at a time. */
		int second = attach();
		assert_true(next_frame(second, &f) && agent_get_exit(&f, &e) && e.status == 125);
		close(second);
		guest_says("hello");
		assert_true(next_frame(c, &f) && f.type == AGENT_DATA && f.len == 5);
		struct wr w = wr_init(buf, sizeof(buf));
		agent_put(&w, AGENT_DATA, AGENT_STDIN, "in", 2);
		send_bytes(c, &w);
		assert_true(next_frame(B.guest, &f) && f.type == AGENT_DATA && f.len == 2);
		/* It leaves without having said that it took what it was sent: the guest gets its credit, no signal. */
		close(c);
		turn();
		assert_true(next_frame(B.guest, &f) && agent_get_credit(&f, &credit) && credit == 5);
		assert_false(next_frame(B.guest, &f));
		assert_int_equal(vm_relay_deadline(B.relay), -1);
	}
	int theirs, ours = end_of(&theirs);
	vm_relay_tell_output(B.relay, theirs);
	assert_true(next_frame(ours, &f) && f.type == AGENT_DATA && f.len == 22);
	assert_memory_equal(f.body, "before hellohellohello", 22);
	assert_true(next_frame(ours, &f) && agent_get_exit(&f, &e) && e.status == 0);
	close(ours);
}

/* The ring turns: what is told is the last of it, in order. */
static void test_output_ring(void **state)
{
	(void)state;
	static char told[VM_RING];
	struct agent_frame f;
	size_t n = 0;
	char text[32];
	answer(false);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(text, sizeof(text), "%07u\n", i);
		guest_says(text);
		(void)next_frame(B.guest, &f);
	}
	int theirs, ours = end_of(&theirs);
	vm_relay_tell_output(B.relay, theirs);
	for (; next_frame(ours, &f) && f.type == AGENT_DATA; n += f.len)
		memcpy(told + n, f.body, f.len);
	close(ours);
	assert_int_equal(n, VM_RING);
	for (unsigned i = 0; i < VM_RING / 8; i++) {
		snprintf(text, sizeof(text), "%07u\n", 20000 - VM_RING / 8 + i);
		assert_memory_equal(told + 8 * (size_t)i, text, 8);
	}
}

static void qmp_says(const char *text)
{
	assert_int_equal(send(B.qmp, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
	turn();
}

static void test_pause(void **state)
{
	(void)state;
	int err = 1;
	char text[512] = "";
	qmp_says("{\"QMP\": {\"version\": {}}}\r\n{\"return\": {}}\r\n");
	assert_false(vm_relay_paused(B.relay, &err));
	assert_int_equal(vm_relay_pause(B.relay, true), 0);
	assert_int_equal(vm_relay_pause(B.relay, false), -EBUSY);
	assert_true(recv(B.qmp, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "\"stop\""));
	/* Events and a line longer than any answer come between; the answer comes in two pieces. */
	qmp_says("{\"timestamp\": {}, \"event\": \"STOP\"}\r\n");
	memset(buf, 'x', 5000);
	buf[5000] = '\n';
	buf[5001] = '\0';
	qmp_says((char *)buf);
	qmp_says("{\"return\": {}, \"id");
	assert_false(vm_relay_paused(B.relay, &err));
	qmp_says("\": \"pause\"}\r\n");
	assert_true(vm_relay_paused(B.relay, &err));
	assert_int_equal(err, 0);
	assert_false(vm_relay_paused(B.relay, &err));
	assert_int_equal(vm_relay_pause(B.relay, false), 0);
	qmp_says("{\"id\": \"pause\", \"error\": {\"class\": \"GenericError\"}}\r\n");
	assert_true(vm_relay_paused(B.relay, &err));
	assert_int_equal(err, -EIO);
	assert_int_equal(vm_relay_pause(B.relay, false), 0);
	close(B.qmp);
	B.qmp = -1;
	turn();
	assert_true(vm_relay_paused(B.relay, &err));
	assert_int_equal(err, -EPIPE);
}

static void test_detach(void **state)
{
	(void)state;
	struct agent_frame f;
	struct agent_exit e;
	vm_relay_detach(B.relay);
	start();
	assert_true(next_frame(B.guest, &f) && f.type == AGENT_EXEC);
	assert_true(next_frame(B.guest, &f) && f.type == AGENT_EOF && f.stream == AGENT_STDIN);
	assert_true(next_frame(B.client, &f) && f.type == AGENT_HELLO);
	assert_false(vm_relay_runs(B.relay));
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_STARTED, AGENT_STDIN, NULL, 0);
	send_bytes(B.guest, &w);
	assert_true(vm_relay_runs(B.relay));
	assert_true(next_frame(B.client, &f) && agent_get_exit(&f, &e) && e.status == 0);
	guest_says("to nobody");
	assert_true(next_frame(B.guest, &f) && f.type == AGENT_CREDIT);
	assert_false(vm_relay_done(B.relay));
}

static void test_leave(void **state)
{
	(void)state;
	start();
	vm_relay_leave(B.relay, "it runs on");
	assert_true(vm_relay_done(B.relay));
	expect_exit(125, "runs on");
	char text[512] = "";
	assert_true(recv(B.qmp, text, sizeof(text) - 1, 0) > 0);
	assert_null(strstr(text, "quit"));
}

static int setup_warm(void **state)
{
	warm = true;
	int err = setup(state);
	warm = false;
	return err;
}

/* Its greeting was said before it was stored: it is told what to run at once, and a second greeting is against the
 * rules. */
static void a_stored_machine(void **state)
{
	(void)state;
	struct agent_frame f;
	turn();
	assert_true(next_frame(B.client, &f));
	assert_int_equal(f.type, AGENT_HELLO);
	assert_true(next_frame(B.guest, &f));
	assert_int_equal(f.type, AGENT_EXEC);
	start();
	expect_exit(125, "broke the rules");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define A(f) cmocka_unit_test_setup_teardown(f, setup_adopted, teardown)
	const struct CMUnitTest tests[] = { T(test_life), T(test_garbage), T(test_more_than_credit),
		T(test_late_reader_of_bytes), T(test_late_reader_of_windows), T(test_dies_without_exit),
		T(test_never_boots), T(test_client_goes), T(test_client_breaks_rules), T(test_console_is_bounded),
		T(test_leave), T(test_detach), T(test_pause), A(test_clients_come_and_go), A(test_output_ring),
		A(test_adopted_runs), A(test_adopted_had_ended), A(test_adopted_mute),
		A(test_adopted_stop_before_answer), A(test_adopted_breaks_rules),
		cmocka_unit_test_setup_teardown(a_stored_machine, setup_warm, teardown) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
