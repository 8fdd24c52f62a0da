/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/reply.h"
#include "names/servers.h"
#include "names/stream.h"
#include "names/upstream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct dns_query q;
static struct dns_reply reply;
static uint8_t buf[DNS_MESSAGE_MAX];
static struct upstream_sum sum;

static struct name named(const char *text)
{
	struct name n;
	assert_true(name_from_text(text, strlen(text), &n));
	return n;
}

static void begin(const char *name, uint16_t qtype, uint16_t rcode)
{
	q = (struct dns_query){ .type = qtype, .name = named(name) };
	q.question_len = q.name.len;
	memcpy(q.question, q.name.wire, q.name.len);
	dns_reply_begin(&reply, buf, sizeof(buf), &q, rcode);
}

static void cname(const char *from, const char *to, uint32_t ttl)
{
	struct name owner = named(from), target = named(to);
	dns_reply_record(&reply, &owner, DNS_CNAME, ttl, target.wire, target.len);
}

static void address(const char *owner, const char *text, uint32_t ttl)
{
	struct name n = named(owner);
	struct addr a;
	assert_true(addr_parse(text, &a));
	dns_reply_record(&reply, &n, a.len == 4 ? DNS_A : DNS_AAAA, ttl, a.b, a.len);
}

static struct upstream_result end(void)
{
	return (struct upstream_result){ .packet = buf, .len = dns_reply_end(&reply) };
}

static void add(void)
{
	struct upstream_result res = end();
	assert_true(res.len > 0);
	upstream_add(&sum, &q.name, q.type, &res);
}

static int fresh(void **state)
{
	(void)state;
	memset(&sum, 0, sizeof(sum));
	return 0;
}

/* Records of others, and of the chain's middle, are not the name's addresses (egress.md case 4). */
static void test_own_chain_only(void **state)
{
	(void)state;
	begin("api.example.org", DNS_A, 0);
	address("evil.example.net", "203.0.113.66", 5);
	address("lb.example.net", "198.51.100.1", 300);
	cname("lb.example.net", "end.example.net", 100);
	address("end.example.net", "198.51.100.2", 200);
	cname("api.example.org", "lb.example.net", 60);
	address("api.example.org", "198.51.100.3", 300);
	address("end.example.net", "2001:db8::1", 1);
	add();
	upstream_end(&sum);
	assert_int_equal(sum.r.status, RESOLVE_OK);
	assert_int_equal(sum.r.n_chain, 2);
	assert_int_equal(sum.r.n_v4, 1);
	assert_int_equal(addr_to_u32(&sum.r.v4[0]), 0xc6336402);
	assert_int_equal(sum.r.n_v6, 0);
	assert_int_equal(sum.r.ttl, 60);
}

static void chain_of(unsigned links)
{
	char from[64], to[64];
	begin("n0.example", DNS_A, 0);
	/* Last link first: the order of records says nothing. */
	for (unsigned i = links; i-- > 0;) {
		snprintf(from, sizeof(from), "n%u.example", i);
		snprintf(to, sizeof(to), "n%u.example", i + 1);
		cname(from, to, 60);
	}
	snprintf(from, sizeof(from), "n%u.example", links);
	address(from, "198.51.100.1", 60);
	add();
	upstream_end(&sum);
}

static void test_chain_bounds(void **state)
{
	chain_of(IPC_CHAIN_MAX);
	assert_int_equal(sum.r.status, RESOLVE_OK);
	assert_int_equal(sum.r.n_chain, IPC_CHAIN_MAX);
	fresh(state);
	chain_of(IPC_CHAIN_MAX + 1);
	assert_int_equal(sum.r.status, RESOLVE_FAILED);
	assert_int_equal(sum.r.n_v4 + sum.r.n_chain, 0);
	fresh(state);
	begin("a.example", DNS_A, 0);
	cname("a.example", "b.example", 60);
	cname("b.example", "a.example", 60);
	add();
	upstream_end(&sum);
	assert_int_equal(sum.r.status, RESOLVE_FAILED);
}

static void test_many_addresses(void **state)
{
	(void)state;
	char text[32];
	begin("many.example", DNS_A, 0);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "198.51.%u.%u", i / 250, i % 250);
		address("many.example", text, 60);
	}
	add();
	upstream_end(&sum);
	assert_int_equal(sum.r.status, RESOLVE_OK);
	assert_int_equal(sum.r.n_v4, IPC_ADDRS_MAX);
}

