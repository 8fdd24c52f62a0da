/* SPDX-License-Identifier: Apache-2.0 */
/* The resolver role as it runs, against a real name server: what it says, what it asks and what it never asks. */
#include "world.h"

#include "dns/msg.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct world w;
static uint32_t next_id = 1;
static struct ipc_resolved resolved;
static struct ipc_relayed relayed;
static long before; /* queries at nsd when the role was started */

static struct name named(const char *text)
{
	struct name n;
	assert_true(name_from_text(text, strlen(text), &n));
	return n;
}

static void ask(const char *name)
{
	struct ipc_resolve m = { .name = named(name), .want_v4 = true, .want_v6 = true };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_RESOLVE, next_id, resolve, &m, NULL, 0), 0);
}

static void answer(int patience_ms)
{
	struct frame f = world_recv(&w, ROLE_GATE, patience_ms);
	assert_int_equal(f.type, IPC_RESOLVED);
	assert_int_equal(f.id, next_id);
	assert_true(ipc_resolved_get(f.body, f.len, &resolved));
	next_id++;
}

static void resolve(const char *name)
{
	ask(name);
	answer(8000);
}

static void relay(const char *name, uint16_t qtype)
{
	struct ipc_relay m = { .lookup_id = next_id, .qtype = qtype, .name = named(name) };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_RELAY, 0, relay, &m, NULL, 0), 0);
	struct frame f = world_recv(&w, ROLE_NAMES, 30000);
	assert_int_equal(f.type, IPC_RELAYED);
	assert_int_equal(f.id, next_id);
	assert_true(ipc_relayed_get(f.body, f.len, &relayed));
	next_id++;
}

static void expect_addr(const struct addr *a, const char *text)
{
	struct addr want;
	assert_true(addr_parse(text, &want));
	assert_true(addr_equal(a, &want));
}

/* A resolver that nobody has asked asks nobody. */
static void test_silent_at_start(void **state)
{
	(void)state;
	assert_true(before > 0);
	assert_int_equal(world_queries(&w), before);
}

static void test_addresses(void **state)
{
	(void)state;
	resolve("www.example.org");
	assert_int_equal(resolved.status, RESOLVE_OK);
	assert_int_equal(resolved.n_v4, 2);
	assert_int_equal(resolved.n_v6, 1);
	expect_addr(&resolved.v6[0], "2001:db8::10");
	assert_int_equal(resolved.ttl, 300);
	assert_int_equal(resolved.n_chain, 0);
	resolve("v6only.example.org");
	assert_int_equal(resolved.status, RESOLVE_OK);
	assert_int_equal(resolved.n_v4, 0);
	assert_int_equal(resolved.n_v6, 1);
	/* How long the missing family may be believed missing: the zone's 60 s, libunbound's cap for negative answers
	 * is 5 s. */
	assert_in_range(resolved.ttl, 1, 60);
}

static void test_chain(void **state)
{
	(void)state;
	struct name first = named("alias2.example.org"), second = named("www.example.org");
	resolve("alias.example.org");
	assert_int_equal(resolved.status, RESOLVE_OK);
	assert_int_equal(resolved.n_chain, 2);
	assert_true(name_equal(&resolved.chain[0], &first) && name_equal(&resolved.chain[1], &second));
	assert_int_equal(resolved.n_v4, 2);
	resolve("gone.example.org");
	assert_int_equal(resolved.status, RESOLVE_NXDOMAIN);
	resolve("loop1.example.org");
	assert_int_equal(resolved.status, RESOLVE_FAILED);
}

static void test_no_such_name(void **state)
{
	(void)state;
	resolve("nothere.example.org");
	assert_int_equal(resolved.status, RESOLVE_NXDOMAIN);
	/* The server is not responsible for this one: REFUSED, which is no statement about the name. */
	resolve("www.example.net");
	assert_int_equal(resolved.status, RESOLVE_FAILED);
}

static void test_relay(void **state)
{
	(void)state;
	relay("example.org", DNS_MX);
	assert_int_equal(relayed.rcode, DNS_NOERROR);
	assert_int_equal(relayed.n_records, 1);
	relay("example.org", DNS_TXT);
	assert_int_equal(relayed.n_records, 1);
	relay("_sip._tcp.example.org", DNS_SRV);
	assert_int_equal(relayed.n_records, 1);
	relay("svc.example.org", DNS_HTTPS);
	assert_int_equal(relayed.n_records, 1);
	/* svc.example.org, type, ttl, length; 1 "." alpn=h2,h3 and nothing of the hints. */
	static const uint8_t plain[] = { 0, 13, 0, 1, 0, 0, 1, 0, 6, 2, 'h', '2', 2, 'h', '3' };
	assert_true(relayed.len > sizeof(plain));
	assert_memory_equal(relayed.records + relayed.len - sizeof(plain), plain, sizeof(plain));
	relay("nothere.example.org", DNS_MX);
	assert_int_equal(relayed.rcode, DNS_NXDOMAIN);
	relay("www.example.org", DNS_MX);
	assert_int_equal(relayed.rcode, DNS_NOERROR);
	assert_int_equal(relayed.n_records, 0);
	/* Addresses and types without a description of ours are not relayed. */
	relay("www.example.org", DNS_A);
	assert_int_equal(relayed.rcode, DNS_SERVFAIL);
	relay("www.example.org", 10);
	assert_int_equal(relayed.rcode, DNS_SERVFAIL);
}

