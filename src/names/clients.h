/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_CLIENTS_H
#define NAMES_CLIENTS_H

#include "base/addr.h"

/*
 * How many things each client holds at the moment. A client is an IPv4 address or the first `v6_bytes` of an IPv6 one:
 * 8 where each guest has a /64 and may take any source inside, without thereby becoming many; 16 on a LAN, whose /64
 * the guests share. At most CLIENTS_MAX different clients at once.
 */
enum { CLIENTS_MAX = 4096 };

struct clients;

/* NULL: no memory. `seed` is random: the addresses are the guests' choice. */
struct clients *clients_new(uint64_t seed, unsigned v6_bytes);
void clients_free(struct clients *c);
/* One more for `a`, unless it holds `limit` already or there are too many clients: false. */
bool clients_take(struct clients *c, const struct addr *a, unsigned limit);
/* One less; only after a clients_take() that was true. */
void clients_drop(struct clients *c, const struct addr *a);
unsigned clients_count(const struct clients *c, const struct addr *a);

#endif
