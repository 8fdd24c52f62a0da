/* SPDX-License-Identifier: Apache-2.0 */
#include "names/upstream.h"

#include <string.h>

/* The CNAME chain that begins at the asked name. */
struct chain {
	struct name end;
	unsigned n;
	uint32_t ttl;
	struct name link[IPC_CHAIN_MAX];
};

/* The target of the CNAME of `owner`; false: it has none. */
static bool chain_step(const struct dns_response *whole, const struct name *owner, struct name *ret, uint32_t *ret_ttl)
{
	struct dns_response r = *whole;
	struct dns_record rec;
	while (dns_record_next(&r, &rec) && rec.section == DNS_ANSWER) {
		if (rec.type != DNS_CNAME || !name_equal(&rec.owner, owner) || !dns_rdata_name(&r, &rec, ret))
			continue;
		*ret_ttl = rec.ttl;
		return true;
	}
	return false;
}

/* False: too long, which a loop is, too. Records may stand in any order, hence one walk per link. */
static bool chain_follow(const struct dns_response *r, const struct name *name, struct chain *c)
{
	struct name target;
	uint32_t ttl;
	*c = (struct chain){ .end = *name, .ttl = UINT32_MAX };
	while (chain_step(r, &c->end, &target, &ttl)) {
		if (c->n == IPC_CHAIN_MAX)
			return false;
		c->link[c->n++] = c->end = target;
		if (ttl < c->ttl)
			c->ttl = ttl;
	}
	return true;
}

/* True: a whole answer to this question that says yes or no. */
static bool open_answer(const struct upstream_result *res, const struct name *name, uint16_t qtype,
	struct dns_response *ret)
{
	return !res->failed && !res->bogus && dns_response_parse(res->packet, res->len, ret) == 0 && !ret->truncated &&
	       ret->type == qtype && name_equal(&ret->name, name) &&
	       (ret->rcode == DNS_NOERROR || ret->rcode == DNS_NXDOMAIN);
}

static void take_ttl(struct upstream_sum *s, uint32_t ttl)
{
	if (!s->has_ttl || ttl < s->r.ttl)
		s->r.ttl = ttl;
	s->has_ttl = true;
}

static bool take_link(struct ipc_resolved *r, const struct name *link)
{
	for (unsigned i = 0; i < r->n_chain; i++) {
		if (name_equal(&r->chain[i], link))
			return true;
	}
	if (r->n_chain == IPC_CHAIN_MAX)
		return false;
	r->chain[r->n_chain++] = *link;
	return true;
}

/* Addresses at the chain's end; false when one is malformed. What is beyond IPC_ADDRS_MAX is never used, so it need not
 * be judged. */
static bool take_addresses(struct upstream_sum *s, struct dns_response r, uint16_t qtype, const struct name *end)
{
	bool v6 = qtype == DNS_AAAA;
	struct addr *list = v6 ? s->r.v6 : s->r.v4;
	uint8_t *n = v6 ? &s->r.n_v6 : &s->r.n_v4;
	struct dns_record rec;
	while (dns_record_next(&r, &rec)) {
		struct addr a;
		if (rec.section != DNS_ANSWER || rec.type != qtype || !name_equal(&rec.owner, end))
			continue;
		if (!dns_rdata_addr(&r, &rec, &a))
			return false;
		if (*n < IPC_ADDRS_MAX)
			list[(*n)++] = a;
		take_ttl(s, rec.ttl);
	}
	return true;
}

/* How long "no" holds (RFC 2308 §5). */
static uint32_t negative_ttl(struct dns_response r)
{
	struct dns_record rec;
	uint32_t ttl;
	while (dns_record_next(&r, &rec)) {
		if (rec.section == DNS_AUTHORITY && dns_rdata_soa_minimum(&r, &rec, &ttl))
			return ttl;
	}
	return UPSTREAM_TTL_NEGATIVE_S;
}

static bool take_answer(struct upstream_sum *s, const struct name *name, uint16_t qtype, const struct dns_response *r)
{
	struct chain c;
	if (!chain_follow(r, name, &c))
		return false;
	/* Both families may come by different chains: the names of each are judged. */
	for (unsigned i = 0; i < c.n; i++) {
		if (!take_link(&s->r, &c.link[i]))
			return false;
	}
	if (c.n > 0)
		take_ttl(s, c.ttl);
	if (!take_addresses(s, *r, qtype, &c.end))
		return false;
	if ((qtype == DNS_AAAA ? s->r.n_v6 : s->r.n_v4) == 0)
		take_ttl(s, negative_ttl(*r));
	return true;
}

