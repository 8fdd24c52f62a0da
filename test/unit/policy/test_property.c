/* SPDX-License-Identifier: Apache-2.0 */
#include "naive.h"
#include "policy/id.h"
#include "policy/image.h"
#include "policy/list_digest.h"
#include "policy/parse.h"
#include "policy/policy.h"
#include "policy/print.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/*
 * Random policies and questions from a small world, where collisions are likely. SEKISHO_TEST_SEED repeats a run,
 * SEKISHO_TEST_POLICIES lengthens it.
 */
enum { RULES_MAX = 24, QUESTIONS = 100, NOON = 1774440000 };

static uint64_t state, seed;

static uint32_t rnd(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)((state >> 16) % n);
}

#define PICK(list) ((list)[rnd((uint32_t)(sizeof(list) / sizeof((list)[0])))])

static const char *const apps[] = { "web", "db", "mail", "lone" };
static const char *const names[] = { "example.org", "www.example.org", "a.www.example.org", "ads.example.org",
	"example.com", "cdn.example.net", "nas.home.arpa", "db.app.internal", "printer.local", "x.s3.example.net",
	"badexample.org" };
static const char *const addrs[] = { "192.0.2.1", "192.0.2.7", "198.51.100.9", "203.0.113.5", "10.0.0.5", "10.20.1.1",
	"192.168.1.5", "192.168.1.255", "100.64.0.2", "100.64.0.6", "127.0.0.1", "0.0.0.0", "169.254.169.254",
	"169.254.1.1", "224.0.0.251", "255.255.255.255", "198.18.0.7", "192.168.1.2", "203.0.113.77", "2001:db8::1",
	"2001:db8:5::9", "fd00:ec2::254", "fe80::1", "ff02::fb", "::1", "::", "fd12::1", "::ffff:10.0.0.5",
	"::ffff:192.0.2.1", "64:ff9b::c000:201", "64:ff9b::a9fe:a9fe", "2002:c000:207::1", "2002:7f00:1::1",
	"2001:0:c000:201::3fff:fdfe", "fd73:6b69:7368:ffff::7", "fd73:6b69:7368:1::2", "64:ff9b:1::1", "100::5" };
static const char *const peers[] = { "any", "internet", "lan", "host", "peers", "example.org", "www.example.org",
	"ads.example.org", "nas.home.arpa", "cdn.example.net", "*.example.org", "*.www.example.org", ".example.org",
	".www.example.org", "*.home.arpa", ".s3.example.net", "192.0.2.1", "192.0.2.0/24", "192.0.2.0/29", "0.0.0.0/0",
	"10.0.0.0/8", "10.0.0.5", "192.168.1.0/24", "192.168.1.5", "192.168.1.2", "100.64.0.0/10", "100.64.0.2",
	"100.64.0.4/30", "169.254.169.254", "169.254.0.0/16", "169.254.1.0/24", "224.0.0.0/4", "224.0.0.251",
	"2001:db8::/32", "2001:db8::1", "2001:db8:5::/48", "::/0", "fe80::/10", "fe80::1", "ff02::fb", "2002::/16",
	"64:ff9b::/96", "64:ff9b::c000:201", "fd00:ec2::254", "fd00::/8", "127.0.0.1", "set:a", "set:b", "set:c",
	"list:ads", "list:bad", "app:web", "app:db", "app:mail" };
static const char *const inbound[] = { "any", "internet", "lan", "host", "peers", "192.0.2.1", "192.0.2.0/24",
	"10.0.0.0/8", "192.168.1.2", "2001:db8::/32", "fe80::1", "set:a", "set:b", "list:ads", "list:bad", "app:web",
	"app:db", "app:mail", "100.64.0.0/10", "2002::/16" };
static const char *const ports[] = { "443", "443/tcp", "80,443", "80-90", "/tcp", "/udp", "0-65535", "53/udp", "853",
	"853/tcp", "850-860", "5353/udp", "137", "/icmp", "8/icmp", "128/icmp", "/47", "/1", "400-500/tcp,443",
	"443/sctp", "5355-5355/udp", "8/1" };
