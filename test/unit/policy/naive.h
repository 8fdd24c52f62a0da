/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_POLICY_NAIVE_H
#define TEST_POLICY_NAIVE_H

#include "policy/policy.h"

/*
 * The second evaluator: the text of the design, sentence by sentence, over the plain input; every rule against every
 * question, no index. It calls nothing of src/policy but reads its structures.
 */
/* The members of lists, which are no part of the input. */
struct naive_list {
	const char *id;
	const struct policy_peer *peers;
	size_t n_peers;
};
extern struct naive_list naive_lists[2];

struct naive_verdict {
	enum policy_answer answer;
	size_t rule; /* POLICY_NO_RULE */
};

struct naive_verdict naive_decide(const struct policy_input *in, const struct policy_request *q);
enum policy_class naive_class(const struct policy_input *in, const struct addr *a);
/* Every port of TCP, UDP, SCTP and echo one by one. 0 unknown, 1 allowed, 2 denied. */
int naive_may_resolve(const struct policy_input *in, const char *app, uint32_t owner, const struct name *name,
	int64_t now_ms);

#endif
