/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/msg.h"

#include "base/rd.h"

#include <errno.h>
#include <string.h>

enum { HEADER = 12, POINTERS_MAX = 32, SVC_ALPN_LAST = 3, SVC_IPV4HINT = 4, SVC_ECH = 5, SVC_IPV6HINT = 6 };

/* A name at *at, following pointers, which must go backwards (RFC 1035 §4.1.4); *at then stands behind it. */
static bool name_at(const uint8_t *msg, size_t len, size_t *at, struct name *ret)
{
	uint8_t wire[NAME_WIRE_MAX];
	size_t out = 0, pos = *at, limit = pos, end = 0;
	for (unsigned jumps = 0;;) {
		if (pos >= len)
			return false;
		uint8_t c = msg[pos];
		if ((c & 0xc0) == 0xc0) {
			size_t target = len - pos < 2 ? len : (size_t)(c & 0x3f) << 8 | msg[pos + 1];
			if (target >= limit || ++jumps > POINTERS_MAX)
				return false;
			if (end == 0)
				end = pos + 2;
			pos = limit = target;
			continue;
		}
		if (c > NAME_LABEL_MAX || c + 1U > len - pos || c + 1U > sizeof(wire) - out)
			return false;
		memcpy(wire + out, msg + pos, c + 1U);
		out += c + 1U;
		pos += c + 1U;
		if (c == 0)
			break;
	}
	*at = end == 0 ? pos : end;
	return name_from_wire(wire, out, ret);
}

int dns_response_parse(const void *buf, size_t len, struct dns_response *ret)
{
	struct rd r = rd_init(buf, len);
	struct dns_response m = { .msg = buf, .len = len, .at = HEADER };
	rd_skip(&r, 2);
	uint16_t flags = rd_u16(&r), n_question = rd_u16(&r);
	m.n_answer = rd_u16(&r);
	rd_skip(&r, 4);
	if (!rd_ok(&r) || (flags & 0x8000) == 0 || n_question > 1)
		return -EBADMSG;
	m.rcode = flags & 15;
	struct name question;
	if (n_question == 1) {
		if (!name_at(m.msg, len, &m.at, &question) || len - m.at < 4)
			return -EBADMSG;
		m.at += 4;
	}
	*ret = m;
	return 0;
}

/* Names inside rdata: `before` plain bytes, `n` names, then `after` plain bytes. */
static bool rdata_names(const struct dns_response *r, size_t at, size_t end, size_t before, unsigned n, size_t after, struct dns_record *ret)
{
	struct wr w = wr_init(ret->rdata, sizeof(ret->rdata));
	if (before > end - at)
		return false;
	wr_bytes(&w, r->msg + at, before);
	at += before;
	for (unsigned i = 0; i < n; i++) {
		struct name name;
		if (!name_at(r->msg, end, &at, &name))
			return false;
		wr_bytes(&w, name.wire, name.len);
	}
	if (at > end || end - at != after)
		return false;
	wr_bytes(&w, r->msg + at, after);
	ret->len = (uint16_t)w.len;
	return wr_ok(&w);
}

/* RFC 9460 §2.2: addresses and keys that would lead round the switch are left out. */
static bool rdata_svcb(const struct dns_response *r, size_t at, size_t end, struct dns_record *ret)
{
	struct wr w = wr_init(ret->rdata, sizeof(ret->rdata));
	struct name target;
	if (end - at < 2)
		return false;
	wr_bytes(&w, r->msg + at, 2);
	at += 2;
	if (!name_at(r->msg, end, &at, &target) || at > end)
		return false;
	wr_bytes(&w, target.wire, target.len);
	struct rd params = rd_init(r->msg + at, end - at);
	while (rd_ok(&params) && rd_left(&params) > 0) {
		uint16_t key = rd_u16(&params), len = rd_u16(&params);
		const uint8_t *value = rd_bytes(&params, len);
		if (value == NULL && len > 0)
			return false;
		if (key == SVC_IPV4HINT || key == SVC_IPV6HINT || key == SVC_ECH)
			continue;
		wr_u16(&w, key);
		wr_u16(&w, len);
		wr_bytes(&w, value, len);
	}
	ret->len = (uint16_t)w.len;
	return rd_ok(&params) && wr_ok(&w);
}

static bool rdata_copy(const struct dns_response *r, size_t at, size_t end, struct dns_record *ret)
{
	switch (ret->type) {
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		return rdata_names(r, at, end, 0, 1, 0, ret);
	case DNS_MX:
		return rdata_names(r, at, end, 2, 1, 0, ret);
	case DNS_SRV:
		return rdata_names(r, at, end, 6, 1, 0, ret);
	case DNS_SOA:
		return rdata_names(r, at, end, 0, 2, 20, ret);
	case DNS_SVCB:
	case DNS_HTTPS:
		return rdata_svcb(r, at, end, ret);
	default:
		memcpy(ret->rdata, r->msg + at, end - at);
		ret->len = (uint16_t)(end - at);
		return true;
	}
}

int dns_response_next(struct dns_response *r, struct dns_record *ret)
{
	while (r->taken < r->n_answer && r->taken < DNS_RECORDS_MAX) {
		r->taken++;
		if (!name_at(r->msg, r->len, &r->at, &ret->owner))
			return -EBADMSG;
		struct rd h = rd_init(r->msg + r->at, r->len - r->at);
		ret->type = rd_u16(&h);
		ret->klass = rd_u16(&h);
		ret->ttl = rd_u32(&h);
		uint16_t len = rd_u16(&h);
		if (!rd_ok(&h) || len > rd_left(&h))
			return -EBADMSG;
		size_t at = r->at + 10;
		r->at = at + len;
		if (len > sizeof(ret->rdata))
			continue;
		if (!rdata_copy(r, at, at + len, ret))
			return -EBADMSG;
		return 1;
	}
	return 0;
}
