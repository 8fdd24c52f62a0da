/* SPDX-License-Identifier: Apache-2.0 */
/* What is full, and what comes at the wrong moment. */
#include "world.h"

#include "gate/grant.h"
#include "gate/resolve.h"
#include "net/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WEB = 1, DB = 2, HOST = 0xc633640a, T_CLASSIFY = 0, T_STATE = 40 };

static struct world *with(const char *line)
{
	struct world *w = world_new();
	world_app(w, WEB, "web", 1000);
	world_rule(w, line);
	world_policy(w);
	return w;
}

/* switchd and Open vSwitch keep a place per zone; there are some for running apps only. */
static void zones_end_with_their_app(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_app(w, WEB, "web", 1000);
	assert_int_equal(w->zone_limit[40002], 4096);
	assert_int_equal(w->zone_limit[40003], 512);
	/* Another switchd knows nothing of them; what is in them stays. */
	w->zone_limit[40002] = w->zone_limit[40003] = 0;
	w->n_flushes = 0;
	gate_switchd_back(w->g);
	world_turn(w);
	assert_int_equal(w->zone_limit[40002], 4096);
	assert_int_equal(w->zone_limit[40003], 512);
	assert_int_equal(w->n_flushes, 0);
	world_app_ends(w, WEB);
	assert_int_equal(w->zone_limit[40002], 0);
	assert_int_equal(w->zone_limit[40003], 0);
	world_free(w);
}

/* Between the bundle of a resync and the switch's word that it is done an app comes, one goes, and the policy changes.
 */
static void changes_during_a_resync(void **state)
{
	(void)state;
	struct world *w = with("allow web to 198.51.100.10 port 443/tcp");
	w->hold_barriers = true;
	gate_sync_end(w->g);
	world_turn(w);
	assert_false(gate_synced(w->g));
	memset(w->n_added, 0, sizeof(w->n_added));
	w->n_results = 0;
	world_app(w, DB, "db", 1000);
	assert_true(w->n_added[T_CLASSIFY] > 0);
	memset(w->n_added, 0, sizeof(w->n_added));
	world_rule(w, "allow db from any port 22/tcp");
	world_policy(w);
	assert_true(w->n_added[T_STATE] > 0);
	assert_int_equal(w->n_results, 1); /* the policy's */
	world_app_ends(w, WEB);
	assert_int_equal(w->n_app_deletes, 1);
	world_free(w);
}

/* --- the table of answers --- */

static struct name number(unsigned i)
{
	struct name n;
	char text[64];
	int len = snprintf(text, sizeof(text), "www.n%u.example", i);
	assert_true(name_from_text(text, (size_t)len, &n));
	return n;
}

static struct ipc_resolved answer(enum ipc_resolve_status status, const char *behind)
{
	struct ipc_resolved r = { .status = (uint8_t)status, .ttl = 300, .n_v4 = 1, .v4 = { addr_v4(HOST) } };
	if (behind != NULL) {
		r.n_chain = 1;
		assert_true(name_from_text(behind, strlen(behind), &r.chain[0]));
	}
	return r;
}

/* An app that has its share of long-lived answers asks for two names at once: neither makes room for the other. */
static void pending_is_not_displaced(void **state)
{
	(void)state;
	struct resolve *t = resolve_new(7);
	struct ipc_resolved r = answer(RESOLVE_OK, NULL);
	for (unsigned i = 0; i < 2 * RESOLVE_APP_MAX; i++) {
		struct name n = number(i);
		assert_non_null(resolve_answer(t, resolve_ask(t, &n, WEB, 1000), &r, 1000));
	}
	for (unsigned i = 0; i < 8; i += 2) {
		struct name a = number(10000 + i), b = number(10001 + i);
		uint32_t first = resolve_ask(t, &a, WEB, 1000), second = resolve_ask(t, &b, WEB, 1000);
		assert_non_null(resolve_answer(t, first, &r, 1000));
		assert_non_null(resolve_answer(t, second, &r, 1000));
	}
	resolve_free(t);
}

/* A name that is asked again and not answered still has the names behind it that were known. */
static void failure_forgets_no_chain(void **state)
{
	(void)state;
	struct resolve *t = resolve_new(7);
	struct name n = number(1);
	struct ipc_resolved good = answer(RESOLVE_OK, "edge.example.net"), bad = { .status = RESOLVE_FAILED };
	assert_non_null(resolve_answer(t, resolve_ask(t, &n, WEB, 1000), &good, 1000));
	const struct resolved *r = resolve_answer(t, resolve_ask(t, &n, WEB, 400000), &bad, 400000);
	assert_int_equal(r->status, RESOLVE_FAILED);
	assert_int_equal(r->n_v4, 0);
	r = resolve_last(t, &n);
	assert_int_equal(r->n_chain, 1);
	/* Of one that never was nothing is known. */
	n = number(2);
	assert_non_null(resolve_answer(t, resolve_ask(t, &n, WEB, 400000), &bad, 400000));
	assert_null(resolve_last(t, &n));
	resolve_free(t);
}

