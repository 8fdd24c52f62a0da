/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_FRAME_H
#define AGENT_FRAME_H

#include "base/wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The frames between client ⇄ keeper ⇄ the guest's agent, the same on a Unix stream and on virtio-serial:
 *   type u8, stream u8, zero u16, length u32 big-endian <= AGENT_BODY_MAX, body.
 *
 *   guest → keeper → client: hello, started, then data/eof of stdout and stderr, credit and eof of stdin, one exit;
 *     nothing after exit
 *   client → keeper → guest: data/eof of stdin, credit and eof of stdout and stderr, winch, signal
 *   keeper → guest: exec, once, after hello (the client's request reached us by the control socket, not as a frame)
 *
 * An eof from a stream's reader says that nobody reads it any more; data that is under way may still come.
 *
 * Each side may send AGENT_WINDOW bytes of data per stream before it needs a credit; a credit returns bytes that were
 * consumed.
 */
/*
 * Besides its own program a guest runs others, as many as it has further ports ("sekisho.x0" …): on each one session
 * after the other. Each begins as a new keeper does (agent/sync.h); hello and exec follow as on the control port. Who
 * begins anew while a program runs ends that program.
 */
enum { AGENT_EXTRAS = 4 };

enum { AGENT_HEADER = 8, AGENT_BODY_MAX = 65536, AGENT_FRAME_MAX = AGENT_HEADER + AGENT_BODY_MAX };
enum { AGENT_VERSION = 4, AGENT_WINDOW = 262144, AGENT_DATA_MAX = 32768, AGENT_REASON_MAX = 4096 };

enum agent_type {
	AGENT_HELLO = 1, /* body: u32 AGENT_VERSION */
	AGENT_EXEC,	 /* body: agent/exec.h */
	AGENT_DATA,	 /* body: 1..AGENT_DATA_MAX bytes */
	AGENT_EOF,	 /* no body */
	AGENT_WINCH,	 /* body: u16 rows, u16 columns */
	AGENT_SIGNAL,	 /* body: u8 Linux signal number, 1..64 */
	AGENT_EXIT, /* body: u8 status, u8 signal (0: none), reason text (up to AGENT_REASON_MAX, not escaped, from the
		       guest or from us) */
	AGENT_CREDIT,  /* body: u32 bytes, 1..AGENT_WINDOW */
	AGENT_STARTED, /* no body: the program runs; without it an exit says why not */
};

/* The stream byte is zero (AGENT_STDIN) in frames that concern no stream. */
enum agent_stream { AGENT_STDIN, AGENT_STDOUT, AGENT_STDERR, AGENT_STREAMS };

struct agent_frame {
	enum agent_type type;
	enum agent_stream stream;
	const uint8_t *body;
	size_t len;
};

/* The incremental decoder. Zero-initialised; owns a whole frame's bytes. */
struct agent_in {
	size_t have;
	uint8_t buf[AGENT_FRAME_MAX];
};

/*
 * Takes bytes from *p (advancing *p and *len) until one frame is whole. 1: *ret is a frame, its body valid until the
 * next call; 0: all bytes were taken, more are needed; -EPROTO: not our protocol (for good).
 */
int agent_in_take(struct agent_in *in, const uint8_t **p, size_t *len, struct agent_frame *ret)
	__attribute__((warn_unused_result));

/* Appends one frame to `w`; sets its error when there is no room or `len` is above AGENT_BODY_MAX. */
void agent_put(struct wr *w, enum agent_type type, enum agent_stream stream, const void *body, size_t len);
void agent_put_hello(struct wr *w);
void agent_put_winch(struct wr *w, uint16_t rows, uint16_t cols);
void agent_put_signal(struct wr *w, uint8_t signal);
void agent_put_credit(struct wr *w, enum agent_stream stream, uint32_t bytes);
/* The reason may be NULL; it is cut at AGENT_REASON_MAX. */
void agent_put_exit(struct wr *w, uint8_t status, uint8_t signal, const char *reason);

struct agent_exit {
	uint8_t status; /* what the shell would say: the program's own, 128+signal, 125..127 ours */
	uint8_t signal;
	char reason[AGENT_REASON_MAX +
		    1]; /* NUL-ended, NUL bytes inside replaced; hostile: escape it before a terminal sees it */
};

/* The bodies. False, *ret untouched, unless the whole body was understood. */
bool agent_get_hello(const struct agent_frame *f, uint32_t *ret_version);
bool agent_get_winch(const struct agent_frame *f, uint16_t *ret_rows, uint16_t *ret_cols);
bool agent_get_signal(const struct agent_frame *f, uint8_t *ret);
bool agent_get_credit(const struct agent_frame *f, uint32_t *ret);
bool agent_get_exit(const struct agent_frame *f, struct agent_exit *ret);

#endif