static const char *const lives[] = { "for 1h", "until 18:00", "until 2026-03-26", "between 09:00-17:00",
	"between 22:00-13:30", "on wed,thu", "between 23:00-14:30 on tue", "3 times", "once", "for 2h 3 times",
	"until reboot", "until logout", "on mon between 01:00-02:00" };
static const uint16_t numbers[] = { 443, 443, 443, 80, 85, 53, 853, 5353, 5355, 137, 22, 8, 128, 0, 855, 450 };
static const uint8_t protos[] = { 6, 6, 6, 17, 17, 132, 1, 58, 47 };

static const char definitions[] = "group office = { web, mail }\ngroup all = { web, db, mail }\n"
				  "set a = { 192.0.2.0/24, www.example.org, 10.0.0.5, lan }\n"
				  "set b = { set:a, *.example.org, app:db, 169.254.169.254, internet }\n"
				  "set c = { any, list:ads, 2001:db8::/32 }\nlist ads from \"ads.txt\"\n"
				  "list bad from \"https://lists.example.org/bad\" every 1d\n";
static const char *const members[] = { "ads.example.org", ".cdn.example.net", "198.51.100.0/24", "*.example.org",
	".example.org", "example.org", "10.0.0.0/8", "10.0.0.5", "192.168.1.2", "169.254.169.254", "2001:db8::/32",
	"2001:db8::1", "::ffff:10.0.0.5", "64:ff9b::c000:201", "2002::/16", "203.0.113.0/24", "192.0.2.0/24",
	"192.0.2.0/25", "0.0.0.0/0", "::/0", "fe80::/10", "fe80::1", "100.64.0.2", "*.home.arpa", "printer.local" };
enum { LISTS = 2, MEMBERS = 6 };

struct world {
	struct policy_doc *doc;
	struct policy_peer members[LISTS][MEMBERS];
	void *bytes[LISTS];
	struct list_digest digest[LISTS];
	struct policy_input in;
	struct policy_net host[2], guests[2], onlink[2], synthetic[1];
	struct policy_tz tz[1];
};

static struct policy_net net_of(const char *text)
{
	struct policy_peer p;
	assert_int_equal(policy_parse_peer(text, strlen(text), &p, NULL), 0);
	return p.net;
}

/* Most rules of one policy draw from a few words, so that ties down to the last place of the rank are common. */
static const char *few_peers[3], *few_ports[3];

static void choose_few(void)
{
	for (int i = 0; i < 3; i++) {
		few_peers[i] = PICK(peers);
		few_ports[i] = PICK(ports);
	}
	/* the same span with and without a protocol */
	if (rnd(3) == 0) {
		few_ports[0] = "443";
		few_ports[1] = "443/tcp";
	} else if (rnd(3) == 0) {
		few_ports[0] = "0-65535";
		few_ports[1] = "/tcp";
	}
}

static void random_line(char *line, size_t cap)
{
	static const char *const verbs[] = { "allow", "allow", "allow", "deny", "drop", "ask" };
	static const char *const subjects[] = { "any", "@office", "@all", "web", "db", "mail" };
	char tail[160] = "";
	bool in = rnd(5) == 0;
	const char *peer = in ? PICK(inbound) : rnd(3) != 0 ? PICK(few_peers) : PICK(peers);
	if (rnd(2) == 0)
		snprintf(tail, sizeof(tail), " port %s", rnd(3) != 0 ? PICK(few_ports) : PICK(ports));
	if (rnd(3) == 0)
		snprintf(tail + strlen(tail), sizeof(tail) - strlen(tail), " %s", PICK(lives));
	if (rnd(8) == 0)
		snprintf(tail + strlen(tail), sizeof(tail) - strlen(tail), " log");
	snprintf(line, cap, "%s%s %s %s %s%s", rnd(6) == 0 ? "final " : "", PICK(verbs), PICK(subjects),
		in ? "from" : "to", peer, tail);
}

static bool is_new(const struct policy_entry *rules, size_t n, const struct policy_entry *e)
{
	for (size_t i = 0; i < n; i++) {
		if (memcmp(rules[i].meta.id, e->meta.id, POLICY_ID_LEN) == 0)
			return false;
	}
	return true;
}