/* A new gate knows no chain. A refusal of a name behind many grants' names cuts them all, however many that are. */
static void every_chain_is_asked_for(void **state)
{
	(void)state;
	enum { GRANTS = 300 };
	struct world *w = with("allow web");
	struct ipc_grant *grants = calloc(GRANTS, sizeof(*grants));
	for (unsigned i = 0; i < GRANTS; i++)
		grants[i] = (struct ipc_grant){ .grant = 3000000 + i,
			.ref = { .slot = WEB, .run = WEB },
			.proto = IP_TCP,
			.port = 443,
			.name = number(i),
			.peer = addr_v4(0xc6120000 + i + 1),
			.real = addr_v4(HOST + i) };
	world_gate_again(w, grants, GRANTS, true);
	for (unsigned i = 0; i < GRANTS; i++)
		assert_int_equal(world_live_rows(w, 3000000 + i), 2);
	world_rule(w, "final deny web to edge.example.net");
	world_policy(w);
	world_pass(w, 1);
	world_resolve_all(w, HOST, "edge.example.net");
	for (unsigned i = 0; i < GRANTS; i++)
		assert_int_equal(world_live_rows(w, 3000000 + i), 0);
	free(grants);
	world_free(w);
}

/* A person has all the time there is, also for a packet that waited for an address first. */
static void patience_begins_with_the_question(void **state)
{
	(void)state;
	struct world *w = with("allow web to www.example.com");
	world_lookup(w, WEB, "www.example.com", 1);
	world_resolved(w, HOST);
	uint32_t syn = addr_to_u32(&w->answer.address);
	world_pass(w, 301000);
	world_connect(w, WEB, IP_TCP, syn, 2000, 443);
	assert_int_equal(w->n_resolves, 2);
	/* It is a private address by now, which the rule does not speak of. */
	world_resolved(w, 0xc0a80207);
	assert_int_equal(w->n_questions, 1);
	world_pass(w, 30000);
	assert_int_equal(w->n_question_ends, 0);
	world_pass(w, 31000);
	assert_int_equal(w->n_question_ends, 1);
	world_free(w);
}

/* --- what a full table costs --- */

/* Each call is the work of one first packet of an app that is full; it must not grow with the number of grants. */
static void idlest_is_at_hand(void **state)
{
	(void)state;
	enum { SLOTS = 32, TURNS = 100000 };
	struct grants *t = grants_new(7);
	struct grant_key key = { .proto = IP_TCP, .peer = addr_v4(HOST), .real = addr_v4(HOST) };
	uint32_t number = 1;
	int64_t now = 1;
	for (key.slot = 1; key.slot <= SLOTS; key.slot++) {
		for (key.port = 0; key.port < GRANT_APP_MAX; key.port++)
			grants_used(t, grants_add(t, &key, number++), now++);
	}
	key.slot = WEB;
	for (key.port = 0; key.port < 10; key.port++)
		grants_used(t, grants_find(t, &key), now++);
	for (unsigned i = 0; i < TURNS; i++) {
		struct grant *gr = grants_idlest(t, WEB);
		assert_int_equal(gr->key.slot, WEB);
		assert_int_equal(gr->key.port, (10 + i) % GRANT_APP_MAX);
		grants_used(t, gr, now++);
	}
	struct grant *gr = grants_idlest(t, DB);
	assert_int_equal(gr->number, GRANT_APP_MAX + 1);
	grants_remove(t, gr);
	assert_int_equal(grants_idlest(t, DB)->number, GRANT_APP_MAX + 2);
	grants_free(t);
}

/* A look at the leases is a look at all grants, so their renewals are done together. */
static void renewals_are_few_looks(void **state)
{
	(void)state;
	enum { GRANTS = 600 };
	struct world *w = with("allow web to 198.51.100.10");
	for (uint16_t i = 0; i < GRANTS; i++) {
		world_connect(w, WEB, IP_TCP, HOST, 2000, (uint16_t)(1000 + i));
		world_pass(w, 47);
	}
	assert_int_equal(w->n_admits, GRANTS);
	uint32_t last = w->last_mark;
	unsigned looks = 0;
	for (int64_t end = w->boot_ms + 60000; w->boot_ms < end; looks++) {
		int64_t at = gate_deadline(w->g);
		world_pass(w, at > w->boot_ms ? at - w->boot_ms : 1);
	}
	/* 1,200 renewals, the clocks twice a second, the audit, the stock. */
	assert_true(looks < 400);
	assert_int_equal(world_live_rows(w, last), 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zones_end_with_their_app),
		cmocka_unit_test(changes_during_a_resync),
		cmocka_unit_test(pending_is_not_displaced),
		cmocka_unit_test(failure_forgets_no_chain),
		cmocka_unit_test(every_chain_is_asked_for),
		cmocka_unit_test(patience_begins_with_the_question),
		cmocka_unit_test(idlest_is_at_hand),
		cmocka_unit_test(renewals_are_few_looks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
