/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket's server side: whatever comes in whatever pieces, calls are whole, and a parsed message prints and
 * parses to itself. */
#include "api/conn.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void round_trip(const json_t *m)
{
	size_t len;
	char *text = api_print(m, &len);
	if (text == NULL)
		return;
	json_t *again;
	if (api_parse(text, len - 1, &again) != 0 || !json_equal(m, again))
		abort();
	json_decref(again);
	free(text);
}

static bool calls(struct api_conn *c)
{
	struct api_call call;
	int got;
	while ((got = api_conn_next(c, &call)) == 1) {
		if (!json_is_object(call.params) || memchr(call.method, '\0', sizeof(call.method)) == NULL)
			abort();
		round_trip(call.params);
		got = api_service(c, &call, "fuzz");
		if (got == 0)
			got = api_conn_error(c, "org.varlink.service.MethodNotFound", NULL);
		const char *p;
		api_conn_sent(c, api_conn_out(c, &p));
		if (got < 0)
			return false;
	}
	return got == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct api_conn *c;
	if (size == 0 || api_conn_new(&c) != 0)
		return 0;
	/* The first byte says how large the pieces are. */
	size_t piece = (size_t)data[0] + 1;
	data++;
	size--;
	bool alive = true;
	while (size > 0 && alive) {
		char *p;
		size_t room, n = piece < size ? piece : size;
		if (api_conn_room(c, &p, &room) != 0)
			break;
		n = n < room ? n : room;
		memcpy(p, data, n);
		api_conn_add(c, n);
		data += n;
		size -= n;
		alive = calls(c);
	}
	api_conn_free(c);
	return 0;
}