void upstream_add(struct upstream_sum *s, const struct name *name, uint16_t qtype, const struct upstream_result *res)
{
	struct dns_response r;
	if (res->bogus)
		s->bogus = true;
	else if (!open_answer(res, name, qtype, &r) || !take_answer(s, name, qtype, &r))
		s->failed = true;
	else if (r.rcode == DNS_NXDOMAIN)
		s->nxdomain = true;
	else
		s->answered = true;
}

void upstream_end(struct upstream_sum *s)
{
	struct ipc_resolved *r = &s->r;
	if (s->bogus)
		r->status = RESOLVE_BOGUS;
	else if (r->n_v4 + r->n_v6 > 0)
		r->status = RESOLVE_OK;
	else if (s->failed || (!s->answered && !s->nxdomain))
		r->status = RESOLVE_FAILED;
	else
		r->status = s->answered ? RESOLVE_OK : RESOLVE_NXDOMAIN;
	if (r->status == RESOLVE_BOGUS || r->status == RESOLVE_FAILED)
		*r = (struct ipc_resolved){ .status = r->status };
	/* The family that failed is asked again soon. */
	else if (s->failed)
		take_ttl(s, UPSTREAM_TTL_NEGATIVE_S);
}

/* False: malformed. One that finds no room ends the list: it would not fit into a DNS message either. */
static bool put_record(struct wr *w, const struct dns_response *r, const struct dns_record *rec, uint16_t *n)
{
	struct wr before = *w;
	wr_u8(w, rec->owner.len);
	wr_bytes(w, rec->owner.wire, rec->owner.len);
	wr_u16(w, rec->type);
	wr_u32(w, rec->ttl > UPSTREAM_TTL_RELAY_MAX_S ? UPSTREAM_TTL_RELAY_MAX_S : rec->ttl);
	size_t at = w->len;
	wr_u16(w, 0);
	bool good = dns_rdata_rebuild(r, rec, w);
	if (!good && wr_ok(w)) {
		*w = before;
		return false;
	}
	if (wr_ok(w)) {
		wr_patch_u16(w, at, (uint16_t)(w->len - at - 2));
		(*n)++;
	} else {
		w->len = before.len;
	}
	return true;
}

static bool is_link(const struct chain *c, const struct name *asked, const struct name *owner)
{
	if (name_equal(owner, &c->end))
		return false;
	bool link = name_equal(owner, asked);
	for (unsigned i = 0; i < c->n; i++)
		link = link || name_equal(owner, &c->link[i]);
	return link;
}

static bool put_answer(struct wr *w, const struct name *name, uint16_t qtype, struct dns_response r, uint16_t *n)
{
	struct chain c = { .end = *name };
	struct dns_record rec;
	/* A question for the CNAME itself is not led on by it. */
	if (qtype != DNS_CNAME && !chain_follow(&r, name, &c))
		return false;
	while (dns_record_next(&r, &rec)) {
		if (rec.section != DNS_ANSWER || rec.class != DNS_CLASS_IN)
			continue;
		bool own = (rec.type == qtype && name_equal(&rec.owner, &c.end)) ||
			   (rec.type == DNS_CNAME && is_link(&c, name, &rec.owner));
		if (own && !put_record(w, &r, &rec, n))
			return false;
	}
	return true;
}

void upstream_relay(const struct name *name, uint16_t qtype, const struct upstream_result *res, struct ipc_relayed *ret)
{
	struct dns_response r;
	struct wr w = wr_init(ret->records, sizeof(ret->records));
	ret->rcode = DNS_SERVFAIL;
	ret->n_records = 0;
	ret->len = 0;
	/* Addresses are gate's to give: a real one never reaches a guest as an answer. */
	if (qtype == DNS_A || qtype == DNS_AAAA || !dns_type_known(qtype) || !open_answer(res, name, qtype, &r))
		return;
	uint16_t n = 0;
	if (!put_answer(&w, name, qtype, r, &n))
		return;
	ret->rcode = (uint8_t)r.rcode;
	ret->n_records = n;
	ret->len = (uint32_t)w.len;
}
