/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With the nat uplink the host owns the address that others see: what comes in for an app must be passed on by the
 * host. That follows from the rules: every running rule `allow APP from … port N/tcp` (or udp) of one running APP with
 * explicit ports opens those ports, whoever may use them being gate's to judge. The first app that names a port holds
 * it, unless the host itself listens there; a port that is not passed on is said in the log and beside its rule.
 */
#include "base/log.h"
#include "desk/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROTO_TCP = 6, PROTO_UDP = 17, REFUSED_MAX = 64 };
enum reason { HELD_BY_HOST, HELD_BY_APP, TOO_MANY };

/* A port that an app's rule opens and that is not passed on. */
struct refused {
	struct ipc_app_ref ref;
	uint8_t proto;
	uint16_t port;
	enum reason reason;
	struct ipc_app_ref holder; /* HELD_BY_APP */
};

struct refusals {
	unsigned n;
	struct refused r[REFUSED_MAX];
};

struct forwards {
	uint64_t seen_generation, seen_runs;
	struct ipc_forwards now, sent;
	struct ipc_app_ref holder[IPC_FORWARDS_MAX]; /* of now.f */
	struct refusals by_us, all;		     /* all: what the host holds, too */
};

/* One desk per process. */
static struct forwards forwards;

static void refuse(struct refusals *l, struct refused r)
{
	if (l->n < REFUSED_MAX)
		l->r[l->n++] = r;
}

static void add_one(struct forwards *f, const struct app *a, uint8_t proto, uint16_t port)
{
	for (unsigned i = 0; i < f->now.n; i++) {
		if (f->now.f[i].proto != proto || f->now.f[i].port != port)
			continue;
		if (f->holder[i].slot != a->gate.ref.slot)
			refuse(&f->by_us, (struct refused){ .ref = a->gate.ref,
						  .proto = proto,
						  .port = port,
						  .reason = HELD_BY_APP,
						  .holder = f->holder[i] });
		return;
	}
	if (f->now.n == IPC_FORWARDS_MAX) {
		refuse(&f->by_us,
			(struct refused){ .ref = a->gate.ref, .proto = proto, .port = port, .reason = TOO_MANY });
		return;
	}
	f->holder[f->now.n] = a->gate.ref;
	f->now.f[f->now.n++] = (struct ipc_forward){ .proto = proto, .port = port, .v4 = a->gate.v4, .v6 = a->gate.v6 };
}

static bool covers(const struct policy_port *p, uint8_t proto)
{
	return p->ranged && p->proto_kind != POLICY_PROTO_ICMP &&
	       (p->proto_kind != POLICY_PROTO_NUMBER || p->proto == proto);
}

static void add_ports(struct forwards *f, const struct app *a, const struct policy_port *p)
{
	static const uint8_t both[] = { PROTO_TCP, PROTO_UDP };
	for (unsigned k = 0; k < 2; k++) {
		for (unsigned port = p->lo; covers(p, both[k]) && port <= p->hi && f->by_us.n < REFUSED_MAX; port++)
			add_one(f, a, both[k], (uint16_t)port);
	}
}

/* The running app whose ports the rule opens; NULL: none. */
static const struct app *app_opened(const struct desk *d, const struct rule *r)
{
	const struct policy_rule *p = &r->e.rule;
	if (!rule_running(r) || p->dir != POLICY_IN || p->verb != POLICY_ALLOW || p->subject != POLICY_SUBJECT_APP ||
		p->peer.kind == POLICY_PEER_APP)
		return NULL;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		bool own = r->e.meta.owner == POLICY_OWNER_ANY || r->e.meta.owner == a->gate.owner;
		if (a->state == APP_RUNNING && own && strcmp(a->gate.name, p->who) == 0)
			return a;
	}
	return NULL;
}

