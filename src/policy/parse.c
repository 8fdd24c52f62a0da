/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/parse.h"

#include "policy/lex.h"
#include "policy/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PORTS_MAX = POLICY_TEXT_MAX / 2 };

static bool verb(struct lex *x, enum policy_verb *ret)
{
	static const char *const words[] = { "allow", "ask", "deny", "drop", "reject", NULL };
	static const enum policy_verb verbs[] = { POLICY_ALLOW, POLICY_ASK, POLICY_DENY, POLICY_DROP, POLICY_DENY };
	for (unsigned i = 0; words[i] != NULL; i++) {
		if (lex_take(x, words[i])) {
			*ret = verbs[i];
			return true;
		}
	}
	static const char *const all[] = { "allow", "ask", "deny", "drop", "reject", "final", "group", "set", "list",
		NULL };
	return lex_expected(x, "a verb (allow, deny, drop or ask)", all);
}

static bool subject(struct lex *x, struct policy_rule *r)
{
	static const char *const words[] = { "any", NULL };
	if (lex_take(x, "any")) {
		r->subject = POLICY_SUBJECT_ANY;
		return true;
	}
	if (x->kind != LEX_WORD)
		return lex_expected(x, "an application, @GROUP or any", words);
	struct span s = lex_span(x);
	bool group = s.p[0] == '@';
	r->subject = group ? POLICY_SUBJECT_GROUP : POLICY_SUBJECT_APP;
	bool ok = group ? word_token(x, span_from(s, 1), "the name of a group", r->who)
			: word_token(x, s, "an application, @GROUP or any", r->who);
	if (ok)
		lex_next(x);
	return ok;
}

static bool peer(struct lex *x, struct policy_rule *r)
{
	bool from = lex_is(x, "from");
	if (!from && !lex_is(x, "to"))
		return true;
	lex_next(x);
	if (x->kind != LEX_WORD)
		return lex_expected(x, "a peer (any, a zone, a host name, an address, set:, list: or app:)", NULL);
	size_t off = x->off;
	if (!word_peer(x, lex_span(x), &r->peer))
		return false;
	r->dir = from ? POLICY_IN : POLICY_OUT;
	bool named = r->peer.kind == POLICY_PEER_NAME || r->peer.kind == POLICY_PEER_BELOW ||
		     r->peer.kind == POLICY_PEER_WITHIN;
	if (from && named)
		return lex_fail(x, -EINVAL, off, "an address, a network, a zone, set:, list: or app:", NULL,
			"a name cannot stand after \"from\": what comes in has an address only");
	lex_next(x);
	return true;
}

static int port_cmp(const void *a, const void *b)
{
	const struct policy_port *x = a, *y = b;
	if (x->ranged != y->ranged)
		return x->ranged ? -1 : 1;
	if (x->lo != y->lo)
		return x->lo < y->lo ? -1 : 1;
	if (x->hi != y->hi)
		return x->hi < y->hi ? -1 : 1;
	if (x->proto_kind != y->proto_kind)
		return x->proto_kind < y->proto_kind ? -1 : 1;
	return (x->proto > y->proto) - (x->proto < y->proto);
}

/* The order in which ports are written means nothing, so that one rule has one line. */
static bool keep_ports(struct lex *x, struct policy_rule *r, struct policy_port *ports, size_t n)
{
	size_t kept = 1;
	qsort(ports, n, sizeof(*ports), port_cmp);
	for (size_t i = 1; i < n; i++) {
		if (port_cmp(&ports[i], &ports[kept - 1]) != 0)
			ports[kept++] = ports[i];
	}
	r->ports = malloc(kept * sizeof(*ports));
	if (r->ports == NULL)
		return lex_fail(x, -ENOMEM, x->off, NULL, NULL, "out of memory");
	memcpy(r->ports, ports, kept * sizeof(*ports));
	r->n_ports = (uint16_t)kept;
	return true;
}

static bool ports(struct lex *x, struct policy_rule *r)
{
	struct policy_port list[PORTS_MAX];
	size_t n = 0;
	if (!lex_take(x, "port"))
		return true;
	for (;;) {
		if (x->kind != LEX_WORD)
			return lex_expected(x, "a port (a number, a range or a service)", NULL);
		if (n == PORTS_MAX)
			return lex_fail(x, -E2BIG, x->off, NULL, NULL, "a rule has at most %d ports", PORTS_MAX);
		if (!word_port(x, lex_span(x), &list[n++]))
			return false;
		lex_next(x);
		if (x->kind != LEX_COMMA)
			return keep_ports(x, r, list, n);
		lex_next(x);
	}
}

