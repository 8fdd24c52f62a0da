/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_VMS_H
#define DAEMON_VMS_H

#include "base/frame.h"
#include "base/loop.h"

#include <stddef.h>

/*
 * The virtual machines as main sees them: taps kept open for VMMs, processes in their jails, one keeper each. A VM ends
 * when its keeper says that its program has; then its processes are killed and desk is told IPC_VM_EXITED. A keeper or
 * a main that dies is replaced, and the VM runs on.
 */
struct sekishod;
struct ipc_app_ref;
struct vms;

enum { VMS_MAX = 64 };
#define VMS_TAP_PREFIX "skt" /* the only names a tap of ours may have */

/* Sets d->vms. */
int vms_new(struct sekishod *d) __attribute__((warn_unused_result));
/* Takes over what an earlier main left running, kills what cannot be. Before desk starts. */
void vms_adopt(struct sekishod *d);
/* Kills what still runs, or leaves it to the next main (on_stop = keep). */
void vms_free(struct sekishod *d);

/* Firecracker's program; NULL: there is none where one would be put. */
const char *vms_firecracker(void);

/* IPC_TAP_MAKE: 0, or negative errno and a sentence in `error`. */
int vms_tap(struct sekishod *d, const char *ifname, char *error, size_t cap) __attribute__((warn_unused_result));
void vms_tap_close(struct sekishod *d, const char *ifname);
/* IPC_VM_START and IPC_VM_STOP; answers desk itself. */
void vms_start(struct sekishod *d, struct frame *f);
void vms_stop(struct sekishod *d, const struct frame *f);
/* IPC_VM_ATTACH, IPC_VM_EXEC: passed on to the keeper. */
void vms_exec(struct sekishod *d, const struct frame *f);
void vms_attach(struct sekishod *d, const struct frame *f);
/* IPC_VM_PAUSE: the keeper's answer goes to desk. */
void vms_pause(struct sekishod *d, const struct frame *f);
/* IPC_VM_CLAIM. */
void vms_claim(struct sekishod *d, const struct frame *f);
/* A fresh desk is told what ended while there was none; it has claimed nothing yet. */
void vms_desk_back(struct sekishod *d);
/* IPC_VM_EXITED for what does not run. */
void vms_tell_unknown(struct sekishod *d, const struct ipc_app_ref *ref);
/* An event of loop type MAIN_VM. */
void vms_event(struct sekishod *d, const struct loop_event *ev);

#endif
