/* SPDX-License-Identifier: Apache-2.0 */
/* The files of stored machines: whole or not there, of this boot and these programs, few. */
#include "vm/warm.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test-warm.XXXXXX";
static struct vm_kernel kernel;
static struct vm_spec spec = { .kernel = &kernel,
	.accel = VM_ACCEL_TCG,
	.root = { .kind = VM_ROOT_IMAGE, .image_fd = 5, .layer_fd = -1 },
	.tap_fd = -1,
	.memory_mib = 512,
	.cpus = 1 };

static void touch(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(kernel.vmlinux, sizeof(kernel.vmlinux), "%s/vmlinux", dir);
	snprintf(kernel.initramfs, sizeof(kernel.initramfs), "%s/initramfs", dir);
	touch(kernel.vmlinux, "kernel");
	touch(kernel.initramfs, "init");
	/* A key names the VMM, too. */
	return access("/usr/bin/qemu-system-x86_64", F_OK);
}

static int teardown(void **state)
{
	(void)state;
	char command[256];
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void store(const struct vm_spec *s, const char *text)
{
	int fd = vm_warm_create(dir, s);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static bool stored(const struct vm_spec *s)
{
	int fd = vm_warm_open(dir, s);
	if (fd >= 0)
		close(fd);
	else
		assert_int_equal(fd, -ENOENT);
	return fd >= 0;
}

static void whole_or_not(void **state)
{
	(void)state;
	char text[8] = "";
	assert_true(vm_warm_may(&spec));
	assert_false(stored(&spec));
	store(&spec, "first");
	/* Not tried yet. */
	assert_false(stored(&spec));
	assert_int_equal(vm_warm_keep(dir, &spec), 0);
	int fd = vm_warm_open(dir, &spec);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, text, sizeof(text)), 5);
	assert_memory_equal(text, "first", 5);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	/* Another is begun: neither it nor the one before. */
	store(&spec, "second");
	assert_false(stored(&spec));
	assert_int_equal(vm_warm_keep(dir, &spec), 0);
	vm_warm_forget(dir, &spec);
	assert_false(stored(&spec));
}

static void of_these_programs(void **state)
{
	(void)state;
	store(&spec, "x");
	assert_int_equal(vm_warm_keep(dir, &spec), 0);
	assert_true(stored(&spec));
	struct vm_spec other = spec;
	other.root.layer_fd = 6;
	assert_false(stored(&other));
	other = spec;
	other.tso = true;
	assert_false(stored(&other));
	other = spec;
	other.cpus = 2;
	assert_false(stored(&other));
	touch(kernel.initramfs, "another init");
	assert_false(stored(&spec));
}

static void few(void **state)
{
	(void)state;
	char path[128];
	unsigned n = 0;
	for (unsigned i = 0; i < VM_WARM_SHAPES + 3; i++) {
		struct vm_spec s = spec;
		s.memory_mib = 100 + i;
		store(&s, "x");
		assert_int_equal(vm_warm_keep(dir, &s), 0);
		/* The clock of files is coarse; the first of them is the oldest. */
		snprintf(path, sizeof(path), "%s/warm/tcg-%u-1.machine", dir, 100 + i);
		const struct timespec t[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };
		assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
	}
	for (unsigned i = 0; i < VM_WARM_SHAPES + 3; i++) {
		struct vm_spec s = spec;
		s.memory_mib = 100 + i;
		n += stored(&s);
		if (i < 3)
			assert_false(stored(&s));
	}
	assert_int_equal(n, VM_WARM_SHAPES);
}

static void blanks(void **state)
{
	(void)state;
	struct vm_spec s, with = spec;
	with.root.layer_fd = 6;
	assert_int_equal(vm_warm_blank(&with, &s), 0);
	assert_true(s.blind_nic && s.tap_fd == -1 && s.resume_fd == -1);
	assert_int_equal(fcntl(s.root.image_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(fcntl(s.root.layer_fd, F_GETFL) & O_ACCMODE, O_RDWR);
	close(s.root.image_fd);
	close(s.root.layer_fd);
	assert_int_equal(vm_warm_blank(&spec, &s), 0);
	assert_int_equal(s.root.layer_fd, -1);
	close(s.root.image_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_or_not),
		cmocka_unit_test(few),
		cmocka_unit_test(blanks),
		cmocka_unit_test(of_these_programs),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
