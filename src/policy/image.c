/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/image.h"

#include "policy/compiled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(struct crule) == 40 && sizeof(struct policy_fact) == 72 && sizeof(struct cport) == 8 &&
		      sizeof(struct cwindow) == 8 && sizeof(struct keyslot) == 8 && sizeof(struct keyrow) == 8 &&
		      sizeof(struct pattern) == 16 && sizeof(struct object_hit) == 16 && sizeof(struct bucket) == 16 &&
		      sizeof(struct inbound) == 16 && sizeof(struct clist) == 8 && sizeof(struct policy_net) == 18 &&
		      sizeof(struct policy_tz) == 16,
	"a row changed: change IMAGE_MAGIC and the check of that row");

const size_t image_part_size[PARTS] = { [PART_RULES] = sizeof(struct crule),
	[PART_FACTS] = sizeof(struct policy_fact),
	[PART_BY_ID] = sizeof(uint32_t),
	[PART_WINDOWS] = sizeof(struct cwindow),
	[PART_PORTS] = sizeof(struct cport),
	[PART_TEXT] = 1,
	[PART_APP_SLOTS] = sizeof(struct keyslot),
	[PART_APP_ROWS] = sizeof(struct keyrow),
	[PART_APP_POOL] = 1,
	[PART_SLOTS] = sizeof(struct pattern),
	[PART_POOL] = 1,
	[PART_APP_GROUPS] = sizeof(uint32_t),
	[PART_MEMBER] = sizeof(uint32_t),
	[PART_HITS] = sizeof(struct object_hit),
	[PART_BUCKETS] = sizeof(struct bucket),
	[PART_INBOUND] = sizeof(struct inbound),
	[PART_LISTS] = sizeof(struct clist),
	[PART_NETS] = sizeof(struct policy_net),
	[PART_TZ] = sizeof(struct policy_tz) };