enum outcome { YES, EMPTY, NO, FAIL, WRONG };

static void outcome(uint16_t qtype, enum outcome o)
{
	struct name n = named("www.example.org");
	struct upstream_result none = { .failed = o == FAIL, .bogus = o == WRONG };
	if (o == FAIL || o == WRONG) {
		upstream_add(&sum, &n, qtype, &none);
		return;
	}
	begin("www.example.org", qtype, o == NO ? DNS_NXDOMAIN : DNS_NOERROR);
	if (o == YES)
		address("www.example.org", qtype == DNS_A ? "198.51.100.1" : "2001:db8::1", 300);
	else
		dns_reply_negative(&reply);
	add();
}

/* Both families' outcomes and what becomes of the name. */
static void test_status(void **state)
{
	static const struct {
		enum outcome v4, v6;
		enum ipc_resolve_status status;
	} want[] = { { YES, YES, RESOLVE_OK }, { YES, EMPTY, RESOLVE_OK }, { EMPTY, YES, RESOLVE_OK },
		{ YES, FAIL, RESOLVE_OK }, { FAIL, YES, RESOLVE_OK }, { EMPTY, EMPTY, RESOLVE_OK },
		{ NO, NO, RESOLVE_NXDOMAIN }, { NO, EMPTY, RESOLVE_OK }, { NO, FAIL, RESOLVE_FAILED },
		{ EMPTY, FAIL, RESOLVE_FAILED }, { FAIL, FAIL, RESOLVE_FAILED }, { WRONG, YES, RESOLVE_BOGUS },
		{ YES, WRONG, RESOLVE_BOGUS }, { FAIL, WRONG, RESOLVE_BOGUS }, { YES, NO, RESOLVE_OK } };
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		fresh(state);
		outcome(DNS_A, want[i].v4);
		outcome(DNS_AAAA, want[i].v6);
		upstream_end(&sum);
		assert_int_equal(sum.r.status, want[i].status);
		assert_int_equal(sum.r.n_v4, want[i].v4 == YES && sum.r.status == RESOLVE_OK);
		assert_int_equal(sum.r.n_v6, want[i].v6 == YES && sum.r.status == RESOLVE_OK);
		if (want[i].v4 == FAIL && want[i].v6 == YES)
			assert_int_equal(sum.r.ttl, UPSTREAM_TTL_NEGATIVE_S);
	}
	fresh(state);
	upstream_end(&sum);
	assert_int_equal(sum.r.status, RESOLVE_FAILED);
}

/* An answer to another question, a truncated one, an rcode that says nothing, no message at all. */
static void test_not_an_answer(void **state)
{
	struct name other = named("www.example.net");
	struct upstream_result res;
	for (unsigned i = 0; i < 5; i++) {
		fresh(state);
		begin("www.example.org", DNS_A, i == 3 ? DNS_REFUSED : 0);
		address("www.example.org", "198.51.100.1", 1);
		res = end();
		if (i == 0)
			q.name = other;
		else if (i == 1)
			q.type = DNS_AAAA;
		else if (i == 2)
			buf[2] |= 2;
		else if (i == 4)
			res.len--;
		upstream_add(&sum, &q.name, q.type, &res);
		upstream_end(&sum);
		assert_int_equal(sum.r.status, RESOLVE_FAILED);
	}
}

static struct ipc_relayed relayed;

static void test_relay(void **state)
{
	(void)state;
	static const uint8_t mx[] = "\0\12\4MaIl\7example\3org";
	struct name other = named("evil.example.net"), end_name = named("mx.example.net");
	begin("example.org", DNS_MX, 0);
	cname("example.org", "mx.example.net", 86400);
	dns_reply_record(&reply, &end_name, DNS_MX, 86400, mx, sizeof(mx));
	dns_reply_record(&reply, &other, DNS_MX, 60, mx, sizeof(mx));
	address("mx.example.net", "198.51.100.1", 60);
	struct upstream_result res = end();
	upstream_relay(&q.name, DNS_MX, &res, &relayed);
	assert_int_equal(relayed.rcode, 0);
	assert_int_equal(relayed.n_records, 2);
	assert_memory_equal(relayed.records + relayed.len - 17, "mail\7example\3org", 17);
	/* The TTL of the first record, behind its owner and type. */
	struct rd r = rd_init(relayed.records + 1 + q.name.len + 2, 4);
	assert_int_equal(rd_u32(&r), UPSTREAM_TTL_RELAY_MAX_S);
	res.bogus = true;
	upstream_relay(&q.name, DNS_MX, &res, &relayed);
	assert_int_equal(relayed.rcode, DNS_SERVFAIL);
	assert_int_equal(relayed.n_records, 0);
}

