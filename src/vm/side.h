/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_SIDE_H
#define VM_SIDE_H

#include "agent/frame.h"
#include "base/wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One side of a relay: the decoder of what comes from it, the queue of bytes that go to it. `queue` has VM_QUEUE_CAP
 * bytes and is the caller's. */
enum { VM_QUEUE_CAP = 2 << 20 };
struct vm_side {
	struct agent_in in;
	size_t head, len;	  /* of queue */
	size_t data_at, data_len; /* the queue's last frame, when it is one of data; len 0: it is not */
	enum agent_stream data_of;
	uint8_t *queue;
};

/* To be filled with frames and given back; false: there was no room for all of it, and nothing of it is queued. */
struct wr vm_side_begin(struct vm_side *s);
bool vm_side_end(struct vm_side *s, const struct wr *w);
bool vm_side_frame(struct vm_side *s, const struct agent_frame *f);
/* The same for data, which becomes part of the frame before it where that is of its stream and not yet written. */
bool vm_side_data(struct vm_side *s, const struct agent_frame *f);
/* Writes to the socket what it takes. False: the peer is gone, or fd is -1. */
bool vm_side_flush(struct vm_side *s, int fd);
/* Nothing half read, nothing to be written: its peer is another one now, or none. */
void vm_side_forget(struct vm_side *s);

#endif
