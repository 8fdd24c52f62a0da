/* SPDX-License-Identifier: Apache-2.0 */
#include "names/front.h"

#include "names/clients.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct front *f;
static uint8_t buf[DNS_MESSAGE_MAX];
static struct ipc_lookup lookup;
static uint32_t last_id;
static size_t last_len;

static int setup(void **state)
{
	(void)state;
	f = front_new(7, 8);
	return f == NULL;
}

static int teardown(void **state)
{
	(void)state;
	front_free(f);
	return 0;
}

static size_t query(uint8_t *q, const char *name, uint16_t qtype, bool edns)
{
	struct wr w = wr_init(q, 512);
	struct name n;
	assert_true(name_from_text(name, strlen(name), &n));
	wr_u32(&w, 0xabcd0100);
	wr_u32(&w, 1U << 16);
	wr_u32(&w, edns);
	wr_bytes(&w, n.wire, n.len);
	wr_u16(&w, qtype);
	wr_u16(&w, DNS_CLASS_IN);
	if (edns) {
		wr_u8(&w, 0);
		wr_u32(&w, 41U << 16 | 1232);
		wr_zero(&w, 6);
	}
	return w.len;
}

static enum front_take ask_from(struct addr client, const char *name, uint16_t qtype, bool edns, int64_t now_ms)
{
	uint8_t q[512];
	size_t len = query(q, name, qtype, edns);
	return front_query(f, &client, false, q, len, now_ms, &last_id, &lookup, buf, sizeof(buf), &last_len);
}

static uint32_t ask(const char *name, uint16_t qtype, bool edns)
{
	assert_int_equal(ask_from(addr_v4(1), name, qtype, edns, 0), FRONT_ASK);
	return last_id;
}

static struct dns_response parsed(size_t len)
{
	struct dns_response r;
	assert_int_equal(dns_response_parse(buf, len, &r), 0);
	assert_int_equal(r.id, 0xabcd);
	return r;
}

static size_t answer(uint32_t id, enum ipc_answer_kind kind, uint16_t ede, const char *text)
{
	static struct ipc_lookup_answer a;
	a = (struct ipc_lookup_answer){ .kind = (uint8_t)kind, .ttl = 30, .ede = ede, .address = addr_v4(0xc6120001) };
	assert_true(name_from_text("www.example.net", 15, &a.target));
	ipc_text_set(&a.text, text);
	return front_answer(f, id, &a, buf, sizeof(buf));
}

/* Every kind of answer: rcode, records in the answer section, a SOA of two seconds or none. */
static void test_kinds(void **state)
{
	(void)state;
	static const struct {
		enum ipc_answer_kind kind;
		uint16_t rcode, answers, soas;
	} want[] = { { ANSWER_ADDRESS, 0, 1, 0 }, { ANSWER_DENIED, 3, 0, 1 }, { ANSWER_NODATA, 0, 0, 1 },
		{ ANSWER_NXDOMAIN, 3, 0, 1 }, { ANSWER_SERVFAIL, 2, 0, 0 }, { ANSWER_PTR, 0, 1, 0 },
		{ ANSWER_REFUSED, 5, 0, 0 }, { (enum ipc_answer_kind)99, 2, 0, 0 } };
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		uint32_t id = ask("www.example.org", DNS_A, false);
		struct dns_response r = parsed(answer(id, want[i].kind, DNS_NO_EDE, ""));
		struct dns_record rec;
		assert_int_equal(r.rcode, want[i].rcode);
		assert_int_equal(r.left[DNS_ANSWER], want[i].answers);
		assert_int_equal(r.left[DNS_AUTHORITY], want[i].soas);
		while (dns_record_next(&r, &rec))
			assert_int_equal(rec.ttl, want[i].soas ? DNS_NEGATIVE_TTL_S : 30);
		/* Answered once, and never again. */
		assert_int_equal(answer(id, want[i].kind, DNS_NO_EDE, ""), 0);
	}
	assert_int_equal(front_deadline(f), -1);
}

