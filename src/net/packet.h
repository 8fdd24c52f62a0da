/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_PACKET_H
#define NET_PACKET_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One Ethernet frame, checked whole and then described: after packet_parse() says 0, every offset below lies inside the
 * frame and every header between them is complete. The frame itself is not kept; functions that take both want the
 * frame the description came from.
 */
enum { ETH_ADDR_BYTES = 6, ETH_HEADER_BYTES = 14, PACKET_MAX = 65535 + ETH_HEADER_BYTES, IPV6_EXT_MAX = 8 };

enum packet_kind { PACKET_ARP = 1, PACKET_IPV4, PACKET_IPV6 };

enum {
	IP_HOPOPTS = 0,
	IP_ICMP = 1,
	IP_TCP = 6,
	IP_UDP = 17,
	IP_ROUTING = 43,
	IP_FRAGMENT = 44,
	IP_ESP = 50,
	IP_AH = 51,
	IP_ICMP6 = 58,
	IP_NONE = 59,
	IP_DSTOPTS = 60,
	IP_SCTP = 132
};

enum { TCP_FIN = 0x01, TCP_SYN = 0x02, TCP_RST = 0x04, TCP_PSH = 0x08, TCP_ACK = 0x10, TCP_URG = 0x20 };

struct packet {
	enum packet_kind kind;
	struct mac eth_src, eth_dst;
	struct addr src, dst; /* ARP: sender's and target's protocol address */
	uint8_t proto;	      /* after all extension headers; for an atomic or first fragment too; 0 for ARP */
	uint8_t ttl;	      /* hop limit */
	bool options;	      /* IPv4 options or IPv6 extension headers other than Fragment stand before l4 */
	bool fragment;	      /* any fragment, an IPv6 atomic one too */
	bool more_fragments;  /* others follow: the L4 payload is not whole */
	bool later_fragment;  /* offset is not 0: there is no L4 header */
	bool has_l4; /* proto is TCP, UDP, SCTP, ICMP or ICMPv6 of the right family, and the fields below are filled */
	uint16_t sport, dport; /* TCP, UDP, SCTP */
	uint8_t icmp_type, icmp_code;
	uint16_t icmp_id; /* echo request and reply (v4 also timestamp); else 0 */
	bool icmp_error;  /* RFC 1122 §3.2.2, RFC 4443 §2.1: must never be answered with an ICMP error */
	uint8_t tcp_flags;
	uint32_t tcp_seq, tcp_ack;
	/* Bytes from the start of the frame. Without has_l4, payload equals l4. ARP: l3 only, l4 = payload = len. */
	uint32_t l3, l4, payload;
	uint32_t len; /* of the frame without Ethernet padding: payload bytes are len - payload */
};

/*
 * 0; -EBADMSG: malformed (a length that lies, a truncated or unknown extension chain, a bad IPv4 header checksum,
 * source routing: IPv4 LSRR/SSRR or an IPv6 routing header with segments left, a jumbogram, a first fragment too short
 * for its L4 header); -EPROTONOSUPPORT: not Ethernet II with ARP, IPv4 or IPv6, a VLAN tag included. Addresses are not
 * judged. L4 checksums are not verified, since frames from the switch may carry partial ones (switch.md 9). Ethernet
 * padding after the datagram is tolerated. RFC 791 §3.1, 8200 §4, 9293 §3.1, 768, 9260 §3, 792, 4443, 826.
 */
int packet_parse(const uint8_t *frame, size_t len, struct packet *ret) __attribute__((warn_unused_result));

/* The bytes behind the L4 header. */
static inline uint32_t packet_payload_len(const struct packet *p)
{
	return p->len - p->payload;
}

/* 224.0.0.0/4, 255.255.255.255, ff00::/8 (a subnet's own broadcast cannot be seen here). */
bool addr_is_multicast(const struct addr *a);
/* 0.0.0.0, ::, or no address. */
bool addr_is_unspecified(const struct addr *a);
/* fe80::/10. */
bool addr_is_link_local6(const struct addr *a);
/* The group bit: multicast and broadcast. */
bool mac_is_group(const struct mac *m);

#endif
