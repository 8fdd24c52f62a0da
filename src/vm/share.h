/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_SHARE_H
#define VM_SHARE_H

#include "vm/backend.h"

/* A directory, given as O_PATH, as the root of a mount of its own: nosuid, nodev, without what is mounted below it,
 * attached nowhere. The descriptor, close-on-exec, or -EINVAL when it is of another mount namespace, or another errno.
 */
int vm_share_tree(int fd) __attribute__((warn_unused_result));
/* The server of spec->shares. *ret_conn, the caller's, is the VMM's end. */
int vm_share_start(const struct vm_spec *spec, int log, struct vm_process *ret, int *ret_conn, char *error)
	__attribute__((warn_unused_result));
/* In dir: a listening socket, and a blocking connection already waiting in its queue. */
int vm_share_sockets(const char *dir, const char *name, int *ret_listen, int *ret_conn)
	__attribute__((warn_unused_result));

#endif
