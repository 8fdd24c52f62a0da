/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_OUT_H
#define GATE_OUT_H

#include "base/wr.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What gate wants sent: it has no sockets. The role process empties these after each event. Bytes for OpenFlow keep
 * their order within one connection; messages keep theirs within one peer.
 */
enum { OUT_BYTES_MAX = 16 << 20 };

struct out {
	uint8_t *buf;
	size_t start, len, cap; /* bytes start..len wait */
	bool full;		/* something did not fit: the connection must be closed and made anew */
};

void out_fini(struct out *o);
/* A place for `len` bytes, which out_commit() then adds. NULL when OUT_BYTES_MAX is reached (and o->full set). */
uint8_t *out_reserve(struct out *o, size_t len);
void out_commit(struct out *o, size_t len);
void out_put(struct out *o, const void *p, size_t len);
/* The bytes that wait; *ret_len 0: none. */
const uint8_t *out_peek(const struct out *o, size_t *ret_len);
void out_taken(struct out *o, size_t len);
void out_clear(struct out *o);

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