static void test_denied_says_why(void **state)
{
	(void)state;
	static const char rule[] = "deny web to www.example.org";
	uint32_t id = ask("www.example.org", DNS_A, true);
	size_t len = answer(id, ANSWER_DENIED, 15, rule);
	assert_true(len > sizeof(rule) + 6);
	const uint8_t *option = buf + len - (sizeof(rule) - 1) - 6;
	static const uint8_t head[] = { 0, 15, 0, 2 + sizeof(rule) - 1, 0, 15 };
	assert_memory_equal(option, head, sizeof(head));
	assert_memory_equal(option + 6, rule, sizeof(rule) - 1);
	/* Without EDNS there is no place for it. */
	id = ask("www.example.org", DNS_A, false);
	assert_true(answer(id, ANSWER_DENIED, 15, rule) < len - sizeof(rule));
}

/* A rule as long as they get, in two-byte characters: cut to what a datagram holds, between characters. */
static void test_long_reason(void **state)
{
	(void)state;
	char text[1500];
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 2 == 0 ? '\xb6' : '\xc3';
	text[0] = 'x';
	text[sizeof(text) - 1] = '\0';
	uint32_t id = ask("www.example.org", DNS_A, true);
	size_t len = answer(id, ANSWER_DENIED, 15, text);
	assert_in_range(len, DNS_EXTRA_TEXT_MAX, DNS_UDP_MAX);
	assert_int_equal(buf[len - 1], 0xb6);
	parsed(len);
}

static void test_per_client(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FRONT_CLIENT_MAX; i++)
		assert_int_equal(ask_from(addr_v4(1), "a.example", DNS_A, false, 0), FRONT_ASK);
	uint32_t one = last_id;
	assert_int_equal(ask_from(addr_v4(1), "a.example", DNS_A, false, 0), FRONT_REPLY);
	assert_int_equal(parsed(last_len).rcode, DNS_SERVFAIL);
	/* Another client is not concerned; an answer makes room. */
	assert_int_equal(ask_from(addr_v4(2), "a.example", DNS_A, false, 0), FRONT_ASK);
	assert_true(answer(one, ANSWER_NODATA, DNS_NO_EDE, "") > 0);
	assert_int_equal(ask_from(addr_v4(1), "a.example", DNS_A, false, 0), FRONT_ASK);
}

/* All addresses of a /64 are one client: a guest may use any of them. */
static void test_client_is_a_64(void **state)
{
	(void)state;
	uint8_t b[16] = { 0xfd, 1 };
	for (unsigned i = 0; i < FRONT_CLIENT_MAX; i++) {
		b[15] = (uint8_t)i;
		b[8] = (uint8_t)(i >> 4);
		assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_ASK);
	}
	b[9] = 77;
	assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_REPLY);
	b[7] = 1;
	assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_ASK);
}

/* On a LAN the guests share its /64: one that fills its places takes none from the others. */
static void test_clients_of_a_lan(void **state)
{
	(void)state;
	uint8_t b[16] = { 0xfd, 1, [15] = 1 };
	front_free(f);
	f = front_new(7, 16);
	assert_non_null(f);
	for (unsigned i = 0; i < FRONT_CLIENT_MAX; i++)
		assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_ASK);
	assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_REPLY);
	b[15] = 2;
	assert_int_equal(ask_from(addr_v6(b), "a.example", DNS_A, false, 0), FRONT_ASK);
}

