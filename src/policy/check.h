/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_CHECK_H
#define POLICY_CHECK_H

#include "policy/policy.h"

enum policy_finding_kind {
	POLICY_FIND_DUPLICATE, /* error: the same rule twice in one origin */
	POLICY_FIND_UNDEFINED, /* error: a group, set or list nobody defines; a second definition; sets in a circle */
	POLICY_FIND_NEVER,     /* warning: another rule wins wherever this one matches and says otherwise */
	POLICY_FIND_REDUNDANT, /* warning: without it the same verdict, by a wider rule */
	POLICY_FIND_SURPRISE,  /* warning: a refusal is beaten by a narrower allow of a wider subject */
};

struct policy_finding {
	enum policy_finding_kind kind;
	bool error;
	size_t rule, other; /* SIZE_MAX: none */
	char message[512];
};

/* At most `cap` findings, errors first; returns how many there are, or -ENOMEM. Compares rules whose peers touch; sets
 * are not opened. */
long policy_check(const struct policy_input *in, struct policy_finding *ret, size_t cap)
	__attribute__((warn_unused_result));

#endif