static void add_rule(struct policy_entry *rules, size_t *n, const struct policy_input *in)
{
	static const enum policy_origin origins[] = { POLICY_ORIGIN_FLEET, POLICY_ORIGIN_ADMIN, POLICY_ORIGIN_ANSWER,
		POLICY_ORIGIN_ANSWER, POLICY_ORIGIN_FILE };
	char line[512], again[POLICY_PRINT_MAX];
	struct policy_diag d;
	struct policy_entry *e = &rules[*n];
	random_line(line, sizeof(line));
	*e = (struct policy_entry){ 0 };
	if (policy_parse_rule(line, strlen(line), &e->rule, &d) != 0)
		fail_msg("%s: %s", line, d.message);
	/* print ∘ parse is the identity, on every line there is */
	struct policy_rule back;
	assert_true(policy_print_rule(&e->rule, again, sizeof(again)) > 0);
	assert_int_equal(policy_parse_rule(again, strlen(again), &back, NULL), 0);
	if (!policy_rule_equal(&e->rule, &back))
		fail_msg("%s printed as %s is another rule", line, again);
	policy_rule_fini(&back);
	e->meta.origin = PICK(origins);
	e->meta.owner = e->meta.origin == POLICY_ORIGIN_ANSWER ? 1000 + rnd(2) : POLICY_OWNER_ANY;
	e->meta.deadline_ms =
		policy_lives_deadline(&e->rule.lives, in->env.tz, in->env.n_tz, (NOON - (int64_t)rnd(7200)) * 1000);
	e->meta.times_left = rnd(4) == 0 ? 0 : e->rule.lives.times;
	e->meta.ended = rnd(20) == 0 ? POLICY_END_REMOVED : POLICY_RUNNING;
	assert_int_equal(policy_id(&e->rule, e->meta.origin, e->meta.owner, e->meta.id), 0);
	if (is_new(rules, *n, e))
		++*n;
	else
		policy_rule_fini(&e->rule);
}

static void make_list(struct world *w, size_t list)
{
	const uint64_t key[2] = { state, ~state };
	struct list_builder *b = list_builder_new(key);
	size_t n = 1 + rnd(MEMBERS), len;
	assert_non_null(b);
	for (size_t i = 0; i < n; i++) {
		const char *text = PICK(members);
		assert_int_equal(policy_parse_peer(text, strlen(text), &w->members[list][i], NULL), 0);
		assert_int_equal(list_builder_add(b, &w->members[list][i]), 0);
	}
	naive_lists[list] = (struct naive_list){ w->doc->lists[list].id, w->members[list], n };
	assert_int_equal(list_builder_finish(b, &len), 0);
	assert_non_null(w->bytes[list] = malloc(len));
	assert_int_equal(list_builder_write(b, w->bytes[list], len), 0);
	assert_int_equal(list_digest_open(w->bytes[list], len, &w->digest[list]), 0);
	list_builder_free(b);
}

static void attach(const struct world *w, struct policy *p)
{
	for (size_t i = 0; i < policy_n_lists(p); i++)
		policy_attach(p, i, &w->digest[strcmp(policy_list_id(p, i), "ads") == 0 ? 0 : 1]);
}

static void make_world(struct world *w, struct policy_entry *rules)
{
	assert_int_equal(policy_parse_file(definitions, strlen(definitions), &w->doc, NULL, 0, NULL), 0);
	for (size_t i = 0; i < LISTS; i++)
		make_list(w, i);
	w->host[0] = net_of("192.168.1.2");
	w->host[1] = net_of("fd12::1");
	w->guests[0] = net_of("100.64.0.0/20");
	w->guests[1] = net_of("fd73:6b69:7368::/49");
	w->onlink[0] = net_of("192.168.1.0/24");
	w->onlink[1] = net_of("203.0.113.64/26");
	w->synthetic[0] = net_of("fd73:6b69:7368:ffff::/96");
	w->tz[0] = (struct policy_tz){ .offset_s = 3600 };
	w->in = (struct policy_input){ .rules = rules,
		.groups = w->doc->groups,
		.n_groups = w->doc->n_groups,
		.sets = w->doc->sets,
		.n_sets = w->doc->n_sets,
		.lists = w->doc->lists,
		.n_lists = w->doc->n_lists,
		.env = { w->host, 2, w->guests, 2, w->onlink, 2, w->synthetic, 1, w->tz, 1 } };
}

