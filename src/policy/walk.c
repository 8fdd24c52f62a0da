/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a decision costs is waiting for memory: the tables of 100,000 rules do not fit the caches. So all keys of a
 * request are hashed and their slots asked for before the first is read, and the same again for the buckets found.
 */
#include "policy/walk.h"

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

static const struct bucket *bucket_of(const struct policy *p, uint64_t key)
{
	size_t i = mix64(key) & (p->n_buckets - 1);
	while (p->buckets[i].key != key && p->buckets[i].key != UINT64_MAX)
		i = (i + 1) & (p->n_buckets - 1);
	return p->buckets[i].key == UINT64_MAX ? NULL : &p->buckets[i];
}

static void visit_places(struct walk *w)
{
	const struct policy *p = w->part;
	uint32_t behind = p == w->p ? 0 : (uint32_t)w->p->n_rules;
	for (unsigned k = 0; k < w->n_places; k++) {
		struct place *at = &w->place[k];
		const struct bucket *b = at->n != 0 ? NULL : bucket_of(p, at->key);
		if (b == NULL)
			continue;
		at->first = b->first;
		at->n = b->n;
		__builtin_prefetch(&p->rules[b->first]);
	}
	for (unsigned k = 0; k < w->n_places; k++) {
		const struct place *at = &w->place[k];
		for (uint32_t row = at->first; row < at->first + at->n; row++) {
			if (!policy_gone(p, p->rules[row].input))
				w->visit(w, row + behind, &at->hit);
		}
	}
	w->n_places = 0;
}

static struct place *new_place(struct walk *w)
{
	if (w->n_places == PLACES)
		visit_places(w);
	return &w->place[w->n_places++];
}

static void add_place(struct walk *w, uint32_t subject, uint32_t object, const struct hit *h)
{
	const struct policy *p = w->part;
	struct place *at = new_place(w);
	*at = (struct place){ .key = bucket_key(w->q->dir, subject, object), .hit = *h };
	__builtin_prefetch(&p->buckets[mix64(at->key) & (p->n_buckets - 1)]);
}

static bool in_group(const struct walk *w, uint32_t subject)
{
	const struct policy *p = w->part;
	if (w->app >= p->n_grouped) /* KEYTAB_NONE is beyond it */
		return false;
	uint32_t g = p->app_groups[w->app], end = p->app_groups[w->app + 1];
	while (g < end && subject_key(POLICY_SUBJECT_GROUP, p->member[g]) != subject)
		g++;
	return g < end;
}

/* All its rules are of one subject and direction. */
static void add_sole(struct walk *w, const struct object_hit *o, const struct hit *h)
{
	bool any = (o->who & who_bit(POLICY_SUBJECT_ANY, w->q->dir)) != 0;
	bool app = (o->who & who_bit(POLICY_SUBJECT_APP, w->q->dir)) != 0 && w->app != KEYTAB_NONE &&
		   o->subject == subject_key(POLICY_SUBJECT_APP, w->app);
	if (!any && !app && ((o->who & who_bit(POLICY_SUBJECT_GROUP, w->q->dir)) == 0 || !in_group(w, o->subject)))
		return;
	*new_place(w) = (struct place){ .first = o->first, .n = o->n, .hit = *h };
	__builtin_prefetch(&w->part->rules[o->first]);
}

static void add_object(struct walk *w, const struct object_hit *o, const struct hit *h)
{
	const struct policy *p = w->part;
	if (o->n != 0) {
		add_sole(w, o, h);
		return;
	}
	if ((o->who & who_bit(POLICY_SUBJECT_ANY, w->q->dir)) != 0)
		add_place(w, 0, o->object, h);
	if (w->app == KEYTAB_NONE)
		return;
	if ((o->who & who_bit(POLICY_SUBJECT_APP, w->q->dir)) != 0)
		add_place(w, subject_key(POLICY_SUBJECT_APP, w->app), o->object, h);
	/* Apps interned after the groups were read are in none. */
	if ((o->who & who_bit(POLICY_SUBJECT_GROUP, w->q->dir)) == 0 || w->app >= p->n_grouped)
		return;
	for (uint32_t g = p->app_groups[w->app]; g < p->app_groups[w->app + 1]; g++)
		add_place(w, subject_key(POLICY_SUBJECT_GROUP, p->member[g]), o->object, h);
}

