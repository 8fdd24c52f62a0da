/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an application asks for, written down. Learning answers the questions that would be asked only because no rule
 * speaks of the thing, one narrow rule each; so nothing that a rule, a list or the floor says is overridden. Those
 * rules are in memory alone, under the eyes of a connected client, and have the learning's end as their deadline. A
 * rehearsal lets nothing pass: the gate refuses what any rule would allow, and a rule above all others makes every name
 * unknown, so that nothing is looked up either.
 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/question.h"
#include "desk/rule.h"
#include "desk/undo.h"
#include "policy/suggest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEARN_MAX_S = 86400 };

static struct learning *learning_of(struct desk *d, uint32_t owner, const char *app)
{
	for (unsigned i = 0; i < DESK_LEARNINGS; i++) {
		struct learning *l = &d->learnings[i];
		if (l->id != 0 && l->owner == owner && strcmp(l->app, app) == 0)
			return l;
	}
	return NULL;
}

static void tell(struct desk *d, const struct learning *l, const char *event, json_t *more)
{
	struct client *c = &d->clients[l->client];
	json_t *p = json_pack("{s:s, s:I}", "event", event, "sequence", (json_int_t)c->sequence++);
	json_object_update(p, more);
	json_decref(more);
	if (strcmp(event, "ended") == 0)
		client_reply(d, c, p);
	else
		client_stream(d, c, p);
}

/* Rules of a learning end with it, whatever the disk says. */
static void learning_end(struct desk *d, struct learning *l, const char *by)
{
	struct rule **ended = calloc(d->n_rules + 1, sizeof(*ended));
	size_t n = 0;
	uint32_t who = d->clients[l->client].uid;
	for (size_t i = 0; ended != NULL && i < d->n_rules; i++) {
		if (d->rules[i]->learning == l->id && rule_running(d->rules[i]))
			ended[n++] = d->rules[i];
	}
	if (n > 0 && rules_end(d, ended, n, who, POLICY_END_TIME) != 0)
		log_msg(LOG_ERROR, "a policy without what was learnt could not be made");
	free(ended);
	log_entry(d, "learn-ended", l->owner, l->app, json_pack("{s:s, s:o}", "text", by, "by", owner_json(d, who)));
	if (d->clients[l->client].wait == CLIENT_LEARNS && !d->clients[l->client].dead)
		tell(d, l, "ended", json_pack("{s:s}", "by", by));
	*l = (struct learning){ 0 };
}

void learn_client_gone(struct desk *d, const struct client *c)
{
	for (unsigned i = 0; i < DESK_LEARNINGS; i++) {
		struct learning *l = &d->learnings[i];
		if (l->id == 0 || &d->clients[l->client] != c)
			continue;
		d->clients[l->client].dead = true;
		learning_end(d, l, "the client went away");
	}
}

void learn_tick(struct desk *d)
{
	for (unsigned i = 0; i < DESK_LEARNINGS; i++) {
		if (d->learnings[i].id != 0 && clock_boot_ms() >= d->learnings[i].until_boot_ms)
			learning_end(d, &d->learnings[i], "the time is over");
	}
}

int64_t learn_next_ms(const struct desk *d)
{
	int64_t at = -1;
	for (unsigned i = 0; i < DESK_LEARNINGS; i++) {
		const struct learning *l = &d->learnings[i];
		if (l->id != 0 && (at < 0 || l->until_boot_ms < at))
			at = l->until_boot_ms;
	}
	return at;
}

/* Asked because nothing speaks of it, or by an `ask any` that says the same. */
static bool asked_by_default(const struct desk *d, const struct policy_request *q)
{
	struct policy_verdict v;
	policy_decide(d->policy, q, &v);
	if (v.answer != POLICY_SAYS_ASK)
		return false;
	if (v.rule == POLICY_NO_RULE)
		return true;
	const struct policy_rule *r = &d->by_index[v.rule]->e.rule;
	return !r->final && r->subject == POLICY_SUBJECT_ANY && r->peer.kind == POLICY_PEER_ANY && r->n_ports == 0;
}

static bool learnable(const struct desk *d, const struct wait *w, const struct policy_request *q)
{
	if (w->q.inbound || w->q.withheld || w->peer_app[0] != '\0')
		return false;
	if (w->q.name.len == 0 && policy_classify(d->policy, &w->q.address) != POLICY_CLASS_INTERNET)
		return false;
	return asked_by_default(d, q);
}

/* The narrowest suggestion that allows without a life: it has been tried, so it decides. */
static bool narrow_rule(struct desk *d, const struct policy_request *q, char line[POLICY_SUGGEST_LEN],
	struct policy_rule *ret)
{
	static struct policy_suggestions s;
	if (policy_suggest(&d->input, d->policy, q, &s) != 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (strncmp(s.line[i], "allow ", 6) != 0 ||
			policy_parse_rule(s.line[i], strlen(s.line[i]), ret, NULL) != 0)
			continue;
		if (!policy_rule_limited(ret)) {
			memcpy(line, s.line[i], POLICY_SUGGEST_LEN);
			return true;
		}
		policy_rule_fini(ret);
	}
	return false;
}

