/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include <stdbool.h>

/* The client's end of a running program (agent/frame.h): passes stdin, stdout, stderr, window size and signals until
 * the program has ended. Takes `fd` over. Returns the program's exit status, 128 + signal, or STREAM_OURS after saying
 * why. With `tty` the terminal is raw meanwhile. */
enum { STREAM_OURS = 125 };
enum stream_kind {
	STREAM_PROGRAM, /* everything is passed on; its status is ours */
	STREAM_START,	/* until it runs: no stdin, a signal ends us */
	STREAM_CONSOLE, /* signals and Ctrl-] end us, not the program; stdin as far as credit comes */
	STREAM_OUTPUT,	/* no stdin; escaped when stdout is a terminal */
};
int stream_run(int fd, bool tty, enum stream_kind kind);

#endif
