/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NET_CHECKSUM_H
#define NET_CHECKSUM_H

#include "net/packet.h"

/* RFC 1071: a running sum over 16-bit words; an odd last byte counts as the high one, so only the last piece may be
 * odd. */
uint32_t checksum_add(uint32_t sum, const void *buf, size_t len);
/* The pseudo header of RFC 793/8200 §8.1 for `len` bytes of `proto`. */
uint32_t checksum_pseudo(const struct addr *src, const struct addr *dst, uint8_t proto, uint32_t len);
/* Folded and complemented: the value to store in the header (whose field counted as 0); over a valid block 0. */
uint16_t checksum_fold(uint32_t sum);
/* CRC32c as SCTP puts it on the wire, field zeroed first (RFC 9260 §6.8, appendix A). */
uint32_t checksum_crc32c(const void *buf, size_t len);

/*
 * Recomputes the TCP, UDP, ICMP, ICMPv6 or SCTP checksum of the frame `p` describes, in place. A UDP/IPv4 checksum of 0
 * (none) stays 0. 0; -EOPNOTSUPP, nothing changed: no such header, or a fragment, whose checksum covers bytes that are
 * not here.
 */
int packet_fix_l4_checksum(uint8_t *frame, size_t len, const struct packet *p) __attribute__((warn_unused_result));
/* The L4 checksum is right (UDP/IPv4: right or absent); false when it cannot be known. */
bool packet_l4_checksum_ok(const uint8_t *frame, size_t len, const struct packet *p);

#endif
