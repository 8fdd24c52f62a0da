/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_IDS_H
#define IMAGE_IDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { IDS = 65536 };

/* The first range of at least IDS - 1 ids in a file like /etc/subuid ("NAME|UID:FIRST:COUNT" lines) that is `name`'s or
 * `uid`'s. */
bool ids_range(FILE *f, const char *name, uid_t uid, uint32_t *ret_first);
/* Maps 0 of a user namespace to the caller and, with *ret_all, 1..65535 to ids that are his. */
int ids_map(pid_t pid, bool *ret_all) __attribute__((warn_unused_result));

#endif