/* The first slot from `i` on with this hash. NULL: there is none before a free one. */
static const struct pattern *slot_from(const struct patterns *t, uint32_t i, uint32_t hash)
{
	if (t->n_slots == 0)
		return NULL;
	const struct pattern *s = &t->slots[i & (t->n_slots - 1)];
	for (; s->used != 0 && s->hash != hash; s = &t->slots[i & (t->n_slots - 1)])
		i++;
	return s->used == 0 ? NULL : s;
}

static void read_probe(struct walk *w, const struct probe *b)
{
	const struct policy *p = w->part;
	const struct patterns *t = &p->patterns;
	const struct pattern *s = b->at;
	while (s != NULL &&
		(s->kind != b->hit.kind || s->len != b->len || memcmp(t->pool + s->off, b->key, b->len) != 0))
		s = slot_from(t, (uint32_t)(s - t->slots) + 1, b->hash);
	if (s == NULL || s->first == NO_HITS)
		return;
	const struct object_hit *o = &p->hits[s->first];
	for (bool last = false; !last; last = (o++)->last != 0) {
		struct hit h = b->hit;
		if (b->hit.kind == PATTERN_NAME) {
			bool fits = o->way == WAY_EXACT ? b->depth == 0 : o->way == WAY_BELOW ? b->depth > 0 : true;
			if (!fits)
				continue;
			h.rank = b->depth == 0 ? RANK_NAME : RANK_PATTERN + b->labels;
		}
		add_object(w, o, &h);
	}
}

static void read_probes(struct walk *w)
{
	const struct patterns *t = &w->part->patterns;
	for (unsigned i = 0; i < w->n_probes; i++) {
		struct probe *b = &w->probe[i];
		b->at = slot_from(t, b->hash, b->hash);
		if (b->at == NULL)
			continue;
		__builtin_prefetch(t->pool + b->at->off);
		if (b->at->first != NO_HITS)
			__builtin_prefetch(&w->part->hits[b->at->first]);
	}
	for (unsigned i = 0; i < w->n_probes; i++) {
		if (w->probe[i].at != NULL)
			read_probe(w, &w->probe[i]);
	}
	w->n_probes = 0;
}

/* The key must stay where it is until the walk ends. */
static struct probe *add_probe(struct walk *w, const uint8_t *key, size_t len, const struct hit *h)
{
	const struct patterns *t = &w->part->patterns;
	struct probe *b = &w->probe[w->n_probes++];
	b->key = key;
	b->len = (uint8_t)len;
	b->hash = keytab_hash(h->kind, key, len);
	b->hit = *h;
	if (t->n_slots != 0)
		__builtin_prefetch(&t->slots[b->hash & (t->n_slots - 1)]);
	return b;
}

static uint8_t *room(struct walk *w)
{
	if (w->n_probes == PROBES)
		read_probes(w);
	return w->bytes[w->n_probes];
}

static void add_name(struct walk *w, const struct name *n, bool chain)
{
	struct hit h = { .kind = PATTERN_NAME, .least_verb = chain ? POLICY_ASK : POLICY_ALLOW };
	unsigned labels = name_labels(n), depth = 0;
	for (size_t off = 0; off < n->len && n->wire[off] != 0; off += n->wire[off] + 1U, depth++) {
		(void)room(w);
		struct probe *b = add_probe(w, n->wire + off, n->len - off, &h);
		b->depth = (uint8_t)depth;
		b->labels = (uint16_t)(labels - depth);
	}
}

