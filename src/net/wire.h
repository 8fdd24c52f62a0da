/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_WIRE_H
#define NET_WIRE_H

#include "base/addr.h"
#include "base/rd.h"
#include "base/wr.h"
#include "net/packet.h"

/* Numbers of the formats and small readers and writers shared by the files of net/; not for other folders. */
enum { ETHERTYPE_IPV4 = 0x0800, ETHERTYPE_ARP = 0x0806, ETHERTYPE_IPV6 = 0x86dd };
enum {
	ARP_BYTES = 28,
	IPV4_HEADER_BYTES = 20,
	IPV6_HEADER_BYTES = 40,
	TCP_HEADER_BYTES = 20,
	UDP_HEADER_BYTES = 8,
	ICMP_HEADER_BYTES = 8
};
enum { ICMP4_ECHO_REPLY = 0, ICMP4_UNREACHABLE = 3, ICMP4_ECHO_REQUEST = 8 };
enum { ICMP6_UNREACHABLE = 1, ICMP6_ECHO_REQUEST = 128, ICMP6_ECHO_REPLY = 129 };

struct mac wire_mac(struct rd *r);
struct addr wire_addr4(struct rd *r);
struct addr wire_addr6(struct rd *r);

void wire_put_mac(struct wr *w, const struct mac *m);
/* All bytes of the address, in whichever family. */
void wire_put_addr(struct wr *w, const struct addr *a);
struct addr wire_all_nodes(void);
/* 33:33 and the last four bytes (RFC 2464 §7). */
struct mac wire_multicast_mac6(const struct addr *a);

/*
 * A frame being written: wire_begin() writes Ethernet and IP headers from `f`, wire_end() fills in lengths and
 * checksums. -EINVAL when the addresses are not of one family; -ENOSPC when `w` was too small.
 */
struct wire_frame {
	struct mac eth_src, eth_dst;
	struct addr src, dst;
	uint8_t proto, ttl;
};
int wire_begin(struct wr *w, const struct wire_frame *f, size_t *ret_start) __attribute__((warn_unused_result));
int wire_end(struct wr *w, size_t start) __attribute__((warn_unused_result));

#endif
