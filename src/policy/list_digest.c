/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. A name's digest is that of its parent, keyed, with one label more: all suffixes of a name cost
 * what the name costs. A slot holds 62 bits of digest and, in the low two, what the list says of that very name and of
 * those below it; `.x` is both. 0 is free: an entry says at least one of the two. Searches end after `probes` slots,
 * whatever the table holds. Networks, which nest, are cut into ranges, each with the longest prefix that covers it.
 */
#include "policy/list_digest.h"
#include "policy/compiled.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

enum { SAYS_EXACT = 1, SAYS_BELOW = 2, SAYS = 3 };
enum { PROBES_MAX = 256, NEST_MAX = 130 };
#define DIGEST_MAGIC UINT64_C(0x534b4c4953543031)

/* From hi:lo to the next range's; IPv4 in `lo` alone. */
struct list_range {
	uint64_t hi, lo;
	uint64_t prefix; /* + 1; 0: not in the list */
};

struct digest_head {
	uint8_t sum[SHA256_DIGEST_LENGTH]; /* of all after it */
	uint64_t magic, len, key[2];
	uint64_t n_slots, probes, labels, n_ranges4, n_ranges6, n_entries;
};

struct nets {
	struct list_range *v; /* prefix: of the network, + 1 */
	size_t n, cap;
};

struct list_builder {
	uint64_t key[2];
	uint64_t *names;
	size_t n_names, cap_names, n_slots;
	unsigned labels;
	struct nets nets[2]; /* IPv4, IPv6 */
	struct nets ranges[2];
};

static inline uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 of one label; the parent's digest is its first word. */
static uint64_t digest_label(const uint64_t key[2], uint64_t parent, const uint8_t *label, size_t len)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575U, key[1] ^ 0x646f72616e646f6dU, key[0] ^ 0x6c7967656e657261U,
		key[1] ^ 0x7465646279746573U };
	uint64_t word = parent;
	for (size_t at = 0;; at += 8) {
		v[3] ^= word;
		sip_round(v);
		v[0] ^= word;
		if (at >= len)
			break;
		if (len - at >= 8)
			memcpy(&word, label + at, 8);
		else
			word = tail_word(label + at, len - at);
	}
	/* The length is what tells "a" from "a\0". */
	v[3] ^= (uint64_t)len << 56;
	sip_round(v);
	v[0] ^= (uint64_t)len << 56;
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Digests of the name's last 1, 2 … labels, at most `cap`; how many. */
static unsigned digest_suffixes(const uint64_t key[2], const struct name *n, uint64_t *ret, unsigned cap)
{
	uint8_t at[NAME_LABELS_MAX];
	unsigned labels = 0, made = 0;
	for (unsigned i = 0; n->wire[i] != 0 && labels < NAME_LABELS_MAX; i += 1U + n->wire[i])
		at[labels++] = (uint8_t)i;
	uint64_t h = 0;
	for (; made < labels && made < cap; made++) {
		const uint8_t *label = n->wire + at[labels - 1 - made];
		h = digest_label(key, h, label + 1, label[0]);
		ret[made] = h;
	}
	return made;
}

struct list_builder *list_builder_new(const uint64_t key[2])
{
	struct list_builder *b = calloc(1, sizeof(*b));
	if (b != NULL)
		memcpy(b->key, key, sizeof(b->key));
	return b;
}

void list_builder_free(struct list_builder *b)
{
	if (b == NULL)
		return;
	free(b->names);
	for (unsigned i = 0; i < 2; i++) {
		free(b->nets[i].v);
		free(b->ranges[i].v);
	}
	free(b);
}

static int add_name(struct list_builder *b, const struct name *n, unsigned says)
{
	uint64_t h[NAME_LABELS_MAX];
	if (b->n_names == b->cap_names) {
		size_t cap = b->cap_names == 0 ? 1024 : b->cap_names * 2;
		uint64_t *v = reallocarray(b->names, cap, sizeof(*v));
		if (v == NULL)
			return -ENOMEM;
		b->names = v;
		b->cap_names = cap;
	}
	unsigned labels = digest_suffixes(b->key, n, h, NAME_LABELS_MAX);
	if (labels == 0)
		return -EINVAL;
	b->names[b->n_names++] = (h[labels - 1] & ~(uint64_t)SAYS) | says;
	if (labels > b->labels)
		b->labels = labels;
	return 0;
}

