/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROLE_BOOT_H
#define ROLE_BOOT_H

#include "role/role.h"

/* A fresh role process: receives configuration and channels from main on `main_fd` (taken over) until IPC_START. */
int role_boot(enum role_id id, int main_fd, struct role *ret) __attribute__((warn_unused_result));

#endif
