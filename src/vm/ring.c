/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/ring.h"

#include <string.h>

void vm_ring_put(struct vm_ring *r, const void *p, size_t len)
{
	const char *from = p;
	if (len > VM_RING) {
		from += len - VM_RING;
		len = VM_RING;
	}
	size_t first = VM_RING - r->at < len ? VM_RING - r->at : len;
	memcpy(r->bytes + r->at, from, first);
	memcpy(r->bytes, from + first, len - first);
	r->at = (r->at + len) % VM_RING;
	r->have = r->have + len > VM_RING ? VM_RING : r->have + len;
}

size_t vm_ring_last(const struct vm_ring *r, char *buf, size_t cap)
{
	size_t n = r->have < cap ? r->have : cap, start = (r->at + VM_RING - n) % VM_RING;
	size_t first = VM_RING - start < n ? VM_RING - start : n;
	memcpy(buf, r->bytes + start, first);
	memcpy(buf + first, r->bytes, n - first);
	return n;
}