static void free_world(struct world *w)
{
	for (size_t i = 0; i < LISTS; i++)
		free(w->bytes[i]);
	policy_doc_free(w->doc);
}

struct question {
	struct policy_request q;
	struct name name, chain[2];
	struct addr addr;
};

static void make_question(struct question *x)
{
	memset(x, 0, sizeof(*x));
	const char *text = PICK(names);
	assert_true(name_from_text(text, strlen(text), &x->name));
	x->q = (struct policy_request){ .owner = 1000 + rnd(2),
		.app = PICK(apps),
		.dir = rnd(4) == 0 ? POLICY_IN : POLICY_OUT,
		.proto = PICK(protos),
		.port = PICK(numbers),
		.now_ms = ((int64_t)NOON + rnd(200000) - 1000) * 1000 };
	if (rnd(2) == 0)
		x->q.now_ms = (int64_t)NOON * 1000;
	bool icmp = x->q.proto == 1 || x->q.proto == 58, tus = x->q.proto == 6 || x->q.proto == 17 || x->q.proto == 132;
	x->q.port = icmp ? x->q.port & 0xff : tus ? x->q.port : 0;
	if (x->q.dir == POLICY_OUT && rnd(2) == 0)
		x->q.name = &x->name;
	for (; x->q.name != NULL && x->q.n_chain < 2 && rnd(3) == 0; x->q.n_chain++) {
		text = PICK(names);
		assert_true(name_from_text(text, strlen(text), &x->chain[x->q.n_chain]));
		x->q.chain = x->chain;
	}
	if (x->q.name == NULL || rnd(4) != 0) {
		assert_true(addr_parse(PICK(addrs), &x->addr));
		x->q.addr = &x->addr;
	}
	if (rnd(6) == 0) {
		x->q.peer_app = PICK(apps);
		x->q.peer_owner = 1000 + rnd(2);
		assert_true(addr_parse(rnd(2) == 0 ? "100.64.0.2" : "100.64.0.6", &x->addr));
		x->q.addr = &x->addr;
	}
}

static void tell(const struct policy_input *in, const struct question *x, const struct policy_verdict *v,
	struct naive_verdict n)
{
	char text[POLICY_PRINT_MAX], name[NAME_TEXT_MAX], addr[ADDR_TEXT_MAX];
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	for (size_t i = 0; i < in->n_rules; i++) {
		assert_true(policy_print_rule(&in->rules[i].rule, text, sizeof(text)) > 0);
		fprintf(stderr, "%zu %s %u ended %d left %u: %s\n", i, policy_origin_text(in->rules[i].meta.origin),
			in->rules[i].meta.owner, in->rules[i].meta.ended, in->rules[i].meta.times_left, text);
	}
	fprintf(stderr, "%s %s of %u, name %s (chain %zu), address %s, peer %s of %u, protocol %u port %u at %lld\n",
		x->q.app, x->q.dir == POLICY_OUT ? "to" : "from", x->q.owner,
		x->q.name == NULL ? "none" : name_format(x->q.name, name, sizeof(name)), x->q.n_chain,
		x->q.addr == NULL ? "none" : addr_format(x->q.addr, addr, sizeof(addr)),
		x->q.peer_app == NULL ? "none" : x->q.peer_app, x->q.peer_owner, x->q.proto, x->q.port,
		(long long)x->q.now_ms);
	for (size_t i = 0; i < x->q.n_chain; i++)
		fprintf(stderr, "chain %s\n", name_format(&x->chain[i], name, sizeof(name)));
	fail_msg("evaluator: %s by %zd; naive: %s by %zd", policy_answer_text(v->answer), (ssize_t)v->rule,
		policy_answer_text(n.answer), (ssize_t)n.rule);
}

static void explain_agrees(const struct policy *p, const struct question *x, const struct policy_verdict *v)
{
	struct policy_match m[RULES_MAX];
	long n = policy_explain(p, &x->q, m, RULES_MAX);
	assert_true(n >= 0 && n <= RULES_MAX);
	if (v->rule == POLICY_NO_RULE || v->answer == POLICY_SAYS_WITHHELD)
		return;
	assert_true(n > 0);
	assert_int_equal(m[0].rule, v->rule);
	assert_memory_equal(m[0].rank, v->rank, sizeof(m[0].rank));
	for (long i = 1; i < n; i++)
		assert_true(m[i].rule != m[i - 1].rule);
}

