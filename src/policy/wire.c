/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/wire.h"

#include "base/rd.h"
#include "policy/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * "SKPO" u32 version, then six counted parts: nets (four times), tz, groups, sets, lists, rules. A text is u16 length
 * and bytes. Peers and rules are text in the language itself: one parser, and what cannot be written cannot be sent.
 */
enum { WIRE_MAGIC = 0x534b504f, WIRE_VERSION = 1, META_LEN = POLICY_ID_LEN + 1 + 4 + 8 + 8 + 4 + 1 + 4 };

size_t policy_wire_size(const struct policy_input *in)
{
	const struct policy_env *e = &in->env;
	size_t n = 64 + 18 * (e->n_host + e->n_peers + e->n_onlink + e->n_synthetic) + 12 * e->n_tz;
	for (size_t i = 0; i < in->n_groups; i++)
		n += 80 + in->groups[i].n_apps * (POLICY_TOKEN_MAX + 2);
	for (size_t i = 0; i < in->n_sets; i++)
		n += 80 + in->sets[i].n_peers * (NAME_WIRE_MAX + 4);
	for (size_t i = 0; i < in->n_lists; i++)
		n += 90 + POLICY_STRING_MAX + in->lists[i].n_peers * (NAME_WIRE_MAX + 4);
	for (size_t i = 0; i < in->n_rules; i++) {
		n += META_LEN + 4 + 1024 + in->rules[i].rule.n_ports * 16U;
		n += in->rules[i].meta.file == NULL ? 0 : strlen(in->rules[i].meta.file);
	}
	return n;
}

static void put_text(struct wr *w, const char *s, size_t len)
{
	if (len > UINT16_MAX) {
		w->err = true;
		return;
	}
	wr_u16(w, (uint16_t)len);
	wr_bytes(w, s, len);
}

static void put_nets(struct wr *w, const struct policy_net *n, size_t count)
{
	wr_u32(w, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		wr_u8(w, n[i].addr.len);
		wr_u8(w, n[i].prefix);
		wr_bytes(w, n[i].addr.b, n[i].addr.len);
	}
}

static void put_peers(struct wr *w, const struct policy_peer *p, size_t count)
{
	char text[NAME_TEXT_MAX + 4];
	wr_u32(w, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		int n = policy_print_peer(&p[i], text, sizeof(text));
		if (n < 0)
			w->err = true;
		else
			put_text(w, text, (size_t)n);
	}
}

static void put_defs(struct wr *w, const struct policy_input *in)
{
	wr_u32(w, (uint32_t)in->n_groups);
	for (size_t i = 0; i < in->n_groups; i++) {
		const struct policy_group *g = &in->groups[i];
		put_text(w, g->id, strlen(g->id));
		wr_u32(w, g->line);
		wr_u32(w, (uint32_t)g->n_apps);
		for (size_t k = 0; k < g->n_apps; k++)
			put_text(w, g->apps[k], strlen(g->apps[k]));
	}
	wr_u32(w, (uint32_t)in->n_sets);
	for (size_t i = 0; i < in->n_sets; i++) {
		put_text(w, in->sets[i].id, strlen(in->sets[i].id));
		wr_u32(w, in->sets[i].line);
		put_peers(w, in->sets[i].peers, in->sets[i].n_peers);
	}
	wr_u32(w, (uint32_t)in->n_lists);
	for (size_t i = 0; i < in->n_lists; i++) {
		const struct policy_list *l = &in->lists[i];
		put_text(w, l->id, strlen(l->id));
		wr_u32(w, l->line);
		put_text(w, l->source, strlen(l->source));
		wr_u64(w, (uint64_t)l->every_s);
		put_peers(w, l->peers, l->n_peers);
	}
}

static void put_rule(struct wr *w, const struct policy_entry *e)
{
	char text[POLICY_PRINT_MAX];
	const struct policy_meta *m = &e->meta;
	int n = policy_print_rule(&e->rule, text, sizeof(text));
	if (n < 0) {
		w->err = true;
		return;
	}
	wr_bytes(w, m->id, sizeof(m->id));
	wr_u8(w, (uint8_t)m->origin);
	wr_u32(w, m->owner);
	wr_u64(w, (uint64_t)m->created_ms);
	wr_u64(w, (uint64_t)m->deadline_ms);
	wr_u32(w, m->times_left);
	wr_u8(w, (uint8_t)m->ended);
	wr_u32(w, m->line);
	put_text(w, m->file == NULL ? "" : m->file, m->file == NULL ? 0 : strlen(m->file));
	put_text(w, text, (size_t)n);
}

