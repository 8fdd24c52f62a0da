/* SPDX-License-Identifier: Apache-2.0 */
#include "dns/msg.h"

#include <string.h>

enum { SVC_MANDATORY = 0, SVC_IPV4HINT = 4, SVC_ECH = 5, SVC_IPV6HINT = 6 };

/* The shape of each type's rdata: digits are that many bytes, n a name, s a character-string, S one or more of them,
 * * the rest, p service parameters. */
static const struct layout {
	uint16_t type;
	const char *fields;
} layouts[] = {
	{ DNS_A, "4" },
	{ DNS_NS, "n" },
	{ DNS_CNAME, "n" },
	{ DNS_SOA, "nn44444" },
	{ DNS_PTR, "n" },
	{ DNS_MX, "2n" },
	{ DNS_TXT, "S" },
	{ DNS_AAAA, "88" },
	{ DNS_SRV, "222n" },
	{ DNS_SSHFP, "11*" },
	{ DNS_TLSA, "111*" },
	{ DNS_SVCB, "2np" },
	{ DNS_HTTPS, "2np" },
	{ DNS_CAA, "1s*" },
};

static const char *layout_of(uint16_t type)
{
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		if (layouts[i].type == type)
			return layouts[i].fields;
	}
	return NULL;
}

bool dns_type_known(uint16_t type)
{
	return layout_of(type) != NULL;
}

/* Rdata in its message: names in it may point back, so the offset counts in the whole message while reads end at the
 * rdata's end. */
struct cursor {
	const uint8_t *buf;
	size_t at, end;
	bool err;
};

static void copy_bytes(struct cursor *c, struct wr *w, size_t n)
{
	if (c->err || n > c->end - c->at) {
		c->err = true;
		return;
	}
	wr_bytes(w, c->buf + c->at, n);
	c->at += n;
}

static void copy_name(struct cursor *c, struct wr *w)
{
	struct name n;
	if (c->err || !dns_name_read(c->buf, c->end, &c->at, &n))
		c->err = true;
	else
		wr_bytes(w, n.wire, n.len);
}

static void copy_string(struct cursor *c, struct wr *w)
{
	if (c->err || c->at >= c->end)
		c->err = true;
	else
		copy_bytes(c, w, 1U + c->buf[c->at]);
}

static bool svc_withheld(uint16_t key)
{
	return key == SVC_IPV4HINT || key == SVC_ECH || key == SVC_IPV6HINT;
}

/* A list of mandatory keys that names one we take away would make the record unusable: the list goes too, then. */
static bool svc_mandatory_stays(const uint8_t *v, size_t len)
{
	struct rd r = rd_init(v, len);
	while (rd_left(&r) > 0) {
		if (svc_withheld(rd_u16(&r)))
			return false;
	}
	return rd_ok(&r);
}

/* RFC 9460 §2.2: key, length, value; keys strictly ascending. */
static void copy_params(struct cursor *c, struct wr *w)
{
	struct rd r = rd_init(c->buf + c->at, c->end - c->at);
	long last = -1;
	while (rd_ok(&r) && rd_left(&r) > 0) {
		uint16_t key = rd_u16(&r), len = rd_u16(&r);
		const uint8_t *v = rd_bytes(&r, len);
		if (v == NULL || key <= last) {
			c->err = true;
			return;
		}
		last = key;
		if (svc_withheld(key) || (key == SVC_MANDATORY && !svc_mandatory_stays(v, len)))
			continue;
		wr_u16(w, key);
		wr_u16(w, len);
		wr_bytes(w, v, len);
	}
	c->err = c->err || !rd_done(&r);
	c->at = c->end;
}

static void copy_field(struct cursor *c, struct wr *w, char field)
{
	switch (field) {
	case 'n':
		copy_name(c, w);
		break;
	case 's':
		copy_string(c, w);
		break;
	case 'S':
		do
			copy_string(c, w);
		while (!c->err && c->at < c->end);
		break;
	case '*':
		copy_bytes(c, w, c->end - c->at);
		break;
	case 'p':
		if (!c->err)
			copy_params(c, w);
		break;
	default:
		copy_bytes(c, w, (size_t)(field - '0'));
	}
}

bool dns_rdata_rebuild(const struct dns_response *r, const struct dns_record *rec, struct wr *w)
{
	const char *fields = layout_of(rec->type);
	struct cursor c = { .buf = r->buf, .at = rec->rdata, .end = rec->rdata + rec->rdata_len };
	if (fields == NULL || rec->class != DNS_CLASS_IN)
		return false;
	struct wr before = *w;
	for (; *fields != '\0'; fields++)
		copy_field(&c, w, *fields);
	if (!c.err && c.at == c.end && wr_ok(w))
		return true;
	bool full = !wr_ok(w);
	*w = before;
	w->err = w->err || full;
	return false;
}

bool dns_rdata_addr(const struct dns_response *r, const struct dns_record *rec, struct addr *ret)
{
	uint8_t want = rec->type == DNS_A ? 4 : rec->type == DNS_AAAA ? 16 : 0;
	if (want == 0 || rec->rdata_len != want || rec->class != DNS_CLASS_IN)
		return false;
	*ret = (struct addr){ .len = want };
	memcpy(ret->b, r->buf + rec->rdata, want);
	return true;
}

bool dns_rdata_name(const struct dns_response *r, const struct dns_record *rec, struct name *ret)
{
	size_t at = rec->rdata, end = rec->rdata + rec->rdata_len;
	struct name n;
	if (rec->type != DNS_CNAME && rec->type != DNS_NS && rec->type != DNS_PTR)
		return false;
	if (rec->class != DNS_CLASS_IN || !dns_name_read(r->buf, end, &at, &n) || at != end)
		return false;
	*ret = n;
	return true;
}

bool dns_rdata_soa_minimum(const struct dns_response *r, const struct dns_record *rec, uint32_t *ret)
{
	uint8_t soa[2 * NAME_WIRE_MAX + 20];
	struct wr w = wr_init(soa, sizeof(soa));
	if (rec->type != DNS_SOA || !dns_rdata_rebuild(r, rec, &w))
		return false;
	struct rd last = rd_init(soa + w.len - 4, 4);
	uint32_t minimum = rd_u32(&last);
	*ret = minimum < rec->ttl ? minimum : rec->ttl;
	return true;
}