static void test_full(void **state)
{
	(void)state;
	static uint32_t id[FRONT_MAX];
	for (unsigned i = 0; i < FRONT_MAX; i++) {
		assert_int_equal(ask_from(addr_v4(1 + i / 16), "a.example", DNS_A, false, 0), FRONT_ASK);
		id[i] = last_id;
	}
	assert_int_equal(ask_from(addr_v4(9999), "a.example", DNS_A, false, 0), FRONT_REPLY);
	/* In any order. */
	for (unsigned i = 0; i < FRONT_MAX; i++)
		assert_true(answer(id[i * 2731U % FRONT_MAX], ANSWER_NODATA, DNS_NO_EDE, "") > 0);
	assert_int_equal(front_deadline(f), -1);
	assert_int_equal(ask_from(addr_v4(9999), "a.example", DNS_A, false, 0), FRONT_ASK);
}

static void test_expiry(void **state)
{
	(void)state;
	uint32_t id[3], due;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(ask_from(addr_v4(1), "a.example", DNS_A, false, 100 * i), FRONT_ASK);
		id[i] = last_id;
	}
	assert_true(answer(id[0], ANSWER_NODATA, DNS_NO_EDE, "") > 0);
	assert_int_equal(front_deadline(f), 100 + FRONT_PATIENCE_MS);
	assert_int_equal(front_expire(f, 99 + FRONT_PATIENCE_MS, &due, buf, sizeof(buf)), 0);
	size_t len = front_expire(f, 100 + FRONT_PATIENCE_MS, &due, buf, sizeof(buf));
	assert_int_equal(due, id[1]);
	assert_int_equal(parsed(len).rcode, DNS_SERVFAIL);
	assert_int_equal(answer(id[1], ANSWER_NODATA, DNS_NO_EDE, ""), 0);
	assert_int_equal(front_deadline(f), 200 + FRONT_PATIENCE_MS);
}

/* A late answer to an earlier query in the same place is nobody's. */
static void test_place_used_again(void **state)
{
	(void)state;
	uint32_t first = ask("a.example", DNS_A, false);
	assert_true(answer(first, ANSWER_NODATA, DNS_NO_EDE, "") > 0);
	uint32_t second = ask("b.example", DNS_A, false);
	assert_int_equal(front_place(first), front_place(second));
	assert_int_not_equal(first, second);
	assert_int_equal(answer(first, ANSWER_ADDRESS, DNS_NO_EDE, ""), 0);
	assert_true(answer(second, ANSWER_ADDRESS, DNS_NO_EDE, "") > 0);
	assert_int_equal(answer(0, ANSWER_ADDRESS, DNS_NO_EDE, ""), 0);
}

static struct ipc_relayed relayed;

static void relay_begin(struct wr *w)
{
	*w = wr_init(relayed.records, sizeof(relayed.records));
	relayed.rcode = 0;
	relayed.n_records = 0;
}

static void relay_record(struct wr *w, uint16_t type, uint16_t len)
{
	static const uint8_t zero[300];
	wr_u8(w, lookup.name.len);
	wr_bytes(w, lookup.name.wire, lookup.name.len);
	wr_u16(w, type);
	wr_u32(w, 60);
	wr_u16(w, len);
	wr_bytes(w, zero, len);
	relayed.n_records++;
	relayed.len = (uint32_t)w->len;
}

static uint32_t permitted(void)
{
	uint32_t id = ask("example.org", DNS_TXT, true);
	assert_int_equal(answer(id, ANSWER_RELAY, DNS_NO_EDE, ""), 0);
	return id;
}

static void test_relayed(void **state)
{
	(void)state;
	struct wr w;
	uint32_t id = ask("example.org", DNS_TXT, true);
	relay_begin(&w);
	relay_record(&w, DNS_TXT, 1);
	relay_record(&w, DNS_TXT, 1);
	/* Before gate has said so, the resolver says nothing. */
	assert_int_equal(front_relayed(f, id, &relayed, buf, sizeof(buf)), 0);
	assert_int_equal(answer(id, ANSWER_RELAY, DNS_NO_EDE, ""), 0);
	assert_int_equal(parsed(front_relayed(f, id, &relayed, buf, sizeof(buf))).left[DNS_ANSWER], 2);
	assert_int_equal(front_relayed(f, id, &relayed, buf, sizeof(buf)), 0);
	/* Nothing found. */
	relay_begin(&w);
	relayed.len = 0;
	relayed.rcode = DNS_NXDOMAIN;
	struct dns_response r = parsed(front_relayed(f, permitted(), &relayed, buf, sizeof(buf)));
	assert_int_equal(r.rcode, DNS_NXDOMAIN);
	assert_int_equal(r.left[DNS_AUTHORITY], 1);
}

