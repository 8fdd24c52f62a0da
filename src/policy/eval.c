/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/compiled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The second place of the rank: kinds lie a thousand apart, labels and prefix lengths count inside. */
enum {
	RANK_ANY = 0,
	RANK_ZONE = 1,
	RANK_NET = 1000,
	RANK_PATTERN = 2000,
	RANK_ADDRESS = 3000,
	RANK_APP = 3500,
	RANK_NAME = 4000
};
enum { PORT_ALL = 65536 };

/* What a connection hits a rule by. */
struct hit {
	uint32_t rank;
	enum pattern_kind kind;
	uint8_t prefix;	    /* of networks */
	uint8_t least_verb; /* at a name of the chain only ask and stricter look, at an address before it was unwrapped
			       only deny and drop */
};

struct walk {
	const struct policy *p;
	const struct policy_request *q;
	const struct name *name; /* may be left out though the request has one */
	struct addr addr;	 /* unwrapped; len 0: none */
	enum policy_class class; /* INTERNET when there is no address */
	bool has_class;
	bool lifted; /* as if the class needed no rule of its own: to see what a name would have been allowed */
	bool all_ports;
	uint32_t app; /* KEYTAB_NONE: no rule names it */
	void (*visit)(struct walk *w, uint32_t rule, const struct hit *h);
	void *arg;
	int64_t change_ms;
};

static uint32_t item_rank(const struct policy_port *i, uint8_t proto, uint16_t port)
{
	bool icmp = proto == POLICY_ICMP4 || proto == POLICY_ICMP6;
	bool has_ports = proto == POLICY_PROTO_TCP || proto == POLICY_PROTO_UDP || proto == POLICY_PROTO_SCTP;
	switch ((enum policy_proto_kind)i->proto_kind) {
	case POLICY_PROTO_NONE:
		if (!has_ports)
			return 0;
		break;
	case POLICY_PROTO_NUMBER:
		if (i->proto != proto)
			return 0;
		break;
	case POLICY_PROTO_ICMP:
		if (!icmp)
			return 0;
		break;
	}
	if (i->ranged && (port < i->lo || port > i->hi))
		return 0;
	uint32_t span = i->ranged ? (uint32_t)(i->hi - i->lo) + 1 : PORT_ALL;
	return (PORT_ALL + 1 - span) * 2 + (i->proto_kind != POLICY_PROTO_NONE);
}

/* A rule without ports speaks of TCP, UDP, SCTP and ICMP echo. */
static bool plain_proto(uint8_t proto, uint16_t port)
{
	return proto == POLICY_PROTO_TCP || proto == POLICY_PROTO_UDP || proto == POLICY_PROTO_SCTP ||
	       (proto == POLICY_ICMP4 && port == 8) || (proto == POLICY_ICMP6 && port == 128);
}

/* The fourth place of the rank; *ret_exact: an item is this one port. False: no item covers it. */
static bool match_port(const struct policy *p, const struct crule *c, uint8_t proto, uint16_t port, uint32_t *ret_rank,
	bool *ret_exact)
{
	uint32_t best = 0;
	*ret_exact = false;
	if (c->n_ports == 0) {
		*ret_rank = 0;
		return plain_proto(proto, port);
	}
	for (uint32_t i = c->ports; i < c->ports + c->n_ports; i++) {
		const struct policy_port *item = &p->ports[i];
		uint32_t rank = item_rank(item, proto, port);
		best = rank > best ? rank : best;
		*ret_exact = *ret_exact || (rank != 0 && item->ranged && item->lo == item->hi);
	}
	*ret_rank = best;
	return best != 0;
}