/* Until next_change_ms nothing changes by itself. */
static void stays(const struct policy *p, const struct question *x, const struct policy_verdict *v)
{
	struct question later = *x;
	struct policy_verdict w;
	assert_true(v->next_change_ms > x->q.now_ms);
	later.q.now_ms =
		v->next_change_ms == POLICY_NEVER
			? x->q.now_ms + INT64_C(86400000) * (1 + rnd(400))
			: x->q.now_ms + (int64_t)(rnd(1000000) / 1e6 * (double)(v->next_change_ms - x->q.now_ms));
	later.q.name = x->q.name == NULL ? NULL : &later.name;
	later.q.chain = x->q.chain == NULL ? NULL : later.chain;
	policy_decide(p, &later.q, &w);
	if (w.answer != v->answer || w.rule != v->rule)
		fail_msg("seed %llu: the answer changed before next_change_ms", (unsigned long long)seed);
}

static void one_policy(unsigned *pairs)
{
	struct policy_entry rules[RULES_MAX], shuffled[RULES_MAX];
	size_t from[RULES_MAX], n = 0;
	struct world w;
	struct policy_error err;
	struct policy *p, *s;
	make_world(&w, rules);
	choose_few();
	for (unsigned i = 1 + rnd(RULES_MAX); i > 0; i--)
		add_rule(rules, &n, &w.in);
	w.in.n_rules = n;
	for (size_t i = 0; i < n; i++) {
		size_t k = rnd((uint32_t)i + 1);
		shuffled[i] = shuffled[k];
		from[i] = from[k];
		shuffled[k] = rules[i];
		from[k] = i;
	}
	struct policy_input mixed = w.in;
	mixed.rules = shuffled;
	assert_int_equal(policy_compile(&w.in, &p, &err), 0);
	assert_int_equal(policy_compile(&mixed, &s, &err), 0);
	attach(&w, p);
	attach(&w, s);
	for (int i = 0; i < QUESTIONS; i++, ++*pairs) {
		struct question x;
		struct policy_verdict v, u;
		make_question(&x);
		policy_decide(p, &x.q, &v);
		policy_decide(s, &x.q, &u);
		struct naive_verdict want = naive_decide(&w.in, &x.q);
		if (v.answer != want.answer || v.rule != want.rule)
			tell(&w.in, &x, &v, want);
		if (u.answer != v.answer || (u.rule == POLICY_NO_RULE) != (v.rule == POLICY_NO_RULE) ||
			(u.rule != POLICY_NO_RULE && from[u.rule] != v.rule))
			fail_msg("seed %llu: shuffled rules say something else", (unsigned long long)seed);
		explain_agrees(p, &x, &v);
		stays(p, &x, &v);
	}
	policy_free(p);
	policy_free(s);
	for (size_t i = 0; i < n; i++)
		policy_rule_fini(&rules[i].rule);
	free_world(&w);
}

static uint64_t start(void)
{
	const char *s = getenv("SEKISHO_TEST_SEED"), *part = getenv("SEKISHO_TEST_PART");
	uint64_t v = s == NULL ? (uint64_t)time(NULL) : strtoull(s, NULL, 10);
	/* Two processes, two halves: no seed is tried twice. */
	if (s == NULL && part != NULL)
		v += strtoull(part, NULL, 10) << 32;
	print_message("SEKISHO_TEST_SEED=%llu\n", (unsigned long long)v);
	return v;
}

static unsigned rounds(unsigned usual)
{
	const char *s = getenv("SEKISHO_TEST_POLICIES");
	return s == NULL ? usual : (unsigned)strtoul(s, NULL, 10);
}

static void test_two_evaluators(void **unused)
{
	(void)unused;
	unsigned pairs = 0;
	uint64_t first = start();
	for (unsigned i = 0; i < rounds(5250); i++) {
		seed = first + i;
		state = seed * 0x9e3779b97f4a7c15U | 1;
		one_policy(&pairs);
	}
	print_message("%u pairs\n", pairs);
}

