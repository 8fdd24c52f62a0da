/* SPDX-License-Identifier: Apache-2.0 */
#include "net/wire.h"

#include "net/checksum.h"

#include <errno.h>
#include <string.h>

struct mac wire_mac(struct rd *r)
{
	struct mac m = { 0 };
	rd_copy(r, m.b, sizeof(m.b));
	return m;
}

struct addr wire_addr4(struct rd *r)
{
	return addr_v4(rd_u32(r));
}

struct addr wire_addr6(struct rd *r)
{
	struct addr a = { .len = 16 };
	rd_copy(r, a.b, 16);
	return a;
}

void wire_put_mac(struct wr *w, const struct mac *m)
{
	wr_bytes(w, m->b, sizeof(m->b));
}

void wire_put_addr(struct wr *w, const struct addr *a)
{
	wr_bytes(w, a->b, a->len);
}

struct addr wire_all_nodes(void)
{
	static const uint8_t all[16] = { 0xff, 0x02, [15] = 1 };
	return addr_v6(all);
}

struct mac wire_multicast_mac6(const struct addr *a)
{
	return (struct mac){ { 0x33, 0x33, a->b[12], a->b[13], a->b[14], a->b[15] } };
}

int wire_begin(struct wr *w, const struct wire_frame *f, size_t *ret_start)
{
	if (f->src.len != f->dst.len || f->src.len == 0)
		return -EINVAL;
	*ret_start = w->len;
	wire_put_mac(w, &f->eth_dst);
	wire_put_mac(w, &f->eth_src);
	if (f->src.len == 4) {
		wr_u16(w, ETHERTYPE_IPV4);
		wr_u16(w, 0x4500);
		wr_u32(w, 0);	   /* total length, identification */
		wr_u16(w, 0x4000); /* never to be fragmented */
		wr_u8(w, f->ttl);
		wr_u8(w, f->proto);
		wr_u16(w, 0);
	} else {
		wr_u16(w, ETHERTYPE_IPV6);
		wr_u32(w, 0x60000000);
		wr_u16(w, 0);
		wr_u8(w, f->proto);
		wr_u8(w, f->ttl);
	}
	wire_put_addr(w, &f->src);
	wire_put_addr(w, &f->dst);
	return 0;
}

int wire_end(struct wr *w, size_t start)
{
	if (!wr_ok(w))
		return -ENOSPC;
	size_t l3 = start + ETH_HEADER_BYTES;
	if (w->buf[l3] >> 4 == 4) {
		wr_patch_u16(w, l3 + 2, (uint16_t)(w->len - l3));
		wr_patch_u16(w, l3 + 10, checksum_fold(checksum_add(0, w->buf + l3, IPV4_HEADER_BYTES)));
	} else {
		wr_patch_u16(w, l3 + 4, (uint16_t)(w->len - l3 - IPV6_HEADER_BYTES));
	}
	/* What we wrote must be what we would accept; the parse also finds the checksum's place. */
	struct packet p;
	int err = packet_parse(w->buf + start, w->len - start, &p);
	if (err == 0)
		err = packet_fix_l4_checksum(w->buf + start, w->len - start, &p);
	if (err == 0)
		return 0;
	w->len = start;
	return -EINVAL;
}
