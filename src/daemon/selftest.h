/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SELFTEST_H
#define DAEMON_SELFTEST_H

#include "base/addr.h"
#include "daemon/ovs.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What main tries out with packets of its own, in namespaces of its own: nothing of it leaves the computer, nothing is
 * left behind. Both block: a few hundredths of a second when all is well, at most a few seconds when not.
 */
enum { SELFTEST_TEXT_MAX = 256 };

/* TCP and UDP, both ways, both families, between two veths through conntrack (`zone`) in a bridge of its own in `o`,
 * whose interfaces have offloads as `offload` says. 0, or negative errno and in `error` (SELFTEST_TEXT_MAX) what does
 * not arrive. */
int selftest_offload(const struct ovs *o, uint16_t zone, bool offload, char *error) __attribute__((warn_unused_result));

/* One packet and its answer as a guest's would be forwarded by the host: put out by the switch at the uplink's port,
 * seen in a namespace behind another interface. */
struct selftest_forward {
	const char *bridge, *port; /* "sekisho0", "sk-up0" */
	uint16_t ofport;	   /* of `port` */
	struct mac port_mac, router_mac;
	struct addr guest;	    /* a guest's address, of the family that is tried */
	struct addr host_end, peer; /* the two ends of the other interface */
};
int selftest_forward(const struct ovs *o, const struct selftest_forward *f, char *error)
	__attribute__((warn_unused_result));

#endif