static void lookup_policy(void)
{
	struct policy_entry rules[RULES_MAX];
	size_t n = 0;
	struct world w;
	struct policy *p;
	make_world(&w, rules);
	choose_few();
	for (unsigned i = 1 + rnd(8); i > 0; i--)
		add_rule(rules, &n, &w.in);
	w.in.n_rules = n;
	assert_int_equal(policy_compile(&w.in, &p, NULL), 0);
	attach(&w, p);
	struct policy_lookup_verdict v;
	struct name name;
	const char *text = PICK(names), *app = PICK(apps);
	assert_true(name_from_text(text, strlen(text), &name));
	policy_may_resolve(p, app, 1000, &name, (int64_t)NOON * 1000, &v);
	int want = naive_may_resolve(&w.in, app, 1000, &name, (int64_t)NOON * 1000);
	if ((int)v.answer != want) {
		char line[POLICY_PRINT_MAX];
		for (size_t i = 0; i < n; i++) {
			assert_true(policy_print_rule(&rules[i].rule, line, sizeof(line)) > 0);
			fprintf(stderr, "%s %u ended %d left %u: %s\n", policy_origin_text(rules[i].meta.origin),
				rules[i].meta.owner, rules[i].meta.ended, rules[i].meta.times_left, line);
		}
		fail_msg("seed %llu: %s, %s: lookup %d, naive %d", (unsigned long long)seed, app, text, v.answer, want);
	}
	policy_free(p);
	for (size_t i = 0; i < n; i++)
		policy_rule_fini(&rules[i].rule);
	free_world(&w);
}

static void test_lookups(void **unused)
{
	(void)unused;
	uint64_t first = start();
	for (unsigned i = 0; i < rounds(100) / 5 + 20; i++) {
		seed = first + i;
		state = seed * 0x9e3779b97f4a7c15U | 1;
		lookup_policy();
	}
}

/* Rules dealt out to a base and to what is joined to it, some of the base's gone again; the whole has them in one. */
struct joined {
	struct policy_entry base[RULES_MAX], more[RULES_MAX], whole[RULES_MAX];
	size_t n_base, n_more, n_whole;
	size_t from[2 * RULES_MAX]; /* number in the join → in the whole */
	uint32_t gone[RULES_MAX];
	size_t n_gone;
};

static void deal(struct joined *j, const struct policy_entry *rules, size_t n)
{
	enum { STAYS, COMES, GOES, CHANGES, WAYS };
	size_t in_base[RULES_MAX], in_more[RULES_MAX];
	*j = (struct joined){ 0 };
	for (size_t i = 0; i < n; i++) {
		unsigned way = rnd(WAYS);
		if (way != COMES) {
			in_base[j->n_base] = way == STAYS ? j->n_whole : SIZE_MAX;
			if (way != STAYS)
				j->gone[j->n_gone++] = (uint32_t)j->n_base;
			j->base[j->n_base] = rules[i];
			/* As it was: it ran, and had not been charged. */
			if (way == CHANGES)
				j->base[j->n_base].meta.ended = POLICY_RUNNING;
			j->n_base++;
		}
		if (way == COMES || way == CHANGES) {
			in_more[j->n_more] = j->n_whole;
			j->more[j->n_more++] = rules[i];
		}
		if (way != GOES)
			j->whole[j->n_whole++] = rules[i];
	}
	memcpy(j->from, in_base, j->n_base * sizeof(*in_base));
	memcpy(j->from + j->n_base, in_more, j->n_more * sizeof(*in_more));
}

static void same_matches(const struct joined *j, const struct policy *p, const struct policy *whole,
	const struct policy_request *q)
{
	struct policy_match a[RULES_MAX], b[RULES_MAX];
	long n = policy_explain(p, q, a, RULES_MAX);
	assert_int_equal(n, policy_explain(whole, q, b, RULES_MAX));
	for (long i = 0; i < n; i++) {
		assert_int_equal(j->from[a[i].rule], b[i].rule);
		assert_memory_equal(a[i].rank, b[i].rank, sizeof(a[i].rank));
		assert_string_equal(policy_rule_text(p, a[i].rule), policy_rule_text(whole, b[i].rule));
	}
}