static void add_addr(struct walk *w, const struct addr *a, bool raw)
{
	const uint64_t *have = a->len == 4 ? &w->part->head->prefixes4 : w->part->head->prefixes6;
	unsigned words = a->len == 4 ? 1 : 3;
	struct hit h = { .kind = a->len == 4 ? PATTERN_NET4 : PATTERN_NET6,
		.least_verb = raw ? POLICY_DENY : POLICY_ALLOW };
	for (unsigned k = 0; k < words; k++) {
		for (uint64_t bits = have[k]; bits != 0; bits &= bits - 1) {
			unsigned prefix = k * 64 + (unsigned)__builtin_ctzll(bits);
			uint8_t *key = room(w);
			h.prefix = (uint8_t)prefix;
			h.rank = prefix == a->len * 8U ? RANK_ADDRESS : RANK_NET + prefix;
			add_probe(w, key, pattern_key_net(a, prefix, key), &h);
		}
	}
}

static void add_list(struct walk *w, size_t list, const struct hit *h)
{
	uint32_t first = w->part->lists[list].first;
	if (first == NO_HITS)
		return;
	const struct object_hit *o = &w->part->hits[first];
	for (bool last = false; !last; last = (o++)->last != 0)
		add_object(w, o, h);
}

static void add_list_name(struct walk *w, size_t list, const struct list_ask *a, bool chain)
{
	struct list_hit found;
	if (!list_digest_tell(&w->part->digest[list], a, &found))
		return;
	struct hit h = { .kind = PATTERN_NAME,
		.least_verb = chain ? POLICY_ASK : POLICY_ALLOW,
		.rank = found.exact ? RANK_NAME : RANK_PATTERN + found.labels };
	add_list(w, list, &h);
}

/* The names of the request, asked of one list: the asked one, then the chain. NULL: no more of them. */
static const struct name *name_at(const struct walk *w, size_t k)
{
	if (w->name == NULL || k > w->q->n_chain || k > POLICY_CHAIN_MAX)
		return NULL;
	return k == 0 ? w->name : &w->q->chain[k - 1];
}

static void add_list_names(struct walk *w, size_t list)
{
	const struct name *n;
	struct list_ask a;
	if (list == 0 && w->name != NULL)
		add_list_name(w, list, &w->first, false);
	for (size_t k = list == 0; (n = name_at(w, k)) != NULL; k++) {
		list_digest_ask(&w->part->digest[list], n, &a);
		add_list_name(w, list, &a, k > 0);
	}
}

static void add_list_addr(struct walk *w, size_t list, const struct addr *a, bool raw)
{
	int prefix = list_digest_addr(&w->part->digest[list], a);
	if (prefix < 0)
		return;
	struct hit h = { .kind = a->len == 4 ? PATTERN_NET4 : PATTERN_NET6,
		.prefix = (uint8_t)prefix,
		.least_verb = raw ? POLICY_DENY : POLICY_ALLOW,
		.rank = (unsigned)prefix == a->len * 8U ? RANK_ADDRESS : RANK_NET + (unsigned)prefix };
	add_list(w, list, &h);
}

static void add_lists(struct walk *w)
{
	const struct policy_request *q = w->q;
	for (size_t i = 0; i < w->part->n_lists; i++) {
		if (w->part->digest[i].bytes == NULL) {
			/* Nobody knows its members: who refuses them refuses everything. */
			const struct hit all = { .kind = PATTERN_ANY, .rank = RANK_NAME, .least_verb = POLICY_DENY };
			add_list(w, i, &all);
			continue;
		}
		add_list_names(w, i);
		if (w->addr.len != 0)
			add_list_addr(w, i, &w->addr, false);
		if (q->addr != NULL && w->addr.len != 0 && !addr_equal(q->addr, &w->addr))
			add_list_addr(w, i, q->addr, true);
	}
}

