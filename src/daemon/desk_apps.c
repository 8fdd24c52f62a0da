/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an application is a walk down a list of steps, each done by another role and answered by it: interface,
 * port of the switch, flows of the gate, interface up, machine. Whatever fails or ends, the same steps are walked up
 * again from where it got to, so nothing half made stays. The interface comes up last and the flows go before the port
 * does: at no moment is there a port that forwards without the gate's flows.
 */
#include "agent/frame.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/desk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { OFPORT_BASE = 1000, ZONE_RUNS = 8192, MEMORY_MIB = 512, MEMORY_MIN = 64, MEMORY_MAX = 262144, CPUS_MAX = 64 };
#define STEP_ID 0x80000000U

static void step_begin(struct desk *d, struct app *a);
static void stop_step(struct desk *d, struct app *a);

struct app *app_by_ref(struct desk *d, const struct ipc_app_ref *ref)
{
	struct app *a = &d->apps[ref->slot % PLAN_SLOTS];
	return ref->slot != 0 && a->state != APP_FREE && a->gate.ref.run == ref->run ? a : NULL;
}

struct app *app_by_name(struct desk *d, uint32_t owner, const char *name)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		if (a->state != APP_FREE && a->gate.owner == owner && strcmp(a->gate.name, name) == 0)
			return a;
	}
	return NULL;
}

unsigned apps_count(const struct desk *d)
{
	unsigned n = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++)
		n += d->apps[i].state != APP_FREE;
	return n;
}

static void app_error(struct app *a, const char *text)
{
	if (a->error == NULL)
		a->error = strdup(text[0] == '\0' ? "it failed without a reason" : text);
}

static void app_clear(struct app *a)
{
	free(a->error);
	free(a->vm);
	if (a->stream >= 0)
		close(a->stream);
	*a = (struct app){ .state = APP_FREE, .client = -1, .stop_client = -1, .stream = -1 };
}

static bool zone_used(const struct desk *d, uint16_t zone)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && d->apps[i].gate.zone == zone)
			return true;
	}
	return false;
}

/* Addresses follow from the slot, zones from the run: what an earlier run left in conntrack is never met again soon. */
static void app_place(struct desk *d, struct app *a, uint16_t slot, uint32_t run)
{
	const struct plan *p = &d->role->conf.plan;
	uint32_t n = run % ZONE_RUNS;
	a->gate.ref = (struct ipc_app_ref){ .slot = slot, .run = run };
	while (zone_used(d, (uint16_t)(d->role->conf.zone_base + 2 * n)))
		n = (n + 1) % ZONE_RUNS;
	a->gate.zone = (uint16_t)(d->role->conf.zone_base + 2 * n);
	a->gate.names_zone = (uint16_t)(a->gate.zone + 1);
	a->gate.mac = plan_mac(slot, run, 0);
	a->gate.ofport = (uint32_t)OFPORT_BASE + slot;
	a->gate.v4 = plan_v4(p, slot, 2);
	a->gate.v4_gateway = plan_v4(p, slot, 1);
	a->gate.v6 = plan_v6(p, slot, 2);
}

static uint16_t free_slot(struct desk *d, uint32_t owner, bool admin)
{
	unsigned same = 0;
	uint16_t slot = 0;
	for (uint16_t i = PLAN_SLOTS - 1; i > 0; i--) {
		if (d->apps[i].state == APP_FREE)
			slot = i;
		else
			same += d->apps[i].gate.owner == owner;
	}
	return !admin && same >= DESK_APPS_PER_UID ? 0 : slot;
}

/* A name the admin's rules speak of is lent to nobody. */
static bool name_reserved(const struct desk *d, const char *name)
{
	for (size_t i = 0; i < d->n_rules; i++) {
		const struct rule *r = d->rules[i];
		if (r->e.meta.origin == POLICY_ORIGIN_ADMIN && r->e.rule.subject == POLICY_SUBJECT_APP &&
			strcmp(r->e.rule.who, name) == 0)
			return true;
	}
	for (size_t g = 0; g < d->input.n_groups; g++) {
		for (size_t i = 0; i < d->input.groups[g].n_apps; i++) {
			if (strcmp(d->input.groups[g].apps[i], name) == 0)
				return true;
		}
	}
	return false;
}

