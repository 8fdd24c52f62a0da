/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_UPSTREAM_H
#define NAMES_UPSTREAM_H

#include "dns/msg.h"
#include "ipc/ipc.h"

/*
 * An answer of the network, taken apart. Only records of the question's own CNAME chain count (at most IPC_CHAIN_MAX links, IPC_ADDRS_MAX addresses);
 * whatever else stands in a message is not looked at.
 */

/* Adds the addresses of `packet` (asked: `name`, type A or AAAA) to *io: chain once, addresses of its family, the least TTL. */
void upstream_addresses(const struct name *name, uint16_t qtype, const uint8_t *packet, size_t len, struct ipc_resolved *io);
/* The records of the chain and of `qtype` at its end, as IPC_RELAYED carries them. */
void upstream_relay(const struct name *name, uint16_t qtype, const uint8_t *packet, size_t len, struct ipc_relayed *ret);
/* "ADDR[@PORT]" of the resolver key; *ret is libunbound's form "ADDR@PORT" (at least 80 bytes). */
bool upstream_server(const char *text, size_t len, char *ret, size_t cap);

#endif
