/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_RING_H
#define VM_RING_H

#include <stddef.h>

/* The last bytes of a stream that nobody may be reading. Zeroed it is empty. */
enum { VM_RING = 65536 };
struct vm_ring {
	size_t at, have; /* where the next byte goes; bytes kept */
	char bytes[VM_RING];
};

void vm_ring_put(struct vm_ring *r, const void *p, size_t len);
/* The last `cap` bytes kept, oldest first; returns their number. */
size_t vm_ring_last(const struct vm_ring *r, char *buf, size_t cap);

#endif