/* The rule's life is running; otherwise, or anyhow, when that next changes goes into the walk. */
static bool running(struct walk *w, uint32_t rule)
{
	const struct policy *p = w->p;
	const struct crule *c = &p->rules[rule];
	const struct policy_meta *m = &p->metas[rule];
	int64_t change = POLICY_NEVER;
	if (m->ended != POLICY_RUNNING || m->deadline_ms <= w->q->now_ms || (c->counted && m->times_left == 0))
		return false;
	bool run = !c->windowed || policy_lives_window(&p->lives[rule], p->env.tz, p->env.n_tz, w->q->now_ms, &change);
	if (m->deadline_ms < change)
		change = m->deadline_ms;
	if (change < w->change_ms)
		w->change_ms = change;
	return run;
}

static bool owned(const struct walk *w, uint32_t rule, const struct hit *h)
{
	uint32_t owner = w->p->metas[rule].owner;
	if (owner == POLICY_OWNER_ANY)
		return true;
	return owner == w->q->owner && (h->kind != PATTERN_APP || owner == w->q->peer_owner);
}

/* The floor: does an allow or ask rule that hits this way count at all? */
static bool reaches(const struct walk *w, const struct hit *h, bool exact_port)
{
	const struct policy_env *e = &w->p->env;
	if (!w->all_ports && floor_port(w->q->proto, w->q->port) &&
		(!exact_port || h->kind == PATTERN_ANY || h->kind == PATTERN_ZONE))
		return false;
	if (!w->has_class)
		return true;
	if (w->class == POLICY_CLASS_MARTIAN)
		return false;
	if (w->lifted || !floor_restricted(w->class) || h->kind == PATTERN_ZONE || h->kind == PATTERN_APP)
		return true;
	return (h->kind == PATTERN_NET4 || h->kind == PATTERN_NET6) && floor_inside(e, &w->addr, h->prefix, w->class);
}

static void visit_bucket(struct walk *w, uint32_t subject, uint32_t object, const struct hit *h)
{
	const struct policy *p = w->p;
	uint64_t key = bucket_key(w->q->dir, subject, object);
	size_t i = mix64(key) & (p->n_buckets - 1);
	while (p->buckets[i].key != key) {
		if (p->buckets[i].key == UINT64_MAX)
			return;
		i = (i + 1) & (p->n_buckets - 1);
	}
	for (uint32_t r = p->buckets[i].first; r < p->buckets[i].first + p->buckets[i].n; r++)
		w->visit(w, p->order[r], h);
}

static void visit_object(struct walk *w, uint32_t object, const struct hit *h)
{
	const struct policy *p = w->p;
	visit_bucket(w, 0, object, h);
	if (w->app == KEYTAB_NONE)
		return;
	visit_bucket(w, subject_key(POLICY_SUBJECT_APP, w->app), object, h);
	/* Apps interned after the groups were read are in none. */
	if (w->app >= p->n_grouped)
		return;
	for (uint32_t g = p->app_groups[w->app]; g < p->app_groups[w->app + 1]; g++)
		visit_bucket(w, subject_key(POLICY_SUBJECT_GROUP, p->member[g]), object, h);
}

static const struct keyrow *pattern(const struct walk *w, const uint8_t *key, size_t len)
{
	const struct keytab *t = &w->p->patterns;
	uint32_t row = keytab_find(t, key, len, keytab_hash(key, len));
	return row == KEYTAB_NONE ? NULL : &t->rows[row];
}

static void visit_pattern(struct walk *w, const uint8_t *key, size_t len, const struct hit *h)
{
	const struct keyrow *row = pattern(w, key, len);
	if (row == NULL)
		return;
	for (uint32_t i = row->first; i < row->first + row->n; i++)
		visit_object(w, w->p->hits[i] >> 2, h);
}

/* `depth`: labels of the asked name in front of this key. */
static void visit_name_hits(struct walk *w, const struct keyrow *row, unsigned depth, unsigned labels, bool chain)
{
	for (uint32_t i = row->first; i < row->first + row->n; i++) {
		enum hit_way way = (enum hit_way)(w->p->hits[i] & 3);
		bool fits = way == WAY_EXACT ? depth == 0 : way == WAY_BELOW ? depth > 0 : true;
		struct hit h = { .kind = PATTERN_NAME,
			.least_verb = chain ? POLICY_ASK : POLICY_ALLOW,
			.rank = depth == 0 ? RANK_NAME : RANK_PATTERN + labels };
		if (fits)
			visit_object(w, w->p->hits[i] >> 2, &h);
	}
}

