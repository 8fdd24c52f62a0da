/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of an application is a walk down a list of steps, each done by another role and answered by it: interface,
 * port of the switch, flows of the gate, interface up, machine. Whatever fails or ends, the same steps are walked up
 * again from where it got to, so nothing half made stays. The interface comes up last and the flows go before the port
 * does: at no moment is there a port that forwards without the gate's flows.
 */
#include "agent/frame.h"
#include "base/log.h"
#include "desk/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEP_ID 0x80000000U

static void stop_step(struct desk *d, struct app *a);

static void app_error(struct app *a, const char *text)
{
	if (a->error == NULL)
		a->error = strdup(text[0] == '\0' ? "it failed without a reason" : text);
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
	if (err == 0)
		err = shares_store(d, a);
	return err != 0 ? err : store_commit(d->store);
}

/* The client's stream, then what the root is made of. */
static bool vm_send(struct desk *d, struct app *a)
{
	int fds[1 + API_FDS_MAX] = { a->stream };
	memcpy(fds + 1, a->blocks.fd, sizeof(a->blocks.fd));
	return role_send_msg(d->role, ROLE_MAIN, IPC_VM_START, a->pending, vm, a->vm, fds, 1 + a->blocks.n);
}

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
		sent = vm_send(d, a);
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

void step_begin(struct desk *d, struct app *a)
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

json_t *attach_json(struct desk *d, const struct app *a, bool already)
{
	const struct plan *p = &d->role->conf.plan;
	char mac[MAC_TEXT_MAX], v4[ADDR_TEXT_MAX], g4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX], g6[ADDR_TEXT_MAX];
	char dns6[ADDR_TEXT_MAX];
	struct addr gateway6 = plan_gateway(p, a->gate.ref.slot, true), names6 = plan_v6(p, a->gate.ref.slot, 1);
	addr_format(&a->gate.v4_gateway, g4, sizeof(g4));
	addr_format(&gateway6, g6, sizeof(g6));
	/* Not always the gateway: a link-local server could not be asked, and any other address is as good. */
	addr_format(&names6, dns6, sizeof(dns6));
	return json_pack("{s:s, s:o, s:s, s:s, s:i, s:s, s:s, s:i, s:s, s:[s, s], s:b}", "app", a->gate.name, "owner",
		owner_json(d, a->gate.owner), "mac", mac_format(&a->gate.mac, mac, sizeof(mac)), "ipv4",
		addr_format(&a->gate.v4, v4, sizeof(v4)), "ipv4_prefix", (int)plan_guest_prefix(p, false),
		"ipv4_gateway", g4, "ipv6", addr_format(&a->gate.v6, v6, sizeof(v6)), "ipv6_prefix",
		(int)plan_guest_prefix(p, true), "ipv6_gateway", g6, "dns", g4, dns6, "already", already);
}

static void app_running(struct desk *d, struct app *a)
{
	a->state = APP_RUNNING;
	a->ran = true;
	char text[1024] = "";
	if (a->lent != NULL)
		shares_text(a->lent, text, sizeof(text));
	if (!a->adopted)
		log_app(d, a, "app-started", a->lent != NULL ? text : NULL);
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
			api_fds_drop(&a->blocks);
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
			client_reply(d, c, attach_json(d, a, false));
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
	if (a->freeze_client >= 0)
		client_fail(d, &d->clients[a->freeze_client], "org.sekisho.Failed", "it has ended");
	if (a->stream >= 0)
		say_exit(a->stream, a->error == NULL ? "it was stopped" : a->error);
	refusals_end(d, a);
	/* One that never ran has not stopped; who started it is told below. */
	if (a->ran || a->adopted)
		log_app(d, a, "app-stopped", a->ending != NULL ? a->ending : a->error);
	if (store_app_del(d->store, a->gate.ref.slot, a->gate.ref.run) != 0 || store_commit(d->store) != 0)
		log_msg(LOG_ERROR, "the end of %s could not be stored", a->gate.name);
	if (a->ran || a->adopted)
		rules_app_ended(d, a);
	else
		rules_app_not_started(d, a);
	questions_app_ended(d, a);
	rehearse_end(d, a);
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
		return a->vm_runs && !a->kept &&
		       role_send_msg(d->role, ROLE_MAIN, IPC_VM_STOP, 0, app_ref, &a->gate.ref, NULL, 0);
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
		if (a->kept && a->step == STEP_LINK) {
			/* Port and flows are gone; the VM and its tap wait for the next daemon, which finds it in the
			 * store. */
			a->step = STEP_NONE;
			log_app(d, a, "app-kept", NULL);
			return;
		}
		if (undo_send(d, a))
			return;
		a->step--;
	}
	app_freed(d, a);
}

void app_stop(struct desk *d, struct app *a)
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
	if (a->kind == APP_VM && a->vm_runs && !a->kept)
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

void app_gone(struct desk *d, const struct ipc_app_ref *ref)
{
	struct app *a = app_by_ref(d, ref);
	if (a != NULL)
		app_stop(d, a);
}

/* Noted before the machine goes, since its interface may be missed before its end is told. */
void app_vm_ending(struct desk *d, const struct ipc_vm_exit *e)
{
	struct app *a = app_by_ref(d, &e->ref);
	char text[32];
	if (a == NULL)
		return;
	a->vm_ending = true;
	snprintf(text, sizeof(text), "exit status %u", e->status);
	if (a->ending == NULL && (e->known || e->text.len > 0))
		a->ending = strdup(e->text.len > 0 ? e->text.s : text);
}

void app_vm_exited(struct desk *d, const struct ipc_vm_exit *e)
{
	struct app *a = app_by_ref(d, &e->ref);
	if (a == NULL)
		return;
	app_vm_ending(d, e);
	a->vm_runs = a->kept = false;
	if (a->state == APP_STOPPING && a->step == STEP_NONE) {
		/* It was to be kept. */
		a->step = STEP_LINK;
		stop_step(d, a);
	} else if (a->state == APP_STOPPING && a->step == STEP_VM) {
		a->step--;
		stop_step(d, a);
	} else {
		app_stop(d, a);
	}
}

void apps_claim(struct desk *d)
{
	struct ipc_app_ref last = { 0 };
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		if (a->state != APP_FREE && a->kind == APP_VM)
			(void)role_send_msg(d->role, ROLE_MAIN, IPC_VM_CLAIM, 0, app_ref, &a->gate.ref, NULL, 0);
	}
	(void)role_send_msg(d->role, ROLE_MAIN, IPC_VM_CLAIM, 0, app_ref, &last, NULL, 0);
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
		if (a->freeze_client == index)
			a->freeze_client = -1;
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
		struct app *a = &d->apps[i];
		a->kept = d->role->conf.on_stop_keep && a->state == APP_RUNNING && a->kind == APP_VM && a->vm_runs;
		if (a->state != APP_FREE)
			app_stop(d, a);
	}
}
