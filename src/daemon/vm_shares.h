/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_VM_SHARES_H
#define DAEMON_VM_SHARES_H

#include "daemon/sekishod.h"
#include "vm/backend.h"

/*
 * What a VM's owner lends it, as mounts: desk's word is checked against the kernel's, for the name of each directory
 * and for who is at the other end of `client`, its stream. `fds` (m->shares.n) stay the caller's, ret->tree becomes
 * his. Negative errno with a sentence (VM_ERROR_MAX) and nothing to be closed.
 */
int vm_shares_take(const struct sekishod *d, const struct ipc_vm *m, int client, const int *fds, struct vm_shares *ret,
	char *error) __attribute__((warn_unused_result));
void vm_shares_drop(struct vm_shares *s);

#endif