/* A new application in its first step; NULL: an error was replied. */
static struct app *app_new(struct desk *d, struct client *c, const char *name, uint32_t owner, enum app_kind kind)
{
	if (!c->admin && name_reserved(d, name)) {
		client_denied(d, c, "the admin's rules speak of %s, so only admins may start it; choose another name",
			name);
		return NULL;
	}
	if (app_by_name(d, owner, name) != NULL) {
		client_fail(d, c, "org.sekisho.Exists",
			"%s runs already; stop it first (sekisho stop %s) or choose another name", name, name);
		return NULL;
	}
	uint16_t slot = free_slot(d, owner, c->admin);
	uint32_t run;
	if (slot == 0) {
		client_error(d, c, "org.sekisho.Limit",
			json_pack("{s:s, s:i, s:s}", "what", "apps", "limit", (int)DESK_APPS_PER_UID, "text",
				"too many applications run; stop one"));
		return NULL;
	}
	int err = store_take(d->store, STORE_RUNS, 1, &run);
	if (err != 0) {
		client_fail(d, c, "org.sekisho.Failed", "the run cannot be stored: %s", strerror(-err));
		return NULL;
	}
	struct app *a = &d->apps[slot];
	app_clear(a);
	a->state = APP_STARTING;
	a->kind = kind;
	a->step = STEP_LINK;
	a->gate.owner = owner;
	a->started_ms = clock_wall_ms();
	snprintf(a->gate.name, sizeof(a->gate.name), "%s", name);
	app_place(d, a, slot, run);
	a->client = (int)(c - d->clients);
	c->wait = CLIENT_APP;
	return a;
}

static int app_store(struct desk *d, const struct app *a)
{
	struct store_app s = { .slot = a->gate.ref.slot,
		.run = a->gate.ref.run,
		.owner = a->gate.owner,
		.kind = (uint32_t)a->kind,
		.mac = a->gate.mac,
		.zone = a->gate.zone,
		.names_zone = a->gate.names_zone,
		.ask = a->gate.ask,
		.started_ms = a->started_ms };
	snprintf(s.name, sizeof(s.name), "%s", a->gate.name);
	snprintf(s.ifname, sizeof(s.ifname), "%s", a->ifname);
	int err = store_app_put(d->store, &s);
	return err != 0 ? err : store_commit(d->store);
}

/* Steps */

static bool step_send(struct desk *d, struct app *a, enum role_id to, uint16_t type)
{
	struct ipc_text ifname;
	struct ipc_port port = { .ofport = a->gate.ofport, .ref = a->gate.ref };
	ipc_text_set(&ifname, a->ifname);
	snprintf(port.ifname, sizeof(port.ifname), "%s", a->ifname);
	d->last_step++;
	a->pending = STEP_ID | (uint32_t)a->gate.ref.slot << 16 | (d->last_step & 0xffff);
	a->pending_on = to;
	bool sent = false;
	if (to == ROLE_MAIN && type == IPC_VM_START)
		sent = role_send_msg(d->role, to, type, a->pending, vm, a->vm, &a->stream, 1);
	else if (to == ROLE_MAIN)
		sent = role_send_msg(d->role, to, type, a->pending, text, &ifname, NULL, 0);
	else if (to == ROLE_SWITCHD)
		sent = role_send_msg(d->role, to, type, a->pending, port, &port, NULL, 0);
	else if (type == IPC_APP_ADD)
		sent = role_send_msg(d->role, to, type, a->pending, app, &a->gate, NULL, 0);
	else
		sent = role_send_msg(d->role, to, type, a->pending, app_ref, &a->gate.ref, NULL, 0);
	if (!sent)
		a->pending = 0;
	return sent;
}

static void step_begin(struct desk *d, struct app *a)
{
	bool sent = true;
	switch (a->step) {
	case STEP_NONE:
		break;
	case STEP_LINK:
		sent = step_send(d, a, ROLE_MAIN, a->kind == APP_VM ? IPC_TAP_MAKE : IPC_LINK_TAKE);
		break;
	case STEP_PORT:
		sent = step_send(d, a, ROLE_SWITCHD, IPC_PORT_ADD);
		break;
	case STEP_GATE:
		sent = step_send(d, a, ROLE_GATE, IPC_APP_ADD);
		break;
	case STEP_UP:
		sent = step_send(d, a, ROLE_MAIN, IPC_LINK_UP);
		break;
	case STEP_VM:
		sent = step_send(d, a, ROLE_MAIN, IPC_VM_START);
		break;
	}
	/* A role that is away comes back, and apps_sync() repeats the step; main never is. */
	if (!sent && a->pending_on == ROLE_MAIN) {
		app_error(a, "the daemon is stopping");
		a->state = APP_STOPPING;
		stop_step(d, a);
	}
}

