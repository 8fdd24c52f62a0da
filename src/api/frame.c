/* SPDX-License-Identifier: Apache-2.0 */
#include "api/frame.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_FIRST = 4096, ROOM_KEPT = 65536 };

void api_in_fini(struct api_in *in)
{
	free(in->buf);
	*in = (struct api_in){ 0 };
}

static void in_drop_taken(struct api_in *in)
{
	if (in->taken == 0)
		return;
	in->len -= in->taken;
	in->scanned -= in->taken;
	memmove(in->buf, in->buf + in->taken, in->len);
	in->taken = 0;
	/* What one long message needed is not kept for short ones. */
	if (in->len != 0 || in->cap <= ROOM_KEPT)
		return;
	free(in->buf);
	in->buf = NULL;
	in->cap = 0;
}

int api_in_room(struct api_in *in, char **ret_p, size_t *ret_room)
{
	in_drop_taken(in);
	if (in->len == in->cap) {
		if (in->cap > API_MESSAGE_MAX)
			return -EMSGSIZE;
		size_t cap = in->cap == 0 ? ROOM_FIRST : in->cap * 2;
		if (cap > API_MESSAGE_MAX)
			cap = API_MESSAGE_MAX + 1;
		char *p = realloc(in->buf, cap);
		if (p == NULL)
			return -ENOMEM;
		in->buf = p;
		in->cap = cap;
	}
	*ret_p = in->buf + in->len;
	*ret_room = in->cap - in->len;
	return 0;
}

void api_in_add(struct api_in *in, size_t n)
{
	in->len += n;
}

/* jansson allows 2,048 levels, each a recursion, and any number of values, each an allocation. */
static bool shape_ok(const char *text, size_t len, size_t values)
{
	unsigned depth = 0;
	size_t n = 0;
	bool in_string = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > API_DEPTH_MAX || ++n > values)
				return false;
		} else if (c == ',') {
			if (++n > values)
				return false;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

static int parse(const char *text, size_t len, size_t values, json_t **ret)
{
	if (!shape_ok(text, len, values))
		return -EBADMSG;
	json_error_t e;
	json_t *m = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!json_is_object(m)) {
		json_decref(m);
		return -EBADMSG;
	}
	*ret = m;
	return 0;
}

int api_parse(const char *text, size_t len, json_t **ret)
{
	return parse(text, len, SIZE_MAX, ret);
}

bool api_in_whole(const struct api_in *in)
{
	return in->len > in->scanned && memchr(in->buf + in->scanned, '\0', in->len - in->scanned) != NULL;
}

/* What was given stays in front until room is needed: many small messages that came together are not moved each time.
 */
int api_in_next(struct api_in *in, json_t **ret)
{
	const char *end = in->len == in->scanned ? NULL : memchr(in->buf + in->scanned, '\0', in->len - in->scanned);
	if (end == NULL) {
		in->scanned = in->len;
		return in->len - in->taken > API_MESSAGE_MAX ? -EMSGSIZE : 0;
	}
	const char *start = in->buf + in->taken;
	size_t len = (size_t)(end - start);
	in->taken += len + 1;
	in->scanned = in->taken;
	int err = parse(start, len, in->values == 0 ? SIZE_MAX : in->values, ret);
	if (in->taken == in->len)
		in_drop_taken(in);
	return err == 0 ? 1 : err;
}

char *api_print(const json_t *message, size_t *ret_len)
{
	char *text = json_dumps(message, JSON_COMPACT);
	size_t len = text == NULL ? 0 : strlen(text) + 1;
	if (text == NULL || len > API_MESSAGE_MAX) {
		free(text);
		return NULL;
	}
	*ret_len = len;
	return text;
}
