/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_CLIENTS_H
#define NAMES_CLIENTS_H

#include "base/addr.h"

/*
 * How many things each client holds at the moment. A client is an IPv4 address or an IPv6 /64: inside its /64 a guest
 * may take any source it likes, and must not thereby become many. At most CLIENTS_MAX different clients at once.
 */
enum { CLIENTS_MAX = 4096 };

struct clients;

/* NULL: no memory. `seed` is random: the addresses are the guests' choice. */
struct clients *clients_new(uint64_t seed);
void clients_free(struct clients *c);
/* One more for `a`, unless it holds `limit` already or there are too many clients: false. */
bool clients_take(struct clients *c, const struct addr *a, unsigned limit);
/* One less; only after a clients_take() that was true. */
void clients_drop(struct clients *c, const struct addr *a);
unsigned clients_count(const struct clients *c, const struct addr *a);

#endif
