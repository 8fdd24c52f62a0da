/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/compiled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Ranges of the built-in floor; the tests hold them against a second list. */
static const struct policy_net martians[] = {
	{ { 4, { 0 } }, 8 },		/* this network */
	{ { 4, { 127 } }, 8 },		/* loopback */
	{ { 4, { 198, 18 } }, 15 },	/* synthetic names (and benchmarks) */
	{ { 4, { 240 } }, 4 },		/* reserved, broadcast */
	{ { 16, { 0 } }, 8 },		/* unspecified, loopback, v4-compatible, never assigned; NAT64 and v4-mapped are
					   unwrapped before */
	{ { 16, { 0x01, 0x00 } }, 64 }, /* discard only */
};
static const struct policy_net metadata[] = {
	{ { 4, { 169, 254, 169, 254 } }, 32 },
	{ { 16, { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 } }, 128 },
};
static const struct policy_net links[] = {
	{ { 4, { 169, 254 } }, 16 },
	{ { 4, { 224 } }, 4 },
	{ { 16, { 0xfe, 0x80 } }, 10 },
	{ { 16, { 0xff } }, 8 },
};
static const struct policy_net lans[] = {
	{ { 4, { 10 } }, 8 },
	{ { 4, { 172, 16 } }, 12 },
	{ { 4, { 192, 168 } }, 16 },
	{ { 4, { 100, 64 } }, 10 },
	{ { 16, { 0xfc } }, 7 },
};

static bool in_nets(const struct addr *a, unsigned prefix, const struct policy_net *nets, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (nets[i].addr.len == a->len && prefix >= nets[i].prefix && addr_in(a, &nets[i].addr, nets[i].prefix))
			return true;
	}
	return false;
}

#define IN(a, nets) in_nets((a), (a)->len * 8U, (nets), sizeof(nets) / sizeof((nets)[0]))

static struct addr v4_at(const uint8_t *b, uint8_t flip)
{
	struct addr a = { .len = 4 };
	for (unsigned i = 0; i < 4; i++)
		a.b[i] = b[i] ^ flip;
	return a;
}

struct addr floor_unwrap(const struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t six_to_four[2] = { 0x20, 0x02 }, teredo[4] = { 0x20, 0x01 };
	if (a->len != 16)
		return *a;
	if (memcmp(a->b, mapped, 12) == 0 || memcmp(a->b, nat64, 12) == 0)
		return v4_at(a->b + 12, 0);
	if (memcmp(a->b, six_to_four, 2) == 0)
		return v4_at(a->b + 2, 0);
	/* RFC 4380 §4: the client's address stands last, inverted. */
	if (memcmp(a->b, teredo, 4) == 0)
		return v4_at(a->b + 12, 0xff);
	return *a;
}

static bool directed_broadcast(const struct policy_env *env, const struct addr *a)
{
	for (size_t i = 0; a->len == 4 && i < env->n_onlink; i++) {
		const struct policy_net *n = &env->onlink[i];
		uint32_t host = n->prefix >= 31 ? 0 : UINT32_MAX >> n->prefix;
		if (host != 0 && addr_in(a, &n->addr, n->prefix) && (addr_to_u32(a) & host) == host)
			return true;
	}
	return false;
}

enum policy_class floor_class(const struct policy_env *env, const struct addr *raw)
{
	struct addr a = floor_unwrap(raw);
	unsigned raw_bits = raw->len * 8U, bits = a.len * 8U;
	if (a.len == 0 || IN(&a, martians) || in_nets(raw, raw_bits, env->synthetic, env->n_synthetic) ||
		directed_broadcast(env, &a))
		return POLICY_CLASS_MARTIAN;
	if (in_nets(&a, bits, env->host, env->n_host) || in_nets(raw, raw_bits, env->host, env->n_host))
		return POLICY_CLASS_HOST;
	if (in_nets(&a, bits, env->peers, env->n_peers) || in_nets(raw, raw_bits, env->peers, env->n_peers))
		return POLICY_CLASS_PEERS;
	if (IN(&a, metadata))
		return POLICY_CLASS_METADATA;
	if (IN(&a, links))
		return POLICY_CLASS_LINK;
	if (IN(&a, lans) || in_nets(&a, bits, env->onlink, env->n_onlink) ||
		in_nets(raw, raw_bits, env->onlink, env->n_onlink))
		return POLICY_CLASS_LAN;
	return POLICY_CLASS_INTERNET;
}

