/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_WR_H
#define BASE_WR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The writer: fills a buffer of the caller's, big endian. A write that does not fit sets `err` and writes nothing;
 * later writes do nothing either, so an encoder checks wr_ok() once at its end. Does not own the buffer.
 */
struct wr {
	uint8_t *buf;
	size_t cap;
	size_t len;
	bool err;
};

struct wr wr_init(void *buf, size_t cap);

void wr_u8(struct wr *w, uint8_t v);
void wr_u16(struct wr *w, uint16_t v);
void wr_u32(struct wr *w, uint32_t v);
void wr_u64(struct wr *w, uint64_t v);
void wr_bytes(struct wr *w, const void *p, size_t len);
void wr_zero(struct wr *w, size_t len);
/* Zeroes up to the next multiple of `align` counted from offset `from`. */
void wr_pad(struct wr *w, size_t from, size_t align);
/* Overwrites two or four bytes already written at `off` (a length known only at the end). */
void wr_patch_u16(struct wr *w, size_t off, uint16_t v);
void wr_patch_u32(struct wr *w, size_t off, uint32_t v);
bool wr_ok(const struct wr *w);

#endif
