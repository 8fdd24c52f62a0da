/* SPDX-License-Identifier: Apache-2.0 */
/* kill -9 at any moment, again and again, while rules are added, replaced and removed, questions answered and counts
 * charged: what was acknowledged is there afterwards, and what was not is there whole or not at all. */
#include "world.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { KILLS = 120, NAMES = 10, LIFE_MAX_MS = 50, TIMES = 100000 };

static unsigned seed;

static unsigned pick(unsigned n)
{
	seed = seed * 1103515245U + 12345U;
	return (seed >> 16) % n;
}

/* By name: what was acknowledged last, and what may have become of it since. */
static enum policy_answer known[NAMES], maybe[NAMES];
static unsigned acked, charged, charged_maybe;
static uint32_t last_number;

static const char *name_of(unsigned i, char buf[32])
{
	snprintf(buf, 32, "www.site%u.org", i);
	return buf;
}

static const char *line_of(unsigned i, enum policy_answer v, char buf[64])
{
	char name[32];
	snprintf(buf, 64, "%s web to %s",
		v == POLICY_SAYS_ALLOW	? "allow"
		: v == POLICY_SAYS_DENY ? "deny"
					: "drop",
		name_of(i, name));
	return buf;
}

static bool dead(void)
{
	siginfo_t i = { .si_pid = 0 };
	return waitid(P_PID, (id_t)w.pid, &i, WEXITED | WNOHANG | WNOWAIT) == 0 && i.si_pid == w.pid;
}

/* The next reply; NULL: the desk has died. */
static json_t *reply_or_death(struct call *c)
{
	for (;;) {
		json_t *m;
		char *p;
		size_t room;
		int got = api_in_next(&c->in, &m);
		assert_true(got >= 0);
		if (got == 1)
			return m;
		assert_int_equal(api_in_room(&c->in, &p, &room), 0);
		ssize_t n = recv(c->fd, p, room, MSG_DONTWAIT);
		if (n > 0)
			api_in_add(&c->in, (size_t)n);
		else if (dead() || n == 0 || errno != EAGAIN)
			return NULL;
		else
			play(c->fd);
	}
}

static json_t *ask(const char *method, json_t *params)
{
	struct call c;
	call_begin(&c, method, params, NULL);
	json_t *m = reply_or_death(&c);
	call_end(&c);
	if (m != NULL && json_object_get(m, "error") != NULL)
		fail_msg("%s: %s", method, json_dumps(m, 0));
	json_t *p = m == NULL ? NULL : json_incref(json_object_get(m, "parameters"));
	json_decref(m);
	return p;
}

static bool settle(unsigned i, json_t *reply)
{
	if (reply == NULL)
		return false;
	json_decref(reply);
	known[i] = maybe[i];
	acked++;
	return true;
}

static bool add_one(unsigned i)
{
	char line[64];
	maybe[i] = (enum policy_answer[]){ POLICY_SAYS_ALLOW, POLICY_SAYS_DENY, POLICY_SAYS_DROP }[pick(3)];
	return settle(i, ask("org.sekisho.Rules.Add", json_pack("{s:[s]}", "rules", line_of(i, maybe[i], line))));
}

static bool remove_one(unsigned i)
{
	char line[64];
	json_t *list = ask("org.sekisho.Rules.List", NULL), *r;
	const char *id = NULL;
	size_t k;
	if (list == NULL)
		return false;
	json_array_foreach(json_object_get(list, "rules"), k, r)
	{
		if (strcmp(str(r, "rule"), line_of(i, known[i], line)) == 0)
			id = str(r, "rule_id");
	}
	assert_non_null(id);
	maybe[i] = POLICY_SAYS_ASK;
	json_t *p = json_pack("{s:[s]}", "ids", id);
	json_decref(list);
	return settle(i, ask("org.sekisho.Rules.Remove", p));
}

/* The card about this name, when there is one; *ret_dead: nobody can say. */
static json_t *card(const char *name, bool *ret_dead)
{
	json_t *list = ask("org.sekisho.Questions.List", NULL), *q, *found = NULL;
	size_t k;
	*ret_dead = list == NULL;
	json_array_foreach(json_object_get(list, "questions"), k, q)
	{
		if (strcmp(str(q, "name"), name) == 0 && json_is_true(json_object_get(q, "waiting")))
			found = json_incref(q);
	}
	json_decref(list);
	return found;
}

