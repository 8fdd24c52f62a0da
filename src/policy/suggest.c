/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/suggest.h"

#include "policy/id.h"
#include "policy/print.h"

#include <errno.h>
#include <libpsl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The rules that could touch the question, and one on trial behind them. What does not match now does not match with
 * one rule more, so that a large policy does not make a person wait. */
struct trial {
	struct policy_input in;
	struct policy_entry *rules; /* shallow copies */
	size_t *from;		    /* their indices in the input */
	const struct policy_request *q;
	size_t n;
};

static bool same_rule(const struct policy_entry *old, const uint8_t id[POLICY_ID_LEN])
{
	uint8_t own[POLICY_ID_LEN];
	/* Ids may not have been filled in. */
	return policy_id(&old->rule, old->meta.origin, old->meta.owner, own) == 0 && memcmp(own, id, sizeof(own)) == 0;
}

/* 1: with `rule` added the verdict is its verb and it decides. */
static int try_rule(struct trial *t, const struct policy_rule *rule, uint32_t owner, size_t *ret_by)
{
	struct policy_entry *e = &t->rules[t->n];
	struct policy *p;
	struct policy_verdict v;
	size_t hidden = SIZE_MAX;
	*e = (struct policy_entry){ .rule = *rule,
		.meta = { .origin = POLICY_ORIGIN_ANSWER, .owner = owner, .created_ms = t->q->now_ms } };
	e->meta.deadline_ms = policy_lives_deadline(&rule->lives, t->in.env.tz, t->in.env.n_tz, t->q->now_ms);
	e->meta.times_left = rule->lives.times;
	int rc = policy_id(rule, POLICY_ORIGIN_ANSWER, owner, e->meta.id);
	if (rc < 0)
		return rc;
	/* The newer of two of the same rule replaces the older. */
	for (size_t i = 0; i < t->n && hidden == SIZE_MAX; i++) {
		bool answer =
			t->rules[i].meta.origin == POLICY_ORIGIN_ANSWER && t->rules[i].meta.ended == POLICY_RUNNING;
		if (answer && same_rule(&t->rules[i], e->meta.id))
			hidden = i;
	}
	if (hidden != SIZE_MAX)
		t->rules[hidden].meta.ended = POLICY_END_REPLACED;
	t->in.n_rules = t->n + 1;
	rc = policy_compile(&t->in, &p, NULL);
	if (hidden != SIZE_MAX)
		t->rules[hidden].meta.ended = POLICY_RUNNING;
	if (rc < 0)
		return rc;
	policy_decide(p, t->q, &v);
	policy_free(p);
	static const enum policy_answer says[] = { POLICY_SAYS_ALLOW, POLICY_SAYS_ASK, POLICY_SAYS_DENY,
		POLICY_SAYS_DROP };
	bool won = v.rule == t->n && v.answer == says[rule->verb];
	if (!won)
		*ret_by = v.rule >= t->n ? POLICY_NO_RULE : t->from[v.rule];
	return won;
}

static int trial_take(struct trial *t, const struct policy_input *in, const struct policy_match *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool there = false;
		for (size_t k = 0; k < t->n && !there; k++)
			there = t->from[k] == m[i].rule;
		if (there)
			continue;
		struct policy_entry *rules = realloc(t->rules, (t->n + 2) * sizeof(*rules));
		if (rules == NULL)
			return -ENOMEM;
		t->rules = rules;
		size_t *from = realloc(t->from, (t->n + 1) * sizeof(*from));
		if (from == NULL)
			return -ENOMEM;
		t->from = from;
		rules[t->n] = in->rules[m[i].rule];
		from[t->n++] = m[i].rule;
	}
	return 0;
}

