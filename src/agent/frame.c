/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/frame.h"

#include "base/rd.h"

#include <errno.h>
#include <string.h>

enum { SIGNAL_MAX = 64 };

/* Which bodies a type can have at all; what may come when is agent/session.h. */
static bool frame_shape_ok(uint8_t type, uint8_t stream, size_t len)
{
	if (type < AGENT_HELLO || type > AGENT_STARTED || stream >= AGENT_STREAMS)
		return false;
	switch ((enum agent_type)type) {
	case AGENT_HELLO:
	case AGENT_WINCH:
		return stream == 0 && len == 4;
	case AGENT_EXEC:
		return stream == 0 && len <= AGENT_BODY_MAX;
	case AGENT_DATA:
		return len >= 1 && len <= AGENT_DATA_MAX;
	case AGENT_EOF:
		return len == 0;
	case AGENT_SIGNAL:
		return stream == 0 && len == 1;
	case AGENT_EXIT:
		return stream == 0 && len >= 2 && len <= 2 + AGENT_REASON_MAX;
	case AGENT_CREDIT:
		return len == 4;
	case AGENT_STARTED:
		return stream == 0 && len == 0;
	}
	return false;
}

/* Moves bytes into the frame's buffer until it holds `want`; true when it does. */
static bool in_fill(struct agent_in *in, size_t want, const uint8_t **p, size_t *len)
{
	if (in->have >= want)
		return true;
	size_t n = want - in->have;
	if (n > *len)
		n = *len;
	if (n > 0)
		memcpy(in->buf + in->have, *p, n);
	in->have += n;
	*p += n;
	*len -= n;
	return in->have == want;
}

int agent_in_take(struct agent_in *in, const uint8_t **p, size_t *len, struct agent_frame *ret)
{
	if (!in_fill(in, AGENT_HEADER, p, len))
		return 0;
	struct rd r = rd_init(in->buf, AGENT_HEADER);
	uint8_t type = rd_u8(&r);
	uint8_t stream = rd_u8(&r);
	uint16_t zero = rd_u16(&r);
	uint32_t body = rd_u32(&r);
	/* A refused header stays in the buffer, so that every later call refuses too. */
	if (zero != 0 || !frame_shape_ok(type, stream, body))
		return -EPROTO;
	if (!in_fill(in, AGENT_HEADER + body, p, len))
		return 0;
	ret->type = (enum agent_type)type;
	ret->stream = (enum agent_stream)stream;
	ret->body = in->buf + AGENT_HEADER;
	ret->len = body;
	in->have = 0;
	return 1;
}

void agent_put(struct wr *w, enum agent_type type, enum agent_stream stream, const void *body, size_t len)
{
	if (len > AGENT_BODY_MAX || w->cap - w->len < AGENT_HEADER + len)
		w->err = true;
	wr_u8(w, (uint8_t)type);
	wr_u8(w, (uint8_t)stream);
	wr_u16(w, 0);
	wr_u32(w, (uint32_t)len);
	if (len > 0)
		wr_bytes(w, body, len);
}

void agent_put_hello(struct wr *w)
{
	uint8_t body[4];
	struct wr b = wr_init(body, sizeof(body));
	wr_u32(&b, AGENT_VERSION);
	agent_put(w, AGENT_HELLO, AGENT_STDIN, body, sizeof(body));
}

void agent_put_winch(struct wr *w, uint16_t rows, uint16_t cols)
{
	uint8_t body[4];
	struct wr b = wr_init(body, sizeof(body));
	wr_u16(&b, rows);
	wr_u16(&b, cols);
	agent_put(w, AGENT_WINCH, AGENT_STDIN, body, sizeof(body));
}

void agent_put_signal(struct wr *w, uint8_t signal)
{
	agent_put(w, AGENT_SIGNAL, AGENT_STDIN, &signal, 1);
}

void agent_put_credit(struct wr *w, enum agent_stream stream, uint32_t bytes)
{
	uint8_t body[4];
	struct wr b = wr_init(body, sizeof(body));
	wr_u32(&b, bytes);
	agent_put(w, AGENT_CREDIT, stream, body, sizeof(body));
}

void agent_put_exit(struct wr *w, uint8_t status, uint8_t signal, const char *reason)
{
	size_t len = reason == NULL ? 0 : strnlen(reason, AGENT_REASON_MAX);
	if (w->cap - w->len < AGENT_HEADER + 2 + len)
		w->err = true;
	wr_u8(w, AGENT_EXIT);
	wr_u8(w, 0);
	wr_u16(w, 0);
	wr_u32(w, (uint32_t)(2 + len));
	wr_u8(w, status);
	wr_u8(w, signal);
	if (len > 0)
		wr_bytes(w, reason, len);
}

bool agent_get_hello(const struct agent_frame *f, uint32_t *ret_version)
{
	struct rd r = rd_init(f->body, f->len);
	uint32_t version = rd_u32(&r);
	if (f->type != AGENT_HELLO || !rd_done(&r))
		return false;
	*ret_version = version;
	return true;
}

bool agent_get_winch(const struct agent_frame *f, uint16_t *ret_rows, uint16_t *ret_cols)
{
	struct rd r = rd_init(f->body, f->len);
	uint16_t rows = rd_u16(&r);
	uint16_t cols = rd_u16(&r);
	if (f->type != AGENT_WINCH || !rd_done(&r))
		return false;
	*ret_rows = rows;
	*ret_cols = cols;
	return true;
}

bool agent_get_signal(const struct agent_frame *f, uint8_t *ret)
{
	struct rd r = rd_init(f->body, f->len);
	uint8_t signal = rd_u8(&r);
	if (f->type != AGENT_SIGNAL || !rd_done(&r) || signal == 0 || signal > SIGNAL_MAX)
		return false;
	*ret = signal;
	return true;
}

bool agent_get_credit(const struct agent_frame *f, uint32_t *ret)
{
	struct rd r = rd_init(f->body, f->len);
	uint32_t bytes = rd_u32(&r);
	if (f->type != AGENT_CREDIT || !rd_done(&r) || bytes == 0 || bytes > AGENT_WINDOW)
		return false;
	*ret = bytes;
	return true;
}

bool agent_get_exit(const struct agent_frame *f, struct agent_exit *ret)
{
	struct rd r = rd_init(f->body, f->len);
	uint8_t status = rd_u8(&r);
	uint8_t signal = rd_u8(&r);
	size_t len = rd_left(&r);
	const uint8_t *reason = rd_bytes(&r, len);
	if (f->type != AGENT_EXIT || !rd_done(&r) || signal > SIGNAL_MAX || len > AGENT_REASON_MAX)
		return false;
	ret->status = status;
	ret->signal = signal;
	for (size_t i = 0; i < len; i++)
		ret->reason[i] = reason[i] == 0 ? '?' : (char)reason[i];
	ret->reason[len] = 0;
	return true;
}
