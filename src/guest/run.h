/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_RUN_H
#define GUEST_RUN_H

#include "agent/exec.h"

#include <sys/types.h>

/* The started program. With a tty, in and out are the same pty master and err is -1. Our ends are non-blocking. */
struct run {
	pid_t pid;
	int in, out, err;
};

enum { RUN_NOT_EXECUTABLE = 126, RUN_NOT_FOUND = 127 };

/* Starts the program as the user in a session of its own. 0; or the exit status 125..127 with a sentence in `reason`
 * (AGENT_REASON_MAX + 1). */
int run_start(const struct agent_exec *e, struct run *ret, char *reason) __attribute__((warn_unused_result));

#endif
