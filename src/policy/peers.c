/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and patterns: what the peers of rules are, and what a connection can hit them by. */
#include "policy/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Members of all sets in use together, after nested sets are opened: bounds memory whatever the files say. */
enum { MEMBERS_MAX = 4 << 20 };

size_t pattern_key_net(const struct addr *a, unsigned prefix, uint8_t *buf)
{
	buf[0] = (uint8_t)prefix;
	memcpy(buf + 1, a->b, a->len);
	unsigned whole = prefix / 8;
	if (whole < a->len)
		buf[1 + whole] &= (uint8_t)(0xff00 >> prefix % 8);
	if (whole + 1U < a->len)
		memset(buf + 1 + whole + 1, 0, a->len - whole - 1U);
	return 1U + a->len;
}

size_t pattern_key(const struct policy_peer *peer, uint32_t app_id, uint8_t *buf, enum pattern_kind *ret_kind)
{
	switch (peer->kind) {
	case POLICY_PEER_ANY:
		*ret_kind = PATTERN_ANY;
		return 0;
	case POLICY_PEER_ZONE:
		*ret_kind = PATTERN_ZONE;
		buf[0] = (uint8_t)peer->zone;
		return 1;
	case POLICY_PEER_APP:
		*ret_kind = PATTERN_APP;
		memcpy(buf, &app_id, sizeof(app_id));
		return sizeof(app_id);
	case POLICY_PEER_NAME:
	case POLICY_PEER_BELOW:
	case POLICY_PEER_WITHIN:
		*ret_kind = PATTERN_NAME;
		memcpy(buf, peer->name.wire, peer->name.len);
		return peer->name.len;
	case POLICY_PEER_NET:
		*ret_kind = peer->net.addr.len == 4 ? PATTERN_NET4 : PATTERN_NET6;
		return pattern_key_net(&peer->net.addr, peer->net.prefix, buf);
	case POLICY_PEER_SET:
	case POLICY_PEER_LIST:
		break;
	}
	*ret_kind = PATTERN_ANY;
	return 0;
}

static bool add_link(struct build *b, uint32_t pattern, uint32_t object, enum hit_way way)
{
	if (b->n_links == b->cap_links) {
		size_t cap = b->cap_links == 0 ? 64 : b->cap_links * 2;
		struct link *l = reallocarray(b->links, cap, sizeof(*l));
		if (l == NULL)
			return build_no_memory(b);
		b->links = l;
		b->cap_links = cap;
	}
	b->links[b->n_links++] = (struct link){ .pattern = pattern, .hit = object << 2 | way };
	return true;
}

static void note_prefix(struct build *b, const struct policy_net *n)
{
	if (n->addr.len == 4)
		b->prefixes4 |= UINT64_C(1) << n->prefix;
	else
		b->prefixes6[n->prefix / 64] |= UINT64_C(1) << n->prefix % 64;
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
		note_prefix(b, &own.net);
	if (own.kind == POLICY_PEER_APP) {
		app = keytab_add(&b->apps, 0, own.id, strlen(own.id));
		if (app == KEYTAB_NONE)
			return build_no_memory(b);
	}
	enum pattern_kind kind;
	size_t len = pattern_key(&own, app, key, &kind);
	uint32_t pattern = keytab_add(&b->patterns, (uint8_t)kind, key, len);
	if (pattern == KEYTAB_NONE)
		return build_no_memory(b);
	enum hit_way way = own.kind == POLICY_PEER_BELOW  ? WAY_BELOW
			 : own.kind == POLICY_PEER_WITHIN ? WAY_WITHIN
							  : WAY_EXACT;
	return add_link(b, pattern, object, way);
}