/* Malformed rdata of the own chain spoils the answer; that of others is not looked at. */
static void test_relay_malformed(void **state)
{
	(void)state;
	struct name other = named("evil.example.net");
	for (unsigned own = 0; own < 2; own++) {
		begin("example.org", DNS_TXT, 0);
		dns_reply_record(&reply, own ? &q.name : &other, DNS_TXT, 60, (const uint8_t *)"\5abc", 4);
		struct upstream_result res = end();
		upstream_relay(&q.name, DNS_TXT, &res, &relayed);
		assert_int_equal(relayed.rcode, own ? DNS_SERVFAIL : DNS_NOERROR);
		assert_int_equal(relayed.n_records, 0);
	}
}

static void test_relay_bound(void **state)
{
	(void)state;
	static uint8_t txt[256] = { 255 };
	begin("example.org", DNS_TXT, 0);
	for (unsigned i = 0; i < 235; i++)
		dns_reply_record(&reply, &q.name, DNS_TXT, 60, txt, sizeof(txt));
	struct upstream_result res = end();
	upstream_relay(&q.name, DNS_TXT, &res, &relayed);
	assert_int_equal(relayed.rcode, 0);
	assert_in_range(relayed.n_records, 200, 234);
	assert_true(relayed.len <= IPC_RELAY_MAX);
}

static void servers(const char *key, const char *conf, unsigned n, const char *first)
{
	struct servers s = { .n = 99 };
	bool good = servers_parse(key, conf, strlen(conf), &s);
	assert_int_equal(good, first != NULL);
	if (!good) {
		assert_int_equal(s.n, 99);
		return;
	}
	assert_int_equal(s.n, n);
	if (n > 0)
		assert_string_equal(s.at[0], first);
}

