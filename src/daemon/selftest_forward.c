/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a guest's packet through the host, tried with one of our own: the switch puts it out at the uplink's port,
 * the host forwards and masquerades it into a namespace behind another interface, whose answer must come out at the
 * uplink's port again. Neither end of the other interface has an address on the host, and no neighbour is asked.
 */
#include "base/clock.h"
#include "base/wr.h"
#include "daemon/selftest.h"
#include "daemon/testns.h"
#include "net/checksum.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 4242, WAIT_MS = 300, TRIES = 3, NONCE = 16, FRAME_MAX = 128 };

static const char outer[] = "sk-st0";
static const struct mac outer_mac = { { 0x02, 0x5e, 0x73, 0, 0, 1 } }, inner_mac = { { 0x02, 0x5e, 0x73, 0, 0, 2 } };

struct beyond {
	const struct selftest_forward *f;
	int udp;
};

static bool is_v6(const struct selftest_forward *f)
{
	return f->guest.len == 16;
}

/* In the namespace: one address, everything else by way of the host. */
static int open_beyond(struct link_sock *l, void *arg)
{
	struct beyond *b = arg;
	struct addr any = { .len = b->f->peer.len };
	unsigned host = b->f->peer.len * 8U;
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int err = link_set_mac(l, TESTNS_LINK, &inner_mac);
	if (err == 0)
		err = link_add_address(l, TESTNS_LINK, &b->f->peer, host);
	if (err == 0)
		err = link_add_neighbour(l, TESTNS_LINK, &b->f->host_end, &outer_mac);
	if (err == 0)
		err = link_add_route(l, TESTNS_LINK, &b->f->host_end, host, NULL, NULL);
	if (err == 0)
		err = link_add_route(l, TESTNS_LINK, &any, 0, &b->f->host_end, NULL);
	if (err != 0)
		return err;
	b->udp = socket(is_v6(b->f) ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (b->udp < 0 || bind(b->udp, is_v6(b->f) ? (const void *)&v6 : (const void *)&v4,
				  is_v6(b->f) ? sizeof(v6) : sizeof(v4)) != 0)
		return -errno;
	return 0;
}

static int host_side(struct link_sock *l, const struct selftest_forward *f)
{
	int err = link_set_mac(l, outer, &outer_mac);
	if (err == 0)
		err = link_set_up(l, outer, true);
	if (err == 0)
		err = link_add_neighbour(l, outer, &f->peer, &inner_mac);
	return err == 0 ? link_add_route(l, outer, &f->peer, f->peer.len * 8U, NULL, NULL) : err;
}

static void put_ip(struct wr *w, const struct selftest_forward *f, uint16_t udp_len)
{
	size_t start = w->len;
	if (is_v6(f)) {
		wr_u32(w, 6U << 28);
		wr_u16(w, udp_len);
		wr_u8(w, IPPROTO_UDP);
		wr_u8(w, 64);
	} else {
		wr_u16(w, 0x4500);
		wr_u16(w, (uint16_t)(20 + udp_len));
		wr_u32(w, 0);
		wr_u8(w, 64);
		wr_u8(w, IPPROTO_UDP);
		wr_u16(w, 0);
	}
	wr_bytes(w, f->guest.b, f->guest.len);
	wr_bytes(w, f->peer.b, f->peer.len);
	if (!is_v6(f) && wr_ok(w))
		wr_patch_u16(w, start + 10, checksum_fold(checksum_add(0, w->buf + start, 20)));
}

static size_t make_frame(const struct selftest_forward *f, const uint8_t nonce[NONCE], uint8_t frame[FRAME_MAX])
{
	struct wr w = wr_init(frame, FRAME_MAX);
	struct packet p;
	wr_bytes(&w, f->port_mac.b, 6);
	wr_bytes(&w, f->router_mac.b, 6);
	wr_u16(&w, is_v6(f) ? ETH_P_IPV6 : ETH_P_IP);
	put_ip(&w, f, 8 + NONCE);
	wr_u16(&w, PORT);
	wr_u16(&w, PORT);
	wr_u16(&w, 8 + NONCE);
	wr_u16(&w, 0xffff); /* not "none": it is computed below */
	wr_bytes(&w, nonce, NONCE);
	bool good = wr_ok(&w) && packet_parse(frame, w.len, &p) == 0 && packet_fix_l4_checksum(frame, w.len, &p) == 0;
	return good ? w.len : 0;
}

static int put_out(const struct ovs *o, const struct selftest_forward *f, const uint8_t *frame, size_t len, char *error)
{
	char mgmt[OVS_PATH_MAX + 64], what[2 * FRAME_MAX + 96];
	snprintf(mgmt, sizeof(mgmt), "unix:%s/%s.mgmt", o->dir, f->bridge);
	int at = snprintf(what, sizeof(what), "in_port=controller,packet=");
	for (size_t i = 0; i < len; i++)
		at += snprintf(what + at, sizeof(what) - (size_t)at, "%02x", frame[i]);
	snprintf(what + at, sizeof(what) - (size_t)at, ",actions=output:%u", f->ofport);
	const char *const argv[] = { "ovs-ofctl", "-O", "OpenFlow15", "--timeout=3", "packet-out", mgmt, what, NULL };
	return ovs_run(o, argv, NULL, error);
}

static bool readable(int fd, int64_t end_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t left = end_ms - clock_boot_ms();
	return left > 0 && poll(&p, 1, (int)left) > 0;
}

/* The packet arrives beyond the host, and is sent back to where it seems to come from. */
static bool arrives(int udp, const uint8_t nonce[NONCE])
{
	uint8_t got[NONCE + 1];
	struct sockaddr_storage from;
	int64_t end = clock_boot_ms() + WAIT_MS;
	while (readable(udp, end)) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(udp, got, sizeof(got), 0, (struct sockaddr *)&from, &len);
		if (n == NONCE && memcmp(got, nonce, NONCE) == 0)
			return sendto(udp, nonce, NONCE, 0, (const struct sockaddr *)&from, len) == NONCE;
	}
	return false;
}

