/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/initramfs.h"
#include "vm/kernel.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "\177ELF" as literals, then twelve bytes copied from four back, then "end" as literals. */
static const uint8_t lz4[] = { 0x02, 0x21, 0x4c, 0x18, 11, 0, 0, 0, 0x48, 0x7f, 'E', 'L', 'F', 4, 0, 0x30, 'e', 'n',
	'd' };
static const char plain[] = "\177ELF\177ELF\177ELF\177ELFend";

static void test_lz4(void **state)
{
	(void)state;
	uint8_t *out;
	size_t len;
	assert_int_equal(vm_lz4_legacy(lz4, sizeof(lz4), 1000, &out, &len), 0);
	assert_int_equal(len, sizeof(plain) - 1);
	assert_memory_equal(out, plain, len);
	free(out);
	assert_int_equal(vm_lz4_legacy(lz4, sizeof(lz4), 18, &out, &len), -EBADMSG);
	for (size_t cut = 0; cut < sizeof(lz4); cut++) {
		/* A file that ends between two frames is whole; this one has only one. */
		int err = vm_lz4_legacy(lz4, cut, 1000, &out, &len);
		if (cut == 4)
			assert_int_equal(err, 0);
		else
			assert_int_equal(err, -EBADMSG);
	}
}

static void test_lz4_reaches_back_too_far(void **state)
{
	(void)state;
	uint8_t bad[sizeof(lz4)], *out;
	size_t len;
	memcpy(bad, lz4, sizeof(bad));
	bad[13] = 5;
	assert_int_equal(vm_lz4_legacy(bad, sizeof(bad), 1000, &out, &len), -EBADMSG);
	bad[13] = 0;
	assert_int_equal(vm_lz4_legacy(bad, sizeof(bad), 1000, &out, &len), -EBADMSG);
}

/* One sector of boot code, one of set-up, then the payload and its four bytes of size. */
static size_t make_image(uint8_t *image, size_t cap)
{
	memset(image, 0, cap);
	image[0x1f1] = 1;
	memcpy(image + 0x202, "HdrS", 4);
	image[0x248] = 16;
	image[0x24c] = sizeof(lz4) + 4;
	memcpy(image + 1024 + 16, lz4, sizeof(lz4));
	return 1024 + 16 + sizeof(lz4) + 4;
}

static void test_extract(void **state)
{
	(void)state;
	uint8_t image[2048], *out;
	size_t out_len, len = make_image(image, sizeof(image));
	assert_int_equal(vm_kernel_extract(image, len, &out, &out_len), 0);
	assert_int_equal(out_len, sizeof(plain) - 1);
	assert_memory_equal(out, plain, out_len);
	free(out);
	assert_int_equal(vm_kernel_extract(image, len - 1, &out, &out_len), -EBADMSG);
	assert_int_equal(vm_kernel_extract(image, 100, &out, &out_len), -EBADMSG);
	image[0x24b] = 0xff;
	assert_int_equal(vm_kernel_extract(image, len, &out, &out_len), -EBADMSG);
	make_image(image, sizeof(image));
	image[1024 + 16 + 9] = 'X';
	assert_int_equal(vm_kernel_extract(image, len, &out, &out_len), -EBADMSG);
	make_image(image, sizeof(image));
	image[0x202] = 0;
	assert_int_equal(vm_kernel_extract(image, len, &out, &out_len), -EBADMSG);
}

static void test_cpio(void **state)
{
	(void)state;
	char buf[1024];
	struct cpio c = cpio_init(buf, sizeof(buf));
	cpio_file(&c, "init", 0755, "hello", 5);
	static const char want[] = "07070100000001000081ed0000000000000000000000010000000000000005"
				   "00000000000000000000000000000000"
				   "0000000500000000init\0\0\0hello\0\0";
	assert_true(wr_ok(&c.w));
	assert_int_equal(c.w.len % 4, 0);
	assert_memory_equal(buf, want, 110);
	assert_memory_equal(buf + 110, "init\0", 5);
	assert_memory_equal(buf + 116, "hello\0\0\0", 8);
	assert_int_equal(c.w.len, 124);
	cpio_chardev(&c, "dev/console", 0600, 5, 1);
	cpio_end(&c);
	assert_true(wr_ok(&c.w));
	assert_non_null(memmem(buf, c.w.len, "TRAILER!!!", 11));
	struct cpio small = cpio_init(buf, 100);
	cpio_file(&small, "init", 0755, "hello", 5);
	assert_false(wr_ok(&small.w));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_lz4), cmocka_unit_test(test_lz4_reaches_back_too_far),
		cmocka_unit_test(test_extract), cmocka_unit_test(test_cpio) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