static const char *describe(const struct desk *d, const struct refused *r, char *buf, size_t cap)
{
	const struct app *by = &d->apps[r->holder.slot % PLAN_SLOTS];
	const char *proto = r->proto == PROTO_TCP ? "tcp" : "udp";
	switch (r->reason) {
	case HELD_BY_HOST:
		snprintf(buf, cap, "port %u/%s is not passed on: this computer listens on it itself", r->port, proto);
		break;
	case HELD_BY_APP:
		snprintf(buf, cap, "port %u/%s is not passed on: %s holds it", r->port, proto, by->gate.name);
		break;
	case TOO_MANY:
		snprintf(buf, cap, "port %u/%s is not passed on: %d ports are open already", r->port, proto,
			(int)IPC_FORWARDS_MAX);
		break;
	}
	return buf;
}

static bool known(const struct refusals *l, const struct refused *r)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct refused *k = &l->r[i];
		if (k->ref.run == r->ref.run && k->proto == r->proto && k->port == r->port && k->reason == r->reason)
			return true;
	}
	return false;
}

/* What is refused now that was not before is said once. */
static void settle(struct desk *d, const struct refusals *now)
{
	char text[160];
	for (unsigned i = 0; i < now->n; i++) {
		const struct app *a = app_by_ref(d, &now->r[i].ref);
		if (a != NULL && !known(&forwards.all, &now->r[i]))
			log_app(d, a, "refused", describe(d, &now->r[i], text, sizeof(text)));
	}
	forwards.all = *now;
}

void forwards_held(struct desk *d, const struct ipc_forwards *held)
{
	static struct refusals now;
	now = forwards.by_us;
	for (unsigned i = 0; i < held->n; i++) {
		for (unsigned k = 0; k < forwards.now.n; k++) {
			const struct ipc_forward *f = &forwards.now.f[k];
			if (f->proto == held->f[i].proto && f->port == held->f[i].port)
				refuse(&now, (struct refused){ .ref = forwards.holder[k],
						     .proto = f->proto,
						     .port = f->port,
						     .reason = HELD_BY_HOST });
		}
	}
	settle(d, &now);
}

bool forwards_note(const struct desk *d, const struct rule *r, char *buf, size_t cap)
{
	const struct app *a = app_opened(d, r);
	for (unsigned i = 0; a != NULL && i < forwards.all.n; i++) {
		const struct refused *f = &forwards.all.r[i];
		for (unsigned k = 0; f->ref.run == a->gate.ref.run && k < r->e.rule.n_ports; k++) {
			const struct policy_port *p = &r->e.rule.ports[k];
			if (!covers(p, f->proto) || f->port < p->lo || f->port > p->hi)
				continue;
			describe(d, f, buf, cap);
			return true;
		}
	}
	return false;
}

void forwards_update(struct desk *d)
{
	struct forwards *f = &forwards;
	uint64_t runs = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++)
		runs += d->apps[i].state == APP_RUNNING ? (uint64_t)d->apps[i].gate.ref.run << 10 | i : 0;
	if (f->seen_generation == d->generation && f->seen_runs == runs)
		return;
	f->seen_generation = d->generation;
	f->seen_runs = runs;
	memset(&f->now, 0, sizeof(f->now));
	f->by_us.n = 0;
	for (size_t i = 0; i < d->n_rules; i++) {
		const struct app *a = app_opened(d, d->rules[i]);
		for (unsigned k = 0; a != NULL && k < d->rules[i]->e.rule.n_ports; k++)
			add_ports(f, a, &d->rules[i]->e.rule.ports[k]);
	}
	/* Nothing opened before and now is nothing to tell; else main looks again at what the host holds. */
	if (f->now.n == 0 && f->sent.n == 0)
		return;
	f->sent = f->now;
	if (!role_send_msg(d->role, ROLE_MAIN, IPC_FORWARDS, 0, forwards, &f->now, NULL, 0))
		log_msg(LOG_ERROR, "main could not be told which inbound ports are open");
}
