/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SYNC_H
#define AGENT_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * How two ends of a byte stream meet again when one of them is new and the other may stand in the middle of a frame.
 *
 * The guest learns a random key with exec. A new keeper sends the key, then a challenge of the same length; the guest
 * finds the key wherever it stands, forgets what it had half read and half written, and answers with the challenge and
 * then frames: hello, and exit when the program has ended meanwhile. The keeper throws away what comes before its
 * challenge.
 */
enum { AGENT_SYNC_LEN = 16 };

/* Finds one run of AGENT_SYNC_LEN bytes in a stream; every byte is looked at once. */
struct agent_sync {
	uint8_t key[AGENT_SYNC_LEN];
	uint8_t border[AGENT_SYNC_LEN]; /* of the first i + 1 bytes: the longest proper prefix that is also their end */
	unsigned have;			/* bytes of the key that the stream ends with */
};

void agent_sync_init(struct agent_sync *s, const uint8_t key[AGENT_SYNC_LEN]);
/* True: the key ends with p[*ret_used - 1]. False: it is not in these bytes, *ret_used = len, and the last s->have
 * bytes seen so far may be its beginning. */
bool agent_sync_find(struct agent_sync *s, const uint8_t *p, size_t len, size_t *ret_used);

#endif
