/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "desk/group.h"
#include "desk/lists.h"

#include <stdio.h>
#include <string.h>

enum { PROTOCOL_VERSION = 1 };

json_t *owner_json(struct desk *d, uint32_t owner)
{
	/* The names of the few users there are; the files are read once per name. */
	static struct {
		bool known;
		uint32_t uid;
		char name[64];
	} cache[64];
	unsigned slot = owner % 64;
	if (!cache[slot].known || cache[slot].uid != owner) {
		struct host_user u;
		cache[slot].known = true;
		cache[slot].uid = owner;
		if (host_user_by_uid(&d->host, owner, &u) == 0)
			snprintf(cache[slot].name, sizeof(cache[slot].name), "%s", u.name);
		else
			snprintf(cache[slot].name, sizeof(cache[slot].name), "%u", owner);
	}
	return json_string(cache[slot].name);
}

static size_t rules_running(const struct desk *d)
{
	size_t n = 0;
	for (size_t i = 0; i < d->n_rules; i++)
		n += rule_running(d->rules[i]);
	return n;
}

unsigned clients_waiting(const struct desk *d, enum client_wait wait, bool any)
{
	unsigned n = 0;
	for (unsigned i = 0; i < DESK_CLIENTS; i++)
		n += d->clients[i].fd >= 0 && (any || d->clients[i].wait == wait);
	return n;
}

static void admin_version(struct desk *d, struct client *c)
{
	client_reply(d, c, json_pack("{s:s, s:i}", "version", SEKISHO_VERSION, "protocol", (int)PROTOCOL_VERSION));
}

