/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_RELAY_H
#define VM_RELAY_H

#include "agent/exec.h"
#include "base/loop.h"
#include "vm/ring.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The keeper's work without the keeper: passes frames client ⇄ guest under the rules of agent/session.h, drains the
 * console into a ring, speaks QMP. Owns its descriptors. `now_ms` is clock_boot_ms() time; exec's clock and seed are
 * filled in when it is sent.
 *
 * The guest is hostile: memory is bounded (a side whose peer does not read is not read), a frame against the rules ends
 * the stream with exit 125. A client that vanishes means SIGHUP for the program, then, after VM_RELAY_HUP_MS, the end
 * of the VM.
 *
 * A program that was detached, or whose keeper died (vm_relay_adopt), runs without a client: what it says is read, the
 * last VM_RING bytes of it are kept, its end is noticed; clients may come and go. A guest that does not answer
 * the challenge of agent/sync.h keeps its VM; stop ends it.
 */
enum { VM_RELAY_HUP_MS = 2000, VM_RELAY_QUIT_MS = 2000, VM_RELAY_BOOT_MS = 30000, VM_RELAY_LAST_MS = 10000 };

/* guest, qmp, console: the channels of vm/backend.h; log: what the VM's processes themselves say. */
struct vm_relay_fds {
	int client, guest, qmp, console, log;
};

struct vm_relay;

/* Watches the descriptors in `loop` under `ref_type`, index 0..4. Takes them over, also on error. `warm`: the guest has
 * said its first word before (vm/warm.h). */
int vm_relay_new(struct loop *loop, uint8_t ref_type, const struct vm_relay_fds *fds, const struct agent_exec *exec,
	bool warm, int64_t now_ms, struct vm_relay **ret) __attribute__((warn_unused_result));
/* The client hears only how the start went; then the program runs on without one. To be called at once. */
void vm_relay_detach(struct vm_relay *r);
/* A client for a program that runs without one; taken over. It hears a credit of stdin first, or that it has ended.
 * rows 0: no terminal. One that is refused is told why. */
void vm_relay_attach(struct vm_relay *r, int client, uint16_t rows, uint16_t cols);
/* The last of what the program said, as the frames of a program that ends with 0; `client` is taken over. */
void vm_relay_tell_output(struct vm_relay *r, int client);
/* As vm_relay_new() for a program that runs already; fds->client is -1. `sync` is what exec said. */
int vm_relay_adopt(struct loop *loop, uint8_t ref_type, const struct vm_relay_fds *fds,
	const uint8_t sync[AGENT_SYNC_LEN], struct vm_relay **ret) __attribute__((warn_unused_result));
void vm_relay_free(struct vm_relay *r);
void vm_relay_event(struct vm_relay *r, const struct loop_event *ev, int64_t now_ms);
/* When vm_relay_tick() wants to be called next; -1: never. */
int64_t vm_relay_deadline(const struct vm_relay *r);
void vm_relay_tick(struct vm_relay *r, int64_t now_ms);
/* Ends the VM in order: SIGTERM to the program, then quit. */
void vm_relay_stop(struct vm_relay *r, int64_t now_ms);
/* Lets go of the VM, which runs on: the client is told `reason` and 125; vm_relay_done() from now on. */
void vm_relay_leave(struct vm_relay *r, const char *reason);
/* The guest has started the program. */
bool vm_relay_runs(const struct vm_relay *r);
/* Asks the VMM to hold the machine or let it go on; -EBUSY: an earlier answer is still awaited. */
int vm_relay_pause(struct vm_relay *r, bool pause) __attribute__((warn_unused_result));
/* True once for each vm_relay_pause() that the VMM has answered: *ret_err is 0, or negative errno. */
bool vm_relay_paused(struct vm_relay *r, int *ret_err);
/* The exit frame has been given to the client (or there is no client) and the VM has closed its channels or does not
 * listen any more: its processes are to be killed now. */
bool vm_relay_done(const struct vm_relay *r);
/* The program's end is known. */
bool vm_relay_ended(const struct vm_relay *r);
/* Valid once ended. */
const struct agent_exit *vm_relay_exit(const struct vm_relay *r);
/* The last bytes of the console, hostile; at most `cap`; returns their number. */
size_t vm_relay_console(const struct vm_relay *r, char *buf, size_t cap);

#endif