static int add_range(struct nets *t, uint64_t hi, uint64_t lo, uint64_t prefix)
{
	if (t->n == t->cap) {
		size_t cap = t->cap == 0 ? 64 : t->cap * 2;
		struct list_range *v = reallocarray(t->v, cap, sizeof(*v));
		if (v == NULL)
			return -ENOMEM;
		t->v = v;
		t->cap = cap;
	}
	t->v[t->n++] = (struct list_range){ .hi = hi, .lo = lo, .prefix = prefix };
	return 0;
}

static void range_of(const struct addr *a, uint64_t *hi, uint64_t *lo)
{
	uint64_t word[2] = { 0, 0 };
	for (unsigned i = 0; i < a->len; i++)
		word[a->len == 4 || i >= 8] = word[a->len == 4 || i >= 8] << 8 | a->b[i];
	*hi = word[0];
	*lo = word[1];
}

static bool no_host_bits(const struct addr *a, unsigned prefix)
{
	for (unsigned bit = prefix; bit < a->len * 8U; bit++) {
		if ((a->b[bit / 8] & 0x80 >> bit % 8) != 0)
			return false;
	}
	return true;
}

/* A single wrapped address means the IPv4 address inside, as a packet's will. */
static int add_net(struct list_builder *b, const struct policy_net *net)
{
	struct addr a = net->addr;
	unsigned prefix = net->prefix;
	uint64_t hi, lo;
	if (a.len == 16 && prefix == 128) {
		a = floor_unwrap(&net->addr);
		prefix = a.len * 8U;
	}
	if ((a.len != 4 && a.len != 16) || prefix > a.len * 8U || !no_host_bits(&a, prefix))
		return -EINVAL;
	range_of(&a, &hi, &lo);
	return add_range(&b->nets[a.len == 16], hi, lo, prefix + 1U);
}

int list_builder_add(struct list_builder *b, const struct policy_peer *peer)
{
	if (b->n_names + b->nets[0].n + b->nets[1].n == LIST_ENTRIES_MAX)
		return -E2BIG;
	switch (peer->kind) {
	case POLICY_PEER_NAME:
		return add_name(b, &peer->name, SAYS_EXACT);
	case POLICY_PEER_BELOW:
		return add_name(b, &peer->name, SAYS_BELOW);
	case POLICY_PEER_WITHIN:
		return add_name(b, &peer->name, SAYS);
	case POLICY_PEER_NET:
		return add_net(b, &peer->net);
	case POLICY_PEER_ANY:
	case POLICY_PEER_ZONE:
	case POLICY_PEER_SET:
	case POLICY_PEER_LIST:
	case POLICY_PEER_APP:
		break;
	}
	return -EINVAL;
}

static int range_order(const struct list_range *a, uint64_t hi, uint64_t lo)
{
	if (a->hi != hi)
		return a->hi < hi ? -1 : 1;
	return (a->lo > lo) - (a->lo < lo);
}

/* By first address; of two that begin together the wider first. */
static int net_order(const void *a, const void *b)
{
	const struct list_range *x = a, *y = b;
	int order = range_order(x, y->hi, y->lo);
	return order != 0 ? order : (x->prefix > y->prefix) - (x->prefix < y->prefix);
}

/* The address after the network's last; false when there is none. */
static bool net_after(const struct list_range *net, unsigned bits, uint64_t *hi, uint64_t *lo)
{
	unsigned host = bits + 1U - (unsigned)net->prefix;
	*hi = net->hi;
	*lo = net->lo;
	if (host >= 64)
		*hi += host == 128 ? 0 : UINT64_C(1) << (host - 64);
	else
		*lo += UINT64_C(1) << host;
	if (host < 64 && *lo == 0)
		*hi += 1;
	if (bits == 32)
		return *lo >> 32 == 0;
	return host != 128 && (*hi | *lo) != 0;
}

/* What begins at hi:lo is of that prefix; the later word on one address counts. */
static int cut(struct nets *out, uint64_t hi, uint64_t lo, uint64_t prefix)
{
	if (out->n != 0 && range_order(&out->v[out->n - 1], hi, lo) == 0)
		out->v[out->n - 1].prefix = prefix;
	else
		return add_range(out, hi, lo, prefix);
	return 0;
}

