/* SPDX-License-Identifier: Apache-2.0 */
/* What lives now: the gate's grants as the desk knows them, and their end by a person's word. */
#include "desk/desk.h"

#include <stdlib.h>
#include <string.h>

enum { CUT_MAX = 1000 };

json_t *connection_json(struct desk *d, const struct app *a, const struct ipc_grant *g)
{
	char buf[8];
	return json_pack("{s:I, s:s, s:o, s:s, s:o, s:o, s:i, s:s, s:o, s:o}", "grant", (json_int_t)g->grant, "app",
		a->gate.name, "owner", owner_json(d, a->gate.owner), "direction", g->inbound ? "in" : "out", "name",
		name_json(&g->name), "address", addr_json(&g->real), "port", g->port, "protocol",
		protocol_text(g->proto, buf), "rule_id", rule_id_json(d, g->rule), "since",
		time_json(g->since_wall_ms));
}

void connections_list(struct desk *d, struct client *c)
{
	watch_begin(d, c, &(struct watch){ .kind = WATCH_CONNECTIONS });
}

static const struct grant *grant_of(const struct desk *d, json_int_t number)
{
	if (number < 1 || number > UINT32_MAX)
		return NULL;
	const struct grant *g = d->grants[(uint32_t)number % DESK_GRANT_BUCKETS];
	while (g != NULL && g->g.grant != (uint32_t)number)
		g = g->next;
	return g;
}

/* May the caller end it? False: an error was replied. What is not his is as if it were not there. */
static bool cut_permitted(struct desk *d, struct client *c, json_int_t number)
{
	char text[24];
	const struct grant *g = grant_of(d, number);
	const struct app *a = g == NULL ? NULL : app_by_ref(d, &g->g.ref);
	if (a != NULL && (a->gate.owner == c->uid || c->admin))
		return true;
	if (a != NULL && auth_has(c, RIGHT_VIEW_ALL)) {
		client_denied(d, c, "only admins may cut another user's connections");
		return false;
	}
	snprintf(text, sizeof(text), "%lld", (long long)number);
	client_no_such(d, c, "connection", text);
	return false;
}

void connections_cut(struct desk *d, struct client *c)
{
	const json_t *list = json_object_get(c->call.params, "grants");
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n == 0 || n > CUT_MAX) {
		arg_bad(d, c, "grants", "it is an array of 1 to %d numbers of connections", CUT_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const json_t *number = json_array_get(list, i);
		if (!json_is_integer(number)) {
			arg_bad(d, c, "grants", "its member %zu is no whole number", i);
			return;
		}
		if (!cut_permitted(d, c, json_integer_value(number)))
			return;
	}
	if (d->role->chan[ROLE_GATE] == NULL) {
		client_fail(d, c, "org.sekisho.Failed", "the gate is being restarted; try again in a moment");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct ipc_u32 m = { .v = (uint32_t)json_integer_value(json_array_get(list, i)) };
		(void)role_send_msg(d->role, ROLE_GATE, IPC_GRANT_CUT, 0, u32, &m, NULL, 0);
	}
	client_reply(d, c, json_pack("{s:O}", "cut", list));
}
