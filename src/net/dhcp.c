/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dhcp.h"

#include "base/rd.h"
#include "net/wire.h"

#include <errno.h>
#include <string.h>

enum {
	PORT_SERVER = 67,
	PORT_CLIENT = 68,
	OP_REQUEST = 1,
	OP_REPLY = 2,
	SNAME_FILE_BYTES = 64 + 128,
	REPLY_BYTES_MIN = 300
};
enum { MAGIC = 0x63825363 };

enum option {
	OPT_PAD = 0,
	OPT_MASK = 1,
	OPT_ROUTER = 3,
	OPT_DNS = 6,
	OPT_MTU = 26,
	OPT_REQUESTED = 50,
	OPT_LEASE = 51,
	OPT_OVERLOAD = 52,
	OPT_TYPE = 53,
	OPT_SERVER = 54,
	OPT_T1 = 58,
	OPT_T2 = 59,
	OPT_CLIENT_ID = 61,
	OPT_RAPID = 80,
	OPT_ROUTES = 121,
	OPT_END = 255
};

/* 0.0.0.0 in a fixed field means "none". */
static struct addr addr_or_none(struct rd *r)
{
	struct addr a = wire_addr4(r);
	if (addr_is_unspecified(&a))
		a.len = 0;
	return a;
}

static void parse_option(struct rd *r, struct rd *value, uint8_t code, struct dhcp *d)
{
	size_t len = rd_left(value);
	bool right = true;
	if (code == OPT_TYPE) {
		right = len == 1 && d->type == 0;
		d->type = (enum dhcp_type)rd_u8(value);
	} else if (code == OPT_REQUESTED) {
		right = len == 4;
		d->requested = addr_or_none(value);
	} else if (code == OPT_SERVER) {
		right = len == 4;
		d->server = addr_or_none(value);
	} else if (code == OPT_CLIENT_ID) {
		right = len >= 2 && len <= DHCP_CLIENT_ID_MAX && d->client_id_len == 0;
		d->client_id_len = right ? (uint8_t)len : 0;
		rd_copy(value, d->client_id, d->client_id_len);
	} else if (code == OPT_RAPID) {
		right = len == 0;
		d->rapid = true;
	}
	/* Options that go on in sname and file: no client of today does this. */
	if (!right || code == OPT_OVERLOAD)
		rd_fail(r);
}

static void parse_options(struct rd *r, struct dhcp *d)
{
	while (rd_left(r) > 0) {
		uint8_t code = rd_u8(r);
		if (code == OPT_END)
			return;
		if (code == OPT_PAD)
			continue;
		uint8_t len = rd_u8(r);
		struct rd value = rd_sub(r, len);
		if (rd_ok(r))
			parse_option(r, &value, code, d);
	}
}

static bool from_client(enum dhcp_type type)
{
	return type == DHCP_DISCOVER || type == DHCP_REQUEST || type == DHCP_DECLINE || type == DHCP_RELEASE ||
	       type == DHCP_INFORM;
}

int dhcp_parse(const uint8_t *frame, size_t len, const struct packet *p, struct dhcp *ret)
{
	if (p->kind != PACKET_IPV4 || !p->has_l4 || p->proto != IP_UDP || p->sport != PORT_CLIENT ||
		p->dport != PORT_SERVER)
		return -EPROTONOSUPPORT;
	if (p->fragment || p->len > len)
		return -EBADMSG;
	struct rd r = rd_init(frame + p->payload, packet_payload_len(p));
	struct dhcp d = { .eth_src = p->eth_src };
	uint32_t head = rd_u32(&r); /* op, hardware type and length, hops */
	d.xid = rd_u32(&r);
	rd_skip(&r, 2);
	d.broadcast = (rd_u16(&r) & 0x8000) != 0;
	d.ciaddr = addr_or_none(&r);
	rd_skip(&r, 8);
	struct addr relay = wire_addr4(&r);
	d.chaddr = wire_mac(&r);
	rd_skip(&r, 10 + SNAME_FILE_BYTES);
	uint32_t magic = rd_u32(&r);
	parse_options(&r, &d);
	if (!rd_ok(&r) || head != (OP_REQUEST << 24 | 0x010600) || magic != MAGIC || !addr_is_unspecified(&relay) ||
		!from_client(d.type))
		return -EBADMSG;
	if (mac_is_group(&d.chaddr))
		return -EBADMSG;
	*ret = d;
	return 0;
}

