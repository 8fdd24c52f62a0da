/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROLE_ROLE_H
#define ROLE_ROLE_H

#include "base/frame.h"
#include "base/loop.h"
#include "ipc/ipc.h"
#include "role/conf.h"

#include <stdbool.h>

/*
 * What every role process shares: the channel to main, the channels to its peers, the loop, the configuration.
 * Life of a role: X_main() is called with the configuration and first channels received; it takes what it needs
 * (sockets from main by IPC_SOCKETS), calls role_confine(), then role_ready(), then serves: loop_next() and one switch.
 * Loop types 0..ROLE_COUNT-1 are the channels, with index = role_id (main's channel is type ROLE_MAIN); a role's own
 * types start at ROLE_COUNT.
 */
struct role {
	enum role_id id;
	struct loop *loop;
	struct conf conf;
	struct frame_chan
		*chan[ROLE_COUNT]; /* NULL: not connected (yet, or the peer died and main has not replaced it) */
	bool stopping;		   /* IPC_STOP came, or main is gone */
};

/* Handles readiness of a channel: flushes, receives one frame at a time. 1: *ret_from and *ret hold a message that is
 * the role's to handle (its fds too); 0: nothing more now. IPC_CHANNEL, IPC_CONFIG, IPC_STOP and a peer's death are
 * handled inside; a (re)connected peer is told as a frame of type IPC_CHANNEL with ret->id = 0 from that peer, so that
 * the role can send its state again. */
int role_recv(struct role *r, const struct loop_event *ev, enum role_id *ret_from, struct frame *ret);

/* As frame_send/ipc_send, keeping EPOLLOUT right; a message for a peer that is away is dropped and false returned. */
bool role_send(struct role *r, enum role_id to, uint16_t type, uint32_t id, const void *body, size_t len,
	const int *fds, unsigned n_fds);
#define role_send_msg(r, to, type, id, what, msg, fds, n_fds) \
	({ \
		struct wr role_w_ = ipc_scratch(); \
		ipc_##what##_put(&role_w_, (msg)) && \
			role_send((r), (to), (type), (id), role_w_.buf, role_w_.len, (fds), (n_fds)); \
	})
bool role_result(struct role *r, enum role_id to, uint32_t id, int err, uint32_t value, const char *text);

/* What a confined role keeps: an uid of its own (uid_base + role), an empty root (or `root_dir`, NULL: an empty
 * directory), no new privileges, no capabilities, and a system-call filter: the common calls of an epoll loop plus
 * those named in `extra` (NULL-ended). 0 or -errno, said in the log. */
struct role_confine {
	const char *root_dir;
	const char *const *extra;
	bool keep_network_namespace; /* else an empty one is entered */
	bool fork; /* may make another of itself, and what fd_close_aside() makes; nothing else that clone() can */
	bool inet_sockets; /* may make sockets: IPv4 and IPv6, datagram and stream, nothing else */
};
int role_confine(struct role *r, const struct role_confine *c) __attribute__((warn_unused_result));
/* Tells main that the role serves. */
void role_ready(struct role *r);

#endif