static void visit_name(struct walk *w, const struct name *n, bool chain)
{
	uint8_t key[PATTERN_KEY_MAX];
	unsigned labels = name_labels(n), depth = 0;
	for (size_t off = 0; off < n->len && n->wire[off] != 0; off += n->wire[off] + 1U, depth++) {
		const struct keyrow *row = pattern(w, key, pattern_key_name(n->wire + off, n->len - off, key));
		if (row != NULL)
			visit_name_hits(w, row, depth, labels - depth, chain);
	}
}

static void visit_addr(struct walk *w, const struct addr *a, bool raw)
{
	uint8_t key[PATTERN_KEY_MAX];
	const uint64_t *have = a->len == 4 ? &w->p->prefixes4 : w->p->prefixes6;
	for (unsigned prefix = 0; prefix <= a->len * 8U; prefix++) {
		if ((have[prefix / 64] >> prefix % 64 & 1) == 0)
			continue;
		struct hit h = { .kind = a->len == 4 ? PATTERN_NET4 : PATTERN_NET6,
			.prefix = (uint8_t)prefix,
			.least_verb = raw ? POLICY_DENY : POLICY_ALLOW };
		h.rank = prefix == a->len * 8U ? RANK_ADDRESS : RANK_NET + prefix;
		visit_pattern(w, key, pattern_key_net(a, prefix, key), &h);
	}
}

static bool zone_of(const struct walk *w, enum policy_zone *ret)
{
	static const enum policy_zone zones[] = { [POLICY_CLASS_HOST] = POLICY_ZONE_HOST,
		[POLICY_CLASS_PEERS] = POLICY_ZONE_PEERS,
		[POLICY_CLASS_LAN] = POLICY_ZONE_LAN,
		[POLICY_CLASS_INTERNET] = POLICY_ZONE_INTERNET };
	if (w->class == POLICY_CLASS_MARTIAN || w->class == POLICY_CLASS_METADATA || w->class == POLICY_CLASS_LINK)
		return false;
	*ret = zones[w->class];
	return true;
}

static void walk_zone_and_any(struct walk *w)
{
	uint8_t key[PATTERN_KEY_MAX];
	struct policy_peer peer = { .kind = POLICY_PEER_ANY };
	struct hit h = { .kind = PATTERN_ANY, .rank = RANK_ANY };
	visit_pattern(w, key, pattern_key(&peer, 0, key), &h);
	peer.kind = POLICY_PEER_ZONE;
	h = (struct hit){ .kind = PATTERN_ZONE, .rank = RANK_ZONE };
	/* A name whose address is not known yet is judged as if it were somewhere in the internet. */
	if (zone_of(w, &peer.zone))
		visit_pattern(w, key, pattern_key(&peer, 0, key), &h);
}

static void walk_peer_app(struct walk *w)
{
	uint8_t key[PATTERN_KEY_MAX];
	const char *app = w->q->peer_app;
	if (app == NULL)
		return;
	uint32_t id = keytab_find(&w->p->apps, app, strlen(app), keytab_hash(app, strlen(app)));
	struct policy_peer peer = { .kind = POLICY_PEER_APP };
	struct hit h = { .kind = PATTERN_APP, .rank = RANK_APP };
	if (id != KEYTAB_NONE)
		visit_pattern(w, key, pattern_key(&peer, id, key), &h);
}

static void walk_all(struct walk *w)
{
	const struct policy_request *q = w->q;
	if (w->p->n_rules == 0)
		return;
	if (w->name != NULL)
		visit_name(w, w->name, false);
	for (size_t i = 0; w->name != NULL && i < q->n_chain && i < POLICY_CHAIN_MAX; i++)
		visit_name(w, &q->chain[i], true);
	if (w->addr.len != 0)
		visit_addr(w, &w->addr, false);
	if (q->addr != NULL && w->addr.len != 0 && !addr_equal(q->addr, &w->addr))
		visit_addr(w, q->addr, true);
	walk_peer_app(w);
	walk_zone_and_any(w);
}

