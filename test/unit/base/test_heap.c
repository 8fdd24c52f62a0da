/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { NODES = 1000, STEPS = 20000 };

static void empty(void **state)
{
	(void)state;
	struct heap h = { 0 };
	struct heap_node none = { 0 };
	assert_null(heap_min(&h));
	heap_remove(&h, &none);
	heap_fini(&h);
}

static void ascending(void **state)
{
	(void)state;
	struct heap h = { 0 };
	static struct heap_node n[NODES];
	assert_int_equal(heap_reserve(&h, NODES), 0);
	for (int i = 0; i < NODES; i++)
		heap_push(&h, &n[i], (int64_t)i * 7919 % NODES);
	for (int i = 0; i < NODES; i++) {
		struct heap_node *min = heap_min(&h);
		assert_int_equal(min->key, i);
		heap_remove(&h, min);
		assert_int_equal(min->at, 0);
	}
	assert_null(heap_min(&h));
	heap_fini(&h);
}

/* Pushed and taken out anywhere, in random order, against a look at every node. */
static void random_order(void **state)
{
	(void)state;
	struct heap h = { 0 };
	static struct heap_node n[NODES];
	unsigned in = 0;
	srandom(20261123);
	for (unsigned step = 0; step < STEPS; step++) {
		struct heap_node *x = &n[random() % NODES];
		if (x->at == 0) {
			assert_int_equal(heap_reserve(&h, ++in), 0);
			heap_push(&h, x, random() % 97 - 48);
		} else {
			heap_remove(&h, x);
			in--;
		}
		int64_t least = INT64_MAX;
		for (unsigned i = 0; i < NODES; i++)
			least = n[i].at != 0 && n[i].key < least ? n[i].key : least;
		assert_int_equal(h.n, in);
		if (in != 0)
			assert_int_equal(heap_min(&h)->key, least);
	}
	heap_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(empty), cmocka_unit_test(ascending),
		cmocka_unit_test(random_order) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
