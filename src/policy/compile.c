/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/compiled.h"
#include "policy/id.h"
#include "policy/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Members of all sets in use together, after nested sets are opened: bounds memory whatever the files say. */
enum { MEMBERS_MAX = 4 << 20 };
enum { DEF_GROUP, DEF_SET, DEF_LIST };
enum { OBJECT_MAX = 1 << 29 };

struct link {
	uint32_t pattern, hit;
};

struct build {
	const struct policy_input *in;
	struct policy *p;
	struct policy_error *err;
	int rc;
	struct keytab defs;  /* kind byte and id → definition */
	uint32_t *def_index; /* of row: index in its array, kind in the low two bits */
	struct keytab objects;
	struct link *links;
	size_t n_links, cap_links, n_members;
	size_t cap_pool, cap_ports;
	uint64_t *keys; /* bucket of rule */
};

static bool fail(struct build *b, int rc, size_t rule, size_t other, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static uint32_t rule_line(const struct build *b, size_t rule)
{
	return rule < b->in->n_rules ? b->in->rules[rule].meta.line : 0;
}

static bool fail(struct build *b, int rc, size_t rule, size_t other, const char *fmt, ...)
{
	if (b->rc != 0)
		return false;
	b->rc = rc;
	if (b->err == NULL)
		return false;
	*b->err = (struct policy_error){ .rule = rule,
		.other = other,
		.line = rule_line(b, rule),
		.other_line = rule_line(b, other) };
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(b->err->message, sizeof(b->err->message), fmt, ap);
	va_end(ap);
	return false;
}

static bool no_memory(struct build *b)
{
	return fail(b, -ENOMEM, SIZE_MAX, SIZE_MAX, "out of memory");
}

/* --- definitions --- */

static bool define(struct build *b, const char *id, uint32_t index, unsigned kind, uint32_t line, const uint32_t *lines)
{
	uint32_t before = b->defs.n_rows, row = keytab_add(&b->defs, id, strlen(id));
	if (row == KEYTAB_NONE)
		return no_memory(b);
	if (b->defs.n_rows == before) {
		bool ok = fail(b, -EINVAL, SIZE_MAX, SIZE_MAX,
			"\"%s\" is defined twice, on line %u and on line %u; groups, sets and lists share their names",
			id, lines[row], line);
		if (b->err != NULL) {
			b->err->line = line;
			b->err->other_line = lines[row];
		}
		return ok;
	}
	b->def_index[row] = index << 2 | kind;
	return true;
}

static bool definitions(struct build *b)
{
	const struct policy_input *in = b->in;
	size_t n = in->n_groups + in->n_sets + in->n_lists;
	uint32_t *lines = calloc(n + 1, sizeof(*lines));
	b->def_index = calloc(n + 1, sizeof(*b->def_index));
	bool ok = lines != NULL && b->def_index != NULL;
	if (!ok)
		no_memory(b);
	for (size_t i = 0; ok && i < in->n_groups; i++) {
		lines[b->defs.n_rows] = in->groups[i].line;
		ok = define(b, in->groups[i].id, (uint32_t)i, DEF_GROUP, in->groups[i].line, lines);
	}
	for (size_t i = 0; ok && i < in->n_sets; i++) {
		lines[b->defs.n_rows] = in->sets[i].line;
		ok = define(b, in->sets[i].id, (uint32_t)i, DEF_SET, in->sets[i].line, lines);
	}
	for (size_t i = 0; ok && i < in->n_lists; i++) {
		lines[b->defs.n_rows] = in->lists[i].line;
		ok = define(b, in->lists[i].id, (uint32_t)i, DEF_LIST, in->lists[i].line, lines);
	}
	free(lines);
	return ok;
}

static bool find_def(struct build *b, const char *id, unsigned kind, size_t rule, uint32_t *ret)
{
	static const char *const what[] = { "group", "set", "list" };
	uint32_t row = keytab_find(&b->defs, id, strlen(id), keytab_hash(id, strlen(id)));
	if (row == KEYTAB_NONE)
		return fail(b, -EINVAL, rule, SIZE_MAX, "no %s \"%s\" is defined", what[kind], id);
	if ((b->def_index[row] & 3) != kind)
		return fail(b, -EINVAL, rule, SIZE_MAX, "\"%s\" is a %s, not a %s", id, what[b->def_index[row] & 3],
			what[kind]);
	*ret = b->def_index[row] >> 2;
	return true;
}

static int u64_cmp(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* Who is in which group: pairs (app, group) sorted, then one range per app. */
static bool groups(struct build *b)
{
	struct policy *p = b->p;
	size_t n = 0, at = 0, kept = 0;
	for (size_t i = 0; i < b->in->n_groups; i++)
		n += b->in->groups[i].n_apps;
	uint64_t *pairs = calloc(n + 1, sizeof(*pairs));
	p->member = calloc(n + 1, sizeof(*p->member));
	bool ok = pairs != NULL && p->member != NULL;
	for (size_t i = 0; ok && i < b->in->n_groups; i++) {
		const struct policy_group *g = &b->in->groups[i];
		uint32_t group = keytab_add(&p->groups, g->id, strlen(g->id));
		ok = group != KEYTAB_NONE;
		for (size_t k = 0; ok && k < g->n_apps; k++) {
			uint32_t app = keytab_add(&p->apps, g->apps[k], strlen(g->apps[k]));
			ok = app != KEYTAB_NONE;
			pairs[at++] = (uint64_t)app << 32 | group;
		}
	}
	uint32_t n_apps = p->apps.n_rows;
	p->n_grouped = n_apps;
	p->app_groups = calloc((size_t)n_apps + 1, sizeof(*p->app_groups));
	ok = ok && p->app_groups != NULL;
	if (ok) {
		qsort(pairs, n, sizeof(*pairs), u64_cmp);
		for (size_t i = 0; i < n; i++) {
			if (i > 0 && pairs[i] == pairs[i - 1])
				continue;
			p->member[kept++] = (uint32_t)pairs[i];
			p->app_groups[(pairs[i] >> 32) + 1]++;
		}
		for (uint32_t a = 0; a < n_apps; a++)
			p->app_groups[a + 1] += p->app_groups[a];
	}
	free(pairs);
	return ok || no_memory(b);
}

/* --- objects and patterns --- */

size_t pattern_key_name(const uint8_t *wire, size_t len, uint8_t *buf)
{
	buf[0] = PATTERN_NAME;
	memcpy(buf + 1, wire, len);
	return len + 1;
}

size_t pattern_key_net(const struct addr *a, unsigned prefix, uint8_t *buf)
{
	buf[0] = a->len == 4 ? PATTERN_NET4 : PATTERN_NET6;
	buf[1] = (uint8_t)prefix;
	memcpy(buf + 2, a->b, a->len);
	unsigned whole = prefix / 8;
	if (whole < a->len)
		buf[2 + whole] &= (uint8_t)(0xff00 >> prefix % 8);
	if (whole + 1U < a->len)
		memset(buf + 2 + whole + 1, 0, a->len - whole - 1U);
	return 2U + a->len;
}

size_t pattern_key(const struct policy_peer *peer, uint32_t app_id, uint8_t *buf)
{
	switch (peer->kind) {
	case POLICY_PEER_ANY:
		buf[0] = PATTERN_ANY;
		return 1;
	case POLICY_PEER_ZONE:
		buf[0] = PATTERN_ZONE;
		buf[1] = (uint8_t)peer->zone;
		return 2;
	case POLICY_PEER_APP:
		buf[0] = PATTERN_APP;
		memcpy(buf + 1, &app_id, sizeof(app_id));
		return 1 + sizeof(app_id);
	case POLICY_PEER_NAME:
	case POLICY_PEER_BELOW:
	case POLICY_PEER_WITHIN:
		return pattern_key_name(peer->name.wire, peer->name.len, buf);
	case POLICY_PEER_NET:
		return pattern_key_net(&peer->net.addr, peer->net.prefix, buf);
	case POLICY_PEER_SET:
	case POLICY_PEER_LIST:
		break;
	}
	return 0;
}

static bool add_link(struct build *b, uint32_t pattern, uint32_t object, enum hit_way way)
{
	if (b->n_links == b->cap_links) {
		size_t cap = b->cap_links == 0 ? 64 : b->cap_links * 2;
		struct link *l = reallocarray(b->links, cap, sizeof(*l));
		if (l == NULL)
			return no_memory(b);
		b->links = l;
		b->cap_links = cap;
	}
	b->links[b->n_links++] = (struct link){ .pattern = pattern, .hit = object << 2 | way };
	return true;
}

static void note_prefix(struct policy *p, const struct policy_net *n)
{
	if (n->addr.len == 4)
		p->prefixes4 |= UINT64_C(1) << n->prefix;
	else
		p->prefixes6[n->prefix / 64] |= UINT64_C(1) << n->prefix % 64;
}

/* One pattern leads to `object`. A single wrapped address means the IPv4 address inside, as the packet's will. */
static bool link_peer(struct build *b, const struct policy_peer *peer, uint32_t object)
{
	uint8_t key[PATTERN_KEY_MAX];
	struct policy_peer own = *peer;
	uint32_t app = 0;
	if (own.kind == POLICY_PEER_NET && own.net.addr.len == 16 && own.net.prefix == 128) {
		own.net.addr = floor_unwrap(&peer->net.addr);
		own.net.prefix = (uint8_t)(own.net.addr.len * 8U);
	}
	if (own.kind == POLICY_PEER_NET)
		note_prefix(b->p, &own.net);
	if (own.kind == POLICY_PEER_APP) {
		app = keytab_add(&b->p->apps, own.id, strlen(own.id));
		if (app == KEYTAB_NONE)
			return no_memory(b);
	}
	uint32_t pattern = keytab_add(&b->p->patterns, key, pattern_key(&own, app, key));
	if (pattern == KEYTAB_NONE)
		return no_memory(b);
	enum hit_way way = own.kind == POLICY_PEER_BELOW  ? WAY_BELOW
			 : own.kind == POLICY_PEER_WITHIN ? WAY_WITHIN
							  : WAY_EXACT;
	return add_link(b, pattern, object, way);
}

static bool count_member(struct build *b, const char *set, size_t *n)
{
	if (++*n > POLICY_SET_MAX)
		return fail(b, -E2BIG, SIZE_MAX, SIZE_MAX,
			"set \"%s\" has more than %d members with the sets inside it", set, POLICY_SET_MAX);
	if (++b->n_members > MEMBERS_MAX)
		return fail(b, -E2BIG, SIZE_MAX, SIZE_MAX, "all sets in use together have more than %d members",
			MEMBERS_MAX);
	return true;
}

struct opening {
	uint32_t *queue;
	uint8_t *seen;
	size_t n;
};

static bool open_one(struct build *b, struct opening *o, uint32_t first, uint32_t set, uint32_t object, size_t *n)
{
	const struct policy_peerset *s = &b->in->sets[set];
	for (size_t i = 0; i < s->n_peers; i++) {
		const struct policy_peer *m = &s->peers[i];
		uint32_t def;
		if (!count_member(b, b->in->sets[first].id, n))
			return false;
		if (m->kind == POLICY_PEER_SET) {
			if (!find_def(b, m->id, DEF_SET, SIZE_MAX, &def))
				return false;
			if (def == first)
				return fail(b, -EINVAL, SIZE_MAX, SIZE_MAX,
					"set \"%s\" contains itself by way of set \"%s\"", m->id, s->id);
			if (o->seen[def] == 0)
				o->queue[o->n++] = def;
			o->seen[def] = 1;
		} else if (m->kind == POLICY_PEER_LIST) {
			if (!find_def(b, m->id, DEF_LIST, SIZE_MAX, &def))
				return false;
			for (size_t k = 0; k < b->in->lists[def].n_peers; k++) {
				if (!link_peer(b, &b->in->lists[def].peers[k], object))
					return false;
			}
		} else if (!link_peer(b, m, object)) {
			return false;
		}
	}
	return true;
}

/* Links every member of the set, and of the sets inside it, to the object. */
static bool open_set(struct build *b, uint32_t set, uint32_t object)
{
	size_t n = 0, total = b->in->n_sets;
	struct opening o = { .queue = calloc(total, sizeof(*o.queue)), .seen = calloc(total, 1) };
	bool ok = o.queue != NULL && o.seen != NULL;
	if (!ok)
		no_memory(b);
	if (ok) {
		o.queue[o.n++] = set;
		o.seen[set] = 1;
	}
	for (size_t at = 0; ok && at < o.n; at++)
		ok = open_one(b, &o, set, o.queue[at], object, &n);
	free(o.queue);
	free(o.seen);
	return ok;
}

static bool open_peer(struct build *b, const struct policy_peer *peer, size_t rule, uint32_t object)
{
	uint32_t def;
	if (peer->kind == POLICY_PEER_SET)
		return find_def(b, peer->id, DEF_SET, rule, &def) && open_set(b, def, object);
	if (peer->kind != POLICY_PEER_LIST)
		return link_peer(b, peer, object);
	if (!find_def(b, peer->id, DEF_LIST, rule, &def))
		return false;
	for (size_t k = 0; k < b->in->lists[def].n_peers; k++) {
		if (!link_peer(b, &b->in->lists[def].peers[k], object))
			return false;
	}
	return true;
}

/* The object of a rule's peer: made and linked when it is new. */
static bool object_of(struct build *b, const struct policy_peer *peer, size_t rule, uint32_t *ret)
{
	char text[NAME_TEXT_MAX];
	int n = policy_print_peer(peer, text, sizeof(text));
	if (n < 0)
		return fail(b, -EINVAL, rule, SIZE_MAX, "this peer cannot be printed");
	uint32_t before = b->objects.n_rows, object = keytab_add(&b->objects, text, (size_t)n);
	if (object >= OBJECT_MAX) /* KEYTAB_NONE is beyond it */
		return no_memory(b);
	*ret = object;
	return b->objects.n_rows == before || open_peer(b, peer, rule, object);
}

static int link_cmp(const void *a, const void *b)
{
	const struct link *x = a, *y = b;
	if (x->pattern != y->pattern)
		return x->pattern < y->pattern ? -1 : 1;
	return (x->hit > y->hit) - (x->hit < y->hit);
}

static bool link_all(struct build *b)
{
	struct policy *p = b->p;
	size_t n = 0;
	p->hits = calloc(b->n_links + 1, sizeof(*p->hits));
	if (p->hits == NULL)
		return no_memory(b);
	if (b->n_links != 0)
		qsort(b->links, b->n_links, sizeof(*b->links), link_cmp);
	for (size_t i = 0; i < b->n_links; i++) {
		if (i > 0 && link_cmp(&b->links[i], &b->links[i - 1]) == 0)
			continue;
		struct keyrow *row = &p->patterns.rows[b->links[i].pattern];
		if (row->n++ == 0)
			row->first = (uint32_t)n;
		p->hits[n++] = b->links[i].hit;
	}
	p->n_hits = n;
	return true;
}

/* --- rules --- */

static bool keep_text(struct build *b, const char *s, size_t len, uint32_t *ret)
{
	struct policy *p = b->p;
	if (len + 1 > b->cap_pool - p->pool_len) {
		size_t cap = (b->cap_pool + len + 1) * 2;
		char *pool = cap > UINT32_MAX ? NULL : realloc(p->pool, cap);
		if (pool == NULL)
			return no_memory(b);
		p->pool = pool;
		b->cap_pool = cap;
	}
	*ret = (uint32_t)p->pool_len;
	memcpy(p->pool + p->pool_len, s, len);
	p->pool[p->pool_len + len] = '\0';
	p->pool_len += len + 1;
	return true;
}

static bool keep_ports(struct build *b, const struct policy_rule *r, struct crule *c)
{
	struct policy *p = b->p;
	if (r->n_ports > b->cap_ports - p->n_ports) {
		size_t cap = (b->cap_ports + r->n_ports) * 2;
		struct policy_port *ports = reallocarray(p->ports, cap, sizeof(*ports));
		if (ports == NULL)
			return no_memory(b);
		p->ports = ports;
		b->cap_ports = cap;
	}
	c->ports = (uint32_t)p->n_ports;
	c->n_ports = r->n_ports;
	if (r->n_ports != 0)
		memcpy(p->ports + p->n_ports, r->ports, r->n_ports * sizeof(*r->ports));
	p->n_ports += r->n_ports;
	return true;
}

static uint8_t final_rank(const struct policy_entry *e)
{
	if (!e->rule.final)
		return 0;
	switch (e->meta.origin) {
	case POLICY_ORIGIN_FLEET:
		return 3;
	case POLICY_ORIGIN_ADMIN:
	case POLICY_ORIGIN_FILE:
		return 2;
	case POLICY_ORIGIN_ANSWER:
	case POLICY_ORIGIN_FLOOR:
	case POLICY_ORIGIN_DEFAULT:
		break;
	}
	return 1;
}

static bool subject_of(struct build *b, size_t i, uint32_t *ret)
{
	const struct policy_rule *r = &b->in->rules[i].rule;
	uint32_t id = 0, def;
	if (r->subject == POLICY_SUBJECT_GROUP) {
		if (!find_def(b, r->who, DEF_GROUP, i, &def))
			return false;
		id = keytab_add(&b->p->groups, r->who, strlen(r->who));
	} else if (r->subject == POLICY_SUBJECT_APP) {
		id = keytab_add(&b->p->apps, r->who, strlen(r->who));
	}
	if (id == KEYTAB_NONE)
		return no_memory(b);
	*ret = subject_key(r->subject, id);
	return true;
}

static bool keep_meta(struct build *b, size_t i)
{
	static const uint8_t zero[POLICY_ID_LEN];
	const struct policy_entry *e = &b->in->rules[i];
	struct policy_meta *m = &b->p->metas[i];
	char text[POLICY_PRINT_MAX];
	*m = e->meta;
	if (m->origin > POLICY_ORIGIN_FILE || (m->origin == POLICY_ORIGIN_ANSWER && m->owner == POLICY_OWNER_ANY))
		return fail(b, -EINVAL, i, SIZE_MAX, "this rule has no lawful origin or owner");
	if (memcmp(m->id, zero, sizeof(zero)) == 0 && policy_id(&e->rule, m->origin, m->owner, m->id) < 0)
		return fail(b, -EINVAL, i, SIZE_MAX, "no id could be made for this rule");
	int n = policy_print_rule(&e->rule, text, sizeof(text));
	if (n < 0)
		return fail(b, -EINVAL, i, SIZE_MAX, "this rule cannot be printed");
	return keep_text(b, text, (size_t)n, &b->p->text[i]);
}

static bool one_rule(struct build *b, size_t i)
{
	const struct policy_entry *e = &b->in->rules[i];
	const struct policy_rule *r = &e->rule;
	struct policy *p = b->p;
	uint32_t subject = 0, object = 0;
	struct crule *c = &p->rules[i];
	*c = (struct crule){ .verb = (uint8_t)r->verb,
		.final_rank = final_rank(e),
		.subject_rank = (uint8_t)r->subject,
		.limited = policy_rule_limited(r),
		.counted = r->lives.times != 0,
		.windowed = r->lives.between || r->lives.on != 0,
		.log = r->log,
		.quiet = r->quiet };
	if (!keep_meta(b, i) || !keep_ports(b, r, c) || !subject_of(b, i, &subject) ||
		!object_of(b, &r->peer, i, &object))
		return false;
	b->keys[i] = bucket_key(r->dir, subject, object);
	if (r->dir == POLICY_IN && r->verb <= POLICY_ASK)
		p->inbound[p->n_inbound++] = (struct inbound){ .subject = subject, .rule = (uint32_t)i };
	if (c->windowed)
		p->lives[i] = r->lives;
	return true;
}

struct same {
	uint8_t id[POLICY_ID_LEN];
	size_t rule;
};

static int same_cmp(const void *a, const void *b)
{
	const struct same *x = a, *y = b;
	int c = memcmp(x->id, y->id, sizeof(x->id));
	return c != 0 ? c : (x->rule > y->rule) - (x->rule < y->rule);
}

/* Ended rules stay listed beside what replaced them. */
static bool no_same(struct build *b)
{
	struct same *s = calloc(b->in->n_rules + 1, sizeof(*s));
	size_t n = 0;
	if (s == NULL)
		return no_memory(b);
	for (size_t i = 0; i < b->in->n_rules; i++) {
		if (b->p->metas[i].ended != POLICY_RUNNING)
			continue;
		memcpy(s[n].id, b->p->metas[i].id, sizeof(s[n].id));
		s[n++].rule = i;
	}
	qsort(s, n, sizeof(*s), same_cmp);
	bool ok = true;
	for (size_t i = 1; ok && i < n; i++) {
		if (memcmp(s[i].id, s[i - 1].id, sizeof(s[i].id)) != 0)
			continue;
		size_t first = s[i - 1].rule, second = s[i].rule;
		const char *f = b->p->metas[first].file, *g = b->p->metas[second].file;
		ok = fail(b, -EINVAL, second, first, "%.80s line %u is the same rule as %.80s line %u: %.100s",
			g == NULL ? "rule" : g, rule_line(b, second), f == NULL ? "rule" : f, rule_line(b, first),
			b->p->pool + b->p->text[second]);
	}
	free(s);
	return ok;
}

static struct bucket *bucket_at(struct policy *p, uint64_t key)
{
	size_t i = mix64(key) & (p->n_buckets - 1);
	while (p->buckets[i].key != UINT64_MAX && p->buckets[i].key != key)
		i = (i + 1) & (p->n_buckets - 1);
	return &p->buckets[i];
}

static bool bucket_all(struct build *b)
{
	struct policy *p = b->p;
	uint32_t at = 0;
	for (p->n_buckets = 16; p->n_buckets < p->n_rules * 2; p->n_buckets *= 2)
		;
	p->buckets = calloc(p->n_buckets, sizeof(*p->buckets));
	p->order = calloc(p->n_rules + 1, sizeof(*p->order));
	if (p->buckets == NULL || p->order == NULL)
		return no_memory(b);
	for (size_t i = 0; i < p->n_buckets; i++)
		p->buckets[i].key = UINT64_MAX;
	for (size_t i = 0; i < p->n_rules; i++) {
		struct bucket *k = bucket_at(p, b->keys[i]);
		k->key = b->keys[i];
		k->n++;
	}
	for (size_t i = 0; i < p->n_buckets; i++) {
		p->buckets[i].first = at;
		at += p->buckets[i].n;
		p->buckets[i].n = 0;
	}
	for (size_t i = 0; i < p->n_rules; i++) {
		struct bucket *k = bucket_at(p, b->keys[i]);
		p->order[k->first + k->n++] = (uint32_t)i;
	}
	return true;
}

/* --- environment and whole --- */

static bool environment(struct build *b)
{
	const struct policy_env *e = &b->in->env;
	struct policy *p = b->p;
	size_t n = e->n_host + e->n_peers + e->n_onlink + e->n_synthetic;
	const struct policy_net *from[] = { e->host, e->peers, e->onlink, e->synthetic };
	const size_t count[] = { e->n_host, e->n_peers, e->n_onlink, e->n_synthetic };
	const struct policy_net **to[] = { &p->env.host, &p->env.peers, &p->env.onlink, &p->env.synthetic };
	p->env = *e;
	p->nets = calloc(n + 1, sizeof(*p->nets));
	p->tz = calloc(e->n_tz + 1, sizeof(*p->tz));
	if (p->nets == NULL || p->tz == NULL)
		return no_memory(b);
	struct policy_net *at = p->nets;
	for (unsigned i = 0; i < 4; i++) {
		*to[i] = at;
		if (count[i] != 0)
			memcpy(at, from[i], count[i] * sizeof(*at));
		at += count[i];
	}
	if (e->n_tz != 0)
		memcpy(p->tz, e->tz, e->n_tz * sizeof(*p->tz));
	p->env.tz = p->tz;
	return true;
}

static bool room(struct build *b)
{
	struct policy *p = b->p;
	size_t n = b->in->n_rules + 1;
	if (n > UINT32_MAX / 4)
		return fail(b, -E2BIG, SIZE_MAX, SIZE_MAX, "too many rules");
	p->n_rules = b->in->n_rules;
	p->rules = calloc(n, sizeof(*p->rules));
	p->metas = calloc(n, sizeof(*p->metas));
	p->lives = calloc(n, sizeof(*p->lives));
	p->text = calloc(n, sizeof(*p->text));
	p->inbound = calloc(n, sizeof(*p->inbound));
	b->keys = calloc(n, sizeof(*b->keys));
	bool ok = p->rules != NULL && p->metas != NULL && p->lives != NULL && p->text != NULL && p->inbound != NULL &&
		  b->keys != NULL;
	return ok || no_memory(b);
}

/* Files are few and rules many: a file's name is kept once while it repeats. Pointers are set when the pool no longer
 * moves. */
static bool keep_files(struct build *b)
{
	struct policy *p = b->p;
	uint32_t *off = calloc(p->n_rules + 1, sizeof(*off));
	const char *last = NULL;
	uint32_t last_off = 0;
	bool ok = off != NULL || no_memory(b);
	for (size_t i = 0; ok && i < p->n_rules; i++) {
		const char *f = p->metas[i].file;
		if (f != NULL && (last == NULL || strcmp(f, last) != 0))
			ok = keep_text(b, f, strlen(f), &last_off);
		if (f != NULL)
			last = f;
		off[i] = last_off;
	}
	for (size_t i = 0; ok && i < p->n_rules; i++)
		p->metas[i].file = p->metas[i].file == NULL ? NULL : p->pool + off[i];
	free(off);
	return ok;
}

/* A circle of sets no rule uses is an error too. */
static bool sets_sane(struct build *b)
{
	size_t members = b->n_members, links = b->n_links;
	for (size_t i = 0; i < b->in->n_sets; i++) {
		bool nested = false;
		for (size_t k = 0; k < b->in->sets[i].n_peers; k++)
			nested = nested || b->in->sets[i].peers[k].kind == POLICY_PEER_SET ||
				 b->in->sets[i].peers[k].kind == POLICY_PEER_LIST;
		if (nested && !open_set(b, (uint32_t)i, 0))
			return false;
		b->n_links = links;
	}
	b->n_members = members;
	return true;
}

static bool build(struct build *b)
{
	if (!room(b) || !environment(b) || !definitions(b) || !groups(b) || !sets_sane(b))
		return false;
	for (size_t i = 0; i < b->in->n_rules; i++) {
		if (!one_rule(b, i))
			return false;
	}
	return no_same(b) && link_all(b) && bucket_all(b) && keep_files(b);
}

int policy_compile(const struct policy_input *in, struct policy **ret, struct policy_error *reterr)
{
	struct build b = { .in = in, .err = reterr, .p = calloc(1, sizeof(*b.p)) };
	if (b.p == NULL)
		return -ENOMEM;
	bool ok = build(&b);
	keytab_fini(&b.defs);
	keytab_fini(&b.objects);
	free(b.def_index);
	free(b.links);
	free(b.keys);
	if (!ok) {
		policy_free(b.p);
		return b.rc;
	}
	*ret = b.p;
	return 0;
}

void policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	keytab_fini(&p->apps);
	keytab_fini(&p->groups);
	keytab_fini(&p->patterns);
	void *const blocks[] = { p->rules, p->metas, p->lives, p->text, p->pool, p->ports, p->app_groups, p->member,
		p->hits, p->buckets, p->order, p->inbound, p->nets, p->tz };
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		free(blocks[i]);
	free(p);
}
