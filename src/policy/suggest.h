/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_SUGGEST_H
#define POLICY_SUGGEST_H

#include "policy/policy.h"

enum { POLICY_SUGGEST_MAX = 24, POLICY_SUGGEST_LEN = 512 };

struct policy_suggestions {
	size_t n;
	char line[POLICY_SUGGEST_MAX][POLICY_SUGGEST_LEN];
};

/*
 * Rule lines that would answer this request, best first: allow then deny, this name, its registrable domain, its
 * address where one is known, each until exit, always, for ten minutes, and once. Each was tried: with it added as an
 * answer of the app's owner the evaluator says what its verb says. `p` is compiled from `in`. The request is one that
 * came out ask or withheld; for withheld give it without the name. 0, -ENOMEM, -EINVAL.
 */
int policy_suggest(const struct policy_input *in, const struct policy *p, const struct policy_request *q,
	struct policy_suggestions *ret) __attribute__((warn_unused_result));
/* Would `rule`, as an answer of `owner`, decide `q` with its own verb? 1 yes, 0 no (*ret_by: the rule of `in` that
 * outranks it, or POLICY_NO_RULE), negative errno. */
int policy_would_win(const struct policy_input *in, const struct policy *p, const struct policy_rule *rule,
	uint32_t owner, const struct policy_request *q, size_t *ret_by) __attribute__((warn_unused_result));
/* The part of a name that somebody registered (publicsuffix.org, private suffixes included). False: it is at or above a
 * public suffix, or has bytes that no registered name has. */
bool policy_registrable(const struct name *n, struct name *ret) __attribute__((warn_unused_result));

#endif
