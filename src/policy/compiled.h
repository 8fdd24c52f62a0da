/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_COMPILED_H
#define POLICY_COMPILED_H

#include "policy/list_digest.h"
#include "policy/policy.h"

#include <string.h>

/*
 * Theory of operation. Inside this folder only.
 *
 * Every peer of a rule is an *object*: a name pattern, a network, a zone, any, an app, a set or a list. A *pattern* is
 * what a connection can hit directly: a key of bytes (kind and name, network, zone …). The table `patterns` leads from
 * a key to the objects it belongs to: to itself, and to each set and list it is a member of. The table `buckets` leads
 * from (direction, subject, object) to the rules. A list is one pattern, which no key leads to: its members are a
 * digest of its own (list_digest.h), asked beside the table. A decision looks up one key per label of the name, per
 * prefix length in use and per zone, and for each object found one bucket per subject (the app, its groups, any); the
 * best of the rules met decides. The cost depends on what matches, not on how many rules there are; what it waits for
 * is memory, so each kind of row is asked for well before it is read (eval.c).
 *
 * All this is one *image*: a head and parts that know each other by position, never by address. Whoever compiles it
 * writes it down whole; whoever gets it checks every number in it once (image.c) and then uses it where it lies. The
 * rows are natural C structs of fixed-width members, because both sides are the same program on the same computer.
 */

/* A row of a table of keys: kind and bytes → the row's number. */
struct keyrow {
	uint32_t off;
	uint16_t len;
	uint8_t kind, zero;
};
struct keyslot {
	uint32_t hash, row; /* row + 1; 0 free */
};
struct keyview {
	const struct keyslot *slots;
	const struct keyrow *rows;
	const uint8_t *pool;
	uint32_t n_slots, n_rows; /* n_slots: a power of two with a free one among them, or 0 */
	uint32_t pool_len;
};

enum { KEYTAB_NONE = UINT32_MAX };
uint32_t keytab_hash(uint8_t kind, const void *key, size_t len);
uint32_t keyview_find(const struct keyview *t, uint8_t kind, const void *key, size_t len, uint32_t hash);

/* The kind of a pattern's key. BELOW and WITHIN share the key of a name: `way` of the hit tells them apart. */
enum pattern_kind { PATTERN_ANY, PATTERN_ZONE, PATTERN_APP, PATTERN_NAME, PATTERN_NET4, PATTERN_NET6, PATTERN_LIST };
enum hit_way { WAY_EXACT, WAY_BELOW, WAY_WITHIN };
enum { PATTERN_KEY_MAX = 2 + NAME_WIRE_MAX };

/* A slot of the table of patterns. It has all that a search reads next: a row of its own would be one wait more. */
struct pattern {
	uint32_t hash;
	uint32_t off;	/* of the key in the pool */
	uint32_t first; /* of `hits`, up to one that is the last; NO_HITS: none */
	uint16_t len;
	uint8_t kind, used; /* used 0: free */
};
enum { NO_HITS = UINT32_MAX };
struct patterns {
	const struct pattern *slots;
	const uint8_t *pool;
	uint32_t n_slots; /* a power of two with a free one among them, or 0 */
	uint32_t pool_len;
};

/* An object a pattern leads to. `who`: bit 2·subject + direction: it has rules of such a subject and direction. */
struct object_hit {
	uint32_t object;
	uint8_t way, who;
	uint8_t last; /* of its pattern */
	uint8_t n;    /* its rules, when they are of one subject and direction: no bucket is looked for; else 0 */
	uint32_t subject, first;
};

enum rule_flag { RULE_LIMITED = 1, RULE_COUNTED = 2, RULE_LOG = 4, RULE_QUIET = 8, RULE_OVER = 16 };
enum { NO_WINDOW = UINT32_MAX };

struct cport {
	uint16_t lo, hi;
	uint8_t proto_kind, proto, ranged, zero;
};

/* What a decision reads of a rule; they stand in the order of their buckets. */
struct crule {
	int64_t deadline_ms;
	uint32_t input; /* its number among the input's rules */
	uint32_t owner;
	uint32_t ports; /* first of n_ports */
	uint32_t window;
	struct cport port; /* the first of them, where the rule is: mostly it is the only one */
	uint16_t n_ports;
	uint8_t verb, final_rank, subject_rank, origin, flags, zero;
};

struct cwindow {
	uint16_t from_minute, to_minute;
	uint8_t between, on;
	uint16_t zero;
};

struct bucket {
	uint64_t key;	   /* direction, subject, object; ~0 free */
	uint32_t first, n; /* range of `rules` */
};

/* Allow and ask rules with `from`, by subject. */
struct inbound {
	uint64_t subject;
	uint32_t row, zero;
};

/* A list that some rule uses. */
struct clist {
	uint32_t first; /* of `hits`, as a pattern's */
	uint32_t id;	/* in the text */
};

