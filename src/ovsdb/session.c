/* SPDX-License-Identifier: Apache-2.0 */
#include "ovsdb/session.h"

#include "ovsdb/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ovsdb_session {
	struct ovsdb_stream *in;
	char *out;
	size_t out_cap, out_len, out_off;
	json_t *current; /* the message behind the event last returned */
	uint32_t last_id;
	uint32_t echo_id; /* our own echo under way, 0: none */
	int64_t heard_ms;
};

int ovsdb_session_new(struct ovsdb_session **ret)
{
	struct ovsdb_session *s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	int err = ovsdb_stream_new(&s->in);
	if (err != 0) {
		free(s);
		return err;
	}
	*ret = s;
	return 0;
}

void ovsdb_session_free(struct ovsdb_session *s)
{
	if (s == NULL)
		return;
	ovsdb_stream_free(s->in);
	json_decref(s->current);
	free(s->out);
	free(s);
}

void ovsdb_session_reset(struct ovsdb_session *s, int64_t now_ms)
{
	ovsdb_stream_reset(s->in);
	free(s->out);
	s->out = NULL;
	s->out_cap = s->out_len = s->out_off = 0;
	s->echo_id = 0;
	s->heard_ms = now_ms;
}

int ovsdb_session_input(struct ovsdb_session *s, const void *bytes, size_t len, int64_t now_ms)
{
	s->heard_ms = now_ms;
	return ovsdb_stream_put(s->in, bytes, len);
}

static int session_append(const char *text, size_t len, void *arg)
{
	struct ovsdb_session *s = arg;
	if (len > OVSDB_OUTPUT_MAX - s->out_len)
		return -1;
	if (len > s->out_cap - s->out_len) {
		size_t cap = s->out_cap == 0 ? 4096 : s->out_cap;
		while (len > cap - s->out_len)
			cap *= 2;
		char *out = realloc(s->out, cap);
		if (out == NULL)
			return -1;
		s->out = out;
		s->out_cap = cap;
	}
	memcpy(s->out + s->out_len, text, len);
	s->out_len += len;
	return 0;
}

/* Queues a whole message or nothing of it; steals `message`. */
static bool session_queue(struct ovsdb_session *s, json_t *message)
{
	if (s->out_off > 0) {
		memmove(s->out, s->out + s->out_off, s->out_len - s->out_off);
		s->out_len -= s->out_off;
		s->out_off = 0;
	}
	size_t before = s->out_len;
	bool ok = message != NULL && json_dump_callback(message, session_append, s, JSON_COMPACT) == 0;
	if (!ok)
		s->out_len = before;
	json_decref(message);
	return ok;
}

uint32_t ovsdb_session_request(struct ovsdb_session *s, const char *method, json_t *params)
{
	uint32_t id = s->last_id == INT32_MAX ? 1 : s->last_id + 1;
	json_t *m = json_pack("{s:s, s:o, s:i}", "method", method, "params", params, "id", (int)id);
	if (!session_queue(s, m))
		return 0;
	s->last_id = id;
	return id;
}

const void *ovsdb_session_output(const struct ovsdb_session *s, size_t *ret_len)
{
	*ret_len = s->out_len - s->out_off;
	return *ret_len == 0 ? NULL : s->out + s->out_off;
}

void ovsdb_session_sent(struct ovsdb_session *s, size_t len)
{
	s->out_off += len;
	if (s->out_off == s->out_len)
		s->out_off = s->out_len = 0;
}

/* The peer's request or notification: 1 with *ret for an update, 0 when it has been dealt with, -EPROTO. */
static int session_called(struct ovsdb_session *s, const char *method, struct ovsdb_event *ret)
{
	json_t *params = json_object_get(s->current, "params");
	json_t *id = json_object_get(s->current, "id");
	if (!json_is_array(params))
		return -EPROTO;
	if (strcmp(method, "echo") == 0) {
		if (id == NULL)
			return -EPROTO;
		json_t *answer = json_pack("{s:O, s:n, s:O}", "result", params, "error", "id", id);
		return session_queue(s, answer) ? 0 : -ENOMEM;
	}
	if (strcmp(method, "update") != 0)
		return 0;
	json_t *updates = json_array_get(params, 1);
	if (!json_is_object(updates))
		return -EPROTO;
	*ret = (struct ovsdb_event){ .type = OVSDB_EVENT_UPDATE, .result = updates };
	return 1;
}

static int session_replied(struct ovsdb_session *s, struct ovsdb_event *ret)
{
	json_t *id = json_object_get(s->current, "id");
	json_t *error = json_object_get(s->current, "error");
	json_t *result = json_object_get(s->current, "result");
	if (!json_is_integer(id) || json_integer_value(id) <= 0 || json_integer_value(id) > s->last_id)
		return -EPROTO;
	uint32_t number = (uint32_t)json_integer_value(id);
	if (number == s->echo_id) {
		s->echo_id = 0;
		return 0;
	}
	if (json_is_null(error))
		error = NULL;
	if (error == NULL && result == NULL)
		return -EPROTO;
	*ret = (struct ovsdb_event){ .type = OVSDB_EVENT_REPLY,
		.id = number,
		.result = error == NULL ? result : NULL,
		.error = error };
	return 1;
}

int ovsdb_session_next(struct ovsdb_session *s, struct ovsdb_event *ret)
{
	for (;;) {
		const char *text;
		size_t len;
		int got = ovsdb_stream_next(s->in, &text, &len);
		json_decref(s->current);
		s->current = NULL;
		if (got <= 0)
			return got;
		s->current = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(s->current))
			return -EPROTO;
		const char *method = json_string_value(json_object_get(s->current, "method"));
		got = method != NULL ? session_called(s, method, ret) : session_replied(s, ret);
		if (got != 0)
			return got;
	}
}

int ovsdb_session_step(struct ovsdb_session *s, int64_t now_ms, int64_t *ret_deadline_ms)
{
	int64_t silent = now_ms - s->heard_ms;
	if (silent >= OVSDB_SILENT_MS)
		return -ETIMEDOUT;
	if (silent >= OVSDB_IDLE_MS && s->echo_id == 0) {
		uint32_t id = ovsdb_session_request(s, "echo", json_array());
		if (id == 0)
			return -ETIMEDOUT;
		s->echo_id = id;
	}
	*ret_deadline_ms = s->heard_ms + (s->echo_id == 0 ? OVSDB_IDLE_MS : OVSDB_SILENT_MS);
	return 0;
}

const char *ovsdb_transact_error(const json_t *result, const char **ret_details)
{
	size_t i;
	json_t *one;
	json_array_foreach(result, i, one)
	{
		const char *error = json_string_value(json_object_get(one, "error"));
		if (error == NULL)
			continue;
		if (ret_details != NULL)
			*ret_details = json_string_value(json_object_get(one, "details"));
		return error;
	}
	return json_is_array(result) ? NULL : "malformed reply";
}
