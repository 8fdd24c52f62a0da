/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_BACKEND_H
#define VM_BACKEND_H

#include "agent/frame.h"
#include "base/addr.h"
#include "vm/kernel.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * One virtual machine, started by a privileged process. vm_start() forks its processes into their jails (vm/jail.h) and
 * hands back process descriptors; it keeps nothing. The VM's channels are sockets in its directory, so that whoever may
 * enter that can connect to them again after a crash (vm_connect); what is done with them is vm/relay.h.
 */
enum vm_accel { VM_ACCEL_AUTO, VM_ACCEL_TCG, VM_ACCEL_KVM };
enum vm_vmm { VM_VMM_AUTO, VM_VMM_FIRECRACKER, VM_VMM_QEMU };

/* What the guest's root is made of. Block files are raw images, open for reading and, the layer, writing: the caller's,
 * hostile. */
enum vm_root_kind {
	VM_ROOT_NONE,  /* the initramfs alone */
	VM_ROOT_HOST,  /* the host's allow-listed directories as virtiofs tag "hostroot" */
	VM_ROOT_IMAGE, /* erofs, only read; a layer over it */
};
struct vm_root {
	enum vm_root_kind kind;
	int image_fd; /* IMAGE */
	int layer_fd; /* HOST, IMAGE: ext4; -1: the layer is memory */
};

/* Directories that the guest may write: virtiofs "shares", served as their owner. */
enum { VM_SHARES_MAX = 6 };
struct vm_shares {
	unsigned n;
	int tree[VM_SHARES_MAX]; /* vm/share.h; stay the caller's */
	uid_t uid;
	gid_t gid;
};

struct vm_spec {
	const struct vm_kernel *kernel; /* vm_kernel_find() */
	const char *dir; /* the VM's own, empty, root's alone: its sockets and log are made there and stay */
	uid_t uid;	 /* this VM's own; the VMM runs as it. uid + 1 (share_uid) serves the host tree */
	uid_t share_uid;
	enum vm_vmm vmm;	 /* AUTO: Firecracker where it can run this one, else QEMU */
	const char *firecracker; /* its program; NULL: none is there */
	const char *bridge;	 /* sekisho-bridge */
	enum vm_accel accel;	 /* of QEMU; AUTO: KVM where vm_boots() */
	struct vm_root root;
	struct vm_shares shares;
	int tap_fd;	/* -1: no NIC; stays the caller's */
	bool blind_nic; /* a NIC without a tap (vm/warm.h) */
	int resume_fd;	/* a stored machine of the same shape, the caller's; 0 or -1: it boots */
	bool tso;	/* checksum and segmentation offload on the NIC (needs a tap opened with vnet_hdr) */
	struct mac mac;
	unsigned memory_mib; /* 0: 512 */
	unsigned cpus;	     /* 0: 1 */
};

/* One process, recognised again by pid and start time (field 22 of /proc/PID/stat): pids come back. */
struct vm_process {
	pid_t pid;	/* 0: none */
	uint64_t start; /* clock ticks after boot */
	int pidfd;	/* the caller's, close-on-exec; -1: none */
};

struct vm_proc {
	struct vm_process vmm, share, shares; /* reap them (waitpid) when the pidfd says so */
};

/* All descriptors are the caller's, close-on-exec, non-blocking; -1: none. */
struct vm_channels {
	int ctl, qmp, serial;	 /* Unix streams */
	int log;		 /* what the VM's processes say on stderr */
	int extra[AGENT_EXTRAS]; /* streams: the further ports */
};

enum { VM_ERROR_MAX = 256 };

/* What can run a VM. A machine that runs is the same for all: its channels, and QEMU's words for stop, cont and quit on
 * one of them (vm/qmp.h). */
struct vm_backend {
	const char *name;
	/* Whether it can run this one, KVM apart: 0, or negative errno with the reason in `error`. NULL: it runs all.
	 */
	int (*fits)(const struct vm_spec *spec, char *error);
	/* vm_start() with `accel` decided. */
	int (*start)(const struct vm_spec *spec, struct vm_proc *ret, char *error);
};
extern const struct vm_backend vm_qemu, vm_firecracker;

/* Does a VM boot here under KVM? Opening /dev/kvm proves nothing, so a guest without NIC and root is booted, for at
 * most 3 s, and once more for 10 s at the next start when it kept silent; the verdict is kept beside the guest's
 * kernel, by the host's release and the VMM. Takes kernel, uid, dir and the programs from `spec`; leaves dir empty. */
bool vm_boots(const struct vm_backend *b, const struct vm_spec *spec);

/* /dev/kvm makes a machine; whether that boots is another matter. */
bool vm_kvm_opens(void);
/* Settles vmm and accel where they say AUTO. 0, or negative errno with the reason in `error`: the VMM that is wanted
 * cannot run this one. */
int vm_choose(struct vm_spec *spec, char *error) __attribute__((warn_unused_result));
/* Of a spec that is settled. 0 or negative errno with one sentence in `error` (VM_ERROR_MAX) for people; no process is
 * left behind on error. */
int vm_start(const struct vm_spec *spec, struct vm_proc *ret, char *error) __attribute__((warn_unused_result));
/* Whether Firecracker can be had at all: 0, or negative errno with the reason in `error`. Boots nothing. */
int vm_firecracker_there(const char *program, char *error) __attribute__((warn_unused_result));
/* Kills both processes, reaps them if they are children, closes their descriptors. */
void vm_kill(struct vm_proc *p);
/* Connects to a running VM's channels. The VMM serves one connection of each at a time: a second one waits. */
int vm_connect(const char *dir, struct vm_channels *ret) __attribute__((warn_unused_result));
void vm_channels_close(struct vm_channels *c);
/* Takes what vm_start() made out of `dir`. */
void vm_clean(const char *dir);

/* Finds the process p->pid again and sets p->pidfd. -ESRCH: it has ended, whatever now has its number; -EPERM: it is
 * not one of `uid`. */
int vm_process_find(struct vm_process *p, uid_t uid) __attribute__((warn_unused_result));
/* The real uid of a process. */
int vm_process_uid(pid_t pid, uid_t *ret) __attribute__((warn_unused_result));
/* Of a process with a pidfd. */
bool vm_process_ended(const struct vm_process *p);
void vm_process_kill(struct vm_process *p);

#endif
