/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DHCP6_H
#define NET_DHCP6_H

#include "base/wr.h"
#include "net/packet.h"

/* DHCPv6, the server's side for one client per port (RFC 8415): one IA_NA with one address, DNS servers (RFC 3646). No
 * relays, no prefixes. */
enum dhcp6_type {
	DHCP6_SOLICIT = 1,
	DHCP6_ADVERTISE = 2,
	DHCP6_REQUEST = 3,
	DHCP6_CONFIRM = 4,
	DHCP6_RENEW = 5,
	DHCP6_REBIND = 6,
	DHCP6_REPLY = 7,
	DHCP6_RELEASE = 8,
	DHCP6_DECLINE = 9,
	DHCP6_INFORMATION = 11
};

enum { DHCP6_DUID_MAX = 130, DHCP6_DNS_MAX = 3, DHCP6_ADDRS_MAX = 4, DHCP6_FRAME_MAX = ETH_HEADER_BYTES + 1280 };

struct dhcp6 {
	enum dhcp6_type type; /* one a client sends */
	struct mac eth_src;
	struct addr src;
	uint32_t xid;				  /* 24 bits */
	uint8_t client_duid_len, server_duid_len; /* 0: none given */
	uint8_t client_duid[DHCP6_DUID_MAX], server_duid[DHCP6_DUID_MAX];
	bool rapid; /* option 14 */
	bool has_ia;
	uint32_t iaid;			    /* of the first IA_NA; further ones are ignored */
	struct addr addrs[DHCP6_ADDRS_MAX]; /* what the client says it has or wants in it */
	unsigned n_addrs;
};

struct dhcp6_lease {
	struct mac mac;	     /* ours; the server's DUID-LL is made of it */
	struct addr src;     /* ours, link-local */
	struct addr address; /* len 0: no address is given, only DNS */
	uint32_t preferred_s, valid_s;
	struct addr dns[DHCP6_DNS_MAX];
	unsigned n_dns;
};

/* `p` describes `frame`. 0; -EPROTONOSUPPORT: not UDP to port 547 over IPv6; -EBADMSG: malformed, or what RFC 8415 §16
 * says to discard whoever the server is (no client id where one must be, a server id where none may be, sent by other
 * than link-local). */
int dhcp6_parse(const uint8_t *frame, size_t len, const struct packet *p, struct dhcp6 *ret)
	__attribute__((warn_unused_result));

/*
 * The whole answer (RFC 8415 §18.3): ADVERTISE or, with rapid commit, REPLY to SOLICIT; REPLY to the rest. 0; -ENOMSG:
 * no answer is due (another server's id; CONFIRM without addresses); -ENOSPC; -EINVAL: the lease lacks `src`.
 */
int dhcp6_answer(struct wr *w, const struct dhcp6 *request, const struct dhcp6_lease *lease)
	__attribute__((warn_unused_result));

#endif
