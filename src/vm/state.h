/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_STATE_H
#define VM_STATE_H

#include "agent/sync.h"
#include "vm/backend.h"

/* What a later main must know to take a running VM over: a file beside its sockets. */
struct vm_state {
	struct vm_proc proc; /* without pidfds */
	uid_t shares_uid;    /* of proc.shares */
	uint16_t slot;	     /* of the application */
	uint32_t run;
	bool runs;	  /* the guest has its command and the key */
	bool held;	  /* as somebody wished */
	char cgroup[256]; /* of its processes; "": none */
	char tap[16];
	uint8_t sync[AGENT_SYNC_LEN];
};

int vm_state_write(const char *dir, const struct vm_state *s) __attribute__((warn_unused_result));
/* -ESTALE: of another boot of the host, or of another version of us. */
int vm_state_read(const char *dir, struct vm_state *ret) __attribute__((warn_unused_result));
void vm_state_remove(const char *dir);

#endif
