/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct out {
	char *buf;
	size_t cap, len;
	bool full;
};

static void put(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct out *o, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = o->full ? -1 : vsnprintf(o->buf + o->len, o->cap - o->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= o->cap - o->len)
		o->full = true;
	else
		o->len += (size_t)n;
}

/* Most of a line is words: a policy of 100,000 rules is printed twice while it is loaded. */
static void put_text(struct out *o, const char *text)
{
	size_t len = strlen(text);
	if (o->full || len >= o->cap - o->len) {
		o->full = true;
		return;
	}
	memcpy(o->buf + o->len, text, len + 1);
	o->len += len;
}

static int done(struct out *o)
{
	return o->full ? -ENOBUFS : (int)o->len;
}

static struct out out_init(char *buf, size_t cap)
{
	return (struct out){ .buf = buf, .cap = cap, .full = cap == 0 };
}

static void put_string(struct out *o, const char *s)
{
	put(o, "\"");
	for (; *s != '\0'; s++)
		put(o, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	put(o, "\"");
}

static void put_peer(struct out *o, const struct policy_peer *p)
{
	char text[NAME_TEXT_MAX];
	switch (p->kind) {
	case POLICY_PEER_ANY:
		put_text(o, "any");
		break;
	case POLICY_PEER_ZONE:
		put(o, "%s", policy_zone_text(p->zone));
		break;
	case POLICY_PEER_NAME:
		put_text(o, name_format(&p->name, text, sizeof(text)));
		break;
	case POLICY_PEER_BELOW:
		put_text(o, "*.");
		put_text(o, name_format(&p->name, text, sizeof(text)));
		break;
	case POLICY_PEER_WITHIN:
		put_text(o, ".");
		put_text(o, name_format(&p->name, text, sizeof(text)));
		break;
	case POLICY_PEER_NET:
		put_text(o, addr_format(&p->net.addr, text, sizeof(text)));
		if (p->net.prefix != p->net.addr.len * 8U)
			put(o, "/%u", p->net.prefix);
		break;
	case POLICY_PEER_SET:
		put(o, "set:%s", p->id);
		break;
	case POLICY_PEER_LIST:
		put(o, "list:%s", p->id);
		break;
	case POLICY_PEER_APP:
		put(o, "app:%s", p->id);
		break;
	}
}

static void put_port(struct out *o, const struct policy_port *p)
{
	if (p->ranged)
		put(o, p->lo == p->hi ? "%u" : "%u-%u", p->lo, p->hi);
	if (p->proto_kind == POLICY_PROTO_ICMP)
		put(o, "/icmp");
	else if (p->proto_kind == POLICY_PROTO_NUMBER && (p->proto == 6 || p->proto == 17 || p->proto == 132))
		put(o, "/%s", p->proto == 6 ? "tcp" : p->proto == 17 ? "udp" : "sctp");
	else if (p->proto_kind == POLICY_PROTO_NUMBER)
		put(o, "/%u", p->proto);
}

static void put_duration(struct out *o, int64_t s)
{
	static const struct {
		int64_t seconds;
		char unit;
	} units[] = { { 604800, 'w' }, { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	for (unsigned i = 0; i < 5; i++) {
		if (s >= units[i].seconds)
			put(o, "%lld%c", (long long)(s / units[i].seconds), units[i].unit);
		s %= units[i].seconds;
	}
}

static void put_time(struct out *o, unsigned minute)
{
	put(o, "%02u:%02u", minute / 60, minute % 60);
}

static void put_until(struct out *o, const struct policy_lives *l)
{
	static const char *const words[] = { "", "exit", "logout", "reboot" };
	if (l->until == POLICY_UNTIL_NONE)
		return;
	put(o, " until ");
	if (l->until < POLICY_UNTIL_TIME)
		put(o, "%s", words[l->until]);
	if (l->until == POLICY_UNTIL_DATE)
		put(o, "%04u-%02u-%02u", l->year, l->month, l->day);
	if (l->until == POLICY_UNTIL_DATE && l->until_minute != 1440)
		put(o, " ");
	if (l->until == POLICY_UNTIL_TIME || (l->until == POLICY_UNTIL_DATE && l->until_minute != 1440))
		put_time(o, l->until_minute);
}

static void put_lives(struct out *o, const struct policy_lives *l)
{
	static const char *const days[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };
	if (l->for_s != 0) {
		put(o, " for ");
		put_duration(o, l->for_s);
	}
	put_until(o, l);
	if (l->between) {
		put(o, " between ");
		put_time(o, l->from_minute);
		put(o, "-");
		put_time(o, l->to_minute);
	}
	const char *before = " on ";
	for (unsigned i = 0; i < 7; i++) {
		if ((l->on >> i & 1) == 0)
			continue;
		put(o, "%s%s", before, days[i]);
		before = ",";
	}
	if (l->times == 1)
		put(o, " once");
	else if (l->times != 0)
		put(o, " %u times", l->times);
}

static void put_rule(struct out *o, const struct policy_rule *r)
{
	put_text(o, r->final ? "final " : "");
	put_text(o, policy_verb_text(r->verb));
	put_text(o, " ");
	if (r->subject == POLICY_SUBJECT_GROUP)
		put_text(o, "@");
	put_text(o, r->subject == POLICY_SUBJECT_ANY ? "any" : r->who);
	if (r->dir == POLICY_IN || r->peer.kind != POLICY_PEER_ANY) {
		put_text(o, r->dir == POLICY_IN ? " from " : " to ");
		put_peer(o, &r->peer);
	}
	for (size_t i = 0; i < r->n_ports; i++) {
		put_text(o, i == 0 ? " port " : ",");
		put_port(o, &r->ports[i]);
	}
	put_lives(o, &r->lives);
	if (r->log)
		put(o, " log");
	if (r->quiet)
		put(o, " quiet");
	if (r->note != NULL) {
		put(o, " note ");
		put_string(o, r->note);
	}
}

int policy_print_rule(const struct policy_rule *r, char *buf, size_t cap)
{
	struct out o = out_init(buf, cap);
	put_rule(&o, r);
	return done(&o);
}

int policy_print_peer(const struct policy_peer *p, char *buf, size_t cap)
{
	struct out o = out_init(buf, cap);
	put_peer(&o, p);
	return done(&o);
}

int policy_print_port(const struct policy_port *p, char *buf, size_t cap)
{
	struct out o = out_init(buf, cap);
	put_port(&o, p);
	return done(&o);
}

static void put_defs(struct out *o, const struct policy_doc *d)
{
	for (size_t i = 0; i < d->n_groups; i++) {
		put(o, "group %s = {", d->groups[i].id);
		for (size_t k = 0; k < d->groups[i].n_apps; k++)
			put(o, "%s %s", k == 0 ? "" : ",", d->groups[i].apps[k]);
		put(o, " }\n");
	}
	for (size_t i = 0; i < d->n_sets; i++) {
		put(o, "set %s = {", d->sets[i].id);
		for (size_t k = 0; k < d->sets[i].n_peers; k++) {
			put(o, "%s ", k == 0 ? "" : ",");
			put_peer(o, &d->sets[i].peers[k]);
		}
		put(o, " }\n");
	}
	for (size_t i = 0; i < d->n_lists; i++) {
		put(o, "list %s from ", d->lists[i].id);
		put_string(o, d->lists[i].source);
		if (d->lists[i].every_s != 0) {
			put(o, " every ");
			put_duration(o, d->lists[i].every_s);
		}
		put(o, "\n");
	}
}

static size_t doc_bound(const struct policy_doc *d)
{
	size_t n = 1;
	for (size_t i = 0; i < d->n_groups; i++)
		n += 80 + d->groups[i].n_apps * (POLICY_TOKEN_MAX + 2);
	for (size_t i = 0; i < d->n_sets; i++)
		n += 80 + d->sets[i].n_peers * (NAME_WIRE_MAX + 4);
	n += d->n_lists * (POLICY_TOKEN_MAX + 2 * POLICY_STRING_MAX + 80);
	for (size_t i = 0; i < d->n_rules; i++)
		n += 1024 + d->rules[i].rule.n_ports * 16U;
	return n;
}

int policy_print_doc(const struct policy_doc *d, char **ret)
{
	size_t cap = doc_bound(d);
	char *buf = malloc(cap);
	if (buf == NULL)
		return -ENOMEM;
	struct out o = out_init(buf, cap);
	buf[0] = '\0';
	put_defs(&o, d);
	for (size_t i = 0; i < d->n_rules; i++) {
		put_rule(&o, &d->rules[i].rule);
		put(&o, "\n");
	}
	if (o.full) {
		free(buf);
		return -ENOBUFS;
	}
	*ret = buf;
	return 0;
}
