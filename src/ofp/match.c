/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/match.h"

#include <string.h>

enum {
	ETH_IPV4 = 0x0800,
	ETH_IPV6 = 0x86dd,
	ETH_ARP = 0x0806,
	IPPROTO_1_ICMP = 1,
	IPPROTO_6_TCP = 6,
	IPPROTO_17_UDP = 17,
	IPPROTO_58_ICMP6 = 58
};

void ofp_match_init(struct ofp_match *m)
{
	memset(m, 0, sizeof(*m));
}

static unsigned position(const struct ofp_match *m, enum ofp_field f)
{
	unsigned i = 0;

	while (i < m->n && m->f[i].field < f)
		i++;
	return i;
}

static struct ofp_match_field *entry(struct ofp_match *m, enum ofp_field f)
{
	unsigned i = position(m, f);

	return i < m->n && m->f[i].field == f ? &m->f[i] : NULL;
}

const struct ofp_match_field *ofp_match_find(const struct ofp_match *m, enum ofp_field f)
{
	unsigned i = position(m, f);

	return i < m->n && m->f[i].field == f ? &m->f[i] : NULL;
}

/* The entry for `f`, made zero when it was not there; NULL (and err) when the match is full. */
static struct ofp_match_field *obtain(struct ofp_match *m, enum ofp_field f)
{
	unsigned i = position(m, f);

	if (i < m->n && m->f[i].field == f)
		return &m->f[i];
	if (m->n == OFP_MATCH_MAX || f >= OFP_F_REG0) {
		m->err = true;
		return NULL;
	}
	memmove(&m->f[i + 1], &m->f[i], (m->n - i) * sizeof(m->f[0]));
	memset(&m->f[i], 0, sizeof(m->f[0]));
	m->f[i].field = f;
	m->n++;
	return &m->f[i];
}

static void drop_if_open(struct ofp_match *m, enum ofp_field f)
{
	unsigned i = position(m, f);
	static const uint8_t none[OFP_FIELD_LEN_MAX];

	if (i < m->n && m->f[i].field == f && memcmp(m->f[i].mask, none, sizeof(none)) == 0) {
		m->n--;
		memmove(&m->f[i], &m->f[i + 1], (m->n - i) * sizeof(m->f[0]));
	}
}

void ofp_match_set(struct ofp_match *m, enum ofp_field f, const void *value, const void *mask)
{
	struct ofp_match_field *e = obtain(m, f);
	size_t len = ofp_field_len(f);

	if (e == NULL)
		return;
	if (mask == NULL)
		memset(e->mask, 0xff, len);
	else
		memcpy(e->mask, mask, len);
	for (size_t i = 0; i < len; i++)
		e->value[i] = ((const uint8_t *)value)[i] & e->mask[i];
	drop_if_open(m, f);
}

static void to_bytes(uint8_t *b, size_t len, uint64_t v)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(v >> (8 * (len - 1 - i)));
}

static uint64_t from_bytes(const uint8_t *b, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v = v << 8 | b[i];
	return v;
}

void ofp_match_uint_masked(struct ofp_match *m, enum ofp_field f, uint64_t value, uint64_t mask)
{
	size_t len = ofp_field_len(f);
	uint8_t v[8], k[8];

	if (len > 8) {
		m->err = true;
		return;
	}
	to_bytes(v, len, value);
	to_bytes(k, len, mask);
	ofp_match_set(m, f, v, k);
}

void ofp_match_uint(struct ofp_match *m, enum ofp_field f, uint64_t value)
{
	ofp_match_uint_masked(m, f, value, UINT64_MAX);
}

uint64_t ofp_match_get(const struct ofp_match *m, enum ofp_field f, uint64_t fallback)
{
	const struct ofp_match_field *e = ofp_match_find(m, f);
	size_t len = ofp_field_len(f);

	return e == NULL || len > 8 ? fallback : from_bytes(e->value, len);
}

void ofp_match_in_port(struct ofp_match *m, uint32_t port)
{
	ofp_match_uint(m, OFP_F_IN_PORT, port);
}

void ofp_match_eth_src(struct ofp_match *m, const struct mac *mac)
{
	ofp_match_set(m, OFP_F_ETH_SRC, mac->b, NULL);
}

void ofp_match_eth_dst(struct ofp_match *m, const struct mac *mac)
{
	ofp_match_set(m, OFP_F_ETH_DST, mac->b, NULL);
}

