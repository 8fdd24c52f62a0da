/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections between two apps of this computer. The far end is another app when the packet's real destination is that
 * app's address; nothing else makes it one, least of all what came in by the uplink. Both are asked: the sender's rules
 * outbound, then the receiver's rules inbound.
 */
#include "gate/state.h"

#include <string.h>

static bool between(const struct addr *a, const struct addr *first, const struct addr *last)
{
	return a->len == first->len && memcmp(a->b, first->b, a->len) >= 0 && memcmp(a->b, last->b, a->len) <= 0;
}

bool peer_range(const struct gate *g, const struct addr *a)
{
	bool v6 = a->len == 16;
	const struct plan_lan *lan = v6 ? &g->plan.lan6 : &g->plan.lan4;
	if (plan_has_lan(&g->plan, v6))
		return between(a, &lan->first, &lan->last);
	return v6 ? addr_in(a, &g->plan.v6, PLAN_V6_PREFIX) : addr_in(a, &g->plan.v4, g->plan.v4_prefix);
}

struct app *peer_at(struct gate *g, const struct app *app, const struct flow_key *key, const struct addr *real)
{
	if (key->inbound || real->len == 0 || !peer_range(g, real))
		return NULL;
	struct app *peer = app_of_client(g, real);
	return peer == app ? NULL : peer;
}

const struct app *peer_by_port(const struct gate *g, uint32_t ofport)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (g->app[i].a.ref.slot != 0 && g->app[i].a.ofport == ofport)
			return &g->app[i];
	}
	return NULL;
}

/* The labels of `name` before its last two as one word with dots; false: no app has such a name. */
static bool app_word(const struct name *name, char ret[IPC_APP_MAX])
{
	unsigned n = name_labels(name) - 2;
	const uint8_t *w = name->wire;
	size_t len = 0;
	for (unsigned i = 0; i < n; i++, w += w[0] + 1) {
		if (len + w[0] + 2U > IPC_APP_MAX || memchr(w + 1, '.', w[0]) != NULL ||
			memchr(w + 1, '\0', w[0]) != NULL)
			return false;
		if (i > 0)
			ret[len++] = '.';
		memcpy(ret + len, w + 1, w[0]);
		len += w[0];
	}
	ret[len] = '\0';
	return n > 0;
}

/* Of several owners' apps of that name: one's own, then one that a rule speaks of. */
static struct app *running(struct gate *g, const struct app *app, const char *word)
{
	struct app *other = NULL;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &g->app[i];
		if (a->a.ref.slot == 0 || a == app || strcmp(a->a.name, word) != 0)
			continue;
		if (a->a.owner == app->a.owner)
			return a;
		if (other == NULL &&
			policy_knows_peer(g->policy, app->a.name, app->a.owner, word, a->a.owner, g->wall_ms, NULL))
			other = a;
	}
	return other;
}

bool peer_named(struct gate *g, const struct app *app, const struct name *name, struct app **ret)
{
	char word[IPC_APP_MAX];
	struct name zone;
	if (!name_from_text("app.internal", 12, &zone) || !name_within(name, &zone, false))
		return false;
	*ret = app_word(name, word) ? running(g, app, word) : NULL;
	return true;
}

void peer_judge(const struct gate *g, const struct app *peer, const struct app *app, const struct flow_key *key,
	struct policy_verdict *ret)
{
	struct policy_request q = { .owner = peer->a.owner,
		.app = peer->a.name,
		.dir = POLICY_IN,
		.addr = key->dst.len == 16 ? &app->a.v6 : &app->a.v4,
		.peer_app = app->a.name,
		.peer_owner = app->a.owner,
		.proto = key->proto,
		.port = key->dport,
		.now_ms = g->wall_ms };
	policy_decide(g->policy, &q, ret);
}
