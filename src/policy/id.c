/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/id.h"

#include "policy/print.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

/* Hashed is text: "origin owner limited LINE", LINE being the canonical rule with the verb allow and without lives and
 * options. */
int policy_id(const struct policy_rule *r, enum policy_origin origin, uint32_t owner, uint8_t ret[POLICY_ID_LEN])
{
	char text[POLICY_PRINT_MAX];
	struct policy_rule key = *r;
	key.verb = POLICY_ALLOW;
	key.lives = (struct policy_lives){ 0 };
	key.log = key.quiet = false;
	key.note = NULL;
	int head = snprintf(text, sizeof(text), "%s %u %d ", policy_origin_text(origin),
		origin == POLICY_ORIGIN_ANSWER ? owner : POLICY_OWNER_ANY, policy_rule_limited(r));
	int n = policy_print_rule(&key, text + head, sizeof(text) - (size_t)head);
	if (n < 0)
		return n;
	size_t len = (size_t)head + (size_t)n;
	return SHA256((const unsigned char *)text, len, ret) == NULL ? -EIO : 0;
}

const char *policy_id_text(const uint8_t id[POLICY_ID_LEN], char buf[POLICY_ID_TEXT])
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
	unsigned bits = 0, n_bits = 0, at = 0;
	for (unsigned i = 0; i < POLICY_ID_LEN; i++) {
		bits = (bits << 8 | id[i]) & 0xffff;
		n_bits += 8;
		for (; n_bits >= 5; n_bits -= 5)
			buf[at++] = digits[bits >> (n_bits - 5) & 31];
	}
	buf[at++] = digits[bits << (5 - n_bits) & 31];
	buf[at] = '\0';
	return buf;
}