static json_t *attach_json(struct desk *d, const struct app *a)
{
	char mac[MAC_TEXT_MAX], v4[ADDR_TEXT_MAX], g4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX], g6[ADDR_TEXT_MAX];
	struct addr gateway6 = plan_v6(&d->role->conf.plan, a->gate.ref.slot, 1);
	addr_format(&a->gate.v4_gateway, g4, sizeof(g4));
	addr_format(&gateway6, g6, sizeof(g6));
	return json_pack("{s:s, s:o, s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:[s, s]}", "app", a->gate.name, "owner",
		owner_json(d, a->gate.owner), "mac", mac_format(&a->gate.mac, mac, sizeof(mac)), "ipv4",
		addr_format(&a->gate.v4, v4, sizeof(v4)), "ipv4_prefix", 30, "ipv4_gateway", g4, "ipv6",
		addr_format(&a->gate.v6, v6, sizeof(v6)), "ipv6_prefix", 64, "ipv6_gateway", g6, "dns", g4, g6);
}

static void app_running(struct desk *d, struct app *a)
{
	a->state = APP_RUNNING;
	a->ran = true;
	if (!a->adopted)
		log_app(d, a, "app-started", NULL);
}

/* The reply goes out before the machine starts: from then on the connection belongs to the keeper. */
static void start_machine(struct desk *d, struct app *a)
{
	struct client *c = a->client < 0 ? NULL : &d->clients[a->client];
	a->client = -1;
	if (c != NULL) {
		client_reply(d, c,
			json_pack("{s:s, s:o, s:i}", "app", a->gate.name, "owner", owner_json(d, a->gate.owner), "run",
				(int)a->gate.ref.run));
		a->stream = client_take_fd(d, c);
	}
	if (c == NULL || a->stream < 0) {
		app_error(a, "the client went away");
		a->state = APP_STOPPING;
		stop_step(d, a);
		return;
	}
	a->step = STEP_VM;
	step_begin(d, a);
}

