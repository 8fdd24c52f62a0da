/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* Interfaces, addresses, routes and neighbours by rtnetlink (rtnetlink(7)), in the network namespace where link_open()
 * was called. */
enum { LINK_NAME_MAX = 16, LINK_ERROR_MAX = 256 };

struct link_sock;

struct link_info {
	int index;
	char name[LINK_NAME_MAX];
	char kind[16]; /* IFLA_INFO_KIND: "veth", "tun", "bridge", ...; "" for a real NIC */
	bool tap;      /* kind "tun" in TAP mode */
	bool up;       /* IFF_UP */
	bool carrier;  /* IFF_LOWER_UP */
	bool ethernet; /* ARPHRD_ETHER */
	bool wireless;
	int master; /* ifindex, 0: none */
	unsigned mtu;
	unsigned n_addresses; /* IPv4 and IPv6, link-local ones left out */
	struct mac mac;
};

int link_open(struct link_sock **ret) __attribute__((warn_unused_result));
void link_close(struct link_sock *s);

/* All below: 0 or negative errno (the kernel's). -ENODEV: no such interface. */
int link_get(struct link_sock *s, const char *name, struct link_info *ret) __attribute__((warn_unused_result));
int link_set_up(struct link_sock *s, const char *name, bool up) __attribute__((warn_unused_result));
int link_set_mac(struct link_sock *s, const char *name, const struct mac *mac) __attribute__((warn_unused_result));
int link_set_mtu(struct link_sock *s, const char *name, unsigned mtu) __attribute__((warn_unused_result));
/* No IPv6 address is made by the kernel (IN6_ADDR_GEN_MODE_NONE). */
int link_set_no_ipv6_auto(struct link_sock *s, const char *name) __attribute__((warn_unused_result));
/* A veth pair; `peer` is made in the namespace of `peer_netns_fd` (-1: here). */
int link_add_veth(struct link_sock *s, const char *name, const char *peer, int peer_netns_fd)
	__attribute__((warn_unused_result));
/* A persistent tap owned by `uid`, with virtio-net headers when `vnet_hdr`. */
int link_add_tap(const char *name, uint32_t uid, bool vnet_hdr) __attribute__((warn_unused_result));
int link_del(struct link_sock *s, const char *name) __attribute__((warn_unused_result));
int link_move(struct link_sock *s, const char *name, int netns_fd) __attribute__((warn_unused_result));

/* Host parts only: /32 or /128 when prefix says so; IPv6 without duplicate detection. -EEXIST is success. */
int link_add_address(struct link_sock *s, const char *name, const struct addr *a, unsigned prefix)
	__attribute__((warn_unused_result));
/* `via` and `src` may be NULL; without `via` the route is on-link. Replaces. `net` with len 4 or 16; prefix 0 is the
 * default route. */
int link_add_route(struct link_sock *s, const char *name, const struct addr *net, unsigned prefix,
	const struct addr *via, const struct addr *src) __attribute__((warn_unused_result));
/* A permanent neighbour entry. Replaces. */
int link_add_neighbour(struct link_sock *s, const char *name, const struct addr *a, const struct mac *mac)
	__attribute__((warn_unused_result));
/* A family of generic netlink exists; asking makes the kernel load the module that has it. */
bool link_has_genl_family(const char *family);
/* A default route of the family (4 or 6) in the main table that does not leave by `except` (NULL: any). */
bool link_has_default_route(struct link_sock *s, uint8_t family_len, const char *except);
/* Checksum and segmentation offload on the sending side, by ethtool's ioctl. */
int link_set_offload(const char *name, bool on) __attribute__((warn_unused_result));

/* May become the NIC of an app: veth or tap, without addresses, with no master, in no bridge. 0, or negative errno and
 * in `error` (LINK_ERROR_MAX) one sentence that names the reason. Being a port of another Open vSwitch bridge is seen
 * as master (kernel datapath) or by OVSDB later. */
int link_check_attachable(struct link_sock *s, const char *name, char *error) __attribute__((warn_unused_result));
/* May become the uplink `port:IFACE`. -EADDRINUSE: it carries the host's own addresses. */
int link_check_uplink(struct link_sock *s, const char *name, bool share, char *error)
	__attribute__((warn_unused_result));
/* Down, no IPv6 of the kernel's own, offloads as `tso` says: ready to be plugged. Up comes last, by link_set_up(). */
int link_prepare(struct link_sock *s, const char *name, bool tso) __attribute__((warn_unused_result));
/* Undoes link_prepare(): down, IPv6 as it was by default, offloads on. Ignores an interface that vanished. */
void link_release(struct link_sock *s, const char *name);

#endif
