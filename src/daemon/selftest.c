/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/selftest.h"

#include "base/clock.h"
#include "daemon/testns.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BRIDGE "sk-st"

enum { PORT = 4242, PATIENCE_MS = 1500, AGAIN_MS = 100, DATAGRAM = 1000, STREAM = 256 * 1024, FAMILIES = 2 };

static const char *const ports[2] = { "sk-st0", "sk-st1" };
static const char *const families[FAMILIES] = { "IPv4", "IPv6" };

/* One of the two namespaces: what it has of sockets. */
struct side {
	unsigned number; /* 0 connects, 1 listens */
	int udp[FAMILIES], tcp[FAMILIES];
};

union sockaddr_both {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Addresses of documentation, in namespaces that reach nothing but each other. */
static struct addr address_of(unsigned side, unsigned family)
{
	const uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = (uint8_t)(side + 1) };
	return family == 0 ? addr_v4(0xc0000201U + side) : addr_v6(v6);
}

static socklen_t sockaddr_of(unsigned side, unsigned family, union sockaddr_both *ret)
{
	struct addr a = address_of(side, family);
	memset(ret, 0, sizeof(*ret));
	if (family == 0) {
		ret->v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(PORT) };
		memcpy(&ret->v4.sin_addr, a.b, 4);
		return sizeof(ret->v4);
	}
	ret->v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	memcpy(&ret->v6.sin6_addr, a.b, 16);
	return sizeof(ret->v6);
}

static int open_socket(const struct side *s, unsigned family, int type, int *ret)
{
	union sockaddr_both a;
	socklen_t len = sockaddr_of(s->number, family, &a);
	int fd = socket(a.sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret = fd;
	if (bind(fd, &a.sa, len) != 0 || (type == SOCK_STREAM && s->number == 1 && listen(fd, 1) != 0))
		return -errno;
	return 0;
}

static int open_side(struct link_sock *l, void *arg)
{
	struct side *s = arg;
	int err = 0;
	for (unsigned f = 0; err == 0 && f < FAMILIES; f++) {
		struct addr a = address_of(s->number, f);
		err = link_add_address(l, TESTNS_LINK, &a, f == 0 ? 24 : 64);
		/* A computer without IPv6 has nothing to try there. */
		if (f == 1 && (err == -EOPNOTSUPP || err == -EACCES || err == -EAFNOSUPPORT))
			return 0;
		if (err == 0)
			err = open_socket(s, f, SOCK_DGRAM, &s->udp[f]);
		if (err == 0)
			err = open_socket(s, f, SOCK_STREAM, &s->tcp[f]);
	}
	return err;
}

static bool ready(int fd, short events, int64_t until_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left = until_ms - clock_boot_ms();
	return poll(&p, 1, left > 0 ? (int)left : 0) > 0;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8));
}

/* One datagram, sent again until it is there whole. */
static bool datagram(int from, int to)
{
	uint8_t sent[DATAGRAM], got[DATAGRAM + 1];
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = pattern(i);
	while (clock_boot_ms() < end) {
		if (send(from, sent, sizeof(sent), 0) < 0 && errno != EAGAIN && errno != ENETUNREACH)
			return false;
		if (ready(to, POLLIN, clock_boot_ms() + AGAIN_MS) && recv(to, got, sizeof(got), 0) == DATAGRAM)
			return memcmp(sent, got, sizeof(sent)) == 0;
	}
	return false;
}

/* A stream long enough for segmentation, read back byte by byte. */
static bool stream(int from, int to)
{
	static uint8_t out[STREAM], in[65536];
	size_t sent = 0, got = 0;
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = pattern(i);
	while (got < sizeof(out) && clock_boot_ms() < end) {
		ssize_t n = sent < sizeof(out) ? send(from, out + sent, sizeof(out) - sent, MSG_NOSIGNAL) : 0;
		sent += n > 0 ? (size_t)n : 0;
		if (!ready(to, POLLIN, clock_boot_ms() + AGAIN_MS))
			continue;
		n = recv(to, in, sizeof(in), 0);
		if (n <= 0 || (size_t)n > sizeof(out) - got || memcmp(in, out + got, (size_t)n) != 0)
			return false;
		got += (size_t)n;
	}
	return got == sizeof(out);
}

static bool both_streams(int client, int listener, const union sockaddr_both *to, socklen_t len)
{
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	if (connect(client, &to->sa, len) != 0 && errno != EINPROGRESS)
		return false;
	int server = ready(listener, POLLIN, end) ? accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
	bool whole = server >= 0 && stream(client, server) && stream(server, client);
	if (server >= 0)
		close(server);
	return whole;
}

static int fail(char *error, const char *what, const char *family, const char *way)
{
	snprintf(error, SELFTEST_TEXT_MAX, "%s over %s does not arrive whole%s", what, family, way);
	return -EIO;
}

