/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <errno.h>
#include <stdlib.h>

int heap_reserve(struct heap *h, size_t n)
{
	if (n <= h->cap)
		return 0;
	size_t cap = h->cap < 32 ? 64 : h->cap * 2;
	cap = cap < n ? n : cap;
	struct heap_node **v = reallocarray(h->v, cap, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	h->v = v;
	h->cap = cap;
	return 0;
}

static void place(struct heap *h, size_t i, struct heap_node *node)
{
	h->v[i] = node;
	node->at = i + 1;
}

static void rise(struct heap *h, size_t i, struct heap_node *node)
{
	for (; i > 0 && node->key < h->v[(i - 1) / 2]->key; i = (i - 1) / 2)
		place(h, i, h->v[(i - 1) / 2]);
	place(h, i, node);
}

static void sink(struct heap *h, size_t i, struct heap_node *node)
{
	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < h->n && h->v[child + 1]->key < h->v[child]->key)
			child++;
		if (child >= h->n || node->key <= h->v[child]->key)
			break;
		place(h, i, h->v[child]);
		i = child;
	}
	place(h, i, node);
}

void heap_push(struct heap *h, struct heap_node *node, int64_t key)
{
	node->key = key;
	h->n++;
	rise(h, h->n - 1, node);
}

void heap_remove(struct heap *h, struct heap_node *node)
{
	if (node->at == 0)
		return;
	size_t i = node->at - 1;
	struct heap_node *last = h->v[--h->n];
	node->at = 0;
	if (last == node)
		return;
	if (i > 0 && last->key < h->v[(i - 1) / 2]->key)
		rise(h, i, last);
	else
		sink(h, i, last);
}

struct heap_node *heap_min(const struct heap *h)
{
	return h->n == 0 ? NULL : h->v[0];
}

void heap_fini(struct heap *h)
{
	free(h->v);
	*h = (struct heap){ 0 };
}
