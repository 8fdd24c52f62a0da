/* SPDX-License-Identifier: Apache-2.0 */
/* An answer of the network. What we make of its records is understood by ourselves and does not change when made again;
 * what is handed to gate and to guests keeps its bounds. */
#include "dns/reply.h"
#include "names/front.h"
#include "names/upstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The rebuilt rdata in a message of its own, read back: the same again. */
static void check_again(const struct dns_record *rec, const uint8_t *rdata, size_t len)
{
	static uint8_t msg[DNS_MESSAGE_MAX], again[DNS_MESSAGE_MAX];
	struct dns_query q = { .type = rec->type, .name = rec->owner, .question_len = rec->owner.len };
	struct dns_reply reply;
	struct dns_response r;
	struct dns_record one;
	struct wr w = wr_init(again, sizeof(again));
	memcpy(q.question, rec->owner.wire, rec->owner.len);
	dns_reply_begin(&reply, msg, sizeof(msg), &q, 0);
	dns_reply_record(&reply, &rec->owner, rec->type, rec->ttl, rdata, len);
	size_t n = dns_reply_end(&reply);
	check(n > 0 && dns_response_parse(msg, n, &r) == 0);
	if (r.truncated)
		return;
	check(dns_record_next(&r, &one) && name_equal(&one.owner, &rec->owner) && one.type == rec->type &&
		one.ttl == rec->ttl);
	check(dns_rdata_rebuild(&r, &one, &w) && w.len == len && memcmp(again, rdata, len) == 0);
}

static void check_records(struct dns_response r)
{
	static uint8_t rdata[DNS_MESSAGE_MAX];
	struct dns_record rec;
	unsigned n = r.left[0] + r.left[1] + r.left[2];
	for (; dns_record_next(&r, &rec); n--) {
		struct wr w = wr_init(rdata, sizeof(rdata));
		struct addr a;
		struct name name;
		uint32_t ttl;
		bool good = dns_rdata_rebuild(&r, &rec, &w);
		check(!dns_rdata_addr(&r, &rec, &a) || good);
		check(!dns_rdata_name(&r, &rec, &name) || good);
		check(!dns_rdata_soa_minimum(&r, &rec, &ttl) || good);
		if (good)
			check_again(&rec, rdata, w.len);
	}
	check(n == 0);
}

static void check_sums(const struct dns_response *r, const struct upstream_result *res)
{
	static struct upstream_sum s;
	memset(&s, 0, sizeof(s));
	upstream_add(&s, &r->name, DNS_A, res);
	upstream_add(&s, &r->name, DNS_AAAA, res);
	upstream_end(&s);
	check(s.r.n_chain <= IPC_CHAIN_MAX && s.r.n_v4 <= IPC_ADDRS_MAX && s.r.n_v6 <= IPC_ADDRS_MAX &&
		s.r.status <= RESOLVE_BOGUS);
	check(s.r.status == RESOLVE_OK || s.r.n_v4 + s.r.n_v6 == 0);
	for (unsigned i = 0; i < s.r.n_v4; i++)
		check(s.r.v4[i].len == 4);
	for (unsigned i = 0; i < s.r.n_v6; i++)
		check(s.r.v6[i].len == 16);
}

/* Relayed, framed, and read as the guest would. */
static void check_relay(const struct dns_response *r, const struct upstream_result *res)
{
	static struct ipc_relayed m;
	static uint8_t query[DNS_HEADER_BYTES + NAME_WIRE_MAX + 4], msg[DNS_MESSAGE_MAX];
	upstream_relay(&r->name, r->type, res, &m);
	check(m.len <= IPC_RELAY_MAX);
	struct front *f = front_new(1, 8);
	struct wr w = wr_init(query, sizeof(query));
	wr_u32(&w, 0);
	wr_u16(&w, 1);
	wr_zero(&w, 6);
	wr_bytes(&w, r->name.wire, r->name.len);
	wr_u16(&w, r->type);
	wr_u16(&w, DNS_CLASS_IN);
	struct ipc_lookup_answer go = { .kind = ANSWER_RELAY, .ede = DNS_NO_EDE };
	struct ipc_lookup l;
	struct dns_response again;
	uint32_t id;
	size_t n;
	struct addr client = addr_v4(1);
	check(f != NULL);
	if (front_query(f, &client, true, query, w.len, 0, &id, &l, msg, sizeof(msg), &n) == FRONT_ASK) {
		check(front_answer(f, id, &go, msg, sizeof(msg)) == 0);
		n = front_relayed(f, id, &m, msg, sizeof(msg));
		check(n > 0 && dns_response_parse(msg, n, &again) == 0 && front_deadline(f) == -1);
		check(again.rcode == m.rcode && (again.truncated || again.left[DNS_ANSWER] == m.n_records));
	}
	front_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct dns_response r;
	struct upstream_result res = { .packet = data, .len = len };
	int err = dns_response_parse(data, len, &r);
	check(err == 0 || err == -EBADMSG);
	if (err != 0)
		return 0;
	check_records(r);
	check_sums(&r, &res);
	check_relay(&r, &res);
	return 0;
}
