/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wr.h"

#include <string.h>

struct wr wr_init(void *buf, size_t cap)
{
	return (struct wr){ .buf = buf, .cap = cap };
}

static uint8_t *wr_take(struct wr *w, size_t len)
{
	if (w->err || len > w->cap - w->len) {
		w->err = true;
		return NULL;
	}
	uint8_t *p = w->buf + w->len;
	w->len += len;
	return p;
}

static void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)(v >> 16));
	put_u16(p + 2, (uint16_t)v);
}

void wr_u8(struct wr *w, uint8_t v)
{
	uint8_t *p = wr_take(w, 1);
	if (p != NULL)
		p[0] = v;
}

void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t *p = wr_take(w, 2);
	if (p != NULL)
		put_u16(p, v);
}

void wr_u32(struct wr *w, uint32_t v)
{
	uint8_t *p = wr_take(w, 4);
	if (p != NULL)
		put_u32(p, v);
}

void wr_u64(struct wr *w, uint64_t v)
{
	uint8_t *p = wr_take(w, 8);
	if (p == NULL)
		return;
	put_u32(p, (uint32_t)(v >> 32));
	put_u32(p + 4, (uint32_t)v);
}

void wr_bytes(struct wr *w, const void *src, size_t len)
{
	if (len == 0)
		return;
	uint8_t *p = wr_take(w, len);
	if (p != NULL)
		memcpy(p, src, len);
}

void wr_zero(struct wr *w, size_t len)
{
	if (len == 0)
		return;
	uint8_t *p = wr_take(w, len);
	if (p != NULL)
		memset(p, 0, len);
}

void wr_pad(struct wr *w, size_t from, size_t align)
{
	if (w->err || from > w->len || align == 0) {
		w->err = true;
		return;
	}
	size_t over = (w->len - from) % align;
	if (over != 0)
		wr_zero(w, align - over);
}

void wr_patch_u16(struct wr *w, size_t off, uint16_t v)
{
	if (w->err || off > w->len || w->len - off < 2)
		w->err = true;
	else
		put_u16(w->buf + off, v);
}

void wr_patch_u32(struct wr *w, size_t off, uint32_t v)
{
	if (w->err || off > w->len || w->len - off < 4)
		w->err = true;
	else
		put_u32(w->buf + off, v);
}

bool wr_ok(const struct wr *w)
{
	return !w->err;
}
