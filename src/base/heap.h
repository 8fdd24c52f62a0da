/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* A binary heap, the smallest key first. Nodes stand inside the caller's structs; all zero: in no heap. */
struct heap_node {
	int64_t key;
	size_t at; /* place + 1; 0: not in the heap */
};

struct heap {
	struct heap_node **v;
	size_t n, cap;
};

/* Room for `n` nodes, so that heap_push cannot fail. 0, -ENOMEM. */
int heap_reserve(struct heap *h, size_t n) __attribute__((warn_unused_result));
/* The node must be in no heap, and there must be room. */
void heap_push(struct heap *h, struct heap_node *node, int64_t key);
/* Of no effect when the node is in no heap. */
void heap_remove(struct heap *h, struct heap_node *node);
/* NULL: empty. */
struct heap_node *heap_min(const struct heap *h);
void heap_fini(struct heap *h);

#endif