static int learn_rule(struct desk *d, struct learning *l, struct policy_rule *parsed, const char *line)
{
	struct rule *r;
	int64_t left_ms = l->until_boot_ms - clock_boot_ms();
	parsed->lives.for_s = left_ms < 1000 ? 1 : left_ms / 1000;
	parsed->note = strdup("learning");
	int err = rule_make(d, parsed, l->owner, &r);
	if (err != 0)
		return err;
	r->learning = l->id;
	err = rule_append(d, r);
	if (err != 0) {
		rule_free(r);
		return err;
	}
	struct change by = { .who = d->clients[l->client].uid, .why = "learning" };
	if (change_begin(d, &by) != 0 || rule_note(d, r, &by, "learned", by.why) != 0)
		log_msg(LOG_WARNING, "something that was learnt could not be put into the journal");
	l->n++;
	desk_flush_later(d);
	log_entry(d, "rule-added", l->owner, l->app, json_pack("{s:s, s:s}", "rule", r->line, "text", "learning"));
	tell(d, l, "wanted", json_pack("{s:s}", "rule", line));
	return 0;
}

static bool known(const struct desk *d, const struct policy_rule *parsed, uint32_t owner)
{
	struct policy_rule limited = *parsed;
	uint8_t id[POLICY_ID_LEN];
	limited.lives.for_s = 1;
	return policy_id(&limited, POLICY_ORIGIN_ANSWER, owner, id) == 0 && rule_by_id(d, id) != NULL;
}

bool learn_take(struct desk *d, const struct wait *w, bool *ret_made)
{
	struct learning *l = learning_of(d, w->owner, w->app);
	struct question q = { .q = w->q, .owner = w->owner };
	struct policy_rule parsed;
	char line[POLICY_SUGGEST_LEN];
	if (l == NULL || l->n >= DESK_LEARNED_MAX)
		return false;
	memcpy(q.app, w->app, sizeof(q.app));
	struct policy_request request = question_request(&q);
	if (!learnable(d, w, &request) || !narrow_rule(d, &request, line, &parsed))
		return false;
	/* It has been learnt, and once that is in force it does not decide after all: a person does. */
	if (known(d, &parsed, w->owner)) {
		policy_rule_fini(&parsed);
		return *ret_made || d->in_force < d->generation;
	}
	if (learn_rule(d, l, &parsed, line) != 0)
		return false;
	*ret_made = true;
	return true;
}

static struct learning *place(struct desk *d, struct client *c)
{
	struct learning *free_one = NULL;
	unsigned same = 0;
	for (unsigned i = 0; i < DESK_LEARNINGS; i++) {
		struct learning *l = &d->learnings[i];
		if (l->id == 0)
			free_one = l;
		else
			same += d->clients[l->client].uid == c->uid;
	}
	if (free_one != NULL && same < DESK_LEARNINGS_PER_UID)
		return free_one;
	client_error(d, c, "org.sekisho.Limit",
		json_pack("{s:s, s:i, s:s}", "what", "learnings", "limit", (int)DESK_LEARNINGS_PER_UID, "text",
			"too many applications are being learnt; end one"));
	return NULL;
}

void learn_begin(struct desk *d, struct client *c)
{
	const char *app = NULL;
	uint32_t owner;
	bool said;
	int64_t seconds = 0;
	if (!arg_app(d, c, true, &app) || !arg_int(d, c, "seconds", 1, LEARN_MAX_S, &seconds) ||
		!arg_owner(d, c, &owner, &said))
		return;
	if (seconds == 0) {
		arg_bad(d, c, "seconds", "it is missing");
		return;
	}
	if (!c->call.more) {
		client_error(d, c, "org.varlink.service.ExpectedMore", NULL);
		return;
	}
	if (learning_of(d, owner, app) != NULL) {
		client_fail(d, c, "org.sekisho.Exists", "%s is being learnt already", app);
		return;
	}
	struct learning *l = place(d, c);
	if (l == NULL)
		return;
	if (++d->last_learning == 0)
		d->last_learning = 1;
	*l = (struct learning){ .id = d->last_learning,
		.client = (int)(c - d->clients),
		.owner = owner,
		.until_boot_ms = clock_boot_ms() + seconds * 1000 };
	snprintf(l->app, sizeof(l->app), "%s", app);
	c->wait = CLIENT_LEARNS;
	c->sequence = 0;
	log_entry(d, "learn-began", owner, app, json_pack("{s:o}", "by", owner_json(d, c->uid)));
	tell(d, l, "began", json_pack("{s:o}", "ends", time_json(clock_wall_ms() + seconds * 1000)));
	/* What waits now is wanted, too. */
	d->waits_changed = true;
}

int rehearse_begin(struct desk *d, struct app *a)
{
	char line[IPC_APP_MAX + 40];
	struct policy_rule parsed;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct rule *r = d->apps[i].rehearsal;
		if (r != NULL && strcmp(d->apps[i].gate.name, a->gate.name) == 0)
			return -EEXIST;
	}
	int n = snprintf(line, sizeof(line), "final ask %s note \"rehearsal\"", a->gate.name);
	int err = policy_parse_rule(line, (size_t)n, &parsed, NULL);
	/* The fleet's place is above every other's. */
	if (err == 0)
		err = rule_new(&parsed, POLICY_ORIGIN_FLEET, a->gate.owner, &a->rehearsal);
	if (err == 0) {
		a->rehearsal->e.meta.created_ms = clock_wall_ms();
		policy_touch(d, a->rehearsal);
	}
	return err;
}

void rehearse_end(struct desk *d, struct app *a)
{
	struct rule *r = a->rehearsal;
	if (r == NULL)
		return;
	/* The policy in use still points to it until another has been made. */
	a->rehearsal = NULL;
	rule_set_end(d, r, POLICY_END_EXIT);
	if (rules_activate(d, NULL) == 0) {
		policy_forget(d, r);
		rule_free(r);
	} else
		log_msg(LOG_ERROR, "a policy without the rehearsal of %s could not be made", a->gate.name);
}
