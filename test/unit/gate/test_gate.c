/* SPDX-License-Identifier: Apache-2.0 */
/* The whole gate without I/O: counts, clocks, policy changes, limits, between two apps. */
#include "world.h"

#include "net/packet.h"
#include "policy/image.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { WEB = 1, DB = 2, SECOND = 1000, HOST = 0xc633640a /* 198.51.100.10 */, OTHER_HOST = 0xc633640b };
#define RULE "allow web to 198.51.100.10 port 443/tcp"

static struct world *with(const char *line)
{
	struct world *w = world_new();
	world_app(w, WEB, "web", 1000);
	if (line != NULL) {
		world_rule(w, line);
		world_policy(w);
	}
	return w;
}

static void tcp(struct world *w, uint16_t sport)
{
	world_connect(w, WEB, IP_TCP, HOST, sport, 443);
}

/* --- counts --- */

/* Attempts of several apps pile up and desk answers them in heaps of every size; `lose`: now and then gate dies with
 * what waits. Exactly `times` pass, or with deaths no more. */
static void count_run(unsigned attempts, unsigned times, bool lose)
{
	char line[96];
	struct world *w = world_new();
	unsigned dice = 1, asked = 0;
	uint32_t at_death = 0;
	for (uint16_t slot = 1; slot < 8; slot++)
		world_app(w, slot, "web", 1000);
	snprintf(line, sizeof(line), "allow web to 198.51.100.10 port 443/tcp %u times", times);
	size_t rule = world_rule(w, line);
	world_rule(w, "deny any");
	world_policy(w);
	for (; asked < attempts; asked++) {
		dice = dice * 1103515245 + 12345;
		world_connect(w, (uint16_t)(1 + asked % 7), IP_TCP, HOST, (uint16_t)(1024 + asked / 7), 443);
		if ((dice >> 16) % 97 == 0)
			world_settle(w, (dice >> 8) % 400 + 1);
		if (lose && (dice >> 16) % 1009 == 1) {
			/* Some were durable and their answers are lost. */
			at_death += w->n_charges < 3 ? w->n_charges : 3;
			for (unsigned i = 0; i < w->n_charges && i < 3 && w->rule[rule].meta.times_left > 1; i++)
				w->rule[rule].meta.times_left--;
			world_gate_again(w, &w->grant, w->n_grants > 0 ? 1 : 0, true);
		}
	}
	while (w->n_charges > 0)
		world_settle(w, WORLD_CHARGES);
	if (lose)
		assert_true(w->n_admits > 0 && w->n_admits <= times);
	else
		assert_int_equal(w->n_admits, times);
	assert_true(at_death > 0 || !lose);
	assert_int_equal(w->rule[rule].meta.times_left, 0);
	world_free(w);
}

static void count_is_exact(void **state)
{
	(void)state;
	count_run(100000, 5000, false);
	count_run(100000, 1, false);
}

static void count_is_never_exceeded(void **state)
{
	(void)state;
	count_run(100000, 5000, true);
}

/* Copies of one first packet are one attempt. */
static void count_ignores_copies(void **state)
{
	(void)state;
	struct world *w = with(RULE " 3 times");
	for (unsigned i = 0; i < 10; i++)
		tcp(w, 2000);
	assert_int_equal(w->n_charges, 1);
	world_settle(w, 9);
	assert_int_equal(w->n_admits, 1);
	assert_int_equal(w->rule[0].meta.times_left, 2);
	world_free(w);
}

/* A refusal that was made before a counted rule admitted, yet is in force only after: it cuts if it outranks that rule.
 */
static void refusal_in_force_later(void **state)
{
	(void)state;
	static const struct {
		const char *refusal;
		unsigned rows;
	} cases[] = { { "final deny web", 0 }, { "deny any", 2 } };
	for (unsigned i = 0; i < 2; i++) {
		struct world *w = with(RULE " once");
		world_rule(w, cases[i].refusal);
		world_pass(w, 50);
		tcp(w, 2000);
		world_settle(w, 1);
		assert_int_equal(w->n_admits, 1);
		world_policy(w);
		assert_int_equal(world_live_rows(w, w->last_mark), cases[i].rows);
		world_free(w);
	}
}

