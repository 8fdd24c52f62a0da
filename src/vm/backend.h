/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_BACKEND_H
#define VM_BACKEND_H

#include "base/addr.h"
#include "vm/kernel.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One virtual machine, started by a privileged process. vm_start() forks its processes into their jails (vm/jail.h) and
 * hands back process descriptors and the host ends of the VM's channels; it keeps nothing. What is done with the
 * channels is vm/relay.h.
 */
enum vm_accel { VM_ACCEL_AUTO, VM_ACCEL_TCG, VM_ACCEL_KVM };

struct vm_spec {
	const struct vm_kernel *kernel; /* vm_kernel_find() */
	const char *work_dir; /* root-owned directory; a sub-directory is made there and removed before vm_start()
				 returns */
	uid_t uid;	      /* this VM's own; the VMM runs as it. uid + 1 (share_uid) serves the host tree */
	uid_t share_uid;
	enum vm_accel accel; /* AUTO: KVM where vm_kvm_works() */
	bool host_tree;	     /* serve the host's allow-listed directories as virtiofs tag "hostroot" */
	int tap_fd;	     /* -1: no NIC; stays the caller's */
	bool tso;	     /* checksum and segmentation offload on the NIC (needs a tap opened with vnet_hdr) */
	struct mac mac;
	unsigned memory_mib; /* 0: 512 */
	unsigned cpus;	     /* 0: 1 */
};

/* All descriptors are the caller's, close-on-exec. */
struct vm_proc {
	pid_t vmm_pid, share_pid;      /* share_pid 0: none. Reap them (waitpid) when the pidfd says so */
	int vmm_pidfd, share_pidfd;    /* -1: none */
	int ctl_fd, qmp_fd, serial_fd; /* connected Unix streams, non-blocking */
};

enum { VM_ERROR_MAX = 256 };

/* Does a VM boot here under KVM? Opening /dev/kvm proves nothing, so a guest without NIC and root is booted, for at
 * most 3 s; the verdict is kept beside the guest's kernel, by the host's release. Takes kernel, uid and work_dir from
 * `spec`. */
bool vm_kvm_works(const struct vm_spec *spec);

/* 0 or negative errno with one sentence in `error` (VM_ERROR_MAX) for people; nothing is left behind on error. */
int vm_start(const struct vm_spec *spec, struct vm_proc *ret, char *error) __attribute__((warn_unused_result));
/* Kills both processes, reaps them and closes everything vm_start() gave. */
void vm_kill(struct vm_proc *p);
/* Closes ctl, qmp and serial (they have been passed to the keeper). */
void vm_proc_close_channels(struct vm_proc *p);

#endif
