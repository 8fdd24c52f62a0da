/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_HOST_H
#define DESK_HOST_H

#include "base/loop.h"
#include "ipc/plan.h"
#include "policy/policy.h"

#include <sys/types.h>

/*
 * What the desk knows about the host. Its root holds nothing but the store, so all of it is opened or read before
 * role_confine(): the user files as descriptors, the time zone as a table, the boot id, and a route socket that stays
 * in the host's network namespace.
 */
enum { HOST_TZ_MAX = 32, HOST_ADDRS_MAX = 1024 };

struct host_user {
	uid_t uid;
	gid_t gid;
	char name[64], home[256];
};

struct host {
	int passwd_fd, group_fd, route_fd;
	char boot_id[40];
	struct policy_tz tz[HOST_TZ_MAX];
	size_t n_tz;
	struct policy_net host[HOST_ADDRS_MAX], onlink[HOST_ADDRS_MAX], peers[2], synthetic[1];
	size_t n_host, n_onlink;
};

/* 0 or negative errno. */
int host_open(struct host *h, const struct plan *plan) __attribute__((warn_unused_result));
void host_close(struct host *h);
/* From the user files as they were opened; -ENOENT: no such user. */
int host_user_by_uid(const struct host *h, uid_t uid, struct host_user *ret) __attribute__((warn_unused_result));
int host_user_by_name(const struct host *h, const char *name, struct host_user *ret)
	__attribute__((warn_unused_result));
bool host_user_in_group(const struct host *h, const struct host_user *u, const char *group);
/* One of the user files was replaced since (tools rename a new one into place): the descriptors show yesterday's users.
 */
bool host_users_stale(const struct host *h);
/* Reads what the route socket says; true: addresses changed. */
bool host_route_event(struct host *h, const struct plan *plan);
/* The environment of the policy; borrows from `h`. */
struct policy_env host_env(const struct host *h);

#endif
