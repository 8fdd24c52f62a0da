/* SPDX-License-Identifier: Apache-2.0 */
#include "api/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_FIRST = 4096, OUT_KEPT = 65536 };

struct api_conn {
	struct api_in in;
	bool open, more, oneway;
	json_t *message; /* of the open call */
	char *out;
	size_t out_len, out_cap;
};

int api_conn_new(struct api_conn **ret)
{
	*ret = calloc(1, sizeof(**ret));
	if (*ret == NULL)
		return -ENOMEM;
	(*ret)->in.values = API_VALUES_MAX;
	return 0;
}

void api_conn_free(struct api_conn *c)
{
	if (c == NULL)
		return;
	api_in_fini(&c->in);
	json_decref(c->message);
	free(c->out);
	free(c);
}

int api_conn_room(struct api_conn *c, char **ret_p, size_t *ret_room)
{
	return api_in_room(&c->in, ret_p, ret_room);
}

void api_conn_add(struct api_conn *c, size_t n)
{
	api_in_add(&c->in, n);
}

bool api_conn_open_call(const struct api_conn *c)
{
	return c->open;
}

bool api_conn_has_input(const struct api_conn *c)
{
	return c->in.len > c->in.taken;
}

bool api_conn_has_call(const struct api_conn *c)
{
	return !c->open && api_in_whole(&c->in);
}

void api_conn_forget(struct api_conn *c)
{
	json_decref(c->message);
	c->message = NULL;
}

/* A flag of the message; absent is false. */
static bool flag(const json_t *m, const char *name, bool *ret)
{
	const json_t *v = json_object_get(m, name);
	*ret = json_is_true(v);
	return v == NULL || json_is_boolean(v);
}

static bool call_read(const json_t *m, struct api_call *ret)
{
	const char *method = json_string_value(json_object_get(m, "method"));
	if (method == NULL || strlen(method) >= sizeof(ret->method))
		return false;
	memcpy(ret->method, method, strlen(method) + 1);
	if (!flag(m, "more", &ret->more) || !flag(m, "oneway", &ret->oneway) || !flag(m, "upgrade", &ret->upgrade))
		return false;
	return ret->more + ret->oneway + ret->upgrade <= 1;
}

static void call_close(struct api_conn *c)
{
	json_decref(c->message);
	c->message = NULL;
	c->open = false;
}

int api_conn_next(struct api_conn *c, struct api_call *ret)
{
	if (c->open)
		return 0;
	json_t *m;
	int got = api_in_next(&c->in, &m);
	if (got != 1)
		return got;
	c->message = m;
	struct api_call call;
	json_t *params = json_object_get(m, "parameters");
	if (params == NULL || json_is_null(params)) {
		params = json_object();
		if (params == NULL || json_object_set_new(m, "parameters", params) != 0)
			params = NULL;
	}
	if (!json_is_object(params) || !call_read(m, &call)) {
		call_close(c);
		return -EBADMSG;
	}
	call.params = params;
	c->open = true;
	c->more = call.more;
	c->oneway = call.oneway;
	*ret = call;
	return 1;
}

static int out_append(struct api_conn *c, const char *p, size_t len)
{
	if (len > API_BACKLOG_MAX - c->out_len)
		return -ENOBUFS;
	if (c->out_len + len > c->out_cap) {
		size_t cap = c->out_len + len < OUT_FIRST ? OUT_FIRST : (c->out_len + len) * 2;
		cap = cap > API_BACKLOG_MAX ? API_BACKLOG_MAX : cap;
		char *n = realloc(c->out, cap);
		if (n == NULL)
			return -ENOMEM;
		c->out = n;
		c->out_cap = cap;
	}
	memcpy(c->out + c->out_len, p, len);
	c->out_len += len;
	return 0;
}

static int out_message(struct api_conn *c, json_t *m)
{
	size_t len;
	char *text = m == NULL ? NULL : api_print(m, &len);
	int err = text == NULL ? -EMSGSIZE : c->oneway ? 0 : out_append(c, text, len);
	free(text);
	json_decref(m);
	return err;
}

int api_conn_reply(struct api_conn *c, json_t *params, bool continues)
{
	if (!c->open || (continues && !c->more)) {
		json_decref(params);
		return -EPROTO;
	}
	if (params == NULL)
		params = json_object();
	json_t *m = continues ? json_pack("{s:o, s:b}", "parameters", params, "continues", 1)
			      : json_pack("{s:o}", "parameters", params);
	int err = out_message(c, m);
	if (!continues && err != -EMSGSIZE)
		call_close(c);
	return err;
}

int api_conn_error(struct api_conn *c, const char *error, json_t *params)
{
	if (!c->open) {
		json_decref(params);
		return -EPROTO;
	}
	if (params == NULL)
		params = json_object();
	int err = out_message(c, json_pack("{s:s, s:o}", "error", error, "parameters", params));
	call_close(c);
	return err;
}

size_t api_conn_out(const struct api_conn *c, const char **ret_p)
{
	*ret_p = c->out;
	return c->out_len;
}

void api_conn_sent(struct api_conn *c, size_t n)
{
	c->out_len -= n;
	memmove(c->out, c->out + n, c->out_len);
	/* What one long reply needed is not kept for short ones. */
	if (c->out_len != 0 || c->out_cap <= OUT_KEPT)
		return;
	free(c->out);
	c->out = NULL;
	c->out_cap = 0;
}