/* Where the parts are; the head must be sound. */
static void view_init(struct policy *p, const uint8_t *bytes)
{
	const void *at[PARTS];
	size_t n[PARTS];
	const void *head = bytes;
	p->head = head;
	for (unsigned i = 0; i < PARTS; i++) {
		at[i] = bytes + p->head->part[i].off;
		n[i] = p->head->part[i].n;
	}
	p->rules = at[PART_RULES];
	p->n_rules = n[PART_RULES];
	p->facts = at[PART_FACTS];
	p->by_id = at[PART_BY_ID];
	p->windows = at[PART_WINDOWS];
	p->n_windows = n[PART_WINDOWS];
	p->ports = at[PART_PORTS];
	p->n_ports = n[PART_PORTS];
	p->text = at[PART_TEXT];
	p->text_len = n[PART_TEXT];
	p->apps = (struct keyview){ at[PART_APP_SLOTS], at[PART_APP_ROWS], at[PART_APP_POOL],
		(uint32_t)n[PART_APP_SLOTS], (uint32_t)n[PART_APP_ROWS], (uint32_t)n[PART_APP_POOL] };
	p->patterns =
		(struct patterns){ at[PART_SLOTS], at[PART_POOL], (uint32_t)n[PART_SLOTS], (uint32_t)n[PART_POOL] };
	p->app_groups = at[PART_APP_GROUPS];
	p->n_grouped = (uint32_t)n[PART_APP_GROUPS] - 1;
	p->member = at[PART_MEMBER];
	p->n_member = n[PART_MEMBER];
	p->hits = at[PART_HITS];
	p->n_hits = n[PART_HITS];
	p->buckets = at[PART_BUCKETS];
	p->n_buckets = n[PART_BUCKETS];
	p->inbound = at[PART_INBOUND];
	p->n_inbound = n[PART_INBOUND];
	p->lists = at[PART_LISTS];
	p->n_lists = n[PART_LISTS];
	const struct policy_net *nets = at[PART_NETS];
	p->env.host = nets;
	p->env.n_host = p->head->n_nets[0];
	p->env.peers = p->env.host + p->env.n_host;
	p->env.n_peers = p->head->n_nets[1];
	p->env.onlink = p->env.peers + p->env.n_peers;
	p->env.n_onlink = p->head->n_nets[2];
	p->env.synthetic = p->env.onlink + p->env.n_onlink;
	p->env.n_synthetic = p->head->n_nets[3];
	p->env.tz = at[PART_TZ];
	p->env.n_tz = n[PART_TZ];
}

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static bool head_sound(const uint8_t *bytes, size_t len)
{
	struct image_head h;
	if (len < sizeof(h))
		return false;
	memcpy(&h, bytes, sizeof(h));
	if (h.magic != IMAGE_MAGIC || h.len != len)
		return false;
	uint64_t at = sizeof(h);
	for (unsigned i = 0; i < PARTS; i++) {
		/* In order and without gaps but for alignment, so that no two overlap. */
		if (h.part[i].off != at || h.part[i].n > UINT32_MAX || h.part[i].n > (len - at) / image_part_size[i])
			return false;
		at += (h.part[i].n * image_part_size[i] + IMAGE_ALIGN - 1) / IMAGE_ALIGN * IMAGE_ALIGN;
		if (at > len)
			return false;
	}
	uint64_t n_nets = 0;
	for (unsigned i = 0; i < 4; i++)
		n_nets += h.n_nets[i];
	return at == len && n_nets == h.part[PART_NETS].n && h.part[PART_LISTS].n <= POLICY_LISTS_MAX &&
	       h.part[PART_RULES].n < UINT32_MAX && h.part[PART_FACTS].n == h.part[PART_RULES].n &&
	       h.part[PART_BY_ID].n == h.part[PART_RULES].n && h.part[PART_APP_GROUPS].n >= 1 &&
	       h.part[PART_APP_GROUPS].n - 1 <= h.part[PART_APP_ROWS].n &&
	       (h.part[PART_APP_SLOTS].n == 0 || power_of_two(h.part[PART_APP_SLOTS].n)) &&
	       (h.part[PART_SLOTS].n == 0 || power_of_two(h.part[PART_SLOTS].n)) &&
	       power_of_two(h.part[PART_BUCKETS].n) && (h.prefixes4 >> 33) == 0 && (h.prefixes6[2] >> 1) == 0;
}

/* One row of one part each. A part is checked once all before it are. */
struct policy_opening {
	struct policy *p;
	unsigned part;
	size_t at;
	bool free_slot; /* in the table of the part: a search ends */
};

static bool range_ok(uint64_t first, uint64_t n, size_t total)
{
	return first <= total && n <= total - first;
}

static bool port_sound(const struct cport *c)
{
	return c->proto_kind <= POLICY_PROTO_ICMP && c->ranged <= 1 && c->lo <= c->hi;
}

static bool rule_ok(struct policy_opening *o, size_t i)
{
	const struct policy *p = o->p;
	const struct crule *r = &p->rules[i];
	return r->input < p->n_rules && range_ok(r->ports, r->n_ports, p->n_ports) && port_sound(&r->port) &&
	       (r->window == NO_WINDOW || r->window < p->n_windows) && r->verb <= POLICY_DROP &&
	       r->subject_rank <= POLICY_SUBJECT_APP && r->origin <= POLICY_ORIGIN_FILE;
}

static bool fact_ok(struct policy_opening *o, size_t i)
{
	const struct policy *p = o->p;
	const struct policy_fact *f = &p->facts[i];
	return f->text < p->text_len && (f->file == POLICY_NO_FILE || f->file < p->text_len) &&
	       f->origin <= POLICY_ORIGIN_FILE && f->ended <= POLICY_END_REPLACED && f->verb <= POLICY_DROP;
}

static bool by_id_ok(struct policy_opening *o, size_t i)
{
	return o->p->by_id[i] < o->p->n_rules;
}