static bool comes_back(int raw, const uint8_t nonce[NONCE])
{
	uint8_t got[2048];
	int64_t end = clock_boot_ms() + WAIT_MS;
	while (readable(raw, end)) {
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(raw, got, sizeof(got), 0, (struct sockaddr *)&from, &len);
		if (n > NONCE && from.sll_pkttype == PACKET_OUTGOING && memmem(got, (size_t)n, nonce, NONCE) != NULL)
			return true;
	}
	return false;
}

static int watch(const char *port)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(port) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
	if (fd >= 0 && (at.sll_ifindex == 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int try_it(const struct ovs *o, const struct selftest_forward *f, int udp, int raw, char *error)
{
	uint8_t nonce[NONCE], frame[FRAME_MAX];
	bool there = false;
	if (getrandom(nonce, sizeof(nonce), 0) != NONCE)
		return -EIO;
	size_t len = make_frame(f, nonce, frame);
	for (unsigned i = 0; len > 0 && i < TRIES; i++) {
		int err = put_out(o, f, frame, len, error);
		if (err != 0)
			return err;
		there = arrives(udp, nonce) || there;
		if (there && comes_back(raw, nonce))
			return 0;
	}
	snprintf(error, SELFTEST_TEXT_MAX,
		there ? "the answer to a guest's packet does not come back"
		      : "a guest's packet is not forwarded by this computer");
	return -EHOSTUNREACH;
}

int selftest_forward(const struct ovs *o, const struct selftest_forward *f, char *error)
{
	struct beyond b = { .f = f, .udp = -1 };
	struct link_sock *l;
	int err = link_open(&l);
	if (err != 0)
		return err;
	int raw = watch(f->port), gone = link_del(l, outer);
	if (raw < 0)
		err = -ENODEV;
	else if (gone != 0 && gone != -ENODEV)
		err = gone;
	else
		err = testns_make(l, outer, true, open_beyond, &b);
	if (err == 0)
		err = host_side(l, f);
	if (err != 0)
		snprintf(error, SELFTEST_TEXT_MAX, "the self-test cannot make its namespace: %s", strerror(-err));
	else
		err = try_it(o, f, b.udp, raw, error);
	/* Before the namespace goes with its last socket, which takes the interface away at a time of its own. */
	gone = link_del(l, outer);
	if (err == 0 && gone != 0) {
		snprintf(error, SELFTEST_TEXT_MAX, "the self-test's interface cannot be taken away: %s",
			strerror(-gone));
		err = gone;
	}
	if (b.udp >= 0)
		close(b.udp);
	if (raw >= 0)
		close(raw);
	link_close(l);
	return err;
}