/* The rule that was charged is told to be used up, and once more: what it admitted stays. */
static void used_up_told_twice(void **state)
{
	(void)state;
	struct world *w = with(RULE " once for 60s");
	tcp(w, 2000);
	world_settle(w, 1);
	assert_int_equal(w->n_admits, 1);
	uint32_t mark = w->last_mark;
	world_policy(w);
	world_policy(w);
	assert_int_equal(world_live_rows(w, mark), 2);
	/* Written again and used up again: the first one's end is not the second's. */
	world_pass(w, 20000);
	world_rule(w, RULE " once for 60s");
	world_policy(w);
	tcp(w, 2001);
	world_settle(w, 1);
	assert_int_equal(w->n_admits, 2);
	world_pass(w, 45000);
	assert_int_equal(world_live_rows(w, mark), 2);
	world_pass(w, 16000);
	assert_int_equal(world_live_rows(w, mark), 0);
	tcp(w, 2002);
	assert_int_equal(w->n_admits, 2);
	world_free(w);
}

/* A refusal that is in force before the count is durable wins. */
static void refusal_overtakes_charge(void **state)
{
	(void)state;
	struct world *w = with(RULE " once");
	tcp(w, 2000);
	world_pass(w, 10);
	world_rule(w, "final deny web");
	world_policy(w);
	world_settle(w, 1);
	assert_int_equal(w->n_admits, 0);
	assert_int_equal(world_live_rows(w, w->last_mark), 0);
	world_free(w);
}

/* --- clocks --- */

static void time_ends_on_both_clocks(void **state)
{
	(void)state;
	struct world *w = with(RULE " for 10s");
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_pass(w, 9990);
	assert_int_equal(world_live_rows(w, mark), 2);
	world_pass(w, 11);
	assert_int_equal(world_live_rows(w, mark), 0);
	tcp(w, 2001);
	assert_int_equal(w->n_admits, 1);
	world_free(w);
}

/* Set back a year: the live flows end by the clock that nobody sets. */
static void wall_set_back(void **state)
{
	(void)state;
	struct world *w = with(RULE " for 10s");
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_set_wall(w, -365LL * 86400 * 1000);
	world_pass(w, 10001);
	assert_int_equal(world_live_rows(w, mark), 0);
	world_free(w);
}

/* Set forward beyond the end: cut within half a second, although no event came. */
static void wall_set_forward(void **state)
{
	(void)state;
	struct world *w = with(RULE " for 1h");
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_pass(w, 5000);
	world_set_wall(w, 3600 * 1000);
	world_pass(w, 501);
	assert_int_equal(world_live_rows(w, mark), 0);
	tcp(w, 2001);
	assert_int_equal(w->n_admits, 1);
	world_free(w);
}

/* Asleep for an hour: the switch's own clock stood still, so its leases are still there; the first look ends them. */
static void asleep(void **state)
{
	(void)state;
	struct world *w = with(RULE " for 30m");
	world_rule(w, "allow web to 198.51.100.11 port 443/tcp");
	world_policy(w);
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_connect(w, WEB, IP_TCP, OTHER_HOST, 2000, 443);
	uint32_t stays = w->last_mark;
	for (unsigned i = 0; i < WORLD_LIVE; i++)
		w->live[i].until_ms += 3600 * 1000;
	w->boot_ms += 3600 * 1000;
	w->wall_ms += 3600 * 1000;
	assert_int_equal(world_live_rows(w, mark), 2);
	world_pass(w, 1);
	assert_int_equal(world_live_rows(w, mark), 0);
	assert_int_equal(world_live_rows(w, stays), 2);
	world_free(w);
}

/* A grant lives as long as its rule, over many leases, and over gate's death; without a policy nothing is renewed: what
 * a new gate got back ends with the lease that the old one gave. */
static void no_policy_no_lease(void **state)
{
	(void)state;
	struct world *w = with(RULE);
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_pass(w, 200000);
	assert_int_equal(world_live_rows(w, mark), 2);
	world_gate_again(w, &w->grant, 1, true);
	world_pass(w, 200000);
	assert_int_equal(world_live_rows(w, mark), 2);
	int64_t given = 0;
	for (unsigned i = 0; i < WORLD_LIVE; i++) {
		if (w->live[i].mark == mark)
			given = w->live[i].until_ms - w->boot_ms;
	}
	world_gate_again(w, &w->grant, 1, false);
	world_pass(w, given - 1);
	assert_int_equal(world_live_rows(w, mark), 2);
	world_pass(w, 1);
	assert_int_equal(world_live_rows(w, mark), 0);
	tcp(w, 2001);
	assert_int_equal(w->n_admits, 1);
	world_free(w);
}