/* The parts of an image in their order. NETS: host, peers, onlink, synthetic. */
enum part {
	PART_RULES,
	PART_FACTS, /* by number of the input */
	PART_BY_ID, /* numbers of the input */
	PART_WINDOWS,
	PART_PORTS,
	PART_TEXT,
	PART_APP_SLOTS,
	PART_APP_ROWS,
	PART_APP_POOL,
	PART_SLOTS,
	PART_POOL,
	PART_APP_GROUPS, /* groups of app a: member[app_groups[a]..app_groups[a+1]) */
	PART_MEMBER,
	PART_HITS,
	PART_BUCKETS,
	PART_INBOUND,
	PART_LISTS,
	PART_NETS,
	PART_TZ,
	PARTS
};

struct image_head {
	uint64_t magic, len;
	uint64_t prefixes4, prefixes6[3]; /* bit: networks of this prefix length exist */
	uint32_t n_nets[4];
	struct {
		uint64_t off, n;
	} part[PARTS];
};
enum { IMAGE_ALIGN = 8 };
#define IMAGE_MAGIC UINT64_C(0x534b504f4c303104)

/* An image as it lies, with the places of its parts. Nothing in it is written. */
struct policy {
	void *own; /* freed with it; NULL: the bytes are somebody else's */
	const struct image_head *head;
	size_t n_rules, n_ports, n_windows, text_len, n_member, n_hits, n_buckets, n_inbound;
	const struct crule *rules;
	const struct policy_fact *facts;
	const uint32_t *by_id;
	const struct cwindow *windows;
	const struct cport *ports;
	const char *text;
	struct keyview apps;
	struct patterns patterns;
	uint32_t n_grouped; /* apps below this id may be in groups */
	const uint32_t *app_groups, *member;
	const struct object_hit *hits;
	const struct bucket *buckets;
	const struct inbound *inbound;
	const struct clist *lists;
	size_t n_lists;
	/* Not of the image: what was attached, by number of the list; bytes NULL: nothing. */
	struct list_digest digest[POLICY_LISTS_MAX];
	struct policy_env env;
	/* policy_join(): rows and numbers of `more` follow on those of this one; bit: a number of this one that does
	 * not count. Both owned, NULL: none. */
	struct policy *more;
	uint64_t *gone;
};

static inline bool policy_gone(const struct policy *p, uint32_t input)
{
	return p->gone != NULL && (p->gone[input / 64] >> input % 64 & 1) != 0;
}

/* Whose row, or number, it is: *n becomes its own. */
static inline const struct policy *policy_part(const struct policy *p, size_t *n)
{
	if (p->more == NULL || *n < p->n_rules)
		return p;
	*n -= p->n_rules;
	return p->more;
}

static inline const struct crule *policy_row(const struct policy *p, uint32_t row)
{
	size_t own = row;
	return &policy_part(p, &own)->rules[own];
}

/* The number of the rule in this row. */
static inline size_t policy_number(const struct policy *p, uint32_t row)
{
	return policy_row(p, row)->input + (p->more == NULL || row < p->n_rules ? 0 : p->n_rules);
}

extern const size_t image_part_size[PARTS];

/* Subject keys: 0 any, else id + 1 with the kind. */
static inline uint32_t subject_key(enum policy_subject kind, uint32_t id)
{
	return kind == POLICY_SUBJECT_ANY ? 0 : (id + 1) << 1 | (kind == POLICY_SUBJECT_GROUP);
}

static inline uint64_t bucket_key(enum policy_dir dir, uint32_t subject, uint32_t object)
{
	return (uint64_t)(dir == POLICY_IN) << 63 | (uint64_t)subject << 32 | object;
}

static inline uint8_t who_bit(enum policy_subject kind, enum policy_dir dir)
{
	return (uint8_t)(1U << (2 * kind + (dir == POLICY_IN)));
}

/* The last bytes of a key, fewer than eight, as one word. */
static inline uint64_t tail_word(const uint8_t *p, size_t n)
{
	uint32_t lo, hi;
	if (n >= 4) {
		memcpy(&lo, p, 4);
		memcpy(&hi, p + n - 4, 4);
		return lo | (uint64_t)hi << 8 * (n - 4);
	}
	return n == 0 ? 0 : p[0] | (uint64_t)p[n / 2] << 8 * (n / 2) | (uint64_t)p[n - 1] << 8 * (n - 1);
}

static inline uint64_t mix64(uint64_t h)
{
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9U;
	h = (h ^ h >> 27) * 0x94d049bb133111ebU;
	return h ^ h >> 31;
}

/* Bytes of a pattern's key into buf (PATTERN_KEY_MAX) without the kind; their length. */
size_t pattern_key(const struct policy_peer *peer, uint32_t app_id, uint8_t *buf, enum pattern_kind *ret_kind);
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
