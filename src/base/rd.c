/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rd.h"

#include <string.h>

struct rd rd_init(const void *buf, size_t len)
{
	return (struct rd){ .p = buf, .left = buf == NULL ? 0 : len, .err = buf == NULL && len != 0 };
}

const uint8_t *rd_bytes(struct rd *r, size_t len)
{
	if (r->err || len > r->left) {
		r->err = true;
		return NULL;
	}
	const uint8_t *p = r->p;
	if (len != 0)
		r->p += len;
	r->left -= len;
	return p;
}

uint8_t rd_u8(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 1);
	return p == NULL ? 0 : p[0];
}

uint16_t rd_u16(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 2);
	if (p == NULL)
		return 0;
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t rd_u32(struct rd *r)
{
	const uint8_t *p = rd_bytes(r, 4);
	if (p == NULL)
		return 0;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t rd_u64(struct rd *r)
{
	if (rd_left(r) < 8) {
		r->err = true;
		return 0;
	}
	uint64_t high = rd_u32(r);
	return high << 32 | rd_u32(r);
}

void rd_copy(struct rd *r, void *ret, size_t len)
{
	const uint8_t *p = rd_bytes(r, len);
	if (len == 0)
		return;
	if (p == NULL)
		memset(ret, 0, len);
	else
		memcpy(ret, p, len);
}

void rd_skip(struct rd *r, size_t len)
{
	(void)rd_bytes(r, len);
}

struct rd rd_sub(struct rd *r, size_t len)
{
	const uint8_t *p = rd_bytes(r, len);
	if (r->err)
		return (struct rd){ .err = true };
	return (struct rd){ .p = p, .left = len };
}

uint16_t rd_peek_u16(const struct rd *r)
{
	if (r->err || r->left < 2)
		return 0;
	return (uint16_t)(r->p[0] << 8 | r->p[1]);
}

void rd_fail(struct rd *r)
{
	r->err = true;
}

size_t rd_left(const struct rd *r)
{
	return r->err ? 0 : r->left;
}

bool rd_ok(const struct rd *r)
{
	return !r->err;
}

bool rd_done(const struct rd *r)
{
	return !r->err && r->left == 0;
}