/* Ends the open networks that do not reach hi:lo (all of them when `all`). */
static int close_nets(struct nets *out, const struct list_range *open[], unsigned *depth, unsigned bits, bool all,
	uint64_t hi, uint64_t lo)
{
	int err = 0;
	while (err == 0 && *depth != 0) {
		uint64_t next_hi, next_lo;
		bool ends = net_after(open[*depth - 1], bits, &next_hi, &next_lo);
		struct list_range next = { .hi = next_hi, .lo = next_lo };
		if (!all && (!ends || range_order(&next, hi, lo) > 0))
			break;
		--*depth;
		if (ends)
			err = cut(out, next_hi, next_lo, *depth == 0 ? 0 : open[*depth - 1]->prefix);
	}
	return err;
}

static int cut_nets(struct nets *in, struct nets *out, unsigned bits)
{
	const struct list_range *open[NEST_MAX];
	unsigned depth = 0;
	int err = 0;
	out->n = 0;
	if (in->n != 0)
		qsort(in->v, in->n, sizeof(*in->v), net_order);
	for (size_t i = 0; i < in->n && err == 0; i++) {
		const struct list_range *net = &in->v[i];
		if (i != 0 && net_order(net - 1, net) == 0)
			continue;
		err = close_nets(out, open, &depth, bits, false, net->hi, net->lo);
		if (err == 0)
			err = cut(out, net->hi, net->lo, net->prefix);
		open[depth++] = net; /* those open nest: each has a prefix of its own */
	}
	return err != 0 ? err : close_nets(out, open, &depth, bits, true, 0, 0);
}

static size_t digest_len(size_t n_slots, size_t n_ranges)
{
	return sizeof(struct digest_head) + n_slots * sizeof(uint64_t) + n_ranges * sizeof(struct list_range);
}

int list_builder_finish(struct list_builder *b, size_t *ret_len)
{
	int err = cut_nets(&b->nets[0], &b->ranges[0], 32);
	if (err == 0)
		err = cut_nets(&b->nets[1], &b->ranges[1], 128);
	if (err != 0)
		return err;
	b->n_slots = b->n_names == 0 ? 0 : 4;
	while (b->n_slots < b->n_names * 2)
		b->n_slots *= 2;
	*ret_len = digest_len(b->n_slots, b->ranges[0].n + b->ranges[1].n);
	return 0;
}

static size_t slot_of(uint64_t digest, size_t n_slots)
{
	return (size_t)(digest >> 8) & (n_slots - 1);
}

/* False: too many meet in one place. */
static bool put_slot(uint64_t *slots, size_t n_slots, uint64_t entry, unsigned *probes)
{
	size_t at = slot_of(entry, n_slots);
	for (unsigned i = 1; i <= PROBES_MAX; i++, at = (at + 1) & (n_slots - 1)) {
		if (slots[at] != 0 && ((slots[at] ^ entry) & ~(uint64_t)SAYS) != 0)
			continue;
		slots[at] |= entry;
		*probes = i > *probes ? i : *probes;
		return true;
	}
	return false;
}

static void digest_sum(const void *bytes, size_t len, uint8_t ret[SHA256_DIGEST_LENGTH])
{
	SHA256((const uint8_t *)bytes + SHA256_DIGEST_LENGTH, len - SHA256_DIGEST_LENGTH, ret);
}

int list_builder_write(const struct list_builder *b, void *buf, size_t len)
{
	const struct nets *r = b->ranges;
	unsigned probes = 0;
	if ((uintptr_t)buf % 8 != 0 || len != digest_len(b->n_slots, r[0].n + r[1].n))
		return -EINVAL;
	memset(buf, 0, len);
	struct digest_head *h = buf;
	uint64_t *slots = (uint64_t *)(h + 1);
	struct list_range *ranges = (struct list_range *)(slots + b->n_slots);
	for (size_t i = 0; i < b->n_names; i++) {
		if (!put_slot(slots, b->n_slots, b->names[i], &probes))
			return -EAGAIN;
	}
	for (unsigned f = 0; f < 2; f++) {
		if (r[f].n != 0)
			memcpy(ranges + (f == 0 ? 0 : r[0].n), r[f].v, r[f].n * sizeof(*ranges));
	}
	*h = (struct digest_head){ .magic = DIGEST_MAGIC,
		.len = len,
		.key = { b->key[0], b->key[1] },
		.n_slots = b->n_slots,
		.probes = probes,
		.labels = b->labels,
		.n_ranges4 = r[0].n,
		.n_ranges6 = r[1].n,
		.n_entries = b->n_names + b->nets[0].n + b->nets[1].n };
	digest_sum(buf, len, h->sum);
	return 0;
}

