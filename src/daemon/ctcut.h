/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CTCUT_H
#define DAEMON_CTCUT_H

#include "daemon/unixctl.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What switchd asks of vswitchd's control socket, and what each answer means. Answers come in the order of the
 * questions, so a queue of jobs runs beside that of unixctl. Knows the zones' limits, which a restarted vswitchd has
 * forgotten.
 */
enum { CTCUT_ZONES_MAX = 2100 };

struct ctcut;

/* A job of a peer's that ended: `id` is what was given with it. */
struct ctcut_done {
	uint32_t id;
	int err; /* 0, -EIO (vswitchd refused; `text`) */
	unsigned n_flushed;
	char text[160];
};

/* `datapath`: "netdev@ovs-netdev" or "system@ovs-system", not copied. */
int ctcut_new(const char *datapath, struct ctcut **ret) __attribute__((warn_unused_result));
void ctcut_free(struct ctcut *c);
/* A connection stands (`u` stays the caller's until ctcut_lost()): all limits are set again. */
void ctcut_connected(struct ctcut *c, struct unixctl *u);
/* The connection is gone; jobs under way end with -EPIPE, told by ctcut_next(). */
void ctcut_lost(struct ctcut *c);
/* Flushes the zone unless its entries stay, and sets its limit; limit 0 takes the limit away. -ENOSPC, -ENOBUFS.
 * Without a connection the limit is kept for the next. */
int ctcut_zone(struct ctcut *c, const struct ipc_zone *z, uint32_t id) __attribute__((warn_unused_result));
/* Flushes every entry of `mark` in `zone`, each by its full 5-tuple: OVS 3.1 has no flush by mark. -ENOTCONN, -ENOBUFS.
 * With id 0, which is told to nobody, those of one zone share a dump: an app whose grants end faster than dumps are
 * made must not take vswitchd from the others. */
int ctcut_cut(struct ctcut *c, uint16_t zone, uint32_t mark, uint32_t id) __attribute__((warn_unused_result));
/* Takes out what the datapath forwards by itself; vswitchd fills it again from its tables. */
int ctcut_forget_megaflows(struct ctcut *c) __attribute__((warn_unused_result));
int ctcut_heartbeat(struct ctcut *c) __attribute__((warn_unused_result));
/* Takes the answers that have arrived; true: *ret holds an ended job, call again. */
bool ctcut_next(struct ctcut *c, struct ctcut_done *ret);

#endif
