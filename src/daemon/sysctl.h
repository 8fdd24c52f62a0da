/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SYSCTL_H
#define DAEMON_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>

/* Values below /proc/sys/net of the current network namespace. `key` is a path like "ipv4/ip_forward". */
enum { SYSCTL_KEY_MAX = 96, SYSCTL_VALUE_MAX = 32 };

int sysctl_read(const char *key, char value[SYSCTL_VALUE_MAX]) __attribute__((warn_unused_result));
int sysctl_write(const char *key, const char *value) __attribute__((warn_unused_result));

/*
 * A record of values before we changed them: lines "KEY VALUE OURS" in a file that is on the disk before the first
 * change. Putting back writes only where the value is still the one that we wrote: what an admin changed meanwhile is
 * theirs.
 */
struct sysctl_record;

int sysctl_record_new(const char *path, struct sysctl_record **ret) __attribute__((warn_unused_result));
/* Notes `key` with its present value and the one it is to get. Nothing is changed yet. A key that does not exist is
 * left out. */
int sysctl_record_add(struct sysctl_record *r, const char *key, const char *ours) __attribute__((warn_unused_result));
/* Writes the file, then every value, in the order of adding. Frees `r` in every case. */
int sysctl_record_apply(struct sysctl_record *r) __attribute__((warn_unused_result));
/* The value a record at `path` holds from before; false when there is none of `key`. */
bool sysctl_recorded(const char *path, const char *key, char value[SYSCTL_VALUE_MAX]);
/* Puts back what the file says, the last first, and removes it. No file: nothing to do. */
void sysctl_restore(const char *path);

#endif