/* What a new gate is given back and its rule is gone meanwhile ends at once. */
static void restored_without_its_rule(void **state)
{
	(void)state;
	struct world *w = with(RULE);
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_rule_end(w, 0, POLICY_END_REMOVED);
	world_gate_again(w, &w->grant, 1, true);
	assert_int_equal(world_live_rows(w, mark), 0);
	world_free(w);
}

/* --- policy changes --- */

static void grants_follow_policy(void **state)
{
	(void)state;
	struct world *w = with("allow web to 198.51.100.0/24 port 443/tcp");
	tcp(w, 2000);
	world_connect(w, WEB, IP_TCP, OTHER_HOST, 2001, 443);
	uint32_t other = w->last_mark, first = other - 1;
	for (unsigned i = 0; i < WORLD_LIVE && world_live_rows(w, first) != 2; i++)
		first++;
	/* Added: a refusal of one address. */
	size_t deny = world_rule(w, "deny web to 198.51.100.11");
	world_policy(w);
	assert_int_equal(world_live_rows(w, other), 0);
	/* Undone: nothing comes back by itself, a new connection passes. */
	world_rule_end(w, deny, POLICY_END_REMOVED);
	world_policy(w);
	assert_int_equal(world_live_rows(w, other), 0);
	world_connect(w, WEB, IP_TCP, OTHER_HOST, 2002, 443);
	other = w->last_mark;
	assert_int_equal(world_live_rows(w, other), 2);
	/* Another rule takes over in the same breath: never without rows. */
	world_rule(w, "allow web to 198.51.100.11 port 443/tcp");
	world_rule_end(w, 0, POLICY_END_REMOVED);
	world_policy(w);
	assert_int_equal(world_live_rows(w, other), 2);
	/* Narrowed to another port. */
	world_rule_end(w, 2, POLICY_END_REPLACED);
	world_rule(w, "allow web to 198.51.100.11 port 80/tcp");
	world_policy(w);
	assert_int_equal(world_live_rows(w, other), 0);
	world_free(w);
}

/* The new policy is checked and what lives under the old judged some at a time: connections are decided in between, by
 * the old until it is there, by the new from then on. */
static void reload_in_parts(void **state)
{
	enum { GRANTS = 600 };
	(void)state;
	struct world *w = with("allow web to 198.51.100.10 port 1-2000/tcp");
	uint32_t mark[GRANTS];
	unsigned ticks = 0, left = 0, before = 0;
	for (unsigned i = 0; i < GRANTS; i++) {
		world_connect(w, WEB, IP_TCP, HOST, (uint16_t)(2000 + i), (uint16_t)(1 + i));
		mark[i] = w->last_mark;
	}
	world_rule_end(w, 0, POLICY_END_REMOVED);
	world_rule(w, "deny web");
	w->hold_reload = true;
	world_policy(w);
	unsigned admits = w->n_admits;
	world_connect(w, WEB, IP_TCP, HOST, 5000, 1999);
	assert_int_equal(w->n_admits, admits + 1);
	for (; gate_deadline(w->g) == w->boot_ms && ticks < 100; ticks++) {
		gate_tick(w->g);
		world_turn(w);
		world_connect(w, WEB, IP_TCP, HOST, (uint16_t)(6000 + ticks), 443);
		assert_int_equal(w->n_admits, admits + 1);
		left = 0;
		for (unsigned i = 0; i < GRANTS; i++)
			left += world_live_rows(w, mark[i]) != 0;
		assert_true(before == 0 || before - left <= 150);
		before = left;
	}
	assert_true(ticks > GRANTS / 150 && ticks < 100);
	assert_int_equal(left, 0);
	world_free(w);
}