static bool twice(struct lex *x, bool already, const char *kind)
{
	return already && !lex_fail(x, -EINVAL, x->off, NULL, NULL, "\"%s\" is said twice in this rule", kind);
}

static bool need_word(struct lex *x, const char *what, const char *const *words)
{
	return x->kind == LEX_WORD || lex_expected(x, what, words);
}

static bool life_until(struct lex *x, struct policy_lives *l)
{
	static const char *const words[] = { "exit", "logout", "reboot", NULL };
	static const char what[] = "exit, logout, reboot, a time (HH:MM) or a date (YYYY-MM-DD)";
	for (unsigned i = 0; words[i] != NULL; i++) {
		if (lex_take(x, words[i])) {
			l->until = (enum policy_until)(POLICY_UNTIL_EXIT + i);
			return true;
		}
	}
	if (!need_word(x, what, words))
		return false;
	struct span s = lex_span(x);
	if (word_is_date(s)) {
		l->until = POLICY_UNTIL_DATE;
		l->until_minute = 1440;
		if (!word_date(x, s, l))
			return false;
		lex_next(x);
		if (x->kind != LEX_WORD || !word_is_time(lex_span(x)))
			return true;
	} else if (word_is_time(s)) {
		l->until = POLICY_UNTIL_TIME;
	} else {
		return lex_expected_span(x, s, what, words);
	}
	if (!word_time(x, lex_span(x), &l->until_minute))
		return false;
	lex_next(x);
	return true;
}

static bool life_between(struct lex *x, struct policy_lives *l)
{
	if (!need_word(x, "two times (HH:MM-HH:MM)", NULL))
		return false;
	struct span s = lex_span(x);
	size_t dash = span_find(s, '-');
	if (dash == s.len)
		return lex_expected_span(x, s, "two times (HH:MM-HH:MM)", NULL);
	if (!word_time(x, span_to(s, dash), &l->from_minute) || !word_time(x, span_from(s, dash + 1), &l->to_minute))
		return false;
	if (l->from_minute == l->to_minute)
		return lex_fail(x, -EINVAL, s.off + dash + 1, NULL, NULL, "the span is empty: it ends when it starts");
	l->between = true;
	lex_next(x);
	return true;
}

static bool life_on(struct lex *x, struct policy_lives *l)
{
	for (;;) {
		uint8_t bit;
		if (!need_word(x, "a day (mon, tue, wed, thu, fri, sat or sun)", NULL) ||
			!word_day(x, lex_span(x), &bit))
			return false;
		l->on |= bit;
		lex_next(x);
		if (x->kind != LEX_COMMA)
			return true;
		lex_next(x);
	}
}

static bool life_times(struct lex *x, struct policy_lives *l)
{
	static const char *const words[] = { "times", NULL };
	uint64_t n;
	struct span s = lex_span(x);
	if (twice(x, l->times != 0, "times"))
		return false;
	if (!span_number(s, INT32_MAX, &n) || n == 0)
		return lex_fail(x, -EINVAL, s.off, "a number of times", NULL, "a number of times is 1 to %d",
			INT32_MAX);
	lex_next(x);
	if (!lex_take(x, "times"))
		return lex_expected(x, "\"times\" after the number", words);
	l->times = (uint32_t)n;
	return true;
}

/* One life; *ret_none when none starts here. */
static bool life(struct lex *x, struct policy_rule *r, bool *ret_none)
{
	struct policy_lives *l = &r->lives;
	*ret_none = false;
	if (lex_is(x, "for")) {
		if (twice(x, l->for_s != 0, "for"))
			return false;
		lex_next(x);
		if (!need_word(x, "a duration (such as 30s, 10m, 1h30m, 7d or 2w)", NULL) ||
			!word_duration(x, lex_span(x), &l->for_s))
			return false;
		lex_next(x);
		return true;
	}
	if (lex_is(x, "until")) {
		size_t off = x->off;
		if (twice(x, l->until != POLICY_UNTIL_NONE, "until"))
			return false;
		lex_next(x);
		if (!life_until(x, l))
			return false;
		if (l->until == POLICY_UNTIL_EXIT && r->subject != POLICY_SUBJECT_APP)
			return lex_fail(x, -EINVAL, off, NULL, NULL,
				"\"until exit\" needs one application: a group or \"any\" does not exit");
		return true;
	}
	if (lex_is(x, "between"))
		return !twice(x, l->between, "between") && (lex_next(x), life_between(x, l));
	if (lex_is(x, "on"))
		return !twice(x, l->on != 0, "on") && (lex_next(x), life_on(x, l));
	if (lex_is(x, "once")) {
		if (twice(x, l->times != 0, "once"))
			return false;
		l->times = 1;
		lex_next(x);
		return true;
	}
	if (x->kind == LEX_WORD && span_digits(lex_span(x)))
		return life_times(x, l);
	*ret_none = true;
	return true;
}

