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
	const char *file;   /* borrowed from the input; NULL: none */
	uint32_t line;	    /* where the rule or definition begins; 0: none */
	char word[80];	    /* what is wrong there, as it is written; "": all of it */
	char expected[80];  /* "" when nothing in particular */
	char near[64];	    /* did you mean; "" */
	char message[512];
};

/* The errors alone, all of them: what is named and not defined or defined twice, circles of sets, the same rule twice.
 * As policy_check. */
long policy_check_refs(const struct policy_input *in, struct policy_finding *ret, size_t cap)
	__attribute__((warn_unused_result));
/* The finding as the parser would say it of its file's text. */
void policy_finding_diag(const struct policy_finding *f, const char *text, size_t len, struct policy_diag *ret);
/* One rule against the definitions of `in`: false with the first that is missing, line 1. No memory: true. */
bool policy_check_rule(const struct policy_input *in, const struct policy_rule *r, struct policy_finding *ret);

/* At most `cap` findings, errors first; returns how many there are, or -ENOMEM. Compares rules whose peers touch; sets
 * are not opened. */
long policy_check(const struct policy_input *in, struct policy_finding *ret, size_t cap)
	__attribute__((warn_unused_result));

#endif
