/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_GATE_H
#define GATE_GATE_H

#include "gate/out.h"
#include "ipc/ipc.h"
#include "ipc/plan.h"
#include "ofp/session.h"
#include "policy/list_digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Where policy meets the switch, without I/O or clock: the role process (daemon/gate.c) moves bytes, gives messages and
 * time, and sends what the sessions and gate_messages() hold after each call. Theory of operation in gate/state.h.
 *
 * `boot_ms` is clock_boot_ms(), `wall_ms` clock_wall_ms(); both are set by gate_clock() before anything else of a turn.
 */
enum gate_conn { CONN_QUESTIONS, CONN_BULK, CONN_COUNT };

struct gate;

/* NULL: no memory. `seed` is random; `ask_expires_ms` is how long a person may take. */
struct gate *gate_new(const struct plan *plan, uint64_t seed, uint32_t ask_expires_ms);
void gate_free(struct gate *g);
void gate_clock(struct gate *g, int64_t boot_ms, int64_t wall_ms);

/* The switch, with two new connections: their sessions (ofp/session.h) are started; the role reads into and writes from
 * them. */
void gate_switch(struct gate *g, const struct ipc_switch *sw);
/* NULL before gate_switch() or without memory. */
struct ofp_session *gate_session(struct gate *g, enum gate_conn conn);
/* Takes what the session of `conn` has understood. 0; -EPROTO: close both connections and call gate_conn_lost(). */
int gate_events(struct gate *g, enum gate_conn conn) __attribute__((warn_unused_result));
void gate_conn_lost(struct gate *g, enum gate_conn conn);
/* The last error the switch answered with, for the log. */
void gate_last_error(const struct gate *g, unsigned *ret_type, unsigned *ret_code);
/* The switch is in step: apps may send. */
bool gate_synced(const struct gate *g);
struct out *gate_messages(struct gate *g);

/* A compiled policy that desk gave (policy/image.h), and what is joined to it. */
struct gate_image {
	const void *base;
	size_t len;
	const void *more; /* NULL: nothing was added */
	size_t more_len;
	const uint32_t *gone;
	size_t n_gone;
};
/* From desk. Requests are answered by IPC_RESULT among gate_messages(). A base is checked and taken over by later
 * ticks, what is joined to the base in force at once; a bad one keeps the old policy. All must stay readable as long as
 * gate_policy_uses() the base, `more` or `gone`. */
void gate_policy(struct gate *g, uint32_t request, uint64_t generation, const struct gate_image *image);
bool gate_policy_uses(const struct gate *g, const void *bytes);
/* The members of a list from now on. Returns the bytes of the digest that is no longer used: the one it replaces, or
 * one that no rule uses; NULL: none. `digest` itself is such a one when there is no room. */
const void *gate_list(struct gate *g, const char *id, const struct list_digest *digest);
void gate_app_add(struct gate *g, uint32_t request, const struct ipc_app *app);
void gate_app_del(struct gate *g, uint32_t request, const struct ipc_app_ref *ref);
void gate_block(struct gate *g, const struct ipc_block *b);
/* Somebody ends what lives under this number; its rule stays. */
void gate_cut(struct gate *g, uint32_t number);
void gate_grant_restore(struct gate *g, const struct ipc_grant *gr);
void gate_syn_restore(struct gate *g, const struct ipc_syn *s);
void gate_sync_end(struct gate *g);
void gate_charged(struct gate *g, uint32_t request, int err);
/* The desk is a new process: what it must know again is sent. */
void gate_desk_back(struct gate *g);

/* From names and resolver. */
void gate_lookup(struct gate *g, uint32_t request, const struct ipc_lookup *l);
void gate_resolved(struct gate *g, uint32_t request, const struct ipc_resolved *r);
/* switchd is a new process: it does not know the apps' zones. */
void gate_switchd_back(struct gate *g);
/* The resolver is a new process: what the old one was asked and never answered is judged, and asked, anew. */
void gate_resolver_back(struct gate *g);

/* When gate_tick() wants to be called next, in boot_ms; -1: never. */
int64_t gate_deadline(const struct gate *g);
void gate_tick(struct gate *g);

#endif
