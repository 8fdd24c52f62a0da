/* SPDX-License-Identifier: Apache-2.0 */
/* keeper: one per virtual machine, between its person and its guest. Ends when the program has ended, and says so; main
 * then ends the machine. Ended otherwise it leaves a machine that runs on, for the next keeper. */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/roles.h"
#include "vm/relay.h"
#include "vm/sessions.h"
#include "vm/warm.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

enum { KEEPER_RELAY = ROLE_COUNT, KEEPER_SESSIONS, N_FDS = 5, N_ADOPT_FDS = 4, SAID_MAX = 512 };

struct keeper {
	struct role *role;
	struct vm_relay *relay;	      /* NULL: nothing given yet */
	struct vm_sessions *sessions; /* NULL: as the relay, or it could not be */
	bool left;		      /* main has gone */
	bool said_runs, said_end;
	uint32_t pause_id; /* whose answer main awaits */
};

static bool exec_from(const struct ipc_vm *m, struct agent_exec *e)
{
	*e = (struct agent_exec){ .uid = m->uid,
		.gid = m->gid,
		.guest_user = m->guest_user,
		.tty = m->tty,
		.rows = m->rows,
		.cols = m->cols,
		.has_net = m->tap[0] != 0,
		.mac = m->mac,
		.v4 = m->v4,
		.v4_gateway = m->v4_gateway,
		.v6 = m->v6,
		.v6_gateway = m->v6_gateway,
		.v4_prefix = m->v4_prefix,
		.v6_prefix = m->v6_prefix,
		.dns = { m->dns4, m->dns6 },
		.argc = m->argc,
		.envc = m->envc,
		.strings_len = m->strings_len };
	static_assert(sizeof(m->sync) == sizeof(e->sync), "one key");
	memcpy(e->sync, m->sync, sizeof(e->sync));
	static_assert(sizeof(m->strings) <= sizeof(e->strings), "what ipc carries, exec can hold");
	if (m->strings_len > sizeof(m->strings))
		return false;
	snprintf(e->user, sizeof(e->user), "%s", m->user);
	snprintf(e->home, sizeof(e->home), "%s", m->home);
	snprintf(e->cwd, sizeof(e->cwd), "%s", m->cwd);
	snprintf(e->hostname, sizeof(e->hostname), "%.63s", m->name);
	memcpy(e->strings, m->strings, m->strings_len);
	static_assert((int)IPC_SHARES_MAX == (int)AGENT_SHARES_MAX && sizeof(e->share) == sizeof(m->shares.path),
		"one list");
	e->n_shares = m->shares.n;
	e->share_home = m->shares.home != IPC_HOME_NONE;
	memcpy(e->share, m->shares.path, sizeof(e->share));
	return true;
}

/* The further ports come last. */
static int keeper_sessions(struct keeper *k, const int fds[AGENT_EXTRAS], const uint8_t sync[AGENT_SYNC_LEN],
	bool adopted)
{
	return vm_sessions_new(k->role->loop, KEEPER_SESSIONS, 0, fds, sync, adopted, &k->sessions);
}

static int keeper_take(struct keeper *k, struct frame *f)
{
	static struct ipc_vm m;
	static struct agent_exec e;
	if (k->relay != NULL || f->n_fds != N_FDS + AGENT_EXTRAS || !ipc_vm_get(f->body, f->len, &m) ||
		!exec_from(&m, &e))
		return -EPROTO;
	struct vm_relay_fds fds = { .client = f->fds[0],
		.guest = f->fds[1],
		.qmp = f->fds[2],
		.console = f->fds[3],
		.log = f->fds[4] };
	f->n_fds = 0;
	int err = keeper_sessions(k, f->fds + N_FDS, m.sync, false);
	int relay_err = vm_relay_new(k->role->loop, KEEPER_RELAY, &fds, &e, m.warm, clock_boot_ms(), &k->relay);
	if (relay_err == 0 && m.detach)
		vm_relay_detach(k->relay);
	return err != 0 ? err : relay_err;
}

static void keeper_attach(struct keeper *k, struct frame *f)
{
	struct ipc_vm_attach m;
	if (k->relay == NULL || f->n_fds != 1 || !ipc_vm_attach_get(f->body, f->len, &m))
		return;
	f->n_fds = 0;
	if (m.output)
		vm_relay_tell_output(k->relay, f->fds[0]);
	else
		vm_relay_attach(k->relay, f->fds[0], m.rows, m.cols);
}

static void keeper_exec(struct keeper *k, struct frame *f)
{
	static struct ipc_vm m;
	static struct agent_exec e;
	if (k->sessions == NULL || f->n_fds != 1 || !ipc_vm_get(f->body, f->len, &m) || !exec_from(&m, &e))
		return;
	f->n_fds = 0;
	vm_sessions_exec(k->sessions, f->fds[0], &e, clock_boot_ms());
}

static int keeper_adopt(struct keeper *k, struct frame *f)
{
	struct ipc_adopt m;
	if (k->relay != NULL || f->n_fds != N_ADOPT_FDS + AGENT_EXTRAS || !ipc_adopt_get(f->body, f->len, &m))
		return -EPROTO;
	struct vm_relay_fds fds = { .client = -1,
		.guest = f->fds[0],
		.qmp = f->fds[1],
		.console = f->fds[2],
		.log = f->fds[3] };
	f->n_fds = 0;
	k->said_runs = true;
	int err = keeper_sessions(k, f->fds + N_ADOPT_FDS, m.sync, true);
	int relay_err = vm_relay_adopt(k->role->loop, KEEPER_RELAY, &fds, m.sync, &k->relay);
	return err != 0 ? err : relay_err;
}

/* A machine without an application: this is all that is to be done with it. The filter lets nothing through that the
 * dialogue does not need. */
