/* SPDX-License-Identifier: Apache-2.0 */
#include "gate/out.h"

#include "base/rd.h"

#include <stdlib.h>
#include <string.h>

enum { MSG_HEADER = 12, FIRST_CAP = 65536 };

void out_fini(struct out *o)
{
	free(o->buf);
	*o = (struct out){ 0 };
}

/* A place for `len` bytes; NULL when OUT_BYTES_MAX is reached. */
static uint8_t *out_reserve(struct out *o, size_t len)
{
	if (o->start == o->len)
		o->start = o->len = 0;
	if (o->len - o->start > OUT_BYTES_MAX || len > OUT_BYTES_MAX) {
		o->full = true;
		return NULL;
	}
	if (len > o->cap - o->len && o->start > 0) {
		memmove(o->buf, o->buf + o->start, o->len - o->start);
		o->len -= o->start;
		o->start = 0;
	}
	if (len > o->cap - o->len) {
		size_t cap = o->cap == 0 ? FIRST_CAP : o->cap;
		while (cap - o->len < len)
			cap *= 2;
		uint8_t *buf = realloc(o->buf, cap);
		if (buf == NULL) {
			o->full = true;
			return NULL;
		}
		o->buf = buf;
		o->cap = cap;
	}
	return o->buf + o->len;
}

/* What desk only writes down. Telling it at once would set it to work beside a connection that is being made. */
static bool may_wait(enum role_id to, uint16_t type)
{
	return to == ROLE_DESK && (type == IPC_GRANT || type == IPC_GRANT_END || type == IPC_EVENT || type == IPC_USED);
}

void out_msg_put(struct out *o, enum role_id to, uint16_t type, uint32_t id, const void *body, size_t len)
{
	uint8_t *at = out_reserve(o, MSG_HEADER + len);
	if (at == NULL)
		return;
	struct wr w = wr_init(at, MSG_HEADER + len);
	wr_u16(&w, (uint16_t)to);
	wr_u16(&w, type);
	wr_u32(&w, id);
	wr_u32(&w, (uint32_t)len);
	wr_bytes(&w, body, len);
	o->len += w.len;
	o->urgent = o->urgent || !may_wait(to, type);
}

bool out_msg_next(struct out *o, struct out_msg *ret)
{
	if (o->start == o->len) {
		o->urgent = false;
		return false;
	}
	struct rd r = rd_init(o->buf + o->start, o->len - o->start);
	struct out_msg m = { 0 };
	m.to = (enum role_id)rd_u16(&r);
	m.type = rd_u16(&r);
	m.id = rd_u32(&r);
	m.len = rd_u32(&r);
	m.body = rd_bytes(&r, m.len);
	if (!rd_ok(&r))
		return false;
	o->start += MSG_HEADER + m.len;
	*ret = m;
	return true;
}
