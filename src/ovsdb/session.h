/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVSDB_SESSION_H
#define OVSDB_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/*
 * One JSON-RPC session (RFC 7047 §4) without I/O and without a clock: bytes in → events, requests → bytes out. Answers
 * the server's echo itself and sends its own when `now_ms` says that the line was silent.
 */
enum ovsdb_event_type {
	OVSDB_EVENT_REPLY,  /* `id` is the request's; `error` is NULL or the server's error */
	OVSDB_EVENT_UPDATE, /* a monitor's <table-updates> (RFC 7047 §4.1.6) in `result` */
};

struct ovsdb_event {
	enum ovsdb_event_type type;
	uint32_t id;
	json_t *result; /* owned by the session until the next ovsdb_session_next(); NULL on error */
	json_t *error;
};

enum { OVSDB_IDLE_MS = 5000, OVSDB_SILENT_MS = 12000, OVSDB_OUTPUT_MAX = 32 << 20 };

struct ovsdb_session;

int ovsdb_session_new(struct ovsdb_session **ret) __attribute__((warn_unused_result));
void ovsdb_session_free(struct ovsdb_session *s);
/* A new connection: drops everything unsent and unread; outstanding requests get no reply any more. Ids go on growing.
 */
void ovsdb_session_reset(struct ovsdb_session *s, int64_t now_ms);

/* Bytes from the server. 0; -EPROTO, -EMSGSIZE, -ENOMEM: close the connection. */
int ovsdb_session_input(struct ovsdb_session *s, const void *bytes, size_t len, int64_t now_ms)
	__attribute__((warn_unused_result));
/* 1: *ret is the next event; 0: none; -EPROTO: a message that is no lawful JSON-RPC: close the connection. */
int ovsdb_session_next(struct ovsdb_session *s, struct ovsdb_event *ret) __attribute__((warn_unused_result));

/* Queues a request; steals `params` in every case. Returns its id, or 0 when it cannot be queued. */
uint32_t ovsdb_session_request(struct ovsdb_session *s, const char *method, json_t *params)
	__attribute__((warn_unused_result));
/* What is to be written; *ret_len is 0 when nothing waits. Valid until the next call on `s`. */
const void *ovsdb_session_output(const struct ovsdb_session *s, size_t *ret_len);
void ovsdb_session_sent(struct ovsdb_session *s, size_t len);

/* Keeps the line alive. 0, or -ETIMEDOUT: the server is silent, close. *ret_deadline_ms: when to call again. */
int ovsdb_session_step(struct ovsdb_session *s, int64_t now_ms, int64_t *ret_deadline_ms)
	__attribute__((warn_unused_result));

/* The first error in the reply to a `transact` (every element is looked at, the extra last one too: RFC 7047 §4.1.3),
 * else NULL. Points into `result`. *ret_details may be NULL. */
const char *ovsdb_transact_error(const json_t *result, const char **ret_details);

#endif