static void admin_status(struct desk *d, struct client *c)
{
	static const enum role_id peers[] = { ROLE_MAIN, ROLE_SWITCHD, ROLE_GATE };
	json_t *roles = json_array();
	for (unsigned i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
		json_array_append_new(roles, json_pack("{s:s, s:b}", "role", role_name(peers[i]), "connected",
						     d->role->chan[peers[i]] != NULL));
	client_reply(d, c,
		json_pack("{s:s, s:o, s:I, s:b, s:i, s:I, s:i, s:i, s:i, s:s, s:o}", "version", SEKISHO_VERSION,
			"started", time_json(clock_wall_ms() - (clock_boot_ms() - d->started_ms)), "policy_generation",
			(json_int_t)d->generation, "policy_in_force", d->in_force == d->generation, "apps",
			(int)apps_count(d), "rules", (json_int_t)rules_running(d), "questions", (int)questions_count(d),
			"agents", (int)clients_waiting(d, CLIENT_SERVES, false), "clients",
			(int)clients_waiting(d, CLIENT_READY, true), "policy_dir", d->role->conf.policy_dir, "roles",
			roles));
}

static void apps_detach(struct desk *d, struct client *c)
{
	apps_stop(d, c, true);
}

static void apps_end(struct desk *d, struct client *c)
{
	apps_stop(d, c, false);
}

static void ping(struct desk *d, struct client *c)
{
	client_reply(d, c, NULL);
}

enum need { NEED_NOTHING, NEED_POLICY, NEED_STORE };

static const struct {
	const char *method;
	enum right right; /* at least; each call asks for more where it must */
	enum need need;	  /* policy: its files have been read; store: that, and whole */
	void (*serve)(struct desk *, struct client *);
} calls[] = {
	{ "org.sekisho.Ping", RIGHT_NONE, NEED_NOTHING, ping },
	{ "org.sekisho.Admin.Version", RIGHT_NONE, NEED_NOTHING, admin_version },
	{ "org.sekisho.Admin.Doctor", RIGHT_NONE, NEED_NOTHING, doctor_begin },
	{ "org.sekisho.Admin.WhoAmI", RIGHT_NONE, NEED_NOTHING, auth_who },
	{ "org.sekisho.Admin.Status", RIGHT_VIEW_OWN, NEED_NOTHING, admin_status },
	{ "org.sekisho.Admin.Reload", RIGHT_ADMIN, NEED_NOTHING, reload_api },
	{ "org.sekisho.Apps.Run", RIGHT_RUN, NEED_STORE, apps_run },
	{ "org.sekisho.Apps.Attach", RIGHT_RUN, NEED_STORE, apps_attach },
	{ "org.sekisho.Apps.Detach", RIGHT_RUN, NEED_STORE, apps_detach },
	{ "org.sekisho.Apps.Console", RIGHT_RUN, NEED_NOTHING, apps_console },
	{ "org.sekisho.Apps.Exec", RIGHT_RUN, NEED_NOTHING, apps_exec },
	{ "org.sekisho.Apps.Output", RIGHT_VIEW_OWN, NEED_NOTHING, apps_output },
	{ "org.sekisho.Apps.Freeze", RIGHT_RUN, NEED_NOTHING, apps_freeze },
	{ "org.sekisho.Apps.Thaw", RIGHT_RUN, NEED_NOTHING, apps_thaw },
	{ "org.sekisho.Apps.Stop", RIGHT_RUN, NEED_STORE, apps_end },
	{ "org.sekisho.Apps.List", RIGHT_VIEW_OWN, NEED_NOTHING, apps_list },
	{ "org.sekisho.Rules.Add", RIGHT_ANSWER_OWN, NEED_STORE, rules_api_add },
	{ "org.sekisho.Rules.Remove", RIGHT_ANSWER_OWN, NEED_STORE, rules_api_remove },
	{ "org.sekisho.Rules.Undo", RIGHT_ANSWER_OWN, NEED_STORE, undo_api },
	{ "org.sekisho.Rules.Journal", RIGHT_VIEW_OWN, NEED_POLICY, journal_api },
	{ "org.sekisho.Rules.List", RIGHT_VIEW_OWN, NEED_POLICY, rules_api_list },
	{ "org.sekisho.Rules.Learn", RIGHT_ANSWER_OWN, NEED_STORE, learn_begin },
	{ "org.sekisho.Rules.Why", RIGHT_VIEW_OWN, NEED_POLICY, rules_api_why },
	{ "org.sekisho.Questions.Serve", RIGHT_ANSWER_OWN, NEED_NOTHING, questions_serve },
	{ "org.sekisho.Questions.Answer", RIGHT_ANSWER_OWN, NEED_STORE, questions_answer },
	{ "org.sekisho.Questions.List", RIGHT_VIEW_OWN, NEED_NOTHING, questions_list },
	{ "org.sekisho.Lists.List", RIGHT_VIEW_OWN, NEED_POLICY, lists_list },
	{ "org.sekisho.Lists.Update", RIGHT_ADMIN, NEED_POLICY, lists_update },
	{ "org.sekisho.Connections.List", RIGHT_VIEW_OWN, NEED_NOTHING, connections_list },
	{ "org.sekisho.Connections.Cut", RIGHT_ANSWER_OWN, NEED_NOTHING, connections_cut },
	{ "org.sekisho.Connections.Log", RIGHT_VIEW_OWN, NEED_NOTHING, log_api },
};

static void lacks(struct desk *d, struct client *c, enum right right)
{
	const struct conf *conf = &d->role->conf;
	char text[512];
	snprintf(text, sizeof(text), "you are in neither of the groups %s and %s; an admin can add you: adduser %s %s",
		conf->users_group, conf->admins_group, c->user.name, conf->users_group);
	auth_deny(d, c, right, text);
}

void api_serve(struct desk *d, struct client *c)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].method, c->call.method) == 0)
			calls[i].serve(d, c);
	}
}

void api_dispatch(struct desk *d, struct client *c)
{
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].method, c->call.method) != 0)
			continue;
		c->need = calls[i].right;
		if (calls[i].right != RIGHT_NONE && !auth_has(c, calls[i].right))
			lacks(d, c, calls[i].right);
		else if (calls[i].need == NEED_STORE && d->damaged[0] != '\0')
			client_fail(d, c, "org.sekisho.Failed", "nothing passes and nothing starts: %s", d->damaged);
		else if (calls[i].need != NEED_NOTHING && !d->loaded)
			client_fail(d, c, "org.sekisho.Failed", "the daemon is still starting; try again in a moment");
		else if (d->role->stopping)
			client_fail(d, c, "org.sekisho.Failed", "the daemon is stopping");
		else if (calls[i].serve == rules_api_add || calls[i].serve == questions_answer)
			group_queue(c);
		else
			calls[i].serve(d, c);
		return;
	}
	client_error(d, c, "org.varlink.service.MethodNotFound", json_pack("{s:s}", "method", c->call.method));
}