/* What has changed since a base was compiled is in force at once, without the ticks that a base takes. */
static void joined_at_once(void **state)
{
	(void)state;
	struct world *w = with("allow web to 198.51.100.10 port 443/tcp");
	const uint32_t first = 0, none = 99;
	struct gate_image i = { .gone = &first, .n_gone = 1 };
	for (unsigned k = 0; k < WORLD_POLICIES && i.base == NULL; k++) {
		if (w->policy[k] != NULL)
			i.base = policy_image(w->policy[k], &i.len);
		i.base = i.base != NULL && gate_policy_uses(w->g, i.base) ? i.base : NULL;
	}
	assert_non_null(i.base);
	unsigned admits = w->n_admits;
	world_connect(w, WEB, IP_TCP, HOST, 5000, 443);
	assert_int_equal(w->n_admits, admits + 1);
	gate_policy(w->g, 7, ++w->generation, &i);
	world_connect(w, WEB, IP_TCP, HOST, 5001, 443);
	assert_int_equal(w->n_admits, admits + 1);
	/* A number that is none: what is in force stays. */
	i.gone = &none;
	gate_policy(w->g, 8, ++w->generation, &i);
	world_connect(w, WEB, IP_TCP, HOST, 5002, 443);
	assert_int_equal(w->n_admits, admits + 1);
	i.n_gone = 0;
	gate_policy(w->g, 9, ++w->generation, &i);
	world_connect(w, WEB, IP_TCP, HOST, 5003, 443);
	assert_int_equal(w->n_admits, admits + 2);
	world_free(w);
}

/* A question does not end what runs; `ask` for it does. */
static void ask_in_the_place_of_allow(void **state)
{
	(void)state;
	struct world *w = with(RULE);
	tcp(w, 2000);
	uint32_t mark = w->last_mark;
	world_rule_end(w, 0, POLICY_END_REPLACED);
	world_rule(w, "ask web to 198.51.100.10 port 443/tcp");
	world_policy(w);
	assert_int_equal(world_live_rows(w, mark), 0);
	tcp(w, 2001);
	assert_int_equal(w->n_questions, 1);
	world_free(w);
}

/* --- limits --- */

static void grants_are_bounded(void **state)
{
	(void)state;
	struct world *w = with("allow web to 198.51.100.10");
	/* Above 853, below 5353: those the floor keeps. */
	for (unsigned i = 1000; i < 1000 + 4096; i++)
		world_connect(w, WEB, IP_TCP, HOST, 2000, (uint16_t)i);
	assert_int_equal(w->n_admits, 4096);
	world_pass(w, 2100);
	assert_int_equal(w->n_grant_ends, 0);
	/* One more: the longest idle one ends. */
	world_connect(w, WEB, IP_TCP, HOST, 2000, 5200);
	assert_int_equal(w->n_admits, 4097);
	world_pass(w, 2100);
	assert_int_equal(w->n_grant_ends, 1);
	assert_true(world_all_live(w) <= 2 * (4096 + 32));
	world_free(w);
}

static void held_and_questions_are_bounded(void **state)
{
	(void)state;
	struct world *w = with(NULL);
	world_app(w, SECOND % 64, "calm", 1000);
	for (unsigned i = 0; i < 200; i++)
		world_connect(w, WEB, IP_TCP, HOST, 2000, (uint16_t)(1 + i));
	assert_int_equal(w->n_questions, 64);
	assert_int_equal(w->n_refused, 200 - 64);
	/* Another app is asked about all the same, and an allowed packet needs no place. */
	world_connect(w, SECOND % 64, IP_TCP, HOST, 2000, 443);
	assert_int_equal(w->n_questions, 65);
	world_rule(w, "allow web to 198.51.100.11");
	world_policy(w);
	world_connect(w, WEB, IP_TCP, OTHER_HOST, 2000, 443);
	assert_int_equal(w->n_admits, 1);
	/* Their patience over, all places are free again. */
	world_pass(w, 61000);
	assert_true(w->n_question_ends >= 64);
	world_connect(w, WEB, IP_TCP, HOST, 3000, 443);
	assert_true(w->n_questions >= 66);
	world_free(w);
}

static void refused_rows_are_bounded(void **state)
{
	(void)state;
	struct world *w = with("deny web");
	for (unsigned i = 0; i < 1000; i++)
		world_connect(w, WEB, IP_TCP, HOST, 2000, (uint16_t)(1 + i));
	assert_int_equal(w->n_refused_rows, 256);
	world_pass(w, 2001);
	for (unsigned i = 0; i < 1000; i++)
		world_connect(w, WEB, IP_TCP, HOST, 2000, (uint16_t)(1 + i));
	assert_int_equal(w->n_refused_rows, 512);
	world_free(w);
}

