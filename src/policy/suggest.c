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

enum { LENT = 2 }; /* room behind the copied rules: one trial */

struct trial {
	struct policy_input in;
	struct policy_entry *rules; /* a shallow copy of the input's, and one more */
	const struct policy_request *q;
	size_t n; /* rules of the input */
};

static int trial_init(struct trial *t, const struct policy_input *in, const struct policy_request *q)
{
	*t = (struct trial){ .in = *in, .q = q, .n = in->n_rules };
	t->rules = calloc(in->n_rules + LENT, sizeof(*t->rules));
	if (t->rules == NULL)
		return -ENOMEM;
	if (in->n_rules != 0)
		memcpy(t->rules, in->rules, in->n_rules * sizeof(*t->rules));
	t->in.rules = t->rules;
	return 0;
}

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
		*ret_by = v.rule == t->n ? POLICY_NO_RULE : v.rule;
	return won;
}

int policy_would_win(const struct policy_input *in, const struct policy_rule *rule, uint32_t owner,
	const struct policy_request *q, size_t *ret_by)
{
	struct trial t;
	int rc = trial_init(&t, in, q);
	if (rc < 0)
		return rc;
	rc = try_rule(&t, rule, owner, ret_by);
	free(t.rules);
	return rc;
}

/*
 * Only rules that could touch the question are compiled again for each trial, so that a large policy does not make a
 * person wait: those that do not match now do not match with one rule more.
 */
static int narrow(struct trial *t, const struct policy_input *in)
{
	struct policy *p;
	int rc = policy_compile(in, &p, NULL);
	if (rc < 0)
		return rc;
	size_t n = in->n_rules, kept = 0;
	struct policy_match *m = calloc(n + 1, sizeof(*m));
	uint8_t *keep = calloc(n + 1, 1);
	struct policy_request bare = *t->q;
	bare.name = NULL;
	for (unsigned pass = 0; pass < 2 && rc >= 0 && m != NULL && keep != NULL; pass++) {
		long found = policy_explain(p, pass == 0 ? t->q : &bare, m, n);
		rc = found < 0 ? (int)found : 0;
		for (long i = 0; i < found; i++)
			keep[m[i].rule] = 1;
	}
	if (m == NULL || keep == NULL)
		rc = -ENOMEM;
	for (size_t i = 0; rc >= 0 && i < n; i++) {
		if (keep[i] != 0)
			t->rules[kept++] = in->rules[i];
	}
	t->n = kept;
	free(m);
	free(keep);
	policy_free(p);
	return rc;
}

struct draft {
	struct trial t;
	struct policy_suggestions *out;
	char app[POLICY_TOKEN_MAX + 1];
	char peer[NAME_TEXT_MAX]; /* the exact peer */
	char wide[NAME_TEXT_MAX]; /* ".registrable", "" */
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
	char text[NAME_TEXT_MAX];
	name_format(n, text, sizeof(text));
	const char *domain = psl_registrable_domain(psl_builtin(), text);
	wide[0] = '\0';
	if (domain != NULL && strchr(domain, '.') != NULL)
		snprintf(wide, NAME_TEXT_MAX, ".%s", domain);
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

static void draft_all(struct draft *d)
{
	const char *word = d->t.q->dir == POLICY_IN ? "from" : "to";
	offer(d, "allow %s %s %s port %s until exit", d->app, word, d->peer, d->port);
	offer(d, "allow %s %s %s port %s", d->app, word, d->peer, d->port);
	offer(d, "allow %s %s %s port %s for 10m", d->app, word, d->peer, d->port);
	offer(d, "allow %s %s %s port %s once", d->app, word, d->peer, d->port);
	if (d->wide[0] != '\0') {
		offer(d, "allow %s %s %s port %s until exit", d->app, word, d->wide, d->port);
		offer(d, "allow %s %s %s port %s", d->app, word, d->wide, d->port);
	}
	offer(d, "allow %s %s %s until exit", d->app, word, d->peer);
	offer(d, "deny %s %s %s port %s until exit", d->app, word, d->peer, d->port);
	offer(d, "deny %s %s %s port %s", d->app, word, d->peer, d->port);
	offer(d, "deny %s %s %s", d->app, word, d->peer);
	if (d->wide[0] != '\0')
		offer(d, "deny %s %s %s", d->app, word, d->wide);
}

int policy_suggest(const struct policy_input *in, const struct policy_request *q, struct policy_suggestions *ret)
{
	struct policy_suggestions out = { 0 };
	struct draft d = { .out = &out };
	if (q->app == NULL || !policy_token_ok(q->app, strlen(q->app)))
		return -EINVAL;
	int rc = trial_init(&d.t, in, q);
	if (rc < 0)
		return rc;
	memcpy(d.app, q->app, strlen(q->app));
	d.rc = narrow(&d.t, in);
	if (d.rc >= 0 && draft_peer(&d)) {
		draft_port(&d);
		draft_all(&d);
	}
	free(d.t.rules);
	if (d.rc < 0)
		return d.rc;
	*ret = out;
	return 0;
}
