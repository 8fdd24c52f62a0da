/* SPDX-License-Identifier: Apache-2.0 */
/* What a confined process may still make of sockets and signals. Needs root (else 77). */
#include "role/role.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SKIP = 77, MADE = 5, REFUSED = 6 };

static struct role role = { .id = ROLE_RESOLVER };

/* What becomes of a process that is confined so and then makes this socket: MADE, REFUSED or 128 + the signal. */
static int try_socket(bool inet_sockets, int family, int type, int protocol)
{
	static const char *const extra[] = { "bind", NULL };
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct role_confine c = { .extra = extra, .inet_sockets = inet_sockets };
		if (role_confine(&role, &c) != 0)
			_exit(1);
		_exit(socket(family, type, protocol) >= 0 ? MADE : REFUSED);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_inet_sockets(void **state)
{
	(void)state;
	static const int families[] = { AF_INET, AF_INET6 };
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(try_socket(true, families[i], SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), MADE);
		assert_int_equal(try_socket(true, families[i], SOCK_STREAM, IPPROTO_TCP), MADE);
		assert_int_equal(try_socket(true, families[i], SOCK_RAW, IPPROTO_ICMP), 128 + SIGSYS);
		assert_int_equal(try_socket(false, families[i], SOCK_DGRAM, 0), 128 + SIGSYS);
	}
	assert_int_equal(try_socket(true, AF_NETLINK, SOCK_RAW, 0), 128 + SIGSYS);
	assert_int_equal(try_socket(true, AF_UNIX, SOCK_STREAM, 0), 128 + SIGSYS);
	assert_int_equal(try_socket(true, AF_PACKET, SOCK_DGRAM, 0), 128 + SIGSYS);
}

enum signal_way { OWN_TGKILL, OTHERS_TGKILL, SET_OWNER, SET_FLAGS };

static int try_signal(enum signal_way way, pid_t other, int fd)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct role_confine c = { 0 };
		if (role_confine(&role, &c) != 0)
			_exit(1);
		pid_t to = way == OWN_TGKILL ? getpid() : other;
		if (way == SET_OWNER)
			_exit(fcntl(fd, F_SETOWN, to) == 0 ? MADE : REFUSED);
		if (way == SET_FLAGS)
			_exit(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 ? MADE : REFUSED);
		_exit(syscall(SYS_tgkill, to, to, 0) == 0 ? MADE : REFUSED);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Two keepers have one uid: the guest that took one over must not end the other. */
static void test_signals(void **state)
{
	(void)state;
	int ends[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	pid_t other = fork();
	assert_true(other >= 0);
	if (other == 0) {
		struct role_confine c = { 0 };
		char byte;
		close(ends[1]);
		_exit(role_confine(&role, &c) == 0 && write(ends[0], "", 1) == 1 ? (int)read(ends[0], &byte, 1) : 1);
	}
	char byte;
	close(ends[0]);
	assert_int_equal(read(ends[1], &byte, 1), 1);
	assert_int_equal(try_signal(OWN_TGKILL, other, ends[1]), MADE);
	assert_int_equal(try_signal(SET_FLAGS, other, ends[1]), MADE);
	assert_int_equal(try_signal(OTHERS_TGKILL, other, ends[1]), 128 + SIGSYS);
	assert_int_equal(try_signal(SET_OWNER, other, ends[1]), 128 + SIGSYS);
	close(ends[1]);
	assert_int_equal(waitpid(other, NULL, 0), other);
}

int main(void)
{
	char dir[] = "/tmp/sekisho-confine-XXXXXX", empty[64];
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_inet_sockets), cmocka_unit_test(test_signals) };
	if (geteuid() != 0)
		return SKIP;
	conf_defaults(&role.conf);
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) != 0)
		return 1;
	snprintf(role.conf.run_dir, sizeof(role.conf.run_dir), "%s", dir);
	snprintf(empty, sizeof(empty), "%s/empty", dir);
	if (mkdir(empty, 0555) != 0)
		return 1;
	int failed = cmocka_run_group_tests_name("confinement", tests, NULL, NULL);
	rmdir(empty);
	rmdir(dir);
	return failed;
}
