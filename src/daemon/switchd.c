/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role that keeps the bridge. It holds two sockets that main connects for it: the database ("db") and vswitchd's
 * control socket
 * ("ctl"). The second one also tells at once when vswitchd ends. Order at each start of vswitchd: ctl stands → the
 * bridge is as wanted and both fixed ports have their numbers → two OpenFlow sockets ("mgmt") → main renews the
 * uplink's addresses → gate gets the sockets.
 */
#include "daemon/switchd.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/roles.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { RETRY_MS = 50, GOODBYE_MS = 2000 };

static const char *const want_names[WANT_COUNT] = { "db", "ctl", "mgmt", "mgmt" };

void switchd_tell(struct switchd *s, enum log_level level, const char *text)
{
	struct ipc_text t;
	log_msg(level, "%s", text);
	ipc_text_set(&t, text);
	if (!role_send_msg(s->role, ROLE_DESK, IPC_SWITCH_EVENT, 0, text, &t, NULL, 0))
		log_msg(LOG_DEBUG, "desk is away");
}

static void ask_main(struct switchd *s, enum want w)
{
	struct ipc_text t;
	if (s->asked[w] != 0 || clock_boot_ms() < s->again_ms[w])
		return;
	ipc_text_set(&t, want_names[w]);
	if (++s->last_id == 0)
		s->last_id = 1;
	s->asked[w] = s->last_id;
	s->again_ms[w] = clock_boot_ms() + RETRY_MS;
	if (!role_send_msg(s->role, ROLE_MAIN, IPC_LINK_FD, s->asked[w], text, &t, NULL, 0))
		s->asked[w] = 0;
}

void switchd_mgmt_close(struct switchd *s)
{
	for (unsigned i = 0; i < 2; i++) {
		if (s->mgmt[i] >= 0)
			close(s->mgmt[i]);
		s->mgmt[i] = -1;
	}
	s->given = false;
}

static void bridge_event(struct switchd *s, const struct bridge_event *e)
{
	switch (e->type) {
	case BRIDGE_READY:
		s->bridge_ready = true;
		break;
	case BRIDGE_REFUSED:
		switchd_tell(s, LOG_ERROR, e->text);
		s->refused = !s->said_ready;
		break;
	case BRIDGE_PORT_UP:
	case BRIDGE_PORT_ERROR:
		switchd_port_event(s, e);
		break;
	case BRIDGE_PORT_GONE:
		s->gone = s->gone || e->port[0] == '\0';
		switchd_port_event(s, e);
		break;
	case BRIDGE_FOREIGN:
		switchd_tell(s, LOG_WARNING, e->text);
		break;
	}
}

/* Giving OpenFlow to gate */

static void give(struct switchd *s)
{
	struct ipc_text t;
	struct ipc_switch *i = &s->info;
	i->uplink_ofport = bridge_port_ofport(s->bridge, s->uplink_port);
	i->names_ofport = bridge_port_ofport(s->bridge, PLAN_NAMES_PORT);
	i->epoch = (uint64_t)clock_wall_ms();
	/* vswitchd made the internal port anew: its addresses went with the old one. And apps' interfaces may be up. */
	ipc_text_set(&t, s->uplink_port);
	if (!role_send_msg(s->role, ROLE_MAIN, IPC_SWITCH_EVENT, 0, text, &t, NULL, 0))
		log_msg(LOG_WARNING, "main cannot be told that the uplink's port is new");
	/* Without gate the sockets are asked for again when it comes. */
	if (!role_send_msg(s->role, ROLE_GATE, IPC_OF_CONNS, 0, switch, i, s->mgmt, 2))
		log_msg(LOG_DEBUG, "gate is away");
	switchd_mgmt_close(s);
	s->given = true;
	if (!s->said_ready) {
		s->said_ready = true;
		role_ready(s->role);
	}
}

/* Whatever is missing now is asked for; called after every event. */
static void pursue(struct switchd *s)
{
	if (s->db_fd < 0)
		ask_main(s, WANT_DB);
	if (s->ctl == NULL)
		ask_main(s, WANT_CTL);
	if (s->given || !s->awake || !s->bridge_ready || bridge_port_ofport(s->bridge, s->uplink_port) == 0 ||
		bridge_port_ofport(s->bridge, PLAN_NAMES_PORT) == 0)
		return;
	for (unsigned i = 0; i < 2; i++) {
		if (s->mgmt[i] < 0)
			ask_main(s, WANT_MGMT0 + i);
	}
	if (s->mgmt[0] >= 0 && s->mgmt[1] >= 0)
		give(s);
}

