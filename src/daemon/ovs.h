/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_OVS_H
#define DAEMON_OVS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Which Open vSwitch serves us, and the life of a private one. Called by main (root). A private OVS lives in
 * RUN_DIR/ovs: conf.db, db.sock, pidfiles, one log file that is cut when it grows; it outlives main and is adopted by
 * the next one by pidfile and socket.
 */
enum ovs_switch { OVS_SWITCH_AUTO, OVS_SWITCH_SYSTEM, OVS_SWITCH_PRIVATE };
enum ovs_datapath { OVS_DATAPATH_AUTO, OVS_DATAPATH_SYSTEM, OVS_DATAPATH_NETDEV };
enum { OVS_PATH_MAX = 104, OVS_ERROR_MAX = 256 };

struct ovs_conf {
	enum ovs_switch which;
	enum ovs_datapath datapath;
	const char *run_dir;	/* ours, exists */
	const char *system_dir; /* the host's OVS, normally "/run/openvswitch" */
	bool tso;		/* other_config:userspace-tso-enable, before vswitchd starts; private only */
};

struct ovs {
	bool private;
	bool tso;     /* interfaces at the switch may use checksum and segmentation offload */
	bool adopted; /* it ran before us */
	char dir[OVS_PATH_MAX];
	char db_sock[OVS_PATH_MAX];
	char datapath_type[8];	      /* "system" or "netdev" */
	pid_t db_pid, vswitchd_pid;   /* private: 0 when not running */
	int db_pidfd, vswitchd_pidfd; /* private: readable when the process ended; -1 */
};

/* Chooses, and starts or adopts a private one. 0, or negative errno with one sentence in `error` (OVS_ERROR_MAX) that
 * says what to do. Blocks until vswitchd answers (bounded: 10 s). */
int ovs_open(const struct ovs_conf *conf, struct ovs *ret, char *error) __attribute__((warn_unused_result));
/* Runs one of OVS's programs with its paths pointing into our directory; `input` (may be NULL) is its standard input.
 * 0, or negative errno and a sentence in `error`. */
int ovs_run(const struct ovs *o, const char *const *argv, const char *input, char *error)
	__attribute__((warn_unused_result));
/* The process behind its pidfile; 0: none. */
pid_t ovs_vswitchd_pid(const struct ovs *o);
/* Segmentation offload does not work here: goes on without, a private vswitchd is started anew. As ovs_open(). */
int ovs_without_tso(struct ovs *o, char *error) __attribute__((warn_unused_result));
/* Starts again what died of a private OVS (a pidfd became readable). 0: both run. */
int ovs_restart(struct ovs *o, char *error) __attribute__((warn_unused_result));
/* Takes out what the kernel's datapath forwards by itself, without asking vswitchd, which may be frozen. The userspace
 * datapath ends with its process: nothing to do. As ovs_open(). */
int ovs_forget_megaflows(const struct ovs *o, char *error) __attribute__((warn_unused_result));
/* Takes a port out of its bridge, if it is in one, and waits until vswitchd has let go of the interface. For an
 * interface that is about to be made anew under its old name: vswitchd would go on reading the old one. */
int ovs_del_port(const struct ovs *o, const char *port, char *error) __attribute__((warn_unused_result));
/* Private: ends both, datapath included, and removes the directory. System: only closes. */
void ovs_stop(struct ovs *o);
/* Closes descriptors, leaves everything running (on_stop = keep). */
void ovs_close(struct ovs *o);
/* Call each minute: empties a log file above 4 MiB. */
void ovs_trim_log(const struct ovs *o);

/* A connected, non-blocking, close-on-exec stream socket, or negative errno. `name` is what switchd asks main for: "db"
 * (OVSDB), "ctl" (vswitchd's unixctl) or "BRIDGE.mgmt" (OpenFlow); anything else is -EINVAL. -ENOENT, -ECONNREFUSED: it
 * is not there (yet). */
int ovs_connect(const struct ovs *o, const char *name);
int ovs_connect_db(const struct ovs *o);
int ovs_connect_ctl(const struct ovs *o);
int ovs_connect_mgmt(const struct ovs *o, const char *bridge);

#endif