static void hot_rows_are_bounded(void **state)
{
	(void)state;
	struct world *w = with("allow web to 198.51.100.10");
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 1; i <= 100; i++)
			world_connect(w, WEB, IP_TCP, HOST, (uint16_t)(2000 + round), (uint16_t)i);
	}
	assert_int_equal(w->n_hot, 64);
	world_free(w);
}

/* --- names --- */

/* A name allowed by a pattern is looked up at once, sixty new ones a minute; further ones wait for a person. */
static void new_names_are_bounded(void **state)
{
	(void)state;
	char name[96];
	struct world *w = with("allow web to *.example.com");
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "n%u.example.com", i);
		world_lookup(w, WEB, name, 1);
	}
	assert_int_equal(w->n_resolves, 60);
	/* What was beyond has an address of ours; connecting asks, and so does any other type. */
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	world_connect(w, WEB, IP_TCP, addr_to_u32(&w->answer.address), 2000, 443);
	assert_int_equal(w->n_questions, 1);
	world_lookup(w, WEB, "t1.example.com", 16);
	assert_int_equal(w->answer.kind, ANSWER_REFUSED);
	/* A rule on the name itself is the answer. */
	world_rule(w, "allow web to n199.example.com");
	world_policy(w);
	assert_int_equal(w->n_resolves, 61);
	world_resolved(w, OTHER_HOST);
	assert_int_equal(w->n_admits, 1);
	/* Another domain, another app, another minute. */
	world_rule(w, "allow any to *.example.net");
	world_policy(w);
	world_lookup(w, WEB, "a.example.net", 1);
	assert_int_equal(w->n_resolves, 62);
	world_pass(w, 60000);
	world_lookup(w, WEB, "m0.example.com", 1);
	assert_int_equal(w->n_resolves, 63);
	world_free(w);
}

/* Long names are worth more: they carry more. */
static void long_names_count_more(void **state)
{
	(void)state;
	char name[200], label[] = "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuv";
	struct world *w = with("allow web to *.example.com");
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%03u%s.%s.example.com", i, label, label);
		world_lookup(w, WEB, name, 1);
	}
	assert_int_equal(w->n_resolves, 15);
	world_free(w);
}

/* One app's questions take no other's place, neither of those that wait nor of the answers. */
static void lookups_are_shared(void **state)
{
	(void)state;
	char name[96];
	struct world *w = world_new();
	world_app(w, WEB, "web", 1000);
	world_app(w, DB, "db", 1000);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "allow any to *.d%u.test", i);
		world_rule(w, name);
	}
	world_rule(w, "allow db to mine.example.org");
	world_policy(w);
	world_lookup(w, DB, "mine.example.org", 1);
	world_resolved(w, OTHER_HOST);
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	unsigned before = w->n_resolves;
	/* As fast as an app may, in more than there are places for all. */
	for (unsigned i = 0; i < 2250; i++) {
		if (i % 450 == 449)
			world_pass(w, 1001);
		snprintf(name, sizeof(name), "n%u.d%u.test", i, i % 40);
		world_lookup(w, WEB, name, 1);
	}
	assert_true(w->n_resolves > before);
	world_lookup(w, DB, "n1.d1.test", 1);
	assert_int_not_equal(w->answer.kind, ANSWER_SERVFAIL);
	unsigned asked = w->n_resolves;
	world_lookup(w, DB, "mine.example.org", 1);
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	assert_int_equal(w->n_resolves, asked);
	world_free(w);
}

/* A refusal of a name behind the one that was asked ends what flows, also when gate is new and has to learn that name.
 */
static void refusal_of_the_name_behind(void **state)
{
	(void)state;
	struct world *w = with("allow web to www.example.com");
	world_lookup(w, WEB, "www.example.com", 1);
	world_resolved_as(w, HOST, "edge.example.net");
	world_connect(w, WEB, IP_TCP, addr_to_u32(&w->answer.address), 2000, 443);
	uint32_t mark = w->last_mark;
	assert_int_equal(world_live_rows(w, mark), 2);
	/* Old, and being asked again: still known. */
	world_pass(w, 301000);
	world_lookup(w, WEB, "www.example.com", 1);
	assert_int_equal(w->n_resolves, 2);
	size_t deny = world_rule(w, "final deny web to edge.example.net");
	world_policy(w);
	assert_int_equal(world_live_rows(w, mark), 0);
	world_rule_end(w, deny, POLICY_END_REMOVED);
	world_policy(w);
	world_resolved_as(w, HOST, "edge.example.net");
	world_connect(w, WEB, IP_TCP, addr_to_u32(&w->answer.address), 2001, 443);
	mark = w->last_mark;
	/* A new gate knows no answers: it asks for those that grants need. */
	world_rule(w, "final deny web to edge.example.net");
	world_gate_again(w, &w->grant, 1, true);
	assert_int_equal(world_live_rows(w, mark), 2);
	world_pass(w, 1);
	assert_int_equal(w->n_resolves, 3);
	world_resolved_as(w, HOST, "edge.example.net");
	assert_int_equal(world_live_rows(w, mark), 0);
	world_free(w);
}

