/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SETUP_H
#define GUEST_SETUP_H

#include "agent/exec.h"

#include <stdbool.h>
#include <sys/types.h>

/* The steps of a booting guest, in this order. 0 or negative errno. */

/* proc, sys, dev; the modules of /mods in the order that their dependencies want. A module that is missing is none. */
int setup_early(void) __attribute__((warn_unused_result));
/* Disks, network and shares get their drivers: after exec has come. */
void setup_devices(void);
/* The host's ports are vsock's (sekisho.port=vsock), not virtio-serial's: they know no host that is away, and what was
 * written is not yet there when the machine ends. */
bool setup_over_vsock(void);
/* The value of `key` on the kernel's command line, "" when it is not there. */
void setup_word(const char *key, char *ret, size_t cap);
/* Opens the control port "sekisho.ctl" once it has appeared and the host end is connected; non-blocking. The descriptor
 * or -errno. */
int setup_control(void) __attribute__((warn_unused_result));
/* A further port, "sekisho.x0" and so on; whether anybody is at its other end is the caller's business. */
int setup_extra(unsigned n) __attribute__((warn_unused_result));
/* The root the command line names (sekisho.root=hostroot, image or none): virtiofs or erofs below, memory or ext4
 * (sekisho.layer=disk) over it, made the root of the file system. */
int setup_root(void) __attribute__((warn_unused_result));
/* What is written outlives the machine: sync() before it ends. */
bool root_keeps(void);
/* Who e->user is, of e->guest_user. -ENOENT: there is no *ret_missing. */
int setup_user(struct agent_exec *e, const char **ret_missing) __attribute__((warn_unused_result));
/* Its groups, e->gid first; returns how many, 1..cap. */
unsigned user_groups(const struct agent_exec *e, gid_t *ret, unsigned cap);
/* Clock and entropy: before anything else of this run. */
int setup_fresh(const struct agent_exec *e) __attribute__((warn_unused_result));
/* What the owner lends, each at its place; the places are the user's where they are new. */
int setup_shares(const struct agent_exec *e) __attribute__((warn_unused_result));
/* With what leads to it; the last one is the user's where it is new. */
int make_dir_of(const struct agent_exec *e, const char *dir) __attribute__((warn_unused_result));
/* Host name, resolv.conf, hosts, machine-id where there is none, the user's passwd entry and home. */
int setup_identity(const struct agent_exec *e) __attribute__((warn_unused_result));
/* eth0 by the static configuration; ipv4 and ipv6 where given. */
int setup_net(const struct agent_exec *e) __attribute__((warn_unused_result));

#endif
