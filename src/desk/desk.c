/* SPDX-License-Identifier: Apache-2.0 */
#include "desk/desk.h"

#include "base/clock.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/group.h"
#include "desk/lists.h"
#include "desk/main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* What SQLite and the control socket need beyond the common calls. */
static const char *const desk_calls[] = { "accept4", "openat", "open", "stat", "lstat", "access", "faccessat",
	"faccessat2", "unlink", "unlinkat", "fsync", "fdatasync", "ftruncate", "pread64", "pwrite64", "fallocate",
	"rename", "renameat", "renameat2", "fchmod", "fchown", "geteuid", "getuid", "getcwd", "readlink",
	"memfd_create", "dup2", "dup3", "statx", "clock_nanosleep", "pipe2", "wait4", "close_range", "setitimer",
	"set_robust_list", "getdents64", "setpriority", NULL };

void desk_flush_later(struct desk *d)
{
	if (d->flush_at_ms < 0)
		d->flush_at_ms = clock_boot_ms() + DESK_FLUSH_MS;
}

static void desk_flush(struct desk *d)
{
	d->flush_at_ms = -1;
	int err = uses_store(d);
	if (err == 0)
		err = store_commit(d->store);
	if (err != 0)
		log_msg(LOG_ERROR, "what happened could not be stored: %s", strerror(-err));
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

static void peer_back(struct desk *d, enum role_id peer)
{
	if (peer == ROLE_GATE) {
		d->gate_synced = false;
		d->in_force = 0;
		gate_sync(d);
	} else if (peer == ROLE_SWITCHD) {
		apps_sync(d, ROLE_SWITCHD);
	} else if (peer == ROLE_AUTH) {
		auth_back(d);
	} else if (peer == ROLE_FETCH) {
		lists_fetch_back(d);
	}
}

static void from_main(struct desk *d, struct frame *f)
{
	struct ipc_result r;
	struct ipc_vm_pause pause;
	static struct ipc_vm_exit e;
	static struct ipc_forwards held;
	static struct ipc_check k;
	if (f->type == IPC_STOP) {
		apps_stop_all(d);
	} else if (f->type == IPC_SOCKETS && f->n_fds >= 1 && d->listener < 0) {
		if (clients_init(d, f->fds[0]) == 0)
			f->fds[0] = -1;
	} else if (f->type == IPC_RELOAD) {
		/* Perhaps somebody has decided: a fresh desk looks again. */
		d->restart = d->restart || (d->loaded && d->damaged[0] != '\0');
		rules_reload(d);
	} else if (f->type == IPC_POLICY_FILE) {
		rules_file(d, f);
	} else if (f->type == IPC_PROFILE_FILE) {
		profile_file(d, f);
	} else if (f->type == IPC_POLICY_END) {
		rules_files_end(d, f->id);
	} else if (f->type == IPC_VM_ENDING && ipc_vm_exit_get(f->body, f->len, &e)) {
		app_vm_ending(d, &e);
	} else if (f->type == IPC_VM_EXITED && ipc_vm_exit_get(f->body, f->len, &e)) {
		app_vm_exited(d, &e);
	} else if (f->type == IPC_FORWARDS_HELD && ipc_forwards_get(f->body, f->len, &held)) {
		forwards_held(d, &held);
	} else if (f->type == IPC_CHECK && ipc_check_get(f->body, f->len, &k)) {
		doctor_check(d, &k);
	} else if (f->type == IPC_CHECK_END) {
		doctor_end(d);
	} else if (f->type == IPC_VM_PAUSE && ipc_vm_pause_get(f->body, f->len, &pause)) {
		app_frozen(d, &pause.ref);
	} else if (f->type == IPC_RESULT && ipc_result_get(f->body, f->len, &r)) {
		if (!lists_opened(d, f, &r) && !reload_refused(d, f->id, &r) && !app_pause_result(d, f->id, &r))
			app_result(d, ROLE_MAIN, f->id, &r);
	}
}

/* switchd knows interfaces, not applications. */
static void port_gone(struct desk *d, const char *ifname)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		if (a->state == APP_FREE || strcmp(a->ifname, ifname) != 0)
			continue;
		struct ipc_app_ref ref = a->gate.ref;
		app_gone(d, &ref);
		return;
	}
}

