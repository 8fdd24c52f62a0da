/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. Places are taken from a stack of free ones, so that a quiet service touches few pages. Those in
 * use form a list in the order they came; patience is the same for all, so the head is always the next to expire. An id
 * is place + FRONT_MAX * round: a late answer to an earlier query in the same place finds another round.
 */
#include "names/front.h"

#include "names/clients.h"

#include <stdlib.h>

enum { NONE = FRONT_MAX, ROUND_MAX = 1 << 19, EDE_NETWORK = 23, EDE_NOT_READY = 14 };

struct waiting {
	uint32_t id;		 /* 0: free */
	uint16_t before, behind; /* in the list, or behind alone in the stack */
	bool tcp;
	bool relayed; /* gate has said that the resolver may answer */
	int64_t since_ms;
	struct addr client;
	struct dns_query q;
};

struct front {
	struct clients *clients;
	uint32_t round;
	uint16_t free, first, last;
	struct waiting at[FRONT_MAX];
};

struct front *front_new(uint64_t seed, unsigned v6_bytes)
{
	struct front *f = calloc(1, sizeof(*f));
	if (f == NULL || (f->clients = clients_new(seed, v6_bytes)) == NULL) {
		free(f);
		return NULL;
	}
	f->first = f->last = NONE;
	for (unsigned i = 0; i < FRONT_MAX; i++)
		f->at[i].behind = (uint16_t)(i + 1);
	return f;
}

void front_free(struct front *f)
{
	if (f == NULL)
		return;
	clients_free(f->clients);
	free(f);
}

unsigned front_place(uint32_t id)
{
	return id % FRONT_MAX;
}

static struct waiting *place_take(struct front *f, const struct addr *client)
{
	if (f->free == NONE || !clients_take(f->clients, client, FRONT_CLIENT_MAX))
		return NULL;
	uint16_t i = f->free;
	f->free = f->at[i].behind;
	f->round = f->round % (ROUND_MAX - 1) + 1;
	f->at[i] = (struct waiting){ .id = f->round * FRONT_MAX + i,
		.before = f->last,
		.behind = NONE,
		.client = *client };
	if (f->last == NONE)
		f->first = i;
	else
		f->at[f->last].behind = i;
	f->last = i;
	return &f->at[i];
}

static void place_drop(struct front *f, struct waiting *w)
{
	uint16_t i = (uint16_t)(w - f->at);
	clients_drop(f->clients, &w->client);
	if (w->before == NONE)
		f->first = w->behind;
	else
		f->at[w->before].behind = w->behind;
	if (w->behind == NONE)
		f->last = w->before;
	else
		f->at[w->behind].before = w->before;
	w->id = 0;
	w->behind = f->free;
	f->free = i;
}

static size_t room(const struct dns_query *q, bool tcp, size_t cap)
{
	size_t udp = dns_reply_room(q);
	return tcp || udp > cap ? cap : udp;
}

static size_t refuse(const struct dns_query *q, bool tcp, uint16_t rcode, uint16_t ede, uint8_t *buf, size_t cap)
{
	struct dns_reply r;
	dns_reply_begin(&r, buf, room(q, tcp, cap), q, rcode);
	if (ede != DNS_NO_EDE)
		dns_reply_error(&r, ede, "", 0);
	return dns_reply_end(&r);
}

enum front_take front_query(struct front *f, const struct addr *client, bool tcp, const uint8_t *msg, size_t len,
	int64_t now_ms, uint32_t *ret_id, struct ipc_lookup *ret_lookup, uint8_t *buf, size_t cap, size_t *ret_len)
{
	struct dns_query q;
	uint16_t ede = DNS_NO_EDE;
	int rcode = dns_query_parse(msg, len, &q);
	if (rcode < 0)
		return FRONT_DROP;
	struct waiting *w = rcode == 0 ? place_take(f, client) : NULL;
	if (rcode == 0 && w == NULL) {
		rcode = DNS_SERVFAIL;
		ede = EDE_NOT_READY;
	}
	if (rcode != 0) {
		*ret_len = refuse(&q, tcp, (uint16_t)rcode, ede, buf, cap);
		return *ret_len > 0 ? FRONT_REPLY : FRONT_DROP;
	}
	w->tcp = tcp;
	w->since_ms = now_ms;
	w->q = q;
	*ret_id = w->id;
	*ret_lookup = (struct ipc_lookup){ .client = *client, .qtype = q.type, .name = q.name };
	return FRONT_ASK;
}

