/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_DHCP_H
#define NET_DHCP_H

#include "base/wr.h"
#include "net/packet.h"

/* DHCPv4, the server's side for one client per port (RFC 2131, 2132; option 121: RFC 3442). No relays. */
enum dhcp_type {
	DHCP_DISCOVER = 1,
	DHCP_OFFER = 2,
	DHCP_REQUEST = 3,
	DHCP_DECLINE = 4,
	DHCP_ACK = 5,
	DHCP_NAK = 6,
	DHCP_RELEASE = 7,
	DHCP_INFORM = 8
};

enum { DHCP_CLIENT_ID_MAX = 64, DHCP_DNS_MAX = 3, DHCP_FRAME_MAX = ETH_HEADER_BYTES + 576 };

struct dhcp {
	enum dhcp_type type; /* DISCOVER, REQUEST, DECLINE, RELEASE or INFORM */
	struct mac eth_src;
	struct mac chaddr;
	uint32_t xid;
	bool broadcast;
	bool rapid;	       /* option 80, RFC 4039: DISCOVER may be answered by ACK */
	struct addr ciaddr;    /* len 0: 0.0.0.0 */
	struct addr requested; /* option 50; len 0: none */
	struct addr server;    /* option 54; len 0: none */
	uint8_t client_id_len;
	uint8_t client_id[DHCP_CLIENT_ID_MAX]; /* option 61, to be repeated (RFC 6842); longer ones are refused */
};

/* What one client gets. */
struct dhcp_lease {
	struct mac mac;	    /* ours */
	struct addr server; /* ours: IP source and server identifier */
	struct addr address;
	uint8_t prefix_len;
	struct addr router; /* outside address/prefix_len: told as on-link by option 121; len 0: none */
	struct addr dns[DHCP_DNS_MAX];
	unsigned n_dns;
	uint32_t lease_s;
	uint16_t mtu; /* 0: not told */
};

/* `p` describes `frame`. 0; -EPROTONOSUPPORT: not UDP 68 → 67; -EBADMSG: malformed, relayed, or not a client's message.
 * The UDP checksum is not looked at (partial checksums). */
int dhcp_parse(const uint8_t *frame, size_t len, const struct packet *p, struct dhcp *ret)
	__attribute__((warn_unused_result));

/*
 * The whole answer a server with just this lease gives (RFC 2131 §4.3): OFFER to DISCOVER, ACK or NAK to REQUEST, ACK
 * without address to INFORM. 0; -ENOMSG: no answer is due (another server was chosen, DECLINE, RELEASE); -ENOSPC;
 * -EINVAL: a lease without address or server.
 */
int dhcp_answer(struct wr *w, const struct dhcp *request, const struct dhcp_lease *lease)
	__attribute__((warn_unused_result));
/* The same with the type (OFFER, ACK, NAK) already decided. */
int dhcp_build(struct wr *w, enum dhcp_type type, const struct dhcp *request, const struct dhcp_lease *lease)
	__attribute__((warn_unused_result));

#endif
