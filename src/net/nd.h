/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_ND_H
#define NET_ND_H

#include "net/packet.h"

enum { ND_RS = 133, ND_RA = 134, ND_NS = 135, ND_NA = 136 };

/* A neighbour or router solicitation or neighbour advertisement that passed RFC 4861 §6.1.1, §7.1.1, §7.1.2. */
struct nd {
	uint8_t type; /* ND_RS, ND_NS, ND_NA */
	struct mac eth_src, eth_dst;
	struct addr src, dst;
	struct addr target;		  /* NS, NA */
	bool router, solicited, override; /* NA */
	bool has_lla;			  /* source (RS, NS) or target (NA) link-layer address option */
	struct mac lla;
};

/*
 * `p` describes `frame`. 0; -EBADMSG: breaks the RFC (hop limit not 255, checksum, code, lengths, an option of length
 * 0, a multicast target, an unspecified source with a link-layer option, ...), or says a link-layer address twice;
 * -EPROTONOSUPPORT: not one of the three, RA included: no guest of ours may be a router. Unknown options are skipped.
 */
int nd_parse(const uint8_t *frame, size_t len, const struct packet *p, struct nd *ret)
	__attribute__((warn_unused_result));

#endif