static struct waiting *find(struct front *f, uint32_t id)
{
	struct waiting *w = &f->at[front_place(id)];
	return id != 0 && w->id == id ? w : NULL;
}

static void begin(const struct waiting *w, struct dns_reply *r, uint16_t rcode, uint8_t *buf, size_t cap)
{
	dns_reply_begin(r, buf, room(&w->q, w->tcp, cap), &w->q, rcode);
}

/* NXDOMAIN and NODATA carry the SOA that limits how long the client believes them. */
static void fill(struct dns_reply *r, enum ipc_answer_kind kind, const struct ipc_lookup_answer *m)
{
	switch (kind) {
	case ANSWER_ADDRESS:
		dns_reply_addr(r, &m->address, m->ttl);
		break;
	case ANSWER_PTR:
		dns_reply_name(r, DNS_PTR, &m->target, m->ttl);
		break;
	case ANSWER_DENIED:
	case ANSWER_NXDOMAIN:
	case ANSWER_NODATA:
		dns_reply_negative(r);
		break;
	case ANSWER_SERVFAIL:
	case ANSWER_REFUSED:
	case ANSWER_RELAY:
		break;
	}
	if (m->ede != DNS_NO_EDE)
		dns_reply_error(r, m->ede, m->text.s, m->text.len);
}

size_t front_answer(struct front *f, uint32_t id, const struct ipc_lookup_answer *m, uint8_t *buf, size_t cap)
{
	static const uint16_t rcodes[] = { [ANSWER_ADDRESS] = DNS_NOERROR,
		[ANSWER_DENIED] = DNS_NXDOMAIN,
		[ANSWER_NODATA] = DNS_NOERROR,
		[ANSWER_NXDOMAIN] = DNS_NXDOMAIN,
		[ANSWER_SERVFAIL] = DNS_SERVFAIL,
		[ANSWER_PTR] = DNS_NOERROR,
		[ANSWER_RELAY] = DNS_NOERROR,
		[ANSWER_REFUSED] = DNS_REFUSED };
	/* The kind came over a channel: what is unknown is a failure. */
	enum ipc_answer_kind kind =
		m->kind < sizeof(rcodes) / sizeof(rcodes[0]) ? (enum ipc_answer_kind)m->kind : ANSWER_SERVFAIL;
	struct waiting *w = find(f, id);
	if (w == NULL)
		return 0;
	if (kind == ANSWER_RELAY) {
		w->relayed = true;
		return 0;
	}
	struct dns_reply r;
	begin(w, &r, rcodes[kind], buf, cap);
	fill(&r, kind, m);
	size_t len = dns_reply_end(&r);
	place_drop(f, w);
	return len;
}

/* The records as ipc.h lays them out; false when they are not that. */
static bool put_relayed(struct dns_reply *reply, const struct ipc_relayed *m)
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
		/* An address in a relayed answer would be a real one. */
		if (rdata == NULL || !name_from_wire(wire, len, &owner) || type == DNS_A || type == DNS_AAAA)
			return false;
		dns_reply_record(reply, &owner, type, ttl, rdata, n);
	}
	return rd_done(&r);
}

size_t front_relayed(struct front *f, uint32_t id, const struct ipc_relayed *m, uint8_t *buf, size_t cap)
{
	struct waiting *w = find(f, id);
	struct dns_reply r;
	if (w == NULL || !w->relayed)
		return 0;
	begin(w, &r, m->rcode & 15, buf, cap);
	if (!put_relayed(&r, m))
		begin(w, &r, DNS_SERVFAIL, buf, cap);
	else if (m->rcode == DNS_SERVFAIL)
		dns_reply_error(&r, EDE_NETWORK, "", 0);
	else if (r.n_answer == 0 && (m->rcode == DNS_NOERROR || m->rcode == DNS_NXDOMAIN))
		dns_reply_negative(&r);
	size_t len = dns_reply_end(&r);
	place_drop(f, w);
	return len;
}

size_t front_expire(struct front *f, int64_t now_ms, uint32_t *ret_id, uint8_t *buf, size_t cap)
{
	if (f->first == NONE || now_ms - f->at[f->first].since_ms < FRONT_PATIENCE_MS)
		return 0;
	struct waiting *w = &f->at[f->first];
	*ret_id = w->id;
	size_t len = refuse(&w->q, w->tcp, DNS_SERVFAIL, EDE_NOT_READY, buf, cap);
	place_drop(f, w);
	return len;
}

int64_t front_deadline(const struct front *f)
{
	return f->first == NONE ? -1 : f->at[f->first].since_ms + FRONT_PATIENCE_MS;
}
