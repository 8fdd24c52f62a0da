/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored machines for warm starts. When a machine has booted of which none is stored, another of its shape is booted
 * with empty disks, stored, resumed once to see that it works, and kept. One at a time, in a place of its own behind
 * those of applications; a keeper without an application speaks with it.
 */
#include "daemon/warm.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/vm_place.h"
#include "vm/warm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PLACE = VMS_MAX, AGAIN_MS = 600000 };

static struct {
	enum { WARM_IDLE, WARM_STORES, WARM_TRIES } step;
	struct vm_spec spec; /* the shape; its descriptors are nobody's */
	char dir[VM_PATH_MAX];
	struct vm_proc proc;
	struct child keeper;
	bool answered;
	int err;
	int64_t not_before_ms; /* boot time: after a failure */
} w;

static void descriptors_close(const struct vm_spec *s)
{
	close(s->root.image_fd);
	if (s->root.layer_fd >= 0)
		close(s->root.layer_fd);
}

static void machine_end(struct sekishod *d)
{
	if (w.keeper.pid != 0) {
		loop_del(d->loop, w.keeper.pidfd);
		loop_del(d->loop, frame_chan_fd(w.keeper.chan));
		kill(w.keeper.pid, SIGKILL);
		waitpid(w.keeper.pid, NULL, 0);
		spawn_forget(&w.keeper);
	}
	vm_kill(&w.proc);
	vm_clean(w.dir);
	rmdir(w.dir);
}

/* A machine of the shape, and a keeper that is told what to do with it. `file`: what is written, or read. */
static int machine_begin(struct sekishod *d, int file, char *error)
{
	struct vm_spec s;
	struct vm_channels c;
	bool stores = w.step == WARM_STORES;
	int err = vm_warm_blank(&w.spec, &s);
	if (err != 0)
		return err;
	s.dir = w.dir;
	s.uid = uid_of(d, PLACE);
	s.share_uid = s.uid + 1;
	s.resume_fd = stores ? -1 : file;
	err = mkdir(w.dir, 0700) == 0 ? vm_start(&s, &w.proc, error) : -errno;
	descriptors_close(&s);
	if (err == 0)
		err = vm_connect(w.dir, &c);
	if (err != 0)
		return err;
	err = spawn_role(ROLE_KEEPER, d->conf_text, d->conf_len, &w.keeper);
	if (err == 0)
		err = frame_send(w.keeper.chan, IPC_START, 0, NULL, 0, NULL, 0);
	const int fds[] = { c.ctl, c.qmp, file };
	if (err == 0)
		err = frame_send(w.keeper.chan, stores ? IPC_KEEPER_STORE : IPC_KEEPER_TRY, 0, NULL, 0, fds,
			stores ? 3 : 1);
	vm_channels_close(&c);
	const uint32_t index = PLACE * WATCH_KINDS;
	if (err == 0)
		err = loop_add(d->loop, frame_chan_fd(w.keeper.chan), EPOLLIN, MAIN_VM, index + WATCH_KEEPER);
	if (err == 0)
		err = loop_add(d->loop, w.keeper.pidfd, EPOLLIN, MAIN_VM, index + WATCH_KEEPER_PID);
	return err;
}

static void begin(struct sekishod *d, int file)
{
	char error[VM_ERROR_MAX] = "";
	w.answered = false;
	w.proc = (struct vm_proc){ .vmm.pidfd = -1, .share.pidfd = -1, .shares.pidfd = -1 };
	int err = file < 0 ? file : machine_begin(d, file, error);
	if (file >= 0)
		close(file);
	if (err == 0)
		return;
	log_msg(LOG_WARNING, "no machine is stored for warm starts: %s", error[0] != '\0' ? error : strerror(-err));
	warm_end(d);
}

void warm_want(struct sekishod *d, const struct vm_spec *spec)
{
	if (w.step != WARM_IDLE || d->stopping || !vm_warm_may(spec) || clock_boot_ms() < w.not_before_ms)
		return;
	int fd = vm_warm_open(d->conf.state_dir, spec);
	if (fd >= 0) {
		close(fd);
		return;
	}
	w.spec = *spec;
	w.step = WARM_STORES;
	place_dir(d, PLACE, w.dir);
	vm_clean(w.dir);
	rmdir(w.dir);
	begin(d, vm_warm_create(d->conf.state_dir, spec));
}

void warm_end(struct sekishod *d)
{
	if (w.step == WARM_IDLE)
		return;
	machine_end(d);
	vm_warm_forget(d->conf.state_dir, &w.spec);
	w.step = WARM_IDLE;
	w.not_before_ms = clock_boot_ms() + AGAIN_MS;
}

void warm_failed(struct sekishod *d, const struct vm_spec *spec)
{
	log_msg(LOG_WARNING, "a stored machine did not start its program; the next one boots");
	vm_warm_forget(d->conf.state_dir, spec);
	w.not_before_ms = clock_boot_ms() + AGAIN_MS;
}

/* Its keeper has answered and ended, or died. */
static void step_ended(struct sekishod *d)
{
	int err = w.answered ? w.err : -EPIPE;
	bool stored = w.step == WARM_STORES;
	machine_end(d);
	if (err == 0 && stored) {
		w.step = WARM_TRIES;
		begin(d, vm_warm_reopen(d->conf.state_dir, &w.spec));
		return;
	}
	if (err == 0)
		err = vm_warm_keep(d->conf.state_dir, &w.spec);
	if (err != 0) {
		log_msg(LOG_WARNING, "a machine could not be %s: %s", stored ? "stored" : "resumed", strerror(-err));
		warm_end(d);
		return;
	}
	log_msg(LOG_NOTICE, "applications of %u MiB on images start warm from now on", w.spec.memory_mib);
	w.step = WARM_IDLE;
}

void warm_event(struct sekishod *d, const struct loop_event *ev)
{
	struct frame f;
	int got;
	if (w.step == WARM_IDLE || w.keeper.pid == 0)
		return;
	while ((got = frame_recv(w.keeper.chan, &f)) > 0) {
		struct ipc_result r;
		if (f.type == IPC_RESULT && ipc_result_get(f.body, f.len, &r)) {
			w.answered = true;
			w.err = r.err;
		}
		frame_close_fds(&f);
	}
	if (w.answered || ev->ref.index % WATCH_KINDS == WATCH_KEEPER_PID || got < 0)
		step_ended(d);
}
