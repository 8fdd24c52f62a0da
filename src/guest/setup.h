/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_SETUP_H
#define GUEST_SETUP_H

#include "agent/exec.h"

#include <stdbool.h>

/* The steps of a booting guest, in this order. 0 or negative errno. */

/* proc, sys, dev; the modules of /mods in the order that their dependencies want. A module that is missing is none. */
int setup_early(void) __attribute__((warn_unused_result));
/* Opens the control port "sekisho.ctl" once it has appeared and the host end is connected; non-blocking. The descriptor
 * or -errno. */
int setup_control(void) __attribute__((warn_unused_result));
/* The root the command line names (sekisho.root=hostroot, or none): virtiofs below, tmpfs over it, made the root of the
 * file system. */
int setup_root(void) __attribute__((warn_unused_result));
/* Clock, entropy, host name, resolv.conf, hosts, the user's passwd entry and home. */
int setup_identity(const struct agent_exec *e) __attribute__((warn_unused_result));
/* eth0 by the static configuration; ipv4 and ipv6 where given. */
int setup_net(const struct agent_exec *e) __attribute__((warn_unused_result));

#endif
