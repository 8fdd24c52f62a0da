/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/vms.h"

#include "base/log.h"
#include "daemon/sekishod.h"
#include "vm/backend.h"
#include "vm/tap.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct tap {
	char name[LINK_NAME_MAX]; /* empty: free */
	int fd;
};

struct vm {
	struct ipc_app_ref ref; /* slot 0: free */
	struct child keeper;
	struct vm_proc proc;
	char tap[LINK_NAME_MAX];
};

struct vms {
	struct tap tap[VMS_MAX];
	struct vm vm[VMS_MAX];
	struct vm_kernel kernel;
	bool have_kernel;
	/* Ends that desk has not been told of, because it was away. */
	struct ipc_app_ref untold[VMS_MAX];
	unsigned n_untold;
};

/* uids of a VM: above those of the roles, two per place. */
enum { UID_OF_VMS = 64, WATCH_KEEPER = 0, WATCH_KEEPER_PID = 1, WATCH_VMM = 2, WATCH_KINDS = 4 };

int vms_new(struct vms **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret == NULL ? -ENOMEM : 0;
}

static void keeper_end(struct child *c)
{
	if (c->pid == 0)
		return;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	spawn_forget(c);
}

void vms_free(struct vms *v)
{
	if (v == NULL)
		return;
	for (unsigned i = 0; i < VMS_MAX; i++) {
		if (v->vm[i].ref.slot != 0) {
			keeper_end(&v->vm[i].keeper);
			vm_kill(&v->vm[i].proc);
		}
		if (v->tap[i].name[0] != '\0')
			close(v->tap[i].fd);
	}
	free(v);
}

static struct tap *tap_find(struct vms *v, const char *name)
{
	for (unsigned i = 0; i < VMS_MAX; i++) {
		if (strcmp(v->tap[i].name, name) == 0)
			return &v->tap[i];
	}
	return NULL;
}

static uid_t uid_of(const struct sekishod *d, unsigned place)
{
	return d->conf.uid_base + UID_OF_VMS + 2 * place;
}

int vms_tap(struct sekishod *d, const char *ifname, char *error, size_t cap)
{
	struct tap *t = tap_find(d->vms, "");
	if (strncmp(ifname, VMS_TAP_PREFIX, strlen(VMS_TAP_PREFIX)) != 0 || tap_find(d->vms, ifname) != NULL ||
		t == NULL) {
		snprintf(error, cap,
			t == NULL ? "%u virtual machines run already" : "a tap of ours cannot be made now (%u at most)",
			VMS_MAX);
		return -EBUSY;
	}
	int fd = vm_tap_open(ifname, d->ovs.tso, 0);
	if (fd < 0) {
		snprintf(error, cap, "cannot make the tap %s: %s", ifname, strerror(-fd));
		return fd;
	}
	int err = link_prepare(d->links, ifname, d->ovs.tso);
	if (err != 0) {
		snprintf(error, cap, "cannot prepare %s: %s", ifname, strerror(-err));
		close(fd);
		return err;
	}
	snprintf(t->name, sizeof(t->name), "%s", ifname);
	t->fd = fd;
	return 0;
}

void vms_tap_close(struct sekishod *d, const char *ifname)
{
	struct tap *t = ifname[0] == '\0' ? NULL : tap_find(d->vms, ifname);
	if (t == NULL)
		return;
	close(t->fd);
	t->name[0] = '\0';
}

/* sekisho-init: beside this binary in a build tree, else where it is installed. */
static const char *init_path(char *buf, size_t cap)
{
	static const char *const beside[] = { "/sekisho-init", "/../guest/sekisho-init" };
	char self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct stat st;
	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		*slash = '\0';
		for (unsigned i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
			snprintf(buf, cap, "%s%s", self, beside[i]);
			if (stat(buf, &st) == 0)
				return buf;
		}
	}
	return SEKISHO_LIBEXECDIR "/sekisho-init";
}

static int find_kernel(struct sekishod *d, char *error)
{
	struct vms *v = d->vms;
	char init[320];
	if (v->have_kernel)
		return 0;
	int err = vm_kernel_find(d->conf.state_dir, init_path(init, sizeof(init)), &v->kernel, error);
	v->have_kernel = err == 0;
	if (err == -ENOENT)
		snprintf(error, VM_ERROR_MAX, "there is no guest kernel yet; fetch it once: %s %.100s",
			SEKISHO_LIBEXECDIR "/fetch-guest-kernel", d->conf.state_dir);
	return err;
}

static int start_machine(struct sekishod *d, struct vm *vm, unsigned place, const struct ipc_vm *m, char *error)
{
	struct tap *t = tap_find(d->vms, m->tap);
	if (t == NULL || m->tap[0] == '\0') {
		snprintf(error, VM_ERROR_MAX, "the virtual machine has no tap");
		return -EINVAL;
	}
	int err = find_kernel(d, error);
	if (err != 0)
		return err;
	struct vm_spec spec = { .kernel = &d->vms->kernel,
		.work_dir = d->conf.run_dir,
		.uid = uid_of(d, place),
		.share_uid = uid_of(d, place) + 1,
		.accel = VM_ACCEL_AUTO,
		.host_tree = true,
		.tap_fd = t->fd,
		.tso = d->ovs.tso,
		.mac = m->mac,
		.memory_mib = m->memory_mib,
		.cpus = m->cpus };
	return vm_start(&spec, &vm->proc, error);
}

