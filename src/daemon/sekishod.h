/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_SEKISHOD_H
#define DAEMON_SEKISHOD_H

#include "base/loop.h"
#include "daemon/link.h"
#include "daemon/ovs.h"
#include "daemon/resolvconf.h"
#include "daemon/selftest.h"
#include "daemon/spawn.h"
#include "daemon/uplink.h"
#include "daemon/vms.h"
#include "role/conf.h"

#include <stdbool.h>

struct ports {
	bool down; /* vswitchd does not serve */
	unsigned n;
	char names[PLAN_SLOTS][LINK_NAME_MAX];
};

/* The state of main, the one privileged process, shared by main.c (loop, start, stop), serve.c (what the roles ask for)
 * and host.c (switch and uplink). */
struct sekishod {
	struct conf conf;
	char conf_text[4096];
	size_t conf_len;
	struct loop *loop;
	struct child children[ROLE_COUNT];
	struct link_sock *links;
	struct ovs ovs;
	char offload_error[SELFTEST_TEXT_MAX]; /* "": TCP and UDP pass the switch both ways */
	struct uplink_conf uplink;
	struct uplink_forward forwards[UPLINK_FORWARDS_MAX];
	unsigned n_forwards;
	struct uplink_names_conf names;
	int names_fds[UPLINK_NAMES_FDS], names_netns;
	int api_fd, lock_fd, signal_fd;
	struct vms *vms;
	struct ports ports;
	struct resolvconf resolvconf;
	bool new_servers;      /* the resolver ends because it is to read them */
	struct checks *checks; /* the last, kept a few seconds */
	bool host_up;	       /* the switch and the names namespace exist */
	bool uplink_up;	       /* addresses, routes, nft */
	bool policy_good;
	bool announced; /* READY=1 was sent */
	bool stopping;
	int exit_status;
	int64_t stop_deadline_ms;
};

enum main_event { MAIN_PIDFD = ROLE_COUNT, MAIN_SIGNAL, MAIN_OVS_DB, MAIN_OVS_VSWITCHD, MAIN_VM, MAIN_RESOLV_CONF };

/* host.c: OVS, names namespace before the roles; uplink once switchd has made the bridge. Undone by host_down(). */
int host_up(struct sekishod *d) __attribute__((warn_unused_result));
int host_uplink(struct sekishod *d) __attribute__((warn_unused_result));
void host_down(struct sekishod *d);
/* A part of the private OVS ended. */
void host_ovs_died(struct sekishod *d);

/* ports.c: the apps' interfaces. ports_raise() brings one up, or notes it while all are down. 0 or negative errno. */
int ports_raise(struct sekishod *d, const char *name) __attribute__((warn_unused_result));
void ports_forget(struct sekishod *d, const char *name);
void ports_down(struct sekishod *d);
void ports_up(struct sekishod *d);

/* checks.c: what main can see and try out, told to desk for `sekisho doctor`; at start only said in the log. */
void checks_run(struct sekishod *d);
void checks_at_start(struct sekishod *d);

/* serve.c: one frame from a role; gives what a fresh role needs. */
void serve_frame(struct sekishod *d, enum role_id from, struct frame *f);
int serve_start(struct sekishod *d, enum role_id role) __attribute__((warn_unused_result));
/* Opens policy_dir/?*.rules and the profiles and gives them to desk, whose RESULT has this id. */
enum { POLICY_OWN = 1 };
int serve_policy(struct sekishod *d, uint32_t id) __attribute__((warn_unused_result));

/* main.c */
void main_stop(struct sekishod *d, int exit_status);

#endif
