/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gate/grant.h"
#include "gate/held.h"
#include "gate/out.h"
#include "gate/resolve.h"
#include "gate/syn.h"

static struct name name_of(unsigned i)
{
	char text[64];
	struct name n;
	int len = snprintf(text, sizeof(text), "host%u.example.org", i);
	assert_true(name_from_text(text, (size_t)len, &n));
	return n;
}

static void syn_same_name_same_index(void **state)
{
	(void)state;
	struct syn *s = syn_new(7);
	bool fresh;
	struct name a = name_of(1), b = name_of(2), got;
	unsigned ia = syn_give(s, &a, 0, &fresh);
	assert_true(fresh && ia != 0);
	unsigned ib = syn_give(s, &b, 0, &fresh);
	assert_true(fresh && ib != ia);
	assert_int_equal(syn_give(s, &a, 5, &fresh), ia);
	assert_false(fresh);
	assert_true(syn_name(s, ib, &got) && name_equal(&got, &b));
	assert_false(syn_name(s, 0, &got));
	assert_false(syn_name(s, ib + 1, &got));
	syn_free(s);
}

static void syn_full_gives_the_oldest_free_one(void **state)
{
	(void)state;
	struct syn *s = syn_new(7);
	bool fresh;
	struct name held = name_of(0);
	unsigned held_index = syn_give(s, &held, 0, &fresh);
	syn_hold(s, held_index, 1);
	for (unsigned i = 1; i < SYN_MAX - 1; i++) {
		struct name n = name_of(i);
		assert_int_not_equal(syn_give(s, &n, i, &fresh), 0);
	}
	assert_int_equal(syn_count(s), SYN_MAX - 1);
	struct name extra = name_of(SYN_MAX), first = name_of(1), got;
	unsigned first_index = syn_give(s, &first, 1, &fresh);
	/* Within the minute nobody's address may change its meaning. */
	assert_int_equal(syn_give(s, &extra, SYN_KEEP_MS, &fresh), 0);
	assert_int_equal(syn_give(s, &extra, SYN_KEEP_MS + SYN_MAX, &fresh), first_index);
	assert_true(fresh);
	assert_true(syn_name(s, held_index, &got) && name_equal(&got, &held));
	syn_free(s);
}

static void syn_restore(void **state)
{
	(void)state;
	struct syn *s = syn_new(7);
	bool fresh;
	struct name a = name_of(1), b = name_of(2), got;
	assert_true(syn_put(s, 5000, &a, 0));
	assert_false(syn_put(s, 5000, &b, 0));
	assert_false(syn_put(s, 5001, &a, 0));
	assert_false(syn_put(s, 0, &b, 0));
	assert_false(syn_put(s, SYN_MAX, &b, 0));
	assert_int_equal(syn_give(s, &a, 0, &fresh), 5000);
	assert_true(syn_name(s, 5000, &got) && name_equal(&got, &a));
	unsigned ib = syn_give(s, &b, 0, &fresh);
	assert_true(fresh && ib != 5000 && ib != 0);
	syn_free(s);
}

static struct grant_key key_of(uint16_t slot, uint16_t port)
{
	return (struct grant_key){ .slot = slot,
		.proto = 6,
		.port = port,
		.peer = addr_v4(0xc6120001),
		.real = addr_v4(0xc0000201) };
}

static void grants_find_and_remove(void **state)
{
	(void)state;
	struct grants *g = grants_new(3);
	for (uint16_t i = 1; i <= 1000; i++) {
		struct grant_key k = key_of(i % 3, i);
		struct grant *gr = grants_add(g, &k, i);
		assert_non_null(gr);
	}
	for (uint16_t i = 1000; i >= 1; i--)
		grants_used(g, grants_by_number(g, i), 2000 - i);
	assert_int_equal(grants_count(g, 0), 333);
	assert_int_equal(grants_idlest(g, 0)->number, 999);
	for (uint16_t i = 1; i <= 1000; i++) {
		struct grant_key k = key_of(i % 3, i), other = key_of((uint16_t)(i % 3 + 1), i);
		struct grant *gr = grants_find(g, &k);
		assert_non_null(gr);
		assert_ptr_equal(gr, grants_by_number(g, i));
		assert_null(grants_find(g, &other));
		if (i % 2 == 0)
			grants_remove(g, gr);
	}
	unsigned n = 0;
	for (struct grant *gr = grants_next(g, NULL); gr != NULL; gr = grants_next(g, gr))
		n += gr->number % 2 == 1;
	assert_int_equal(n, 500);
	assert_null(grants_by_number(g, 2));
	grants_free(g);
}

