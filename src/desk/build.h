/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_BUILD_H
#define DESK_BUILD_H

#include "desk/desk.h"

/* A policy made from rules and definitions, beside the one in force until it is installed. */
struct definitions {
	struct policy_group *groups;
	struct policy_peerset *sets;
	struct policy_list *lists;
	size_t n_groups, n_sets, n_lists;
};

struct build {
	struct definitions def;	      /* shallow */
	struct policy_entry *entries; /* shallow copies of what stands in by_index */
	struct rule **by_index;
	struct policy_input in;
	struct policy *policy;
};

/* 0, or negative errno and a sentence in ret_error (512 bytes, may be NULL). */
int build_policy(const struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs,
	unsigned n_docs, struct build *ret, char *ret_error) __attribute__((warn_unused_result));
void build_free(struct build *b);
/* Becomes the desk's policy and goes to the gate as a new generation. */
void build_install(struct desk *d, struct build *b);

#endif
