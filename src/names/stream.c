/* SPDX-License-Identifier: Apache-2.0 */
#include "names/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = 2 };

struct stream {
	size_t in_at, in_len, out_at, out_len;
	uint8_t *out; /* STREAM_OUT_MAX, made with the first answer, freed when all is sent */
	uint8_t in[PREFIX + STREAM_QUERY_MAX];
};

struct stream *stream_new(void)
{
	return calloc(1, sizeof(struct stream));
}

void stream_free(struct stream *s)
{
	if (s == NULL)
		return;
	free(s->out);
	free(s);
}

uint8_t *stream_in(struct stream *s, size_t *ret_room)
{
	s->in_len -= s->in_at;
	memmove(s->in, s->in + s->in_at, s->in_len);
	s->in_at = 0;
	*ret_room = sizeof(s->in) - s->in_len;
	return s->in + s->in_len;
}

void stream_in_done(struct stream *s, size_t len)
{
	s->in_len += len;
}

int stream_next(struct stream *s, const uint8_t **ret, size_t *ret_len)
{
	const uint8_t *p = s->in + s->in_at;
	size_t have = s->in_len - s->in_at;
	if (have < PREFIX)
		return 0;
	size_t len = (size_t)p[0] << 8 | p[1];
	if (len > STREAM_QUERY_MAX)
		return -EMSGSIZE;
	if (have - PREFIX < len)
		return 0;
	s->in_at += PREFIX + len;
	*ret = p + PREFIX;
	*ret_len = len;
	return 1;
}

int stream_put(struct stream *s, const uint8_t *msg, size_t len)
{
	if (s->out == NULL && (s->out = malloc(STREAM_OUT_MAX)) == NULL)
		return -ENOMEM;
	if (s->out_at > 0) {
		s->out_len -= s->out_at;
		memmove(s->out, s->out + s->out_at, s->out_len);
		s->out_at = 0;
	}
	if (s->out_len > STREAM_OUT_MAX - PREFIX || len > STREAM_OUT_MAX - PREFIX - s->out_len)
		return -ENOBUFS;
	s->out[s->out_len] = (uint8_t)(len >> 8);
	s->out[s->out_len + 1] = (uint8_t)len;
	memcpy(s->out + s->out_len + PREFIX, msg, len);
	s->out_len += PREFIX + len;
	return 0;
}

const uint8_t *stream_out(const struct stream *s, size_t *ret_len)
{
	*ret_len = s->out_len - s->out_at;
	return *ret_len == 0 ? NULL : s->out + s->out_at;
}

void stream_out_done(struct stream *s, size_t len)
{
	s->out_at += len;
	if (s->out_at < s->out_len)
		return;
	s->out_at = s->out_len = 0;
	free(s->out);
	s->out = NULL;
}