static void put_option_u32(struct wr *w, enum option code, uint32_t v)
{
	wr_u8(w, (uint8_t)code);
	wr_u8(w, 4);
	wr_u32(w, v);
}

static void put_option_addrs(struct wr *w, enum option code, const struct addr *a, unsigned n)
{
	wr_u8(w, (uint8_t)code);
	wr_u8(w, (uint8_t)(4 * n));
	for (unsigned i = 0; i < n; i++)
		wire_put_addr(w, &a[i]);
}

static uint32_t mask_of(uint8_t prefix_len)
{
	return prefix_len == 0 ? 0 : UINT32_MAX << (32 - prefix_len);
}

/* RFC 3442: the router as a host route of its own, then the default route through it; clients that know option 121
 * ignore option 3. */
static void put_routes(struct wr *w, const struct dhcp_lease *l)
{
	wr_u8(w, OPT_ROUTES);
	wr_u8(w, 9 + 5);
	wr_u8(w, 32);
	wire_put_addr(w, &l->router);
	wr_u32(w, 0);
	wr_u8(w, 0);
	wire_put_addr(w, &l->router);
}

static void put_lease(struct wr *w, const struct dhcp *request, const struct dhcp_lease *l)
{
	if (request->type != DHCP_INFORM) {
		put_option_u32(w, OPT_LEASE, l->lease_s);
		put_option_u32(w, OPT_T1, l->lease_s / 2);
		put_option_u32(w, OPT_T2, (uint32_t)((uint64_t)l->lease_s * 7 / 8));
	}
	put_option_u32(w, OPT_MASK, mask_of(l->prefix_len));
	if (l->router.len == 4) {
		if (!addr_in(&l->router, &l->address, l->prefix_len))
			put_routes(w, l);
		put_option_addrs(w, OPT_ROUTER, &l->router, 1);
	}
	if (l->n_dns > 0)
		put_option_addrs(w, OPT_DNS, l->dns, l->n_dns);
	if (l->mtu != 0) {
		wr_u8(w, OPT_MTU);
		wr_u8(w, 2);
		wr_u16(w, l->mtu);
	}
}

static void put_options(struct wr *w, enum dhcp_type type, const struct dhcp *request, const struct dhcp_lease *l)
{
	wr_u32(w, MAGIC);
	wr_u8(w, OPT_TYPE);
	wr_u8(w, 1);
	wr_u8(w, (uint8_t)type);
	put_option_addrs(w, OPT_SERVER, &l->server, 1);
	if (type != DHCP_NAK)
		put_lease(w, request, l);
	if (type == DHCP_ACK && request->type == DHCP_DISCOVER)
		wr_u16(w, OPT_RAPID << 8);
	if (request->client_id_len > 0) {
		wr_u8(w, OPT_CLIENT_ID);
		wr_u8(w, request->client_id_len);
		wr_bytes(w, request->client_id, request->client_id_len);
	}
	wr_u8(w, OPT_END);
}

/* The fixed part, RFC 2131 §4.3.1 table 3. */
static void put_bootp(struct wr *w, enum dhcp_type type, const struct dhcp *request, const struct dhcp_lease *l)
{
	bool gives = type != DHCP_NAK && request->type != DHCP_INFORM;
	wr_u32(w, OP_REPLY << 24 | 0x010600);
	wr_u32(w, request->xid);
	wr_u16(w, 0);
	wr_u16(w, request->broadcast ? 0x8000 : 0);
	if (type == DHCP_ACK && request->ciaddr.len == 4)
		wire_put_addr(w, &request->ciaddr);
	else
		wr_u32(w, 0);
	if (gives)
		wire_put_addr(w, &l->address);
	else
		wr_u32(w, 0);
	wr_u32(w, 0); /* siaddr: nothing to boot from */
	wr_u32(w, 0);
	wire_put_mac(w, &request->chaddr);
	wr_zero(w, 10 + SNAME_FILE_BYTES);
}

