/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_WALK_H
#define POLICY_WALK_H

#include "policy/compiled.h"

/* The rules a connection meets, and what is asked of each. Inside this folder only. Nothing here allocates. */

enum { PORT_ALL = 65536, NO_ROW = UINT32_MAX };

/* What a connection hits a rule by. */
struct hit {
	uint32_t rank;
	uint8_t kind;	    /* enum pattern_kind */
	uint8_t prefix;	    /* of networks */
	uint8_t least_verb; /* at a name of the chain only ask and stricter look, at an address before it was unwrapped
			       only deny and drop */
};

/* A key that was hashed and whose slot was asked for, and a bucket likewise. */
enum { PROBES = 64, PLACES = 64 };
struct probe {
	const uint8_t *key;
	uint32_t hash;
	const struct pattern *at; /* NULL: none has this hash */
	uint16_t labels;	  /* of a name: labels of this key */
	uint8_t len, depth;	  /* depth: labels of the asked name in front of this key */
	struct hit hit;
};
struct place {
	uint64_t key;
	uint32_t first, n; /* its rules; n 0: those of the key's bucket */
	struct hit hit;
};

struct walk {
	const struct policy *p;
	const struct policy *part; /* p, or what is joined to it, while its rules are met */
	const struct policy_request *q;
	const struct name *name; /* may be left out though the request has one */
	struct addr addr;	 /* unwrapped; len 0: none */
	enum policy_class class; /* INTERNET when there is no address */
	bool has_class;
	bool lifted; /* as if the class needed no rule of its own: to see what a name would have been allowed */
	bool all_ports;
	uint32_t app; /* of `part`; KEYTAB_NONE: no rule names it */
	void (*visit)(struct walk *w, uint32_t row, const struct hit *h);
	void *arg;
	int64_t change_ms;
	unsigned n_probes, n_places;
	struct probe probe[PROBES];
	struct place place[PLACES];
	uint8_t bytes[PROBES][17]; /* keys of networks */
	struct list_ask first;	   /* of the asked name to the first list */
};

void walk_init(struct walk *w, const struct policy *p, const struct policy_request *q);
/* Calls visit() for every rule whose direction, subject and peer cover the request; some more than once. */
void walk_all(struct walk *w);
/* The same for rules `to app:` the other app alone. */
void walk_peer_app(struct walk *w);

struct candidate {
	uint32_t row; /* NO_ROW: none */
	uint32_t rank[POLICY_RANKS];
};

/* The rule matches and counts. */
bool walk_match(struct walk *w, uint32_t row, const struct hit *h, struct candidate *ret);
/* The rule's life is running; otherwise, or anyhow, when that next changes goes into the walk. */
bool walk_running(struct walk *w, uint32_t row);
/* A person's rule speaks of his own apps, and between them. */
bool walk_owned(const struct walk *w, uint32_t row, const struct hit *h);
/* > 0: a wins. Equal only for one rule with itself: ids differ. */
int candidate_better(const struct policy *p, const struct candidate *a, const struct candidate *b);

#endif