static bool link_list(struct build *b, const char *id, uint32_t object)
{
	uint32_t before = b->patterns.n_rows;
	uint32_t pattern = keytab_add(&b->patterns, PATTERN_LIST, id, strlen(id));
	if (pattern == KEYTAB_NONE)
		return build_no_memory(b);
	if (b->patterns.n_rows != before) {
		if (b->n_lists == POLICY_LISTS_MAX)
			return build_fail(b, -E2BIG, SIZE_MAX, SIZE_MAX, "rules use more than %d lists",
				POLICY_LISTS_MAX);
		struct clist *l = &b->lists[b->n_lists];
		if (!build_text(b, id, strlen(id), &l->id))
			return false;
		l->first = pattern;
		b->n_lists++;
	}
	return add_link(b, pattern, object, WAY_EXACT);
}

static bool count_member(struct build *b, const struct policy_peerset *set, size_t *n)
{
	bool ok = true;
	if (++*n > POLICY_SET_MAX)
		ok = build_fail(b, -E2BIG, SIZE_MAX, SIZE_MAX,
			"set \"%s\" has more than %d members with the sets inside it", set->id, POLICY_SET_MAX);
	else if (++b->n_members > MEMBERS_MAX)
		ok = build_fail(b, -E2BIG, SIZE_MAX, SIZE_MAX, "all sets in use together have more than %d members",
			MEMBERS_MAX);
	if (!ok && b->err != NULL) {
		b->err->file = set->file;
		b->err->line = set->line;
	}
	return ok;
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
		if (!count_member(b, &b->in->sets[first], n))
			return false;
		if (m->kind == POLICY_PEER_SET) {
			if (!build_find(b, m->id, DEF_SET, SIZE_MAX, &def))
				return false;
			if (def == first)
				return build_fail(b, -EINVAL, SIZE_MAX, SIZE_MAX,
					"set \"%s\" contains itself by way of set \"%s\"", m->id, s->id);
			if (o->seen[def] == 0)
				o->queue[o->n++] = def;
			o->seen[def] = 1;
		} else if (m->kind == POLICY_PEER_LIST) {
			if (!build_find(b, m->id, DEF_LIST, SIZE_MAX, &def) || !link_list(b, m->id, object))
				return false;
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
		build_no_memory(b);
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
		return build_find(b, peer->id, DEF_SET, rule, &def) && open_set(b, def, object);
	if (peer->kind != POLICY_PEER_LIST)
		return link_peer(b, peer, object);
	return build_find(b, peer->id, DEF_LIST, rule, &def) && link_list(b, peer->id, object);
}

/* What makes two peers one object: the kind and its bytes. */
static size_t object_key(const struct policy_peer *peer, uint8_t *buf)
{
	enum pattern_kind kind;
	if (peer->kind != POLICY_PEER_SET && peer->kind != POLICY_PEER_LIST && peer->kind != POLICY_PEER_APP)
		return pattern_key(peer, 0, buf, &kind);
	size_t len = strlen(peer->id);
	memcpy(buf, peer->id, len);
	return len;
}

static bool room_who(struct build *b)
{
	if (b->objects.n_rows <= b->cap_who)
		return true;
	size_t cap = b->cap_who == 0 ? 64 : b->cap_who * 2;
	uint8_t *who = realloc(b->who, cap);
	if (who == NULL)
		return build_no_memory(b);
	memset(who + b->cap_who, 0, cap - b->cap_who);
	b->who = who;
	b->cap_who = cap;
	return true;
}

bool build_object(struct build *b, const struct policy_peer *peer, size_t rule, uint32_t *ret)
{
	uint8_t key[PATTERN_KEY_MAX];
	size_t len = object_key(peer, key);
	/* A network of IPv4 and one of IPv6 differ in the length of their keys. */
	uint32_t before = b->objects.n_rows, object = keytab_add(&b->objects, (uint8_t)peer->kind, key, len);
	if (object >= OBJECT_MAX) /* KEYTAB_NONE is beyond it */
		return build_no_memory(b);
	*ret = object;
	if (!room_who(b))
		return false;
	return b->objects.n_rows == before || open_peer(b, peer, rule, object);
}

bool build_sets_sane(struct build *b)
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