/* RFC 2131 §4.1: to the address a client has, else broadcast if it asks so or is refused, else to the address it is
 * about to get. */
static struct wire_frame reply_frame(enum dhcp_type type, const struct dhcp *request, const struct dhcp_lease *l)
{
	static const struct mac all = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	struct wire_frame f = { .eth_src = l->mac,
		.eth_dst = request->eth_src,
		.src = l->server,
		.proto = IP_UDP,
		.ttl = 64 };
	if (type != DHCP_NAK && request->ciaddr.len == 4) {
		f.dst = request->ciaddr;
	} else if (type == DHCP_NAK || request->broadcast || request->type == DHCP_INFORM) {
		f.dst = addr_v4(UINT32_MAX);
		f.eth_dst = all;
	} else {
		f.dst = l->address;
	}
	return f;
}

static bool lease_ok(const struct dhcp_lease *l)
{
	if (l->server.len != 4 || l->address.len != 4 || l->prefix_len > 32 || l->n_dns > DHCP_DNS_MAX)
		return false;
	for (unsigned i = 0; i < l->n_dns; i++) {
		if (l->dns[i].len != 4)
			return false;
	}
	return l->router.len == 0 || l->router.len == 4;
}

int dhcp_build(struct wr *w, enum dhcp_type type, const struct dhcp *request, const struct dhcp_lease *lease)
{
	if (!lease_ok(lease) || (type != DHCP_OFFER && type != DHCP_ACK && type != DHCP_NAK))
		return -EINVAL;
	struct wire_frame f = reply_frame(type, request, lease);
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	size_t udp = w->len;
	wr_u16(w, PORT_SERVER);
	wr_u16(w, PORT_CLIENT);
	wr_u16(w, 0);
	wr_u16(w, UINT16_MAX); /* not 0, which would mean: no checksum wanted */
	size_t body = w->len;
	put_bootp(w, type, request, lease);
	put_options(w, type, request, lease);
	/* Some clients drop what is shorter than a BOOTP message. */
	if (w->len - body < REPLY_BYTES_MIN)
		wr_zero(w, REPLY_BYTES_MIN - (w->len - body));
	wr_patch_u16(w, udp + 4, (uint16_t)(w->len - udp));
	return wire_end(w, start);
}

/* RFC 2131 §4.3.2: SELECTING names us and the address; INIT-REBOOT names the address; RENEWING and REBINDING carry it
 * in ciaddr. */
static enum dhcp_type judge_request(const struct dhcp *d, const struct dhcp_lease *l)
{
	const struct addr *wanted = d->requested.len == 4 ? &d->requested : &d->ciaddr;
	return addr_equal(wanted, &l->address) ? DHCP_ACK : DHCP_NAK;
}

int dhcp_answer(struct wr *w, const struct dhcp *request, const struct dhcp_lease *lease)
{
	if (!lease_ok(lease))
		return -EINVAL;
	bool others = request->server.len == 4 && !addr_equal(&request->server, &lease->server);
	switch (request->type) {
	case DHCP_DISCOVER:
		return dhcp_build(w, request->rapid ? DHCP_ACK : DHCP_OFFER, request, lease);
	case DHCP_REQUEST:
		return others ? -ENOMSG : dhcp_build(w, judge_request(request, lease), request, lease);
	case DHCP_INFORM:
		return dhcp_build(w, DHCP_ACK, request, lease);
	case DHCP_OFFER:
	case DHCP_DECLINE:
	case DHCP_ACK:
	case DHCP_NAK:
	case DHCP_RELEASE:
		break;
	}
	return -ENOMSG;
}
