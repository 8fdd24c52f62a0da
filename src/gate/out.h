/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_OUT_H
#define GATE_OUT_H

#include "base/wr.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What gate wants said to other roles: it has no sockets. The role process empties this after each event; the order is
 * kept. */
enum { OUT_BYTES_MAX = 16 << 20 };

struct out {
	uint8_t *buf;
	size_t start, len, cap; /* bytes start..len wait */
	bool full;		/* a message did not fit and is lost */
	bool urgent;		/* somebody waits for one of them; the others may wait a little */
};

void out_fini(struct out *o);

/* Messages to other roles, framed in one `struct out`. */
struct out_msg {
	enum role_id to;
	uint16_t type;
	uint32_t id;
	const uint8_t *body;
	size_t len;
};

void out_msg_put(struct out *o, enum role_id to, uint16_t type, uint32_t id, const void *body, size_t len);
/* The oldest message, removed; the body is valid until the next put. */
bool out_msg_next(struct out *o, struct out_msg *ret);
#define out_tell(o, to, type, id, what, msg) \
	do { \
		struct wr out_w_ = ipc_scratch(); \
		if (ipc_##what##_put(&out_w_, (msg))) \
			out_msg_put((o), (to), (type), (id), out_w_.buf, out_w_.len); \
	} while (0)

#endif
