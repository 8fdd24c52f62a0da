/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_IMAGE_H
#define POLICY_IMAGE_H

#include "policy/policy.h"

/*
 * A compiled policy as bytes that mean the same wherever they lie: desk compiles and writes them into a sealed memfd,
 * gate maps that and opens it in place. Only for the same program on the same computer. Who opens an image trusts
 * nothing in it: every offset, count and number is checked before the first decision, a bounded part at a time.
 */

/* Borrowed from `p`. */
const void *policy_image(const struct policy *p, size_t *ret_len);

struct policy_opening;
/* `bytes` must be 8-aligned, must not change and must outlive the policy. NULL: no memory. */
struct policy_opening *policy_open(const void *bytes, size_t len);
/* Checks up to about `n` rows more (65,536 take less than a millisecond): 0 done and *ret is the caller's, -EAGAIN more
 * to do, -EBADMSG no image of ours. */
int policy_open_step(struct policy_opening *o, size_t n, struct policy **ret) __attribute__((warn_unused_result));
/* Always, done or not. */
void policy_opening_free(struct policy_opening *o);

/*
 * `base` with a few changes: without the rules whose numbers are in `gone`, with those of `more` (taken over, also on
 * failure; NULL: none), whose numbers follow on its own. It says what one compiled from all of them would say, and is
 * made in no time. `base` may be joined itself: then only its own rules count. Its bytes must outlive *ret, itself need
 * not. 0, -ENOMEM, -EINVAL: no such number.
 */
int policy_join(const struct policy *base, struct policy *more, const uint32_t *gone, size_t n_gone,
	struct policy **ret) __attribute__((warn_unused_result));

/* Inside this folder: opens what was just packed, unchecked, and owns it (malloc). */
int image_own(void *image, size_t len, struct policy **ret);

#endif