/* The client is in the agent's protocol by now: its words are the only way to tell it. */
static void say_exit(int fd, const char *reason)
{
	uint8_t buf[AGENT_REASON_MAX + 64];
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put_exit(&w, 125, 0, reason);
	if (wr_ok(&w))
		(void)!send(fd, buf, w.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void step_done(struct desk *d, struct app *a, const struct ipc_result *r)
{
	if (a->step == STEP_PORT && r->value != 0)
		a->gate.ofport = r->value;
	if (a->step == STEP_LINK) {
		/* From here on a restart must find it. */
		int err = app_store(d, a);
		if (err != 0) {
			app_error(a, err == -ENOSPC ? "the disk is full" : "it cannot be stored");
			a->state = APP_STOPPING;
			stop_step(d, a);
			return;
		}
	}
	if (a->step < STEP_UP) {
		a->step++;
		step_begin(d, a);
	} else if (a->step == STEP_UP && a->kind == APP_VM && a->vm != NULL) {
		rules_app_started(d, a);
		start_machine(d, a);
	} else {
		if (a->step == STEP_VM) {
			a->vm_runs = true;
			close(a->stream);
			a->stream = -1;
			free(a->vm);
			a->vm = NULL;
		} else {
			a->vm_runs = a->kind == APP_VM;
			rules_app_started(d, a);
		}
		app_running(d, a);
		if (a->client >= 0) {
			struct client *c = &d->clients[a->client];
			a->client = -1;
			client_reply(d, c, attach_json(d, a));
		}
		if (a->exit_wanted) {
			a->state = APP_STOPPING;
			stop_step(d, a);
		}
	}
}

static void app_freed(struct desk *d, struct app *a)
{
	struct client *c = a->client >= 0 ? &d->clients[a->client] : NULL;
	struct client *s = a->stop_client >= 0 ? &d->clients[a->stop_client] : NULL;
	if (a->stream >= 0)
		say_exit(a->stream, a->error == NULL ? "it was stopped" : a->error);
	log_app(d, a, "app-stopped", a->error);
	if (store_app_del(d->store, a->gate.ref.slot, a->gate.ref.run) != 0 || store_commit(d->store) != 0)
		log_msg(LOG_ERROR, "the end of %s could not be stored", a->gate.name);
	if (a->ran || a->adopted)
		rules_app_ended(d, a);
	else
		rules_app_not_started(d, a);
	questions_app_ended(d, a);
	gate_app_forget(d, a->gate.ref.run);
	if (c != NULL)
		client_fail(d, c, "org.sekisho.Failed", "%s", a->error == NULL ? "it was stopped" : a->error);
	if (s != NULL)
		client_reply(d, s, NULL);
	app_clear(a);
}

/* One step up: 0 when it needs no answer. */
static bool undo_send(struct desk *d, struct app *a)
{
	switch (a->step) {
	case STEP_VM:
		a->pending = 0;
		/* Its end is told by IPC_VM_EXITED. */
		return a->vm_runs && role_send_msg(d->role, ROLE_MAIN, IPC_VM_STOP, 0, app_ref, &a->gate.ref, NULL, 0);
	case STEP_UP:
	case STEP_NONE:
		return false;
	case STEP_GATE:
		return step_send(d, a, ROLE_GATE, IPC_APP_DEL);
	case STEP_PORT:
		/* While the switch's keeper is away the port stays, so its removal has to wait for it. */
		return step_send(d, a, ROLE_SWITCHD, IPC_PORT_DEL) || !d->role->stopping;
	case STEP_LINK:
		return step_send(d, a, ROLE_MAIN, IPC_LINK_RELEASE);
	}
	return false;
}

static void stop_step(struct desk *d, struct app *a)
{
	/* Nothing more can be admitted for it, so what waits for people waits in vain. */
	while (a->step != STEP_NONE) {
		if (undo_send(d, a))
			return;
		a->step--;
	}
	app_freed(d, a);
}

static void app_stop(struct desk *d, struct app *a)
{
	if (a->state == APP_STOPPING)
		return;
	if (a->state == APP_STARTING && a->pending != 0) {
		/* The step under way is finished first, so that what it makes can be taken back. */
		a->exit_wanted = true;
		app_error(a, "it was stopped");
		return;
	}
	a->state = APP_STOPPING;
	if (a->kind == APP_VM && a->vm_runs)
		a->step = STEP_VM;
	stop_step(d, a);
}

void app_result(struct desk *d, enum role_id from, uint32_t id, const struct ipc_result *r)
{
	struct app *a = &d->apps[(id >> 16 & 0x7fff) % PLAN_SLOTS];
	if ((id & STEP_ID) == 0 || a->state == APP_FREE || a->pending != id || a->pending_on != from)
		return;
	a->pending = 0;
	if (a->state == APP_STOPPING) {
		if (r->err != 0 && r->err != -ENOENT && r->err != -ENODEV)
			log_msg(LOG_WARNING, "stopping %s: %s", a->gate.name, r->text.s);
		a->step--;
		stop_step(d, a);
		return;
	}
	if (r->err == 0 && !a->exit_wanted) {
		step_done(d, a, r);
		return;
	}
	if (r->err != 0) {
		app_error(a, r->text.s);
		/* What failed was not made. */
		a->step--;
	}
	a->state = APP_STOPPING;
	a->vm_runs = a->step == STEP_VM && r->err == 0;
	stop_step(d, a);
}

void app_gone(struct desk *d, const struct ipc_app_ref *ref, bool vm)
{
	struct app *a = app_by_ref(d, ref);
	if (a == NULL)
		return;
	if (vm)
		a->vm_runs = false;
	if (a->state == APP_STOPPING && a->step == STEP_VM && vm) {
		a->step--;
		stop_step(d, a);
		return;
	}
	app_stop(d, a);
}

void apps_client_gone(struct desk *d, const struct client *c)
{
	int index = (int)(c - d->clients);
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		if (a->state == APP_FREE)
			continue;
		if (a->stop_client == index)
			a->stop_client = -1;
		if (a->client != index)
			continue;
		/* Whoever started it did not learn that it runs. */
		a->client = -1;
		app_stop(d, a);
	}
}

void apps_sync(struct desk *d, enum role_id peer)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		if (a->state == APP_FREE)
			continue;
		bool here = a->step == (peer == ROLE_GATE ? STEP_GATE : STEP_PORT);
		if (a->state == APP_STOPPING && here) {
			if (peer == ROLE_GATE)
				a->step--; /* a new gate never knew it */
			stop_step(d, a);
		} else if (a->state == APP_STARTING && here) {
			step_begin(d, a);
		} else if (peer == ROLE_GATE && a->step > STEP_GATE) {
			(void)role_send_msg(d->role, ROLE_GATE, IPC_APP_ADD, 0, app, &a->gate, NULL, 0);
		} else if (peer == ROLE_GATE && a->step == STEP_PORT && a->adopted) {
			/* Taken over from an earlier desk: its grants are to live on while the switch is asked for the
			 * port. */
			(void)role_send_msg(d->role, ROLE_GATE, IPC_APP_ADD, 0, app, &a->gate, NULL, 0);
		} else if (peer == ROLE_SWITCHD && a->step > STEP_PORT) {
			struct ipc_port port = { .ofport = a->gate.ofport, .ref = a->gate.ref };
			memcpy(port.ifname, a->ifname, sizeof(port.ifname));
			(void)role_send_msg(d->role, ROLE_SWITCHD, IPC_PORT_ADD, 0, port, &port, NULL, 0);
		}
	}
}

