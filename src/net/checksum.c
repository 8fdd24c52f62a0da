/* SPDX-License-Identifier: Apache-2.0 */
#include "net/checksum.h"

#include <errno.h>

uint32_t checksum_add(uint32_t sum, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	/* 64 bits cannot overflow on anything addressable; the caller's 32 get the folded rest. */
	uint64_t wide = sum;
	for (size_t i = 0; i + 1 < len; i += 2)
		wide += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (len % 2 != 0)
		wide += (uint32_t)p[len - 1] << 8;
	while (wide >> 16 != 0)
		wide = (wide & 0xffff) + (wide >> 16);
	return (uint32_t)wide;
}

uint32_t checksum_pseudo(const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len)
{
	uint32_t sum = checksum_add(0, src->b, src->len);
	sum = checksum_add(sum, dst->b, dst->len);
	return sum + proto + (len >> 16) + (len & 0xffff);
}

uint16_t checksum_fold(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t crc32c_update(uint32_t crc, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
	}
	return crc;
}

/* The reflected CRC is sent lowest byte first. */
static uint32_t crc32c_wire(uint32_t crc)
{
	return __builtin_bswap32(~crc);
}

uint32_t checksum_crc32c(const void *buf, size_t len)
{
	return crc32c_wire(crc32c_update(UINT32_MAX, buf, len));
}

/* Where the checksum stands behind the start of the L4 header; 0: nowhere. */
static uint32_t field_of(uint8_t proto)
{
	switch (proto) {
	case IP_TCP:
		return 16;
	case IP_UDP:
		return 6;
	case IP_SCTP:
		return 8;
	case IP_ICMP:
	case IP_ICMP6:
		return 2;
	default:
		return 0;
	}
}

/* The right value, with the field itself counted as zero. */
static uint32_t l4_checksum(const uint8_t *frame, const struct packet *p, uint32_t field)
{
	static const uint8_t zero[4];
	const uint8_t *l4 = frame + p->l4;
	uint32_t len = p->len - p->l4;
	if (p->proto == IP_SCTP) {
		uint32_t crc = crc32c_update(UINT32_MAX, l4, field);
		crc = crc32c_update(crc, zero, 4);
		return crc32c_wire(crc32c_update(crc, l4 + field + 4, len - field - 4));
	}
	uint32_t sum = p->proto == IP_ICMP ? 0 : checksum_pseudo(&p->src, &p->dst, p->proto, len);
	sum = checksum_add(sum, l4, field);
	uint16_t value = checksum_fold(checksum_add(sum, l4 + field + 2, len - field - 2));
	/* RFC 768: a computed 0 is sent as all ones, 0 means none. */
	return value == 0 && p->proto == IP_UDP ? 0xffff : value;
}

/* The addresses in `p` may have been changed by the caller; the checksum goes by the frame's own. */
static bool l4_describe(const uint8_t *frame, size_t len, const struct packet *p, struct packet *ret)
{
	return p->has_l4 && packet_parse(frame, len, ret) == 0 && ret->has_l4 && !ret->more_fragments &&
	       ret->l4 == p->l4 && ret->proto == p->proto;
}

static uint32_t stored(const uint8_t *at, unsigned bytes)
{
	uint32_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

int packet_fix_l4_checksum(uint8_t *frame, size_t len, const struct packet *p)
{
	struct packet own;
	if (!l4_describe(frame, len, p, &own))
		return -EOPNOTSUPP;
	uint32_t field = field_of(own.proto);
	uint8_t *at = frame + own.l4 + field;
	unsigned bytes = own.proto == IP_SCTP ? 4 : 2;
	if (own.proto == IP_UDP && own.kind == PACKET_IPV4 && stored(at, 2) == 0)
		return 0;
	uint32_t value = l4_checksum(frame, &own, field);
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
	return 0;
}

bool packet_l4_checksum_ok(const uint8_t *frame, size_t len, const struct packet *p)
{
	struct packet own;
	if (!l4_describe(frame, len, p, &own))
		return false;
	uint32_t field = field_of(own.proto);
	const uint8_t *at = frame + own.l4 + field;
	if (own.proto == IP_UDP && stored(at, 2) == 0)
		return own.kind == PACKET_IPV4;
	return stored(at, own.proto == IP_SCTP ? 4 : 2) == l4_checksum(frame, &own, field);
}