static struct walk walk_init(const struct policy *p, const struct policy_request *q)
{
	struct walk w = { .p = p,
		.q = q,
		.name = q->dir == POLICY_OUT ? q->name : NULL,
		.class = POLICY_CLASS_INTERNET,
		.app = KEYTAB_NONE,
		.change_ms = POLICY_NEVER };
	if (q->app != NULL)
		w.app = keytab_find(&p->apps, q->app, strlen(q->app), keytab_hash(q->app, strlen(q->app)));
	if (q->addr != NULL && q->addr->len != 0) {
		w.addr = floor_unwrap(q->addr);
		w.class = floor_class(&p->env, q->addr);
		w.has_class = true;
	}
	if (q->peer_app != NULL) {
		w.class = POLICY_CLASS_PEERS;
		w.has_class = true;
	}
	return w;
}

/* --- the best rule --- */

struct candidate {
	size_t rule;
	uint32_t rank[POLICY_RANKS];
};

static int origin_order(enum policy_origin o)
{
	return o == POLICY_ORIGIN_ANSWER ? 2 : o == POLICY_ORIGIN_FLEET ? 0 : 1;
}

/* > 0: a wins. Equal only for one rule with itself: ids differ. */
static int better(const struct policy *p, const struct candidate *a, const struct candidate *b)
{
	for (unsigned i = 0; i < POLICY_RANKS; i++) {
		if (a->rank[i] != b->rank[i])
			return a->rank[i] > b->rank[i] ? 1 : -1;
	}
	if (p->rules[a->rule].counted != p->rules[b->rule].counted)
		return p->rules[a->rule].counted ? -1 : 1;
	const struct policy_meta *m = &p->metas[a->rule], *n = &p->metas[b->rule];
	if (m->deadline_ms != n->deadline_ms)
		return m->deadline_ms > n->deadline_ms ? 1 : -1;
	if (origin_order(m->origin) != origin_order(n->origin))
		return origin_order(m->origin) > origin_order(n->origin) ? 1 : -1;
	return -memcmp(m->id, n->id, POLICY_ID_LEN);
}

static void set_rank(const struct policy *p, size_t rule, const struct hit *h, uint32_t port, struct candidate *ret)
{
	const struct crule *c = &p->rules[rule];
	*ret = (struct candidate){ .rule = rule,
		.rank = { c->final_rank, h->rank, c->subject_rank, port, c->limited, c->verb } };
}

/* The rule matches and counts. */
static bool match(struct walk *w, uint32_t rule, const struct hit *h, struct candidate *ret)
{
	const struct crule *c = &w->p->rules[rule];
	uint32_t port;
	bool exact;
	if (!match_port(w->p, c, w->q->proto, w->q->port, &port, &exact) || !owned(w, rule, h))
		return false;
	if (c->verb < h->least_verb || (c->verb <= POLICY_ASK && !reaches(w, h, exact)))
		return false;
	/* Last, because it says when the answer may change. */
	if (!running(w, rule))
		return false;
	set_rank(w->p, rule, h, port, ret);
	return true;
}

static void visit_best(struct walk *w, uint32_t rule, const struct hit *h)
{
	struct candidate *best = w->arg, c;
	if (match(w, rule, h, &c) && (best->rule == POLICY_NO_RULE || better(w->p, &c, best) > 0))
		*best = c;
}

static struct candidate find_best(struct walk *w)
{
	struct candidate best = { .rule = POLICY_NO_RULE };
	w->visit = visit_best;
	w->arg = &best;
	walk_all(w);
	return best;
}

static enum policy_answer answer_of(const struct policy *p, size_t rule)
{
	static const enum policy_answer says[] = { POLICY_SAYS_ALLOW, POLICY_SAYS_ASK, POLICY_SAYS_DENY,
		POLICY_SAYS_DROP };
	return says[p->rules[rule].verb];
}

