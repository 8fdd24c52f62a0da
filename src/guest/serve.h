/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SERVE_H
#define GUEST_SERVE_H

#include "agent/exec.h"

/* The control port's two jobs. `fd` is the non-blocking port. */

/* Says hello and waits for exec; -EPROTO, -EPIPE (the host has gone). */
int serve_greet(int fd, struct agent_exec *ret) __attribute__((warn_unused_result));
/* Sends the exit frame and returns when the host has taken every byte. */
void serve_exit(int fd, uint8_t status, uint8_t signal, const char *reason);
/* Runs the program to its end, relaying its streams to one keeper after another; then sends exit. Returns when the host
 * leaves it at that. */
void serve_run(int fd, const struct agent_exec *e);
/* Runs programs in the guest of `e`, one session on this port after the other; never returns. */
_Noreturn void serve_extra(int fd, const struct agent_exec *e);

#endif
