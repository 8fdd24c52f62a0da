/* SPDX-License-Identifier: Apache-2.0 */
/*
 * With the nat uplink the host owns the address that others see: what comes in for an app must be passed on by the
 * host. That follows from the rules: every running rule `allow APP from … port N/tcp` (or udp) of one running APP with
 * explicit ports opens those ports, whoever may use them being gate's to judge. The first app that names a port holds
 * it.
 */
#include "base/log.h"
#include "daemon/desk.h"

#include <string.h>

enum { PROTO_TCP = 6, PROTO_UDP = 17 };

static bool taken(const struct ipc_forwards *m, uint8_t proto, uint16_t port)
{
	for (unsigned i = 0; i < m->n; i++) {
		if (m->f[i].proto == proto && m->f[i].port == port)
			return true;
	}
	return false;
}

static void add_port(struct ipc_forwards *m, const struct app *a, const struct policy_port *p)
{
	static const uint8_t both[] = { PROTO_TCP, PROTO_UDP };
	for (unsigned k = 0; k < 2; k++) {
		if (p->proto_kind == POLICY_PROTO_ICMP || (p->proto_kind == POLICY_PROTO_NUMBER && p->proto != both[k]))
			continue;
		for (unsigned port = p->lo; port <= p->hi && m->n < IPC_FORWARDS_MAX; port++) {
			if (!taken(m, both[k], (uint16_t)port))
				m->f[m->n++] = (struct ipc_forward){ .proto = both[k],
					.port = (uint16_t)port,
					.v4 = a->gate.v4,
					.v6 = a->gate.v6 };
		}
	}
}

static void add_rule(struct desk *d, struct ipc_forwards *m, const struct rule *r)
{
	const struct policy_rule *p = &r->e.rule;
	if (!rule_running(r) || p->dir != POLICY_IN || p->verb != POLICY_ALLOW || p->subject != POLICY_SUBJECT_APP ||
		p->peer.kind == POLICY_PEER_APP)
		return;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		const struct app *a = &d->apps[i];
		bool own = r->e.meta.owner == POLICY_OWNER_ANY || r->e.meta.owner == a->gate.owner;
		if (a->state != APP_RUNNING || !own || strcmp(a->gate.name, p->who) != 0)
			continue;
		for (unsigned k = 0; k < p->n_ports; k++) {
			if (p->ports[k].ranged)
				add_port(m, a, &p->ports[k]);
		}
		return;
	}
}

void forwards_update(struct desk *d)
{
	static struct ipc_forwards now, last;
	static uint64_t seen_generation, seen_runs;
	uint64_t runs = 0;
	for (unsigned i = 1; i < PLAN_SLOTS; i++)
		runs += d->apps[i].state == APP_RUNNING ? (uint64_t)d->apps[i].gate.ref.run << 10 | i : 0;
	if (seen_generation == d->generation && seen_runs == runs)
		return;
	seen_generation = d->generation;
	seen_runs = runs;
	memset(&now, 0, sizeof(now));
	for (size_t i = 0; i < d->n_rules; i++)
		add_rule(d, &now, d->rules[i]);
	if (memcmp(&now, &last, sizeof(now)) == 0)
		return;
	last = now;
	if (!role_send_msg(d->role, ROLE_MAIN, IPC_FORWARDS, 0, forwards, &now, NULL, 0))
		log_msg(LOG_ERROR, "main could not be told which inbound ports are open");
}
