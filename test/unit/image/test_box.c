/* SPDX-License-Identifier: Apache-2.0 */
/* The box from inside: what somebody who has taken over a tool could reach. */
#include "image/box.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SPACE = 4 << 20, N_FILES = 64 };

static char dir[] = "/tmp/test-box.XXXXXX", out[64], root[64], said[BOX_SAID_MAX];

static int run_in(int (*inside)(const struct box *b, void *arg), void *arg)
{
	struct box b = { .dir = root,
		.space = SPACE,
		.n_files = N_FILES,
		.binds = { { out, "/out", true } },
		.n_binds = 1 };
	int status = -1;
	int err = box_run(&b, inside, arg, &status, said);
	if (err != 0)
		fail_msg("%s", said);
	return status;
}

/* Its shell command succeeds, as a tool. */
static int shell(const struct box *b, void *arg)
{
	(void)b;
	const char *const argv[] = { "sh", "-c", arg, NULL };
	setenv("PATH", "/usr/bin:/usr/sbin:/bin:/sbin", 1);
	return box_offline() != 0 ? 100 : box_tool(argv, -1);
}

static int attempt(const char *command)
{
	char copy[512];
	snprintf(copy, sizeof(copy), "%s", command);
	return run_in(shell, copy);
}

static void reaches_only_its_own(void **state)
{
	(void)state;
	static const char *const works[] = { "echo x >/out/file", "echo x >/work/file", "test -r /usr/bin/env",
		"test \"$(id -u)\" = 0",
		"test \"$(ls / | tr '\\n' ' ')\" = 'bin dev etc lib lib64 out proc sbin usr work '",
		"test \"$(ls /dev | tr '\\n' ' ')\" = 'null urandom zero '", "test $(ls -d /proc/[0-9]* | wc -l) -lt 8",
		"test $(wc -l </proc/net/dev) = 3" };
	static const char *const fails[] = { "echo x >/usr/file", "echo x >/etc/file", "echo x >/file",
		"cat /etc/shadow", "ls /root /home", "mount -t tmpfs none /work", "mount -o remount,bind,rw /usr",
		"umount /usr", "mknod /work/null c 1 3", "ip link add v0 type veth", "chroot /work true",
		"unshare -Urm mount -o remount,bind,rw /usr" };
	for (unsigned i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		if (attempt(works[i]) != 0)
			fail_msg("%s: %s", works[i], said);
	}
	for (unsigned i = 0; i < sizeof(fails) / sizeof(fails[0]); i++) {
		if (attempt(fails[i]) == 0)
			fail_msg("%s works", fails[i]);
	}
}

static int fill_bytes(const struct box *b, void *arg)
{
	(void)b;
	(void)arg;
	static char chunk[65536];
	int fd = open("/work/a", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int fd2 = open("/work/b", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	size_t n = 0;
	while (n < 2 * SPACE && write(n < SPACE / 2 ? fd : fd2, chunk, sizeof(chunk)) > 0)
		n += sizeof(chunk);
	return n <= SPACE && n > SPACE / 2 && box_full() ? 0 : 1;
}

static int fill_files(const struct box *b, void *arg)
{
	(void)b;
	(void)arg;
	unsigned n = 0;
	for (; n < 2 * N_FILES; n++) {
		char path[32];
		snprintf(path, sizeof(path), "/work/%u", n);
		int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			break;
		close(fd);
	}
	return n > N_FILES / 2 && n < N_FILES && errno == ENOSPC && box_full() ? 0 : 1;
}

static void limits(void **state)
{
	(void)state;
	assert_int_equal(run_in(fill_bytes, NULL), 0);
	assert_int_equal(run_in(fill_files, NULL), 0);
	/* A sparse file takes no memory, but mkfs would write its every block. */
	assert_int_not_equal(attempt("truncate -s 5M /work/sparse"), 0);
	assert_int_equal(attempt("truncate -s 3M /work/sparse"), 0);
}

static int ids(const struct box *b, void *arg)
{
	(void)arg;
	const char *const argv[] = { "chown", "33:44", "/work", NULL };
	setenv("PATH", "/usr/bin:/bin", 1);
	return (box_tool(argv, -1) == 0) == b->all_ids ? 0 : 1;
}

static void other_owners(void **state)
{
	(void)state;
	assert_int_equal(run_in(ids, NULL), 0);
}

static void says_why(void **state)
{
	(void)state;
	assert_int_equal(attempt("echo one >&2; echo two >&2; exit 7"), 7);
	assert_string_equal(said, "two");
	assert_int_equal(attempt("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2"), 0);
	assert_int_equal(strlen(said), BOX_SAID_MAX - 1);
}

static int setup(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(out, sizeof(out), "%s/out", dir);
	snprintf(root, sizeof(root), "%s/root", dir);
	return mkdir(out, 0700) != 0 || mkdir(root, 0700) != 0;
}

static int teardown(void **state)
{
	(void)state;
	char file[96];
	snprintf(file, sizeof(file), "%s/file", out);
	unlink(file);
	return rmdir(out) != 0 || rmdir(root) != 0 || rmdir(dir) != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reaches_only_its_own), cmocka_unit_test(limits),
		cmocka_unit_test(other_owners), cmocka_unit_test(says_why) };
	return cmocka_run_group_tests(tests, setup, teardown);
}
