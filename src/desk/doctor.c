/* SPDX-License-Identifier: Apache-2.0 */
/* What is well and what is not: desk's own part at once, main's when it has tried it out. */
#include "desk/desk.h"
#include "desk/lists.h"

#include <stdio.h>
#include <string.h>

static void check(json_t *list, const char *name, bool ok, const char *text, const char *fix)
{
	json_array_append_new(list, json_pack("{s:s, s:b, s:s, s:o}", "check", name, "ok", ok, "text", text, "fix",
					    ok || fix == NULL || fix[0] == '\0' ? json_null() : json_string(fix)));
}

static json_t *own_checks(struct desk *d, const struct client *c)
{
	json_t *checks = json_array();
	bool gate = d->role->chan[ROLE_GATE] != NULL, sw = d->role->chan[ROLE_SWITCHD] != NULL;
	bool agents = clients_waiting(d, CLIENT_SERVES, false) > 0;
	check(checks, "daemon", true, "sekishod " SEKISHO_VERSION " answers", NULL);
	check(checks, "switch", sw,
		sw ? "the keeper of the switch runs" : "the keeper of the switch is being restarted",
		"journalctl -u sekishod");
	check(checks, "gate", gate, gate ? "the gate decides" : "the gate is being restarted; nothing new passes",
		"journalctl -u sekishod");
	check(checks, "policy", d->in_force == d->generation,
		d->in_force == d->generation ? "the policy is in force"
					     : "the gate does not have the newest policy yet",
		"journalctl -u sekishod");
	char text[STORE_ERROR_MAX + 64], fix[sizeof(d->role->conf.state_dir) + 96];
	snprintf(text, sizeof(text), "nothing passes: %s", d->damaged);
	snprintf(fix, sizeof(fix), "touch %s/store/store.db.accept && systemctl reload sekishod",
		d->role->conf.state_dir);
	check(checks, "store", d->damaged[0] == '\0',
		d->damaged[0] == '\0' ? "the store opened whole and is written durably" : text, fix);
	/* Nothing is broken when nobody looks; it is well to know all the same. */
	check(checks, "questions", true,
		agents ? "somebody answers questions"
		       : "nobody answers questions just now (sekisho ask): what no rule decides is refused after a while",
		NULL);
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		char list[LIST_HEALTH_MAX], state[LIST_HEALTH_MAX];
		if (!lists_defined(d, i))
			continue;
		bool good = lists_health(d, i, list, state);
		check(checks, list, good, state, "sekisho list update, once its source is reachable");
	}
	check(checks, "rights", c->may, c->may ? "you may run applications" : "you may not run applications",
		"adduser $USER sekisho");
	return checks;
}

void doctor_begin(struct desk *d, struct client *c)
{
	c->reply = json_pack("{s:o}", "checks", own_checks(d, c));
	c->wait = CLIENT_DOCTOR;
	c->generation = ++d->doctors_asked;
	/* Main's channel is never away: desk ends with it. */
	if (!role_send(d->role, ROLE_MAIN, IPC_DOCTOR, 0, NULL, 0, NULL, 0))
		doctor_end(d);
}

static bool waits_for_this(const struct desk *d, const struct client *c)
{
	return c->fd >= 0 && c->wait == CLIENT_DOCTOR && c->generation == d->doctors_told + 1;
}

void doctor_check(struct desk *d, const struct ipc_check *k)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (waits_for_this(d, c))
			check(json_object_get(c->reply, "checks"), k->name, k->ok, k->text.s, k->fix.s);
	}
}

void doctor_end(struct desk *d)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (!waits_for_this(d, c))
			continue;
		json_t *reply = c->reply;
		c->reply = NULL;
		client_reply(d, c, reply);
	}
	d->doctors_told++;
}
