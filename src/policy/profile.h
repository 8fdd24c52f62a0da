/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_PROFILE_H
#define POLICY_PROFILE_H

#include "policy/rule.h"

/* apps/NAME.conf (sekishod.conf(5)): who may start the application NAME, and its options. Pure. */

enum { PROFILE_FILE_MAX = 64 << 10, PROFILE_USERS_MAX = 64, PROFILE_USER_LEN = 32, PROFILE_COMMAND_MAX = 4096 };
enum { PROFILE_IMAGE_MAX = 511, PROFILE_RW_MAX = 6, PROFILE_DIR_MAX = 255 };

struct profile {
	char app[POLICY_TOKEN_MAX + 1];
	unsigned n_users; /* 0: the admins alone */
	char users[PROFILE_USERS_MAX][PROFILE_USER_LEN + 1];
	uint32_t memory_mib, cpus;	   /* 0: not said */
	uint16_t new_names_per_min;	   /* 0: not said */
	char image[PROFILE_IMAGE_MAX + 1]; /* as run --image takes it; "": the host's directories */
	unsigned n_rw;
	char rw[PROFILE_RW_MAX][PROFILE_DIR_MAX + 1]; /* absolute; as run --rw takes them */
	char home[PROFILE_DIR_MAX + 1];		      /* "": none; "app", or absolute */
	uint16_t argc;
	size_t argv_len;
	char argv[PROFILE_COMMAND_MAX]; /* argc words, each NUL-ended */
};

struct profile_error {
	unsigned line, col; /* from 1 */
	char text[256];
};

/* `file` is NAME.conf. 0 with *ret the caller's to free(); -EINVAL, -E2BIG with *reterr; -ENOMEM. */
int profile_parse(const char *file, const char *text, size_t len, struct profile **ret, struct profile_error *reterr)
	__attribute__((warn_unused_result));
bool profile_names_user(const struct profile *p, const char *user);

#endif