static void keeper_warm(struct keeper *k, const struct frame *f)
{
	bool stores = f->type == IPC_KEEPER_STORE;
	if (f->n_fds != (stores ? 3 : 1))
		return;
	int err = stores ? vm_warm_store(f->fds[0], f->fds[1], f->fds[2]) : vm_warm_try(f->fds[0]);
	if (!role_result(k->role, ROLE_MAIN, f->id, err, 0, NULL))
		log_msg(LOG_DEBUG, "main could not be told");
}

static void keeper_pause(struct keeper *k, const struct frame *f)
{
	struct ipc_vm_pause m;
	if (!ipc_vm_pause_get(f->body, f->len, &m))
		return;
	int err = k->relay == NULL ? -EAGAIN : vm_relay_pause(k->relay, m.hold);
	if (err == 0)
		k->pause_id = f->id;
	else
		role_result(k->role, ROLE_MAIN, f->id, err, m.hold, "its machine does not listen");
}

static void keeper_say_paused(struct keeper *k)
{
	int err;
	if (k->relay != NULL && vm_relay_paused(k->relay, &err) && k->pause_id != 0)
		role_result(k->role, ROLE_MAIN, k->pause_id, err, 0, err == 0 ? NULL : "its machine does not obey");
}

static void keeper_frame(struct keeper *k, struct frame *f)
{
	if (f->type == IPC_STOP && k->relay != NULL)
		vm_relay_stop(k->relay, clock_boot_ms());
	if (f->type == IPC_VM_PAUSE)
		keeper_pause(k, f);
	if (f->type == IPC_VM_ATTACH)
		keeper_attach(k, f);
	if (f->type == IPC_VM_EXEC)
		keeper_exec(k, f);
	if (f->type == IPC_KEEPER_STORE || f->type == IPC_KEEPER_TRY)
		keeper_warm(k, f);
	if (f->type == IPC_KEEPER || f->type == IPC_KEEPER_ADOPT) {
		int err = f->type == IPC_KEEPER ? keeper_take(k, f) : keeper_adopt(k, f);
		if (err != 0) {
			log_msg(LOG_ERROR, "a virtual machine cannot be kept: %s", strerror(-err));
			k->role->stopping = true;
		}
	}
	frame_close_fds(f);
}

static void keeper_event(struct keeper *k, const struct loop_event *ev)
{
	struct frame f;
	enum role_id from;
	if (ev->ref.type == KEEPER_RELAY) {
		if (k->relay != NULL)
			vm_relay_event(k->relay, ev, clock_boot_ms());
		return;
	}
	if (ev->ref.type == KEEPER_SESSIONS) {
		if (k->sessions != NULL)
			vm_sessions_event(k->sessions, ev, clock_boot_ms());
		return;
	}
	while (role_recv(k->role, ev, &from, &f) == 1)
		keeper_frame(k, &f);
	/* main has gone: its successor cannot know the person's stream, so it gets an end instead of silence. */
	k->left = k->role->chan[ROLE_MAIN] == NULL;
	if (k->left && k->relay != NULL)
		vm_relay_leave(k->relay, "the daemon has gone; the application runs on (sekisho ps)");
}

static void keeper_say_runs(struct keeper *k)
{
	if (k->said_runs || k->relay == NULL || !vm_relay_runs(k->relay))
		return;
	k->said_runs = role_send(k->role, ROLE_MAIN, IPC_KEEPER_RUNS, 0, NULL, 0, NULL, 0);
}

/* As soon as it is known: whoever hears of it may ask for the same name at once. */
static void keeper_say_end(struct keeper *k)
{
	if (k->said_end || k->relay == NULL || !vm_relay_ended(k->relay))
		return;
	k->said_end = true;
	const struct agent_exit *e = vm_relay_exit(k->relay);
	char said[SAID_MAX];
	text_escape(e->reason, strlen(e->reason), said, sizeof(said));
	if (e->status == 125)
		log_msg(LOG_WARNING, "%s", said);
	struct ipc_result m = { .err = e->status == 125 ? -EIO : 0, .value = e->status };
	ipc_text_set(&m.text, said);
	if (!role_send_msg(k->role, ROLE_MAIN, IPC_KEEPER_END, 0, result, &m, NULL, 0))
		log_msg(LOG_DEBUG, "main could not be told of the end");
}

static int64_t keeper_deadline(const struct keeper *k)
{
	int64_t relay = k->relay == NULL ? -1 : vm_relay_deadline(k->relay);
	int64_t sessions = k->sessions == NULL ? -1 : vm_sessions_deadline(k->sessions);
	return relay < 0 || (sessions >= 0 && sessions < relay) ? sessions : relay;
}

/* Either may be called before its time. */
static void keeper_tick(struct keeper *k, int64_t now_ms)
{
	if (k->relay != NULL)
		vm_relay_tick(k->relay, now_ms);
	if (k->sessions != NULL)
		vm_sessions_tick(k->sessions, now_ms);
}

int keeper_main(struct role *r)
{
	struct keeper k = { .role = r };
	int err = role_confine(r, &(struct role_confine){ 0 });
	if (err != 0)
		return err;
	role_ready(r);
	while (k.relay == NULL ? !r->stopping : !vm_relay_done(k.relay)) {
		struct loop_event ev;
		if (loop_next(r->loop, keeper_deadline(&k), &ev))
			keeper_event(&k, &ev);
		else
			keeper_tick(&k, clock_boot_ms());
		keeper_say_runs(&k);
		keeper_say_end(&k);
		keeper_say_paused(&k);
	}
	vm_sessions_free(k.sessions, k.left ? "the daemon has gone" : "the application has ended");
	vm_relay_free(k.relay);
	return 0;
}
