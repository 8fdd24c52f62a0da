/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include <stdbool.h>

/* The client's end of a running program (agent/frame.h): passes stdin, stdout, stderr, window size and signals until
 * the program has ended. Takes `fd` over. Returns the program's exit status, 128 + signal, or STREAM_OURS after saying
 * why. With `tty` the terminal is raw meanwhile. */
enum { STREAM_OURS = 125 };
int stream_run(int fd, bool tty);

#endif