void ofp_match_eth_type(struct ofp_match *m, uint16_t type)
{
	if (ofp_match_get(m, OFP_F_ETH_TYPE, type) != type)
		m->err = true;
	ofp_match_uint(m, OFP_F_ETH_TYPE, type);
}

void ofp_match_vlan_none(struct ofp_match *m)
{
	ofp_match_uint(m, OFP_F_VLAN_VID, 0);
}

void ofp_match_ip_any(struct ofp_match *m, bool v6)
{
	ofp_match_eth_type(m, v6 ? ETH_IPV6 : ETH_IPV4);
}

static void set_prefix(struct ofp_match *m, enum ofp_field f, const struct addr *a, unsigned prefix)
{
	uint8_t mask[16] = { 0 };

	if (a->len != ofp_field_len(f) || prefix > 8u * a->len) {
		m->err = true;
		return;
	}
	for (unsigned i = 0; i < prefix; i++)
		mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	ofp_match_set(m, f, a->b, mask);
}

void ofp_match_ip_src(struct ofp_match *m, const struct addr *a, unsigned prefix)
{
	ofp_match_ip_any(m, a->len == 16);
	set_prefix(m, a->len == 16 ? OFP_F_IPV6_SRC : OFP_F_IPV4_SRC, a, prefix);
}

void ofp_match_ip_dst(struct ofp_match *m, const struct addr *a, unsigned prefix)
{
	ofp_match_ip_any(m, a->len == 16);
	set_prefix(m, a->len == 16 ? OFP_F_IPV6_DST : OFP_F_IPV4_DST, a, prefix);
}

static bool is_ip(const struct ofp_match *m)
{
	uint64_t type = ofp_match_get(m, OFP_F_ETH_TYPE, 0);

	return type == ETH_IPV4 || type == ETH_IPV6;
}

static void need(struct ofp_match *m, bool condition)
{
	if (!condition)
		m->err = true;
}

void ofp_match_ip_frag_no(struct ofp_match *m)
{
	need(m, is_ip(m));
	/* Exact on the two bits that exist; OVS writes the field without a mask then. */
	ofp_match_uint(m, OFP_F_IP_FRAG, 0);
}

void ofp_match_ip_ttl(struct ofp_match *m, uint8_t ttl)
{
	need(m, is_ip(m));
	ofp_match_uint(m, OFP_F_IP_TTL, ttl);
}

void ofp_match_ip_proto(struct ofp_match *m, uint8_t proto)
{
	need(m, is_ip(m) && ofp_match_get(m, OFP_F_IP_PROTO, proto) == proto);
	ofp_match_uint(m, OFP_F_IP_PROTO, proto);
}

static void set_tp(struct ofp_match *m, enum ofp_field tcp, enum ofp_field udp, uint16_t port)
{
	uint64_t proto = ofp_match_get(m, OFP_F_IP_PROTO, 0);

	need(m, proto == IPPROTO_6_TCP || proto == IPPROTO_17_UDP);
	ofp_match_uint(m, proto == IPPROTO_17_UDP ? udp : tcp, port);
}

void ofp_match_tp_src(struct ofp_match *m, uint16_t port)
{
	set_tp(m, OFP_F_TCP_SRC, OFP_F_UDP_SRC, port);
}

void ofp_match_tp_dst(struct ofp_match *m, uint16_t port)
{
	set_tp(m, OFP_F_TCP_DST, OFP_F_UDP_DST, port);
}

void ofp_match_tcp_flags(struct ofp_match *m, uint16_t value, uint16_t mask)
{
	need(m, ofp_match_get(m, OFP_F_IP_PROTO, 0) == IPPROTO_6_TCP && mask <= 0xfff);
	/* Even all twelve bits stay a masked match of sixteen. */
	ofp_match_uint_masked(m, OFP_F_TCP_FLAGS, value, mask);
}

void ofp_match_tcp_opening(struct ofp_match *m)
{
	ofp_match_tcp_flags(m, OFP_TCP_SYN, OFP_TCP_SYN | OFP_TCP_ACK | OFP_TCP_RST | OFP_TCP_FIN);
}

static bool icmp6(const struct ofp_match *m)
{
	return ofp_match_get(m, OFP_F_ETH_TYPE, 0) == ETH_IPV6;
}

