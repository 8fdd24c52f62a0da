/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_ROOT_H
#define VM_ROOT_H

/*
 * The host tree a guest sees: /usr /lib* /bin /sbin /opt and, of /etc, what every user may read and no secret. Every
 * directory is a bind mount without the mounts below it, read-only, nosuid, nodev. To be called as root in a mount
 * namespace of one's own, on an empty directory.
 */
int vm_root_build(const char *dir) __attribute__((warn_unused_result));

#endif
