/* SPDX-License-Identifier: Apache-2.0 */
#include "base/frame.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	struct frame_chan *a, *b;
};

static void pair_open(struct pair *p)
{
	int fds[2];
	assert_int_equal(frame_pair(fds), 0);
	assert_int_equal(frame_chan_new(fds[0], &p->a), 0);
	assert_int_equal(frame_chan_new(fds[1], &p->b), 0);
	assert_int_equal(frame_chan_fd(p->a), fds[0]);
	assert_true((fcntl(fds[0], F_GETFD) & FD_CLOEXEC) != 0);
}

static void pair_close(struct pair *p)
{
	frame_chan_free(p->a);
	frame_chan_free(p->b);
}

static unsigned open_fds(void)
{
	unsigned n = 0;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_both_ways(void **state)
{
	(void)state;
	struct pair p;
	struct frame f;
	pair_open(&p);
	assert_int_equal(frame_recv(p.b, &f), 0);
	assert_int_equal(frame_send(p.a, 7, 0xabcdef01, "body", 4, NULL, 0), 0);
	assert_int_equal(frame_send(p.a, 8, 0, NULL, 0, NULL, 0), 0);
	assert_int_equal(frame_recv(p.b, &f), 1);
	assert_true(f.type == 7 && f.id == 0xabcdef01 && f.len == 4 && memcmp(f.body, "body", 4) == 0 && f.n_fds == 0);
	assert_int_equal(frame_recv(p.b, &f), 1);
	assert_true(f.type == 8 && f.id == 0 && f.len == 0);
	assert_int_equal(frame_send(p.b, 9, 1, "x", 1, NULL, 0), 0);
	assert_int_equal(frame_recv(p.a, &f), 1);
	assert_int_equal(f.type, 9);
	pair_close(&p);
	frame_chan_free(NULL);
}

static void test_largest(void **state)
{
	(void)state;
	struct pair p;
	struct frame f;
	static uint8_t body[FRAME_BODY_MAX + 1];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	pair_open(&p);
	assert_int_equal(frame_send(p.a, 1, 1, body, FRAME_BODY_MAX + 1, NULL, 0), -EMSGSIZE);
	assert_int_equal(frame_send(p.a, 1, 1, body, FRAME_BODY_MAX, NULL, 0), 0);
	assert_int_equal(frame_recv(p.b, &f), 1);
	assert_int_equal(f.len, FRAME_BODY_MAX);
	assert_memory_equal(f.body, body, FRAME_BODY_MAX);
	pair_close(&p);
}

static void assert_same_file(int a, int b)
{
	/* Both ends of one pipe: what goes in here comes out there. */
	char c = 0;
	assert_int_equal(write(a, "z", 1), 1);
	assert_int_equal(read(b, &c, 1), 1);
	assert_int_equal(c, 'z');
}

static void test_descriptors(void **state)
{
	(void)state;
	unsigned before = open_fds();
	struct pair p;
	struct frame f;
	int pipe_fds[2], many[FRAME_FDS_MAX + 1];
	pair_open(&p);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (unsigned i = 0; i <= FRAME_FDS_MAX; i++)
		many[i] = pipe_fds[1];
	assert_int_equal(frame_send(p.a, 1, 1, "x", 1, many, FRAME_FDS_MAX + 1), -EMSGSIZE);
	assert_int_equal(frame_send(p.a, 1, 1, "x", 1, many, FRAME_FDS_MAX), 0);
	assert_int_equal(frame_recv(p.b, &f), 1);
	assert_int_equal(f.n_fds, FRAME_FDS_MAX);
	for (unsigned i = 0; i < f.n_fds; i++) {
		assert_true((fcntl(f.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
		assert_same_file(f.fds[i], pipe_fds[0]);
	}
	int taken = f.fds[3];
	f.fds[3] = -1;
	frame_close_fds(&f);
	assert_int_equal(f.n_fds, 0);
	assert_same_file(taken, pipe_fds[0]);
	close(taken);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	pair_close(&p);
	assert_int_equal(open_fds(), before);
}

/* A receiver that does not read: the sender queues, keeps order, keeps the descriptors, and says when the queue is
 * full. */
static void test_queue(void **state)
{
	(void)state;
	unsigned before = open_fds();
	struct pair p;
	int pipe_fds[2];
	static uint8_t body[FRAME_BODY_MAX];
	pair_open(&p);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	uint32_t sent = 0;
	while (!frame_pending(p.a) && sent < 10000)
		assert_int_equal(frame_send(p.a, 1, sent++, body, FRAME_BODY_MAX, NULL, 0), 0);
	assert_true(frame_pending(p.a));
	assert_int_equal(frame_send(p.a, 2, sent++, "fd", 2, pipe_fds + 1, 1), 0);
	close(pipe_fds[1]);
	for (int err = 0; err == 0 && sent < 20000;) {
		err = frame_send(p.a, 1, sent, "tail", 4, NULL, 0);
		if (err == 0)
			sent++;
		else
			assert_int_equal(err, -ENOBUFS);
	}
	assert_true(sent < 20000);
	uint32_t got = 0;
	struct frame f;
	while (got < sent) {
		int n = frame_recv(p.b, &f);
		if (n == 0) {
			assert_int_equal(frame_flush(p.a), 0);
			continue;
		}
		assert_int_equal(n, 1);
		assert_int_equal(f.id, got++);
		assert_int_equal(f.n_fds, f.type == 2 ? 1 : 0);
		if (f.type == 2)
			assert_same_file(f.fds[0], pipe_fds[0]);
		frame_close_fds(&f);
	}
	assert_false(frame_pending(p.a));
	assert_int_equal(frame_flush(p.a), 0);
	close(pipe_fds[0]);
	pair_close(&p);
	assert_int_equal(open_fds(), before);
}

/* Freed with messages waiting: their descriptors go with them. */
static void test_free_queued(void **state)
{
	(void)state;
	unsigned before = open_fds();
	struct pair p;
	static uint8_t body[FRAME_BODY_MAX];
	pair_open(&p);
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; !frame_pending(p.a) && i < 10000; i++)
		assert_int_equal(frame_send(p.a, 1, 0, body, sizeof(body), &fd, 1), 0);
	assert_int_equal(frame_send(p.a, 1, 0, body, sizeof(body), &fd, 1), 0);
	close(fd);
	pair_close(&p);
	assert_int_equal(open_fds(), before);
}

static void test_gone(void **state)
{
	(void)state;
	struct pair p;
	struct frame f;
	pair_open(&p);
	assert_int_equal(frame_send(p.a, 5, 0, "last", 4, NULL, 0), 0);
	frame_chan_free(p.a);
	p.a = NULL;
	assert_int_equal(frame_recv(p.b, &f), 1);
	assert_int_equal(f.type, 5);
	assert_int_equal(frame_recv(p.b, &f), -EPIPE);
	assert_int_equal(frame_send(p.b, 1, 0, "x", 1, NULL, 0), -EPIPE);
	pair_close(&p);
}

/* What is no frame: too short, a header with a wrong zero, longer than any frame. Descriptors that rode along are
 * closed. */
static void test_no_frame(void **state)
{
	(void)state;
	static uint8_t big[FRAME_BODY_MAX + 9];
	static const struct {
		const uint8_t *bytes;
		size_t len;
	} cases[] = { { (const uint8_t *)"\0\1\0\0\0\0\0", 7 }, { (const uint8_t *)"\0\1\0\1\0\0\0\1", 8 },
		{ (const uint8_t *)"\0", 1 }, { big, sizeof(big) } };
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair p;
		struct frame f;
		pair_open(&p);
		unsigned before = open_fds();
		int fd = frame_chan_fd(p.a);
		struct iovec iov = { .iov_len = cases[i].len };
		memcpy(&iov.iov_base, &cases[i].bytes, sizeof(iov.iov_base));
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(sizeof(int))];
		} control = { 0 };
		struct msghdr msg = { .msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof(control.buf) };
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
		assert_int_equal(sendmsg(fd, &msg, 0), (ssize_t)cases[i].len);
		assert_int_equal(frame_recv(p.b, &f), -EPROTO);
		assert_int_equal(open_fds(), before);
		pair_close(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_free_queued),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_no_frame),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