static int trial_narrow(struct trial *t, const struct policy_input *in, const struct policy *p,
	const struct policy_request *q)
{
	enum { FIRST = 256 };
	size_t cap = FIRST;
	struct policy_match *m = calloc(cap, sizeof(*m));
	long n = m == NULL ? -ENOMEM : policy_explain(p, q, m, cap);
	if (n > FIRST) {
		free(m);
		cap = (size_t)n;
		m = calloc(cap, sizeof(*m));
		n = m == NULL ? -ENOMEM : policy_explain(p, q, m, cap);
	}
	int rc = n < 0 ? (int)n : trial_take(t, in, m, (size_t)n);
	free(m);
	return rc;
}

static void trial_fini(struct trial *t)
{
	free(t->rules);
	free(t->from);
}

/* Every rule: between applications the other's side is judged, too, and its rules do not match this request. */
static int trial_whole(struct trial *t, const struct policy_input *in)
{
	t->rules = calloc(in->n_rules + 1, sizeof(*t->rules));
	t->from = calloc(in->n_rules + 1, sizeof(*t->from));
	if (t->rules == NULL || t->from == NULL)
		return -ENOMEM;
	if (in->n_rules != 0)
		memcpy(t->rules, in->rules, in->n_rules * sizeof(*t->rules));
	for (size_t i = 0; i < in->n_rules; i++)
		t->from[i] = i;
	t->n = in->n_rules;
	return 0;
}

static int trial_init(struct trial *t, const struct policy_input *in, const struct policy *p,
	const struct policy_request *q)
{
	struct policy_request bare = *q;
	int rc;
	bare.name = NULL;
	*t = (struct trial){ .in = *in, .q = q };
	if (q->peer_app != NULL) {
		rc = trial_whole(t, in);
	} else {
		rc = trial_narrow(t, in, p, q);
		if (rc == 0 && q->name != NULL && q->addr != NULL)
			rc = trial_narrow(t, in, p, &bare);
		if (rc == 0 && t->rules == NULL)
			rc = (t->rules = calloc(1, sizeof(*t->rules))) == NULL ? -ENOMEM : 0;
	}
	t->in.rules = t->rules;
	if (rc != 0)
		trial_fini(t);
	return rc;
}

int policy_would_win(const struct policy_input *in, const struct policy *p, const struct policy_rule *rule,
	uint32_t owner, const struct policy_request *q, size_t *ret_by)
{
	struct trial t;
	int rc = trial_init(&t, in, p, q);
	if (rc < 0)
		return rc;
	rc = try_rule(&t, rule, owner, ret_by);
	trial_fini(&t);
	return rc;
}

bool policy_registrable(const struct name *n, struct name *ret)
{
	char text[NAME_TEXT_MAX];
	if (!name_is_plain(n))
		return false;
	name_format(n, text, sizeof(text));
	const char *domain = psl_registrable_domain(psl_builtin(), text);
	return domain != NULL && strchr(domain, '.') != NULL && name_from_text(domain, strlen(domain), ret);
}

struct draft {
	struct trial t;
	struct policy_suggestions *out;
	char app[POLICY_TOKEN_MAX + 1];
	char peer[NAME_TEXT_MAX];    /* the exact peer */
	char wide[NAME_TEXT_MAX];    /* ".registrable", "" */
	char address[ADDR_TEXT_MAX]; /* of a name that has been resolved; "" */
	char port[32];
	int rc;
};

