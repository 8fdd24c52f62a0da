/* SPDX-License-Identifier: Apache-2.0 */
#include "naive.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct naive_list naive_lists[2];

/* Own arithmetic on purpose: bits one by one, names as text, time by the C library. */

static int bit(const struct addr *a, unsigned i)
{
	return a->b[i / 8] >> (7 - i % 8) & 1;
}

static bool inside(const struct addr *a, const struct addr *net, unsigned prefix)
{
	if (a->len != net->len)
		return false;
	for (unsigned i = 0; i < prefix; i++) {
		if (bit(a, i) != bit(net, i))
			return false;
	}
	return true;
}

static bool inside_text(const struct addr *a, unsigned prefix, const char *cidr)
{
	char text[64];
	unsigned len;
	struct addr net = { 0 };
	snprintf(text, sizeof(text), "%s", cidr);
	char *slash = strchr(text, '/');
	*slash = '\0';
	sscanf(slash + 1, "%u", &len);
	net.len = strchr(text, ':') != NULL ? 16 : 4;
	inet_pton(net.len == 4 ? AF_INET : AF_INET6, text, net.b);
	return prefix >= len && inside(a, &net, len);
}

static bool in_any(const struct addr *a, unsigned prefix, const struct policy_net *n, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (prefix >= n[i].prefix && inside(a, &n[i].addr, n[i].prefix))
			return true;
	}
	return false;
}

static struct addr unwrap(const struct addr *a)
{
	struct addr v = { .len = 4 };
	unsigned full = a->len * 8U;
	if (inside_text(a, full, "::ffff:0:0/96") || inside_text(a, full, "64:ff9b::/96"))
		memcpy(v.b, a->b + 12, 4);
	else if (inside_text(a, full, "2002::/16"))
		memcpy(v.b, a->b + 2, 4);
	else if (inside_text(a, full, "2001::/32"))
		for (int i = 0; i < 4; i++)
			v.b[i] = (uint8_t)~a->b[12 + i];
	else
		return *a;
	return v;
}

enum policy_class naive_class(const struct policy_input *in, const struct addr *raw)
{
	const struct policy_env *e = &in->env;
	struct addr a = unwrap(raw);
	unsigned n = a.len * 8U, rn = raw->len * 8U;
	static const char *const martian[] = { "0.0.0.0/8", "127.0.0.0/8", "198.18.0.0/15", "240.0.0.0/4", "::/8",
		"100::/64" };
	static const char *const metadata[] = { "169.254.169.254/32", "fd00:ec2::254/128" };
	static const char *const link[] = { "169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8" };
	static const char *const lan[] = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"fc00::/7" };
	for (unsigned i = 0; i < 6; i++)
		if (inside_text(&a, n, martian[i]))
			return POLICY_CLASS_MARTIAN;
	if (in_any(raw, rn, e->synthetic, e->n_synthetic))
		return POLICY_CLASS_MARTIAN;
	for (size_t i = 0; i < e->n_onlink; i++) {
		bool last =
			a.len == 4 && e->onlink[i].prefix < 31 && inside(&a, &e->onlink[i].addr, e->onlink[i].prefix);
		for (unsigned b = e->onlink[i].prefix; last && b < 32; b++)
			last = bit(&a, b) == 1;
		if (last)
			return POLICY_CLASS_MARTIAN;
	}
	if (in_any(&a, n, e->host, e->n_host) || in_any(raw, rn, e->host, e->n_host))
		return POLICY_CLASS_HOST;
	if (in_any(&a, n, e->peers, e->n_peers) || in_any(raw, rn, e->peers, e->n_peers))
		return POLICY_CLASS_PEERS;
	for (unsigned i = 0; i < 2; i++)
		if (inside_text(&a, n, metadata[i]))
			return POLICY_CLASS_METADATA;
	for (unsigned i = 0; i < 4; i++)
		if (inside_text(&a, n, link[i]))
			return POLICY_CLASS_LINK;
	for (unsigned i = 0; i < 5; i++)
		if (inside_text(&a, n, lan[i]))
			return POLICY_CLASS_LAN;
	if (in_any(&a, n, e->onlink, e->n_onlink) || in_any(raw, rn, e->onlink, e->n_onlink))
		return POLICY_CLASS_LAN;
	return POLICY_CLASS_INTERNET;
}

