/* SPDX-License-Identifier: Apache-2.0 */
/* Reader and writer: what does not fit fails, stays failed, and changes nothing. */
#include "base/rd.h"
#include "base/wr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t count[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

static void test_read(void **state)
{
	(void)state;
	struct rd r = rd_init(count, 16);
	assert_int_equal(rd_u8(&r), 0x01);
	assert_int_equal(rd_peek_u16(&r), 0x0203);
	assert_int_equal(rd_u16(&r), 0x0203);
	assert_int_equal(rd_u32(&r), 0x04050607);
	assert_true(rd_u64(&r) == 0x08090a0b0c0d0e0fU);
	assert_int_equal(rd_left(&r), 1);
	assert_false(rd_done(&r));
	assert_int_equal(rd_peek_u16(&r), 0);
	assert_true(rd_ok(&r));
	assert_ptr_equal(rd_bytes(&r, 1), count + 15);
	assert_true(rd_done(&r));
	assert_non_null(rd_bytes(&r, 0));
	assert_true(rd_done(&r));
}

/* Every read at every length: all of it or nothing, and after a failure nothing more. */
static void test_read_short(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 9; len++) {
		uint8_t *block = malloc(len == 0 ? 1 : len);
		assert_non_null(block);
		memcpy(block, count, len);
		static const size_t sizes[] = { 1, 2, 4, 8 };
		for (unsigned i = 0; i < 4; i++) {
			struct rd r = rd_init(block, len);
			uint64_t v = i == 0 ? rd_u8(&r) : i == 1 ? rd_u16(&r) : i == 2 ? rd_u32(&r) : rd_u64(&r);
			assert_int_equal(rd_ok(&r), len >= sizes[i]);
			assert_int_equal(v != 0, len >= sizes[i]);
			if (len >= sizes[i])
				continue;
			assert_int_equal(r.left, len);
			assert_int_equal(rd_left(&r), 0);
			assert_int_equal(rd_u8(&r), 0);
			assert_int_equal(rd_peek_u16(&r), 0);
			assert_null(rd_bytes(&r, 0));
			assert_false(rd_ok(&r) || rd_done(&r));
		}
		free(block);
	}
}

static void test_read_pieces(void **state)
{
	(void)state;
	struct rd r = rd_init(count, 16);
	struct rd sub = rd_sub(&r, 4);
	assert_int_equal(rd_left(&sub), 4);
	assert_int_equal(rd_left(&r), 12);
	assert_int_equal(rd_u32(&sub), 0x01020304);
	assert_int_equal(rd_u8(&sub), 0);
	assert_false(rd_ok(&sub));
	assert_true(rd_ok(&r));
	uint8_t out[4] = { 9, 9, 9, 9 };
	rd_copy(&r, out, 4);
	assert_memory_equal(out, count + 4, 4);
	rd_copy(&r, NULL, 0);
	rd_skip(&r, 7);
	assert_int_equal(rd_left(&r), 1);
	rd_copy(&r, out, 4);
	assert_memory_equal(out, "\0\0\0\0", 4);
	sub = rd_sub(&r, 0);
	assert_false(rd_ok(&sub));
	/* A length as large as can be does not wrap round. */
	r = rd_init(count, 16);
	rd_skip(&r, 1);
	sub = rd_sub(&r, SIZE_MAX);
	assert_false(rd_ok(&sub) || rd_ok(&r));
	r = rd_init(NULL, 0);
	assert_true(rd_done(&r));
	r = rd_init(NULL, 1);
	assert_false(rd_ok(&r));
	r = rd_init(count, 16);
	rd_fail(&r);
	assert_int_equal(rd_u8(&r), 0);
	assert_int_equal(rd_left(&r), 0);
}

static void test_write(void **state)
{
	(void)state;
	uint8_t buf[32];
	memset(buf, 0xee, sizeof(buf));
	struct wr w = wr_init(buf, sizeof(buf));
	wr_u8(&w, 0x01);
	wr_u16(&w, 0x0203);
	wr_u32(&w, 0x04050607);
	wr_u64(&w, 0x08090a0b0c0d0e0fU);
	wr_bytes(&w, count + 15, 1);
	wr_bytes(&w, NULL, 0);
	assert_memory_equal(buf, count, 16);
	wr_pad(&w, 0, 8);
	assert_int_equal(w.len, 16);
	wr_u8(&w, 0xff);
	wr_pad(&w, 1, 8);
	assert_int_equal(w.len, 17);
	wr_pad(&w, 0, 8);
	assert_int_equal(w.len, 24);
	assert_memory_equal(buf + 17, "\0\0\0\0\0\0\0\xee", 8);
	wr_patch_u16(&w, 22, 0xabcd);
	wr_patch_u32(&w, 0, 0xdeadbeef);
	wr_zero(&w, 0);
	wr_zero(&w, 8);
	assert_true(wr_ok(&w));
	assert_memory_equal(buf, "\xde\xad\xbe\xef\x05", 5);
	assert_memory_equal(buf + 22, "\xab\xcd\0\0\0\0\0\0\0\0", 10);
	assert_int_equal(w.len, 32);
	wr_u8(&w, 1);
	assert_false(wr_ok(&w));
}

/* A write that does not fit writes nothing, and nor does any after it. */
static void test_write_full(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < 7; kind++) {
		uint8_t buf[8] = { 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee };
		struct wr w = wr_init(buf, 1);
		if (kind == 0)
			wr_u16(&w, 1);
		else if (kind == 1)
			wr_u32(&w, 1);
		else if (kind == 2)
			wr_u64(&w, 1);
		else if (kind == 3)
			wr_bytes(&w, count, 2);
		else if (kind == 4)
			wr_zero(&w, 2);
		else if (kind == 5)
			wr_zero(&w, SIZE_MAX);
		else
			wr_pad(&w, 1, 4);
		assert_false(wr_ok(&w));
		wr_u8(&w, 1);
		assert_int_equal(w.len, 0);
		assert_int_equal(buf[0], 0xee);
	}
}

static void test_write_patch(void **state)
{
	(void)state;
	uint8_t buf[8] = { 0 };
	static const struct {
		size_t off;
		bool wide, ok;
	} cases[] = { { 0, false, true }, { 2, false, true }, { 3, false, false }, { 4, false, false },
		{ 0, true, true }, { 1, true, false }, { 5, true, false }, { SIZE_MAX, false, false },
		{ SIZE_MAX - 1, true, false } };
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct wr w = wr_init(buf, sizeof(buf));
		wr_u32(&w, 0);
		if (cases[i].wide)
			wr_patch_u32(&w, cases[i].off, 1);
		else
			wr_patch_u16(&w, cases[i].off, 1);
		assert_int_equal(wr_ok(&w), cases[i].ok);
	}
	struct wr w = wr_init(buf, sizeof(buf));
	wr_pad(&w, 0, 0);
	assert_false(wr_ok(&w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_short),
		cmocka_unit_test(test_read_pieces),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_full),
		cmocka_unit_test(test_write_patch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
