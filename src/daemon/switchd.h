/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SWITCHD_H
#define DAEMON_SWITCHD_H

#include "base/log.h"
#include "daemon/ctcut.h"
#include "daemon/link.h"
#include "ovsdb/bridge.h"
#include "role/role.h"

#include <stdint.h>

/* The state of the role switchd, shared by switchd.c (wiring), switchd_db.c (the database), switchd_ctl.c (vswitchd's
 * control socket) and switchd_ports.c (the apps' ports). */

enum { EVENT_DB = ROLE_COUNT, EVENT_CTL };
enum { SWITCHD_BEAT_MS = 1000, SWITCHD_WAITS_MAX = 1200, UPLINK_OFPORT = 60001, NAMES_OFPORT = 60002 };

/* A socket that main connects for us. */
enum want { WANT_DB, WANT_CTL, WANT_MGMT0, WANT_MGMT1, WANT_COUNT };

struct port_wait {
	uint32_t id; /* 0: free */
	bool del;
	char name[LINK_NAME_MAX];
	int64_t deadline_ms;
};

struct switchd {
	struct role *role;
	struct bridge *bridge;
	struct ctcut *cut;
	struct unixctl *ctl;
	int db_fd;
	bool db_writing, ctl_writing;
	uint32_t asked[WANT_COUNT]; /* id of the request to main, 0: none */
	int64_t again_ms[WANT_COUNT];
	int mgmt[2];
	bool bridge_ready, given, said_ready, refused, gone;
	bool beaten; /* vswitchd was asked on this connection whether it lives */
	bool awake;  /* and has answered, and not been silent since */
	bool silent; /* main was told to take the apps' interfaces down */
	int64_t beat_ms;
	uint32_t last_id;
	char uplink_port[LINK_NAME_MAX];
	struct ipc_switch info;
	struct port_wait waits[SWITCHD_WAITS_MAX];
};

/* switchd.c: into the log and to desk. */
void switchd_tell(struct switchd *s, enum log_level level, const char *text);
/* Gate gets new OpenFlow connections as soon as all stands. */
void switchd_mgmt_close(struct switchd *s);

void switchd_db_connected(struct switchd *s, int fd);
void switchd_db_close(struct switchd *s);
void switchd_db_read(struct switchd *s);
void switchd_db_write(struct switchd *s);

void switchd_ctl_connected(struct switchd *s, int fd);
void switchd_ctl_close(struct switchd *s);
void switchd_ctl_io(struct switchd *s);
void switchd_zone_set(struct switchd *s, uint32_t id, const struct ipc_zone *z);
/* Asks once a second. Silent for two seconds, or gone: main takes the apps' interfaces down, because what the datapath
 * was told forwards past every lease. */
void switchd_heartbeat(struct switchd *s);

void switchd_port_add(struct switchd *s, uint32_t id, const struct ipc_port *m);
void switchd_port_del(struct switchd *s, uint32_t id, const struct ipc_port *m);
/* PORT_UP, PORT_ERROR, PORT_GONE of an app's port. */
void switchd_port_event(struct switchd *s, const struct bridge_event *e);
void switchd_waits_expire(struct switchd *s, int64_t now);

#endif
