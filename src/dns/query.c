/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/msg.h"

#include "base/rd.h"

#include <errno.h>
#include <string.h>

enum { FLAG_QR = 0x8000, FLAG_TC = 0x0200, FLAG_RD = 0x0100, FLAG_RA = 0x0080, FLAG_CD = 0x0010, OPCODE = 0x7800, HEADER = 12 };
enum { OPTION_EDE = 15, EDE_TEXT_MAX = 300 };

/* The question's name: plain labels, no pointer. */
static bool question_name(struct rd *r, struct dns_query *q)
{
	size_t at = 0;
	for (;;) {
		uint8_t label = rd_u8(r);
		const uint8_t *p = label <= NAME_LABEL_MAX ? rd_bytes(r, label) : NULL;
		if (p == NULL || at + label + 1U > sizeof(q->question))
			return false;
		q->question[at++] = label;
		memcpy(q->question + at, p, label);
		at += label;
		if (label == 0)
			break;
	}
	q->question_len = (uint8_t)at;
	return name_from_wire(q->question, at, &q->qname);
}

static bool opt(struct rd *r, struct dns_query *q)
{
	uint8_t root = rd_u8(r);
	uint16_t type = rd_u16(r), size = rd_u16(r);
	uint32_t flags = rd_u32(r);
	uint16_t len = rd_u16(r);
	rd_skip(r, len); /* options of a guest are no channel: not read */
	if (!rd_ok(r) || root != 0 || type != DNS_OPT || (flags >> 16 & 0xff) != 0)
		return false;
	q->edns = true;
	q->dnssec_ok = (flags & 0x8000) != 0;
	q->udp_size = size < DNS_UDP_PLAIN ? DNS_UDP_PLAIN : size > DNS_UDP_MAX ? DNS_UDP_MAX : size;
	return true;
}

int dns_query_parse(const void *buf, size_t len, struct dns_query *ret)
{
	struct rd r = rd_init(buf, len);
	struct dns_query q = { .udp_size = DNS_UDP_PLAIN };
	q.id = rd_u16(&r);
	uint16_t flags = rd_u16(&r), n_question = rd_u16(&r), n_answer = rd_u16(&r), n_authority = rd_u16(&r), n_additional = rd_u16(&r);
	if (!rd_ok(&r) || (flags & FLAG_QR) != 0)
		return -EBADMSG;
	q.rd = (flags & FLAG_RD) != 0;
	q.cd = (flags & FLAG_CD) != 0;
	int rcode = 0;
	if ((flags & OPCODE) != 0) {
		rcode = DNS_NOTIMP;
	} else if (n_question != 1 || n_answer != 0 || n_authority != 0 || n_additional > 1 || !question_name(&r, &q)) {
		q.question_len = 0;
		rcode = DNS_FORMERR;
	} else {
		q.qtype = rd_u16(&r);
		q.qclass = rd_u16(&r);
		if (n_additional == 1 && !opt(&r, &q))
			rcode = DNS_FORMERR;
		if (!rd_done(&r))
			rcode = DNS_FORMERR;
	}
	*ret = q;
	return rcode;
}

void dns_answer_begin(struct dns_answer *a, const struct dns_query *q, enum dns_rcode rcode, void *buf, size_t cap)
{
	*a = (struct dns_answer){ .w = wr_init(buf, cap), .q = q };
	wr_u16(&a->w, q->id);
	wr_u16(&a->w, (uint16_t)(FLAG_QR | FLAG_RA | (q->rd ? FLAG_RD : 0) | (q->cd ? FLAG_CD : 0) | (unsigned)rcode));
	wr_u16(&a->w, q->question_len > 0 ? 1 : 0);
	wr_zero(&a->w, 6);
	if (q->question_len > 0) {
		wr_bytes(&a->w, q->question, q->question_len);
		wr_u16(&a->w, q->qtype);
		wr_u16(&a->w, q->qclass);
	}
}