static void no_rule(const struct walk *w, struct policy_verdict *v)
{
	const struct policy_request *q = w->q;
	bool martian = w->has_class && w->class == POLICY_CLASS_MARTIAN;
	bool floored = floor_port(q->proto, q->port) || martian || (w->has_class && floor_restricted(w->class));
	if (q->dir == POLICY_OUT) {
		v->answer = floored ? POLICY_SAYS_DENY : POLICY_SAYS_ASK;
		v->origin = floored ? POLICY_ORIGIN_FLOOR : POLICY_ORIGIN_DEFAULT;
	} else if (q->peer_app != NULL && q->peer_owner == q->owner) {
		/* The app that connects was judged already; between apps of one owner that is enough. */
		v->answer = POLICY_SAYS_ALLOW;
		v->origin = POLICY_ORIGIN_DEFAULT;
	} else {
		v->answer = POLICY_SAYS_DROP;
		v->origin = floored ? POLICY_ORIGIN_FLOOR : POLICY_ORIGIN_DEFAULT;
	}
}

/*
 * Rebinding: a name led to an address no public name has any business with. Takes the place of an allow, by a rule that
 * counts or by one that only the class of the address keeps from counting.
 */
static void withhold(struct walk *w, struct candidate *best, struct policy_verdict *v)
{
	bool lan = w->class == POLICY_CLASS_LAN && !floor_local_name(w->name);
	if (!lan && !floor_restricted(w->class))
		return;
	if (best->rule != POLICY_NO_RULE) {
		if (w->p->rules[best->rule].verb != POLICY_ALLOW)
			return;
		struct walk alone = *w;
		alone.name = NULL;
		struct candidate c = find_best(&alone);
		if (alone.change_ms < w->change_ms)
			w->change_ms = alone.change_ms;
		if (c.rule != POLICY_NO_RULE && w->p->rules[c.rule].verb == POLICY_ALLOW)
			return;
	} else {
		struct walk lifted = *w;
		lifted.lifted = true;
		*best = find_best(&lifted);
		if (lifted.change_ms < w->change_ms)
			w->change_ms = lifted.change_ms;
		if (best->rule == POLICY_NO_RULE || w->p->rules[best->rule].verb != POLICY_ALLOW) {
			best->rule = POLICY_NO_RULE;
			return;
		}
	}
	v->answer = POLICY_SAYS_WITHHELD;
}

void policy_decide(const struct policy *p, const struct policy_request *q, struct policy_verdict *ret)
{
	struct walk w = walk_init(p, q);
	struct candidate best = find_best(&w);
	struct policy_verdict v = { .rule = POLICY_NO_RULE, .answer = POLICY_SAYS_ALLOW };
	if (best.rule != POLICY_NO_RULE)
		v.answer = answer_of(p, best.rule);
	if (w.name != NULL && w.has_class)
		withhold(&w, &best, &v);
	if (best.rule == POLICY_NO_RULE) {
		no_rule(&w, &v);
	} else {
		v.rule = best.rule;
		v.origin = p->metas[best.rule].origin;
		v.counted = p->rules[best.rule].counted;
		v.log = p->rules[best.rule].log;
		v.quiet = p->rules[best.rule].quiet;
		memcpy(v.rank, best.rank, sizeof(v.rank));
	}
	v.next_change_ms = w.change_ms;
	*ret = v;
}

/* --- all that matched --- */

struct found {
	struct candidate *c;
	size_t n, cap;
	bool failed;
};

static void visit_all(struct walk *w, uint32_t rule, const struct hit *h)
{
	struct found *f = w->arg;
	struct candidate c;
	if (!match(w, rule, h, &c))
		return;
	if (f->n == f->cap) {
		size_t cap = f->cap == 0 ? 64 : f->cap * 2;
		struct candidate *more = reallocarray(f->c, cap, sizeof(*more));
		f->failed = f->failed || more == NULL;
		if (more == NULL)
			return;
		f->c = more;
		f->cap = cap;
	}
	f->c[f->n++] = c;
}

