/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DNS_REPLY_H
#define DNS_REPLY_H

#include "dns/msg.h"

/*
 * A reply to one query: begin, records, end. The question is echoed as the client spelled it; an OPT record stands in
 * it when the query had one. A record that does not fit turns the reply into an empty one with TC set (RFC 2181 §9).
 */
enum { DNS_NEGATIVE_TTL_S = 2, DNS_NO_EDE = 0xffff, DNS_EXTRA_TEXT_MAX = 512 };

/* For this file's functions only. */
struct dns_reply {
	struct wr w;
	const struct dns_query *query;
	uint16_t rcode, ede;
	uint16_t n_answer, n_authority;
	size_t text_len;
	const char *text;
	bool truncated;
};

/* `cap` bytes at `buf` are what may be sent: dns_reply_room() for UDP, up to DNS_MESSAGE_MAX for TCP. `q` must stay
 * until the end. */
void dns_reply_begin(struct dns_reply *r, void *buf, size_t cap, const struct dns_query *q, uint16_t rcode);
size_t dns_reply_room(const struct dns_query *q);
/* Answer records; all before dns_reply_negative(). */
void dns_reply_record(struct dns_reply *r, const struct name *owner, uint16_t type, uint32_t ttl, const uint8_t *rdata,
	size_t len);
void dns_reply_addr(struct dns_reply *r, const struct addr *a, uint32_t ttl);
void dns_reply_name(struct dns_reply *r, uint16_t type, const struct name *target, uint32_t ttl);
/* The SOA that lets a client remember a "no" for DNS_NEGATIVE_TTL_S (RFC 2308 §5); for NXDOMAIN and NODATA. */
void dns_reply_negative(struct dns_reply *r);
/* Extended DNS Error (RFC 8914) with EXTRA-TEXT in UTF-8, cut at DNS_EXTRA_TEXT_MAX; left out when the client has no
 * EDNS. `text` must stay. */
void dns_reply_error(struct dns_reply *r, uint16_t ede, const char *text, size_t len);
/* The length of the finished message; 0 when `cap` has no room for header, question and OPT. */
size_t dns_reply_end(struct dns_reply *r);

#endif
