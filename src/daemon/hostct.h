/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_HOSTCT_H
#define DAEMON_HOSTCT_H

#include "base/addr.h"

/* The host's own connection tracking, where the nat uplink's translations live on when the rules that made them are
 * gone. */

/* Forgets every connection of an address in `net`/`prefix`. 0 or negative errno. */
int hostct_forget(const struct addr *net, unsigned prefix) __attribute__((warn_unused_result));

#endif
