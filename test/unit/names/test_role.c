/* SPDX-License-Identifier: Apache-2.0 */
/* The names role as it runs, with this test as gate, as resolver and as its clients, over real sockets. */
#include "world.h"

#include "base/clock.h"
#include "dns/msg.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PORT = 53, PATIENCE_MS = 20000 };

static struct world w;
static const uint8_t query_www[] = { 0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'W', 'w', 7, 'e', 'x', 'a', 'm',
	'p', 'l', 'e', 3, 'o', 'r', 'g', 0, 0, 1, 0, 1 };

static int bound(int family, int type)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	int on = 1, fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	if (family == AF_INET6) {
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)), 0);
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)), 0);
		assert_int_equal(bind(fd, (const struct sockaddr *)&v6, sizeof(v6)), 0);
	} else {
		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
		assert_int_equal(bind(fd, (const struct sockaddr *)&v4, sizeof(v4)), 0);
	}
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	return fd;
}

static void start(const char *settings)
{
	int fds[] = { bound(AF_INET, SOCK_DGRAM), bound(AF_INET6, SOCK_DGRAM), bound(AF_INET, SOCK_STREAM),
		bound(AF_INET6, SOCK_STREAM) };
	world_start(&w, ROLE_NAMES, settings, fds, 4);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
}