bool policy_wire_put(struct wr *w, const struct policy_input *in)
{
	const struct policy_env *e = &in->env;
	wr_u32(w, WIRE_MAGIC);
	wr_u32(w, WIRE_VERSION);
	put_nets(w, e->host, e->n_host);
	put_nets(w, e->peers, e->n_peers);
	put_nets(w, e->onlink, e->n_onlink);
	put_nets(w, e->synthetic, e->n_synthetic);
	wr_u32(w, (uint32_t)e->n_tz);
	for (size_t i = 0; i < e->n_tz; i++) {
		wr_u64(w, (uint64_t)e->tz[i].from_ms);
		wr_u32(w, (uint32_t)e->tz[i].offset_s);
	}
	put_defs(w, in);
	wr_u32(w, (uint32_t)in->n_rules);
	for (size_t i = 0; i < in->n_rules; i++)
		put_rule(w, &in->rules[i]);
	return wr_ok(w);
}

struct get {
	struct rd r;
	struct policy_bundle *b;
	size_t files_len;
	bool no_memory;
};

/*
 * An array for `n` elements that take at least `least` bytes each on the wire: a count the rest of the bytes cannot
 * hold is refused before anything is allocated for it.
 */
static void *array(struct get *g, uint32_t n, size_t least, size_t size)
{
	if (n > rd_left(&g->r) / least) {
		rd_fail(&g->r);
		return NULL;
	}
	void *p = calloc((size_t)n + 1, size);
	g->no_memory = g->no_memory || p == NULL;
	return p;
}

static bool good(const struct get *g)
{
	return !g->no_memory && rd_ok(&g->r);
}

static struct rd text(struct get *g)
{
	uint16_t len = rd_u16(&g->r);
	return rd_sub(&g->r, len);
}

static void get_token(struct get *g, char ret[POLICY_TOKEN_MAX + 1])
{
	struct rd t = text(g);
	size_t len = rd_left(&t);
	const uint8_t *p = rd_bytes(&t, len);
	if (!rd_ok(&t) || !policy_token_ok((const char *)p, len)) {
		rd_fail(&g->r);
		return;
	}
	memcpy(ret, p, len);
	ret[len] = '\0';
}

static struct policy_net *get_nets(struct get *g, size_t *ret_n)
{
	uint32_t n = rd_u32(&g->r);
	struct policy_net *nets = array(g, n, 6, sizeof(*nets));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct policy_net *x = &nets[i];
		x->addr.len = rd_u8(&g->r);
		x->prefix = rd_u8(&g->r);
		if ((x->addr.len != 4 && x->addr.len != 16) || x->prefix > x->addr.len * 8U)
			rd_fail(&g->r);
		else
			rd_copy(&g->r, x->addr.b, x->addr.len);
	}
	*ret_n = good(g) ? n : 0;
	return nets;
}

static void get_env(struct get *g)
{
	struct policy_env *e = &g->b->in.env;
	const struct policy_net **to[] = { &e->host, &e->peers, &e->onlink, &e->synthetic };
	size_t *count[] = { &e->n_host, &e->n_peers, &e->n_onlink, &e->n_synthetic };
	for (unsigned i = 0; i < 4 && good(g); i++)
		*to[i] = g->b->nets[i] = get_nets(g, count[i]);
	uint32_t n = rd_u32(&g->r);
	struct policy_tz *tz = g->b->tz = array(g, n, 12, sizeof(*tz));
	for (uint32_t i = 0; i < n && good(g); i++) {
		tz[i].from_ms = (int64_t)rd_u64(&g->r);
		tz[i].offset_s = (int32_t)rd_u32(&g->r);
		/* No zone is further than a day from UTC; the evaluator's sums rely on it. */
		if (tz[i].offset_s > 86400 || tz[i].offset_s < -86400 || (i > 0 && tz[i].from_ms <= tz[i - 1].from_ms))
			rd_fail(&g->r);
	}
	e->tz = tz;
	e->n_tz = good(g) ? n : 0;
}

static struct policy_peer *get_peers(struct get *g, bool list, size_t *ret_n)
{
	uint32_t n = rd_u32(&g->r);
	struct policy_peer *peers = array(g, n, 3, sizeof(*peers));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct rd t = text(g);
		size_t len = rd_left(&t);
		const uint8_t *p = rd_bytes(&t, len);
		int rc = rd_ok(&t) ? policy_parse_peer((const char *)p, len, &peers[i], NULL) : -EINVAL;
		enum policy_peer_kind k = peers[i].kind;
		if (rc != 0 || (list && (k < POLICY_PEER_NAME || k > POLICY_PEER_NET)))
			rd_fail(&g->r);
	}
	*ret_n = good(g) ? n : 0;
	return peers;
}

static void get_groups(struct get *g)
{
	struct policy_doc *d = g->b->doc;
	uint32_t n = rd_u32(&g->r);
	d->groups = array(g, n, 11, sizeof(*d->groups));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct policy_group *x = &d->groups[d->n_groups++];
		get_token(g, x->id);
		x->line = rd_u32(&g->r);
		uint32_t n_apps = rd_u32(&g->r);
		x->apps = array(g, n_apps, 3, sizeof(*x->apps));
		for (uint32_t k = 0; k < n_apps && good(g); k++)
			get_token(g, x->apps[x->n_apps++]);
	}
}

