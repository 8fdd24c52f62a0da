/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FRAME_H
#define BASE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Messages between roles over one SOCK_SEQPACKET pair: a datagram is a message, a header of type u16, zero u16, id u32,
 * then the body; up to FRAME_FDS_MAX descriptors ride along. Sending never blocks: what the kernel does not take now
 * waits in a bounded queue.
 */
enum { FRAME_BODY_MAX = 65536, FRAME_FDS_MAX = 16, FRAME_QUEUE_MAX = 4096 };

struct frame {
	uint16_t type;
	uint32_t id;	     /* request number chosen by the sender, repeated in the answer; 0: none */
	const uint8_t *body; /* valid until the next frame_recv() on the channel */
	size_t len;
	int fds[FRAME_FDS_MAX]; /* owned by the receiver: frame_close_fds(), or taken by setting -1 */
	unsigned n_fds;
};

struct frame_chan;

/* A connected pair, close-on-exec and non-blocking, with room for a full message. */
int frame_pair(int ret[2]) __attribute__((warn_unused_result));
/* Takes ownership of `fd` on success. */
int frame_chan_new(int fd, struct frame_chan **ret) __attribute__((warn_unused_result));
void frame_chan_free(struct frame_chan *c);
int frame_chan_fd(const struct frame_chan *c);
/* Queues or sends; the body is copied, the descriptors duplicated when they have to wait. -EMSGSIZE, -ENOBUFS (queue
 * full), -EPIPE. */
int frame_send(struct frame_chan *c, uint16_t type, uint32_t id, const void *body, size_t len, const int *fds,
	unsigned n_fds) __attribute__((warn_unused_result));
/* 1: *ret holds a message; 0: none now; -EPIPE: the peer is gone; -EPROTO: not a frame. */
int frame_recv(struct frame_chan *c, struct frame *ret) __attribute__((warn_unused_result));
void frame_close_fds(struct frame *f);
/* Something waits: watch the fd for EPOLLOUT and call frame_flush(). */
bool frame_pending(const struct frame_chan *c);
int frame_flush(struct frame_chan *c) __attribute__((warn_unused_result));

#endif
