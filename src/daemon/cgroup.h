/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CGROUP_H
#define DAEMON_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * A cgroup of its own for each VM, below main's (cgroup v2, where main may make one: a unit with Delegate=yes, or a
 * host without systemd). Controllers that the new group has set limits; one with processes beside it has none, since
 * the kernel allows controllers at the leaves alone, and then the group only holds the VM together.
 */
enum { CGROUP_PATH_MAX = 256 };

struct cgroup_limits {
	unsigned memory_mib, cpus, pids;
};

/* Makes a group and moves the processes into it; pid 0 is none. `ret` is its path, "" on error. */
int cgroup_make(const struct cgroup_limits *l, const pid_t *pids, size_t n, char ret[CGROUP_PATH_MAX])
	__attribute__((warn_unused_result));
/* Kills what is left in it and takes it away; "" is none. */
void cgroup_remove(const char *path);
/* Takes away groups of VMs that hold nothing any more: a main that was killed left them. */
void cgroup_sweep(void);
/* 0, or why no group can be made. */
int cgroup_try(bool *ret_limits) __attribute__((warn_unused_result));

#endif