static void test_cache_and_silence(void **state)
{
	(void)state;
	resolve("www.example.org");
	long known = world_queries(&w);
	assert_true(known > 0);
	for (unsigned i = 0; i < 50; i++)
		resolve("www.example.org");
	assert_int_equal(world_queries(&w), known);
	/* A name that cannot be allowed is not asked either. */
	struct ipc_resolve odd = { .want_v4 = true };
	assert_true(name_from_wire((const uint8_t *)"\3a.b\7example\3org", 17, &odd.name));
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_RESOLVE, next_id, resolve, &odd, NULL, 0), 0);
	answer(1000);
	assert_int_equal(resolved.status, RESOLVE_FAILED);
	assert_int_equal(world_queries(&w), known);
}

static void test_many_at_once(void **state)
{
	(void)state;
	enum { MANY = 1500 };
	unsigned failed = 0, missing = 0;
	char text[64];
	uint32_t first = next_id;
	for (unsigned i = 0; i < MANY; i++, next_id++) {
		snprintf(text, sizeof(text), "n%u.example.org", i);
		ask(text);
	}
	static bool seen[MANY];
	for (unsigned i = 0; i < MANY; i++) {
		struct frame f = world_recv(&w, ROLE_GATE, 30000);
		assert_true(ipc_resolved_get(f.body, f.len, &resolved));
		assert_in_range(f.id, first, first + MANY - 1);
		assert_false(seen[f.id - first]);
		seen[f.id - first] = true;
		failed += resolved.status == RESOLVE_FAILED;
		missing += resolved.status == RESOLVE_NXDOMAIN;
	}
	assert_int_equal(failed + missing, MANY);
	assert_true(missing > 0);
}

static void test_server_away(void **state)
{
	(void)state;
	assert_int_equal(world_stop(&w), 0);
	/* A socket that takes queries and says nothing. */
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_port = htons(5399),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
	world_start(&w, ROLE_RESOLVER, "resolver = forward:127.0.0.1@5399\ndnssec = off\n", NULL, 0);
	ask("www.example.org");
	answer(5000);
	assert_int_equal(resolved.status, RESOLVE_FAILED);
	close(fd);
	/* Nobody there at all: told at once, by ICMP. */
	resolve("www2.example.org");
	assert_int_equal(resolved.status, RESOLVE_FAILED);
}

static void test_dnssec_auto(void **state)
{
	(void)state;
	assert_int_equal(world_stop(&w), 0);
	/* A server that knows nothing of the root's signatures: auto gives its answers, require refuses them. */
	world_start(&w, ROLE_RESOLVER, "resolver = forward:127.0.0.1@5300\ndnssec = auto\n", NULL, 0);
	resolve("www.example.org");
	assert_int_equal(resolved.status, RESOLVE_OK);
	assert_int_equal(resolved.n_v4, 2);
	relay("example.org", DNS_MX);
	assert_int_equal(relayed.n_records, 1);
	assert_int_equal(world_stop(&w), 0);
	world_start(&w, ROLE_RESOLVER, "resolver = forward:127.0.0.1@5300\ndnssec = require\n", NULL, 0);
	resolve("www.example.org");
	assert_true(resolved.status == RESOLVE_BOGUS || resolved.status == RESOLVE_FAILED);
	assert_int_equal(resolved.n_v4 + resolved.n_v6, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silent_at_start),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_no_such_name),
		cmocka_unit_test(test_relay),
		cmocka_unit_test(test_cache_and_silence),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_server_away),
		cmocka_unit_test(test_dnssec_auto),
	};
	if (!world_enter(&w))
		return 77;
	if (!world_nsd(&w)) {
		world_leave(&w);
		return 77;
	}
	before = world_queries(&w);
	world_start(&w, ROLE_RESOLVER, "resolver = forward:127.0.0.1@5300\ndnssec = off\n", NULL, 0);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	failed += world_stop(&w) != 0;
	world_leave(&w);
	return failed;
}