static bool window_ok(struct policy_opening *o, size_t i)
{
	const struct cwindow *w = &o->p->windows[i];
	return w->from_minute < 1440 && w->to_minute <= 1440 && w->between <= 1 && w->on < 128;
}

static bool port_ok(struct policy_opening *o, size_t i)
{
	return port_sound(&o->p->ports[i]);
}

/* Every text ends where all end. */
static bool text_ok(struct policy_opening *o, size_t i)
{
	return i + 1 < o->p->text_len || o->p->text[i] == '\0';
}

static bool app_slot_ok(struct policy_opening *o, size_t i)
{
	const struct keyview *t = &o->p->apps;
	o->free_slot = (i != 0 && o->free_slot) || t->slots[i].row == 0;
	return t->slots[i].row <= t->n_rows && (i + 1 < t->n_slots || o->free_slot);
}

static bool app_row_ok(struct policy_opening *o, size_t i)
{
	const struct keyview *t = &o->p->apps;
	return range_ok(t->rows[i].off, t->rows[i].len, t->pool_len);
}

static bool hits_ok(const struct policy *p, uint32_t first)
{
	return first == NO_HITS || first < p->n_hits;
}

static bool pattern_ok(struct policy_opening *o, size_t i)
{
	const struct patterns *t = &o->p->patterns;
	const struct pattern *s = &t->slots[i];
	o->free_slot = (i != 0 && o->free_slot) || s->used == 0;
	bool sound = s->used == 0 || (range_ok(s->off, s->len, t->pool_len) && hits_ok(o->p, s->first));
	return sound && (i + 1 < t->n_slots || o->free_slot);
}

static bool app_group_ok(struct policy_opening *o, size_t i)
{
	const uint32_t *g = o->p->app_groups;
	return g[i] <= o->p->n_member && (i == 0 || g[i - 1] <= g[i]);
}

static bool hit_ok(struct policy_opening *o, size_t i)
{
	const struct object_hit *h = &o->p->hits[i];
	return h->way <= WAY_WITHIN && range_ok(h->first, h->n, o->p->n_rules) &&
	       (i + 1 < o->p->n_hits || h->last != 0);
}

static bool bucket_ok(struct policy_opening *o, size_t i)
{
	const struct bucket *b = &o->p->buckets[i];
	o->free_slot = (i != 0 && o->free_slot) || b->key == UINT64_MAX;
	return range_ok(b->first, b->n, o->p->n_rules) && (i + 1 < o->p->n_buckets || o->free_slot);
}

static bool inbound_ok(struct policy_opening *o, size_t i)
{
	return o->p->inbound[i].row < o->p->n_rules;
}

static bool list_ok(struct policy_opening *o, size_t i)
{
	return hits_ok(o->p, o->p->lists[i].first) && o->p->lists[i].id < o->p->text_len;
}

static bool net_ok(struct policy_opening *o, size_t i)
{
	const struct policy_net *n = &o->p->env.host[i];
	return (n->addr.len == 4 || n->addr.len == 16) && n->prefix <= n->addr.len * 8U;
}

/* No zone is further than a day from UTC; the sums of lives.c rely on it. */
static bool tz_ok(struct policy_opening *o, size_t i)
{
	const struct policy_tz *t = o->p->env.tz;
	return t[i].offset_s <= 86400 && t[i].offset_s >= -86400 && (i == 0 || t[i].from_ms > t[i - 1].from_ms);
}

/* NULL: any bytes will do. */
static bool (*const row_check[PARTS])(struct policy_opening *, size_t) = { [PART_RULES] = rule_ok,
	[PART_FACTS] = fact_ok,
	[PART_BY_ID] = by_id_ok,
	[PART_WINDOWS] = window_ok,
	[PART_PORTS] = port_ok,
	[PART_TEXT] = text_ok,
	[PART_APP_SLOTS] = app_slot_ok,
	[PART_APP_ROWS] = app_row_ok,
	[PART_SLOTS] = pattern_ok,
	[PART_APP_GROUPS] = app_group_ok,
	[PART_HITS] = hit_ok,
	[PART_BUCKETS] = bucket_ok,
	[PART_INBOUND] = inbound_ok,
	[PART_LISTS] = list_ok,
	[PART_NETS] = net_ok,
	[PART_TZ] = tz_ok };