static void main_answered(struct switchd *s, struct frame *f)
{
	struct ipc_result r;
	enum want w = WANT_DB;
	while (w < WANT_COUNT && s->asked[w] != f->id)
		w++;
	if (w == WANT_COUNT || !ipc_result_get(f->body, f->len, &r))
		return;
	s->asked[w] = 0;
	if (r.err != 0 || f->n_fds != 1)
		return;
	int fd = f->fds[0];
	f->fds[0] = -1;
	if (w == WANT_DB && s->db_fd < 0)
		switchd_db_connected(s, fd);
	else if (w == WANT_CTL && s->ctl == NULL)
		switchd_ctl_connected(s, fd);
	else if (w >= WANT_MGMT0 && s->mgmt[w - WANT_MGMT0] < 0 && !s->given)
		s->mgmt[w - WANT_MGMT0] = fd;
	else
		close(fd);
}

static void from_gate(struct switchd *s, struct frame *f)
{
	struct ipc_zone zone;
	struct ipc_cut cut;
	if (f->type == IPC_ZONE_SET && ipc_zone_get(f->body, f->len, &zone)) {
		switchd_zone_set(s, f->id, &zone);
	} else if (f->type == IPC_CT_CUT && ipc_cut_get(f->body, f->len, &cut)) {
		int err = ctcut_cut(s->cut, cut.zone, cut.mark, f->id);
		if (err == -ENOBUFS && f->id == 0)
			log_msg(LOG_WARNING, "more connections end than can be forgotten");
		if (err != 0 && f->id != 0)
			role_result(s->role, ROLE_GATE, f->id, err, 0, "ovs-vswitchd is away");
		switchd_ctl_io(s);
	} else if (f->type == IPC_OF_WANT || f->type == IPC_CHANNEL) {
		switchd_mgmt_close(s);
	} else {
		log_msg(LOG_ERROR, "gate sent a message %u that cannot be read", f->type);
	}
}

static void from_desk(struct switchd *s, const struct frame *f)
{
	struct ipc_port port;
	bool known = (f->type == IPC_PORT_ADD || f->type == IPC_PORT_DEL) && ipc_port_get(f->body, f->len, &port);
	if (known && f->type == IPC_PORT_ADD)
		switchd_port_add(s, f->id, &port);
	else if (known)
		switchd_port_del(s, f->id, &port);
	else if (f->type != IPC_CHANNEL)
		log_msg(LOG_ERROR, "desk sent a message %u that cannot be read", f->type);
}

static void channel_event(struct switchd *s, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	while (role_recv(s->role, ev, &from, &f) == 1) {
		if (from == ROLE_MAIN && f.type == IPC_RESULT)
			main_answered(s, &f);
		else if (from == ROLE_GATE)
			from_gate(s, &f);
		else if (from == ROLE_DESK)
			from_desk(s, &f);
		frame_close_fds(&f);
	}
}

static void handle(struct switchd *s, const struct loop_event *ev)
{
	if (ev->ref.type < ROLE_COUNT)
		channel_event(s, ev);
	else if (ev->ref.type == EVENT_DB)
		switchd_db_read(s);
	else
		switchd_ctl_io(s);
}

/* After each event and at each deadline; returns when to wake. */
static int64_t turn(struct switchd *s)
{
	int64_t now = clock_boot_ms(), wake = now + SWITCHD_BEAT_MS, deadline = wake;
	struct bridge_event e;
	if (s->db_fd >= 0 && bridge_step(s->bridge, now, &deadline) != 0) {
		switchd_tell(s, LOG_WARNING, "OVSDB is silent; connecting again");
		switchd_db_close(s);
	}
	while (bridge_next_event(s->bridge, &e))
		bridge_event(s, &e);
	switchd_heartbeat(s);
	switchd_waits_expire(s, now);
	pursue(s);
	switchd_db_write(s);
	bool missing = s->db_fd < 0 || s->ctl == NULL || (s->awake && !s->given);
	if (missing && wake > now + RETRY_MS)
		wake = now + RETRY_MS;
	return deadline < wake ? deadline : wake;
}

static int add_port(struct switchd *s, const char *name, bool internal, uint16_t ofport, const struct mac *mac)
{
	struct bridge_port p = { .internal = internal, .ofport = ofport, .mac = *mac };
	snprintf(p.name, sizeof(p.name), "%s", name);
	return bridge_port_add(s->bridge, &p, clock_boot_ms());
}

