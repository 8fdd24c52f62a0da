/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_MATCH_H
#define OFP_MATCH_H

#include "base/addr.h"
#include "base/rd.h"
#include "base/wr.h"
#include "ofp/field.h"

/*
 * A match: a bounded, sorted set of fields. Calls may come in any order; the bytes are always in OVS's order (field.h).
 * Setting a field again replaces it (registers: only the bits of that register), so a match can be copied and varied. A
 * call that cannot be right (a 25th field, a port before the protocol is known, two families) sets `err`, and
 * ofp_match_put then fails its writer. Value bits outside the mask are zeroed; an all-zero mask removes the field; an
 * all-one mask is written without one. OVS does the same.
 */
enum { OFP_MATCH_MAX = 24 };

struct ofp_match_field {
	enum ofp_field field;
	uint8_t value[OFP_FIELD_LEN_MAX];
	uint8_t mask[OFP_FIELD_LEN_MAX];
};

struct ofp_match {
	unsigned n;
	unsigned n_unknown; /* decoded fields that are none of ours, skipped */
	bool err;
	struct ofp_match_field f[OFP_MATCH_MAX];
};

void ofp_match_init(struct ofp_match *m);

/* Any field: `value` and `mask` (NULL: exact) are ofp_field_len bytes, big endian. The prerequisites are the caller's.
 */
void ofp_match_set(struct ofp_match *m, enum ofp_field f, const void *value, const void *mask);
/* The same for fields of at most eight bytes. */
void ofp_match_uint(struct ofp_match *m, enum ofp_field f, uint64_t value);
void ofp_match_uint_masked(struct ofp_match *m, enum ofp_field f, uint64_t value, uint64_t mask);

void ofp_match_in_port(struct ofp_match *m, uint32_t port);
void ofp_match_eth_src(struct ofp_match *m, const struct mac *mac);
void ofp_match_eth_dst(struct ofp_match *m, const struct mac *mac);
void ofp_match_eth_type(struct ofp_match *m, uint16_t type);
/* No 802.1Q tag, not even a priority tag (`vlan_tci=0`). */
void ofp_match_vlan_none(struct ofp_match *m);

/* Sets eth_type by itself: 0x0800 or 0x86dd. prefix 0 leaves the address open. */
void ofp_match_ip_any(struct ofp_match *m, bool v6);
void ofp_match_ip_src(struct ofp_match *m, const struct addr *a, unsigned prefix);
void ofp_match_ip_dst(struct ofp_match *m, const struct addr *a, unsigned prefix);
/* nw_frag: not a fragment at all. */
void ofp_match_ip_frag_no(struct ofp_match *m);
void ofp_match_ip_ttl(struct ofp_match *m, uint8_t ttl);
/* Needs the IP family; for 6 and 17 ofp_match_tp_* then know which port field they mean. */
void ofp_match_ip_proto(struct ofp_match *m, uint8_t proto);
void ofp_match_tp_src(struct ofp_match *m, uint16_t port);
void ofp_match_tp_dst(struct ofp_match *m, uint16_t port);
/* Bits of TCP's flag field (OFP_TCP_*). Needs ip_proto 6. */
void ofp_match_tcp_flags(struct ofp_match *m, uint16_t value, uint16_t mask);
/* `+syn-ack-rst-fin`: how a connection starts. */
void ofp_match_tcp_opening(struct ofp_match *m);

/* Type and code of the family's ICMP; set ip_proto (1 or 58) by themselves. Always match the code with ND
 * (CVE-2023-5366). */
void ofp_match_icmp_type(struct ofp_match *m, uint8_t type);
void ofp_match_icmp_code(struct ofp_match *m, uint8_t code);
/* Need ICMPv6 type 135 (target, sll) or 136 (target, tll), code 0. */
void ofp_match_nd_target(struct ofp_match *m, const struct addr *a);
void ofp_match_nd_sll(struct ofp_match *m, const struct mac *mac);
void ofp_match_nd_tll(struct ofp_match *m, const struct mac *mac);

/* Set eth_type 0x0806 by themselves. */
void ofp_match_arp_op(struct ofp_match *m, uint16_t op);
void ofp_match_arp_spa(struct ofp_match *m, const struct addr *a);
void ofp_match_arp_tpa(struct ofp_match *m, const struct addr *a);
void ofp_match_arp_sha(struct ofp_match *m, const struct mac *mac);
void ofp_match_arp_tha(struct ofp_match *m, const struct mac *mac);

void ofp_match_reg(struct ofp_match *m, unsigned reg, uint32_t value);
void ofp_match_reg_masked(struct ofp_match *m, unsigned reg, uint32_t value, uint32_t mask);
/* Bits OFP_CS_*: `+trk+est-inv` is value TRK|EST, mask TRK|EST|INV. */
void ofp_match_ct_state(struct ofp_match *m, uint32_t value, uint32_t mask);
void ofp_match_ct_zone(struct ofp_match *m, uint16_t zone);
void ofp_match_ct_mark(struct ofp_match *m, uint32_t mark);
void ofp_match_ct_mark_masked(struct ofp_match *m, uint32_t mark, uint32_t mask);
void ofp_match_metadata(struct ofp_match *m, uint64_t value);

enum {
	OFP_CS_NEW = 1,
	OFP_CS_EST = 2,
	OFP_CS_REL = 4,
	OFP_CS_RPL = 8,
	OFP_CS_INV = 16,
	OFP_CS_TRK = 32,
	OFP_CS_SNAT = 64,
	OFP_CS_DNAT = 128,
};

enum { OFP_TCP_FIN = 1, OFP_TCP_SYN = 2, OFP_TCP_RST = 4, OFP_TCP_PSH = 8, OFP_TCP_ACK = 16 };

/* The entry, or NULL. */
const struct ofp_match_field *ofp_match_find(const struct ofp_match *m, enum ofp_field f);
/* The exact value of a field of at most eight bytes, or `fallback` when it is absent. */
uint64_t ofp_match_get(const struct ofp_match *m, enum ofp_field f, uint64_t fallback);
/* A register's bits that the match names; *ret_mask (may be NULL) says which. */
uint32_t ofp_match_get_reg(const struct ofp_match *m, unsigned reg, uint32_t *ret_mask);
bool ofp_match_equal(const struct ofp_match *a, const struct ofp_match *b);

/* Writes `struct ofp_match` with its padding (OF 1.5.1 §7.2.3.1): type 1, length without padding, fields, zeroes to 8.
 */
void ofp_match_put(struct wr *w, const struct ofp_match *m);
/* Reads one. Fails `r` on: a type other than 1, a field that does not fit, a value bit outside its mask, a field twice,
 * over OFP_MATCH_MAX. */
void ofp_match_read(struct rd *r, struct ofp_match *ret);
/* The fields alone, until `r` is empty (metadata of a packet-in). Fields that are none of ours are skipped and counted.
 */
void ofp_match_read_fields(struct rd *r, struct ofp_match *ret);

#endif
