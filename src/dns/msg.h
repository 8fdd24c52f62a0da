/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DNS_MSG_H
#define DNS_MSG_H

#include "base/addr.h"
#include "base/name.h"
#include "base/rd.h"
#include "base/wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* DNS messages (RFC 1035 §4), EDNS version 0 (RFC 6891): what both directions share, and reading. Writing: dns/reply.h.
 */
enum { DNS_HEADER_BYTES = 12, DNS_UDP_MIN = 512, DNS_UDP_MAX = 1232, DNS_MESSAGE_MAX = 65535, DNS_RECORDS_MAX = 4096 };
enum { DNS_QUESTION_MAX = NAME_WIRE_MAX + 4, DNS_CLASS_IN = 1 };

enum dns_type {
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
	DNS_ANY = 255,
	DNS_CAA = 257,
};

/* BADVERS needs EDNS: its high bits travel in the OPT record. */
enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16,
};

struct dns_query {
	uint16_t id;
	uint8_t opcode;
	bool rd;
	bool edns;
	bool dnssec_ok;
	uint16_t udp_size; /* what the client takes: DNS_UDP_MIN..DNS_UDP_MAX */
	uint16_t type;
	struct name name;
	uint8_t question_len;		 /* 0: not understood, nothing to echo; else ... */
	uint8_t question[NAME_WIRE_MAX]; /* ... the name as the client spelled it; never sent upstream */
};

/*
 * A query with exactly one question of class IN, opcode 0, no answer or authority records, at most one OPT, nothing
 * behind. 0: understood. A positive rcode: refuse with it (dns_reply_begin() takes *ret; what was not understood is
 * absent there). -EBADMSG: not even a header, or an answer: say nothing. RFC 1035 §4.1, RFC 6891 §6.1; options inside
 * OPT are checked for length and forgotten.
 */
int dns_query_parse(const uint8_t *buf, size_t len, struct dns_query *ret) __attribute__((warn_unused_result));

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };

/* A response walked record by record; every field is for the functions below, but for the first line's. */
struct dns_response {
	uint16_t id, rcode, type; /* rcode without the high bits of OPT */
	bool truncated;
	struct name name;
	const uint8_t *buf;
	size_t len, at;
	unsigned left[3];
};

struct dns_record {
	enum dns_section section;
	struct name owner;
	uint16_t type, class;
	uint32_t ttl;		 /* more than 2^31-1 reads as 0 (RFC 2181 §8) */
	size_t rdata, rdata_len; /* in the message */
};

/* 0; -EBADMSG unless it is a response with one question whose every record has its place and nothing stands behind.
 * `buf` must stay. */
int dns_response_parse(const uint8_t *buf, size_t len, struct dns_response *ret) __attribute__((warn_unused_result));
/* The next record; false: there are no more. */
bool dns_record_next(struct dns_response *r, struct dns_record *ret);

/* Rdata by type; false when it is not exactly that. dns_rdata_name: CNAME, NS, PTR. dns_rdata_soa_minimum: RFC 2308 §5.
 */
bool dns_rdata_addr(const struct dns_response *r, const struct dns_record *rec, struct addr *ret);
bool dns_rdata_name(const struct dns_response *r, const struct dns_record *rec, struct name *ret);
bool dns_rdata_soa_minimum(const struct dns_response *r, const struct dns_record *rec, uint32_t *ret);
/* The rdata written anew: names uncompressed and folded, HTTPS and SVCB without ipv4hint, ech, ipv6hint (RFC 9460 §7.3)
 * and without `mandatory` when it named one of these. False (and *w in error or as it was) for malformed rdata and for
 * types not in dns_type_known(). */
bool dns_rdata_rebuild(const struct dns_response *r, const struct dns_record *rec, struct wr *w);
bool dns_type_known(uint16_t type);

/* One name at offset *at of a message, pointers strictly backwards (RFC 1035 §4.1.4), folded; *at moves behind it. */
bool dns_name_read(const uint8_t *buf, size_t len, size_t *at, struct name *ret);

#endif
