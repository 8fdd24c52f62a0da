/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_FRONT_H
#define NAMES_FRONT_H

#include "dns/reply.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The front end of names.md without sockets: queries of guests that wait for gate (or, for relayed types, for the
 * resolver). A place is known by an id that the owner uses to remember where the answer goes. Bounded: FRONT_CLIENT_MAX
 * per client (names/clients.h), FRONT_MAX in all, FRONT_PATIENCE_MS each. Patience is longer than gate's own (gate
 * always answers first when it lives).
 */
enum { FRONT_MAX = 4096, FRONT_CLIENT_MAX = 256, FRONT_PATIENCE_MS = 11000 };

struct front;

/* NULL: no memory. `seed` is random, `v6_bytes` as in names/clients.h. */
struct front *front_new(uint64_t seed, unsigned v6_bytes);
void front_free(struct front *f);

enum front_take { FRONT_ASK, FRONT_REPLY, FRONT_DROP };
/* A message of `client`. ASK: send *ret_lookup to gate under *ret_id. REPLY: buf[0..*ret_len) is the answer already (an
 * error code). DROP: not a query. */
enum front_take front_query(struct front *f, const struct addr *client, bool tcp, const uint8_t *msg, size_t len,
	int64_t now_ms, uint32_t *ret_id, struct ipc_lookup *ret_lookup, uint8_t *buf, size_t cap, size_t *ret_len);
/* The answer to send for `id`, whose place is then free; 0: nothing to send (nobody waits, or the resolver will
 * answer). What the resolver says counts only after gate has said ANSWER_RELAY for this id. `cap` at least DNS_UDP_MAX.
 */
size_t front_answer(struct front *f, uint32_t id, const struct ipc_lookup_answer *a, uint8_t *buf, size_t cap);
size_t front_relayed(struct front *f, uint32_t id, const struct ipc_relayed *r, uint8_t *buf, size_t cap);
/* Ends one query that has waited too long: the SERVFAIL to send for *ret_id; 0: none is due. */
size_t front_expire(struct front *f, int64_t now_ms, uint32_t *ret_id, uint8_t *buf, size_t cap);
/* When front_expire() is due; -1: nothing waits. */
int64_t front_deadline(const struct front *f);
/* 0..FRONT_MAX-1, for tables of the owner's. */
unsigned front_place(uint32_t id);

#endif
