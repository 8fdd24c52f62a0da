/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_COPIES_H
#define DESK_COPIES_H

#include "ipc/ipc.h"
#include "policy/list_digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The members of a list as they were fetched last, in the file list.ID of the store's directory: replaced whole or not
 * at all, taken only if nothing of it is damaged.
 */
struct list_copy {
	char source[IPC_LIST_SOURCE_LEN];
	struct ipc_list_tags tags;
	int64_t fetched_ms; /* wall */
	uint32_t n_names, n_nets, n_left_out;
};

/* The digest of a sealed memfd, mapped: *ret_map is munmap()ed by the caller with `len`. 0, -EBADMSG, -ENOMEM. */
int digest_map(int fd, size_t len, struct list_digest *ret, const void **ret_map) __attribute__((warn_unused_result));
/* 0 or -errno; then what was there before is there still. */
int copy_write(const char *id, const struct list_copy *c, const void *digest, size_t len)
	__attribute__((warn_unused_result));
/* The same members were found again: only that is noted. 0 or -errno. */
int copy_fetched(const char *id, int64_t fetched_ms) __attribute__((warn_unused_result));
/* Takes away the copies whose list `wanted` does not know. */
void copies_tidy(bool (*wanted)(void *arg, const char *id), void *arg);
/* As a sealed memfd of *ret_len bytes. -ENOENT: none, or one of another source; -EBADMSG: damaged. */
int copy_read(const char *id, const char *source, struct list_copy *ret, size_t *ret_len)
	__attribute__((warn_unused_result));

#endif
