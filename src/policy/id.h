/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_ID_H
#define POLICY_ID_H

#include "policy/rule.h"

/*
 * The public id: SHA-256 over what makes two rules the same rule: origin, owner (of answers), final, subject,
 * direction, peer, ports, limited or not. Verb, the words of its lives and options do not count. -EIO when libcrypto
 * fails, -ENOBUFS.
 */
int policy_id(const struct policy_rule *r, enum policy_origin origin, uint32_t owner, uint8_t ret[POLICY_ID_LEN])
	__attribute__((warn_unused_result));
/* Lower-case base32hex, 52 characters. Any prefix of it that is unique names the rule; show at least 4. Returns buf. */
const char *policy_id_text(const uint8_t id[POLICY_ID_LEN], char buf[POLICY_ID_TEXT]);

#endif