void apps_stop_all(struct desk *d)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE)
			app_stop(d, &d->apps[i]);
	}
}

/* Taken over from an earlier desk: the interface is made already, the rest is asked for again. */
static void app_adopt(struct desk *d, const struct store_app *s)
{
	struct app *a = &d->apps[s->slot];
	a->state = APP_STARTING;
	a->adopted = true;
	a->kind = s->kind == APP_VM ? APP_VM : APP_ATTACHED;
	a->step = STEP_PORT;
	a->started_ms = s->started_ms;
	snprintf(a->ifname, sizeof(a->ifname), "%s", s->ifname);
	snprintf(a->gate.name, sizeof(a->gate.name), "%s", s->name);
	a->gate.owner = s->owner;
	app_place(d, a, (uint16_t)s->slot, s->run);
	a->gate.zone = (uint16_t)s->zone;
	a->gate.names_zone = (uint16_t)s->names_zone;
	a->gate.mac = s->mac;
	a->gate.ask = (uint8_t)s->ask;
}

void apps_load(struct desk *d)
{
	struct store_rows *q;
	struct store_app s;
	for (unsigned i = 0; i < PLAN_SLOTS; i++)
		d->apps[i] = (struct app){ .client = -1, .stop_client = -1, .stream = -1 };
	if (store_apps(d->store, &q) != 0)
		return;
	while (store_apps_next(q, &s) == 1) {
		if (s.slot > 0 && s.slot < PLAN_SLOTS)
			app_adopt(d, &s);
	}
	store_rows_end(q);
}

/* Calls */

static bool arg_ask(struct desk *d, struct client *c, uint8_t *ret)
{
	const char *ask = "desk";
	if (!arg_str(d, c, "ask", false, &ask))
		return false;
	if (strcmp(ask, "desk") != 0 && strcmp(ask, "deny") != 0) {
		client_error(d, c, "org.varlink.service.InvalidParameter", json_pack("{s:s}", "parameter", "ask"));
		return false;
	}
	*ret = strcmp(ask, "deny") == 0 ? ASK_DENY : ASK_DESK;
	return true;
}

static bool port_taken(struct desk *d, const char *port)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].ifname, port) == 0)
			return true;
	}
	return false;
}

void apps_attach(struct desk *d, struct client *c)
{
	const char *name = NULL, *port = NULL, *mac_text = NULL;
	struct mac mac;
	uint32_t owner;
	bool said;
	uint8_t ask;
	if (!arg_app(d, c, true, &name) || !arg_str(d, c, "port", true, &port) ||
		!arg_str(d, c, "mac", false, &mac_text) || !arg_owner(d, c, &owner, &said) || !arg_ask(d, c, &ask))
		return;
	if (!c->admin) {
		client_denied(d, c, "only admins may attach an interface");
	} else if (strlen(port) == 0 || strlen(port) >= sizeof(d->apps[0].ifname) || strchr(port, '/') != NULL) {
		client_no_such(d, c, "port", port);
	} else if (mac_text != NULL && (!mac_parse(mac_text, &mac) || (mac.b[0] & 1) != 0)) {
		client_fail(d, c, "org.sekisho.Failed", "\"%.40s\" is not the MAC address of one interface", mac_text);
	} else if (port_taken(d, port)) {
		client_fail(d, c, "org.sekisho.Exists", "%s is attached already; see sekisho ps", port);
	} else {
		struct app *a = app_new(d, c, name, owner, APP_ATTACHED);
		if (a == NULL)
			return;
		snprintf(a->ifname, sizeof(a->ifname), "%s", port);
		if (mac_text != NULL)
			a->gate.mac = mac;
		a->gate.ask = ask;
		step_begin(d, a);
	}
}