bool floor_inside(const struct policy_env *env, const struct addr *net, unsigned prefix, enum policy_class c)
{
	switch (c) {
	case POLICY_CLASS_HOST:
		return in_nets(net, prefix, env->host, env->n_host);
	case POLICY_CLASS_PEERS:
		return in_nets(net, prefix, env->peers, env->n_peers);
	case POLICY_CLASS_METADATA:
		return in_nets(net, prefix, metadata, sizeof(metadata) / sizeof(metadata[0]));
	case POLICY_CLASS_LINK:
		return in_nets(net, prefix, links, sizeof(links) / sizeof(links[0]));
	case POLICY_CLASS_MARTIAN:
		return false;
	case POLICY_CLASS_LAN:
	case POLICY_CLASS_INTERNET:
		return true;
	}
	return false;
}

bool floor_restricted(enum policy_class c)
{
	return c == POLICY_CLASS_HOST || c == POLICY_CLASS_PEERS || c == POLICY_CLASS_METADATA ||
	       c == POLICY_CLASS_LINK;
}

bool floor_port(uint8_t proto, uint16_t port)
{
	bool has_ports = proto == POLICY_PROTO_TCP || proto == POLICY_PROTO_UDP || proto == POLICY_PROTO_SCTP;
	return has_ports && (port == 853 || port == 5353 || port == 5355 || port == 137);
}

bool floor_local_name(const struct name *n)
{
	static const char *const suffixes[] = { "home.arpa", "internal", "local" };
	for (unsigned i = 0; i < 3; i++) {
		struct name s;
		if (name_from_text(suffixes[i], strlen(suffixes[i]), &s) && name_within(n, &s, false))
			return true;
	}
	return false;
}

const char *policy_class_text(enum policy_class c)
{
	static const char *const text[] = { "martian", "host", "peers", "metadata", "link-local or multicast", "lan",
		"internet" };
	return text[c];
}

static bool inside(const struct policy_env *env, const struct policy_peer *p)
{
	if (p->kind == POLICY_PEER_LIST)
		return true;
	if (p->kind == POLICY_PEER_ZONE)
		return p->zone == POLICY_ZONE_HOST || p->zone == POLICY_ZONE_PEERS;
	if (p->kind != POLICY_PEER_NET)
		return false;
	struct addr a = p->net.addr;
	unsigned prefix = p->net.prefix;
	/* A single wrapped address means the IPv4 address inside. */
	if (prefix == a.len * 8U) {
		a = floor_unwrap(&a);
		prefix = a.len * 8U;
	}
	return floor_inside(env, &a, prefix, POLICY_CLASS_HOST) || floor_inside(env, &a, prefix, POLICY_CLASS_PEERS) ||
	       floor_inside(env, &p->net.addr, p->net.prefix, POLICY_CLASS_HOST) ||
	       floor_inside(env, &p->net.addr, p->net.prefix, POLICY_CLASS_PEERS);
}

static size_t set_index(const struct policy_input *in, const char *id)
{
	size_t i = 0;
	while (i < in->n_sets && strcmp(in->sets[i].id, id) != 0)
		i++;
	return i;
}

int policy_peer_reaches_inside(const struct policy_input *in, const struct policy_peer *peer)
{
	if (peer->kind != POLICY_PEER_SET)
		return inside(&in->env, peer);
	/* Each set is opened once: sets inside sets would else be looked at a number of times that doubles at each. */
	size_t *queue = calloc(in->n_sets + 1, sizeof(*queue)), n = 0;
	uint8_t *seen = calloc(in->n_sets + 1, 1);
	int found = queue == NULL || seen == NULL ? -ENOMEM : 0;
	size_t first = found == 0 ? set_index(in, peer->id) : in->n_sets;
	if (first < in->n_sets)
		queue[n++] = first;
	for (size_t at = 0; found == 0 && at < n; at++) {
		const struct policy_peerset *s = &in->sets[queue[at]];
		for (size_t i = 0; found == 0 && i < s->n_peers; i++) {
			size_t k = s->peers[i].kind == POLICY_PEER_SET ? set_index(in, s->peers[i].id) : in->n_sets;
			found = inside(&in->env, &s->peers[i]);
			if (k < in->n_sets && seen[k]++ == 0)
				queue[n++] = k;
		}
	}
	free(queue);
	free(seen);
	return found;
}

enum policy_class policy_classify(const struct policy *p, const struct addr *a)
{
	return floor_class(&p->env, a);
}