static int by_rank(const void *a, const void *b, void *policy)
{
	return -better(policy, a, b);
}

long policy_explain(const struct policy *p, const struct policy_request *q, struct policy_match *ret, size_t cap)
{
	struct walk w = walk_init(p, q);
	struct found f = { 0 };
	w.visit = visit_all;
	w.arg = &f;
	walk_all(&w);
	uint8_t *seen = calloc(p->n_rules + 1, 1);
	long n = 0;
	if (f.failed || seen == NULL)
		n = -ENOMEM;
	union {
		const struct policy *c;
		void *v;
	} arg = { .c = p };
	if (n == 0 && f.n != 0)
		qsort_r(f.c, f.n, sizeof(*f.c), by_rank, arg.v);
	/* A rule met by several of its members stands once, at its best. */
	for (size_t i = 0; n >= 0 && i < f.n; i++) {
		if (seen[f.c[i].rule]++ != 0)
			continue;
		if ((size_t)n < cap) {
			ret[n].rule = f.c[i].rule;
			memcpy(ret[n].rank, f.c[i].rank, sizeof(ret[n].rank));
		}
		n++;
	}
	free(seen);
	free(f.c);
	return n;
}

/* --- may a lookup leave? --- */

enum { CANDIDATES = 2048, SPACES = 5 };
enum { SPACE_TCP, SPACE_UDP, SPACE_SCTP, SPACE_ICMP4, SPACE_ICMP6 };
static const uint8_t space_proto[SPACES] = { POLICY_PROTO_TCP, POLICY_PROTO_UDP, POLICY_PROTO_SCTP, POLICY_ICMP4,
	POLICY_ICMP6 };

struct lookup {
	struct {
		uint32_t rule;
		struct hit hit;
	} c[CANDIDATES];
	size_t n;
	bool allow, counted, full;
	/* Ports at which the set of matching rules changes. */
	uint64_t at[SPACES][1024];
	uint64_t protos[4]; /* other protocols named */
};

static void visit_lookup(struct walk *w, uint32_t rule, const struct hit *h)
{
	struct lookup *l = w->arg;
	if (w->p->rules[rule].verb < h->least_verb || !owned(w, rule, h) || !running(w, rule))
		return;
	if (l->n == CANDIDATES) {
		l->full = true;
		return;
	}
	l->allow = l->allow || w->p->rules[rule].verb == POLICY_ALLOW;
	l->counted = l->counted || (w->p->rules[rule].verb == POLICY_ALLOW && w->p->rules[rule].counted);
	l->c[l->n].rule = rule;
	l->c[l->n++].hit = *h;
}

static void mark(struct lookup *l, unsigned space, uint32_t port)
{
	if (port < PORT_ALL)
		l->at[space][port / 64] |= UINT64_C(1) << port % 64;
}

static void mark_item(struct lookup *l, const struct policy_port *i)
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

static size_t best_at(struct walk *w, const struct lookup *l, uint8_t proto, uint16_t port)
{
	struct policy_request q = *w->q;
	struct candidate best = { .rule = POLICY_NO_RULE }, c;
	q.proto = proto;
	q.port = port;
	struct walk at = *w;
	at.q = &q;
	at.all_ports = false;
	for (size_t i = 0; i < l->n; i++) {
		if (match(&at, l->c[i].rule, &l->c[i].hit, &c) &&
			(best.rule == POLICY_NO_RULE || better(w->p, &c, &best) > 0))
			best = c;
	}
	return best.rule;
}