static int start_keeper(struct sekishod *d, struct vm *vm, unsigned place, const struct ipc_vm *m, int client)
{
	struct child *k = &vm->keeper;
	int err = spawn_role(ROLE_KEEPER, d->conf_text, d->conf_len, k);
	if (err == 0)
		err = frame_send(k->chan, IPC_START, 0, NULL, 0, NULL, 0);
	int fds[4] = { client, vm->proc.ctl_fd, vm->proc.qmp_fd, vm->proc.serial_fd };
	if (err == 0)
		err = ipc_send(k->chan, IPC_KEEPER, 0, vm, m, fds, 4);
	if (err == 0)
		err = loop_add(d->loop, frame_chan_fd(k->chan), EPOLLIN, MAIN_VM, place * WATCH_KINDS + WATCH_KEEPER);
	if (err == 0)
		err = loop_add(d->loop, k->pidfd, EPOLLIN, MAIN_VM, place * WATCH_KINDS + WATCH_KEEPER_PID);
	return err;
}

static struct vm *vm_free_place(struct vms *v, unsigned *ret_place)
{
	for (unsigned i = 0; i < VMS_MAX; i++) {
		if (v->vm[i].ref.slot == 0) {
			*ret_place = i;
			return &v->vm[i];
		}
	}
	return NULL;
}

static void answer(struct sekishod *d, uint32_t id, int err, const char *text)
{
	struct frame_chan *c = d->children[ROLE_DESK].chan;
	if (c == NULL || ipc_send_result(c, id, err, 0, err == 0 ? NULL : text) != 0)
		log_msg(LOG_WARNING, "an answer to desk is lost");
}

void vms_start(struct sekishod *d, struct frame *f)
{
	static struct ipc_vm m;
	char error[VM_ERROR_MAX] = "the request is malformed";
	unsigned place = 0;
	struct vm *vm = vm_free_place(d->vms, &place);
	int err = ipc_vm_get(f->body, f->len, &m) && f->n_fds == 1 && m.ref.slot != 0 ? 0 : -EINVAL;
	if (err == 0 && vm == NULL) {
		snprintf(error, sizeof(error), "%d virtual machines run already", VMS_MAX);
		err = -EBUSY;
	}
	if (err != 0) {
		answer(d, f->id, err, error);
		return;
	}
	*vm = (struct vm){ .keeper = { .pidfd = -1 } };
	m.tso = d->ovs.tso;
	err = start_machine(d, vm, place, &m, error);
	if (err == 0) {
		err = start_keeper(d, vm, place, &m, f->fds[0]);
		vm_proc_close_channels(&vm->proc);
		if (err != 0) {
			snprintf(error, sizeof(error), "cannot start the keeper: %s", strerror(-err));
			keeper_end(&vm->keeper);
			vm_kill(&vm->proc);
		}
	}
	if (err == 0) {
		vm->ref = m.ref;
		snprintf(vm->tap, sizeof(vm->tap), "%s", m.tap);
	}
	answer(d, f->id, err, error);
}

static void tell_exited(struct sekishod *d, const struct ipc_app_ref *ref)
{
	struct frame_chan *desk = d->children[ROLE_DESK].chan;
	struct vms *v = d->vms;
	if ((desk == NULL || ipc_send(desk, IPC_VM_EXITED, 0, app_ref, ref, NULL, 0) != 0) && v->n_untold < VMS_MAX)
		v->untold[v->n_untold++] = *ref;
}

void vms_desk_back(struct sekishod *d)
{
	struct vms *v = d->vms;
	unsigned n = v->n_untold;
	v->n_untold = 0;
	for (unsigned i = 0; i < n; i++)
		tell_exited(d, &v->untold[i]);
}

void vms_stop(struct sekishod *d, const struct frame *f)
{
	struct ipc_app_ref ref;
	bool known = false;
	if (!ipc_app_ref_get(f->body, f->len, &ref))
		return;
	for (unsigned i = 0; i < VMS_MAX; i++) {
		struct vm *vm = &d->vms->vm[i];
		if (vm->ref.slot != ref.slot || vm->ref.run != ref.run || ref.slot == 0)
			continue;
		known = true;
		if (frame_send(vm->keeper.chan, IPC_STOP, 0, NULL, 0, NULL, 0) != 0)
			kill(vm->keeper.pid, SIGKILL);
	}
	if (!known)
		tell_exited(d, &ref);
}

/* The keeper is gone: so is the reason for the machine. */
static void vm_ended(struct sekishod *d, struct vm *vm)
{
	loop_del(d->loop, vm->keeper.pidfd);
	loop_del(d->loop, frame_chan_fd(vm->keeper.chan));
	waitpid(vm->keeper.pid, NULL, 0);
	spawn_forget(&vm->keeper);
	vm_kill(&vm->proc);
	tell_exited(d, &vm->ref);
	vm->ref.slot = 0;
}

void vms_event(struct sekishod *d, const struct loop_event *ev)
{
	struct vm *vm = &d->vms->vm[ev->ref.index / WATCH_KINDS % VMS_MAX];
	if (vm->ref.slot == 0)
		return;
	if (ev->ref.index % WATCH_KINDS == WATCH_KEEPER_PID) {
		vm_ended(d, vm);
		return;
	}
	struct frame f;
	int got;
	while ((got = frame_recv(vm->keeper.chan, &f)) > 0) {
		struct ipc_result r;
		if (f.type == IPC_KEEPER_END && ipc_result_get(f.body, f.len, &r) && r.err != 0)
			log_msg(LOG_WARNING, "the virtual machine of slot %u: %s", vm->ref.slot, r.text.s);
		frame_close_fds(&f);
	}
	if (got < 0) {
		loop_del(d->loop, ev->ref.fd);
		kill(vm->keeper.pid, SIGKILL);
	}
}