static void get_sets(struct get *g)
{
	struct policy_doc *d = g->b->doc;
	uint32_t n = rd_u32(&g->r);
	d->sets = array(g, n, 11, sizeof(*d->sets));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct policy_peerset *x = &d->sets[d->n_sets++];
		get_token(g, x->id);
		x->line = rd_u32(&g->r);
		x->peers = get_peers(g, false, &x->n_peers);
	}
}

static void get_lists(struct get *g)
{
	struct policy_doc *d = g->b->doc;
	uint32_t n = rd_u32(&g->r);
	d->lists = array(g, n, 21, sizeof(*d->lists));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct policy_list *x = &d->lists[d->n_lists++];
		get_token(g, x->id);
		x->line = rd_u32(&g->r);
		struct rd t = text(g);
		size_t len = rd_left(&t);
		const uint8_t *source = rd_bytes(&t, len);
		if (!rd_ok(&t) || len > POLICY_STRING_MAX || (len != 0 && memchr(source, '\0', len) != NULL)) {
			rd_fail(&g->r);
			return;
		}
		if (len != 0)
			memcpy(x->source, source, len);
		uint64_t every = rd_u64(&g->r);
		if (every > INT64_MAX)
			rd_fail(&g->r);
		x->every_s = (int64_t)every;
		x->peers = get_peers(g, true, &x->n_peers);
	}
}

/* The strings of all files share one block as long as the message: it never moves. */
static const char *get_file(struct get *g)
{
	struct rd t = text(g);
	size_t len = rd_left(&t);
	const uint8_t *p = rd_bytes(&t, len);
	if (len == 0)
		return NULL;
	if (!rd_ok(&t) || memchr(p, '\0', len) != NULL) {
		rd_fail(&g->r);
		return NULL;
	}
	char *file = g->b->files + g->files_len;
	memcpy(file, p, len);
	g->files_len += len + 1;
	return file;
}

static void get_meta(struct get *g, struct policy_meta *m)
{
	rd_copy(&g->r, m->id, sizeof(m->id));
	uint8_t origin = rd_u8(&g->r);
	m->owner = rd_u32(&g->r);
	m->created_ms = (int64_t)rd_u64(&g->r);
	m->deadline_ms = (int64_t)rd_u64(&g->r);
	m->times_left = rd_u32(&g->r);
	uint8_t ended = rd_u8(&g->r);
	m->line = rd_u32(&g->r);
	if (origin > POLICY_ORIGIN_FILE || ended > POLICY_END_REPLACED)
		rd_fail(&g->r);
	m->origin = (enum policy_origin)origin;
	m->ended = (enum policy_end)ended;
	m->file = get_file(g);
}

static void get_rules(struct get *g)
{
	struct policy_doc *d = g->b->doc;
	uint32_t n = rd_u32(&g->r);
	d->rules = array(g, n, META_LEN + 4, sizeof(*d->rules));
	for (uint32_t i = 0; i < n && good(g); i++) {
		struct policy_entry *e = &d->rules[i];
		get_meta(g, &e->meta);
		struct rd t = text(g);
		size_t len = rd_left(&t);
		const uint8_t *p = rd_bytes(&t, len);
		if (!rd_ok(&t) || !good(g) || policy_parse_rule((const char *)p, len, &e->rule, NULL) != 0) {
			rd_fail(&g->r);
			return;
		}
		d->n_rules++;
	}
}

static void get_all(struct get *g)
{
	uint32_t magic = rd_u32(&g->r);
	uint32_t version = rd_u32(&g->r);
	if (magic != WIRE_MAGIC || version != WIRE_VERSION)
		rd_fail(&g->r);
	void (*const parts[])(struct get *) = { get_env, get_groups, get_sets, get_lists, get_rules };
	for (unsigned i = 0; i < 5 && good(g); i++)
		parts[i](g);
}

int policy_wire_get(const void *buf, size_t len, struct policy_bundle **ret)
{
	struct get g = { .r = rd_init(buf, len), .b = calloc(1, sizeof(*g.b)) };
	if (g.b == NULL)
		return -ENOMEM;
	g.b->doc = calloc(1, sizeof(*g.b->doc));
	g.b->files = calloc(1, len + 1);
	g.no_memory = g.b->doc == NULL || g.b->files == NULL;
	if (!g.no_memory)
		get_all(&g);
	if (g.no_memory || !rd_done(&g.r)) {
		policy_bundle_free(g.b);
		return g.no_memory ? -ENOMEM : -EBADMSG;
	}
	struct policy_doc *d = g.b->doc;
	struct policy_input *in = &g.b->in;
	in->rules = d->rules;
	in->n_rules = d->n_rules;
	in->groups = d->groups;
	in->n_groups = d->n_groups;
	in->sets = d->sets;
	in->n_sets = d->n_sets;
	in->lists = d->lists;
	in->n_lists = d->n_lists;
	*ret = g.b;
	return 0;
}

void policy_bundle_free(struct policy_bundle *b)
{
	if (b == NULL)
		return;
	policy_doc_free(b->doc);
	for (unsigned i = 0; i < 4; i++)
		free(b->nets[i]);
	free(b->tz);
	free(b->files);
	free(b);
}
