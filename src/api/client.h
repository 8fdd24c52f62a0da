/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include "api/fds.h"
#include "api/frame.h"

#include <stdint.h>

/* The calling side, blocking. One call at a time per connection. */
struct api_client;

/* A varlink error as it came, and what sekisho(1) makes of it. */
struct api_error {
	char name[128];	 /* "org.sekisho.NotPermitted"; "" when the connection itself failed */
	char text[1024]; /* one sentence for people, not escaped */
	int exit_code;	 /* desk.md: 1 failed, 2 usage or syntax, 3 no such thing, 4 not permitted, 5 changed, 6
			    unreachable */
	json_t *params;	 /* the caller's reference; NULL without */
};

/* 0 or negative errno: -ENOENT and -ECONNREFUSED (nobody listens), -EACCES, -ENAMETOOLONG. */
int api_client_open(const char *path, struct api_client **ret) __attribute__((warn_unused_result));
void api_client_close(struct api_client *c);
/* For poll(); -1 after an upgrade. */
int api_client_fd(const struct api_client *c);

/* All take `params` over (NULL: {}). 0: *ret_params is the caller's reference (ret_params may be NULL). Else negative
 * errno with *reterr filled (it may be NULL): -EREMOTEIO for an error reply, -EPIPE, -EBADMSG … for a broken
 * connection. */
int api_client_call(struct api_client *c, const char *method, json_t *params, json_t **ret_params,
	struct api_error *reterr) __attribute__((warn_unused_result));
/* A call with `more`: then api_client_next() until it says that nothing follows. */
int api_client_more(struct api_client *c, const char *method, json_t *params, struct api_error *reterr)
	__attribute__((warn_unused_result));
/* 1: *ret_params is the next reply; 0: it was the last one; -EAGAIN: `timeout_ms` (-1: for ever) passed; else as above.
 * A last reply carries parameters, too. */
int api_client_next(struct api_client *c, int timeout_ms, json_t **ret_params, struct api_error *reterr)
	__attribute__((warn_unused_result));
/* Bytes are here already: do not poll() before api_client_next(). */
bool api_client_buffered(const struct api_client *c);
/* A call with `upgrade`. On success *ret_fd is the connection, the caller's, standing at the first byte of the new
 * protocol; `c` is only good for api_client_close(). */
int api_client_upgrade(struct api_client *c, const char *method, json_t *params, json_t **ret_params, int *ret_fd,
	struct api_error *reterr) __attribute__((warn_unused_result));

/* These ride with the next call; they stay the caller's, who keeps them open until then. */
void api_client_give(struct api_client *c, const struct api_fds *fds);

void api_error_fini(struct api_error *e);
/* The exit code of an error name. */
int api_error_exit(const char *name);

#endif