/* One port judged; false when nothing more can change the answer. */
static bool judge_at(struct walk *w, const struct lookup *l, uint8_t proto, uint16_t port, bool must_refuse,
	struct policy_lookup_verdict *v)
{
	size_t rule = best_at(w, l, proto, port);
	if (rule != POLICY_NO_RULE && w->p->rules[rule].verb == POLICY_ALLOW) {
		if (v->answer != POLICY_LOOKUP_ALLOWED || w->p->rules[rule].counted)
			v->rule = rule;
		v->answer = POLICY_LOOKUP_ALLOWED;
		v->counted = v->counted || w->p->rules[rule].counted;
		return l->counted && !v->counted;
	}
	bool refused = rule == POLICY_NO_RULE ? floor_port(proto, port) : w->p->rules[rule].verb >= POLICY_DENY;
	if (must_refuse && !refused && v->answer == POLICY_LOOKUP_DENIED)
		v->answer = POLICY_LOOKUP_UNKNOWN;
	if (v->answer == POLICY_LOOKUP_DENIED && rule != POLICY_NO_RULE && v->rule == POLICY_NO_RULE)
		v->rule = rule;
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
	struct walk w = walk_init(p, &q);
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
		const struct crule *c = &p->rules[l.c[i].rule];
		for (uint32_t k = c->ports; k < c->ports + c->n_ports; k++)
			mark_item(&l, &p->ports[k]);
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

/* --- smaller questions --- */

static bool speaks_of(const struct policy *p, uint64_t subject, uint32_t app)
{
	if (subject == 0)
		return true;
	if (app == KEYTAB_NONE)
		return false;
	if (subject == subject_key(POLICY_SUBJECT_APP, app))
		return true;
	for (uint32_t g = app < p->n_grouped ? p->app_groups[app] : 0; app < p->n_grouped && g < p->app_groups[app + 1];
		g++) {
		if (subject == subject_key(POLICY_SUBJECT_GROUP, p->member[g]))
			return true;
	}
	return false;
}

bool policy_inbound_possible(const struct policy *p, const char *app, uint32_t owner)
{
	uint32_t id = keytab_find(&p->apps, app, strlen(app), keytab_hash(app, strlen(app)));
	for (size_t i = 0; i < p->n_inbound; i++) {
		const struct policy_meta *m = &p->metas[p->inbound[i].rule];
		bool used = p->rules[p->inbound[i].rule].counted && m->times_left == 0;
		if (m->ended == POLICY_RUNNING && !used && (m->owner == POLICY_OWNER_ANY || m->owner == owner) &&
			speaks_of(p, p->inbound[i].subject, id))
			return true;
	}
	return false;
}

struct known_peer {
	bool known, counted;
};

static void visit_peer(struct walk *w, uint32_t rule, const struct hit *h)
{
	struct known_peer *k = w->arg;
	if (w->p->rules[rule].verb > POLICY_ASK || !owned(w, rule, h) || !running(w, rule))
		return;
	k->known = true;
	k->counted = k->counted || w->p->rules[rule].counted;
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
	struct walk w = walk_init(p, &q);
	struct known_peer k = { false, false };
	w.visit = visit_peer;
	w.arg = &k;
	if (p->n_rules != 0)
		walk_peer_app(&w);
	if (ret_counted != NULL)
		*ret_counted = k.counted;
	return k.known;
}

size_t policy_n_rules(const struct policy *p)
{
	return p->n_rules;
}

const struct policy_meta *policy_rule_meta(const struct policy *p, size_t rule)
{
	return &p->metas[rule];
}

const char *policy_rule_text(const struct policy *p, size_t rule)
{
	return p->pool + p->text[rule];
}

size_t policy_memory(const struct policy *p)
{
	size_t per_rule = sizeof(*p->rules) + sizeof(*p->metas) + sizeof(*p->lives) + 2 * sizeof(uint32_t);
	return sizeof(*p) + p->n_rules * per_rule + p->pool_len + p->n_ports * sizeof(*p->ports) +
	       keytab_memory(&p->apps) + keytab_memory(&p->groups) + keytab_memory(&p->patterns) +
	       p->n_hits * sizeof(*p->hits) + p->n_buckets * sizeof(*p->buckets);
}

const char *policy_answer_text(enum policy_answer a)
{
	static const char *const text[] = { "allow", "ask", "deny", "drop", "withheld" };
	return text[a];
}