static void test_servers(void **state)
{
	(void)state;
	servers("forward:192.0.2.1", "", 1, "192.0.2.1@53");
	servers("forward:192.0.2.1@5300,2001:db8::1", "", 2, "192.0.2.1@5300");
	servers("forward:fe80::1%eth0", "", 1, "fe80::1%eth0@53");
	servers("tls:192.0.2.1#DNS.Example.net", "", 1, "192.0.2.1@853#dns.example.net");
	servers("tls:2001:db8::1@8853#dns.example.net,192.0.2.2#b", "", 2, "2001:db8::1@8853#dns.example.net");
	servers("recursive", "", 0, "");
	servers("system",
		"# mine\nsearch lan\nnameserver  192.0.2.1\t\nnameserver nonsense\nnameservers 192.0.2.9\n\tnameserver ::1",
		2, "192.0.2.1@53");
	servers("system", "", 1, "127.0.0.1@53");
	servers("system", "nameserver 192.0.2.1@99\nnameserver 192.0.2.1#x", 1, "127.0.0.1@53");
	static const char *const bad[] = { "", "forward:", "forward:dns.example.net", "forward:192.0.2.1@",
		"forward:192.0.2.1@0", "forward:192.0.2.1@65536", "forward:192.0.2.1@53x", "forward:192.0.2.1,",
		"forward:,192.0.2.1", "forward:192.0.2.1#name", "tls:192.0.2.1", "tls:192.0.2.1#", "tls:192.0.2.1#a b",
		"tls:192.0.2.1#\"\n", "forward:192.0.2.1%eth0", "forward:fe80::1%", "forward:fe80::1%a\"b",
		"forward:192.0.2.1\n",
		"forward:1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1,1.1.1.1", "quick" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		servers(bad[i], "", 0, NULL);
}

static void test_unbound_conf(void **state)
{
	(void)state;
	static char conf[8192];
	struct servers s;
	assert_true(servers_parse("tls:192.0.2.1#dns.example.net", "", 0, &s));
	size_t len = servers_unbound_conf(&s, true, NULL, "/x/certs", conf, sizeof(conf));
	assert_int_equal(len, strlen(conf));
	assert_non_null(strstr(conf, "\tforward-addr: 192.0.2.1@853#dns.example.net\n"));
	assert_non_null(strstr(conf, "\tforward-tls-upstream: yes\n"));
	assert_non_null(strstr(conf, "\ttls-cert-bundle: \"/x/certs\"\n"));
	assert_non_null(strstr(conf, "trust-anchor"));
	for (size_t cap = 0; cap <= len; cap += 97)
		assert_int_equal(servers_unbound_conf(&s, true, NULL, "/x/certs", conf, cap), 0);
	assert_true(servers_parse("recursive", "", 0, &s));
	assert_true(servers_unbound_conf(&s, true, "/x/root.ds", "", conf, sizeof(conf)) > 0);
	assert_non_null(strstr(conf, "trust-anchor-file: \"/x/root.ds\""));
	assert_null(strstr(conf, "20326"));
	assert_true(servers_unbound_conf(&s, false, NULL, "", conf, sizeof(conf)) > 0);
	assert_null(strstr(conf, "forward-zone"));
	assert_null(strstr(conf, "trust-anchor"));
}

/* Messages through a stream in pieces of every size, in and out. */
static void test_stream_pieces(void **state)
{
	(void)state;
	uint8_t sent[2000], *space;
	const uint8_t *msg, *out;
	size_t n = 0, len, room;
	for (unsigned i = 0; i < 40; i++) {
		sent[n++] = 0;
		sent[n++] = (uint8_t)(i % 48);
		memset(sent + n, (int)i, i % 48);
		n += i % 48;
	}
	for (size_t piece = 1; piece < 200; piece++) {
		struct stream *s = stream_new();
		unsigned got = 0;
		for (size_t at = 0; at < n;) {
			space = stream_in(s, &room);
			size_t take = piece < n - at ? piece : n - at;
			take = take < room ? take : room;
			assert_true(take > 0);
			memcpy(space, sent + at, take);
			stream_in_done(s, take);
			at += take;
			for (; stream_next(s, &msg, &len) == 1; got++) {
				assert_int_equal(len, got % 48);
				assert_true(len == 0 || (msg[0] == got && msg[len - 1] == got));
				assert_int_equal(stream_put(s, msg, len), 0);
			}
		}
		assert_int_equal(got, 40);
		for (size_t at = 0; at < n; at += len) {
			out = stream_out(s, &len);
			assert_non_null(out);
			len = len < piece ? len : piece;
			assert_memory_equal(out, sent + at, len);
			stream_out_done(s, len);
		}
		assert_null(stream_out(s, &len));
		stream_free(s);
	}
}

static void test_stream_bounds(void **state)
{
	(void)state;
	static uint8_t big[65535];
	struct stream *s = stream_new();
	const uint8_t *msg;
	size_t room, len;
	uint8_t *space = stream_in(s, &room);
	assert_int_equal(room, 2 + STREAM_QUERY_MAX);
	space[0] = (STREAM_QUERY_MAX + 1) >> 8;
	space[1] = (STREAM_QUERY_MAX + 1) & 255;
	stream_in_done(s, 1);
	assert_int_equal(stream_next(s, &msg, &len), 0);
	stream_in_done(s, 1);
	assert_int_equal(stream_next(s, &msg, &len), -EMSGSIZE);
	/* The greatest message has room once; a second waits for the first to go. */
	assert_int_equal(stream_put(s, big, sizeof(big)), 0);
	assert_int_equal(stream_put(s, big, 0), -ENOBUFS);
	assert_non_null(stream_out(s, &len));
	stream_out_done(s, 100);
	assert_int_equal(stream_put(s, big, 98), 0);
	assert_int_equal(stream_put(s, big, 0), -ENOBUFS);
	stream_free(s);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup(t, fresh)
	const struct CMUnitTest tests[] = { T(test_own_chain_only), T(test_chain_bounds), T(test_many_addresses),
		T(test_status), T(test_not_an_answer), T(test_relay), T(test_relay_malformed), T(test_relay_bound),
		T(test_servers), T(test_unbound_conf), T(test_stream_pieces), T(test_stream_bounds) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
