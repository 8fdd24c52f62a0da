/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_WARM_H
#define VM_WARM_H

#include "vm/backend.h"

/*
 * Warm starts. A machine that has booted to its first word is like every other of its shape (size, devices): it is
 * stored once and the next ones begin there. What makes it somebody's (disks, address, key, clock, entropy) comes after
 * that word. Only for roots on disks: QEMU stores no file server.
 */
enum { VM_WARM_BOOT_MS = 30000, VM_WARM_STORE_MS = 30000, VM_WARM_SHAPES = 4 };

/* Of a machine of this spec: QEMU, its root is on disks, and nothing is lent to it. */
bool vm_warm_may(const struct vm_spec *spec);
/* The stored machine of this shape, made in this boot of the host by these programs, for spec->resume_fd; the caller's.
 * -ENOENT: none. */
int vm_warm_open(const char *state_dir, const struct vm_spec *spec) __attribute__((warn_unused_result));
/* An empty file for one, writable; the oldest of other shapes make room. */
int vm_warm_create(const char *state_dir, const struct vm_spec *spec) __attribute__((warn_unused_result));
/* What was written there, for reading. */
int vm_warm_reopen(const char *state_dir, const struct vm_spec *spec) __attribute__((warn_unused_result));
/* It is whole and was tried. 0 or -errno. */
int vm_warm_keep(const char *state_dir, const struct vm_spec *spec) __attribute__((warn_unused_result));
void vm_warm_forget(const char *state_dir, const struct vm_spec *spec);
/* Empty disks and a NIC that leads nowhere in the places of spec's own; -errno. The descriptors are the caller's. */
int vm_warm_blank(const struct vm_spec *spec, struct vm_spec *ret) __attribute__((warn_unused_result));

/* Waits for the machine's first word and stores it in `file`; the channels are those of a machine that was just
 * started, the caller's. Blocks. 0 or -errno. */
int vm_warm_store(int ctl, int qmp, int file) __attribute__((warn_unused_result));
/* A resumed machine understands what it is told. Blocks. 0 or -errno. */
int vm_warm_try(int ctl) __attribute__((warn_unused_result));

#endif
