/* SPDX-License-Identifier: Apache-2.0 */
/* The client's end of a program's streams, against a keeper that is this test. */
#include "cli/stream.h"

#include "agent/frame.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct agent_in in;

/* A client in a process of its own, which writes to `out`. */
static pid_t client(int out, int *ret_keeper)
{
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		signal(SIGPIPE, SIG_IGN);
		close(ends[0]);
		if (dup2(null, STDIN_FILENO) < 0 || dup2(out < 0 ? null : out, STDOUT_FILENO) < 0)
			_exit(1);
		_exit(stream_run(ends[1], false, STREAM_PROGRAM));
	}
	close(ends[1]);
	*ret_keeper = ends[0];
	memset(&in, 0, sizeof(in));
	return pid;
}

static void say(int fd, const uint8_t *p, size_t len)
{
	assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static void say_exit(int fd, uint8_t status)
{
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, status, 0, NULL);
	say(fd, buf, w.len);
}

static void next_frame(int fd, struct agent_frame *f)
{
	int got = 0;
	while (got == 0) {
		uint8_t c;
		const uint8_t *p = &c;
		size_t len = 1;
		assert_int_equal(read(fd, &c, 1), 1);
		got = agent_in_take(&in, &p, &len, f);
	}
	assert_int_equal(got, 1);
}

static int status_of(pid_t pid)
{
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Every byte of a stream comes back as credit, in whatever pieces it came: else the program stands still one day. */
static void test_credit_is_not_lost(void **state)
{
	(void)state;
	enum { TIMES = 10, PIECES = AGENT_WINDOW / TIMES };
	static uint8_t buf[PIECES * (AGENT_HEADER + 1)];
	struct wr w = wr_init(buf, sizeof(buf));
	for (unsigned i = 0; i < PIECES; i++)
		agent_put(&w, AGENT_DATA, AGENT_STDOUT, "x", 1);
	assert_true(wr_ok(&w));
	int fd;
	pid_t pid = client(-1, &fd);
	/* All that a program may say ahead, before anybody listens to what is returned. */
	for (unsigned i = 0; i < TIMES; i++)
		say(fd, buf, w.len);
	uint32_t returned = 0, bytes;
	struct agent_frame f;
	while (returned < PIECES * TIMES) {
		next_frame(fd, &f);
		if (f.type == AGENT_CREDIT && f.stream == AGENT_STDOUT && agent_get_credit(&f, &bytes))
			returned += bytes;
	}
	assert_int_equal(returned, PIECES * TIMES);
	say_exit(fd, 3);
	assert_int_equal(status_of(pid), 3);
	close(fd);
}

/* `run … | head`: the program hears, once, that nobody reads it. */
static void test_nobody_reads(void **state)
{
	(void)state;
	int pipe_ends[2], fd;
	assert_int_equal(pipe(pipe_ends), 0);
	close(pipe_ends[0]);
	pid_t pid = client(pipe_ends[1], &fd);
	close(pipe_ends[1]);
	uint8_t buf[64];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, "one", 3);
	agent_put(&w, AGENT_DATA, AGENT_STDOUT, "two", 3);
	say(fd, buf, w.len);
	unsigned ends = 0;
	uint32_t returned = 0, bytes;
	while (returned < 6) {
		struct agent_frame f;
		next_frame(fd, &f);
		ends += f.type == AGENT_EOF && f.stream == AGENT_STDOUT;
		if (f.type == AGENT_CREDIT && agent_get_credit(&f, &bytes))
			returned += bytes;
	}
	assert_int_equal(ends, 1);
	say_exit(fd, 141);
	assert_int_equal(status_of(pid), 141);
	close(fd);
}

int main(void)
{
	alarm(120);
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_credit_is_not_lost),
		cmocka_unit_test(test_nobody_reads) };
	return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
