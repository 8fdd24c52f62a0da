/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_NAMES_WORLD_H
#define TEST_NAMES_WORLD_H

#include "daemon/roles.h"

#include <sys/types.h>

/*
 * A role process of the real daemon, confined as always, with this test as main and as every peer, inside a network
 * namespace that holds nothing but loopback.
 */
struct world {
	pid_t role, nsd;
	struct frame_chan *chan[ROLE_COUNT];
	char dir[64];
};

/* False: no root here, the test cannot be done. Enters the namespace. */
bool world_enter(struct world *w);
/* Starts nsd on 127.0.0.1:5300 with the zone of world.c and waits until it answers. False: no nsd installed. */
bool world_nsd(struct world *w);
/* Starts `id` with "key = value" lines; `fds` go along as IPC_SOCKETS. Returns when it is ready. */
void world_start(struct world *w, enum role_id id, const char *settings, const int *fds, unsigned n_fds);
/* The next frame from the role as the peer `peer`; fails the test after `patience_ms`. */
struct frame world_recv(struct world *w, enum role_id peer, int patience_ms);
/* Queries that nsd has answered since it began, or -1. */
long world_queries(struct world *w);
/* Stops the role in order; its exit status, or 128 + signal. */
int world_stop(struct world *w);
void world_leave(struct world *w);

#endif
