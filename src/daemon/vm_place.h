/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_VM_PLACE_H
#define DAEMON_VM_PLACE_H

#include "daemon/sekishod.h"
#include "vm/state.h"

/*
 * What vms.c and vms_adopt.c share. A VM has a place: two uids, and run_dir/vm/PLACE for its sockets and its state.
 */
struct tap {
	char name[LINK_NAME_MAX]; /* empty: free */
	int fd;			  /* -1: an adopted VM alone holds it */
};

struct vm {
	struct ipc_app_ref ref; /* slot 0: free */
	struct child keeper;
	struct vm_state state; /* as in its file; with pidfds */
	uint32_t pause_id;     /* desk's, whose answer the keeper owes; 0: none */
	bool pause_hold;
	struct vm_spec shape; /* for warm starts; its descriptors are nobody's */
	bool warm;	      /* it began as a stored machine */
	bool claimed;	      /* desk knows it */
	bool stopping;	      /* its end was asked for */
	bool ended;	      /* its keeper said so */
	struct ipc_vm_exit end;
};

struct vms {
	struct tap tap[VMS_MAX];
	struct vm vm[VMS_MAX];
	struct vm_kernel kernel;
	bool have_kernel, said_cgroup;
	/* Ends that desk has not been told of, because it was away. */
	struct ipc_vm_exit untold[VMS_MAX];
	unsigned n_untold;
};

/* uids of a VM: above those of the roles, two per place. */
enum { UID_OF_VMS = 64, WATCH_KEEPER = 0, WATCH_KEEPER_PID = 1, WATCH_KINDS = 2 };

static inline uid_t uid_of(const struct sekishod *d, unsigned place)
{
	return d->conf.uid_base + UID_OF_VMS + 2 * place;
}

/* vms.c */
struct tap *tap_find(struct vms *v, const char *name);
unsigned place_of(const struct sekishod *d, const struct vm *vm);
void place_dir(const struct sekishod *d, unsigned place, char ret[VM_PATH_MAX]);
/* Watches a keeper that has been spawned. */
int vm_watch(struct sekishod *d, struct vm *vm) __attribute__((warn_unused_result));
/* Kills what is left of it, frees its place, tells desk. */
void vm_ended(struct sekishod *d, struct vm *vm);

/* vms_adopt.c */
/* Gives a running VM a new keeper. */
int vm_adopt(struct sekishod *d, struct vm *vm) __attribute__((warn_unused_result));

#endif
