/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROLE_BOOT_H
#define ROLE_BOOT_H

#include "role/role.h"

/* A fresh role process: receives configuration and channels from main on `main_fd` (taken over) until IPC_START. */
int role_boot(enum role_id id, int main_fd, struct role *ret) __attribute__((warn_unused_result));

/* The whole life of a role process, whose channel to main is descriptor 3: names it, boots it, calls `serve`, whose 0
 * or -errno becomes the exit status. */
int role_run(enum role_id id, int (*serve)(struct role *r));

#endif
