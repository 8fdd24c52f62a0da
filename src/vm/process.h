/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_PROCESS_H
#define VM_PROCESS_H

#include "vm/backend.h"

/* What backends share: a VM's sockets by name in its directory, its processes. Descriptors are close-on-exec; negative
 * errno on failure. */
int vm_listen(const char *dir, const char *name) __attribute__((warn_unused_result));
/* Non-blocking. */
int vm_connect_one(const char *dir, const char *name) __attribute__((warn_unused_result));
/* The names of all: ctl, qmp, serial, then the further ports. */
enum { VM_SOCKETS = 3 + AGENT_EXTRAS };
extern const char *const vm_sockets[VM_SOCKETS];
/* The write end of the log: a FIFO that has its own reader, so that writing never fails for want of one; what does not
 * fit is dropped. */
int vm_log_make(const char *dir) __attribute__((warn_unused_result));
/* What a VMM is given of all that: listening sockets in the order of vm_sockets, the log. -1: none. */
struct vm_ends {
	int fd[VM_SOCKETS];
	int log;
};
/* To be closed also on error. */
int vm_ends_open(const char *dir, struct vm_ends *ret) __attribute__((warn_unused_result));
void vm_ends_close(struct vm_ends *e);
/* Notes when the processes started. */
int vm_proc_note(struct vm_proc *p) __attribute__((warn_unused_result));

#endif