static bool inside_class(const struct policy_input *in, const struct policy_net *n, enum policy_class c)
{
	const struct policy_env *e = &in->env;
	struct addr a = n->addr;
	unsigned prefix = n->prefix;
	if (prefix == a.len * 8U) {
		a = unwrap(&n->addr);
		prefix = a.len * 8U;
	}
	if (c == POLICY_CLASS_HOST)
		return in_any(&a, prefix, e->host, e->n_host);
	if (c == POLICY_CLASS_PEERS)
		return in_any(&a, prefix, e->peers, e->n_peers);
	if (c == POLICY_CLASS_METADATA)
		return inside_text(&a, prefix, "169.254.169.254/32") || inside_text(&a, prefix, "fd00:ec2::254/128");
	return inside_text(&a, prefix, "169.254.0.0/16") || inside_text(&a, prefix, "224.0.0.0/4") ||
	       inside_text(&a, prefix, "fe80::/10") || inside_text(&a, prefix, "ff00::/8");
}

/* One question as judged: the name may be hidden, the class rule lifted. */
struct ask {
	const struct policy_input *in;
	const struct policy_request *q;
	bool hide_name, lift;
};

struct rank {
	bool match;
	long r[6];
};

static long count_dots(const char *s)
{
	long n = 1;
	for (; *s != '\0'; s++)
		n += *s == '.';
	return n;
}

/* Rank of a name pattern for a name, -1 no match. */
static long name_rank(const struct policy_peer *p, const struct name *n)
{
	char want[NAME_TEXT_MAX], have[NAME_TEXT_MAX];
	name_format(&p->name, want, sizeof(want));
	name_format(n, have, sizeof(have));
	size_t lw = strlen(want), lh = strlen(have);
	bool same = strcmp(want, have) == 0;
	bool below = lh > lw + 1 && strcmp(have + lh - lw, want) == 0 && have[lh - lw - 1] == '.';
	if (p->kind == POLICY_PEER_NAME)
		return same ? 9000 : -1;
	if (p->kind == POLICY_PEER_WITHIN && same)
		return 9000;
	return below ? 5000 + count_dots(want) : -1;
}

/* Best rank of one peer that is no set or list. `refusing`: deny and drop rules (and ask ones for the chain) look
 * further. */
static long plain_peer(const struct ask *k, const struct policy_peer *p, enum policy_verb verb, uint32_t rule_owner,
	bool exact_port)
{
	const struct policy_request *q = k->q;
	bool have_addr = q->addr != NULL && q->addr->len != 0;
	enum policy_class c = q->peer_app != NULL ? POLICY_CLASS_PEERS
			    : have_addr		  ? naive_class(k->in, q->addr)
						  : POLICY_CLASS_INTERNET;
	bool classed = have_addr || q->peer_app != NULL;
	bool soft = verb == POLICY_ALLOW || verb == POLICY_ASK;
	long rank = -1;
	bool reach = true; /* may open a restricted class */
	if (p->kind == POLICY_PEER_ANY) {
		rank = 0;
		reach = false;
	} else if (p->kind == POLICY_PEER_ZONE) {
		bool is = (p->zone == POLICY_ZONE_HOST && c == POLICY_CLASS_HOST) ||
			  (p->zone == POLICY_ZONE_PEERS && c == POLICY_CLASS_PEERS) ||
			  (p->zone == POLICY_ZONE_LAN && c == POLICY_CLASS_LAN) ||
			  (p->zone == POLICY_ZONE_INTERNET && c == POLICY_CLASS_INTERNET);
		rank = is ? 1 : -1;
	} else if (p->kind == POLICY_PEER_APP) {
		bool is = q->peer_app != NULL && strcmp(p->id, q->peer_app) == 0 &&
			  (rule_owner == POLICY_OWNER_ANY || rule_owner == q->peer_owner);
		rank = is ? 8000 : -1;
	} else if (p->kind == POLICY_PEER_NET) {
		struct policy_net n = p->net;
		if (n.prefix == n.addr.len * 8U) {
			n.addr = unwrap(&p->net.addr);
			n.prefix = (uint8_t)(n.addr.len * 8U);
		}
		struct addr a = { 0 };
		if (have_addr)
			a = unwrap(q->addr);
		bool is = have_addr && inside(&a, &n.addr, n.prefix);
		is = is || (have_addr && !soft && inside(q->addr, &n.addr, n.prefix));
		rank = !is ? -1 : n.prefix == n.addr.len * 8U ? 7000 : 1000 + n.prefix;
		reach = classed && inside_class(k->in, &p->net, c);
	} else {
		reach = false;
		if (q->name != NULL && q->dir == POLICY_OUT && !k->hide_name) {
			rank = name_rank(p, q->name);
			for (size_t i = 0; verb != POLICY_ALLOW && i < q->n_chain; i++) {
				long r = name_rank(p, &q->chain[i]);
				rank = r > rank ? r : rank;
			}
		}
	}
	if (!soft || rank < 0)
		return rank;
	bool restricted = c == POLICY_CLASS_HOST || c == POLICY_CLASS_PEERS || c == POLICY_CLASS_METADATA ||
			  c == POLICY_CLASS_LINK;
	if (classed && c == POLICY_CLASS_MARTIAN)
		return -1;
	if (classed && restricted && !reach && !k->lift)
		return -1;
	bool tus = q->proto == 6 || q->proto == 17 || q->proto == 132;
	bool port = tus && (q->port == 853 || q->port == 5353 || q->port == 5355 || q->port == 137);
	if (port && (!exact_port || p->kind == POLICY_PEER_ANY || p->kind == POLICY_PEER_ZONE))
		return -1;
	return rank;
}

