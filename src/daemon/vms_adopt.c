/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMs that outlive those who watch them: a keeper that died is replaced, and what an earlier main left running is found
 * by its state file. What cannot be taken over is killed: a VM without a keeper could be neither seen nor stopped.
 */
#include "base/log.h"
#include "daemon/cgroup.h"
#include "daemon/vm_place.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int vm_adopt(struct sekishod *d, struct vm *vm)
{
	char dir[VM_PATH_MAX];
	struct vm_channels c;
	struct ipc_adopt m = { .ref = vm->ref };
	memcpy(m.sync, vm->state.sync, sizeof(m.sync));
	place_dir(d, place_of(d, vm), dir);
	int err = vm_connect(dir, &c);
	if (err != 0)
		return err;
	err = spawn_role(ROLE_KEEPER, d->conf_text, d->conf_len, &vm->keeper);
	if (err == 0)
		err = frame_send(vm->keeper.chan, IPC_START, 0, NULL, 0, NULL, 0);
	int fds[4 + AGENT_EXTRAS] = { c.ctl, c.qmp, c.serial, c.log };
	memcpy(fds + 4, c.extra, sizeof(c.extra));
	if (err == 0)
		err = ipc_send(vm->keeper.chan, IPC_KEEPER_ADOPT, 0, adopt, &m, fds, 4 + AGENT_EXTRAS);
	vm_channels_close(&c);
	return err != 0 ? err : vm_watch(d, vm);
}

static int find_processes(const struct sekishod *d, unsigned place, struct vm_state *s)
{
	int err = vm_process_find(&s->proc.vmm, uid_of(d, place));
	if (err == 0 && s->proc.share.pid != 0)
		err = vm_process_find(&s->proc.share, uid_of(d, place) + 1);
	if (err == 0 && s->proc.shares.pid != 0)
		err = vm_process_find(&s->proc.shares, s->shares_uid);
	return err;
}

static int take_over(struct sekishod *d, unsigned place, const struct vm_state *s)
{
	struct vm *vm = &d->vms->vm[place];
	struct tap *t = tap_find(d->vms, "");
	if (t == NULL)
		return -ENOSPC;
	*vm = (struct vm){ .ref = { .slot = s->slot, .run = s->run }, .keeper = { .pidfd = -1 }, .state = *s };
	snprintf(t->name, sizeof(t->name), "%s", s->tap);
	t->fd = -1;
	return vm_adopt(d, vm);
}

static void adopt_place(struct sekishod *d, unsigned place)
{
	char dir[VM_PATH_MAX];
	struct vm_state s;
	struct stat st;
	place_dir(d, place, dir);
	if (stat(dir, &st) != 0)
		return;
	int err = vm_state_read(dir, &s);
	bool read = err == 0;
	if (read)
		err = find_processes(d, place, &s);
	if (err == 0 && !s.runs)
		err = -ECANCELED;
	if (err == 0)
		err = take_over(d, place, &s);
	if (err == 0) {
		log_msg(LOG_NOTICE, "the virtual machine of slot %u, run %u, runs on: taken over", s.slot, s.run);
		return;
	}
	if (d->vms->vm[place].ref.slot != 0) {
		log_msg(LOG_WARNING, "the virtual machine of slot %u cannot be taken over (%s): killed", s.slot,
			strerror(-err));
		vm_ended(d, &d->vms->vm[place]);
		return;
	}
	if (read && s.proc.vmm.pidfd >= 0)
		log_msg(LOG_WARNING, "the virtual machine of slot %u, run %u, %s: killed", s.slot, s.run,
			s.runs ? "is not whole" : "had not begun its program");
	else if (read)
		log_msg(LOG_NOTICE, "the virtual machine of slot %u, run %u, ended while nobody watched", s.slot,
			s.run);
	if (read) {
		/* Its uid is a person's: nobody sweeps after it. */
		if (s.proc.shares.pidfd < 0 && s.proc.shares.pid != 0)
			(void)!vm_process_find(&s.proc.shares, s.shares_uid);
		vm_kill(&s.proc);
		cgroup_remove(s.cgroup);
	}
	vm_clean(dir);
	vm_state_remove(dir);
	rmdir(dir);
}

/* Of a place in use all are: a VMM has processes of its own that no state names. */
static bool is_ours(const struct sekishod *d, uid_t uid)
{
	unsigned place = (uid - uid_of(d, 0)) / (uid_of(d, 1) - uid_of(d, 0));
	return place < VMS_MAX && d->vms->vm[place].ref.slot != 0;
}

/* These uids are nobody else's: whatever runs as one of them and is no VM of ours was left by a main that died while it
 * made one. */
static void kill_strays(const struct sekishod *d)
{
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		return;
	for (struct dirent *e; (e = readdir(proc)) != NULL;) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		uid_t uid;
		int fd = pid <= 1 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0)
			continue;
		if (vm_process_uid(pid, &uid) == 0 && uid >= uid_of(d, 0) && uid < uid_of(d, VMS_MAX + 1) &&
			!is_ours(d, uid)) {
			log_msg(LOG_WARNING, "process %d of uid %u belongs to no virtual machine: killed", (int)pid,
				(unsigned)uid);
			syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
		}
		close(fd);
	}
	closedir(proc);
}

void vms_adopt(struct sekishod *d)
{
	for (unsigned i = 0; i < VMS_MAX; i++)
		adopt_place(d, i);
	kill_strays(d);
	cgroup_sweep();
}

void vms_claim(struct sekishod *d, const struct frame *f)
{
	struct ipc_app_ref ref;
	if (!ipc_app_ref_get(f->body, f->len, &ref))
		return;
	bool known = ref.slot == 0;
	for (unsigned i = 0; i < VMS_MAX; i++) {
		struct vm *vm = &d->vms->vm[i];
		if (vm->ref.slot == 0)
			continue;
		if (vm->ref.slot == ref.slot && vm->ref.run == ref.run) {
			struct ipc_vm_pause held = { .ref = ref, .hold = true };
			vm->claimed = known = true;
			if (vm->state.held && d->children[ROLE_DESK].chan != NULL)
				(void)!ipc_send(d->children[ROLE_DESK].chan, IPC_VM_PAUSE, 0, vm_pause, &held, NULL, 0);
		} else if (ref.slot == 0 && !vm->claimed) {
			log_msg(LOG_WARNING, "the virtual machine of slot %u, run %u, is nobody's: killed",
				vm->ref.slot, vm->ref.run);
			vm_ended(d, vm);
		}
	}
	if (!known)
		vms_tell_unknown(d, &ref);
}
