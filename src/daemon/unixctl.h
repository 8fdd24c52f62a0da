/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_UNIXCTL_H
#define DAEMON_UNIXCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/*
 * Client of ovs-vswitchd's control socket (ovs-appctl(8)): JSON-RPC on a Unix stream, one request at a time on the
 * wire, the others queued. The socket is non-blocking; the caller watches it.
 */
enum { UNIXCTL_QUEUE_MAX = 4096, UNIXCTL_ARGS_MAX = 6 };

struct unixctl;

struct unixctl_reply {
	uint32_t id;
	bool failed;	  /* `text` is the error */
	const char *text; /* valid until the next call */
	size_t len;
};

/* Takes ownership of the connected `fd` on success. */
int unixctl_new(int fd, struct unixctl **ret) __attribute__((warn_unused_result));
void unixctl_free(struct unixctl *u);
int unixctl_fd(const struct unixctl *u);
/* Queues a command; `args` ends with NULL. Returns its id (> 0), 0 when the queue is full. */
uint32_t unixctl_send(struct unixctl *u, const char *method, const char *const *args)
	__attribute__((warn_unused_result));
bool unixctl_wants_write(const struct unixctl *u);
/* Reads and writes what is possible now. 0; -EPIPE: vswitchd is gone; -EPROTO. */
int unixctl_io(struct unixctl *u) __attribute__((warn_unused_result));
bool unixctl_next(struct unixctl *u, struct unixctl_reply *ret);
/* Requests without an answer. */
unsigned unixctl_queued(const struct unixctl *u);
/* Since when (clock_boot_ms) the oldest request waits for its answer; -1: none does. */
int64_t unixctl_waiting_since(const struct unixctl *u);

/* A command on a connection of its own, waiting at most `timeout_ms`. 0 with *ret_text (free it; may be NULL if
 * ret_text is) or negative errno; -EREMOTEIO: vswitchd's error, whose text is in *ret_text. */
int unixctl_call(const char *path, const char *method, const char *const *args, int timeout_ms, char **ret_text)
	__attribute__((warn_unused_result));

/* A conntrack entry as dpctl/dump-conntrack prints it; the tuple is the original direction's. */
struct unixctl_ct {
	uint8_t protocol; /* IPPROTO_x */
	struct addr src, dst;
	uint16_t sport, dport; /* ICMP: id, and type << 8 | code */
	uint16_t zone;
	uint32_t mark;
};

/* One line (no newline). False when it is none or of a protocol we cannot flush by tuple. */
bool unixctl_ct_parse(const char *line, size_t len, struct unixctl_ct *ret);
/* The tuple argument of dpctl/flush-conntrack, into buf (at least 256). */
const char *unixctl_ct_tuple(const struct unixctl_ct *c, char *buf, size_t len);

#endif
