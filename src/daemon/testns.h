/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_TESTNS_H
#define DAEMON_TESTNS_H

#include "daemon/link.h"

/*
 * A network namespace that lives as long as the sockets made in it, for packets of our own: it holds `lo` and
 * TESTNS_LINK, the inner end of a veth whose outer end `port` is where we are now.
 */
#define TESTNS_LINK "st"

/* Both ends up, without IPv6 addresses of the kernel's making, offloads as said. `inside` runs in the namespace and
 * gives it addresses and opens sockets. 0 or negative errno; what was made goes with link_del(outside, port). */
typedef int testns_inside(struct link_sock *s, void *arg);
int testns_make(struct link_sock *outside, const char *port, bool offload, testns_inside *inside, void *arg)
	__attribute__((warn_unused_result));

#endif