static void set_icmp(struct ofp_match *m, enum ofp_field v4, enum ofp_field v6, uint8_t value)
{
	need(m, is_ip(m));
	ofp_match_ip_proto(m, icmp6(m) ? IPPROTO_58_ICMP6 : IPPROTO_1_ICMP);
	ofp_match_uint(m, icmp6(m) ? v6 : v4, value);
}

void ofp_match_icmp_type(struct ofp_match *m, uint8_t type)
{
	set_icmp(m, OFP_F_ICMPV4_TYPE, OFP_F_ICMPV6_TYPE, type);
}

void ofp_match_icmp_code(struct ofp_match *m, uint8_t code)
{
	set_icmp(m, OFP_F_ICMPV4_CODE, OFP_F_ICMPV6_CODE, code);
}

static uint64_t nd_type(const struct ofp_match *m)
{
	return ofp_match_get(m, OFP_F_ICMPV6_CODE, 1) == 0 ? ofp_match_get(m, OFP_F_ICMPV6_TYPE, 0) : 0;
}

void ofp_match_nd_target(struct ofp_match *m, const struct addr *a)
{
	need(m, nd_type(m) == 135 || nd_type(m) == 136);
	set_prefix(m, OFP_F_ND_TARGET, a, 128);
}

void ofp_match_nd_sll(struct ofp_match *m, const struct mac *mac)
{
	need(m, nd_type(m) == 135);
	ofp_match_set(m, OFP_F_ND_SLL, mac->b, NULL);
}

void ofp_match_nd_tll(struct ofp_match *m, const struct mac *mac)
{
	need(m, nd_type(m) == 136);
	ofp_match_set(m, OFP_F_ND_TLL, mac->b, NULL);
}

void ofp_match_arp_op(struct ofp_match *m, uint16_t op)
{
	ofp_match_eth_type(m, ETH_ARP);
	ofp_match_uint(m, OFP_F_ARP_OP, op);
}

void ofp_match_arp_spa(struct ofp_match *m, const struct addr *a)
{
	ofp_match_eth_type(m, ETH_ARP);
	set_prefix(m, OFP_F_ARP_SPA, a, 32);
}

void ofp_match_arp_tpa(struct ofp_match *m, const struct addr *a)
{
	ofp_match_eth_type(m, ETH_ARP);
	set_prefix(m, OFP_F_ARP_TPA, a, 32);
}

void ofp_match_arp_sha(struct ofp_match *m, const struct mac *mac)
{
	ofp_match_eth_type(m, ETH_ARP);
	ofp_match_set(m, OFP_F_ARP_SHA, mac->b, NULL);
}

void ofp_match_arp_tha(struct ofp_match *m, const struct mac *mac)
{
	ofp_match_eth_type(m, ETH_ARP);
	ofp_match_set(m, OFP_F_ARP_THA, mac->b, NULL);
}

void ofp_match_reg_masked(struct ofp_match *m, unsigned reg, uint32_t value, uint32_t mask)
{
	if (reg >= OFP_REGS) {
		m->err = true;
		return;
	}
	enum ofp_field f = (enum ofp_field)(OFP_F_XREG0 + reg / 2);
	struct ofp_match_field *e = obtain(m, f);
	if (e == NULL)
		return;
	size_t half = reg % 2 == 0 ? 0 : 4;
	to_bytes(e->value + half, 4, value & mask);
	to_bytes(e->mask + half, 4, mask);
	drop_if_open(m, f);
}

void ofp_match_reg(struct ofp_match *m, unsigned reg, uint32_t value)
{
	ofp_match_reg_masked(m, reg, value, UINT32_MAX);
}

uint32_t ofp_match_get_reg(const struct ofp_match *m, unsigned reg, uint32_t *ret_mask)
{
	const struct ofp_match_field *e =
		reg >= OFP_REGS ? NULL : ofp_match_find(m, (enum ofp_field)(OFP_F_XREG0 + reg / 2));
	size_t half = reg % 2 == 0 ? 0 : 4;

	if (ret_mask != NULL)
		*ret_mask = e == NULL ? 0 : (uint32_t)from_bytes(e->mask + half, 4);
	return e == NULL ? 0 : (uint32_t)from_bytes(e->value + half, 4);
}

void ofp_match_ct_state(struct ofp_match *m, uint32_t value, uint32_t mask)
{
	ofp_match_uint_masked(m, OFP_F_CT_STATE, value, mask);
}

void ofp_match_ct_zone(struct ofp_match *m, uint16_t zone)
{
	ofp_match_uint(m, OFP_F_CT_ZONE, zone);
}