/* The OPT must always fit behind the records. */
static size_t reserve(const struct dns_answer *a)
{
	return a->q->edns ? 11 : 0;
}

static bool put_record(struct dns_answer *a, const struct name *owner, uint16_t type, uint32_t ttl, const void *rdata, size_t len)
{
	size_t before = a->w.len, room = a->w.cap - a->w.len, need = (owner == NULL ? 2U : owner->len) + 10U + len;
	if (a->truncated || !wr_ok(&a->w) || need + reserve(a) > room) {
		a->truncated = true;
		return false;
	}
	if (owner == NULL)
		wr_u16(&a->w, 0xc000 | HEADER);
	else
		wr_bytes(&a->w, owner->wire, owner->len);
	wr_u16(&a->w, type);
	wr_u16(&a->w, DNS_CLASS_IN);
	wr_u32(&a->w, ttl);
	wr_u16(&a->w, (uint16_t)len);
	wr_bytes(&a->w, rdata, len);
	return wr_ok(&a->w) && a->w.len == before + need;
}

void dns_answer_record(struct dns_answer *a, const struct name *owner, uint16_t type, uint32_t ttl, const void *rdata, size_t len)
{
	a->n_answer += put_record(a, owner, type, ttl, rdata, len);
}

void dns_answer_address(struct dns_answer *a, const struct addr *addr, uint32_t ttl)
{
	dns_answer_record(a, NULL, addr->len == 4 ? DNS_A : DNS_AAAA, ttl, addr->b, addr->len);
}

void dns_answer_negative(struct dns_answer *a, uint32_t ttl)
{
	/* mname and rname "sekisho.invalid.", serial 1, times of no consequence, minimum = ttl. */
	static const uint8_t names[] = { 7, 's', 'e', 'k', 'i', 's', 'h', 'o', 7, 'i', 'n', 'v', 'a', 'l', 'i', 'd', 0 };
	uint8_t soa[2 * sizeof(names) + 20];
	struct wr w = wr_init(soa, sizeof(soa));
	wr_bytes(&w, names, sizeof(names));
	wr_bytes(&w, names, sizeof(names));
	wr_u32(&w, 1);
	wr_u32(&w, 3600);
	wr_u32(&w, 600);
	wr_u32(&w, 86400);
	wr_u32(&w, ttl);
	a->n_authority += put_record(a, NULL, DNS_SOA, ttl, soa, w.len);
}

static void put_opt(struct dns_answer *a, uint16_t ede, const char *text)
{
	size_t text_len = text == NULL ? 0 : strnlen(text, EDE_TEXT_MAX), option = ede == DNS_EDE_NONE ? 0 : 6 + text_len;
	if (a->w.cap - a->w.len < 11 + option)
		option = 0;
	wr_u8(&a->w, 0);
	wr_u16(&a->w, DNS_OPT);
	wr_u16(&a->w, DNS_UDP_MAX);
	wr_u32(&a->w, a->q->dnssec_ok ? 0x8000 : 0);
	wr_u16(&a->w, (uint16_t)option);
	if (option == 0)
		return;
	wr_u16(&a->w, OPTION_EDE);
	wr_u16(&a->w, (uint16_t)(option - 4));
	wr_u16(&a->w, ede);
	wr_bytes(&a->w, text, text_len);
}

size_t dns_answer_end(struct dns_answer *a, uint16_t ede, const char *text)
{
	if (a->q->edns && wr_ok(&a->w))
		put_opt(a, ede, text);
	wr_patch_u16(&a->w, 6, a->n_answer);
	wr_patch_u16(&a->w, 8, a->n_authority);
	wr_patch_u16(&a->w, 10, a->q->edns ? 1 : 0);
	if (!wr_ok(&a->w))
		return 0;
	if (a->truncated)
		a->w.buf[2] |= FLAG_TC >> 8;
	return a->w.len;
}
