/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_OFP_OFCTL_H
#define TEST_OFP_OFCTL_H

#include <stddef.h>
#include <stdint.h>

/* Messages caught from ovs-ofctl, one after the other as they came. */
struct caught {
	uint8_t *bytes;
	size_t len, cap;
	unsigned n;
};

/*
 * Runs `ovs-ofctl -O OpenFlow15 --no-names ARGS` where the word SWITCH among the arguments stands for a switch of ours:
 * it answers HELLO, FEATURES, barriers, echoes and bundle control, gives an empty answer to multipart requests, and
 * keeps every message from bundle control on. Fails the test when ovs-ofctl is missing or exits with an error.
 */
void ofctl_catch(const char *const args[], struct caught *ret);
void caught_free(struct caught *c);
/* The message at *at (0 first), its length, moving *at; NULL at the end. */
const uint8_t *caught_next(const struct caught *c, size_t *at, size_t *ret_len);

/* What `ovs-ofctl ofp-parse` prints of these bytes; the caller frees. */
char *ofctl_print(const void *msgs, size_t len);
/* A file with this content, its name to be unlinked and freed. */
char *temp_file(const void *content, size_t len);

#endif