static void test_relayed_lies(void **state)
{
	(void)state;
	struct wr w;
	/* A real address, fewer records than said, bytes behind them: nothing of it goes on. */
	for (unsigned i = 0; i < 3; i++) {
		uint32_t id = permitted();
		relay_begin(&w);
		relay_record(&w, i == 0 ? DNS_A : DNS_TXT, 4);
		relayed.n_records = i == 1 ? 2 : 1;
		relayed.len += i == 2;
		struct dns_response r = parsed(front_relayed(f, id, &relayed, buf, sizeof(buf)));
		assert_int_equal(r.rcode, DNS_SERVFAIL);
		assert_int_equal(r.left[DNS_ANSWER], 0);
	}
}

static void test_relayed_too_big(void **state)
{
	(void)state;
	struct wr w;
	uint32_t id = permitted();
	relay_begin(&w);
	for (unsigned i = 0; i < 100; i++)
		relay_record(&w, DNS_TXT, 300);
	size_t len = front_relayed(f, id, &relayed, buf, sizeof(buf));
	struct dns_response r = parsed(len);
	assert_true(r.truncated && len <= DNS_UDP_MAX);
	assert_int_equal(r.left[DNS_ANSWER], 0);
	/* By TCP the whole of it. */
	uint8_t q[512];
	struct addr client = addr_v4(1);
	size_t qlen = query(q, "example.org", DNS_TXT, true);
	assert_int_equal(front_query(f, &client, true, q, qlen, 0, &id, &lookup, buf, sizeof(buf), &len), FRONT_ASK);
	assert_int_equal(answer(id, ANSWER_RELAY, DNS_NO_EDE, ""), 0);
	r = parsed(front_relayed(f, id, &relayed, buf, sizeof(buf)));
	assert_int_equal(r.left[DNS_ANSWER], 100);
}

/* The counts against a plain array, with clients that come and go and often meet in the table. */
static void test_clients_property(void **state)
{
	(void)state;
	enum { WHO = CLIENTS_MAX + 500, STEPS = 400000, LIMIT = 3 };
	static unsigned n[WHO];
	struct clients *c = clients_new(3, 8);
	unsigned distinct = 0;
	uint32_t dice = 1;
	assert_non_null(c);
	memset(n, 0, sizeof(n));
	for (unsigned i = 0; i < STEPS; i++) {
		dice = dice * 1664525 + 1013904223;
		unsigned who = (dice >> 8) % WHO;
		struct addr a = addr_v4(who + 1);
		if ((dice >> 30) != 0) {
			bool want = n[who] < LIMIT && (n[who] > 0 || distinct < CLIENTS_MAX);
			assert_int_equal(clients_take(c, &a, LIMIT), want);
			distinct += want && n[who] == 0;
			n[who] += want;
		} else if (n[who] > 0) {
			clients_drop(c, &a);
			distinct -= --n[who] == 0;
		}
	}
	assert_int_equal(distinct, CLIENTS_MAX);
	for (unsigned who = 0; who < WHO; who++) {
		struct addr a = addr_v4(who + 1);
		assert_int_equal(clients_count(c, &a), n[who]);
	}
	clients_free(c);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = { T(test_kinds), T(test_denied_says_why), T(test_long_reason),
		T(test_per_client), T(test_client_is_a_64), T(test_clients_of_a_lan), T(test_full), T(test_expiry),
		T(test_place_used_again), T(test_relayed), T(test_relayed_lies), T(test_relayed_too_big),
		T(test_clients_property) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
