/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_WIRE_H
#define POLICY_WIRE_H

#include "base/wr.h"
#include "policy/policy.h"

/* A policy input as bytes: desk writes it into a sealed memfd, gate reads it. Rules travel as their canonical lines. */

struct policy_bundle {
	struct policy_input in; /* points into what the bundle owns */
	struct policy_doc *doc;
	struct policy_net *nets[4];
	struct policy_tz *tz;
	char *files;
};

/* Upper bound of the encoded size. */
size_t policy_wire_size(const struct policy_input *in);
/* False when it does not fit or a rule cannot be printed. */
bool policy_wire_put(struct wr *w, const struct policy_input *in) __attribute__((warn_unused_result));
/* -EBADMSG when the bytes are not exactly one input, -ENOMEM. */
int policy_wire_get(const void *buf, size_t len, struct policy_bundle **ret) __attribute__((warn_unused_result));
void policy_bundle_free(struct policy_bundle *b);

#endif