static bool option(struct lex *x, struct policy_rule *r, bool *ret_none)
{
	*ret_none = false;
	if (lex_is(x, "log") || lex_is(x, "quiet")) {
		bool *flag = lex_is(x, "log") ? &r->log : &r->quiet;
		if (twice(x, *flag, lex_is(x, "log") ? "log" : "quiet"))
			return false;
		*flag = true;
		lex_next(x);
		return true;
	}
	if (!lex_is(x, "note")) {
		*ret_none = true;
		return true;
	}
	if (twice(x, r->note != NULL, "note"))
		return false;
	lex_next(x);
	if (x->kind != LEX_STRING)
		return lex_expected(x, "a string in \"quotes\" after note", NULL);
	r->note = strdup(x->string);
	if (r->note == NULL)
		return lex_fail(x, -ENOMEM, x->off, NULL, NULL, "out of memory");
	lex_next(x);
	return true;
}

static bool at_end(struct lex *x)
{
	return x->kind == LEX_END || x->kind == LEX_NEWLINE;
}

static bool misplaced(struct lex *x, const struct policy_rule *r)
{
	char show[64];
	static const char *const order[] = { "final", "to", "from", "port", "for", "until", "between", "on", "once",
		NULL };
	static const char *const words[] = { "to", "from", "port", "for", "until", "between", "on", "times", "once",
		"log", "quiet", "note", NULL };
	for (unsigned i = 0; order[i] != NULL; i++) {
		if (lex_is(x, order[i]))
			return lex_fail(x, -EINVAL, x->off, NULL, NULL,
				"\"%s\" is out of place: the order is verb, application, to or from, port, lives, log quiet note",
				lex_show(lex_span(x), show));
	}
	bool plain = r->peer.kind == POLICY_PEER_ANY && r->n_ports == 0 && !policy_rule_limited(r);
	return lex_expected(x,
		plain ? "\"to\", \"from\", \"port\", a life, an option or the end of the line"
		      : "a life (for, until, between, on, times, once), an option (log, quiet, note) or the end of the line",
		words);
}

/* "/6" prints as "/tcp": a rule is within the limit only when its canonical line is, else it could not be read back. */
static bool prints_short(struct lex *x, const struct policy_rule *r, size_t off)
{
	char line[POLICY_PRINT_MAX];
	if (x->off - off < POLICY_TEXT_MAX / 2)
		return true;
	int n = policy_print_rule(r, line, sizeof(line));
	if (n >= 0 && n <= POLICY_TEXT_MAX)
		return true;
	return lex_fail(x, -E2BIG, off, NULL, NULL, "a rule has at most %d bytes in its canonical form",
		POLICY_TEXT_MAX);
}

bool parse_rule(struct lex *x, struct policy_rule *ret)
{
	size_t off = x->off;
	struct policy_rule r = { .peer = { .kind = POLICY_PEER_ANY } };
	bool none = false;
	r.final = lex_take(x, "final");
	bool ok = verb(x, &r.verb) && subject(x, &r) && peer(x, &r) && ports(x, &r);
	while (ok && !none)
		ok = life(x, &r, &none);
	for (none = false; ok && !none;)
		ok = option(x, &r, &none);
	if (ok && !at_end(x))
		ok = misplaced(x, &r);
	ok = ok && prints_short(x, &r, off);
	if (!ok || x->err != 0) {
		policy_rule_fini(&r);
		return false;
	}
	*ret = r;
	return true;
}

int policy_parse_rule(const char *text, size_t len, struct policy_rule *ret, struct policy_diag *diag)
{
	struct lex x;
	struct policy_rule r;
	lex_init(&x, text, len, diag, diag == NULL ? 0 : 1);
	if (len > POLICY_TEXT_MAX) {
		lex_fail(&x, -E2BIG, POLICY_TEXT_MAX, NULL, NULL, "a rule has at most %d bytes", POLICY_TEXT_MAX);
		return x.err;
	}
	lex_next(&x);
	if (!parse_rule(&x, &r))
		return x.err;
	if (x.kind == LEX_NEWLINE) {
		lex_fail(&x, -EINVAL, x.off, "the end", NULL,
			"one rule is one line: expected the end, found another line");
		policy_rule_fini(&r);
		return x.err;
	}
	*ret = r;
	return 0;
}

int policy_parse_peer(const char *text, size_t len, struct policy_peer *ret, struct policy_diag *diag)
{
	struct lex x;
	lex_init(&x, text, len, diag, diag == NULL ? 0 : 1);
	return word_peer(&x, (struct span){ .p = text, .len = len }, ret) ? 0 : x.err;
}
