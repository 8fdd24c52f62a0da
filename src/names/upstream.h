/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_UPSTREAM_H
#define NAMES_UPSTREAM_H

#include "dns/msg.h"
#include "ipc/ipc.h"

/*
 * Answers of the network, taken apart. Only records of the question's own CNAME chain count (at most IPC_CHAIN_MAX
 * links, IPC_ADDRS_MAX addresses of a family); whatever else stands in a message is not looked at, and a message that
 * is not whole counts as a failure.
 */
enum { UPSTREAM_TTL_NEGATIVE_S = 5, UPSTREAM_TTL_RELAY_MAX_S = 300 };

/* What became of one query at the library: no answer at all, one that DNSSEC proves wrong, or a packet. */
struct upstream_result {
	bool failed, bogus;
	const uint8_t *packet;
	size_t len;
};

/* The answers for both families of one name, added up. Zero it, add each, end it; then `r` is complete. */
struct upstream_sum {
	struct ipc_resolved r;
	bool bogus, failed, nxdomain, answered;
	bool has_ttl;
};

void upstream_add(struct upstream_sum *s, const struct name *name, uint16_t qtype, const struct upstream_result *res);
/* Status: bogus beats all; an address beats a failure of the other family; a failure beats "no such name". */
void upstream_end(struct upstream_sum *s);

/* The records of the chain and of `qtype` at its end, rebuilt, as IPC_RELAYED carries them; SERVFAIL when the answer is
 * not usable. */
void upstream_relay(const struct name *name, uint16_t qtype, const struct upstream_result *res,
	struct ipc_relayed *ret);

#endif
