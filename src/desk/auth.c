/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what. Groups are decided here; what they do not give polkit may, through the role `auth`, for one call at
 * a time: a call that lacks a right waits for polkit's word and is then begun again, or refused with the words it would
 * have been refused with at once. No handler has changed anything when it finds a right missing.
 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	enum right right;
	enum ipc_auth_action action;
	const char *name;
} rights[] = {
	{ RIGHT_VIEW_OWN, AUTH_VIEW_OWN, "view-own" },
	{ RIGHT_ANSWER_OWN, AUTH_ANSWER_OWN, "answer-own" },
	{ RIGHT_RUN, AUTH_RUN, "run" },
	{ RIGHT_VIEW_ALL, AUTH_VIEW_ALL, "view-all" },
	{ RIGHT_ADMIN, AUTH_ADMIN, "admin" },
};
enum { N_RIGHTS = sizeof(rights) / sizeof(rights[0]) };

static void apply(struct client *c)
{
	unsigned all = c->rights | c->granted;
	c->admin = (all & RIGHT_ADMIN) != 0;
	c->view_all = c->admin || (all & RIGHT_VIEW_ALL) != 0;
	c->may = c->admin || (all & RIGHT_ANSWER_OWN) != 0;
}

void auth_client_begin(struct desk *d, struct client *c)
{
	const struct conf *conf = &d->role->conf;
	if (c->uid == 0 || host_user_in_group(&d->host, &c->user, conf->admins_group))
		c->rights = RIGHTS_ALL;
	else if (host_user_in_group(&d->host, &c->user, conf->users_group))
		c->rights = RIGHT_VIEW_OWN | RIGHT_ANSWER_OWN | RIGHT_RUN;
	apply(c);
	if (c->rights == RIGHTS_ALL)
		return;
	struct ipc_auth_peer p = { .client = (uint32_t)(c - d->clients), .pid = (uint32_t)c->pid, .uid = c->uid };
	(void)role_send_msg(d->role, ROLE_AUTH, IPC_AUTH_PEER, 0, auth_peer, &p, NULL, 0);
}

void auth_client_end(struct desk *d, const struct client *c)
{
	struct ipc_u32 client = { .v = (uint32_t)(c - d->clients) };
	free(c->denied);
	if (c->rights != RIGHTS_ALL)
		(void)role_send_msg(d->role, ROLE_AUTH, IPC_AUTH_PEER_END, 0, u32, &client, NULL, 0);
}

void auth_call_end(struct client *c)
{
	free(c->denied);
	c->denied = NULL;
	c->granted = c->asked = 0;
	apply(c);
}

bool auth_has(const struct client *c, enum right right)
{
	return ((c->rights | c->granted) & (unsigned)right) != 0 || c->admin;
}

static bool ask_polkit(struct desk *d, struct client *c, enum right right)
{
	if (!d->auth.polkit || (c->asked & (unsigned)right) != 0 || auth_has(c, right) || !c->has_call)
		return false;
	struct ipc_auth_ask m = { .client = (uint32_t)(c - d->clients) };
	for (unsigned i = 0; i < N_RIGHTS; i++)
		m.action = rights[i].right == right ? (uint8_t)rights[i].action : m.action;
	if (++d->auth_request == 0)
		d->auth_request = 1;
	c->auth_request = d->auth_request;
	return role_send_msg(d->role, ROLE_AUTH, IPC_AUTH_ASK, c->auth_request, auth_ask, &m, NULL, 0);
}

void auth_deny(struct desk *d, struct client *c, enum right right, const char *text)
{
	if (c->wait == CLIENT_READY && ask_polkit(d, c, right)) {
		c->asked |= (unsigned)right;
		free(c->denied);
		c->denied = strdup(text);
		c->wait = CLIENT_AUTH;
		return;
	}
	client_error(d, c, "org.sekisho.NotPermitted", json_pack("{s:s}", "text", text));
}

static void decided(struct desk *d, struct client *c, bool yes)
{
	c->wait = CLIENT_READY;
	if (yes) {
		c->granted |= c->asked;
		apply(c);
		api_dispatch(d, c);
		return;
	}
	char *text = c->denied;
	c->denied = NULL;
	client_error(d, c, "org.sekisho.NotPermitted",
		json_pack("{s:s}", "text", text == NULL ? "you may not do this" : text));
	free(text);
}

void auth_result(struct desk *d, uint32_t request, const struct ipc_result *r)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd >= 0 && c->wait == CLIENT_AUTH && c->auth_request == request)
			decided(d, c, r->err == 0);
	}
}

bool auth_logged_in(const struct desk *d, uint32_t uid)
{
	for (unsigned i = 0; i < d->auth.n; i++) {
		if (d->auth.uid[i] == uid)
			return true;
	}
	return false;
}

static void end_logged_out(struct desk *d)
{
	struct rule **ended = calloc(d->n_rules + 1, sizeof(*ended));
	size_t n = 0;
	for (size_t i = 0; ended != NULL && i < d->n_rules; i++) {
		struct rule *r = d->rules[i];
		if (rule_running(r) && r->e.rule.lives.until == POLICY_UNTIL_LOGOUT &&
			r->e.meta.origin == POLICY_ORIGIN_ANSWER && !auth_logged_in(d, r->e.meta.owner))
			ended[n++] = r;
	}
	if (n > 0 && rules_end(d, ended, n, UINT32_MAX, POLICY_END_LOGOUT) != 0)
		log_msg(LOG_ERROR, "a policy without the rules that ended with a logout could not be made");
	free(ended);
}

void auth_state(struct desk *d, const struct ipc_auth_state *m)
{
	d->auth = *m;
	/* logind may be restarted: then nobody has a session for a moment, and nobody has logged out. */
	if (m->logind)
		end_logged_out(d);
}

void auth_back(struct desk *d)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		struct ipc_auth_peer p = { .client = i, .pid = (uint32_t)c->pid, .uid = c->uid };
		if (c->fd >= 0 && c->rights != RIGHTS_ALL)
			(void)role_send_msg(d->role, ROLE_AUTH, IPC_AUTH_PEER, 0, auth_peer, &p, NULL, 0);
	}
}

void auth_lost(struct desk *d)
{
	d->auth.polkit = false;
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		if (d->clients[i].fd >= 0 && d->clients[i].wait == CLIENT_AUTH)
			decided(d, &d->clients[i], false);
	}
}

bool auth_until_logout(struct desk *d, struct client *c, uint32_t owner)
{
	if (!d->auth.logind)
		client_fail(d, c, "org.sekisho.Failed",
			"\"until logout\" needs systemd-logind, which does not run on this computer; say \"until exit\" or \"for 8h\"");
	else if (!auth_logged_in(d, owner))
		client_fail(d, c, "org.sekisho.Failed",
			"\"until logout\" lasts as long as a login session, and the owner has none; say \"until exit\" or \"for 8h\"");
	else
		return true;
	return false;
}

void auth_who(struct desk *d, struct client *c)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < N_RIGHTS; i++) {
		if ((c->rights & (unsigned)rights[i].right) != 0)
			json_array_append_new(list, json_string(rights[i].name));
	}
	client_reply(d, c,
		json_pack("{s:s, s:I, s:o, s:b, s:b}", "user", c->user.name, "uid", (json_int_t)c->uid, "rights", list,
			"polkit", d->auth.polkit, "logind", d->auth.logind));
}
