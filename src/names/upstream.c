/* SPDX-License-Identifier: Apache-2.0 */
#include "names/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The end of the CNAME chain that begins at `name`, its links, and the least TTL on the way. */
struct chain {
	struct name end;
	unsigned n;
	uint32_t ttl;
	struct name link[IPC_CHAIN_MAX];
};

static bool chain_follow(const struct name *name, const uint8_t *packet, size_t len, struct chain *c)
{
	static struct dns_record rec;
	*c = (struct chain){ .end = *name, .ttl = UINT32_MAX };
	/* Records may stand in any order: read the section again after each step, which a loop in the chain cannot make endless. */
	for (bool moved = true; moved;) {
		struct dns_response r;
		moved = false;
		if (dns_response_parse(packet, len, &r) != 0)
			return false;
		while (!moved && dns_response_next(&r, &rec) == 1) {
			struct name target;
			if (rec.type != DNS_CNAME || rec.klass != DNS_CLASS_IN || !name_equal(&rec.owner, &c->end) ||
				!name_from_wire(rec.rdata, rec.len, &target))
				continue;
			if (c->n == IPC_CHAIN_MAX)
				return false;
			c->link[c->n++] = target;
			c->end = target;
			if (rec.ttl < c->ttl)
				c->ttl = rec.ttl;
			moved = true;
		}
	}
	return true;
}

void upstream_addresses(const struct name *name, uint16_t qtype, const uint8_t *packet, size_t len, struct ipc_resolved *io)
{
	static struct dns_record rec;
	struct dns_response r;
	struct chain c;
	bool v6 = qtype == DNS_AAAA;
	uint8_t *n = v6 ? &io->n_v6 : &io->n_v4;
	struct addr *list = v6 ? io->v6 : io->v4;
	if (!chain_follow(name, packet, len, &c) || dns_response_parse(packet, len, &r) != 0)
		return;
	while (*n < IPC_ADDRS_MAX && dns_response_next(&r, &rec) == 1) {
		if (rec.type != qtype || rec.klass != DNS_CLASS_IN || !name_equal(&rec.owner, &c.end) || rec.len != (v6 ? 16 : 4))
			continue;
		struct addr a = { .len = (uint8_t)rec.len };
		memcpy(a.b, rec.rdata, rec.len);
		list[(*n)++] = a;
		if (rec.ttl < c.ttl)
			c.ttl = rec.ttl;
	}
	/* Both families may come by different chains: the names of each are judged. */
	for (unsigned i = 0; i < c.n && io->n_chain < IPC_CHAIN_MAX; i++) {
		bool known = false;
		for (unsigned k = 0; k < io->n_chain; k++)
			known = known || name_equal(&io->chain[k], &c.link[i]);
		if (!known)
			io->chain[io->n_chain++] = c.link[i];
	}
	if (c.ttl < io->ttl)
		io->ttl = c.ttl;
}

static void put_record(struct wr *w, const struct dns_record *rec, uint16_t *n)
{
	size_t before = w->len;
	wr_u8(w, rec->owner.len);
	wr_bytes(w, rec->owner.wire, rec->owner.len);
	wr_u16(w, rec->type);
	wr_u32(w, rec->ttl > 300 ? 300 : rec->ttl);
	wr_u16(w, rec->len);
	wr_bytes(w, rec->rdata, rec->len);
	if (wr_ok(w)) {
		(*n)++;
		return;
	}
	w->len = before;
	w->err = false;
}

void upstream_relay(const struct name *name, uint16_t qtype, const uint8_t *packet, size_t len, struct ipc_relayed *ret)
{
	static struct dns_record rec;
	struct dns_response r;
	struct chain c;
	struct wr w = wr_init(ret->records, sizeof(ret->records));
	ret->rcode = DNS_SERVFAIL;
	ret->n_records = 0;
	ret->len = 0;
	if (!chain_follow(name, packet, len, &c) || dns_response_parse(packet, len, &r) != 0)
		return;
	ret->rcode = (uint8_t)r.rcode;
	while (dns_response_next(&r, &rec) == 1) {
		bool own = name_equal(&rec.owner, name);
		for (unsigned i = 0; i < c.n; i++)
			own = own || name_equal(&rec.owner, &c.link[i]);
		bool end = rec.type == qtype && name_equal(&rec.owner, &c.end);
		if (rec.klass == DNS_CLASS_IN && own && (end || (rec.type == DNS_CNAME && qtype != DNS_CNAME)))
			put_record(&w, &rec, &ret->n_records);
	}
	ret->len = (uint32_t)w.len;
}

bool upstream_server(const char *text, size_t len, char *ret, size_t cap)
{
	char host[64];
	const char *at = memchr(text, '@', len);
	size_t host_len = at == NULL ? len : (size_t)(at - text);
	struct addr a;
	long port = 53;
	if (host_len == 0 || host_len >= sizeof(host))
		return false;
	memcpy(host, text, host_len);
	host[host_len] = '\0';
	if (at != NULL) {
		char *end;
		port = strtol(at + 1, &end, 10);
		if (end != text + len || port < 1 || port > 65535)
			return false;
	}
	if (!addr_parse(host, &a))
		return false;
	snprintf(ret, cap, "%s@%ld", host, port);
	return true;
}
