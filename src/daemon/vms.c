/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/vms.h"

#include "agent/frame.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon/cgroup.h"
#include "daemon/setup.h"
#include "daemon/vm_place.h"
#include "daemon/vm_shares.h"
#include "daemon/warm.h"
#include "vm/tap.h"
#include "vm/warm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEEPER_ENDS_MS = 1000 };

void place_dir(const struct sekishod *d, unsigned place, char ret[VM_PATH_MAX])
{
	snprintf(ret, VM_PATH_MAX, "%s/vm/%u", d->conf.run_dir, place);
}

static int base_dir(const struct sekishod *d, char ret[VM_PATH_MAX])
{
	return snprintf(ret, VM_PATH_MAX, "%s/vm", d->conf.run_dir) < VM_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int vms_new(struct sekishod *d)
{
	char dir[VM_PATH_MAX];
	int err = base_dir(d, dir);
	/* run_dir is root's alone to write. */
	if (err == 0 && mkdir(dir, 0700) != 0 && errno != EEXIST)
		err = -errno;
	d->vms = err == 0 ? calloc(1, sizeof(*d->vms)) : NULL;
	return err == 0 && d->vms == NULL ? -ENOMEM : err;
}

/* Closing its channel is the order to end; a keeper without main lets its VM run on. */
static void keeper_end(struct child *c)
{
	if (c->pid == 0)
		return;
	struct pollfd p = { .fd = c->pidfd, .events = POLLIN };
	frame_chan_free(c->chan);
	c->chan = NULL;
	if (poll(&p, 1, KEEPER_ENDS_MS) <= 0)
		kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	spawn_forget(c);
}

static void vm_unmake(struct sekishod *d, struct vm *vm)
{
	char dir[VM_PATH_MAX];
	place_dir(d, place_of(d, vm), dir);
	vm_kill(&vm->state.proc);
	cgroup_remove(vm->state.cgroup);
	vm_clean(dir);
	vm_state_remove(dir);
	rmdir(dir);
	vm->ref.slot = 0;
}

void vms_free(struct sekishod *d)
{
	struct vms *v = d->vms;
	char dir[VM_PATH_MAX];
	if (v == NULL)
		return;
	warm_end(d);
	for (unsigned i = 0; i < VMS_MAX; i++) {
		struct vm *vm = &v->vm[i];
		if (vm->ref.slot == 0)
			continue;
		keeper_end(&vm->keeper);
		if (d->conf.on_stop_keep && vm->state.runs && !vm->stopping)
			log_msg(LOG_NOTICE, "the virtual machine of slot %u, run %u, runs on without us", vm->ref.slot,
				vm->ref.run);
		else
			vm_unmake(d, vm);
	}
	if (base_dir(d, dir) == 0)
		rmdir(dir); /* stays when a VM does */
	free(v);
	d->vms = NULL;
}

struct tap *tap_find(struct vms *v, const char *name)
{
	for (unsigned i = 0; i < VMS_MAX; i++) {
		if (strcmp(v->tap[i].name, name) == 0)
			return &v->tap[i];
	}
	return NULL;
}

unsigned place_of(const struct sekishod *d, const struct vm *vm)
{
	return (unsigned)(vm - d->vms->vm);
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
	if (t->fd >= 0)
		close(t->fd);
	t->name[0] = '\0';
}

static int find_kernel(struct sekishod *d, char *error)
{
	struct vms *v = d->vms;
	static const char *const beside[] = { "/sekisho-init", "/../guest/sekisho-init" };
	char buf[320];
	if (v->have_kernel)
		return 0;
	const char *init = setup_program(beside, 2, SEKISHO_LIBEXECDIR "/sekisho-init", buf, sizeof(buf));
	int err = vm_kernel_find(d->conf.state_dir, init, &v->kernel, error);
	v->have_kernel = err == 0;
	if (err == -ENOENT)
		snprintf(error, VM_ERROR_MAX, "there is no guest kernel yet; fetch it once: %s %.100s",
			SEKISHO_LIBEXECDIR "/fetch-guest-kernel", d->conf.state_dir);
	return err;
}

/* Without one the VM runs all the same; the log says so once, doctor each time. */
static void join_cgroup(struct sekishod *d, struct vm_state *s, const struct ipc_vm *m)
{
	enum { PIDS = 512 };
	const struct cgroup_limits l = { .memory_mib = m->memory_mib, .cpus = m->cpus, .pids = PIDS };
	const pid_t pids[] = { s->proc.vmm.pid, s->proc.share.pid, s->proc.shares.pid };
	static_assert(sizeof(s->cgroup) == CGROUP_PATH_MAX, "one path");
	int err = cgroup_make(&l, pids, 3, s->cgroup);
	if (err != 0 && !d->vms->said_cgroup)
		log_msg(LOG_NOTICE, "virtual machines run without a cgroup of their own: %s", strerror(-err));
	d->vms->said_cgroup = d->vms->said_cgroup || err != 0;
}

const char *vms_firecracker(void)
{
	static const char *const where[] = { "/usr/local/bin/firecracker", "/usr/bin/firecracker" };
	for (unsigned i = 0; i < sizeof(where) / sizeof(*where); i++) {
		if (access(where[i], X_OK) == 0)
			return where[i];
	}
	return NULL;
}

static enum vm_vmm vmm_wanted(const struct sekishod *d)
{
	switch (d->conf.vmm) {
	case VMM_FIRECRACKER:
		return VM_VMM_FIRECRACKER;
	case VMM_QEMU:
		return VM_VMM_QEMU;
	case VMM_AUTO:
		break;
	}
	return VM_VMM_AUTO;
}

static void choose_programs(const struct sekishod *d, struct vm_spec *spec)
{
	static const char *const beside[] = { "/sekisho-bridge", "/../bridge/sekisho-bridge" };
	static char bridge[320];
	spec->vmm = vmm_wanted(d);
	spec->firecracker = vms_firecracker();
	spec->bridge = setup_program(beside, 2, SEKISHO_LIBEXECDIR "/sekisho-bridge", bridge, sizeof(bridge));
}

/* From a stored machine where there is one. */
static int start_vmm(struct sekishod *d, struct vm *vm, struct vm_spec *spec, char *error)
{
	choose_programs(d, spec);
	int err = vm_choose(spec, error);
	if (err != 0)
		return err;
	vm->shape = *spec;
	spec->resume_fd = vm_warm_may(spec) ? vm_warm_open(d->conf.state_dir, spec) : -1;
	vm->warm = spec->resume_fd >= 0;
	err = vm_start(spec, &vm->state.proc, error);
	if (vm->warm)
		close(spec->resume_fd);
	return err;
}

/* What came along with the request. */
struct given {
	struct vm_root root;
	struct vm_shares shares;
};

static int start_machine(struct sekishod *d, struct vm *vm, struct ipc_vm *m, const struct given *given, char *error)
{
	char dir[VM_PATH_MAX];
	unsigned place = place_of(d, vm);
	struct tap *t = tap_find(d->vms, m->tap);
	if (t == NULL || m->tap[0] == '\0' || t->fd < 0) {
		snprintf(error, VM_ERROR_MAX, "the virtual machine has no tap");
		return -EINVAL;
	}
	int err = find_kernel(d, error);
	if (err != 0)
		return err;
	place_dir(d, place, dir);
	if (mkdir(dir, 0700) != 0) {
		snprintf(error, VM_ERROR_MAX, "cannot make %.150s: %s", dir, strerror(errno));
		return -errno;
	}
	struct vm_spec spec = { .kernel = &d->vms->kernel,
		.dir = dir,
		.uid = uid_of(d, place),
		.share_uid = uid_of(d, place) + 1,
		.accel = VM_ACCEL_AUTO,
		.root = given->root,
		.shares = given->shares,
		.tap_fd = t->fd,
		.tso = d->ovs.tso,
		.mac = m->mac,
		.memory_mib = m->memory_mib,
		.cpus = m->cpus };
	struct vm_state *s = &vm->state;
	err = start_vmm(d, vm, &spec, error);
	if (err != 0)
		return err;
	m->warm = vm->warm;
	s->shares_uid = given->shares.uid;
	s->slot = m->ref.slot;
	s->run = m->ref.run;
	memcpy(s->tap, m->tap, sizeof(s->tap));
	memcpy(s->sync, m->sync, sizeof(s->sync));
	join_cgroup(d, s, m);
	err = vm_state_write(dir, s);
	if (err != 0)
		snprintf(error, VM_ERROR_MAX, "cannot write into %.150s: %s", dir, strerror(-err));
	return err;
}

int vm_watch(struct sekishod *d, struct vm *vm)
{
	uint32_t index = place_of(d, vm) * WATCH_KINDS;
	int err = loop_add(d->loop, frame_chan_fd(vm->keeper.chan), EPOLLIN, MAIN_VM, index + WATCH_KEEPER);
	if (err == 0)
		err = loop_add(d->loop, vm->keeper.pidfd, EPOLLIN, MAIN_VM, index + WATCH_KEEPER_PID);
	return err;
}

/* All that a program may have said ahead of its reader fits the client's socket: a keeper ends with its VM, and who
 * reads later, as in a pager, still finds it there. */
static void widen(int client)
{
	const int room = 4 * AGENT_WINDOW;
	if (setsockopt(client, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0)
		log_msg(LOG_WARNING, "the end of a long output may be lost on a slow reader: %s", strerror(errno));
}

static int start_keeper(struct sekishod *d, struct vm *vm, const struct ipc_vm *m, int client)
{
	char dir[VM_PATH_MAX];
	struct vm_channels c;
	struct child *k = &vm->keeper;
	place_dir(d, place_of(d, vm), dir);
	int err = vm_connect(dir, &c);
	if (err == 0)
		err = spawn_role(ROLE_KEEPER, d->conf_text, d->conf_len, k);
	if (err == 0)
		err = frame_send(k->chan, IPC_START, 0, NULL, 0, NULL, 0);
	widen(client);
	int fds[5 + AGENT_EXTRAS] = { client, c.ctl, c.qmp, c.serial, c.log };
	memcpy(fds + 5, c.extra, sizeof(c.extra));
	if (err == 0)
		err = ipc_send(k->chan, IPC_KEEPER, 0, vm, m, fds, 5 + AGENT_EXTRAS);
	vm_channels_close(&c);
	if (err == 0)
		err = vm_watch(d, vm);
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

static void keeper_unwatch(struct sekishod *d, struct vm *vm)
{
	if (vm->keeper.pid == 0)
		return;
	loop_del(d->loop, vm->keeper.pidfd);
	loop_del(d->loop, frame_chan_fd(vm->keeper.chan));
}

static void answer(struct sekishod *d, uint32_t id, int err, const char *text)
{
	struct frame_chan *c = d->children[ROLE_DESK].chan;
	if (c == NULL || ipc_send_result(c, id, err, 0, err == 0 ? NULL : text) != 0)
		log_msg(LOG_WARNING, "an answer to desk is lost");
}

/* Asks their file systems nothing: they may be the client's own. */
static bool opened_for(int fd, int mode)
{
	int flags = fcntl(fd, F_GETFL);
	return flags >= 0 && (flags & (O_ACCMODE | O_PATH)) == mode;
}

/* Behind the client's stream come the descriptors of its root, and of what is lent to it; they stay the frame's. */
static int take_root(const struct frame *f, const struct ipc_root *r, struct vm_root *ret)
{
	*ret = (struct vm_root){ .kind = VM_ROOT_HOST, .image_fd = -1, .layer_fd = -1 };
	unsigned n = 1;
	if (r->kind == IPC_ROOT_IMAGE) {
		ret->kind = VM_ROOT_IMAGE;
		ret->image_fd = f->fds[n++];
	}
	if (r->layer)
		ret->layer_fd = f->fds[n];
	return (ret->image_fd < 0 || opened_for(ret->image_fd, O_RDONLY)) &&
			       (ret->layer_fd < 0 || opened_for(ret->layer_fd, O_RDWR))
		     ? 0
		     : -EBADF;
}

static int take_given(const struct sekishod *d, const struct frame *f, const struct ipc_vm *m, struct given *ret,
	char *error)
{
	unsigned n = 1 + ipc_root_fds(&m->root);
	if (m->ref.slot == 0 || f->n_fds != n + m->shares.n)
		return -EINVAL;
	int err = take_root(f, &m->root, &ret->root);
	return err != 0 ? err : vm_shares_take(d, m, f->fds[0], f->fds + n, &ret->shares, error);
}

/* Closed by another, who may have to wait for their file system. */
static void drop_root(struct frame *f)
{
	if (f->n_fds < 2)
		return;
	fd_close_aside(f->fds + 1, f->n_fds - 1);
	f->n_fds = 1;
}

void vms_start(struct sekishod *d, struct frame *f)
{
	static struct ipc_vm m;
	char error[VM_ERROR_MAX] = "the request is malformed";
	unsigned place = 0;
	struct given given = { 0 };
	struct vm *vm = vm_free_place(d->vms, &place);
	int err = ipc_vm_get(f->body, f->len, &m) ? take_given(d, f, &m, &given, error) : -EINVAL;
	if (err == 0 && vm == NULL) {
		snprintf(error, sizeof(error), "%d virtual machines run already", VMS_MAX);
		err = -EBUSY;
	}
	if (err != 0) {
		vm_shares_drop(&given.shares);
		drop_root(f);
		answer(d, f->id, err, error);
		return;
	}
	*vm = (struct vm){ .keeper = { .pidfd = -1 },
		.state.proc = { .vmm.pidfd = -1, .share.pidfd = -1, .shares.pidfd = -1 },
		.ref = m.ref,
		.claimed = true };
	m.tso = d->ovs.tso;
	if (getrandom(m.sync, sizeof(m.sync), 0) != (ssize_t)sizeof(m.sync))
		err = -EIO;
	if (err == 0)
		err = start_machine(d, vm, &m, &given, error);
	if (err == 0) {
		err = start_keeper(d, vm, &m, f->fds[0]);
		if (err != 0)
			snprintf(error, sizeof(error), "cannot start the keeper: %s", strerror(-err));
	}
	if (err != 0) {
		keeper_unwatch(d, vm);
		keeper_end(&vm->keeper);
		vm_unmake(d, vm);
	}
	vm_shares_drop(&given.shares);
	drop_root(f);
	answer(d, f->id, err, error);
}

static void tell_exited(struct sekishod *d, const struct ipc_vm_exit *e)
{
	struct frame_chan *desk = d->children[ROLE_DESK].chan;
	struct vms *v = d->vms;
	if ((desk == NULL || ipc_send(desk, IPC_VM_EXITED, 0, vm_exit, e, NULL, 0) != 0) && v->n_untold < VMS_MAX)
		v->untold[v->n_untold++] = *e;
}

void vms_tell_unknown(struct sekishod *d, const struct ipc_app_ref *ref)
{
	struct ipc_vm_exit e = { .ref = *ref };
	ipc_text_set(&e.text, "its virtual machine has ended");
	tell_exited(d, &e);
}

void vms_desk_back(struct sekishod *d)
{
	struct vms *v = d->vms;
	unsigned n = v->n_untold;
	v->n_untold = 0;
	for (unsigned i = 0; i < VMS_MAX; i++)
		v->vm[i].claimed = false;
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
		known = vm->stopping = true;
		struct ipc_vm_pause on = { .ref = ref };
		if (vm->state.held)
			(void)!ipc_send(vm->keeper.chan, IPC_VM_PAUSE, 0, vm_pause, &on, NULL, 0);
		if (frame_send(vm->keeper.chan, IPC_STOP, 0, NULL, 0, NULL, 0) != 0)
			kill(vm->keeper.pid, SIGKILL);
	}
	if (!known)
		vms_tell_unknown(d, &ref);
}

static struct vm *vm_by_ref(struct vms *v, const struct ipc_app_ref *ref)
{
	for (unsigned i = 0; ref->slot != 0 && i < VMS_MAX; i++) {
		if (v->vm[i].ref.slot == ref->slot && v->vm[i].ref.run == ref->run)
			return &v->vm[i];
	}
	return NULL;
}

void vms_pause(struct sekishod *d, const struct frame *f)
{
	struct ipc_vm_pause m;
	struct vm *vm = ipc_vm_pause_get(f->body, f->len, &m) ? vm_by_ref(d->vms, &m.ref) : NULL;
	int err = vm == NULL ? -ENOENT : vm->pause_id != 0 ? -EBUSY : 0;
	if (err == 0)
		err = frame_send(vm->keeper.chan, IPC_VM_PAUSE, f->id, f->body, f->len, NULL, 0);
	if (err != 0) {
		answer(d, f->id, err, err == -EBUSY ? "it is being held or let go already" : "its machine is gone");
		return;
	}
	vm->pause_id = f->id;
	vm->pause_hold = m.hold;
}

static void write_state(struct sekishod *d, struct vm *vm)
{
	char dir[VM_PATH_MAX];
	place_dir(d, place_of(d, vm), dir);
	int err = vm_state_write(dir, &vm->state);
	if (err != 0)
		log_msg(LOG_ERROR, "the virtual machine of slot %u will not outlive me as it is: %s: %s", vm->ref.slot,
			dir, strerror(-err));
}

static void pause_answered(struct sekishod *d, struct vm *vm, int err, const char *text)
{
	uint32_t id = vm->pause_id;
	vm->pause_id = 0;
	if (err == 0) {
		vm->state.held = vm->pause_hold;
		write_state(d, vm);
	}
	answer(d, id, err, text);
}

void vms_attach(struct sekishod *d, const struct frame *f)
{
	struct ipc_vm_attach m;
	if (!ipc_vm_attach_get(f->body, f->len, &m) || f->n_fds != 1)
		return;
	struct vm *vm = vm_by_ref(d->vms, &m.ref);
	if (vm == NULL)
		return;
	widen(f->fds[0]);
	/* Not taken: its client sees the stream end. */
	(void)!frame_send(vm->keeper.chan, IPC_VM_ATTACH, 0, f->body, f->len, f->fds, 1);
}

void vms_exec(struct sekishod *d, const struct frame *f)
{
	static struct ipc_vm m;
	struct vm *vm = ipc_vm_get(f->body, f->len, &m) && f->n_fds == 1 ? vm_by_ref(d->vms, &m.ref) : NULL;
	if (vm == NULL)
		return;
	widen(f->fds[0]);
	(void)!frame_send(vm->keeper.chan, IPC_VM_EXEC, 0, f->body, f->len, f->fds, 1);
}

void vm_ended(struct sekishod *d, struct vm *vm)
{
	keeper_unwatch(d, vm);
	keeper_end(&vm->keeper);
	struct ipc_vm_exit e = vm->end;
	e.ref = vm->ref;
	vm_unmake(d, vm);
	tell_exited(d, &e);
}

/* The keeper is gone. Did its program end, so has the machine no reason to be; else another one takes it over. */
static void keeper_gone(struct sekishod *d, struct vm *vm)
{
	keeper_unwatch(d, vm);
	waitpid(vm->keeper.pid, NULL, 0);
	spawn_forget(&vm->keeper);
	if (vm->pause_id != 0)
		pause_answered(d, vm, -EAGAIN, "its keeper died; try again");
	if (vm->ended || vm->stopping || d->stopping || !vm->state.runs || vm_process_ended(&vm->state.proc.vmm)) {
		vm_ended(d, vm);
		return;
	}
	int err = spawn_may_start(&vm->keeper, clock_boot_ms()) ? vm_adopt(d, vm) : -EAGAIN;
	if (err == 0) {
		log_msg(LOG_WARNING, "the keeper of slot %u, run %u, died; its virtual machine runs on under a new one",
			vm->ref.slot, vm->ref.run);
		return;
	}
	log_msg(LOG_ERROR, "the virtual machine of slot %u, run %u, cannot be given a new keeper (%s): killed",
		vm->ref.slot, vm->ref.run, err == -EAGAIN ? "they die again and again" : strerror(-err));
	ipc_text_set(&vm->end.text, "its keeper died and could not be replaced");
	vm_ended(d, vm);
}

static void keeper_said(struct sekishod *d, struct vm *vm, const struct frame *f)
{
	struct ipc_result r;
	if (f->type == IPC_KEEPER_END && ipc_result_get(f->body, f->len, &r)) {
		vm->ended = true;
		vm->end.ref = vm->ref;
		vm->end.known = r.err == 0;
		vm->end.status = (uint8_t)r.value;
		vm->end.text = r.text;
		/* A desk that is away hears of the end itself. */
		if (d->children[ROLE_DESK].chan != NULL)
			(void)!ipc_send(d->children[ROLE_DESK].chan, IPC_VM_ENDING, 0, vm_exit, &vm->end, NULL, 0);
		if (r.err != 0)
			log_msg(LOG_WARNING, "the virtual machine of slot %u: %s", vm->ref.slot, r.text.s);
		if (r.err != 0 && vm->warm && !vm->state.runs && !vm->stopping)
			warm_failed(d, &vm->shape);
	} else if (f->type == IPC_KEEPER_RUNS && !vm->state.runs) {
		vm->state.runs = true;
		write_state(d, vm);
		warm_want(d, &vm->shape);
	} else if (f->type == IPC_RESULT && f->id == vm->pause_id && f->id != 0 &&
		   ipc_result_get(f->body, f->len, &r)) {
		pause_answered(d, vm, r.err, r.text.s);
	}
}

void vms_event(struct sekishod *d, const struct loop_event *ev)
{
	if (ev->ref.index / WATCH_KINDS >= VMS_MAX) {
		warm_event(d, ev);
		return;
	}
	struct vm *vm = &d->vms->vm[ev->ref.index / WATCH_KINDS];
	if (vm->ref.slot == 0 || vm->keeper.pid == 0)
		return;
	if (ev->ref.index % WATCH_KINDS == WATCH_KEEPER_PID && ev->ref.fd != vm->keeper.pidfd)
		return;
	struct frame f;
	int got;
	/* Its last words first, whichever descriptor speaks. */
	while ((got = frame_recv(vm->keeper.chan, &f)) > 0) {
		keeper_said(d, vm, &f);
		frame_close_fds(&f);
	}
	if (ev->ref.index % WATCH_KINDS == WATCH_KEEPER_PID) {
		keeper_gone(d, vm);
	} else if (got < 0) {
		loop_del(d->loop, ev->ref.fd);
		kill(vm->keeper.pid, SIGKILL);
	}
}
