/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/check.h"

#include "policy/compiled.h"
#include "policy/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every pair is looked at; beyond this many rules only what policy_compile refuses is reported. */
enum { PAIRS_MAX = 20000 };

struct checker {
	const struct policy_input *in;
	struct policy *p;
	struct policy_finding *out;
	size_t cap, n;
};

static void find(struct checker *c, enum policy_finding_kind kind, size_t rule, size_t other, const char *fmt)
{
	char a[POLICY_PRINT_MAX] = "", b[POLICY_PRINT_MAX] = "";
	if (c->n++ >= c->cap)
		return;
	struct policy_finding *f = &c->out[c->n - 1];
	const struct policy_meta *m = &c->in->rules[rule].meta, *o = &c->in->rules[other].meta;
	*f = (struct policy_finding){ .kind = kind, .rule = rule, .other = other, .file = m->file, .line = m->line };
	if (policy_print_rule(&c->in->rules[rule].rule, a, sizeof(a)) < 0 ||
		policy_print_rule(&c->in->rules[other].rule, b, sizeof(b)) < 0)
		return;
	bool same = o->file == NULL || m->file == NULL || strcmp(o->file, m->file) == 0;
	snprintf(f->message, sizeof(f->message), "\"%.150s\" %s \"%.150s\" (%.60s%sline %u)", a, fmt, b,
		same ? "" : o->file, same ? "" : " ", o->line);
}

static bool in_group(const struct policy_input *in, const char *group, const char *app)
{
	for (size_t i = 0; i < in->n_groups; i++) {
		for (size_t k = 0; strcmp(in->groups[i].id, group) == 0 && k < in->groups[i].n_apps; k++) {
			if (strcmp(in->groups[i].apps[k], app) == 0)
				return true;
		}
	}
	return false;
}

static bool subject_covers(const struct policy_input *in, const struct policy_rule *w, const struct policy_rule *r)
{
	if (w->subject == POLICY_SUBJECT_ANY || (w->subject == r->subject && strcmp(w->who, r->who) == 0))
		return true;
	return w->subject == POLICY_SUBJECT_GROUP && r->subject == POLICY_SUBJECT_APP && in_group(in, w->who, r->who);
}

static bool named(const struct policy_peer *p)
{
	return p->kind == POLICY_PEER_NAME || p->kind == POLICY_PEER_BELOW || p->kind == POLICY_PEER_WITHIN;
}

static bool peer_covers(const struct policy_peer *w, const struct policy_peer *r)
{
	if (w->kind == POLICY_PEER_ANY || policy_peer_equal(w, r))
		return true;
	if (w->kind == POLICY_PEER_WITHIN && named(r))
		return name_within(&r->name, &w->name, false);
	if (w->kind == POLICY_PEER_BELOW && named(r))
		return name_within(&r->name, &w->name, r->kind != POLICY_PEER_BELOW);
	return w->kind == POLICY_PEER_NET && r->kind == POLICY_PEER_NET && w->net.prefix <= r->net.prefix &&
	       addr_in(&r->net.addr, &w->net.addr, w->net.prefix);
}

static bool proto_covers(const struct policy_port *w, const struct policy_port *r)
{
	bool has_ports = r->proto_kind == POLICY_PROTO_NONE ||
			 (r->proto_kind == POLICY_PROTO_NUMBER && (r->proto == 6 || r->proto == 17 || r->proto == 132));
	bool icmp = r->proto_kind == POLICY_PROTO_ICMP ||
		    (r->proto_kind == POLICY_PROTO_NUMBER && (r->proto == 1 || r->proto == 58));
	if (w->proto_kind == POLICY_PROTO_NONE)
		return has_ports;
	if (w->proto_kind == POLICY_PROTO_ICMP)
		return icmp;
	return r->proto_kind == POLICY_PROTO_NUMBER && r->proto == w->proto;
}

static bool item_covers(const struct policy_port *w, const struct policy_port *r)
{
	return proto_covers(w, r) && (!w->ranged || (r->ranged && w->lo <= r->lo && w->hi >= r->hi));
}

