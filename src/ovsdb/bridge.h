/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVSDB_BRIDGE_H
#define OVSDB_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * One bridge as we want it, kept so in the Open_vSwitch database (schema: ovs-vswitchd.conf.db(5)). Pure: bytes in →
 * events, bytes out. The caller says what is wanted; whenever the replica differs and no transaction of ours is under
 * way, one transaction makes it right, guarded by `wait` on what was read. A difference that we did not ask for is a
 * foreign change: reported, then put right. Only bridges that carry external_ids:sekisho are touched.
 */
enum { BRIDGE_NAME_MAX = 16, BRIDGE_PORTS_MAX = 1100, BRIDGE_TEXT_MAX = 256 };

struct bridge_conf {
	char name[BRIDGE_NAME_MAX];
	char datapath_type[16]; /* "netdev" or "system" */
	struct mac mac;		/* of the local port and in other_config:hwaddr */
};

struct bridge_port {
	char name[BRIDGE_NAME_MAX];
	bool internal;	 /* type=internal, made by vswitchd; else an interface that exists */
	uint16_t ofport; /* requested; 0: any */
	struct mac mac;	 /* of an internal port; zero: any */
	char app[64];	 /* external_ids:sekisho-app; may be "" */
};

enum bridge_event_type {
	BRIDGE_READY,	   /* the bridge stands as wanted and vswitchd has said so; again after each reconnect */
	BRIDGE_REFUSED,	   /* `text`: it cannot be made (a bridge of that name is not ours; the server's error) */
	BRIDGE_PORT_UP,	   /* `port` has `ofport`; again whenever the number changes */
	BRIDGE_PORT_ERROR, /* `text`: vswitchd's words; the port stays wanted */
	BRIDGE_PORT_GONE,  /* a port deleted by bridge_port_del() is out of the datapath */
	BRIDGE_FOREIGN,	   /* `text`: what somebody else changed; it is being put right */
};

struct bridge_event {
	enum bridge_event_type type;
	char port[BRIDGE_NAME_MAX];
	uint16_t ofport;
	char text[BRIDGE_TEXT_MAX];
};

struct bridge;

int bridge_new(const struct bridge_conf *conf, struct bridge **ret) __attribute__((warn_unused_result));
void bridge_free(struct bridge *b);

/* A connection to the database stands: everything is read again, compared with the replica and mended. */
void bridge_connected(struct bridge *b, int64_t now_ms);
/* 0; -EPROTO, -EMSGSIZE, -ENOMEM: close the connection and connect again. */
int bridge_input(struct bridge *b, const void *bytes, size_t len, int64_t now_ms) __attribute__((warn_unused_result));
/* As ovsdb_session_output(), ovsdb_session_sent(). */
const void *bridge_output(const struct bridge *b, size_t *ret_len);
void bridge_sent(struct bridge *b, size_t len);
/* Timers: keep-alive and the pause between repairs. 0, or -ETIMEDOUT: connect again. */
int bridge_step(struct bridge *b, int64_t now_ms, int64_t *ret_deadline_ms) __attribute__((warn_unused_result));
bool bridge_next_event(struct bridge *b, struct bridge_event *ret);

/* Wanted ports (those that an earlier life of ours made for an app are kept and may be added once more, which claims
 * them); takes effect with the next transaction. -EEXIST, -ENOSPC (BRIDGE_PORTS_MAX), -EINVAL (name); -ENOENT. */
int bridge_port_add(struct bridge *b, const struct bridge_port *p, int64_t now_ms) __attribute__((warn_unused_result));
int bridge_port_del(struct bridge *b, const char *name, int64_t now_ms) __attribute__((warn_unused_result));
/* Conntrack zones that get our timeouts (UDP 30/120 s, ICMP 30 s, TCP established 24 h; tables Datapath, CT_Zone).
 * -ENOSPC, -ENOENT. */
int bridge_zone_add(struct bridge *b, uint16_t zone, int64_t now_ms) __attribute__((warn_unused_result));
int bridge_zone_del(struct bridge *b, uint16_t zone, int64_t now_ms) __attribute__((warn_unused_result));
/* Deletes the bridge and our zones (clean stop): PORT_GONE with an empty port name says that it is done. */
void bridge_remove(struct bridge *b, int64_t now_ms);

/* The number vswitchd gave the port, 0: none yet. */
uint16_t bridge_port_ofport(const struct bridge *b, const char *name);

#endif
