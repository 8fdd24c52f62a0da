/* SPDX-License-Identifier: Apache-2.0 */
/* The policy files read again at a person's word: main reads them for desk as at SIGHUP, and the call is answered when
 * what they say is in force, or refused as a whole. */
#include "desk/lists.h"
#include "desk/rule.h"

#include <stdio.h>
#include <string.h>

/* Beside the ids of lists. Ascending, as is the order in which main answers. */
enum { RELOAD_REQUEST = 0x5d000000, RELOAD_NUMBER = 0x00ffffff };

static uint32_t requested, covered;

void reload_api(struct desk *d, struct client *c)
{
	requested = (requested + 1) & RELOAD_NUMBER;
	c->generation = requested;
	c->wait = CLIENT_RELOAD;
	if (!role_send(d->role, ROLE_MAIN, IPC_POLICY_WANT, RELOAD_REQUEST | requested, NULL, 0, NULL, 0))
		client_fail(d, c, "org.sekisho.Failed", "the daemon is ending");
}

void reload_begins(uint32_t id)
{
	if ((id & ~(uint32_t)RELOAD_NUMBER) == RELOAD_REQUEST)
		covered = id & RELOAD_NUMBER;
}

void reload_ended(struct desk *d, int err, const char *text)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd < 0 || c->dead || c->wait != CLIENT_RELOAD || c->generation > covered)
			continue;
		if (err != 0)
			client_error(d, c, "org.sekisho.Failed", json_pack("{s:s}", "text", text));
		else
			client_reply(d, c, json_pack("{s:s}", "text", text));
	}
}

bool reload_refused(struct desk *d, uint32_t id, const struct ipc_result *r)
{
	if ((id & ~(uint32_t)RELOAD_NUMBER) != RELOAD_REQUEST)
		return false;
	reload_begins(id);
	reload_ended(d, r->err, r->text.s);
	return true;
}