/* What a resolver that died was asked is asked of the next one at once, unless the rule that let it out is gone. */
static void new_resolver_is_asked_again(void **state)
{
	(void)state;
	struct world *w = with("allow web to www.example.com");
	size_t other = world_rule(w, "allow web to gone.example.com");
	world_policy(w);
	world_lookup(w, WEB, "gone.example.com", 1);
	world_lookup(w, WEB, "www.example.com", 1);
	assert_int_equal(w->n_resolves, 2);
	world_rule_end(w, other, POLICY_END_REMOVED);
	world_policy(w);
	assert_int_equal(w->n_answers, 0);
	uint32_t before = w->resolve_id;
	gate_resolver_back(w->g);
	world_turn(w);
	assert_int_equal(w->n_resolves, 3);
	assert_int_not_equal(w->resolve_id, before);
	assert_int_equal(w->n_answers, 1);
	/* One that comes meanwhile waits for the same answer. */
	world_lookup(w, WEB, "www.example.com", 1);
	assert_int_equal(w->n_resolves, 3);
	world_resolved(w, HOST);
	assert_int_equal(w->n_answers, 3);
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	gate_resolver_back(w->g);
	world_turn(w);
	assert_int_equal(w->n_resolves, 3);
	world_free(w);
}

/* --- between apps --- */

static uint32_t db4(void)
{
	return 0x64400000 + DB * 4 + 2;
}

static struct world *pair(uint32_t owner)
{
	struct world *w = with("allow web to app:db port 5432/tcp");
	world_app(w, DB, "db", owner);
	return w;
}

static void peer_of_one_owner(void **state)
{
	(void)state;
	struct world *w = pair(1000);
	world_connect(w, WEB, IP_TCP, db4(), 2000, 5432);
	assert_int_equal(w->n_admits, 1);
	/* One number, two directions, two apps. */
	assert_int_equal(world_live_rows(w, w->last_mark), 4);
	world_connect(w, WEB, IP_TCP, db4(), 2000, 5433);
	world_connect(w, WEB, IP_UDP, db4(), 2000, 5432);
	world_connect(w, DB, IP_TCP, 0x64400000 + WEB * 4 + 2, 2000, 5432);
	/* Nobody has that address; its own. */
	world_connect(w, WEB, IP_TCP, 0x64400000 + 9 * 4 + 2, 2000, 5432);
	world_connect(w, WEB, IP_TCP, 0x64400000 + WEB * 4 + 2, 2000, 5432);
	assert_int_equal(w->n_admits, 1);
	assert_int_equal(w->n_questions, 0);
	world_app_ends(w, DB);
	assert_int_equal(world_live_rows(w, w->last_mark), 0);
	world_free(w);
}

static void peer_of_another_owner(void **state)
{
	(void)state;
	struct world *w = pair(1001);
	world_connect(w, WEB, IP_TCP, db4(), 2000, 5432);
	assert_int_equal(w->n_admits, 0);
	size_t in = world_rule(w, "allow db from app:web port 5432/tcp 2 times");
	world_policy(w);
	for (uint16_t i = 0; i < 5; i++) {
		world_connect(w, WEB, IP_TCP, db4(), (uint16_t)(3000 + i), 5432);
		world_settle(w, 9);
	}
	assert_int_equal(w->n_admits, 2);
	assert_int_equal(w->rule[in].meta.ended, POLICY_END_USED);
	/* Used up, not taken back: what it let in stays; a new refusal ends it. */
	assert_int_equal(world_live_rows(w, w->last_mark), 4);
	world_pass(w, 10);
	world_rule(w, "deny db from app:web");
	world_policy(w);
	assert_int_equal(world_live_rows(w, w->last_mark), 0);
	world_free(w);
}

