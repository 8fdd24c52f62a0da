/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's datagram or stream message: whatever it is, our reply to it is a whole message that repeats its question,
 * and fits. */
#include "dns/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static size_t build(const struct dns_query *q, int rcode, uint8_t *buf, size_t cap, unsigned records)
{
	static const char text[] = "deny any to list:ads quiet \xe2\x80\x93 gr\xc3\xb6\xc3\x9f";
	static const uint8_t txt[] = "\x1ethirty bytes of a text record..";
	struct dns_reply r;
	dns_reply_begin(&r, buf, cap, q, (uint16_t)rcode);
	for (unsigned i = 0; i < records; i++)
		dns_reply_record(&r, &q->name, DNS_TXT, i, txt, 31);
	if (records == 0)
		dns_reply_negative(&r);
	dns_reply_error(&r, 15, text, sizeof(text) - 1);
	return dns_reply_end(&r);
}

static void check_reply(const struct dns_query *q, const uint8_t *buf, size_t n, unsigned records)
{
	struct dns_response r;
	struct dns_record rec;
	unsigned answers = 0;
	check(dns_response_parse(buf, n, &r) == 0);
	check(r.id == q->id && r.type == q->type && name_equal(&r.name, &q->name));
	while (dns_record_next(&r, &rec))
		answers += rec.section == DNS_ANSWER;
	check(answers == (r.truncated ? 0 : records));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t buf[DNS_MESSAGE_MAX];
	struct dns_query q;
	int rcode = dns_query_parse(data, len, &q);
	check(rcode >= 0 || rcode == -EBADMSG);
	if (rcode < 0)
		return 0;
	check(q.udp_size >= DNS_UDP_MIN && q.udp_size <= DNS_UDP_MAX && (rcode != 0 || q.question_len == q.name.len));
	size_t n = build(&q, rcode, buf, dns_reply_room(&q), 0);
	check(n >= DNS_HEADER_BYTES && n <= dns_reply_room(&q));
	for (unsigned records = 0; rcode == 0 && records < 60; records = records * 2 + 1) {
		n = build(&q, 0, buf, dns_reply_room(&q), records);
		check(n <= dns_reply_room(&q));
		check_reply(&q, buf, n, records);
		n = build(&q, 0, buf, sizeof(buf), records);
		check_reply(&q, buf, n, records);
	}
	/* Any room at all: whole, or nothing. */
	for (size_t cap = 0; cap < 320; cap += 7)
		check(build(&q, rcode, buf, cap, 1) <= cap);
	return 0;
}
