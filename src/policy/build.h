/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_BUILD_H
#define POLICY_BUILD_H

#include "policy/compiled.h"

/* A policy while it is compiled: the parts of the image to be, still growing. Inside this folder only. */

struct keytab {
	uint8_t *pool;
	size_t pool_len, pool_cap;
	struct keyrow *rows;
	uint32_t n_rows, cap_rows;
	struct keyslot *slots;
	uint32_t n_slots;
};

struct keyview keytab_view(const struct keytab *t);
uint32_t keytab_find(const struct keytab *t, uint8_t kind, const void *key, size_t len);
/* The row, new or not; KEYTAB_NONE: no memory. */
uint32_t keytab_add(struct keytab *t, uint8_t kind, const void *key, size_t len);
void keytab_fini(struct keytab *t);

struct link {
	uint32_t pattern, hit; /* object << 2 | way */
};

enum { DEF_GROUP, DEF_SET, DEF_LIST };
enum { OBJECT_MAX = 1 << 29 };

struct build {
	const struct policy_input *in;
	struct policy_error *err;
	int rc;
	struct keytab defs;  /* id → definition */
	uint32_t *def_index; /* of row: index in its array, kind in the low two bits */
	struct keytab objects, apps, groups, patterns;
	uint32_t *first; /* of a row of patterns: its first hit; made with the hits */
	uint8_t *who;	 /* of object */
	size_t cap_who;
	struct link *links;
	size_t n_links, cap_links, n_members;
	struct clist lists[POLICY_LISTS_MAX]; /* first: the row of patterns, until the hits are made */
	size_t n_lists;
	uint32_t *app_groups, *member;
	size_t n_grouped, n_member;
	uint64_t prefixes4, prefixes6[3];
	/* By number of the input: */
	struct crule *rules;
	struct policy_fact *facts;
	uint64_t *keys; /* bucket */
	uint32_t *by_id;
	struct cwindow *windows;
	size_t n_windows;
	struct cport *ports;
	size_t n_ports, cap_ports;
	char *text;
	size_t text_len, cap_text;
};

/* The first failure counts; false, so that it can be returned. `rule`, `other`: SIZE_MAX: none. */
bool build_fail(struct build *b, int rc, size_t rule, size_t other, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
bool build_no_memory(struct build *b);
/* Keeps a text; *ret is its place in the image's. */
bool build_text(struct build *b, const char *s, size_t len, uint32_t *ret);

/* define.c */
bool build_definitions(struct build *b);
bool build_groups(struct build *b);
bool build_find(struct build *b, const char *id, unsigned kind, size_t rule, uint32_t *ret);

/* peers.c: the object of a rule's peer, made and linked when it is new. */
bool build_object(struct build *b, const struct policy_peer *peer, size_t rule, uint32_t *ret);
/* A circle of sets no rule uses is an error too. */
bool build_sets_sane(struct build *b);

/* pack.c: all of it as one image, malloc'd. */
bool build_pack(struct build *b, void **ret, size_t *ret_len);

#endif
