/* SPDX-License-Identifier: Apache-2.0 */
#include "names/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct waiting {
	uint32_t id; /* 0: free */
	bool tcp;
	int64_t since_ms;
	struct addr client;
	struct dns_query q;
};

struct front {
	uint32_t round;
	unsigned n, next;
	struct waiting at[FRONT_MAX];
};

struct front *front_new(void)
{
	return calloc(1, sizeof(struct front));
}

void front_free(struct front *f)
{
	free(f);
}

unsigned front_place(uint32_t id)
{
	return id % FRONT_MAX;
}

static unsigned of_client(const struct front *f, const struct addr *client)
{
	unsigned n = 0;
	for (unsigned i = 0; i < FRONT_MAX && f->n > 0; i++)
		n += f->at[i].id != 0 && addr_equal(&f->at[i].client, client);
	return n;
}

static size_t error_reply(const struct dns_query *q, int rcode, uint8_t *buf, size_t cap)
{
	struct dns_answer a;
	dns_answer_begin(&a, q, (enum dns_rcode)rcode, buf, cap);
	return dns_answer_end(&a, DNS_EDE_NONE, NULL);
}

static struct waiting *place(struct front *f, const struct addr *client)
{
	if (f->n >= FRONT_MAX || of_client(f, client) >= FRONT_CLIENT_MAX)
		return NULL;
	while (f->at[f->next].id != 0)
		f->next = (f->next + 1) % FRONT_MAX;
	return &f->at[f->next];
}

enum front_take front_query(struct front *f, const struct addr *client, bool tcp, const uint8_t *msg, size_t len, int64_t now_ms,
	uint32_t *ret_id, struct ipc_lookup *ret_lookup, uint8_t *buf, size_t cap, size_t *ret_len)
{
	struct dns_query q;
	int rcode = dns_query_parse(msg, len, &q);
	if (rcode < 0)
		return FRONT_DROP;
	if (rcode == 0 && q.qclass != DNS_CLASS_IN)
		rcode = DNS_REFUSED;
	struct waiting *w = rcode == 0 ? place(f, client) : NULL;
	if (rcode == 0 && w == NULL)
		rcode = DNS_SERVFAIL;
	if (rcode != 0) {
		*ret_len = error_reply(&q, rcode, buf, tcp ? cap : q.udp_size < cap ? q.udp_size : cap);
		return *ret_len > 0 ? FRONT_REPLY : FRONT_DROP;
	}
	/* The high part tells a late answer to an earlier query in the same place. */
	f->round = (f->round + 1) & 0x7ffff;
	*w = (struct waiting){ .id = (f->round + 1) * FRONT_MAX + f->next, .tcp = tcp, .since_ms = now_ms, .client = *client, .q = q };
	f->n++;
	*ret_id = w->id;
	*ret_lookup = (struct ipc_lookup){ .client = *client, .qtype = q.qtype, .name = q.qname };
	return FRONT_ASK;
}

static struct waiting *find(struct front *f, uint32_t id)
{
	struct waiting *w = &f->at[front_place(id)];
	return id != 0 && w->id == id ? w : NULL;
}

static size_t finish(struct front *f, struct waiting *w, size_t len)
{
	w->id = 0;
	f->n--;
	return len;
}

static size_t room(const struct waiting *w, size_t cap)
{
	return w->tcp || w->q.udp_size > cap ? cap : w->q.udp_size;
}

size_t front_answer(struct front *f, uint32_t id, const struct ipc_lookup_answer *m, uint8_t *buf, size_t cap)
{
	static const enum dns_rcode rcodes[] = { [ANSWER_ADDRESS] = DNS_NOERROR, [ANSWER_DENIED] = DNS_NXDOMAIN, [ANSWER_NODATA] = DNS_NOERROR,
		[ANSWER_NXDOMAIN] = DNS_NXDOMAIN, [ANSWER_SERVFAIL] = DNS_SERVFAIL, [ANSWER_PTR] = DNS_NOERROR, [ANSWER_RELAY] = DNS_NOERROR,
		[ANSWER_REFUSED] = DNS_REFUSED };
	struct waiting *w = find(f, id);
	struct dns_answer a;
	if (w == NULL || m->kind >= sizeof(rcodes) / sizeof(rcodes[0]) || m->kind == ANSWER_RELAY)
		return 0;
	dns_answer_begin(&a, &w->q, rcodes[m->kind], buf, room(w, cap));
	if (m->kind == ANSWER_ADDRESS)
		dns_answer_address(&a, &m->address, m->ttl);
	else if (m->kind == ANSWER_PTR)
		dns_answer_record(&a, NULL, DNS_PTR, m->ttl, m->target.wire, m->target.len);
	else if (m->kind != ANSWER_SERVFAIL && m->kind != ANSWER_REFUSED)
		dns_answer_negative(&a, m->ttl);
	return finish(f, w, dns_answer_end(&a, m->ede, m->text.s));
}

static void put_relayed(struct dns_answer *a, const struct ipc_relayed *m)
{
	struct rd r = rd_init(m->records, m->len);
	for (unsigned i = 0; i < m->n_records && rd_ok(&r); i++) {
		struct name owner;
		uint8_t len = rd_u8(&r);
		const uint8_t *wire = rd_bytes(&r, len);
		uint16_t type = rd_u16(&r);
		uint32_t ttl = rd_u32(&r);
		uint16_t n = rd_u16(&r);
		const uint8_t *rdata = rd_bytes(&r, n);
		if (!rd_ok(&r) || !name_from_wire(wire, len, &owner))
			return;
		dns_answer_record(a, &owner, type, ttl, rdata, n);
	}
}

size_t front_relayed(struct front *f, uint32_t id, const struct ipc_relayed *m, uint8_t *buf, size_t cap)
{
	struct waiting *w = find(f, id);
	struct dns_answer a;
	if (w == NULL)
		return 0;
	dns_answer_begin(&a, &w->q, (enum dns_rcode)(m->rcode & 15), buf, room(w, cap));
	put_relayed(&a, m);
	if (m->n_records == 0)
		dns_answer_negative(&a, 2);
	return finish(f, w, dns_answer_end(&a, DNS_EDE_NONE, NULL));
}

bool front_expire(struct front *f, int64_t now_ms, uint32_t *ret_id)
{
	for (unsigned i = 0; i < FRONT_MAX && f->n > 0; i++) {
		struct waiting *w = &f->at[i];
		if (w->id == 0 || now_ms - w->since_ms < FRONT_PATIENCE_MS)
			continue;
		*ret_id = w->id;
		finish(f, w, 0);
		return true;
	}
	return false;
}

int64_t front_deadline(const struct front *f)
{
	int64_t at = -1;
	for (unsigned i = 0; i < FRONT_MAX && f->n > 0; i++) {
		int64_t end = f->at[i].since_ms + FRONT_PATIENCE_MS;
		if (f->at[i].id != 0 && (at < 0 || end < at))
			at = end;
	}
	return at;
}