/* Strings of the call behind one another as the keeper wants them. */
static bool vm_strings(struct ipc_vm *vm, const json_t *list, uint16_t *ret_n)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *s = json_string_value(json_array_get(list, i));
		size_t len = strlen(s) + 1;
		if (len > sizeof(vm->strings) - vm->strings_len || *ret_n == 4096)
			return false;
		memcpy(vm->strings + vm->strings_len, s, len);
		vm->strings_len += (uint32_t)len;
		(*ret_n)++;
	}
	return true;
}

static bool vm_numbers(struct desk *d, struct client *c, struct ipc_vm *vm)
{
	int64_t memory = MEMORY_MIB, cpus = 1, rows = 0, cols = 0;
	if (!arg_int(d, c, "memory", MEMORY_MIN, MEMORY_MAX, &memory) || !arg_int(d, c, "cpus", 1, CPUS_MAX, &cpus) ||
		!arg_int(d, c, "rows", 0, UINT16_MAX, &rows) || !arg_int(d, c, "cols", 0, UINT16_MAX, &cols) ||
		!arg_bool(d, c, "tty", &vm->tty))
		return false;
	vm->memory_mib = (uint32_t)memory;
	vm->cpus = (uint16_t)cpus;
	vm->rows = (uint16_t)rows;
	vm->cols = (uint16_t)cols;
	return true;
}

/* The guest sees the host tree's directories and nothing else of ours (vm.md): elsewhere the program begins in its
 * HOME. */
static bool cwd_shared(const char *cwd)
{
	static const char *const trees[] = { "/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32" };
	for (unsigned i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
		size_t len = strlen(trees[i]);
		if (strncmp(cwd, trees[i], len) == 0 && (cwd[len] == '/' || cwd[len] == '\0'))
			return true;
	}
	return strcmp(cwd, "/") == 0;
}

/* Who the program is inside: its owner, or root in its own machine. */
static bool vm_user(struct desk *d, struct client *c, struct ipc_vm *vm, uint32_t owner)
{
	struct host_user u = c->user;
	const char *user = NULL, *cwd = "";
	if (!arg_str(d, c, "user", false, &user) || !arg_str(d, c, "cwd", false, &cwd))
		return false;
	int err = owner == c->uid ? 0 : host_user_by_uid(&d->host, owner, &u);
	if (err == 0 && user != NULL && strcmp(user, "root") == 0)
		err = host_user_by_uid(&d->host, 0, &u);
	else if (err == 0 && user != NULL && strcmp(user, u.name) != 0)
		err = -ENOENT;
	if (err != 0 || (cwd_shared(cwd) && strlen(cwd) >= sizeof(vm->cwd))) {
		client_no_such(d, c, err != 0 ? "user" : "directory", err != 0 && user != NULL ? user : cwd);
		return false;
	}
	vm->uid = u.uid;
	vm->gid = u.gid;
	snprintf(vm->user, sizeof(vm->user), "%s", u.name);
	snprintf(vm->home, sizeof(vm->home), "%s", u.home);
	if (cwd_shared(cwd))
		snprintf(vm->cwd, sizeof(vm->cwd), "%s", cwd);
	return true;
}

static void vm_addresses(struct desk *d, struct ipc_vm *vm, const struct app *a)
{
	vm->ref = a->gate.ref;
	snprintf(vm->name, sizeof(vm->name), "%s", a->gate.name);
	snprintf(vm->tap, sizeof(vm->tap), "%s", a->ifname);
	vm->mac = a->gate.mac;
	vm->v4 = a->gate.v4;
	vm->v4_gateway = vm->dns4 = a->gate.v4_gateway;
	vm->v6 = a->gate.v6;
	vm->v6_gateway = vm->dns6 = plan_v6(&d->role->conf.plan, a->gate.ref.slot, 1);
	vm->v4_prefix = 30;
	vm->v6_prefix = 64;
}