static void from_switchd(struct desk *d, const struct frame *f)
{
	static struct ipc_result r;
	static struct ipc_text t;
	struct ipc_port p;
	if (f->type == IPC_RESULT && ipc_result_get(f->body, f->len, &r))
		app_result(d, ROLE_SWITCHD, f->id, &r);
	else if (f->type == IPC_PORT_GONE && ipc_port_get(f->body, f->len, &p))
		port_gone(d, p.ifname);
	else if (f->type == IPC_SWITCH_EVENT && ipc_text_get(f->body, f->len, &t))
		log_text(d, "switch", t.s);
}

static void from_gate(struct desk *d, const struct frame *f)
{
	static struct ipc_result r;
	static struct ipc_question q;
	static struct ipc_event e;
	struct ipc_used used;
	struct ipc_u32 number;
	if (f->type == IPC_RESULT && ipc_result_get(f->body, f->len, &r)) {
		if (f->id & 0x80000000U)
			app_result(d, ROLE_GATE, f->id, &r);
		else if (f->id != 0)
			rules_result(d, f, &r);
	} else if (f->type == IPC_CHARGE) {
		rules_charge(d, f);
	} else if (f->type == IPC_QUESTION && ipc_question_get(f->body, f->len, &q)) {
		questions_ask(d, &q);
	} else if (f->type == IPC_QUESTION_END && ipc_u32_get(f->body, f->len, &number)) {
		questions_end(d, number.v);
	} else if (f->type == IPC_EVENT && ipc_event_get(f->body, f->len, &e)) {
		log_gate_event(d, &e);
	} else if (f->type == IPC_USED && ipc_used_get(f->body, f->len, &used)) {
		uses_count(d, used.rule, used.count);
	} else if (f->type == IPC_GRANT) {
		gate_grant_copy(d, f);
	} else if (f->type == IPC_GRANT_END) {
		gate_grant_ended(d, f);
	} else if (f->type == IPC_GRANT_WANT) {
		gate_block_give(d);
	} else if (f->type == IPC_SYN) {
		gate_syn_copy(d, f);
	}
}

static void from_auth(struct desk *d, const struct frame *f)
{
	static struct ipc_result r;
	static struct ipc_auth_state state;
	if (f->type == IPC_RESULT && ipc_result_get(f->body, f->len, &r))
		auth_result(d, f->id, &r);
	else if (f->type == IPC_AUTH_STATE && ipc_auth_state_get(f->body, f->len, &state))
		auth_state(d, &state);
}

static void desk_channel(struct desk *d, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	while (role_recv(d->role, ev, &from, &f) == 1) {
		if (f.type == IPC_CHANNEL)
			peer_back(d, from);
		else if (from == ROLE_MAIN)
			from_main(d, &f);
		else if (from == ROLE_SWITCHD)
			from_switchd(d, &f);
		else if (from == ROLE_GATE)
			from_gate(d, &f);
		else if (from == ROLE_AUTH)
			from_auth(d, &f);
		else if (from == ROLE_FETCH && f.type == IPC_FETCHED)
			lists_fetched(d, &f);
		for (unsigned i = 0; i < f.n_fds; i++) {
			if (f.fds[i] >= 0)
				close(f.fds[i]);
		}
	}
}

static void gate_lost(struct desk *d)
{
	d->gate_synced = false;
	d->in_force = 0;
	questions_gate_lost(d);
	clients_in_force(d);
	rules_report(d);
}

static void desk_event(struct desk *d, const struct loop_event *ev)
{
	if (ev->ref.type < ROLE_COUNT) {
		bool had_gate = d->role->chan[ROLE_GATE] != NULL, had_auth = d->role->chan[ROLE_AUTH] != NULL;
		desk_channel(d, ev);
		if (had_auth && d->role->chan[ROLE_AUTH] == NULL)
			auth_lost(d);
		if (had_gate && d->role->chan[ROLE_GATE] == NULL)
			gate_lost(d);
		return;
	}
	switch ((enum desk_event)ev->ref.type) {
	case DESK_LISTEN:
		clients_accept(d);
		break;
	case DESK_CLIENT:
		client_event(d, ev);
		break;
	case DESK_NETLINK:
		if (!host_route_event(&d->host, &d->role->conf.plan))
			break;
		d->env++;
		if (d->loaded && rules_activate(d, NULL) != 0)
			log_msg(LOG_ERROR, "a policy with the host's new addresses could not be made");
		break;
	case DESK_COMPILED:
		compile_event(d);
		break;
	}
}