/*
 * An ask rule looks at the names of the chain, yet "counts" by the floor only as allow does; the chain's names are
 * names, so the class keeps them out alike.
 */
static long peer_rank(const struct ask *k, const struct policy_peer *p, enum policy_verb verb, uint32_t owner,
	bool exact_port, int depth)
{
	long best = -1;
	const struct policy_peer *m = NULL;
	size_t n = 0;
	if (p->kind == POLICY_PEER_SET) {
		for (size_t i = 0; i < k->in->n_sets; i++) {
			if (strcmp(k->in->sets[i].id, p->id) == 0) {
				m = k->in->sets[i].peers;
				n = k->in->sets[i].n_peers;
			}
		}
	} else if (p->kind == POLICY_PEER_LIST) {
		for (size_t i = 0; i < 2; i++) {
			if (naive_lists[i].id != NULL && strcmp(naive_lists[i].id, p->id) == 0) {
				m = naive_lists[i].peers;
				n = naive_lists[i].n_peers;
			}
		}
	} else {
		return plain_peer(k, p, verb, owner, exact_port);
	}
	for (size_t i = 0; i < n && depth < 10; i++) {
		long r = peer_rank(k, &m[i], verb, owner, exact_port, depth + 1);
		best = r > best ? r : best;
	}
	return best;
}

/* -1 no match; else greater is narrower. */
static long port_rank(const struct policy_rule *r, const struct policy_request *q, bool *exact)
{
	bool tus = q->proto == 6 || q->proto == 17 || q->proto == 132, icmp = q->proto == 1 || q->proto == 58;
	long best = -1;
	*exact = false;
	if (r->n_ports == 0)
		return tus || (q->proto == 1 && q->port == 8) || (q->proto == 58 && q->port == 128) ? 0 : -1;
	for (size_t i = 0; i < r->n_ports; i++) {
		const struct policy_port *p = &r->ports[i];
		bool fits = p->proto_kind == POLICY_PROTO_NONE ? tus
			  : p->proto_kind == POLICY_PROTO_ICMP ? icmp
							       : p->proto == q->proto;
		if (!fits || (p->ranged && (q->port < p->lo || q->port > p->hi)))
			continue;
		long span = p->ranged ? (long)p->hi - p->lo + 1 : 65536;
		long rank = 10 * (70000 - span) + (p->proto_kind != POLICY_PROTO_NONE ? 5 : 0);
		best = rank > best ? rank : best;
		*exact = *exact || (p->ranged && p->lo == p->hi);
	}
	return best;
}

static bool subject_matches(const struct policy_input *in, const struct policy_rule *r, const struct policy_request *q)
{
	if (r->subject == POLICY_SUBJECT_ANY)
		return true;
	if (r->subject == POLICY_SUBJECT_APP)
		return strcmp(r->who, q->app) == 0;
	for (size_t i = 0; i < in->n_groups; i++) {
		for (size_t k = 0; strcmp(in->groups[i].id, r->who) == 0 && k < in->groups[i].n_apps; k++) {
			if (strcmp(in->groups[i].apps[k], q->app) == 0)
				return true;
		}
	}
	return false;
}