static bool ports_cover(const struct policy_rule *w, const struct policy_rule *r)
{
	static const struct policy_port plain = { .proto_kind = POLICY_PROTO_NONE };
	if (w->n_ports == 0 || r->n_ports == 0) {
		bool all = w->n_ports == 0;
		for (size_t i = 0; i < r->n_ports; i++)
			all = all && proto_covers(&plain, &r->ports[i]);
		return all;
	}
	for (size_t i = 0; i < r->n_ports; i++) {
		bool one = false;
		for (size_t k = 0; k < w->n_ports && !one; k++)
			one = item_covers(&w->ports[k], &r->ports[i]);
		if (!one)
			return false;
	}
	return true;
}

static bool ports_touch(const struct policy_rule *a, const struct policy_rule *b)
{
	if (a->n_ports == 0 || b->n_ports == 0)
		return true;
	for (size_t i = 0; i < a->n_ports; i++) {
		for (size_t k = 0; k < b->n_ports; k++) {
			const struct policy_port *x = &a->ports[i], *y = &b->ports[k];
			bool proto = proto_covers(x, y) || proto_covers(y, x);
			if (proto && (!x->ranged || !y->ranged || (x->lo <= y->hi && y->lo <= x->hi)))
				return true;
		}
	}
	return false;
}

static bool ports_same(const struct policy_rule *a, const struct policy_rule *b)
{
	return a->n_ports == b->n_ports && (a->n_ports == 0 || (ports_cover(a, b) && ports_cover(b, a)));
}

/* A verdict is the same to say nothing of the peer's class: such rules are not redundant beside a wider one, the floor
 * counts them alone. */
static bool opens_floor(const struct checker *c, const struct policy_rule *r)
{
	static const struct policy_env none;
	if (r->verb > POLICY_ASK)
		return false;
	for (size_t i = 0; i < r->n_ports; i++) {
		if (r->ports[i].ranged && r->ports[i].lo == r->ports[i].hi &&
			floor_port(POLICY_PROTO_TCP, r->ports[i].lo))
			return true;
	}
	if (r->peer.kind == POLICY_PEER_NET)
		return floor_restricted(floor_class(c->p == NULL ? &none : &c->p->env, &r->peer.net.addr));
	return r->peer.kind == POLICY_PEER_ZONE || r->peer.kind == POLICY_PEER_APP || r->peer.kind == POLICY_PEER_SET;
}

static int final_of(const struct policy_entry *e)
{
	if (!e->rule.final)
		return 0;
	return e->meta.origin == POLICY_ORIGIN_FLEET ? 3 : e->meta.origin == POLICY_ORIGIN_ANSWER ? 1 : 2;
}

static bool owner_covers(const struct policy_entry *w, const struct policy_entry *r)
{
	return w->meta.owner == POLICY_OWNER_ANY || w->meta.owner == r->meta.owner;
}

static bool covers(const struct checker *c, const struct policy_entry *w, const struct policy_entry *r)
{
	return w->rule.dir == r->rule.dir && owner_covers(w, r) && !policy_rule_limited(&w->rule) &&
	       subject_covers(c->in, &w->rule, &r->rule) && peer_covers(&w->rule.peer, &r->rule.peer) &&
	       ports_cover(&w->rule, &r->rule);
}

/* Somebody says something else about part of what `r` speaks of, so that taking `r` away may matter. */
static bool contested(const struct checker *c, size_t r, size_t w)
{
	const struct policy_rule *a = &c->in->rules[r].rule;
	for (size_t i = 0; i < c->in->n_rules; i++) {
		const struct policy_rule *t = &c->in->rules[i].rule;
		if (i == r || i == w || t->verb == a->verb || t->dir != a->dir || !ports_touch(t, a))
			continue;
		bool subjects = subject_covers(c->in, t, a) || subject_covers(c->in, a, t) ||
				t->subject == POLICY_SUBJECT_GROUP;
		bool apart = (named(&t->peer) && named(&a->peer)) ||
			     (t->peer.kind == POLICY_PEER_NET && a->peer.kind == POLICY_PEER_NET);
		bool peers = !apart || peer_covers(&t->peer, &a->peer) || peer_covers(&a->peer, &t->peer);
		/* What the wider rule beats anyway does not matter; only any is surely wider. */
		if (subjects && peers &&
			!(t->peer.kind == POLICY_PEER_ANY && c->in->rules[w].rule.peer.kind != POLICY_PEER_ANY &&
				!t->final))
			return true;
	}
	return false;
}

