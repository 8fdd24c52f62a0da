/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FETCH_DOWNLOAD_H
#define FETCH_DOWNLOAD_H

#include "base/addr.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One https resource at a time, by libcurl, which opens no file and resolves no name: certificates are read when it is
 * made, addresses are given. What the server says is hostile: bytes, redirects and time are bounded.
 */
enum { DOWNLOAD_ADDRS = 8, DOWNLOAD_REDIRECTS = 5, DOWNLOAD_TEXT = 512 };

struct download;

/* Reads the certificates of `ca_file`. 0; -errno with a sentence in error (DOWNLOAD_TEXT). */
int download_new(const char *ca_file, char *error, struct download **ret) __attribute__((warn_unused_result));
void download_free(struct download *d);

/* Where it is to be fetched from. `ret_host` is a name to be resolved, or "": the address stands in the URL itself.
 * 0; -EINVAL with a sentence in error. */
int download_host(const char *url, char ret_host[NAME_TEXT_MAX], char *error) __attribute__((warn_unused_result));
/* Begins; `addr` are the host's, none for an URL with an address. 0 or -errno. */
int download_begin(struct download *d, const char *url, const struct ipc_list_tags *tags, const struct addr *addr,
	unsigned n_addr) __attribute__((warn_unused_result));
void download_stop(struct download *d);

enum download_state {
	DOWNLOAD_IDLE,
	DOWNLOAD_RUNS,
	DOWNLOAD_DONE,
	DOWNLOAD_UNCHANGED,
	DOWNLOAD_MOVED,
	DOWNLOAD_FAILED
};
/* Waits until there is something to do, on `other_fd`, too, and does what it can do of the download. */
enum download_state download_turn(struct download *d, int other_fd);
/* DONE: the body, its own until the next begin. MOVED: the new URL. FAILED: why. */
const char *download_body(const struct download *d, size_t *ret_len);
const char *download_text(const struct download *d);
const struct ipc_list_tags *download_tags(const struct download *d);

#endif