/* Local time by the first (and only) offset of the tests' zone. */
static bool window(const struct policy_input *in, const struct policy_lives *l, int64_t now_ms)
{
	if (!l->between && l->on == 0)
		return true;
	time_t t = (time_t)(now_ms / 1000) + (in->env.n_tz == 0 ? 0 : in->env.tz[0].offset_s);
	struct tm tm;
	gmtime_r(&t, &tm);
	int minute = tm.tm_hour * 60 + tm.tm_min, today = (tm.tm_wday + 6) % 7, yesterday = (today + 6) % 7;
	bool on_today = l->on == 0 || (l->on >> today & 1), on_yesterday = l->on == 0 || (l->on >> yesterday & 1);
	if (!l->between)
		return on_today;
	if (l->from_minute < l->to_minute)
		return on_today && minute >= l->from_minute && minute < l->to_minute;
	return (on_today && minute >= l->from_minute) || (on_yesterday && minute < l->to_minute);
}

static struct rank rank_of(const struct ask *k, const struct policy_entry *e)
{
	const struct policy_rule *r = &e->rule;
	const struct policy_meta *m = &e->meta;
	const struct policy_request *q = k->q;
	struct rank none = { 0 }, out = { .match = true };
	bool exact;
	if (r->dir != q->dir || m->ended != POLICY_RUNNING || m->deadline_ms <= q->now_ms ||
		(r->lives.times != 0 && m->times_left == 0))
		return none;
	if (!window(k->in, &r->lives, q->now_ms) || (m->owner != POLICY_OWNER_ANY && m->owner != q->owner) ||
		!subject_matches(k->in, r, q))
		return none;
	long port = port_rank(r, q, &exact);
	if (port < 0)
		return none;
	long peer = peer_rank(k, &r->peer, r->verb, m->owner, exact, 0);
	if (peer < 0)
		return none;
	out.r[0] = !r->final ? 0 : m->origin == POLICY_ORIGIN_FLEET ? 3 : m->origin == POLICY_ORIGIN_ANSWER ? 1 : 2;
	out.r[1] = peer;
	out.r[2] = r->subject == POLICY_SUBJECT_APP ? 2 : r->subject == POLICY_SUBJECT_GROUP ? 1 : 0;
	out.r[3] = port;
	const struct policy_lives *l = &r->lives;
	out.r[4] = l->for_s != 0 || l->until != POLICY_UNTIL_NONE || l->between || l->on != 0 || l->times != 0;
	out.r[5] = r->verb == POLICY_DROP ? 3 : r->verb == POLICY_DENY ? 2 : r->verb == POLICY_ASK ? 1 : 0;
	return out;
}

static int place(enum policy_origin o)
{
	return o == POLICY_ORIGIN_ANSWER ? 3 : o == POLICY_ORIGIN_FLEET ? 1 : 2;
}

static bool wins(const struct policy_entry *a, const struct rank *ra, const struct policy_entry *b,
	const struct rank *rb)
{
	for (int i = 0; i < 6; i++)
		if (ra->r[i] != rb->r[i])
			return ra->r[i] > rb->r[i];
	bool ca = a->rule.lives.times != 0, cb = b->rule.lives.times != 0;
	if (ca != cb)
		return cb;
	if (a->meta.deadline_ms != b->meta.deadline_ms)
		return a->meta.deadline_ms > b->meta.deadline_ms;
	if (place(a->meta.origin) != place(b->meta.origin))
		return place(a->meta.origin) > place(b->meta.origin);
	return memcmp(a->meta.id, b->meta.id, POLICY_ID_LEN) < 0;
}

static size_t best_rule(const struct ask *k)
{
	size_t best = POLICY_NO_RULE;
	struct rank top = { 0 };
	for (size_t i = 0; i < k->in->n_rules; i++) {
		struct rank r = rank_of(k, &k->in->rules[i]);
		if (r.match && (best == POLICY_NO_RULE || wins(&k->in->rules[i], &r, &k->in->rules[best], &top))) {
			best = i;
			top = r;
		}
	}
	return best;
}

static bool ends_in(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);
	return n >= s && strcmp(name + n - s, suffix) == 0 && (n == s || name[n - s - 1] == '.');
}

static bool allowed(const struct policy_input *in, size_t rule)
{
	return rule != POLICY_NO_RULE && in->rules[rule].rule.verb == POLICY_ALLOW;
}