static void joined_says(const struct joined *j, const struct policy *p, const struct policy *whole)
{
	struct question x;
	struct policy_verdict v, u;
	struct policy_lookup_verdict l, m;
	make_question(&x);
	policy_decide(p, &x.q, &v);
	policy_decide(whole, &x.q, &u);
	if (v.answer != u.answer || (v.rule == POLICY_NO_RULE ? v.rule : j->from[v.rule]) != u.rule ||
		v.next_change_ms != u.next_change_ms || v.counted != u.counted)
		fail_msg("seed %llu: joined rules say something else", (unsigned long long)seed);
	same_matches(j, p, whole, &x.q);
	policy_may_resolve(p, x.q.app, x.q.owner, &x.name, x.q.now_ms, &l);
	policy_may_resolve(whole, x.q.app, x.q.owner, &x.name, x.q.now_ms, &m);
	assert_int_equal(l.answer, m.answer);
	assert_int_equal(l.counted, m.counted);
	assert_int_equal(policy_inbound_possible(p, x.q.app, x.q.owner),
		policy_inbound_possible(whole, x.q.app, x.q.owner));
	bool c, d;
	assert_int_equal(policy_knows_peer(p, x.q.app, x.q.owner, "db", 1000, x.q.now_ms, &c),
		policy_knows_peer(whole, x.q.app, x.q.owner, "db", 1000, x.q.now_ms, &d));
	assert_int_equal(c, d);
}

static void same_ids(const struct joined *j, const struct policy *p, const struct policy *whole)
{
	for (size_t i = 0; i < j->n_base + j->n_more; i++) {
		const uint8_t *id = policy_rule_meta(p, i)->id;
		size_t at = policy_rule_by_id(p, id, 0), in_whole = policy_rule_by_id(whole, id, 0);
		assert_int_equal(at == POLICY_NO_RULE ? at : j->from[at], in_whole);
		assert_int_equal(policy_rule_by_id(p, id, 1), POLICY_NO_RULE);
	}
}

static void joined_policy(unsigned *pairs)
{
	struct policy_entry rules[RULES_MAX];
	struct joined j;
	struct world w;
	struct policy *base, *more, *p, *again, *whole;
	size_t n = 0;
	make_world(&w, rules);
	choose_few();
	for (unsigned i = 1 + rnd(RULES_MAX); i > 0; i--)
		add_rule(rules, &n, &w.in);
	deal(&j, rules, n);
	struct policy_input in = w.in;
	in.rules = j.base;
	in.n_rules = j.n_base;
	assert_int_equal(policy_compile(&in, &base, NULL), 0);
	in.rules = j.more;
	in.n_rules = j.n_more;
	assert_int_equal(policy_compile(&in, &more, NULL), 0);
	in.rules = j.whole;
	in.n_rules = j.n_whole;
	assert_int_equal(policy_compile(&in, &whole, NULL), 0);
	/* Of what was joined before nothing is left. */
	assert_int_equal(policy_join(base, NULL, j.gone, j.n_gone / 2, &again), 0);
	assert_int_equal(policy_join(again, more, j.gone, j.n_gone, &p), 0);
	policy_free(again);
	attach(&w, p);
	attach(&w, whole);
	same_ids(&j, p, whole);
	for (int i = 0; i < QUESTIONS; i++, ++*pairs)
		joined_says(&j, p, whole);
	uint32_t none = (uint32_t)j.n_base;
	assert_int_equal(policy_join(base, NULL, &none, 1, &again), -EINVAL);
	policy_free(p);
	policy_free(base);
	policy_free(whole);
	for (size_t i = 0; i < n; i++)
		policy_rule_fini(&rules[i].rule);
	free_world(&w);
}

static void test_joined(void **unused)
{
	(void)unused;
	unsigned pairs = 0;
	uint64_t first = start();
	for (unsigned i = 0; i < rounds(400); i++) {
		seed = first + i;
		state = seed * 0x9e3779b97f4a7c15U | 1;
		joined_policy(&pairs);
	}
	print_message("%u pairs\n", pairs);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_two_evaluators), cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_joined) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