void ofp_match_ct_mark(struct ofp_match *m, uint32_t mark)
{
	ofp_match_uint(m, OFP_F_CT_MARK, mark);
}

void ofp_match_ct_mark_masked(struct ofp_match *m, uint32_t mark, uint32_t mask)
{
	ofp_match_uint_masked(m, OFP_F_CT_MARK, mark, mask);
}

void ofp_match_metadata(struct ofp_match *m, uint64_t value)
{
	ofp_match_uint(m, OFP_F_METADATA, value);
}

bool ofp_match_equal(const struct ofp_match *a, const struct ofp_match *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++) {
		const struct ofp_match_field *x = &a->f[i], *y = &b->f[i];
		if (x->field != y->field || memcmp(x->value, y->value, sizeof(x->value)) != 0 ||
			memcmp(x->mask, y->mask, sizeof(x->mask)) != 0)
			return false;
	}
	return true;
}

static bool all_ones(const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (b[i] != 0xff)
			return false;
	return true;
}

static void put_field(struct wr *w, const struct ofp_match_field *e)
{
	size_t len = ofp_field_len(e->field);
	uint32_t header = ofp_field_header(e->field);

	if (all_ones(e->mask, len)) {
		wr_u32(w, header);
		wr_bytes(w, e->value, len);
		return;
	}
	wr_u32(w, (header & 0xffffff00) | 0x100 | (uint32_t)(2 * len));
	wr_bytes(w, e->value, len);
	wr_bytes(w, e->mask, len);
}

void ofp_match_put(struct wr *w, const struct ofp_match *m)
{
	size_t begin = w->len;

	if (m->err)
		w->err = true;
	wr_u16(w, 1);
	wr_u16(w, 0);
	for (unsigned i = 0; i < m->n; i++)
		put_field(w, &m->f[i]);
	wr_patch_u16(w, begin + 2, (uint16_t)(w->len - begin));
	wr_pad(w, begin, 8);
}

/* A register by itself (class 1), as OVS may say it in metadata, joins its pair. False: those bits are named already.
 */
static bool add_reg(struct ofp_match *m, unsigned reg, const uint8_t *value, const uint8_t *mask)
{
	uint32_t had;

	ofp_match_get_reg(m, reg, &had);
	if (had != 0)
		return false;
	ofp_match_reg_masked(m, reg, (uint32_t)from_bytes(value, 4), (uint32_t)from_bytes(mask, 4));
	return !m->err;
}

static bool read_field(struct rd *r, struct ofp_match *m)
{
	uint32_t header = rd_u32(r);
	struct rd body = rd_sub(r, header & 0xff);
	uint8_t value[OFP_FIELD_LEN_MAX] = { 0 }, mask[OFP_FIELD_LEN_MAX];
	enum ofp_field f;
	bool masked;

	/* Class 0xffff carries its vendor in the body's first four bytes; none of ours is there. */
	if (!rd_ok(r))
		return false;
	if (!ofp_field_find(header, &f, &masked)) {
		m->n_unknown++;
		return true;
	}
	size_t len = ofp_field_len(f);
	memset(mask, 0xff, sizeof(mask));
	rd_copy(&body, value, len);
	if (masked)
		rd_copy(&body, mask, len);
	for (size_t i = 0; i < len; i++)
		if (value[i] & ~mask[i])
			return false;
	if (f >= OFP_F_REG0)
		return add_reg(m, (unsigned)(f - OFP_F_REG0), value, mask);
	if (entry(m, f) != NULL)
		return false;
	ofp_match_set(m, f, value, mask);
	return !m->err && rd_done(&body);
}

void ofp_match_read_fields(struct rd *r, struct ofp_match *ret)
{
	ofp_match_init(ret);
	while (rd_ok(r) && rd_left(r) > 0)
		if (!read_field(r, ret))
			rd_fail(r);
}

void ofp_match_read(struct rd *r, struct ofp_match *ret)
{
	uint16_t type = rd_u16(r), len = rd_u16(r);

	ofp_match_init(ret);
	if (type != 1 || len < 4) {
		rd_fail(r);
		return;
	}
	struct rd fields = rd_sub(r, len - 4u);
	rd_skip(r, (8 - len % 8u) % 8);
	ofp_match_read_fields(&fields, ret);
	if (!rd_ok(&fields))
		rd_fail(r);
}
