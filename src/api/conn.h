/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_CONN_H
#define API_CONN_H

#include "api/frame.h"

#include <stdint.h>

/*
 * The serving side of one connection as a pure state: bytes in, calls out; replies in, bytes out. Calls of one
 * connection are answered in order, one at a time: while one is open the next waits.
 */
enum { API_BACKLOG_MAX = 1 << 20, API_METHOD_MAX = 128 };

struct api_conn;

struct api_call {
	char method[API_METHOD_MAX]; /* "org.sekisho.Apps.List" */
	json_t *params;		     /* an object, never NULL; belongs to the connection until the call is answered */
	bool more, oneway, upgrade;
};

int api_conn_new(struct api_conn **ret) __attribute__((warn_unused_result));
void api_conn_free(struct api_conn *c);
/* As api_in_room/api_in_add: read from the socket into it. */
int api_conn_room(struct api_conn *c, char **ret_p, size_t *ret_room) __attribute__((warn_unused_result));
void api_conn_add(struct api_conn *c, size_t n);
/* 1: *ret is the next call, now open; 0: none (or one is open); negative errno: close the connection. */
int api_conn_next(struct api_conn *c, struct api_call *ret) __attribute__((warn_unused_result));
/* No call is open and the next one has come. */
bool api_conn_has_call(const struct api_conn *c);
/* The open call goes on without its parameters, which may be a megabyte. */
void api_conn_forget(struct api_conn *c);
bool api_conn_open_call(const struct api_conn *c);
/* Queues a reply to the open call; takes `params` over (NULL: {}). With `continues` the call stays open, which only a
 * call with `more` may; else it is closed. -ENOBUFS: the reader is too slow, close the connection. -EPROTO: no call is
 * open. -EMSGSIZE: longer than a message may be; the call is still open. */
int api_conn_reply(struct api_conn *c, json_t *params, bool continues) __attribute__((warn_unused_result));
/* The same with an error; closes the call. */
int api_conn_error(struct api_conn *c, const char *error, json_t *params) __attribute__((warn_unused_result));
/* What waits to be sent: *ret_p, returns its length. */
size_t api_conn_out(const struct api_conn *c, const char **ret_p);
void api_conn_sent(struct api_conn *c, size_t n);
/* Bytes after an `upgrade` call's own: a client that sends them before the reply breaks the protocol. */
bool api_conn_has_input(const struct api_conn *c);

/* org.varlink.service: 1 when the call was one of its methods and has been answered, 0 when it is another's, negative
 * errno as above. */
int api_service(struct api_conn *c, const struct api_call *call, const char *version)
	__attribute__((warn_unused_result));
/* The text of an interface file, NULL; the name of interface `i`, NULL after the last. */
const char *api_interface_text(const char *interface);
const char *api_interface_name(unsigned i);

#endif
