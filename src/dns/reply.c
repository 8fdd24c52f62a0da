/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/reply.h"

#include <string.h>

enum { FLAG_QR = 0x8000, FLAG_TC = 0x0200, FLAG_RD = 0x0100, FLAG_RA = 0x0080, OPCODE_SHIFT = 11 };
enum { OPT_BYTES = 11, EDE_OPTION = 15, EDE_HEAD = 6, SOA_BYTES = 22, TYPE_CLASS_TTL = 8 };
enum { POINTER_TO_QUESTION = 0xc000 | DNS_HEADER_BYTES };

size_t dns_reply_room(const struct dns_query *q)
{
	return q->edns ? q->udp_size : DNS_UDP_MIN;
}

static size_t opt_len(const struct dns_reply *r)
{
	if (!r->query->edns)
		return 0;
	return OPT_BYTES + (r->ede == DNS_NO_EDE ? 0 : EDE_HEAD + r->text_len);
}

void dns_reply_begin(struct dns_reply *r, void *buf, size_t cap, const struct dns_query *q, uint16_t rcode)
{
	*r = (struct dns_reply){ .w = wr_init(buf, cap > DNS_MESSAGE_MAX ? DNS_MESSAGE_MAX : cap),
		.query = q,
		.rcode = rcode,
		.ede = DNS_NO_EDE };
	wr_zero(&r->w, DNS_HEADER_BYTES);
	if (q->question_len != 0) {
		wr_bytes(&r->w, q->question, q->question_len);
		wr_u16(&r->w, q->type);
		wr_u16(&r->w, DNS_CLASS_IN);
	}
	/* OPT is written last but always has its place. */
	size_t opt = q->edns ? OPT_BYTES : 0;
	if (r->w.cap < opt)
		r->w.err = true;
	else
		r->w.cap -= opt;
	if (r->w.len > r->w.cap)
		r->w.err = true;
}

static void write_record(struct dns_reply *r, const struct name *owner, uint16_t type, uint32_t ttl,
	const uint8_t *rdata, size_t len)
{
	const struct dns_query *q = r->query;
	/* The root is shorter than a pointer to it. */
	if (q->question_len > 1 && name_equal(owner, &q->name))
		wr_u16(&r->w, POINTER_TO_QUESTION);
	else
		wr_bytes(&r->w, owner->wire, owner->len);
	wr_u16(&r->w, type);
	wr_u16(&r->w, DNS_CLASS_IN);
	wr_u32(&r->w, ttl);
	wr_u16(&r->w, (uint16_t)len);
	wr_bytes(&r->w, rdata, len);
	if (len > UINT16_MAX)
		r->w.err = true;
}

/* Back to header and question: an answer that is not whole is worth nothing to the client. */
static void truncate_reply(struct dns_reply *r)
{
	r->w.len = DNS_HEADER_BYTES + (r->query->question_len == 0 ? 0 : r->query->question_len + 4U);
	r->w.err = false;
	r->n_answer = r->n_authority = 0;
	r->truncated = true;
}

void dns_reply_record(struct dns_reply *r, const struct name *owner, uint16_t type, uint32_t ttl, const uint8_t *rdata,
	size_t len)
{
	if (r->w.err || r->truncated)
		return;
	write_record(r, owner, type, ttl, rdata, len);
	if (r->w.err)
		truncate_reply(r);
	else
		r->n_answer++;
}

void dns_reply_addr(struct dns_reply *r, const struct addr *a, uint32_t ttl)
{
	dns_reply_record(r, &r->query->name, a->len == 4 ? DNS_A : DNS_AAAA, ttl, a->b, a->len);
}

void dns_reply_name(struct dns_reply *r, uint16_t type, const struct name *target, uint32_t ttl)
{
	dns_reply_record(r, &r->query->name, type, ttl, target->wire, target->len);
}

/* Of the root, which is above every name: whose zone the name is in is not known here, and nothing was asked outside.
 */
void dns_reply_negative(struct dns_reply *r)
{
	static const struct name root = { .len = 1 };
	uint8_t soa[SOA_BYTES];
	struct wr w = wr_init(soa, sizeof(soa));
	if (r->w.err || r->truncated)
		return;
	wr_zero(&w, 2);
	wr_u32(&w, 1);
	for (unsigned i = 0; i < 4; i++)
		wr_u32(&w, DNS_NEGATIVE_TTL_S);
	struct wr before = r->w;
	write_record(r, &root, DNS_SOA, DNS_NEGATIVE_TTL_S, soa, w.len);
	if (r->w.err)
		r->w = before;
	else
		r->n_authority++;
}

void dns_reply_error(struct dns_reply *r, uint16_t ede, const char *text, size_t len)
{
	r->ede = ede;
	r->text = text;
	r->text_len = len;
}

/* What fits of the text, cut between characters. */
static size_t text_fit(const char *text, size_t len, size_t room)
{
	size_t n = len < room ? len : room;
	if (n > DNS_EXTRA_TEXT_MAX)
		n = DNS_EXTRA_TEXT_MAX;
	while (n > 0 && n < len && ((uint8_t)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void write_opt(struct dns_reply *r)
{
	if (!r->query->edns)
		return;
	/* The place kept free since the beginning. */
	r->w.cap += OPT_BYTES;
	size_t room = r->w.cap - r->w.len - OPT_BYTES;
	if (room < EDE_HEAD)
		r->ede = DNS_NO_EDE;
	else
		r->text_len = text_fit(r->text, r->text_len, room - EDE_HEAD);
	wr_u8(&r->w, 0);
	wr_u16(&r->w, DNS_OPT);
	wr_u16(&r->w, DNS_UDP_MAX);
	wr_u8(&r->w, (uint8_t)(r->rcode >> 4));
	wr_zero(&r->w, 3);
	wr_u16(&r->w, (uint16_t)(opt_len(r) - OPT_BYTES));
	if (r->ede == DNS_NO_EDE)
		return;
	wr_u16(&r->w, EDE_OPTION);
	wr_u16(&r->w, (uint16_t)(2 + r->text_len));
	wr_u16(&r->w, r->ede);
	wr_bytes(&r->w, r->text, r->text_len);
}

size_t dns_reply_end(struct dns_reply *r)
{
	const struct dns_query *q = r->query;
	if (!wr_ok(&r->w))
		return 0;
	write_opt(r);
	wr_patch_u16(&r->w, 0, q->id);
	wr_patch_u16(&r->w, 2,
		(uint16_t)(FLAG_QR | (q->opcode & 15) << OPCODE_SHIFT | (r->truncated ? FLAG_TC : 0) |
			   (q->rd ? FLAG_RD : 0) | FLAG_RA | (r->rcode & 15)));
	wr_patch_u16(&r->w, 4, q->question_len != 0);
	wr_patch_u16(&r->w, 6, r->n_answer);
	wr_patch_u16(&r->w, 8, r->n_authority);
	wr_patch_u16(&r->w, 10, q->edns);
	return wr_ok(&r->w) ? r->w.len : 0;
}
