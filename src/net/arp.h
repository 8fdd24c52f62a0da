/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ARP_H
#define NET_ARP_H

#include "net/packet.h"

enum { ARP_REQUEST = 1, ARP_REPLY = 2 };

/* ARP for IPv4 over Ethernet (RFC 826). A gratuitous one has spa equal to tpa; a probe (RFC 5227) has spa 0. */
struct arp {
	struct mac eth_src, eth_dst;
	uint16_t op; /* ARP_REQUEST or ARP_REPLY */
	struct mac sha, tha;
	struct addr spa, tpa;
};

/* 0; -EBADMSG: not exactly that, or sha differs from the frame's source or is a group address. */
int arp_parse(const uint8_t *frame, size_t len, struct arp *ret) __attribute__((warn_unused_result));

#endif
