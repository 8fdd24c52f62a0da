/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_SESSION_H
#define OFP_SESSION_H

#include "ofp/msg.h"

/*
 * One OpenFlow connection as a state machine without I/O. Time is an argument (milliseconds, monotonic).
 *
 * The owner: connects; ofp_session_start; then whenever the socket is readable reads into ofp_session_in_space, tells
 * how much with ofp_session_in_done, and takes events with ofp_session_next until OFP_EV_NONE; writes what
 * ofp_session_out shows and tells with ofp_session_out_done; calls ofp_session_tick at ofp_session_deadline. On
 * OFP_EV_CLOSED it closes the socket; the same session can be started again on a new one.
 *
 * Handshake: HELLO both ways; FEATURES; SET_CONFIG, controller id, packet-in format 2, async masks, role when asked
 * for; a barrier; CONNECTED. Any framing error (length below 8, version other than 6 after HELLO) closes: there is no
 * way back into step, and bytes of a guest must never be read as a message. Echo requests are answered; after probe_ms
 * of silence one is sent, after as much again: closed.
 */
struct ofp_session;

struct ofp_session_conf {
	bool packet_in; /* this connection gets packet-ins, flow-removed, port-status; else nothing asynchronous */
	uint16_t controller_id; /* not 0 when packet_in */
	enum ofp_role role;	/* OFP_ROLE_NOCHANGE: not asked */
	uint64_t generation;
	int64_t probe_ms; /* silence before a probe, and patience for the answer and for the handshake */
	size_t out_max;	  /* bytes waiting to be sent; 0: 1 MiB */
};

enum ofp_close_reason {
	OFP_CLOSE_NONE,
	OFP_CLOSE_EOF,	    /* told by the owner */
	OFP_CLOSE_FRAMING,  /* a length or version that cannot be */
	OFP_CLOSE_VERSION,  /* no common version */
	OFP_CLOSE_PROTOCOL, /* a malformed or unexpected handshake message */
	OFP_CLOSE_REFUSED,  /* an error to one of our handshake requests */
	OFP_CLOSE_TIMEOUT,
	OFP_CLOSE_OVERFLOW, /* more to send than out_max */
};

enum ofp_event_type { OFP_EV_NONE, OFP_EV_CONNECTED, OFP_EV_MESSAGE, OFP_EV_BARRIER, OFP_EV_ERROR, OFP_EV_CLOSED };

struct ofp_event {
	enum ofp_event_type type;
	struct ofp_header header; /* MESSAGE, BARRIER (its xid), ERROR (xid of the refused request) */
	const uint8_t *msg;	  /* MESSAGE, ERROR: valid until the next call of _next or _in_space */
	size_t len;
	struct ofp_error error;	      /* ERROR; CLOSED by REFUSED */
	struct ofp_features features; /* CONNECTED */
	enum ofp_close_reason reason; /* CLOSED, told once */
};

/* NULL: no memory. All memory is taken here. */
struct ofp_session *ofp_session_new(const struct ofp_session_conf *conf);
void ofp_session_free(struct ofp_session *s);
/* A fresh connection: forgets everything of an earlier one, queues HELLO. */
void ofp_session_start(struct ofp_session *s, int64_t now_ms);

/* Where and how much to read; NULL with *ret_len 0 when events must be taken first or the session is closed. */
uint8_t *ofp_session_in_space(struct ofp_session *s, size_t *ret_len);
/* `len` bytes were read into the space; 0: the peer closed. */
void ofp_session_in_done(struct ofp_session *s, size_t len, int64_t now_ms);
/* The next thing that happened; OFP_EV_NONE when more bytes or time are needed. */
enum ofp_event_type ofp_session_next(struct ofp_session *s, int64_t now_ms, struct ofp_event *ret);

/* Bytes to send, NULL with *ret_len 0 when there are none. */
const uint8_t *ofp_session_out(struct ofp_session *s, size_t *ret_len);
void ofp_session_out_done(struct ofp_session *s, size_t len);

/* Queues whole messages made by ofp_put_*. -ENOTCONN, or -ENOBUFS when out_max is reached (nothing is queued; the
 * session stays). */
int ofp_session_send(struct ofp_session *s, const void *msgs, size_t len);
/* A number for a message of the owner's (1..0x7fffffff; the session's own have the top bit). */
uint32_t ofp_session_xid(struct ofp_session *s);
/* Queues a barrier and returns its xid, which OFP_EV_BARRIER brings back; 0: could not be queued. */
uint32_t ofp_session_barrier(struct ofp_session *s);

bool ofp_session_connected(const struct ofp_session *s);
/* When ofp_session_tick wants to be called; INT64_MAX: never. Then take events. */
int64_t ofp_session_deadline(const struct ofp_session *s);
void ofp_session_tick(struct ofp_session *s, int64_t now_ms);

#endif