static void offer(struct draft *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void offer(struct draft *d, const char *fmt, ...)
{
	char line[POLICY_SUGGEST_LEN];
	struct policy_rule r;
	size_t by;
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (d->rc < 0 || d->out->n == POLICY_SUGGEST_MAX || n < 0 || (size_t)n >= sizeof(line) ||
		policy_parse_rule(line, (size_t)n, &r, NULL) != 0)
		return;
	int rc = try_rule(&d->t, &r, d->t.q->owner, &by);
	if (rc < 0)
		d->rc = rc;
	if (rc == 1 && policy_print_rule(&r, d->out->line[d->out->n], POLICY_SUGGEST_LEN) > 0)
		d->out->n++;
	policy_rule_fini(&r);
}

/* The registrable part with everything below it; nothing when the name is at or above a public suffix, private ones
 * included. */
static void widen(const struct name *n, char wide[NAME_TEXT_MAX])
{
	struct name domain;
	char text[NAME_TEXT_MAX];
	wide[0] = '\0';
	if (policy_registrable(n, &domain))
		snprintf(wide, NAME_TEXT_MAX, ".%.1000s", name_format(&domain, text, sizeof(text)));
}

static bool draft_peer(struct draft *d)
{
	const struct policy_request *q = d->t.q;
	if (q->peer_app != NULL) {
		snprintf(d->peer, sizeof(d->peer), "app:%s", q->peer_app);
		return true;
	}
	if (q->name != NULL && q->dir == POLICY_OUT) {
		name_format(q->name, d->peer, sizeof(d->peer));
		widen(q->name, d->wide);
		if (q->addr != NULL && q->addr->len != 0)
			addr_format(q->addr, d->address, sizeof(d->address));
		return name_is_plain(q->name);
	}
	if (q->addr == NULL || q->addr->len == 0)
		return false;
	addr_format(q->addr, d->peer, sizeof(d->peer));
	return true;
}

static void draft_port(struct draft *d)
{
	const struct policy_request *q = d->t.q;
	const char *proto = q->proto == POLICY_PROTO_TCP  ? "tcp"
			  : q->proto == POLICY_PROTO_UDP  ? "udp"
			  : q->proto == POLICY_PROTO_SCTP ? "sctp"
							  : NULL;
	if (proto != NULL)
		snprintf(d->port, sizeof(d->port), "%u/%s", q->port, proto);
	else if (q->proto == POLICY_ICMP4 || q->proto == POLICY_ICMP6)
		snprintf(d->port, sizeof(d->port), "%u/icmp", q->port);
	else
		snprintf(d->port, sizeof(d->port), "/%u", q->proto);
}

/* A refusal is never used up, so `once` is no life for one. */
static void draft_peer_lines(struct draft *d, const char *verb, const char *peer, bool once)
{
	const char *word = d->t.q->dir == POLICY_IN ? "from" : "to";
	if (peer[0] == '\0')
		return;
	offer(d, "%s %s %s %s port %s until exit", verb, d->app, word, peer, d->port);
	offer(d, "%s %s %s %s port %s", verb, d->app, word, peer, d->port);
	offer(d, "%s %s %s %s port %s for 10m", verb, d->app, word, peer, d->port);
	if (once)
		offer(d, "%s %s %s %s port %s once", verb, d->app, word, peer, d->port);
}

static void draft_all(struct draft *d)
{
	const char *word = d->t.q->dir == POLICY_IN ? "from" : "to";
	draft_peer_lines(d, "allow", d->peer, true);
	draft_peer_lines(d, "allow", d->wide, false);
	draft_peer_lines(d, "allow", d->address, false);
	offer(d, "allow %s %s %s until exit", d->app, word, d->peer);
	draft_peer_lines(d, "deny", d->peer, false);
	draft_peer_lines(d, "deny", d->wide, false);
	draft_peer_lines(d, "deny", d->address, false);
	offer(d, "deny %s %s %s", d->app, word, d->peer);
	if (d->wide[0] != '\0')
		offer(d, "deny %s %s %s", d->app, word, d->wide);
}

int policy_suggest(const struct policy_input *in, const struct policy *p, const struct policy_request *q,
	struct policy_suggestions *ret)
{
	struct policy_suggestions out = { 0 };
	struct draft d = { .out = &out };
	if (q->app == NULL || !policy_token_ok(q->app, strlen(q->app)))
		return -EINVAL;
	int rc = trial_init(&d.t, in, p, q);
	if (rc < 0)
		return rc;
	memcpy(d.app, q->app, strlen(q->app));
	if (draft_peer(&d)) {
		draft_port(&d);
		draft_all(&d);
	}
	trial_fini(&d.t);
	if (d.rc < 0)
		return d.rc;
	*ret = out;
	return 0;
}
