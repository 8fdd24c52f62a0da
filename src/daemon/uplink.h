/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_UPLINK_H
#define DAEMON_UPLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "daemon/link.h"

/*
 * What the host needs besides the bridge. Everything is recorded in RUN_DIR/uplink.state before it is done, so that the
 * next start can put back what a crash left. Nothing of others is touched: our nft table is `inet sekisho`, sysctls are
 * remembered and put back.
 */
enum { UPLINK_ERROR_MAX = 256 };

struct uplink_net {
	struct addr net; /* e.g. 100.64.0.0 */
	unsigned prefix;
	struct addr gateway;  /* the host's address on the port, as /32 or /128 */
	struct addr next_hop; /* the one neighbour by which all guests are reached; never a guest's */
};

struct uplink_conf {
	const char *run_dir;
	char port[LINK_NAME_MAX]; /* the internal port, e.g. "sk-up0" */
	struct uplink_net v4, v6; /* v6.net.len == 0: no IPv6 */
	struct mac next_hop_mac;  /* the permanent neighbour's: the bridge side of the port */
	bool tso;
};

/* The `nat` uplink on a port that exists. Idempotent: called again when vswitchd made the port anew (its addresses went
 * with it). 0, or negative errno and a sentence in `error` (UPLINK_ERROR_MAX). */
int uplink_nat_up(const struct uplink_conf *conf, char *error) __attribute__((warn_unused_result));
/* Takes everything back; also what an earlier run recorded in `run_dir`. Safe to call at any time. 0, or negative errno
 * and a sentence in `error`. */
int uplink_nat_down(const struct uplink_conf *conf, char *error) __attribute__((warn_unused_result));

/* The uplink `port:IFACE`: checks, prepares and raises the NIC before switchd makes it a port; notes in RUN_DIR whether
 * it was up. A NIC that carries the host's addresses is refused (-EADDRINUSE); moving them (`uplink_host = share`) is
 * -EOPNOTSUPP. uplink_port_down() puts it back as it was, also after a crash. */
int uplink_port_up(const char *run_dir, const char *ifname, bool share, bool tso, char *error)
	__attribute__((warn_unused_result));
void uplink_port_down(const char *run_dir);

/* Inbound forwards (`allow APP from … port N/tcp`): replaces the whole set, at most UPLINK_FORWARDS_MAX. */
enum { UPLINK_FORWARDS_MAX = 64 };
struct uplink_forward {
	uint8_t protocol; /* 6, 17 */
	uint16_t port;
	struct addr guest4, guest6; /* len 0: not in that family */
};
/* A socket of the host's own holds this port (listening, or bound in UDP): a forward would take it away from it. */
bool uplink_port_held(uint8_t protocol, uint16_t port);
int uplink_set_forwards(const struct uplink_conf *conf, const struct uplink_forward *f, unsigned n, char *error)
	__attribute__((warn_unused_result));

/*
 * The namespace of the `names` role: holds one end of a veth whose other end, `port`, is a port of the bridge; address,
 * one next hop, default route, and four sockets bound to port 53. The namespace lives as long as the sockets (and the
 * fd) do, and the veth with it.
 */
struct uplink_names_conf {
	char port[LINK_NAME_MAX]; /* the bridge's end, e.g. "sk-nm0" */
	struct mac mac;		  /* of the inner end */
	struct addr addr4, addr6; /* US in switch.md: where guests' queries are sent */
	struct addr next_hop4, next_hop6;
	struct mac next_hop_mac;
	bool tso;
};

enum { UPLINK_NAMES_UDP4, UPLINK_NAMES_UDP6, UPLINK_NAMES_TCP4, UPLINK_NAMES_TCP6, UPLINK_NAMES_FDS };

/* fds: non-blocking, close-on-exec; UDP with IP_PKTINFO/IPV6_RECVPKTINFO, TCP listening. *ret_netns_fd keeps the
 * namespace. */
int uplink_names_up(const struct uplink_names_conf *conf, int ret_fds[UPLINK_NAMES_FDS], int *ret_netns_fd, char *error)
	__attribute__((warn_unused_result));
/* Deletes the veth; the fds are the caller's to close. */
void uplink_names_down(const struct uplink_names_conf *conf);

#endif