static bool surprising(const struct checker *c, const struct policy_entry *d, const struct policy_entry *a)
{
	const struct policy_rule *x = &d->rule, *y = &a->rule;
	if (x->verb < POLICY_DENY || y->verb != POLICY_ALLOW || x->dir != y->dir || final_of(d) > final_of(a) ||
		!ports_touch(x, y))
		return false;
	bool wider = subject_covers(c->in, y, x) && !subject_covers(c->in, x, y);
	bool zone = x->peer.kind == POLICY_PEER_ZONE && x->peer.zone == POLICY_ZONE_INTERNET &&
		    (named(&y->peer) || y->peer.kind == POLICY_PEER_NET);
	return wider && (zone || peer_covers(&x->peer, &y->peer)) && !peer_covers(&y->peer, &x->peer);
}

static void pair(struct checker *c, size_t r, size_t w)
{
	const struct policy_entry *a = &c->in->rules[r], *b = &c->in->rules[w];
	if (surprising(c, a, b))
		find(c, POLICY_FIND_SURPRISE, r, w,
			"is beaten for some peers, though it speaks of fewer applications, by the narrower");
	if (!covers(c, b, a))
		return;
	bool same = policy_peer_equal(&a->rule.peer, &b->rule.peer) && a->rule.subject == b->rule.subject &&
		    ports_same(&a->rule, &b->rule) && policy_rule_limited(&a->rule) == policy_rule_limited(&b->rule);
	/* The floor may keep a wider allow from counting where this one does. */
	bool reaches = b->rule.verb > POLICY_ASK || policy_peer_equal(&a->rule.peer, &b->rule.peer) ||
		       !opens_floor(c, &a->rule);
	bool over = final_of(b) > final_of(a) || (same && final_of(a) == final_of(b) && b->rule.verb > a->rule.verb);
	if (over && reaches && b->rule.verb != a->rule.verb)
		find(c, POLICY_FIND_NEVER, r, w, "never wins: wherever it matches stands");
	else if (a->rule.verb == b->rule.verb && reaches && final_of(b) >= final_of(a) && (!same || r > w) &&
		 !contested(c, r, w))
		find(c, POLICY_FIND_REDUNDANT, r, w, "changes nothing beside");
}

static void refused(struct checker *c, const struct policy_error *e)
{
	if (c->n++ >= c->cap)
		return;
	struct policy_finding *f = &c->out[c->n - 1];
	*f = (struct policy_finding){ .kind = e->other != SIZE_MAX ? POLICY_FIND_DUPLICATE : POLICY_FIND_UNDEFINED,
		.error = true,
		.rule = e->rule,
		.other = e->other,
		.file = e->rule < c->in->n_rules ? c->in->rules[e->rule].meta.file : e->file,
		.line = e->line };
	snprintf(f->message, sizeof(f->message), "%s", e->message);
}

long policy_check(const struct policy_input *in, struct policy_finding *ret, size_t cap)
{
	struct checker c = { .in = in, .out = ret, .cap = cap };
	struct policy_error err = { .rule = SIZE_MAX, .other = SIZE_MAX };
	long refs = policy_check_refs(in, ret, cap);
	if (refs != 0)
		return refs;
	int rc = policy_compile(in, &c.p, &err);
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0) {
		refused(&c, &err);
		return (long)c.n;
	}
	for (size_t r = 0; in->n_rules <= PAIRS_MAX && r < in->n_rules; r++) {
		size_t before = c.n;
		/* One finding a rule says enough. */
		for (size_t w = 0; w < in->n_rules && c.n == before; w++) {
			if (w != r && in->rules[w].meta.ended == POLICY_RUNNING &&
				in->rules[r].meta.ended == POLICY_RUNNING)
				pair(&c, r, w);
		}
	}
	policy_free(c.p);
	return (long)c.n;
}