static void add_zone_and_any(struct walk *w)
{
	static const enum policy_zone zones[] = { [POLICY_CLASS_HOST] = POLICY_ZONE_HOST,
		[POLICY_CLASS_PEERS] = POLICY_ZONE_PEERS,
		[POLICY_CLASS_LAN] = POLICY_ZONE_LAN,
		[POLICY_CLASS_INTERNET] = POLICY_ZONE_INTERNET };
	struct hit h = { .kind = PATTERN_ANY, .rank = RANK_ANY };
	uint8_t *key = room(w);
	add_probe(w, key, 0, &h);
	if (w->class == POLICY_CLASS_MARTIAN || w->class == POLICY_CLASS_METADATA || w->class == POLICY_CLASS_LINK)
		return;
	/* A name whose address is not known yet is judged as if it were somewhere in the internet. */
	h = (struct hit){ .kind = PATTERN_ZONE, .rank = RANK_ZONE };
	key = room(w);
	key[0] = (uint8_t)zones[w->class];
	add_probe(w, key, 1, &h);
}

static void add_peer_app(struct walk *w)
{
	const char *app = w->q->peer_app;
	if (app == NULL)
		return;
	size_t len = strlen(app);
	uint32_t id = keyview_find(&w->part->apps, 0, app, len, keytab_hash(0, app, len));
	struct hit h = { .kind = PATTERN_APP, .rank = RANK_APP };
	if (id == KEYTAB_NONE)
		return;
	uint8_t *key = room(w);
	memcpy(key, &id, sizeof(id));
	add_probe(w, key, sizeof(id), &h);
}

/* False: nothing to meet. */
static bool part_begin(struct walk *w, const struct policy *part)
{
	const char *app = w->q->app;
	if (part == NULL || part->n_rules == 0)
		return false;
	w->part = part;
	w->app = app == NULL ? KEYTAB_NONE
			     : keyview_find(&part->apps, 0, app, strlen(app), keytab_hash(0, app, strlen(app)));
	return true;
}

static void walk_part(struct walk *w, const struct policy *part)
{
	const struct policy_request *q = w->q;
	if (!part_begin(w, part))
		return;
	if (w->name != NULL && part->n_lists > 0 && part->digest[0].bytes != NULL)
		list_digest_ask(&part->digest[0], w->name, &w->first);
	if (w->name != NULL)
		add_name(w, w->name, false);
	for (size_t i = 0; w->name != NULL && i < q->n_chain && i < POLICY_CHAIN_MAX; i++)
		add_name(w, &q->chain[i], true);
	if (w->addr.len != 0)
		add_addr(w, &w->addr, false);
	if (q->addr != NULL && w->addr.len != 0 && !addr_equal(q->addr, &w->addr))
		add_addr(w, q->addr, true);
	add_peer_app(w);
	add_zone_and_any(w);
	add_lists(w);
	read_probes(w);
	visit_places(w);
}

void walk_all(struct walk *w)
{
	walk_part(w, w->p);
	walk_part(w, w->p->more);
}

void walk_peer_app(struct walk *w)
{
	const struct policy *const parts[] = { w->p, w->p->more };
	for (unsigned i = 0; i < 2; i++) {
		if (!part_begin(w, parts[i]))
			continue;
		add_peer_app(w);
		read_probes(w);
		visit_places(w);
	}
}

void walk_init(struct walk *w, const struct policy *p, const struct policy_request *q)
{
	/* The tables of the walk are written before they are read. */
	w->p = w->part = p;
	w->q = q;
	w->name = q->dir == POLICY_OUT ? q->name : NULL;
	w->addr = (struct addr){ 0 };
	w->class = POLICY_CLASS_INTERNET;
	w->has_class = w->lifted = w->all_ports = false;
	w->app = KEYTAB_NONE;
	w->change_ms = POLICY_NEVER;
	w->n_probes = w->n_places = 0;
	if (q->addr != NULL && q->addr->len != 0) {
		w->addr = floor_unwrap(q->addr);
		w->class = floor_class(&p->env, q->addr);
		w->has_class = true;
	}
	if (q->peer_app != NULL) {
		w->class = POLICY_CLASS_PEERS;
		w->has_class = true;
	}
}
