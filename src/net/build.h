/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_BUILD_H
#define NET_BUILD_H

#include "base/wr.h"
#include "net/arp.h"
#include "net/nd.h"
#include "net/packet.h"

/*
 * Whole Ethernet frames, checksums complete, appended to `w`. All return 0; -EINVAL: no such frame may be built from
 * this (nothing written); -ENOSPC: `w` is too small (its error is set). BUILD_MAX bytes hold any of them.
 *
 * Answers go back along the MACs and addresses of `p`: a caller that saw the packet after translation, or wants other
 * MACs, changes its copy of `p` first.
 */
enum { BUILD_MAX = ETH_HEADER_BYTES + 1280 };

/* RST in answer to a segment of a connection that does not exist (RFC 9293 §3.10.7.1). -EINVAL: RST, not TCP, or not
 * unicast both ways. */
int build_tcp_reset(struct wr *w, const struct packet *p) __attribute__((warn_unused_result));
/* Ends a live connection towards the sender of `p`: RST whose sequence number is the acknowledgement number of `p`, the
 * one a receiver takes (RFC 5961 §3.2). -EINVAL also when `p` acknowledges nothing. */
int build_tcp_end(struct wr *w, const struct packet *p) __attribute__((warn_unused_result));

/* IPv4 type 3 codes 13, 1, 3 (RFC 1812 §5.2.7.1); IPv6 type 1 codes 1, 3, 4 (RFC 4443 §3.1). */
enum unreachable { UNREACHABLE_PROHIBITED, UNREACHABLE_HOST, UNREACHABLE_PORT };
/*
 * ICMP destination unreachable from `from` (the gateway; NULL: the packet's own destination), quoting as much as fits
 * into 576 or 1280 bytes. -EINVAL: what must not be answered (RFC 1122 §3.2.2, 4443 §2.4 e): ICMP errors, RST,
 * multicast, broadcast, unspecified source, later fragments.
 */
int build_unreachable(struct wr *w, const uint8_t *frame, const struct packet *p, enum unreachable why,
	const struct addr *from) __attribute__((warn_unused_result));

/* The answer to an echo request, ICMP or ICMPv6 (RFC 792, 4443 §4.2). -EINVAL: no unicast, unfragmented echo request,
 * or more than BUILD_MAX. */
int build_echo_reply(struct wr *w, const uint8_t *frame, const struct packet *p) __attribute__((warn_unused_result));

/* `mac` has request->tpa. -EINVAL: not a request. */
int build_arp_reply(struct wr *w, const struct arp *request, const struct mac *mac) __attribute__((warn_unused_result));
/* Broadcast "who has `target`, tell `src`". With src equal to target: gratuitous. With `src` 0.0.0.0: a probe. */
int build_arp_request(struct wr *w, const struct mac *mac, const struct addr *src, const struct addr *target)
	__attribute__((warn_unused_result));

/* `mac` has solicit->target (RFC 4861 §7.2.4): solicited to a source that has an address, else to all nodes. -EINVAL:
 * not an NS. */
int build_neighbor_advert(struct wr *w, const struct nd *solicit, const struct mac *mac, bool router)
	__attribute__((warn_unused_result));
/* To the solicited-node group of `target`, with our link-layer address; without it when `src` is unspecified (duplicate
 * detection). */
int build_neighbor_solicit(struct wr *w, const struct mac *mac, const struct addr *src, const struct addr *target)
	__attribute__((warn_unused_result));

enum { ROUTER_DNS_MAX = 3 };

/* RFC 4861 §4.2, §4.6, RFC 8106 §5.1. */
struct router_advert {
	struct mac mac;	     /* ours: frame source and source link-layer option */
	struct addr src;     /* link-local, ours */
	uint8_t hop_limit;   /* 0: unspecified */
	bool managed, other; /* DHCPv6 gives addresses; other things */
	uint16_t lifetime_s; /* 0: no default router */
	struct addr prefix;  /* len 0: no prefix option; bits behind prefix_len are not sent */
	uint8_t prefix_len;
	bool on_link, autonomous;
	uint32_t valid_s, preferred_s;
	uint32_t mtu; /* 0: none */
	struct addr dns[ROUTER_DNS_MAX];
	unsigned n_dns;
	uint32_t dns_lifetime_s;
};

/* To the sender of `solicit` when it has an address, else (or with NULL) to all nodes. -EINVAL: not an RS, or `src` not
 * link-local. */
int build_router_advert(struct wr *w, const struct nd *solicit, const struct router_advert *ra)
	__attribute__((warn_unused_result));

#endif
