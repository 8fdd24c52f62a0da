/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_STREAM_H
#define NAMES_STREAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * DNS over a byte stream (RFC 1035 §4.2.2, RFC 7766 §8): each message behind its length in two bytes, in whatever
 * pieces it comes. No sockets: the owner reads into stream_in() and writes from stream_out(). A query above
 * STREAM_QUERY_MAX is none of a resolver library's; answers wait up to STREAM_OUT_MAX, after that the client does not
 * read.
 */
enum { STREAM_QUERY_MAX = 1024, STREAM_OUT_MAX = 2 + 65535 };

struct stream;

/* NULL: no memory. */
struct stream *stream_new(void);
void stream_free(struct stream *s);

/* Where to put bytes received; *ret_room 0: full, take messages out first. */
uint8_t *stream_in(struct stream *s, size_t *ret_room);
void stream_in_done(struct stream *s, size_t len);
/* 1: a whole message at *ret, valid until stream_in(); 0: more bytes are needed; -EMSGSIZE: too long, close. */
int stream_next(struct stream *s, const uint8_t **ret, size_t *ret_len) __attribute__((warn_unused_result));

/* Queues a message; -ENOBUFS: the client does not read, close; -ENOMEM. */
int stream_put(struct stream *s, const uint8_t *msg, size_t len) __attribute__((warn_unused_result));
/* What is to be sent; NULL: nothing. */
const uint8_t *stream_out(const struct stream *s, size_t *ret_len);
void stream_out_done(struct stream *s, size_t len);

#endif