struct naive_verdict naive_decide(const struct policy_input *in, const struct policy_request *q)
{
	static const enum policy_answer says[] = { [POLICY_ALLOW] = POLICY_SAYS_ALLOW,
		[POLICY_ASK] = POLICY_SAYS_ASK,
		[POLICY_DENY] = POLICY_SAYS_DENY,
		[POLICY_DROP] = POLICY_SAYS_DROP };
	struct ask k = { .in = in, .q = q };
	struct naive_verdict v = { .rule = best_rule(&k) };
	bool have_addr = q->addr != NULL && q->addr->len != 0;
	enum policy_class c = q->peer_app != NULL ? POLICY_CLASS_PEERS
			    : have_addr		  ? naive_class(in, q->addr)
						  : POLICY_CLASS_INTERNET;
	bool classed = have_addr || q->peer_app != NULL;
	bool restricted = classed && (c == POLICY_CLASS_HOST || c == POLICY_CLASS_PEERS || c == POLICY_CLASS_METADATA ||
					     c == POLICY_CLASS_LINK);
	if (q->dir == POLICY_OUT && q->name != NULL && classed) {
		char name[NAME_TEXT_MAX];
		name_format(q->name, name, sizeof(name));
		bool home = ends_in(name, "home.arpa") || ends_in(name, "internal") || ends_in(name, "local");
		bool private = restricted || (c == POLICY_CLASS_LAN && !home);
		struct ask alone = k, lifted = k;
		alone.hide_name = true;
		lifted.lift = true;
		if (private && allowed(in, v.rule) && !allowed(in, best_rule(&alone)))
			return (struct naive_verdict){ .answer = POLICY_SAYS_WITHHELD, .rule = v.rule };
		size_t would = best_rule(&lifted);
		if (restricted && v.rule == POLICY_NO_RULE && allowed(in, would))
			return (struct naive_verdict){ .answer = POLICY_SAYS_WITHHELD, .rule = would };
	}
	if (v.rule != POLICY_NO_RULE) {
		v.answer = says[in->rules[v.rule].rule.verb];
		return v;
	}
	bool tus = q->proto == 6 || q->proto == 17 || q->proto == 132;
	bool port = tus && (q->port == 853 || q->port == 5353 || q->port == 5355 || q->port == 137);
	if (q->dir == POLICY_OUT)
		v.answer = restricted || port || (classed && c == POLICY_CLASS_MARTIAN) ? POLICY_SAYS_DENY
											: POLICY_SAYS_ASK;
	else
		v.answer = q->peer_app != NULL && q->peer_owner == q->owner ? POLICY_SAYS_ALLOW : POLICY_SAYS_DROP;
	return v;
}

int naive_may_resolve(const struct policy_input *in, const char *app, uint32_t owner, const struct name *name,
	int64_t now_ms)
{
	static const uint8_t protos[] = { 6, 17, 132 };
	bool all_refused = true, some = false;
	struct policy_request q = { .owner = owner, .app = app, .name = name, .now_ms = now_ms };
	for (unsigned i = 0; i < 256 * 256; i++) { /* any protocol by number, any ICMP type */
		q.proto = (uint8_t)(i / 256);
		q.port = (uint16_t)(i % 256);
		bool tus = q.proto == 6 || q.proto == 17 || q.proto == 132, icmp = q.proto == 1 || q.proto == 58;
		if (tus || (!icmp && q.port != 0))
			continue;
		enum policy_answer a = naive_decide(in, &q).answer;
		bool echo = (q.proto == 1 && q.port == 8) || (q.proto == 58 && q.port == 128);
		if (a == POLICY_SAYS_ALLOW)
			return 1;
		if (echo)
			all_refused = all_refused && (a == POLICY_SAYS_DENY || a == POLICY_SAYS_DROP);
		some = some || naive_decide(in, &q).rule != POLICY_NO_RULE;
	}
	for (unsigned p = 0; p < 3; p++) {
		for (unsigned port = 0; port < 65536; port++) {
			q.proto = protos[p];
			q.port = (uint16_t)port;
			struct naive_verdict v = naive_decide(in, &q);
			if (v.answer == POLICY_SAYS_ALLOW)
				return 1;
			all_refused = all_refused && (v.answer == POLICY_SAYS_DENY || v.answer == POLICY_SAYS_DROP);
			some = some || v.rule != POLICY_NO_RULE;
		}
	}
	return all_refused && some ? 2 : 0;
}
