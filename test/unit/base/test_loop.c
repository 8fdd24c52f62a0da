/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop_make(void)
{
	struct loop *l = NULL;
	assert_int_equal(loop_new(&l), 0);
	return l;
}

static void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
}

static void close_pipe(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void put(int fd)
{
	assert_int_equal(write(fd, "x", 1), 1);
}

static void test_typed(void **state)
{
	(void)state;
	struct loop *l = loop_make();
	struct loop_event e;
	int p[2];
	make_pipe(p);
	assert_int_equal(loop_add(l, p[0], EPOLLIN, 200, 0xfffffe), 0);
	assert_int_equal(loop_add(l, p[0], EPOLLIN, 1, 1), -EEXIST);
	assert_int_equal(loop_mod(l, p[1], EPOLLOUT, 1, 1), -ENOENT);
	assert_false(loop_next(l, 0, &e));
	put(p[1]);
	assert_true(loop_next(l, -1, &e));
	assert_true(e.ref.type == 200 && e.ref.index == 0xfffffe && e.ref.fd == p[0] && (e.events & EPOLLIN) != 0);
	assert_int_equal(loop_mod(l, p[0], EPOLLIN, 3, 4), 0);
	assert_true(loop_next(l, clock_boot_ms() + 5000, &e));
	assert_true(e.ref.type == 3 && e.ref.index == 4);
	assert_int_equal(loop_mod(l, p[0], 0, 3, 4), 0);
	assert_false(loop_next(l, clock_boot_ms(), &e));
	assert_int_equal(loop_add(l, -1, EPOLLIN, 1, 1), -EBADF);
	close_pipe(p);
	loop_free(l);
	loop_free(NULL);
}

static void test_deadline(void **state)
{
	(void)state;
	struct loop *l = loop_make();
	struct loop_event e;
	int64_t until = clock_boot_ms() + 30;
	assert_false(loop_next(l, until, &e));
	assert_true(clock_boot_ms() >= until);
	loop_free(l);
}

/* An event already fetched for a descriptor that was deleted is not returned, not even when a new one has its number.
 */
static void test_deleted(void **state)
{
	(void)state;
	enum { PIPES = 10 };
	struct loop *l = loop_make();
	struct loop_event e;
	int p[PIPES][2];
	for (unsigned i = 0; i < PIPES; i++) {
		make_pipe(p[i]);
		put(p[i][1]);
		assert_int_equal(loop_add(l, p[i][0], EPOLLIN, 1, i), 0);
	}
	assert_true(loop_next(l, -1, &e));
	uint32_t first = e.ref.index;
	for (unsigned i = 0; i < PIPES; i++) {
		if (i != first)
			loop_del(l, p[i][0]);
	}
	unsigned again = (first + 1) % PIPES;
	int number = p[again][0];
	close_pipe(p[again]);
	make_pipe(p[again]);
	assert_true(p[again][0] == number || p[again][1] == number);
	assert_int_equal(loop_add(l, p[again][0], EPOLLIN, 2, again), 0);
	char c;
	assert_int_equal(read(p[first][0], &c, 1), 1);
	assert_false(loop_next(l, clock_boot_ms(), &e));
	put(p[again][1]);
	assert_true(loop_next(l, -1, &e));
	assert_true(e.ref.type == 2 && e.ref.index == again);
	for (unsigned i = 0; i < PIPES; i++)
		close_pipe(p[i]);
	loop_free(l);
}

/* More ready descriptors than one batch holds: each is seen. */
static void test_many(void **state)
{
	(void)state;
	enum { PIPES = 150 };
	struct loop *l = loop_make();
	struct loop_event e;
	int p[PIPES][2];
	bool seen[PIPES] = { false };
	for (unsigned i = 0; i < PIPES; i++) {
		make_pipe(p[i]);
		put(p[i][1]);
		assert_int_equal(loop_add(l, p[i][0], EPOLLIN, 9, i), 0);
	}
	for (unsigned i = 0; i < PIPES; i++) {
		char c;
		assert_true(loop_next(l, clock_boot_ms() + 5000, &e));
		assert_false(seen[e.ref.index]);
		seen[e.ref.index] = true;
		assert_int_equal(read(e.ref.fd, &c, 1), 1);
	}
	assert_false(loop_next(l, 0, &e));
	for (unsigned i = 0; i < PIPES; i++)
		close_pipe(p[i]);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_typed),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_deleted),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
