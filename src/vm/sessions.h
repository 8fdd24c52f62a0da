/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_SESSIONS_H
#define VM_SESSIONS_H

#include "agent/exec.h"
#include "base/loop.h"

#include <stdint.h>

/*
 * The further programs of a machine (`sekisho exec`): one client ⇄ guest session per further port under the rules of
 * agent/session.h, as vm/relay.h does it for the machine's own program. A client that vanishes means SIGHUP for its
 * program, then SIGKILL; a port whose guest does not answer is taken anew by the next session. Without the keeper the
 * sessions end. `now_ms` is clock_boot_ms() time.
 */
struct vm_sessions;

/* Watches in `loop` under `ref_type`, index `first` and on (VM_SESSIONS_INDICES). Takes the descriptors over, also on
 * error. Programs of the keeper before this one end, if there was one. */
enum { VM_SESSIONS_INDICES = 2 * AGENT_EXTRAS, VM_SESSIONS_HUP_MS = 2000, VM_SESSIONS_BEGIN_MS = 10000 };
int vm_sessions_new(struct loop *loop, uint8_t ref_type, uint32_t first, const int guest[AGENT_EXTRAS],
	const uint8_t sync[AGENT_SYNC_LEN], bool adopted, struct vm_sessions **ret) __attribute__((warn_unused_result));
/* Each client hears why. */
void vm_sessions_free(struct vm_sessions *s, const char *reason);
/* A program for a client, who is told why not; taken over. exec's strings are copied. */
void vm_sessions_exec(struct vm_sessions *s, int client, const struct agent_exec *exec, int64_t now_ms);
void vm_sessions_event(struct vm_sessions *s, const struct loop_event *ev, int64_t now_ms);
/* When vm_sessions_tick() wants to be called next; -1: never. */
int64_t vm_sessions_deadline(const struct vm_sessions *s);
void vm_sessions_tick(struct vm_sessions *s, int64_t now_ms);

#endif
