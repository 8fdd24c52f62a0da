/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/list_digest.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A digest that opens can be asked anything, whole or not. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const texts[] = { "ads.example.com", "a.b.c.d.e.f.example.org", "example.net" };
	static const char *const addrs[] = { "192.0.2.1", "0.0.0.0", "2001:db8::7" };
	struct list_digest l;
	struct list_hit h;
	struct name n;
	struct addr a;
	uint64_t len64 = len;
	uint8_t *bytes = malloc(len == 0 ? 1 : len);
	if (bytes == NULL)
		abort();
	if (len != 0)
		memcpy(bytes, data, len);
	/* The length in its head is right more often than chance would have it. */
	if (len >= 48)
		memcpy(bytes + 40, &len64, 8);
	if (list_digest_open(bytes, len, &l) == 0) {
		(void)list_digest_whole(&l);
		for (unsigned i = 0; i < 3; i++) {
			if (!name_from_text(texts[i], strlen(texts[i]), &n) || !addr_parse(addrs[i], &a))
				abort();
			if (list_digest_name(&l, &n, &h) && (h.labels == 0 || h.labels > name_labels(&n)))
				abort();
			if (list_digest_addr(&l, &a) > a.len * 8)
				abort();
		}
	}
	free(bytes);
	return 0;
}
