/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_BOOT_H
#define DAEMON_BOOT_H

#include "daemon/role.h"

/* A fresh role process: receives configuration and channels from main on `main_fd` (taken over) until IPC_START. */
int role_boot(enum role_id id, int main_fd, struct role *ret) __attribute__((warn_unused_result));

#endif