static bool answer_one(unsigned i)
{
	char name[32], line[64];
	bool gone = false;
	json_t *q = NULL;
	ask_gate(++last_number, name_of(i, name), 60000);
	while (q == NULL && !gone)
		q = card(name, &gone);
	if (gone)
		return false;
	maybe[i] = pick(2) == 0 ? POLICY_SAYS_ALLOW : POLICY_SAYS_DENY;
	json_t *p = answer_params(q, line_of(i, maybe[i], line));
	json_decref(q);
	if (!settle(i, ask("org.sekisho.Questions.Answer", p)))
		return false;
	struct ipc_u32 number = { .v = last_number };
	(void)!ipc_send(w.chan[ROLE_GATE], IPC_QUESTION_END, 0, u32, &number, NULL, 0);
	return true;
}

static bool charge_one(void)
{
	struct ipc_charge c = { .ref = w.app.ref };
	unsigned before = w.n_charged;
	for (size_t i = 0; i < policy_n_rules(w.policy); i++) {
		if (policy_rule_meta(w.policy, i)->times_left != 0)
			memcpy(c.rule, policy_rule_meta(w.policy, i)->id, sizeof(c.rule));
	}
	charged_maybe++;
	(void)!ipc_send(w.chan[ROLE_GATE], IPC_CHARGE, 5, charge, &c, NULL, 0);
	while (w.n_charged == before) {
		if (dead())
			return false;
		play(-1);
	}
	assert_int_equal(w.charged.err, 0);
	charged++;
	charged_maybe--;
	return true;
}

static bool step(void)
{
	unsigned i = pick(NAMES);
	switch (pick(4)) {
	case 0:
		return charge_one();
	case 1:
		return known[i] == POLICY_SAYS_ASK ? answer_one(i) : remove_one(i);
	default:
		return add_one(i);
	}
}

/* As it is now: what was acknowledged, or the one change nobody had heard of yet. */
static void check(void)
{
	char name[32];
	for (unsigned i = 0; i < NAMES; i++) {
		enum policy_answer is = judge(name_of(i, name));
		if (is != known[i] && is != maybe[i])
			fail_msg("%s: is %d, was acknowledged as %d, or could be %d", name, (int)is, (int)known[i],
				(int)maybe[i]);
		known[i] = maybe[i] = is;
	}
	json_t *p = expect("org.sekisho.Rules.List", NULL), *r;
	json_int_t left = -1;
	size_t k;
	json_array_foreach(json_object_get(p, "rules"), k, r)
	{
		if (json_is_integer(json_object_get(r, "times_left")))
			left = json_integer_value(json_object_get(r, "times_left"));
	}
	json_decref(p);
	assert_in_range(left, TIMES - charged - charged_maybe, TIMES - charged);
	charged = (unsigned)(TIMES - left);
	charged_maybe = 0;
}

static pid_t killer(void)
{
	unsigned life = pick(LIFE_MAX_MS);
	pid_t desk = w.pid, pid = fork();
	if (pid == 0) {
		poll(NULL, 0, (int)life);
		kill(desk, SIGKILL);
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void test_kills(void **state)
{
	(void)state;
	const char *given = getenv("SEED");
	seed = given != NULL ? (unsigned)atoi(given) : (unsigned)getpid();
	print_message("SEED=%u\n", seed);
	for (unsigned i = 0; i < NAMES; i++)
		known[i] = maybe[i] = POLICY_SAYS_ASK;
	char line[64];
	snprintf(line, sizeof(line), "allow web to count.example.org %d times", (int)TIMES);
	start(NULL);
	json_decref(add(line));
	attach("web");
	for (unsigned n = 0; n < KILLS; n++) {
		pid_t k = killer();
		w.mortal = true;
		while (step())
			;
		end_desk(SIGKILL);
		w.mortal = false;
		assert_int_equal(waitpid(k, NULL, 0), k);
		start(NULL);
		UNTIL(w.generation > 0);
		check();
	}
	print_message("%u kills, %u changes and %u counts acknowledged\n", (unsigned)KILLS, acked, charged);
	assert_true(acked >= KILLS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_kills, world_setup, world_teardown) };
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
