/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SETUP_H
#define DAEMON_SETUP_H

#include "role/conf.h"

#include <stdbool.h>

/* What main does to the file system before it starts anything. Every function: 0, or negative errno after one line in
 * the log that says what to do. */

/* Reads and checks a configuration file; a missing default file means the defaults. */
int setup_conf(const char *path, bool is_default, struct conf *ret) __attribute__((warn_unused_result));
/* Makes run_dir (0755), run_dir/empty (0555) state_dir (0755) and state_dir/store (0700, desk's root), and takes the
 * lock of run_dir: one daemon at a time. */
int setup_dirs(const struct conf *c, int *ret_lock_fd) __attribute__((warn_unused_result));
/* The control socket run_dir/api: 0666, listening, non-blocking. Refuses a path that is no socket. */
int setup_api(const struct conf *c, int *ret_fd) __attribute__((warn_unused_result));
/* Takes away what the two above made below run_dir. */
void setup_undo(const struct conf *c);

/* A program of ours: in a build tree it lies in one of `beside`, from sekishod's own directory, else where it is
 * installed. Returns `buf` (at least 320 bytes) or `installed`. */
const char *setup_program(const char *const *beside, unsigned n, const char *installed, char *buf, size_t cap);

#endif