void apps_run(struct desk *d, struct client *c)
{
	const char *name = NULL;
	const json_t *argv, *env;
	uint32_t owner;
	bool said;
	uint8_t ask;
	if (!c->call.upgrade) {
		client_fail(d, c, "org.sekisho.Failed", "Run must be called with \"upgrade\"");
		return;
	}
	struct ipc_vm *vm = calloc(1, sizeof(*vm));
	if (vm == NULL || !arg_app(d, c, true, &name) || !arg_strings(d, c, "argv", true, &argv) ||
		!arg_strings(d, c, "env", false, &env) || !arg_owner(d, c, &owner, &said) || !arg_ask(d, c, &ask) ||
		!vm_numbers(d, c, vm) || !vm_user(d, c, vm, owner)) {
		if (vm == NULL)
			c->dead = true;
		free(vm);
		return;
	}
	if (json_array_size(argv) == 0 || !vm_strings(vm, argv, &vm->argc) || !vm_strings(vm, env, &vm->envc)) {
		client_fail(d, c, "org.sekisho.Failed",
			json_array_size(argv) == 0
				? "there is no command to run"
				: "the command line and environment together are longer than %d bytes",
			IPC_ARGV_BYTES);
		free(vm);
		return;
	}
	struct app *a = app_new(d, c, name, owner, APP_VM);
	if (a == NULL) {
		free(vm);
		return;
	}
	snprintf(a->ifname, sizeof(a->ifname), "skt%u", a->gate.ref.slot);
	a->gate.ask = ask;
	vm_addresses(d, vm, a);
	a->vm = vm;
	step_begin(d, a);
}

void apps_stop(struct desk *d, struct client *c, bool attached_only)
{
	const char *name = NULL;
	uint32_t owner;
	bool said;
	if (!arg_app(d, c, true, &name) || !arg_owner(d, c, &owner, &said))
		return;
	struct app *a = app_by_name(d, owner, name);
	/* An admin need not say whose it is when there is only one. */
	for (unsigned i = 1; a == NULL && c->admin && !said && i < PLAN_SLOTS; i++) {
		if (d->apps[i].state != APP_FREE && strcmp(d->apps[i].gate.name, name) == 0)
			a = &d->apps[i];
	}
	if (a == NULL || (attached_only && a->kind != APP_ATTACHED)) {
		client_no_such(d, c, "app", name);
		return;
	}
	if (a->kind == APP_ATTACHED && !c->admin) {
		client_denied(d, c, "only admins may detach an interface");
		return;
	}
	if (a->stop_client >= 0) {
		client_fail(d, c, "org.sekisho.Changed", "%s is being stopped already", name);
		return;
	}
	a->stop_client = (int)(c - d->clients);
	c->wait = CLIENT_APP;
	app_stop(d, a);
}

static json_t *app_json(struct desk *d, const struct app *a)
{
	static const char *const states[] = { "free", "starting", "running", "stopping" };
	char mac[MAC_TEXT_MAX], v4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX];
	return json_pack("{s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:o}", "app", a->gate.name, "owner",
		owner_json(d, a->gate.owner), "kind", a->kind == APP_VM ? "vm" : "attached", "state", states[a->state],
		"port", a->ifname, "mac", mac_format(&a->gate.mac, mac, sizeof(mac)), "ipv4",
		addr_format(&a->gate.v4, v4, sizeof(v4)), "ipv6", addr_format(&a->gate.v6, v6, sizeof(v6)), "run",
		(int)a->gate.ref.run, "started", time_json(a->started_ms));
}

void apps_list(struct desk *d, struct client *c)
{
	bool all = c->admin;
	if (!arg_bool(d, c, "all", &all))
		return;
	if (all && !c->admin) {
		client_denied(d, c, "only admins may see everybody's applications");
		return;
	}
	json_t *apps = json_array();
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		if (a->state != APP_FREE && (all || a->gate.owner == c->uid))
			json_array_append_new(apps, app_json(d, a));
	}
	client_reply(d, c, json_pack("{s:o}", "apps", apps));
}
