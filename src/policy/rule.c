/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void policy_rule_fini(struct policy_rule *r)
{
	if (r == NULL)
		return;
	free(r->ports);
	free(r->note);
	r->ports = NULL;
	r->note = NULL;
	r->n_ports = 0;
}

int policy_rule_copy(const struct policy_rule *r, struct policy_rule *ret)
{
	struct policy_rule c = *r;
	c.ports = NULL;
	c.note = NULL;
	if (r->n_ports != 0) {
		c.ports = malloc(r->n_ports * sizeof(*c.ports));
		if (c.ports == NULL)
			return -ENOMEM;
		memcpy(c.ports, r->ports, r->n_ports * sizeof(*c.ports));
	}
	if (r->note != NULL) {
		c.note = strdup(r->note);
		if (c.note == NULL) {
			free(c.ports);
			return -ENOMEM;
		}
	}
	*ret = c;
	return 0;
}

bool policy_peer_equal(const struct policy_peer *a, const struct policy_peer *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case POLICY_PEER_ANY:
		return true;
	case POLICY_PEER_ZONE:
		return a->zone == b->zone;
	case POLICY_PEER_NAME:
	case POLICY_PEER_BELOW:
	case POLICY_PEER_WITHIN:
		return name_equal(&a->name, &b->name);
	case POLICY_PEER_NET:
		return a->net.prefix == b->net.prefix && addr_equal(&a->net.addr, &b->net.addr);
	case POLICY_PEER_SET:
	case POLICY_PEER_LIST:
	case POLICY_PEER_APP:
		return strcmp(a->id, b->id) == 0;
	}
	return false;
}

static bool lives_equal(const struct policy_lives *a, const struct policy_lives *b)
{
	return a->for_s == b->for_s && a->until == b->until && a->until_minute == b->until_minute &&
	       a->year == b->year && a->month == b->month && a->day == b->day && a->between == b->between &&
	       a->from_minute == b->from_minute && a->to_minute == b->to_minute && a->on == b->on &&
	       a->times == b->times;
}

static bool ports_equal(const struct policy_rule *a, const struct policy_rule *b)
{
	if (a->n_ports != b->n_ports)
		return false;
	for (size_t i = 0; i < a->n_ports; i++) {
		const struct policy_port *x = &a->ports[i], *y = &b->ports[i];
		if (x->proto_kind != y->proto_kind || x->proto != y->proto || x->ranged != y->ranged ||
			x->lo != y->lo || x->hi != y->hi)
			return false;
	}
	return true;
}

bool policy_rule_equal(const struct policy_rule *a, const struct policy_rule *b)
{
	if (a->final != b->final || a->verb != b->verb || a->subject != b->subject || strcmp(a->who, b->who) != 0 ||
		a->dir != b->dir)
		return false;
	if ((a->note == NULL) != (b->note == NULL) || (a->note != NULL && strcmp(a->note, b->note) != 0))
		return false;
	return policy_peer_equal(&a->peer, &b->peer) && ports_equal(a, b) && lives_equal(&a->lives, &b->lives) &&
	       a->log == b->log && a->quiet == b->quiet;
}

bool policy_rule_limited(const struct policy_rule *r)
{
	const struct policy_lives *l = &r->lives;
	return l->for_s != 0 || l->until != POLICY_UNTIL_NONE || l->between || l->on != 0 || l->times != 0;
}

const char *policy_verb_text(enum policy_verb v)
{
	static const char *const text[] = { "allow", "ask", "deny", "drop" };
	return text[v];
}

const char *policy_origin_text(enum policy_origin o)
{
	static const char *const text[] = { "fleet", "admin", "answer", "file", "floor", "default" };
	return text[o];
}

const char *policy_zone_text(enum policy_zone z)
{
	static const char *const text[] = { "internet", "lan", "host", "peers" };
	return text[z];
}

const char *policy_end_text(enum policy_end e)
{
	static const char *const text[] = { "running", "its time is over", "the application has exited",
		"its owner has logged out", "the computer was restarted", "used up", "removed", "replaced" };
	return text[e];
}