struct policy_opening *policy_open(const void *bytes, size_t len)
{
	struct policy_opening *o = calloc(1, sizeof(*o));
	if (o == NULL)
		return NULL;
	if (!head_sound(bytes, len)) {
		o->part = PARTS;
		return o;
	}
	o->p = calloc(1, sizeof(*o->p));
	if (o->p == NULL) {
		free(o);
		return NULL;
	}
	view_init(o->p, bytes);
	/* Of the text only the end is looked at. */
	if (o->p->text_len != 0 && !text_ok(o, o->p->text_len - 1)) {
		policy_free(o->p);
		o->p = NULL;
	}
	return o;
}

int policy_open_step(struct policy_opening *o, size_t n, struct policy **ret)
{
	if (o->p == NULL)
		return -EBADMSG;
	for (; o->part < PARTS; o->part++, o->at = 0) {
		size_t rows = row_check[o->part] == NULL || o->part == PART_TEXT ? 0 : o->p->head->part[o->part].n;
		for (; o->at < rows; o->at++, n--) {
			if (n == 0)
				return -EAGAIN;
			if (!row_check[o->part](o, o->at))
				return -EBADMSG;
		}
	}
	*ret = o->p;
	o->p = NULL;
	return 0;
}

void policy_opening_free(struct policy_opening *o)
{
	if (o == NULL)
		return;
	policy_free(o->p);
	free(o);
}

int image_own(void *image, size_t len, struct policy **ret)
{
	struct policy *p = calloc(1, sizeof(*p));
	if (p == NULL || len < sizeof(struct image_head)) {
		free(p);
		free(image);
		return -ENOMEM;
	}
	p->own = image;
	view_init(p, image);
	*ret = p;
	return 0;
}

const void *policy_image(const struct policy *p, size_t *ret_len)
{
	*ret_len = p->head->len;
	return p->head;
}

size_t policy_n_lists(const struct policy *p)
{
	return p->n_lists + (p->more == NULL ? 0 : p->more->n_lists);
}

const char *policy_list_id(const struct policy *p, size_t list)
{
	if (list >= p->n_lists)
		return policy_list_id(p->more, list - p->n_lists);
	return p->text + p->lists[list].id;
}

void policy_attach(struct policy *p, size_t list, const struct list_digest *digest)
{
	if (list >= p->n_lists)
		policy_attach(p->more, list - p->n_lists, digest);
	else
		p->digest[list] = *digest;
}

int policy_join(const struct policy *base, struct policy *more, const uint32_t *gone, size_t n_gone,
	struct policy **ret)
{
	struct policy *p = calloc(1, sizeof(*p));
	uint64_t *bits = n_gone == 0 ? NULL : calloc(base->n_rules / 64 + 1, sizeof(*bits));
	int err = p == NULL || (n_gone != 0 && bits == NULL) ? -ENOMEM : 0;
	for (size_t i = 0; i < n_gone && err == 0; i++) {
		if (gone[i] >= base->n_rules)
			err = -EINVAL;
		else
			bits[gone[i] / 64] |= UINT64_C(1) << gone[i] % 64;
	}
	if (err == 0 && more != NULL && (more->more != NULL || more->n_rules > UINT32_MAX / 2 - base->n_rules))
		err = -EINVAL;
	if (err != 0) {
		free(bits);
		free(p);
		policy_free(more);
		return err;
	}
	*p = *base;
	p->own = NULL;
	p->more = more;
	p->gone = bits;
	*ret = p;
	return 0;
}

void policy_free(struct policy *p)
{
	if (p == NULL)
		return;
	policy_free(p->more);
	free(p->gone);
	free(p->own);
	free(p);
}
