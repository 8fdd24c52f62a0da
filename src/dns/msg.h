/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DNS_MSG_H
#define DNS_MSG_H

#include "base/addr.h"
#include "base/name.h"
#include "base/wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DNS messages (RFC 1035 §4, EDNS RFC 6891, extended errors RFC 8914): queries of guests in, answers of ours out, answers of the network in. Pure. */
enum { DNS_UDP_MAX = 1232, DNS_UDP_PLAIN = 512, DNS_MSG_MAX = 65535, DNS_CLASS_IN = 1, DNS_EDE_NONE = 0xffff, DNS_RECORDS_MAX = 512 };
enum {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
	DNS_SRV = 33,
	DNS_OPT = 41,
	DNS_SSHFP = 44,
	DNS_TLSA = 52,
	DNS_SVCB = 64,
	DNS_HTTPS = 65,
	DNS_CAA = 257
};
enum dns_rcode { DNS_NOERROR = 0, DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_NOTIMP = 4, DNS_REFUSED = 5 };

struct dns_query {
	uint16_t id, qtype, qclass;
	bool rd, cd;
	bool edns, dnssec_ok;
	uint16_t udp_size; /* what the asker can take: DNS_UDP_PLAIN..DNS_UDP_MAX */
	struct name qname;
	/* The question as it was sent, letter case and all, to be repeated in the answer and nowhere else. */
	uint8_t question_len;
	uint8_t question[NAME_WIRE_MAX];
};

/*
 * 0: *ret is a query we can answer. A positive rcode (FORMERR, NOTIMP): answer with that, *ret has at least the id and what was understood.
 * -EBADMSG: not a query at all, to be dropped. Exactly one question, no compression in it, no answer or authority records, at most an OPT and
 * nothing behind it.
 */
int dns_query_parse(const void *buf, size_t len, struct dns_query *ret) __attribute__((warn_unused_result));

/* An answer being written. */
struct dns_answer {
	struct wr w;
	const struct dns_query *q;
	uint16_t n_answer, n_authority;
	size_t whole; /* length before the first record that did not fit */
	bool truncated;
};

/* `cap`: q->udp_size for UDP, up to DNS_MSG_MAX for TCP. */
void dns_answer_begin(struct dns_answer *a, const struct dns_query *q, enum dns_rcode rcode, void *buf, size_t cap);
/* A record whose rdata is already uncompressed wire; owner is the name asked when `owner` is NULL. Left out, with TC, when it does not fit. */
void dns_answer_record(struct dns_answer *a, const struct name *owner, uint16_t type, uint32_t ttl, const void *rdata, size_t len);
void dns_answer_address(struct dns_answer *a, const struct addr *addr, uint32_t ttl);
/* A SOA of our own in the authority section, so that a negative answer is kept for `ttl` seconds only (RFC 2308 §3). */
void dns_answer_negative(struct dns_answer *a, uint32_t ttl);
/* Ends with OPT when the query had one; `ede` DNS_EDE_NONE or a code with `text` (may be NULL). Returns the length, 0 when even the head did not fit. */
size_t dns_answer_end(struct dns_answer *a, uint16_t ede, const char *text);

/* One record of an answer section with its names decompressed. */
struct dns_record {
	struct name owner;
	uint16_t type, klass;
	uint32_t ttl;
	uint16_t len; /* of rdata, names inside uncompressed */
	uint8_t rdata[4096];
};

/* The reader of a response from the network. */
struct dns_response {
	const uint8_t *msg;
	size_t len, at;
	unsigned rcode, n_answer, taken;
};

/* 0 or -EBADMSG: not a response, or its question is malformed. */
int dns_response_parse(const void *buf, size_t len, struct dns_response *ret) __attribute__((warn_unused_result));
/* The next record of the answer section. 1; 0: none is left; -EBADMSG. Of the types with names in their rdata NS CNAME PTR SOA MX SRV are decompressed;
 * HTTPS and SVCB lose ipv4hint, ipv6hint and ech (names.md). A record over 4,096 bytes is passed over. */
int dns_response_next(struct dns_response *r, struct dns_record *ret) __attribute__((warn_unused_result));

#endif
