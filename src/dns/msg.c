/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/msg.h"

#include <errno.h>
#include <string.h>

enum { FLAG_QR = 0x8000, FLAG_TC = 0x0200, POINTER = 0xc0, LABEL_BITS = 0xc0, QUERY_OPCODE_MASK = 0x7800 };

bool dns_name_read(const uint8_t *buf, size_t len, size_t *at, struct name *ret)
{
	uint8_t wire[NAME_WIRE_MAX];
	size_t n = 0, end = 0, pos = *at;
	/* Each pointer leads before the start of the piece it stands in: so the walk ends. */
	for (size_t piece = pos; pos < len;) {
		uint8_t b = buf[pos];
		if ((b & LABEL_BITS) == POINTER) {
			if (len - pos < 2)
				return false;
			size_t to = (size_t)(b & ~POINTER) << 8 | buf[pos + 1];
			if (to >= piece || to < DNS_HEADER_BYTES)
				return false;
			if (end == 0)
				end = pos + 2;
			pos = piece = to;
			continue;
		}
		if ((b & LABEL_BITS) != 0 || b + 1U > len - pos || b + 1U > sizeof(wire) - n)
			return false;
		memcpy(wire + n, buf + pos, b + 1U);
		n += b + 1U;
		pos += b + 1U;
		if (b != 0)
			continue;
		if (!name_from_wire(wire, n, ret))
			return false;
		*at = end != 0 ? end : pos;
		return true;
	}
	return false;
}

static bool read_record(const uint8_t *buf, size_t len, size_t *at, struct dns_record *ret)
{
	if (!dns_name_read(buf, len, at, &ret->owner))
		return false;
	struct rd r = rd_init(buf + *at, len - *at);
	ret->type = rd_u16(&r);
	ret->class = rd_u16(&r);
	uint32_t ttl = rd_u32(&r);
	ret->ttl = ttl > INT32_MAX ? 0 : ttl;
	ret->rdata_len = rd_u16(&r);
	ret->rdata = *at + 10;
	rd_skip(&r, ret->rdata_len);
	if (!rd_ok(&r))
		return false;
	*at = ret->rdata + ret->rdata_len;
	return true;
}

static bool read_head(struct dns_response *m, struct rd *r, unsigned *ret_records)
{
	m->id = rd_u16(r);
	uint16_t flags = rd_u16(r), n_question = rd_u16(r);
	m->rcode = flags & 15;
	m->truncated = (flags & FLAG_TC) != 0;
	*ret_records = 0;
	for (unsigned i = 0; i < 3; i++) {
		m->left[i] = rd_u16(r);
		*ret_records += m->left[i];
	}
	if (!rd_ok(r) || (flags & FLAG_QR) == 0 || (flags & QUERY_OPCODE_MASK) != 0 || n_question != 1 ||
		*ret_records > DNS_RECORDS_MAX)
		return false;
	m->at = DNS_HEADER_BYTES;
	if (!dns_name_read(m->buf, m->len, &m->at, &m->name))
		return false;
	struct rd q = rd_init(m->buf + m->at, m->len - m->at);
	m->type = rd_u16(&q);
	m->at += 4;
	return rd_u16(&q) == DNS_CLASS_IN && rd_ok(&q);
}

int dns_response_parse(const uint8_t *buf, size_t len, struct dns_response *ret)
{
	struct dns_response m = { .buf = buf, .len = len };
	struct rd r = rd_init(buf, len);
	unsigned n;
	if (len > DNS_MESSAGE_MAX || !read_head(&m, &r, &n))
		return -EBADMSG;
	size_t at = m.at;
	for (unsigned i = 0; i < n; i++) {
		struct dns_record rec;
		if (!read_record(buf, len, &at, &rec))
			return -EBADMSG;
	}
	if (at != len)
		return -EBADMSG;
	*ret = m;
	return 0;
}

bool dns_record_next(struct dns_response *r, struct dns_record *ret)
{
	for (enum dns_section s = DNS_ANSWER; s <= DNS_ADDITIONAL; s++) {
		if (r->left[s] == 0)
			continue;
		r->left[s]--;
		ret->section = s;
		return read_record(r->buf, r->len, &r->at, ret);
	}
	return false;
}