static void held_limits(void **state)
{
	(void)state;
	struct held_table *t = held_new();
	static struct held own;
	own.key = (struct flow_key){ .slot = 1, .proto = 6, .src = addr_v4(1), .dst = addr_v4(2), .dport = 443 };
	own.len = HELD_FRAME_MAX;
	for (unsigned i = 0; i < HELD_APP_MAX; i++) {
		own.key.sport = (uint16_t)i;
		assert_null(held_find(t, &own.key));
		assert_non_null(held_keep(t, &own));
		assert_non_null(held_find(t, &own.key));
	}
	/* One more than the limit is refused; another app is not touched by it. */
	own.key.sport = 1000;
	assert_null(held_keep(t, &own));
	own.key.slot = 2;
	struct held *h = held_keep(t, &own);
	assert_non_null(h);
	assert_ptr_equal(held_by_id(t, h->id), h);
	uint32_t id = h->id;
	held_remove(t, h);
	held_remove(t, &own);
	assert_null(held_by_id(t, id));
	assert_int_equal(held_count(t, 1), HELD_APP_MAX);
	assert_int_equal(held_count(t, 2), 0);
	held_free(t);
}

/* One app's share of the answers, and what of others' it may take. */
static void resolve_share(void **state)
{
	(void)state;
	struct resolve *t = resolve_new(5);
	for (unsigned i = 0; i < 200; i++) {
		struct name n = name_of(i);
		assert_int_not_equal(resolve_ask(t, &n, 1, i), 0);
	}
	for (unsigned i = 1000; i < 21000; i++) {
		struct name n = name_of(i);
		assert_int_not_equal(resolve_ask(t, &n, 2, 100000 + i), 0);
	}
	unsigned kept = 0, own = 0;
	for (unsigned i = 0; i < 21000; i++) {
		struct name n = name_of(i);
		bool there = resolve_get(t, &n, INT64_MIN) != NULL;
		*(i < 1000 ? &kept : &own) += there;
	}
	assert_int_equal(kept, 200);
	assert_true(own > RESOLVE_APP_MAX - 16 && own <= RESOLVE_APP_MAX);
	resolve_free(t);
}

static void out_keeps_order_and_limit(void **state)
{
	(void)state;
	struct out o = { 0 };
	struct out_msg m;
	for (uint32_t i = 0; i < 100; i++)
		out_msg_put(&o, ROLE_DESK, (uint16_t)i, i, &i, sizeof(i));
	for (uint32_t i = 0; i < 100; i++) {
		assert_true(out_msg_next(&o, &m));
		assert_int_equal(m.id, i);
		assert_memory_equal(m.body, &i, sizeof(i));
	}
	assert_false(out_msg_next(&o, &m));
	static uint8_t block[60000];
	unsigned n = 0, came = 0;
	for (; n < 1000 && !o.full; n++)
		out_msg_put(&o, ROLE_DESK, 1, n, block, sizeof(block));
	assert_true(o.full);
	while (out_msg_next(&o, &m))
		assert_int_equal(m.id, came++);
	assert_int_equal(came, n - 1);
	out_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(syn_same_name_same_index),
		cmocka_unit_test(syn_full_gives_the_oldest_free_one),
		cmocka_unit_test(syn_restore),
		cmocka_unit_test(grants_find_and_remove),
		cmocka_unit_test(held_limits),
		cmocka_unit_test(resolve_share),
		cmocka_unit_test(out_keeps_order_and_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
