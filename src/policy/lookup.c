/* SPDX-License-Identifier: Apache-2.0 */
/* Questions before a connection: may a lookup leave, may anything come in, is another app known. */
#include "policy/walk.h"

#include <string.h>

enum { CANDIDATES = 2048, SPACES = 5 };
enum { SPACE_TCP, SPACE_UDP, SPACE_SCTP, SPACE_ICMP4, SPACE_ICMP6 };
static const uint8_t space_proto[SPACES] = { POLICY_PROTO_TCP, POLICY_PROTO_UDP, POLICY_PROTO_SCTP, POLICY_ICMP4,
	POLICY_ICMP6 };

struct lookup {
	struct {
		uint32_t row;
		struct hit hit;
	} c[CANDIDATES];
	size_t n;
	bool allow, counted, full;
	/* Ports at which the set of matching rules changes. */
	uint64_t at[SPACES][1024];
	uint64_t protos[4]; /* other protocols named */
};

static void visit_lookup(struct walk *w, uint32_t row, const struct hit *h)
{
	struct lookup *l = w->arg;
	const struct crule *r = policy_row(w->p, row);
	if (r->verb < h->least_verb || !walk_owned(w, row, h) || !walk_running(w, row))
		return;
	if (l->n == CANDIDATES) {
		l->full = true;
		return;
	}
	l->allow = l->allow || r->verb == POLICY_ALLOW;
	l->counted = l->counted || (r->verb == POLICY_ALLOW && (r->flags & RULE_COUNTED) != 0);
	l->c[l->n].row = row;
	l->c[l->n++].hit = *h;
}

static void mark(struct lookup *l, unsigned space, uint32_t port)
{
	if (port < PORT_ALL)
		l->at[space][port / 64] |= UINT64_C(1) << port % 64;
}

static void mark_item(struct lookup *l, const struct cport *i)
{
	bool known = i->proto_kind != POLICY_PROTO_NUMBER;
	for (unsigned s = 0; s < SPACES; s++) {
		bool icmp = s >= SPACE_ICMP4;
		bool fits = i->proto_kind == POLICY_PROTO_NONE ? !icmp
			  : i->proto_kind == POLICY_PROTO_ICMP ? icmp
							       : i->proto == space_proto[s];
		known = known || fits;
		if (!fits)
			continue;
		mark(l, s, i->ranged ? i->lo : 0);
		mark(l, s, i->ranged ? i->hi + 1U : PORT_ALL);
	}
	if (!known)
		l->protos[i->proto / 64] |= UINT64_C(1) << i->proto % 64;
}

static uint32_t best_at(struct walk *w, const struct lookup *l, uint8_t proto, uint16_t port)
{
	const struct policy_request *asked = w->q;
	struct policy_request q = *asked;
	struct candidate best = { .row = NO_ROW }, c;
	q.proto = proto;
	q.port = port;
	w->q = &q;
	w->all_ports = false;
	for (size_t i = 0; i < l->n; i++) {
		if (walk_match(w, l->c[i].row, &l->c[i].hit, &c) &&
			(best.row == NO_ROW || candidate_better(w->p, &c, &best) > 0))
			best = c;
	}
	w->q = asked;
	return best.row;
}

/* One port judged; false when nothing more can change the answer. */
static bool judge_at(struct walk *w, const struct lookup *l, uint8_t proto, uint16_t port, bool must_refuse,
	struct policy_lookup_verdict *v)
{
	uint32_t row = best_at(w, l, proto, port);
	const struct crule *r = row == NO_ROW ? NULL : policy_row(w->p, row);
	if (r != NULL && r->verb == POLICY_ALLOW) {
		bool counted = (r->flags & RULE_COUNTED) != 0;
		if (v->answer != POLICY_LOOKUP_ALLOWED || counted)
			v->rule = policy_number(w->p, row);
		v->answer = POLICY_LOOKUP_ALLOWED;
		v->counted = v->counted || counted;
		return l->counted && !v->counted;
	}
	bool refused = r == NULL ? floor_port(proto, port) : r->verb >= POLICY_DENY;
	if (must_refuse && !refused && v->answer == POLICY_LOOKUP_DENIED)
		v->answer = POLICY_LOOKUP_UNKNOWN;
	if (v->answer == POLICY_LOOKUP_DENIED && r != NULL && v->rule == POLICY_NO_RULE)
		v->rule = policy_number(w->p, row);
	return l->allow || v->answer != POLICY_LOOKUP_UNKNOWN;
}

static bool judge_spaces(struct walk *w, const struct lookup *l, struct policy_lookup_verdict *v)
{
	for (unsigned s = 0; s < SPACES; s++) {
		for (unsigned word = 0; word < 1024; word++) {
			for (uint64_t bits = l->at[s][word]; bits != 0; bits &= bits - 1) {
				uint16_t port = (uint16_t)(word * 64 + (unsigned)__builtin_ctzll(bits));
				bool echo = (s == SPACE_ICMP4 && port == 8) || (s == SPACE_ICMP6 && port == 128);
				if (!judge_at(w, l, space_proto[s], port, s < SPACE_ICMP4 || echo, v))
					return false;
			}
		}
	}
	for (unsigned proto = 0; proto < 256; proto++) {
		if ((l->protos[proto / 64] >> proto % 64 & 1) != 0 && !judge_at(w, l, (uint8_t)proto, 0, false, v))
			return false;
	}
	return true;
}