/* The other app's refusal is in force before its count is durable: the packet that waits for the count goes nowhere. */
static void peers_refusal_overtakes_charge(void **state)
{
	(void)state;
	struct world *w = pair(1001);
	world_rule(w, "allow db from app:web port 5432/tcp once");
	world_policy(w);
	world_connect(w, WEB, IP_TCP, db4(), 2000, 5432);
	assert_int_equal(w->n_charges, 1);
	world_pass(w, 10);
	world_rule(w, "final deny db from app:web");
	world_policy(w);
	world_settle(w, 1);
	assert_int_equal(w->n_admits, 0);
	world_free(w);
}

static void peer_is_asked_about(void **state)
{
	(void)state;
	struct world *w = pair(1000);
	world_rule(w, "ask db from app:web");
	world_policy(w);
	world_connect(w, WEB, IP_TCP, db4(), 2000, 5432);
	assert_int_equal(w->n_questions, 1);
	assert_int_equal(w->question.ref.slot, DB);
	assert_int_equal(w->question.peer_slot, WEB);
	assert_int_equal(w->question.inbound, 1);
	world_app_ends(w, DB);
	assert_int_equal(w->n_question_ends, 1);
	assert_int_equal(w->n_admits, 0);
	world_free(w);
}

static void peer_has_a_name(void **state)
{
	(void)state;
	struct world *w = pair(1000);
	world_app(w, 3, "third", 1000);
	world_lookup(w, WEB, "db.app.internal", 1);
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	uint32_t syn = addr_to_u32(&w->answer.address);
	world_lookup(w, WEB, "db.app.internal", 28);
	assert_int_equal(w->answer.kind, ANSWER_ADDRESS);
	world_lookup(w, 3, "db.app.internal", 1);
	assert_int_equal(w->answer.kind, ANSWER_NXDOMAIN);
	world_lookup(w, WEB, "third.app.internal", 1);
	assert_int_equal(w->answer.kind, ANSWER_NXDOMAIN);
	world_lookup(w, WEB, "app.internal", 1);
	assert_int_equal(w->answer.kind, ANSWER_NXDOMAIN);
	assert_int_equal(w->n_resolves, 0);
	world_connect(w, WEB, IP_TCP, syn, 2000, 5432);
	assert_int_equal(w->n_admits, 1);
	assert_int_equal(addr_to_u32(&w->last_nat), db4());
	world_app_ends(w, DB);
	world_connect(w, WEB, IP_TCP, syn, 2001, 5432);
	assert_int_equal(w->n_admits, 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(count_is_exact),
		cmocka_unit_test(count_is_never_exceeded),
		cmocka_unit_test(count_ignores_copies),
		cmocka_unit_test(refusal_in_force_later),
		cmocka_unit_test(used_up_told_twice),
		cmocka_unit_test(refusal_overtakes_charge),
		cmocka_unit_test(time_ends_on_both_clocks),
		cmocka_unit_test(wall_set_back),
		cmocka_unit_test(wall_set_forward),
		cmocka_unit_test(asleep),
		cmocka_unit_test(no_policy_no_lease),
		cmocka_unit_test(restored_without_its_rule),
		cmocka_unit_test(grants_follow_policy),
		cmocka_unit_test(reload_in_parts),
		cmocka_unit_test(joined_at_once),
		cmocka_unit_test(ask_in_the_place_of_allow),
		cmocka_unit_test(grants_are_bounded),
		cmocka_unit_test(held_and_questions_are_bounded),
		cmocka_unit_test(refused_rows_are_bounded),
		cmocka_unit_test(hot_rows_are_bounded),
		cmocka_unit_test(new_names_are_bounded),
		cmocka_unit_test(new_resolver_is_asked_again),
		cmocka_unit_test(long_names_count_more),
		cmocka_unit_test(lookups_are_shared),
		cmocka_unit_test(refusal_of_the_name_behind),
		cmocka_unit_test(peer_of_one_owner),
		cmocka_unit_test(peer_of_another_owner),
		cmocka_unit_test(peers_refusal_overtakes_charge),
		cmocka_unit_test(peer_is_asked_about),
		cmocka_unit_test(peer_has_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
