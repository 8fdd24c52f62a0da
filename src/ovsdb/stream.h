/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVSDB_STREAM_H
#define OVSDB_STREAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Framing of JSON-RPC over a byte stream (RFC 7047 §4): JSON objects back to back, without length or separator. Finds
 * where each object ends by counting brackets outside strings, before any parser sees it. No I/O. Serves OVSDB and
 * vswitchd's unixctl alike.
 */
enum { OVSDB_MESSAGE_MAX = 16 << 20, OVSDB_DEPTH_MAX = 64 };

struct ovsdb_stream;

int ovsdb_stream_new(struct ovsdb_stream **ret) __attribute__((warn_unused_result));
void ovsdb_stream_free(struct ovsdb_stream *s);
/* Forgets everything: a new connection. */
void ovsdb_stream_reset(struct ovsdb_stream *s);
/* Takes bytes that arrived (copied). 0; -EMSGSIZE: a message above OVSDB_MESSAGE_MAX or too deep; -EPROTO: not an
 * object; -ENOMEM. After an error the connection is to be closed. */
int ovsdb_stream_put(struct ovsdb_stream *s, const void *bytes, size_t len) __attribute__((warn_unused_result));
/* 1: *ret_text is the next whole message of *ret_len bytes, valid until the next call on `s`; 0: none yet; -EMSGSIZE,
 * -EPROTO. */
int ovsdb_stream_next(struct ovsdb_stream *s, const char **ret_text, size_t *ret_len)
	__attribute__((warn_unused_result));

#endif