void policy_may_resolve(const struct policy *p, const char *app, uint32_t owner, const struct name *name,
	int64_t now_ms, struct policy_lookup_verdict *ret)
{
	struct policy_request q = { .owner = owner,
		.app = app,
		.dir = POLICY_OUT,
		.name = name,
		.proto = POLICY_PROTO_TCP,
		.port = 443,
		.now_ms = now_ms };
	struct lookup l;
	struct walk w;
	walk_init(&w, p, &q);
	l.n = 0;
	l.allow = l.counted = l.full = false;
	memset(l.at, 0, sizeof(l.at));
	memset(l.protos, 0, sizeof(l.protos));
	w.visit = visit_lookup;
	w.arg = &l;
	walk_all(&w);
	struct policy_lookup_verdict v = { .answer = POLICY_LOOKUP_DENIED, .rule = POLICY_NO_RULE };
	mark(&l, SPACE_TCP, 443);
	/* The floor's own ports cut a range in two. */
	static const uint16_t cuts[] = { 0, 137, 853, 5353, 5355 };
	for (unsigned i = 0; i < 5 * SPACE_ICMP4; i++) {
		mark(&l, i / 5, cuts[i % 5]);
		mark(&l, i / 5, i % 5 == 0 ? 0 : cuts[i % 5] + 1U);
	}
	mark(&l, SPACE_ICMP4, 8);
	mark(&l, SPACE_ICMP6, 128);
	for (size_t i = 0; i < l.n; i++) {
		size_t own = l.c[i].row;
		const struct policy *part = policy_part(p, &own);
		const struct crule *c = &part->rules[own];
		for (uint32_t k = c->ports; k < c->ports + c->n_ports; k++)
			mark_item(&l, &part->ports[k]);
	}
	/* More rules on one name than anybody writes: nothing leaves, the connection itself is still judged by all of
	 * them. */
	if (l.full || l.n == 0)
		v.answer = POLICY_LOOKUP_UNKNOWN;
	else
		judge_spaces(&w, &l, &v);
	if (v.answer == POLICY_LOOKUP_UNKNOWN)
		v.rule = POLICY_NO_RULE;
	*ret = v;
}

/* Some rule of that subject runs or may run yet. The rows are sorted by subject. */
static bool inbound_of(const struct policy *p, uint64_t subject, uint32_t owner)
{
	size_t lo = 0, hi = p->n_inbound;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (p->inbound[mid].subject < subject)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < p->n_inbound && p->inbound[lo].subject == subject; lo++) {
		const struct crule *c = &p->rules[p->inbound[lo].row];
		if ((c->flags & RULE_OVER) == 0 && !policy_gone(p, c->input) &&
			(c->owner == POLICY_OWNER_ANY || c->owner == owner))
			return true;
	}
	return false;
}

static bool part_inbound(const struct policy *p, const char *app, uint32_t owner)
{
	uint32_t id = keyview_find(&p->apps, 0, app, strlen(app), keytab_hash(0, app, strlen(app)));
	if (inbound_of(p, 0, owner))
		return true;
	if (id == KEYTAB_NONE)
		return false;
	if (inbound_of(p, subject_key(POLICY_SUBJECT_APP, id), owner))
		return true;
	for (uint32_t g = id < p->n_grouped ? p->app_groups[id] : 0; id < p->n_grouped && g < p->app_groups[id + 1];
		g++) {
		if (inbound_of(p, subject_key(POLICY_SUBJECT_GROUP, p->member[g]), owner))
			return true;
	}
	return false;
}

bool policy_inbound_possible(const struct policy *p, const char *app, uint32_t owner)
{
	return part_inbound(p, app, owner) || (p->more != NULL && part_inbound(p->more, app, owner));
}

struct known_peer {
	bool known, counted;
};

static void visit_peer(struct walk *w, uint32_t row, const struct hit *h)
{
	struct known_peer *k = w->arg;
	if (policy_row(w->p, row)->verb > POLICY_ASK || !walk_owned(w, row, h) || !walk_running(w, row))
		return;
	k->known = true;
	k->counted = k->counted || (policy_row(w->p, row)->flags & RULE_COUNTED) != 0;
}

bool policy_knows_peer(const struct policy *p, const char *app, uint32_t owner, const char *peer_app,
	uint32_t peer_owner, int64_t now_ms, bool *ret_counted)
{
	struct policy_request q = { .owner = owner,
		.app = app,
		.dir = POLICY_OUT,
		.peer_app = peer_app,
		.peer_owner = peer_owner,
		.now_ms = now_ms };
	struct walk w;
	walk_init(&w, p, &q);
	struct known_peer k = { false, false };
	w.visit = visit_peer;
	w.arg = &k;
	walk_peer_app(&w);
	if (ret_counted != NULL)
		*ret_counted = k.counted;
	return k.known;
}