static void desk_tick(struct desk *d)
{
	rules_charges_settle(d);
	rules_expire(d);
	files_tick(d);
	compile_tick(d);
	learn_tick(d);
	lists_tick(d);
	questions_tick(d);
	if (d->flush_at_ms >= 0 && clock_boot_ms() >= d->flush_at_ms)
		desk_flush(d);
	refusals_tick(d);
	forwards_update(d);
	if (store_torn(d->store))
		return;
	clients_flush(d);
}

static bool desk_ends(const struct desk *d)
{
	if (d->role->chan[ROLE_MAIN] == NULL)
		return true;
	/* Whether the last change is stored only a new look can tell: nobody is told anything, and a fresh desk looks.
	 */
	if (store_torn(d->store))
		log_msg(LOG_ERROR, "the disk failed in the middle of a change; beginning afresh");
	return d->restart || store_torn(d->store) || (d->role->stopping && apps_stopping(d) == 0);
}

static void desk_serve(struct desk *d)
{
	while (!desk_ends(d)) {
		struct loop_event ev;
		int64_t until = earlier(earlier(rules_next_ms(d), questions_next_ms(d)),
			earlier(earlier(d->flush_at_ms, d->refusals_at_ms),
				earlier(learn_next_ms(d), lists_next_ms(d))));
		if (d->again || group_waits())
			until = 0;
		d->again = false;
		bool came = loop_next(d->role->loop, until, &ev);
		if (came)
			desk_event(d, &ev);
		if (group_waits() && (!came || group_due(d)))
			group_run(d);
		desk_tick(d);
	}
	desk_flush(d);
}

/* A damaged store must not become a policy with fewer denies: nothing passes, and whoever asks is told what to do. */
static int desk_hold(struct desk *d, const char *why)
{
	char error[STORE_ERROR_MAX];
	snprintf(d->damaged, sizeof(d->damaged), "%s", why);
	log_msg(LOG_ERROR, "%s/store: nothing passes: %s", d->role->conf.state_dir, why);
	return store_open(":memory:", &d->store, error);
}

static int desk_open(struct desk *d)
{
	char error[STORE_ERROR_MAX];
	int err = store_open("store.db", &d->store, error);
	if (err == -EUCLEAN)
		err = desk_hold(d, error);
	if (err != 0) {
		log_msg(LOG_ERROR, "%s/store/store.db: %s", d->role->conf.state_dir, error);
		return err;
	}
	if (error[0] != '\0' && d->damaged[0] == '\0')
		log_msg(LOG_WARNING, "%s/store/store.db: %s", d->role->conf.state_dir, error);
	const struct conf *conf = &d->role->conf;
	store_history_limits(d->store, conf->history_rows, (int64_t)conf->history_mib << 20,
		conf->history_days * INT64_C(86400000));
	apps_load(d);
	err = rules_load(d);
	if (err == 0)
		err = gate_load(d);
	if (err == 0)
		err = uses_load(d);
	if (err == 0)
		questions_load(d);
	if (err != 0)
		log_msg(LOG_ERROR, "the store cannot be read: %s", strerror(-err));
	return err;
}

int desk_main(struct role *r)
{
	static struct desk d;
	char root[sizeof(r->conf.state_dir) + 8];
	snprintf(root, sizeof(root), "%s/store", r->conf.state_dir);
	d.role = r;
	d.listener = -1;
	d.flush_at_ms = -1;
	d.waits_at_ms = d.refusals_at_ms = -1;
	d.started_ms = clock_boot_ms();
	for (unsigned i = 0; i < DESK_CLIENTS; i++)
		d.clients[i].fd = -1;
	int err = host_open(&d.host, &r->conf.plan);
	if (err != 0)
		log_msg(LOG_ERROR, "the host's users or addresses cannot be read: %s", strerror(-err));
	const struct role_confine confine = { .root_dir = root, .extra = desk_calls, .fork = true };
	if (err == 0)
		err = role_confine(r, &confine);
	if (err == 0)
		err = lists_new(&d);
	if (err == 0)
		err = desk_open(&d);
	if (err == 0)
		err = loop_add(r->loop, d.host.route_fd, EPOLLIN, DESK_NETLINK, 0);
	if (err != 0)
		return err;
	apps_claim(&d);
	role_ready(r);
	if (r->chan[ROLE_SWITCHD] != NULL)
		apps_sync(&d, ROLE_SWITCHD);
	desk_serve(&d);
	store_close(d.store);
	return 0;
}
