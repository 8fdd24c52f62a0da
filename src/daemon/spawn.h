/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SPAWN_H
#define DAEMON_SPAWN_H

#include "base/frame.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The role processes as main sees them. Each is this binary run again with --role NAME and one descriptor (3), the
 * channel to main. A role that dies is started again, at most SPAWN_BURST times in SPAWN_WINDOW_MS; its channels to the
 * peers are made anew and given to both ends.
 */
enum { SPAWN_BURST = 8, SPAWN_WINDOW_MS = 20000 };

struct child {
	pid_t pid; /* 0: not running */
	int pidfd;
	struct frame_chan *chan;
	bool ready;	 /* said IPC_READY */
	unsigned starts; /* within the window */
	int64_t window_boot_ms;
};

/* Starts one process in the role and returns its side of main. `config` is the text of IPC_CONFIG. */
int spawn_role(enum role_id role, const char *config, size_t config_len, struct child *ret)
	__attribute__((warn_unused_result));
/* Makes a channel between two running roles and gives each its end. */
int spawn_connect(struct child children[ROLE_COUNT], enum role_id a, enum role_id b)
	__attribute__((warn_unused_result));
/* Every channel of `role` to its running peers. */
int spawn_connect_all(struct child children[ROLE_COUNT], enum role_id role) __attribute__((warn_unused_result));
/* May it be started once more now? Counts the start. */
bool spawn_may_start(struct child *c, int64_t now_ms);
/* Closes what main holds of a child that has been reaped. */
void spawn_forget(struct child *c);

#endif
