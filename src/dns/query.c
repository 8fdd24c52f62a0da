/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/msg.h"

#include <errno.h>
#include <string.h>

enum { FLAG_QR = 0x8000, FLAG_RD = 0x0100, OPCODE_SHIFT = 11, OPT_DO = 0x8000 };

static int read_question(const uint8_t *buf, size_t len, size_t *at, struct dns_query *q)
{
	size_t start = *at;
	struct name name;
	if (!dns_name_read(buf, len, at, &name))
		return DNS_FORMERR;
	struct rd r = rd_init(buf + *at, len - *at);
	uint16_t type = rd_u16(&r), class = rd_u16(&r);
	if (!rd_ok(&r))
		return DNS_FORMERR;
	q->name = name;
	q->type = type;
	/* Before the first name of a message there is nothing to point at: these are plain labels, and as many bytes as
	 * the folded ones. */
	q->question_len = name.len;
	memcpy(q->question, buf + start, name.len);
	*at += 4;
	/* OPT is no question; class CH and ANY are for servers that have something to say about themselves. */
	if (type == DNS_OPT || type == 0)
		return DNS_FORMERR;
	return class == DNS_CLASS_IN ? 0 : DNS_NOTIMP;
}

static void take_size(struct dns_query *q, uint16_t size)
{
	q->udp_size = size < DNS_UDP_MIN ? DNS_UDP_MIN : size > DNS_UDP_MAX ? DNS_UDP_MAX : size;
}

/* RFC 6891 §6.1.2: root name, UDP size in the class, version and flags in the TTL, options. */
static int read_opt(struct rd *r, struct dns_query *q)
{
	uint8_t root = rd_u8(r);
	uint16_t type = rd_u16(r), size = rd_u16(r);
	rd_skip(r, 1);
	uint8_t version = rd_u8(r);
	uint16_t flags = rd_u16(r);
	struct rd options = rd_sub(r, rd_u16(r));
	if (!rd_ok(r) || root != 0 || type != DNS_OPT)
		return DNS_FORMERR;
	while (rd_ok(&options) && rd_left(&options) > 0) {
		rd_skip(&options, 2);
		rd_skip(&options, rd_u16(&options));
	}
	if (!rd_done(&options))
		return DNS_FORMERR;
	q->edns = true;
	q->dnssec_ok = (flags & OPT_DO) != 0;
	take_size(q, size);
	return version == 0 ? 0 : DNS_BADVERS;
}

static int read_body(const uint8_t *buf, size_t len, struct dns_query *q)
{
	struct rd r = rd_init(buf + 4, len - 4);
	uint16_t n_question = rd_u16(&r), n_answer = rd_u16(&r), n_authority = rd_u16(&r), n_additional = rd_u16(&r);
	if (q->opcode != 0)
		return DNS_NOTIMP;
	if (n_question != 1 || n_answer != 0 || n_authority != 0 || n_additional > 1)
		return DNS_FORMERR;
	size_t at = DNS_HEADER_BYTES;
	int rcode = read_question(buf, len, &at, q);
	if (rcode == DNS_FORMERR)
		return rcode;
	r = rd_init(buf + at, len - at);
	int opt = n_additional == 1 ? read_opt(&r, q) : 0;
	if (opt == DNS_FORMERR || !rd_done(&r))
		return DNS_FORMERR;
	return rcode != 0 ? rcode : opt;
}

int dns_query_parse(const uint8_t *buf, size_t len, struct dns_query *ret)
{
	struct rd r = rd_init(buf, len);
	uint16_t id = rd_u16(&r), flags = rd_u16(&r);
	if (len < DNS_HEADER_BYTES || len > DNS_MESSAGE_MAX || (flags & FLAG_QR) != 0)
		return -EBADMSG;
	*ret = (struct dns_query){ .id = id,
		.opcode = (uint8_t)(flags >> OPCODE_SHIFT & 15),
		.rd = (flags & FLAG_RD) != 0,
		.udp_size = DNS_UDP_MIN };
	return read_body(buf, len, ret);
}
