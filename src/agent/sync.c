/* SPDX-License-Identifier: Apache-2.0 */
/* Knuth, Morris and Pratt: a random key can still begin like its own middle. */
#include "agent/sync.h"

#include <string.h>

void agent_sync_init(struct agent_sync *s, const uint8_t key[AGENT_SYNC_LEN])
{
	*s = (struct agent_sync){ 0 };
	memcpy(s->key, key, AGENT_SYNC_LEN);
	for (unsigned i = 1, k = 0; i < AGENT_SYNC_LEN; i++) {
		while (k > 0 && key[i] != key[k])
			k = s->border[k - 1];
		k += key[i] == key[k];
		s->border[i] = (uint8_t)k;
	}
}

bool agent_sync_find(struct agent_sync *s, const uint8_t *p, size_t len, size_t *ret_used)
{
	for (size_t i = 0; i < len; i++) {
		if (s->have == 0) {
			const uint8_t *first = memchr(p + i, s->key[0], len - i);
			if (first == NULL)
				break;
			i = (size_t)(first - p);
		}
		while (s->have > 0 && p[i] != s->key[s->have])
			s->have = s->border[s->have - 1];
		s->have += p[i] == s->key[s->have];
		if (s->have == AGENT_SYNC_LEN) {
			s->have = 0;
			*ret_used = i + 1;
			return true;
		}
	}
	*ret_used = len;
	return false;
}
