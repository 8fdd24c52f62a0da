/* SPDX-License-Identifier: Apache-2.0 */
#include "net/dhcp6.h"

#include "base/rd.h"
#include "net/wire.h"

#include <errno.h>
#include <string.h>

enum {
	PORT_CLIENT = 546,
	PORT_SERVER = 547,
	DUID_LL_BYTES = 10,
	STATUS_SUCCESS = 0,
	STATUS_NOT_ON_LINK = 4,
	STATUS_NO_ADDRS = 2
};

enum option {
	OPT_CLIENT_ID = 1,
	OPT_SERVER_ID = 2,
	OPT_IA_NA = 3,
	OPT_IA_ADDR = 5,
	OPT_STATUS = 13,
	OPT_RAPID = 14,
	OPT_DNS = 23
};

static void parse_ia(struct rd *v, struct dhcp6 *d)
{
	d->iaid = rd_u32(v);
	rd_skip(v, 8);
	while (rd_left(v) > 0) {
		uint16_t code = rd_u16(v);
		uint16_t len = rd_u16(v);
		struct rd value = rd_sub(v, len);
		if (code != OPT_IA_ADDR)
			continue;
		struct addr a = wire_addr6(&value);
		rd_skip(&value, 8);
		if (!rd_ok(&value))
			rd_fail(v);
		else if (d->n_addrs < DHCP6_ADDRS_MAX)
			d->addrs[d->n_addrs++] = a;
	}
	d->has_ia = rd_ok(v);
}

static void parse_duid(struct rd *v, uint8_t *duid, uint8_t *duid_len)
{
	size_t len = rd_left(v);
	/* RFC 8415 §11.1: a type and up to 128 bytes; each identifier once. */
	if (len < 3 || len > DHCP6_DUID_MAX || *duid_len != 0) {
		rd_fail(v);
		return;
	}
	rd_copy(v, duid, len);
	*duid_len = (uint8_t)len;
}

static void parse_options(struct rd *r, struct dhcp6 *d)
{
	while (rd_left(r) > 0) {
		uint16_t code = rd_u16(r);
		uint16_t len = rd_u16(r);
		struct rd value = rd_sub(r, len);
		if (!rd_ok(&value))
			return;
		if (code == OPT_CLIENT_ID)
			parse_duid(&value, d->client_duid, &d->client_duid_len);
		else if (code == OPT_SERVER_ID)
			parse_duid(&value, d->server_duid, &d->server_duid_len);
		else if (code == OPT_IA_NA && !d->has_ia)
			parse_ia(&value, d);
		else if (code == OPT_RAPID)
			d->rapid = len == 0;
		if (!rd_ok(&value))
			rd_fail(r);
	}
}

/* RFC 8415 §16.2 to §16.9, §16.12: which identifiers a message of this type must and must not have. */
static bool identifiers_ok(const struct dhcp6 *d)
{
	bool client = d->client_duid_len != 0, server = d->server_duid_len != 0;
	switch (d->type) {
	case DHCP6_SOLICIT:
	case DHCP6_CONFIRM:
	case DHCP6_REBIND:
		return client && !server;
	case DHCP6_REQUEST:
	case DHCP6_RENEW:
	case DHCP6_RELEASE:
	case DHCP6_DECLINE:
		return client && server;
	case DHCP6_INFORMATION:
		return !d->has_ia;
	case DHCP6_ADVERTISE:
	case DHCP6_REPLY:
		break;
	}
	return false;
}

int dhcp6_parse(const uint8_t *frame, size_t len, const struct packet *p, struct dhcp6 *ret)
{
	if (p->kind != PACKET_IPV6 || !p->has_l4 || p->proto != IP_UDP || p->dport != PORT_SERVER)
		return -EPROTONOSUPPORT;
	if (p->fragment || p->len > len || !addr_is_link_local6(&p->src))
		return -EBADMSG;
	struct rd r = rd_init(frame + p->payload, packet_payload_len(p));
	uint32_t head = rd_u32(&r);
	struct dhcp6 d = { .type = (enum dhcp6_type)(head >> 24),
		.xid = head & 0xffffff,
		.eth_src = p->eth_src,
		.src = p->src };
	parse_options(&r, &d);
	if (!rd_done(&r) || !identifiers_ok(&d))
		return -EBADMSG;
	*ret = d;
	return 0;
}

/* DUID-LL (RFC 8415 §11.4) of our MAC: the same after every restart. */
static void make_duid(const struct mac *mac, uint8_t ret[DUID_LL_BYTES])
{
	static const uint8_t head[4] = { 0, 3, 0, 1 };
	memcpy(ret, head, sizeof(head));
	memcpy(ret + sizeof(head), mac->b, sizeof(mac->b));
}

static void put_option(struct wr *w, enum option code, const void *value, size_t len)
{
	wr_u16(w, (uint16_t)code);
	wr_u16(w, (uint16_t)len);
	wr_bytes(w, value, len);
}

