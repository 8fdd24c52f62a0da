/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_RD_H
#define BASE_RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The one reader of hostile bytes. A read that does not fit sets `err`, consumes nothing and yields zero (or NULL);
 * from then on every read does the same, so a decoder reads a whole structure and asks rd_ok() or rd_done() once. Big
 * endian. Does not own the bytes. `p` and `left` are for this file's functions only; `err` may be set by a decoder that
 * found a bad value (rd_fail).
 */
struct rd {
	const uint8_t *p;
	size_t left;
	bool err;
};

struct rd rd_init(const void *buf, size_t len);

uint8_t rd_u8(struct rd *r);
uint16_t rd_u16(struct rd *r);
uint32_t rd_u32(struct rd *r);
uint64_t rd_u64(struct rd *r);

/* The next `len` bytes in place, valid as long as the buffer; NULL when there are fewer. */
const uint8_t *rd_bytes(struct rd *r, size_t len);
/* Copies `len` bytes to `ret`; on a failed read `ret` is zeroed. */
void rd_copy(struct rd *r, void *ret, size_t len);
void rd_skip(struct rd *r, size_t len);
/* A reader of the next `len` bytes alone; in error itself when they are not there. */
struct rd rd_sub(struct rd *r, size_t len);
/* The next two bytes without consuming them; 0 when there are fewer, without an error. */
uint16_t rd_peek_u16(const struct rd *r);

void rd_fail(struct rd *r);
size_t rd_left(const struct rd *r);
/* No read has failed so far. */
bool rd_ok(const struct rd *r);
/* No read has failed and nothing is left: the only proof that a message was understood whole. */
bool rd_done(const struct rd *r);

#endif
