/* SPDX-License-Identifier: Apache-2.0 */
#include "ovsdb/stream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A partial message plus one read's worth of the following ones. */
enum { HELD_MAX = OVSDB_MESSAGE_MAX + (1 << 20), FIRST_CAP = 4096 };

struct ovsdb_stream {
	char *buf;
	size_t cap, len;
	size_t start; /* of the message being scanned */
	size_t scan;  /* bytes before it have been looked at */
	unsigned depth;
	bool in_string, escaped;
};

int ovsdb_stream_new(struct ovsdb_stream **ret)
{
	struct ovsdb_stream *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	*ret = s;
	return 0;
}

void ovsdb_stream_free(struct ovsdb_stream *s)
{
	if (s == NULL)
		return;
	free(s->buf);
	free(s);
}

void ovsdb_stream_reset(struct ovsdb_stream *s)
{
	free(s->buf);
	*s = (struct ovsdb_stream){ 0 };
}

/* Moves the unread rest to the front. */
static void stream_compact(struct ovsdb_stream *s)
{
	if (s->start == 0)
		return;
	memmove(s->buf, s->buf + s->start, s->len - s->start);
	s->len -= s->start;
	s->scan -= s->start;
	s->start = 0;
}

int ovsdb_stream_put(struct ovsdb_stream *s, const void *bytes, size_t len)
{
	if (len == 0)
		return 0;
	stream_compact(s);
	if (len > HELD_MAX - s->len)
		return -EMSGSIZE;
	if (len > s->cap - s->len) {
		size_t cap = s->cap == 0 ? FIRST_CAP : s->cap;
		while (len > cap - s->len)
			cap *= 2;
		char *buf = realloc(s->buf, cap);
		if (buf == NULL)
			return -ENOMEM;
		s->buf = buf;
		s->cap = cap;
	}
	memcpy(s->buf + s->len, bytes, len);
	s->len += len;
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One byte of a message: 1 when it was its last, 0 otherwise, negative errno. */
static int stream_byte(struct ovsdb_stream *s, char c)
{
	if (s->in_string) {
		if (s->escaped)
			s->escaped = false;
		else if (c == '\\')
			s->escaped = true;
		else if (c == '"')
			s->in_string = false;
		return 0;
	}
	if (c == '"') {
		s->in_string = true;
	} else if (c == '{' || c == '[') {
		if (++s->depth > OVSDB_DEPTH_MAX)
			return -EMSGSIZE;
	} else if (c == '}' || c == ']') {
		return --s->depth == 0;
	}
	return 0;
}

int ovsdb_stream_next(struct ovsdb_stream *s, const char **ret_text, size_t *ret_len)
{
	while (s->depth == 0 && s->start < s->len && is_space(s->buf[s->start]))
		s->scan = ++s->start;
	if (s->depth == 0 && s->start < s->len && s->buf[s->start] != '{')
		return -EPROTO;
	while (s->scan < s->len) {
		int end = stream_byte(s, s->buf[s->scan++]);
		if (end < 0 || s->scan - s->start > OVSDB_MESSAGE_MAX)
			return end < 0 ? end : -EMSGSIZE;
		if (end == 1) {
			*ret_text = s->buf + s->start;
			*ret_len = s->scan - s->start;
			s->start = s->scan;
			return 1;
		}
	}
	return 0;
}
