/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tunnels under an allowed pattern (names.md): a name may carry data to whoever serves its zone. What leaves for names
 * that this app never used before is counted per registrable domain and minute, each as one and one more per WEIGHT
 * bytes below that domain; above the app's limit a further name is asked about like an unknown one. A rule on the exact
 * name is the answer to that, so such names are not counted.
 */
#include "gate/state.h"

#include "policy/suggest.h"

#include <stdio.h>
#include <string.h>

enum { MINUTE_MS = 60000, WEIGHT = 32, PER_MIN_DEFAULT = 60, PROBES = 8 };

/* The rule speaks of this very name. */
static bool exact(const struct gate *g, size_t rule, const struct name *name)
{
	char text[NAME_TEXT_MAX + 8], plain[NAME_TEXT_MAX];
	if (!name_is_plain(name))
		return false;
	int len = snprintf(text, sizeof(text), " to %s", name_format(name, plain, sizeof(plain)));
	const char *at = strstr(policy_rule_text(g->policy, rule), text);
	return at != NULL && (at[len] == ' ' || at[len] == '\0');
}

/* The count of a domain's minute; when too many domains are under way at once they share the last place. */
static struct new_names *place(const struct gate *g, struct app *app, const struct name *domain)
{
	uint64_t hash = name_hash(domain, g->seed) | 1;
	struct new_names *room = NULL;
	for (unsigned i = 0; i < PROBES; i++) {
		struct new_names *n = &app->new_names[(hash + i) % (NEW_NAMES_DOMAINS - 1)];
		bool over = n->hash == 0 || g->boot_ms - n->since_ms >= MINUTE_MS;
		if (n->hash == hash && !over)
			return n;
		if (over && room == NULL)
			room = n;
	}
	if (room == NULL)
		room = &app->new_names[NEW_NAMES_DOMAINS - 1];
	if (room->hash == 0 || g->boot_ms - room->since_ms >= MINUTE_MS)
		*room = (struct new_names){ .hash = hash, .since_ms = g->boot_ms };
	return room;
}

bool new_name_may_leave(struct gate *g, struct app *app, const struct name *name, unsigned syn, size_t rule)
{
	uint32_t limit = app->a.new_names_per_min == 0 ? PER_MIN_DEFAULT : app->a.new_names_per_min;
	struct name domain;
	if (syn_used(app->syn, syn) || rule == POLICY_NO_RULE || exact(g, rule, name)) {
		syn_use(app->syn, syn);
		return true;
	}
	if (!policy_registrable(name, &domain))
		domain = *name;
	struct new_names *n = place(g, app, &domain);
	uint32_t cost = 1 + (uint32_t)(name->len - domain.len) / WEIGHT;
	if (n->count + cost <= limit) {
		n->count += cost;
		syn_use(app->syn, syn);
		return true;
	}
	if (!n->said) {
		struct flow_key none = { 0 };
		n->said = true;
		gate_event(g, app, EVENT_NAME, VERDICT_ASK, &none, name, NULL, policy_rule_meta(g->policy, rule)->id,
			"too many new names under one domain in a minute; further ones are asked about");
	}
	return false;
}