int list_digest_open(const void *bytes, size_t len, struct list_digest *ret)
{
	const size_t most = 4 * (size_t)LIST_ENTRIES_MAX;
	const struct digest_head *h = bytes;
	if ((uintptr_t)bytes % 8 != 0 || len < sizeof(*h) || h->magic != DIGEST_MAGIC || h->len != len)
		return -EBADMSG;
	if (h->n_slots > most || (h->n_slots & (h->n_slots - 1)) != 0 || h->n_ranges4 > most || h->n_ranges6 > most)
		return -EBADMSG;
	if (h->probes > PROBES_MAX || h->labels > NAME_LABELS_MAX ||
		digest_len(h->n_slots, h->n_ranges4 + h->n_ranges6) != len)
		return -EBADMSG;
	struct list_digest l = { .bytes = bytes,
		.slots = (const uint64_t *)(h + 1),
		.key = { h->key[0], h->key[1] },
		.len = len,
		.n_slots = h->n_slots,
		.n_ranges4 = h->n_ranges4,
		.n_ranges6 = h->n_ranges6,
		.n_entries = h->n_entries,
		.probes = (unsigned)h->probes,
		.labels = h->n_slots == 0 ? 0 : (unsigned)h->labels };
	l.ranges4 = (const struct list_range *)(l.slots + l.n_slots);
	l.ranges6 = l.ranges4 + l.n_ranges4;
	*ret = l;
	return 0;
}

bool list_digest_whole(const struct list_digest *l)
{
	const struct digest_head *h = l->bytes;
	uint8_t sum[SHA256_DIGEST_LENGTH];
	digest_sum(l->bytes, l->len, sum);
	return memcmp(sum, h->sum, sizeof(sum)) == 0;
}

size_t list_digest_entries(const struct list_digest *l)
{
	return l->n_entries;
}

/* What the list says of the name with this digest. */
static unsigned slot_says(const struct list_digest *l, uint64_t digest)
{
	size_t at = slot_of(digest, l->n_slots);
	for (unsigned i = 0; i < l->probes; i++, at = (at + 1) & (l->n_slots - 1)) {
		uint64_t slot = l->slots[at];
		if (slot == 0)
			return 0;
		if (((slot ^ digest) & ~(uint64_t)SAYS) == 0)
			return (unsigned)slot & SAYS;
	}
	return 0;
}

void list_digest_ask(const struct list_digest *l, const struct name *n, struct list_ask *ret)
{
	ret->labels = name_labels(n);
	ret->made = digest_suffixes(l->key, n, ret->digest, l->labels);
	for (unsigned i = 0; i < ret->made; i++)
		__builtin_prefetch(&l->slots[slot_of(ret->digest[i], l->n_slots)]);
}

bool list_digest_tell(const struct list_digest *l, const struct list_ask *a, struct list_hit *ret)
{
	for (unsigned i = a->made; i > 0; i--) {
		unsigned says = slot_says(l, a->digest[i - 1]);
		bool exact = i == a->labels;
		if ((says & (exact ? SAYS_EXACT : SAYS_BELOW)) == 0)
			continue;
		*ret = (struct list_hit){ .exact = exact, .labels = i };
		return true;
	}
	return false;
}

bool list_digest_name(const struct list_digest *l, const struct name *n, struct list_hit *ret)
{
	struct list_ask a;
	list_digest_ask(l, n, &a);
	return list_digest_tell(l, &a, ret);
}

int list_digest_addr(const struct list_digest *l, const struct addr *a)
{
	const struct list_range *v = a->len == 4 ? l->ranges4 : l->ranges6;
	size_t lo = 0, hi = a->len == 4 ? l->n_ranges4 : a->len == 16 ? l->n_ranges6 : 0;
	uint64_t word_hi, word_lo;
	range_of(a, &word_hi, &word_lo);
	/* The last range that begins at the address or before it is v[lo - 1]. */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (range_order(&v[mid], word_hi, word_lo) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0 || v[lo - 1].prefix == 0 || v[lo - 1].prefix > a->len * 8U + 1U)
		return -ENOENT;
	return (int)v[lo - 1].prefix - 1;
}
