/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_EXEC_H
#define AGENT_EXEC_H

#include "agent/frame.h"
#include "agent/sync.h"
#include "base/addr.h"

/* What the guest's agent needs to become one application: the network, who it runs as, the command. */
enum { AGENT_STRINGS_MAX = 56000, AGENT_ARGS_MAX = 4096, AGENT_SEED_LEN = 32, AGENT_SHARES_MAX = 6 };

struct agent_exec {
	uint32_t uid, gid;
	bool guest_user; /* `user` is "NAME|UID[:GROUP|GID]" for the guest to look up: uid, gid and home are its */
	char user[64], home[256], cwd[256], hostname[64]; /* NUL-ended; cwd "" is HOME */
	/* Directory i of the file system "shares" goes to share[i]; with share_home the last one to HOME. */
	uint8_t n_shares;
	bool share_home;
	char share[AGENT_SHARES_MAX][256]; /* NUL-ended; absolute but for HOME's */
	bool tty;
	uint16_t rows, cols;
	bool has_net; /* else eth0, if there is one, stays down */
	struct mac mac;
	struct addr v4, v4_gateway, v6, v6_gateway; /* len 0: none */
	uint8_t v4_prefix, v6_prefix;
	struct addr dns[2];	      /* len 0: none */
	int64_t wall_us;	      /* CLOCK_REALTIME of the host when sent */
	uint8_t seed[AGENT_SEED_LEN]; /* credited as entropy */
	uint8_t sync[AGENT_SYNC_LEN]; /* agent/sync.h */
	uint16_t argc, envc;	      /* argc >= 1 */
	uint32_t strings_len;
	char strings[AGENT_STRINGS_MAX]; /* argc arguments, then envc "K=V", each NUL-ended */
};

/* Writes the body alone; frame it with agent_put(). False when it does not fit or the strings are not argc + envc of
 * them. */
bool agent_exec_put(struct wr *w, const struct agent_exec *e) __attribute__((warn_unused_result));
/* False, *ret undefined, unless the whole body was understood. */
bool agent_exec_get(const void *body, size_t len, struct agent_exec *ret) __attribute__((warn_unused_result));

#endif
