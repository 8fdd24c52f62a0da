/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An IPv4 or IPv6 address as it stands on the wire. `len` is 4, 16, or 0 for none; bytes past `len` are zero, so memcmp
 * compares. */
struct addr {
	uint8_t len;
	uint8_t b[16];
};

struct mac {
	uint8_t b[6];
};

enum { ADDR_TEXT_MAX = 46, MAC_TEXT_MAX = 18 };

struct addr addr_v4(uint32_t host_order);
struct addr addr_v6(const uint8_t b[16]);
/* The IPv4 address in host order; 0 when `a` is not IPv4. */
uint32_t addr_to_u32(const struct addr *a);
bool addr_equal(const struct addr *a, const struct addr *b);
/* `a` lies in `net`/`prefix` of the same family. */
bool addr_in(const struct addr *a, const struct addr *net, unsigned prefix);
/* Strict text forms (inet_pton); false, with *ret untouched, otherwise. */
bool addr_parse(const char *text, struct addr *ret);
/* RFC 5952 text into `buf` (at least ADDR_TEXT_MAX); returns buf; "none" for no address. */
const char *addr_format(const struct addr *a, char *buf, size_t len);

bool mac_parse(const char *text, struct mac *ret);
const char *mac_format(const struct mac *m, char *buf, size_t len);
bool mac_equal(const struct mac *a, const struct mac *b);

#endif