static int exchange(const struct side side[2], char *error)
{
	for (unsigned f = 0; f < FAMILIES && side[0].tcp[f] >= 0 && side[1].tcp[f] >= 0; f++) {
		union sockaddr_both a[2];
		socklen_t len = sockaddr_of(0, f, &a[0]);
		sockaddr_of(1, f, &a[1]);
		if (connect(side[0].udp[f], &a[1].sa, len) != 0 || connect(side[1].udp[f], &a[0].sa, len) != 0)
			return fail(error, "UDP", families[f], ": no route");
		if (!datagram(side[0].udp[f], side[1].udp[f]) || !datagram(side[1].udp[f], side[0].udp[f]))
			return fail(error, "UDP", families[f], "");
		if (!both_streams(side[0].tcp[f], side[1].tcp[f], &a[1], len))
			return fail(error, "TCP", families[f], "");
	}
	return 0;
}

static int bridge_remove(const struct ovs *o, char *error)
{
	char db[OVS_PATH_MAX + 32];
	snprintf(db, sizeof(db), "--db=unix:%s/db.sock", o->dir);
	const char *const argv[] = { "ovs-vsctl", db, "--timeout=5", "--if-exists", "del-br", BRIDGE, NULL };
	return ovs_run(o, argv, NULL, error);
}

/* As in the pipeline: conntrack looks at every packet before it goes on. */
static int bridge_make(const struct ovs *o, uint16_t zone, char *error)
{
	char db[OVS_PATH_MAX + 32], mgmt[OVS_PATH_MAX + 32], type[32], flows[512] = "";
	snprintf(db, sizeof(db), "--db=unix:%s/db.sock", o->dir);
	snprintf(mgmt, sizeof(mgmt), "unix:%s/" BRIDGE ".mgmt", o->dir);
	snprintf(type, sizeof(type), "datapath_type=%s", o->datapath_type);
	static const char *const protocols[] = { "tcp", "udp", "tcp6", "udp6" };
	for (unsigned i = 0; i < 4; i++) {
		size_t at = strlen(flows);
		snprintf(flows + at, sizeof(flows) - at, "priority=10,%s,actions=ct(commit,zone=%u,table=1)\n",
			protocols[i], zone);
	}
	size_t at = strlen(flows);
	snprintf(flows + at, sizeof(flows) - at, "priority=1,actions=NORMAL\ntable=1,actions=NORMAL\n");
	const char *const make[] = { "ovs-vsctl", db, "--timeout=5", "add-br", BRIDGE, "--", "set", "Bridge", BRIDGE,
		type, "fail_mode=secure", "protocols=OpenFlow15", "--", "add-port", BRIDGE, ports[0], "--", "add-port",
		BRIDGE, ports[1], NULL };
	const char *const fill[] = { "ovs-ofctl", "-O", "OpenFlow15", "add-flows", mgmt, "-", NULL };
	int err = bridge_remove(o, error);
	if (err == 0)
		err = ovs_run(o, make, NULL, error);
	return err == 0 ? ovs_run(o, fill, flows, error) : err;
}

static void side_close(const struct side *s)
{
	for (unsigned f = 0; f < FAMILIES; f++) {
		if (s->udp[f] >= 0)
			close(s->udp[f]);
		if (s->tcp[f] >= 0)
			close(s->tcp[f]);
	}
}

int selftest_offload(const struct ovs *o, uint16_t zone, bool offload, char *error)
{
	struct side side[2] = { { 0, { -1, -1 }, { -1, -1 } }, { 1, { -1, -1 }, { -1, -1 } } };
	struct link_sock *l;
	char ignored[OVS_ERROR_MAX];
	int err = link_open(&l);
	if (err != 0)
		return err;
	for (unsigned i = 0; err == 0 && i < 2; i++) {
		/* What a crash left. */
		int gone = link_del(l, ports[i]);
		err = gone == 0 || gone == -ENODEV ? testns_make(l, ports[i], offload, open_side, &side[i]) : gone;
	}
	if (err != 0)
		snprintf(error, SELFTEST_TEXT_MAX, "the self-test cannot make its namespaces: %s", strerror(-err));
	else
		err = bridge_make(o, zone, error);
	if (err == 0)
		err = exchange(side, error);
	int kept = bridge_remove(o, ignored);
	for (unsigned i = 0; i < 2; i++) {
		int gone = link_del(l, ports[i]);
		kept = kept != 0 ? kept : gone;
		side_close(&side[i]);
	}
	if (err == 0 && kept != 0 && kept != -ENODEV) {
		snprintf(error, SELFTEST_TEXT_MAX, "the self-test's bridge cannot be taken away: %s", strerror(-kept));
		err = kept;
	}
	link_close(l);
	return err;
}