static void put_status(struct wr *w, uint16_t status)
{
	wr_u16(w, OPT_STATUS);
	wr_u16(w, 2);
	wr_u16(w, status);
}

static void put_ia_addr(struct wr *w, const struct addr *a, uint32_t preferred_s, uint32_t valid_s)
{
	wr_u16(w, OPT_IA_ADDR);
	wr_u16(w, 24);
	wire_put_addr(w, a);
	wr_u32(w, preferred_s);
	wr_u32(w, valid_s);
}

/* The one address; what the client held besides gets lifetimes of 0 (§18.3.4), so that it lets go of it. */
static void put_ia(struct wr *w, const struct dhcp6 *d, const struct dhcp6_lease *l)
{
	wr_u16(w, OPT_IA_NA);
	size_t len_at = w->len;
	wr_u16(w, 0);
	wr_u32(w, d->iaid);
	wr_u32(w, l->preferred_s / 2);
	wr_u32(w, (uint32_t)((uint64_t)l->preferred_s * 4 / 5));
	if (l->address.len == 16)
		put_ia_addr(w, &l->address, l->preferred_s, l->valid_s);
	else
		put_status(w, STATUS_NO_ADDRS);
	bool held = d->type == DHCP6_RENEW || d->type == DHCP6_REBIND;
	for (unsigned i = 0; held && i < d->n_addrs; i++) {
		if (!addr_equal(&d->addrs[i], &l->address))
			put_ia_addr(w, &d->addrs[i], 0, 0);
	}
	wr_patch_u16(w, len_at, (uint16_t)(w->len - len_at - 2));
}

static uint16_t confirm_status(const struct dhcp6 *d, const struct dhcp6_lease *l)
{
	for (unsigned i = 0; i < d->n_addrs; i++) {
		if (!addr_equal(&d->addrs[i], &l->address))
			return STATUS_NOT_ON_LINK;
	}
	return STATUS_SUCCESS;
}

static void put_body(struct wr *w, const struct dhcp6 *d, const struct dhcp6_lease *l,
	const uint8_t duid[DUID_LL_BYTES])
{
	bool rapid = d->type == DHCP6_SOLICIT && d->rapid;
	uint32_t type = d->type == DHCP6_SOLICIT && !rapid ? DHCP6_ADVERTISE : DHCP6_REPLY;
	wr_u32(w, type << 24 | d->xid);
	put_option(w, OPT_SERVER_ID, duid, DUID_LL_BYTES);
	if (d->client_duid_len != 0)
		put_option(w, OPT_CLIENT_ID, d->client_duid, d->client_duid_len);
	if (rapid)
		put_option(w, OPT_RAPID, NULL, 0);
	if (d->type == DHCP6_CONFIRM || d->type == DHCP6_RELEASE || d->type == DHCP6_DECLINE) {
		put_status(w, d->type == DHCP6_CONFIRM ? confirm_status(d, l) : STATUS_SUCCESS);
		return;
	}
	if (d->has_ia)
		put_ia(w, d, l);
	if (l->n_dns == 0)
		return;
	wr_u16(w, OPT_DNS);
	wr_u16(w, (uint16_t)(16 * l->n_dns));
	for (unsigned i = 0; i < l->n_dns; i++)
		wire_put_addr(w, &l->dns[i]);
}

static bool lease_ok(const struct dhcp6_lease *l)
{
	if (!addr_is_link_local6(&l->src) || l->n_dns > DHCP6_DNS_MAX || (l->address.len != 0 && l->address.len != 16))
		return false;
	for (unsigned i = 0; i < l->n_dns; i++) {
		if (l->dns[i].len != 16)
			return false;
	}
	return l->preferred_s <= l->valid_s;
}

int dhcp6_answer(struct wr *w, const struct dhcp6 *request, const struct dhcp6_lease *lease)
{
	if (!lease_ok(lease))
		return -EINVAL;
	uint8_t duid[DUID_LL_BYTES];
	make_duid(&lease->mac, duid);
	bool others = request->server_duid_len != 0 && (request->server_duid_len != DUID_LL_BYTES ||
							       memcmp(request->server_duid, duid, DUID_LL_BYTES) != 0);
	if (others || (request->type == DHCP6_CONFIRM && request->n_addrs == 0))
		return -ENOMSG;
	struct wire_frame f = { .eth_src = lease->mac,
		.eth_dst = request->eth_src,
		.src = lease->src,
		.dst = request->src,
		.proto = IP_UDP,
		.ttl = 64 };
	size_t start;
	int err = wire_begin(w, &f, &start);
	if (err != 0)
		return err;
	size_t udp = w->len;
	wr_u16(w, PORT_SERVER);
	wr_u16(w, PORT_CLIENT);
	wr_u32(w, 0);
	put_body(w, request, lease, duid);
	wr_patch_u16(w, udp + 4, (uint16_t)(w->len - udp));
	return wire_end(w, start);
}