/* What has to be looked at while we still live in the host's network namespace. */
static void look_around(struct switchd *s)
{
	const struct conf *c = &s->role->conf;
	struct link_sock *links;
	s->info.kernel_datapath = c->datapath != DATAPATH_NETDEV && link_has_genl_family("ovs_datapath");
	s->info.has_v4 = s->info.has_v6 = true;
	if (link_open(&links) != 0)
		return;
	bool v4 = link_has_default_route(links, 4, s->uplink_port),
	     v6 = link_has_default_route(links, 16, s->uplink_port);
	link_close(links);
	/* A computer that is offline now will most likely have either later. */
	if (v4 || v6) {
		s->info.has_v4 = v4;
		s->info.has_v6 = v6;
	}
}

static int switchd_init(struct switchd *s)
{
	const struct conf *c = &s->role->conf;
	struct bridge_conf b = { .mac = plan_router_mac() };
	static const struct mac none;
	bool nat = strncmp(c->uplink, "port:", 5) != 0;
	snprintf(s->uplink_port, sizeof(s->uplink_port), "%.15s", nat ? PLAN_UPLINK_PORT : c->uplink + 5);
	look_around(s);
	s->info.uplink_kind = nat ? UPLINK_NAT : UPLINK_PORT;
	if (!nat) {
		s->info.has_v4 = plan_has_lan(&c->plan, false);
		s->info.has_v6 = plan_has_lan(&c->plan, true);
	}
	s->info.uplink_mac = nat ? plan_mac(0, 0, 1) : none;
	s->info.names_mac = plan_mac(0, 0, 2);
	snprintf(b.name, sizeof(b.name), "%s", c->bridge);
	snprintf(b.datapath_type, sizeof(b.datapath_type), "%s", s->info.kernel_datapath ? "system" : "netdev");
	int err = bridge_new(&b, &s->bridge);
	if (err == 0)
		err = ctcut_new(s->info.kernel_datapath ? "system@ovs-system" : "netdev@ovs-netdev", &s->cut);
	if (err == 0)
		err = add_port(s, s->uplink_port, nat, UPLINK_OFPORT, &s->info.uplink_mac);
	if (err == 0)
		err = add_port(s, PLAN_NAMES_PORT, false, NAMES_OFPORT, &none);
	return err;
}

/* In order: the bridge goes, too, unless the VMs stay. When main has vanished everything stays for its next life. */
static void goodbye(struct switchd *s)
{
	int64_t deadline = clock_boot_ms() + GOODBYE_MS;
	if (s->role->chan[ROLE_MAIN] == NULL || s->role->conf.on_stop_keep || s->db_fd < 0)
		return;
	bridge_remove(s->bridge, clock_boot_ms());
	switchd_db_write(s);
	struct loop_event ev;
	struct bridge_event e;
	while (!s->gone && s->db_fd >= 0 && loop_next(s->role->loop, deadline, &ev)) {
		if (ev.ref.type == EVENT_DB) {
			switchd_db_read(s);
			switchd_db_write(s);
		} else if (ev.ref.type == EVENT_CTL) {
			switchd_ctl_close(s);
		} else if (s->role->chan[ev.ref.index] != NULL) {
			loop_del(s->role->loop, ev.ref.fd);
		}
		while (bridge_next_event(s->bridge, &e))
			s->gone = s->gone || (e.type == BRIDGE_PORT_GONE && e.port[0] == '\0');
	}
}

int switchd_main(struct role *r)
{
	static struct switchd s;
	static const struct role_confine confine = { 0 };
	s = (struct switchd){ .role = r, .db_fd = -1, .mgmt = { -1, -1 } };
	/* jansson would open /dev/urandom at its first object, which the filter forbids. */
	json_object_seed(0);
	int err = switchd_init(&s);
	if (err == 0)
		err = role_confine(r, &confine);
	while (err == 0 && !r->stopping && !s.refused) {
		struct loop_event ev;
		if (loop_next(r->loop, turn(&s), &ev))
			handle(&s, &ev);
	}
	if (err == 0 && r->stopping)
		goodbye(&s);
	switchd_mgmt_close(&s);
	switchd_ctl_close(&s);
	switchd_db_close(&s);
	ctcut_free(s.cut);
	bridge_free(s.bridge);
	return err != 0 ? err : s.refused ? -EEXIST : 0;
}