static int connected(int family, int type)
{
	const struct sockaddr_in v4 = { .sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
		.sin6_port = htons(PORT),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int on = 1, fd = socket(family, type | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (family == AF_INET6)
		assert_int_equal(connect(fd, (const struct sockaddr *)&v6, sizeof(v6)), 0);
	else
		assert_int_equal(connect(fd, (const struct sockaddr *)&v4, sizeof(v4)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	return fd;
}

/* Waits for bytes; 0 when the other side closed. */
static size_t receive(int fd, uint8_t *buf, size_t cap, int patience_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, patience_ms), 1);
	ssize_t n = recv(fd, buf, cap, 0);
	return n < 0 ? 0 : (size_t)n;
}

static void receive_all(int fd, uint8_t *buf, size_t len)
{
	for (size_t got = 0, n; got < len; got += n) {
		n = receive(fd, buf + got, len - got, PATIENCE_MS);
		assert_true(n > 0);
	}
}

/* The next lookup at gate; its id. */
static uint32_t asked(struct ipc_lookup *ret)
{
	struct frame f = world_recv(&w, ROLE_GATE, PATIENCE_MS);
	assert_int_equal(f.type, IPC_LOOKUP);
	assert_true(ipc_lookup_get(f.body, f.len, ret));
	return f.id;
}

static void gate_says(uint32_t id, enum ipc_answer_kind kind, uint32_t address)
{
	struct ipc_lookup_answer a = { .kind = (uint8_t)kind, .ttl = 30, .ede = 0xffff, .address = addr_v4(address) };
	assert_int_equal(ipc_send(w.chan[ROLE_GATE], IPC_LOOKUP_ANSWER, id, lookup_answer, &a, NULL, 0), 0);
}

static void expect_address(const uint8_t *msg, size_t len, uint32_t address)
{
	struct dns_response r;
	struct dns_record rec;
	struct addr a;
	assert_int_equal(dns_response_parse(msg, len, &r), 0);
	assert_int_equal(r.id, 0x1234);
	/* The question as it was spelled. */
	assert_memory_equal(msg + 12, query_www + 12, sizeof(query_www) - 12);
	assert_true(dns_record_next(&r, &rec) && dns_rdata_addr(&r, &rec, &a));
	assert_int_equal(addr_to_u32(&a), address);
	assert_false(dns_record_next(&r, &rec));
}

static void datagram(int family)
{
	uint8_t buf[2048];
	struct ipc_lookup l;
	int fd = connected(family, SOCK_DGRAM);
	assert_int_equal(send(fd, query_www, sizeof(query_www), 0), sizeof(query_www));
	uint32_t id = asked(&l);
	assert_int_equal(l.client.len, family == AF_INET ? 4 : 16);
	assert_int_equal(l.qtype, DNS_A);
	assert_int_equal(l.name.wire[2], 'w');
	gate_says(id, ANSWER_ADDRESS, 0xc6120001);
	expect_address(buf, receive(fd, buf, sizeof(buf), PATIENCE_MS), 0xc6120001);
	close(fd);
}

static void test_datagrams(void **state)
{
	(void)state;
	datagram(AF_INET);
	datagram(AF_INET6);
}

static void test_what_is_no_query(void **state)
{
	(void)state;
	uint8_t buf[2048], two[sizeof(query_www)];
	int fd = connected(AF_INET, SOCK_DGRAM);
	assert_int_equal(send(fd, "hello", 5, 0), 5);
	memcpy(two, query_www, sizeof(two));
	two[5] = 2;
	assert_int_equal(send(fd, two, sizeof(two), 0), sizeof(two));
	assert_true(receive(fd, buf, sizeof(buf), PATIENCE_MS) >= 12);
	assert_int_equal(buf[3] & 15, DNS_FORMERR);
	close(fd);
}

/* Two queries in one stream, byte by byte; answered in the other order. */
static void test_stream_of_bytes(void **state)
{
	(void)state;
	uint8_t buf[512], stream[2 * (2 + sizeof(query_www))];
	struct ipc_lookup l;
	int fd = connected(AF_INET, SOCK_STREAM);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *p = stream + i * (2 + sizeof(query_www));
		p[0] = 0;
		p[1] = sizeof(query_www);
		memcpy(p + 2, query_www, sizeof(query_www));
	}
	for (size_t i = 0; i < sizeof(stream); i++)
		assert_int_equal(send(fd, stream + i, 1, 0), 1);
	uint32_t first = asked(&l), second = asked(&l);
	gate_says(second, ANSWER_ADDRESS, 2);
	gate_says(first, ANSWER_ADDRESS, 1);
	size_t len = sizeof(query_www) + 16;
	for (uint32_t i = 0; i < 2; i++) {
		receive_all(fd, buf, 2 + len);
		assert_int_equal(buf[0] << 8 | buf[1], len);
		expect_address(buf + 2, len, 2 - i);
	}
	close(fd);
}

/* A client that has said all it has to say still gets its answer. */
static void test_half_closed(void **state)
{
	(void)state;
	uint8_t buf[512];
	struct ipc_lookup l;
	int fd = connected(AF_INET6, SOCK_STREAM);
	assert_int_equal(send(fd, "\0", 1, 0), 1);
	buf[0] = sizeof(query_www);
	memcpy(buf + 1, query_www, sizeof(query_www));
	assert_int_equal(send(fd, buf, 1 + sizeof(query_www), 0), 1 + sizeof(query_www));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	gate_says(asked(&l), ANSWER_NODATA, 0);
	receive_all(fd, buf, 2 + sizeof(query_www));
	while (receive(fd, buf, sizeof(buf), PATIENCE_MS) > 0)
		;
	close(fd);
}

static void test_query_too_long(void **state)
{
	(void)state;
	uint8_t buf[16];
	int fd = connected(AF_INET, SOCK_STREAM);
	assert_int_equal(send(fd,
				 "\xff\xff"
				 "abc",
				 5, 0),
		5);
	assert_int_equal(receive(fd, buf, sizeof(buf), PATIENCE_MS), 0);
	close(fd);
}

/* The seventeenth connection of one client is closed; after one has gone there is room again. */
static void test_connections_per_client(void **state)
{
	(void)state;
	enum { LIMIT = 16 };
	uint8_t buf[512], framed[2 + sizeof(query_www)] = { 0, sizeof(query_www) };
	struct ipc_lookup l;
	int fd[LIMIT + 1];
	memcpy(framed + 2, query_www, sizeof(query_www));
	for (unsigned i = 0; i <= LIMIT; i++)
		fd[i] = connected(AF_INET, SOCK_STREAM);
	assert_int_equal(receive(fd[LIMIT], buf, sizeof(buf), PATIENCE_MS), 0);
	close(fd[LIMIT]);
	for (unsigned i = 0; i < LIMIT; i++) {
		assert_int_equal(send(fd[i], framed, sizeof(framed), 0), sizeof(framed));
		gate_says(asked(&l), ANSWER_ADDRESS, 7);
		receive_all(fd[i], buf, 2 + sizeof(query_www) + 16);
		close(fd[i]);
	}
	int again = connected(AF_INET, SOCK_STREAM);
	assert_int_equal(send(again, framed, sizeof(framed), 0), sizeof(framed));
	gate_says(asked(&l), ANSWER_ADDRESS, 7);
	receive_all(again, buf, 2 + sizeof(query_www) + 16);
	close(again);
}

/* Over a source of its own in fd07::/64, which is all this host's. */
static int connected_from(uint8_t host)
{
	const struct sockaddr_in6 to = { .sin6_family = AF_INET6,
		.sin6_port = htons(PORT),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT };
	const struct sockaddr_in6 from = { .sin6_family = AF_INET6, .sin6_addr.s6_addr = { 0xfd, 7, [15] = host } };
	int on = 1, fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* The guests of a LAN share its /64: the connections of one are not another's. */
static void test_connections_on_a_lan(void **state)
{
	(void)state;
	enum { LIMIT = 16 };
	uint8_t buf[512], framed[2 + sizeof(query_www)] = { 0, sizeof(query_www) };
	struct ipc_lookup l;
	int fd[LIMIT + 1];
	memcpy(framed + 2, query_www, sizeof(query_www));
	for (unsigned i = 0; i <= LIMIT; i++)
		fd[i] = connected_from(1);
	assert_int_equal(receive(fd[LIMIT], buf, sizeof(buf), PATIENCE_MS), 0);
	int other = connected_from(2);
	assert_int_equal(send(other, framed, sizeof(framed), 0), sizeof(framed));
	gate_says(asked(&l), ANSWER_ADDRESS, 7);
	receive_all(other, buf, 2 + sizeof(query_www) + 16);
	for (unsigned i = 0; i <= LIMIT; i++)
		close(fd[i]);
	close(other);
}

/* More queries in one stream than may wait: the rest is read as answers go out, and none is lost. */
static void test_pipelined(void **state)
{
	(void)state;
	enum { QUERIES = 200, LIMIT = 16 };
	static uint8_t all[QUERIES * (2 + sizeof(query_www))];
	uint8_t buf[512];
	struct ipc_lookup l;
	uint32_t id[LIMIT];
	int fd = connected(AF_INET, SOCK_STREAM);
	for (unsigned i = 0; i < QUERIES; i++) {
		uint8_t *p = all + i * (2 + sizeof(query_www));
		p[0] = 0;
		p[1] = sizeof(query_www);
		memcpy(p + 2, query_www, sizeof(query_www));
	}
	assert_int_equal(send(fd, all, sizeof(all), 0), sizeof(all));
	for (unsigned i = 0; i < LIMIT; i++)
		id[i] = asked(&l);
	struct pollfd p = { .fd = frame_chan_fd(w.chan[ROLE_GATE]), .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	for (unsigned i = 0; i < QUERIES; i++) {
		gate_says(id[i % LIMIT], ANSWER_ADDRESS, i);
		receive_all(fd, buf, 2 + sizeof(query_www) + 16);
		if (i + LIMIT < QUERIES)
			id[i % LIMIT] = asked(&l);
	}
	close(fd);
}

/* A client that sends one byte and waits, and one that sends nothing, lose their connections after ten seconds. */
static void test_slow(void **state)
{
	(void)state;
	uint8_t buf[16];
	int silent = connected(AF_INET, SOCK_STREAM), slow = connected(AF_INET6, SOCK_STREAM);
	int64_t begin = clock_boot_ms();
	assert_int_equal(send(slow, "\0", 1, 0), 1);
	struct pollfd p = { .fd = slow, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 6000), 0);
	/* A further byte buys no further time. */
	assert_int_equal(send(slow, "\x20", 1, 0), 1);
	assert_int_equal(receive(silent, buf, sizeof(buf), 6000), 0);
	assert_int_equal(receive(slow, buf, sizeof(buf), 1000), 0);
	assert_in_range(clock_boot_ms() - begin, 9900, 15000);
	close(silent);
	close(slow);
}

/* The resolver is heard for what gate has permitted, and for nothing else. */
static void test_relayed(void **state)
{
	(void)state;
	uint8_t buf[2048], query[sizeof(query_www)];
	struct ipc_lookup l;
	static struct ipc_relayed m = { .n_records = 1 };
	struct wr o = wr_init(m.records, sizeof(m.records));
	memcpy(query, query_www, sizeof(query));
	query[sizeof(query) - 3] = DNS_TXT;
	int fd = connected(AF_INET, SOCK_DGRAM);
	assert_int_equal(send(fd, query, sizeof(query), 0), sizeof(query));
	uint32_t id = asked(&l);
	assert_int_equal(l.qtype, DNS_TXT);
	wr_u8(&o, l.name.len);
	wr_bytes(&o, l.name.wire, l.name.len);
	wr_u16(&o, DNS_TXT);
	wr_u32(&o, 60);
	wr_u16(&o, 3);
	wr_bytes(&o, "\2hi", 3);
	m.len = (uint32_t)o.len;
	assert_int_equal(ipc_send(w.chan[ROLE_RESOLVER], IPC_RELAYED, id, relayed, &m, NULL, 0), 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 100), 0);
	gate_says(id, ANSWER_RELAY, 0);
	assert_int_equal(ipc_send(w.chan[ROLE_RESOLVER], IPC_RELAYED, id, relayed, &m, NULL, 0), 0);
	size_t len = receive(fd, buf, sizeof(buf), PATIENCE_MS);
	assert_true(len > 3);
	assert_memory_equal(buf + len - 3, "\2hi", 3);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_what_is_no_query),
		cmocka_unit_test(test_stream_of_bytes),
		cmocka_unit_test(test_half_closed),
		cmocka_unit_test(test_query_too_long),
		cmocka_unit_test(test_connections_per_client),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_slow),
		cmocka_unit_test(test_relayed),
	};
	static const char lan_settings[] = "uplink = port:lan0\nlan_ipv6 = fd07::1-fd07::ff/64 via fe80::1\n";
	const struct CMUnitTest on_a_lan[] = { cmocka_unit_test(test_connections_on_a_lan) };
	if (!world_enter(&w) || system("ip -6 route add local fd07::/64 dev lo") != 0)
		return 77;
	start("");
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	failed += world_stop(&w) != 0;
	start(lan_settings);
	failed += cmocka_run_group_tests(on_a_lan, NULL, NULL);
	failed += world_stop(&w) != 0;
	world_leave(&w);
	return failed;
}
