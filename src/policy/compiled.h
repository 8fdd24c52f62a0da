/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_COMPILED_H
#define POLICY_COMPILED_H

#include "policy/policy.h"

/*
 * Theory of operation. Inside this folder only.
 *
 * Every peer of a rule is an *object*: a name pattern, a network, a zone, any, an app, a set or a list. A *pattern* is
 * what a connection can hit directly: a key of bytes (kind and name, network, zone …). The table `patterns` leads from
 * a key to the objects it belongs to: to itself, and to each set and list it is a member of. The table `buckets` leads
 * from (direction, subject, object) to the rules. A decision looks up one key per label of the name, per prefix length
 * in use and per zone, and for each object found one bucket per subject (the app, its groups, any); the best of the
 * rules met decides. The cost depends on what matches, not on how many rules there are.
 */

/* Bytes → a number, in the order of insertion. Open addressing; rows never go. */
struct keytab {
	uint8_t *pool;
	size_t pool_len, pool_cap;
	struct keyrow {
		uint32_t off, hash;
		uint32_t first, n; /* of patterns: range of `hits` */
		uint16_t len;
	} * rows;
	uint32_t n_rows, cap_rows;
	uint32_t *slots;  /* row + 1; 0 free */
	uint32_t n_slots; /* a power of two, or 0 */
};

enum { KEYTAB_NONE = UINT32_MAX };
uint32_t keytab_hash(const void *key, size_t len);
uint32_t keytab_find(const struct keytab *t, const void *key, size_t len, uint32_t hash);
/* The row, new or not; KEYTAB_NONE: no memory. */
uint32_t keytab_add(struct keytab *t, const void *key, size_t len);
void keytab_fini(struct keytab *t);
size_t keytab_memory(const struct keytab *t);

/* The first byte of a pattern's key. BELOW and WITHIN share the key of a name: `way` of the hit tells them apart. */
enum pattern_kind { PATTERN_ANY, PATTERN_ZONE, PATTERN_APP, PATTERN_NAME, PATTERN_NET4, PATTERN_NET6 };
enum hit_way { WAY_EXACT, WAY_BELOW, WAY_WITHIN };
enum { PATTERN_KEY_MAX = 2 + NAME_WIRE_MAX };

struct crule {
	uint32_t ports; /* first of n_ports in policy.ports */
	uint16_t n_ports;
	uint8_t verb, final_rank, subject_rank;
	bool limited, counted, windowed, log, quiet;
};

struct bucket {
	uint64_t key;	   /* direction, subject, object; ~0 free */
	uint32_t first, n; /* range of `order` */
};

struct policy {
	size_t n_rules;
	struct crule *rules;
	struct policy_meta *metas;  /* file points into `pool` */
	struct policy_lives *lives; /* only of windowed rules: index by rule */
	uint32_t *text;		    /* offset into pool */
	char *pool;
	size_t pool_len;
	struct policy_port *ports;
	size_t n_ports;
	struct keytab apps;   /* application → id */
	struct keytab groups; /* group → id */
	uint32_t n_grouped;   /* apps below this id may be in groups */
	uint32_t *app_groups; /* groups of app id: member[app_groups[id]..app_groups[id+1]) */
	uint32_t *member;
	struct keytab patterns;
	uint32_t *hits; /* object << 2 | way */
	size_t n_hits;
	struct bucket *buckets;
	size_t n_buckets;		  /* a power of two */
	uint32_t *order;		  /* rules, grouped by bucket */
	uint64_t prefixes4, prefixes6[3]; /* bit: networks of this prefix length exist */
	struct inbound {
		uint64_t subject;
		uint32_t rule;
	} * inbound; /* allow and ask rules with from */
	size_t n_inbound;
	struct policy_net *nets; /* of the environment, one block */
	struct policy_env env;
	struct policy_tz *tz;
};

/* Subject keys: 0 any, else id + 1 with the kind. */
static inline uint32_t subject_key(enum policy_subject kind, uint32_t id)
{
	return kind == POLICY_SUBJECT_ANY ? 0 : (id + 1) << 1 | (kind == POLICY_SUBJECT_GROUP);
}

static inline uint64_t bucket_key(enum policy_dir dir, uint32_t subject, uint32_t object)
{
	return (uint64_t)(dir == POLICY_IN) << 63 | (uint64_t)subject << 32 | object;
}

static inline uint64_t mix64(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9U;
	h = (h ^ h >> 27) * 0x94d049bb133111ebU;
	return h ^ h >> 31;
}

/* Key of a pattern into buf (PATTERN_KEY_MAX); its length. */
size_t pattern_key(const struct policy_peer *peer, uint32_t app_id, uint8_t *buf);
size_t pattern_key_name(const uint8_t *wire, size_t len, uint8_t *buf);
size_t pattern_key_net(const struct addr *a, unsigned prefix, uint8_t *buf);

/* floor.c */
/* IPv4 inside NAT64, 6to4, Teredo and v4-mapped comes out; else the address itself. */
struct addr floor_unwrap(const struct addr *a);
enum policy_class floor_class(const struct policy_env *env, const struct addr *a);
/* The network lies inside the class. */
bool floor_inside(const struct policy_env *env, const struct addr *net, unsigned prefix, enum policy_class c);
bool floor_port(uint8_t proto, uint16_t port);
/* Classes that only rules naming them open. */
bool floor_restricted(enum policy_class c);
/* home.arpa, internal and local may resolve to the local network. */
bool floor_local_name(const struct name *n);

#endif
