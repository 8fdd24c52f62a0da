/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_PROGRAM_H
#define DAEMON_PROGRAM_H

#include <stddef.h>

/* Runs a program found in PATH or the sbin folders to its end, with signals unblocked, standard input from `input`
 * (NULL: none) and `env` ("K=V", NULL-ended, may be NULL) added. 0: it ended with status 0; its exit status (1..255;
 * 127: not found); or negative errno. What it wrote to its standard error is cut to `error_len` bytes in `error` (may
 * be NULL). */
int program_run(const char *const *argv, const char *const *env, const char *input, char *error, size_t error_len)
	__attribute__((warn_unused_result));

#endif
