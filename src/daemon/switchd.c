/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The role that keeps the bridge. It holds two sockets that main connects for it: the database ("db") and vswitchd's
 * control socket
 * ("ctl"). The second one also tells at once when vswitchd ends. Order at each start of vswitchd: ctl stands → the
 * bridge is as wanted and both fixed ports have their numbers → two OpenFlow sockets ("mgmt") → main renews the
 * uplink's addresses → gate gets the sockets.
 */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/ctcut.h"
#include "daemon/link.h"
#include "daemon/role.h"
#include "ovsdb/bridge.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENT_DB = ROLE_COUNT, EVENT_CTL };
enum { RETRY_MS = 50, BEAT_MS = 1000, FROZEN_MS = 2000, PORT_MS = 8000, GOODBYE_MS = 2000, WAITS_MAX = 1200 };
enum { UPLINK_OFPORT = 60001, NAMES_OFPORT = 60002, READ_CHUNK = 65536 };

/* A socket that main connects for us. */
enum want { WANT_DB, WANT_CTL, WANT_MGMT0, WANT_MGMT1, WANT_COUNT };
static const char *const want_names[WANT_COUNT] = { "db", "ctl", "mgmt", "mgmt" };

struct port_wait {
	uint32_t id; /* 0: free */
	bool del;
	char name[LINK_NAME_MAX];
	int64_t deadline_ms;
};

struct switchd {
	struct role *role;
	struct bridge *bridge;
	struct ctcut *cut;
	struct unixctl *ctl;
	int db_fd;
	bool db_writing, ctl_writing;
	uint32_t asked[WANT_COUNT]; /* id of the request to main, 0: none */
	int64_t again_ms[WANT_COUNT];
	int mgmt[2];
	bool bridge_ready, given, said_ready, said_frozen, refused, gone;
	int64_t beat_ms;
	uint32_t last_id;
	char uplink_port[LINK_NAME_MAX];
	struct ipc_switch info;
	struct port_wait waits[WAITS_MAX];
};

static void tell(struct switchd *s, enum log_level level, const char *text)
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

static void mgmt_close(struct switchd *s)
{
	for (unsigned i = 0; i < 2; i++) {
		if (s->mgmt[i] >= 0)
			close(s->mgmt[i]);
		s->mgmt[i] = -1;
	}
	s->given = false;
}

/* The database */

static void db_close(struct switchd *s)
{
	if (s->db_fd < 0)
		return;
	loop_del(s->role->loop, s->db_fd);
	close(s->db_fd);
	s->db_fd = -1;
	s->db_writing = false;
	s->bridge_ready = false;
}

static void db_write(struct switchd *s)
{
	size_t len = 0;
	const void *p;
	while (s->db_fd >= 0 && (p = bridge_output(s->bridge, &len)) != NULL) {
		ssize_t n = send(s->db_fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno != EINTR) {
			db_close(s);
			return;
		}
		if (n > 0)
			bridge_sent(s->bridge, (size_t)n);
	}
	bool writing = s->db_fd >= 0 && len > 0;
	if (s->db_fd < 0 || writing == s->db_writing)
		return;
	s->db_writing = writing;
	if (loop_mod(s->role->loop, s->db_fd, EPOLLIN | (writing ? EPOLLOUT : 0), EVENT_DB, 0) != 0)
		db_close(s);
}

static void db_read(struct switchd *s)
{
	static char buf[READ_CHUNK];
	while (s->db_fd >= 0) {
		ssize_t n = recv(s->db_fd, buf, sizeof(buf), 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		int err = n <= 0 ? -EPIPE : bridge_input(s->bridge, buf, (size_t)n, clock_boot_ms());
		if (err != 0) {
			tell(s, LOG_WARNING,
				err == -EPIPE ? "the connection to OVSDB ended"
					      : "OVSDB speaks nonsense; connecting again");
			db_close(s);
		}
	}
}

static void db_connected(struct switchd *s, int fd)
{
	s->db_fd = fd;
	if (loop_add(s->role->loop, fd, EPOLLIN, EVENT_DB, 0) != 0) {
		close(fd);
		s->db_fd = -1;
		return;
	}
	bridge_connected(s->bridge, clock_boot_ms());
	db_write(s);
}

/* vswitchd's control socket */

static void cut_results(struct switchd *s)
{
	struct ctcut_done d;
	while (ctcut_next(s->cut, &d)) {
		if (d.err != 0)
			log_msg(LOG_WARNING, "vswitchd: %s", d.text);
		if (d.id != 0)
			role_result(s->role, ROLE_GATE, d.id, d.err, d.n_flushed, d.text);
	}
}

static void ctl_close(struct switchd *s)
{
	if (s->ctl == NULL)
		return;
	loop_del(s->role->loop, unixctl_fd(s->ctl));
	ctcut_lost(s->cut);
	unixctl_free(s->ctl);
	s->ctl = NULL;
	s->ctl_writing = false;
	cut_results(s);
	mgmt_close(s);
}

/* Until no answer has come and nothing can be written: an answer read here makes no event any more. */
static void ctl_io(struct switchd *s)
{
	int err = 0;
	for (unsigned before = UINT32_MAX; err == 0 && s->ctl != NULL && unixctl_queued(s->ctl) != before;) {
		before = unixctl_queued(s->ctl);
		err = unixctl_io(s->ctl);
		cut_results(s);
	}
	if (err != 0) {
		tell(s, LOG_WARNING, "ovs-vswitchd ended; nothing new passes until it is back");
		ctl_close(s);
		return;
	}
	bool writing = s->ctl != NULL && unixctl_wants_write(s->ctl);
	if (s->ctl == NULL || writing == s->ctl_writing)
		return;
	s->ctl_writing = writing;
	if (loop_mod(s->role->loop, unixctl_fd(s->ctl), EPOLLIN | (writing ? EPOLLOUT : 0), EVENT_CTL, 0) != 0)
		ctl_close(s);
}

static void ctl_connected(struct switchd *s, int fd)
{
	if (unixctl_new(fd, &s->ctl) != 0) {
		close(fd);
		return;
	}
	if (loop_add(s->role->loop, fd, EPOLLIN, EVENT_CTL, 0) != 0) {
		ctl_close(s);
		return;
	}
	s->said_frozen = false;
	s->beat_ms = clock_boot_ms();
	ctcut_connected(s->cut, s->ctl);
	ctl_io(s);
}

static void heartbeat(struct switchd *s)
{
	int64_t now = clock_boot_ms(), since = s->ctl == NULL ? -1 : unixctl_waiting_since(s->ctl);
	if (since >= 0 && now - since >= FROZEN_MS && !s->said_frozen) {
		s->said_frozen = true;
		tell(s, LOG_ERROR, "ovs-vswitchd does not answer for two seconds");
	} else if (since < 0 && s->said_frozen) {
		s->said_frozen = false;
		tell(s, LOG_NOTICE, "ovs-vswitchd answers again");
	}
	if (s->ctl == NULL || now < s->beat_ms)
		return;
	s->beat_ms = now + BEAT_MS;
	if (since < 0 && ctcut_heartbeat(s->cut) != 0)
		return;
	ctl_io(s);
}

/* Ports asked for by desk */

static struct port_wait *wait_find(struct switchd *s, const char *name)
{
	for (unsigned i = 0; i < WAITS_MAX; i++) {
		if (s->waits[i].id != 0 && strcmp(s->waits[i].name, name) == 0)
			return &s->waits[i];
	}
	return NULL;
}

static void wait_end(struct switchd *s, struct port_wait *w, int err, uint32_t value, const char *text)
{
	role_result(s->role, ROLE_DESK, w->id, err, value, text);
	w->id = 0;
}

static bool wait_begin(struct switchd *s, uint32_t id, const char *name, bool del)
{
	struct port_wait *w = wait_find(s, name);
	if (w != NULL)
		wait_end(s, w, -ECANCELED, 0, "asked again");
	for (unsigned i = 0; i < WAITS_MAX && w == NULL; i++) {
		if (s->waits[i].id == 0)
			w = &s->waits[i];
	}
	if (w == NULL)
		return false;
	*w = (struct port_wait){ .id = id, .del = del, .deadline_ms = clock_boot_ms() + PORT_MS };
	snprintf(w->name, sizeof(w->name), "%s", name);
	return true;
}

static bool is_ours(const struct switchd *s, const char *name)
{
	return strcmp(name, s->uplink_port) == 0 || strcmp(name, PLAN_NAMES_PORT) == 0 ||
	       strcmp(name, s->role->conf.bridge) == 0;
}

static void port_add(struct switchd *s, uint32_t id, const struct ipc_port *m)
{
	struct bridge_port p = { .ofport = (uint16_t)m->ofport };
	if (memchr(m->ifname, '\0', sizeof(m->ifname)) == NULL || m->ofport >= UPLINK_OFPORT || is_ours(s, m->ifname)) {
		role_result(s->role, ROLE_DESK, id, -EINVAL, 0, "this interface cannot be an app's");
		return;
	}
	snprintf(p.name, sizeof(p.name), "%s", m->ifname);
	snprintf(p.app, sizeof(p.app), "%u.%u", m->ref.slot, m->ref.run);
	uint16_t has = bridge_port_ofport(s->bridge, p.name);
	int err = bridge_port_add(s->bridge, &p, clock_boot_ms());
	if (err == -EEXIST && has != 0) {
		role_result(s->role, ROLE_DESK, id, 0, has, NULL);
	} else if ((err != 0 && err != -EEXIST) || !wait_begin(s, id, p.name, false)) {
		role_result(s->role, ROLE_DESK, id, err == 0 ? -ENOSPC : err, 0, "the bridge takes no more ports");
	}
}

static void port_del(struct switchd *s, uint32_t id, const struct ipc_port *m)
{
	char name[LINK_NAME_MAX];
	snprintf(name, sizeof(name), "%.15s", m->ifname);
	int err = is_ours(s, name) ? -ENOENT : bridge_port_del(s->bridge, name, clock_boot_ms());
	if (err == -ENOENT)
		role_result(s->role, ROLE_DESK, id, 0, 0, NULL);
	else if (!wait_begin(s, id, name, true))
		role_result(s->role, ROLE_DESK, id, -ENOSPC, 0, "too much is under way");
}

/* The interface of a running app vanished, or could not become a port. */
static void port_error(struct switchd *s, const struct bridge_event *e)
{
	struct port_wait *w = wait_find(s, e->port);
	struct ipc_port gone = { 0 };
	snprintf(gone.ifname, sizeof(gone.ifname), "%s", e->port);
	log_msg(LOG_WARNING, "port %s: %s", e->port, e->text);
	if (is_ours(s, e->port))
		return;
	if (w != NULL && !w->del) {
		wait_end(s, w, -ENODEV, 0, e->text);
		if (bridge_port_del(s->bridge, e->port, clock_boot_ms()) != 0)
			log_msg(LOG_DEBUG, "port %s was gone already", e->port);
	} else if (w == NULL) {
		if (!role_send_msg(s->role, ROLE_DESK, IPC_PORT_GONE, 0, port, &gone, NULL, 0))
			log_msg(LOG_DEBUG, "desk is away");
	}
}

static void waits_expire(struct switchd *s, int64_t now)
{
	for (unsigned i = 0; i < WAITS_MAX; i++) {
		struct port_wait *w = &s->waits[i];
		if (w->id != 0 && now >= w->deadline_ms)
			wait_end(s, w, -ETIMEDOUT, 0, "Open vSwitch does not answer");
	}
}

static void bridge_event(struct switchd *s, const struct bridge_event *e)
{
	struct port_wait *w = wait_find(s, e->port);
	switch (e->type) {
	case BRIDGE_READY:
		s->bridge_ready = true;
		break;
	case BRIDGE_REFUSED:
		tell(s, LOG_ERROR, e->text);
		s->refused = !s->said_ready;
		break;
	case BRIDGE_PORT_UP:
		if (w != NULL && !w->del)
			wait_end(s, w, 0, e->ofport, NULL);
		break;
	case BRIDGE_PORT_ERROR:
		port_error(s, e);
		break;
	case BRIDGE_PORT_GONE:
		s->gone = s->gone || e->port[0] == '\0';
		if (w != NULL && w->del)
			wait_end(s, w, 0, 0, NULL);
		break;
	case BRIDGE_FOREIGN:
		tell(s, LOG_WARNING, e->text);
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
	/* vswitchd made the internal port anew: its addresses went with the old one. */
	ipc_text_set(&t, s->uplink_port);
	if (!role_send_msg(s->role, ROLE_MAIN, IPC_SWITCH_EVENT, 0, text, &t, NULL, 0))
		log_msg(LOG_WARNING, "main cannot be told that the uplink's port is new");
	/* Without gate the sockets are asked for again when it comes. */
	if (!role_send_msg(s->role, ROLE_GATE, IPC_OF_CONNS, 0, switch, i, s->mgmt, 2))
		log_msg(LOG_DEBUG, "gate is away");
	mgmt_close(s);
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
	if (s->given || s->ctl == NULL || !s->bridge_ready || bridge_port_ofport(s->bridge, s->uplink_port) == 0 ||
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
		db_connected(s, fd);
	else if (w == WANT_CTL && s->ctl == NULL)
		ctl_connected(s, fd);
	else if (w >= WANT_MGMT0 && s->mgmt[w - WANT_MGMT0] < 0 && !s->given)
		s->mgmt[w - WANT_MGMT0] = fd;
	else
		close(fd);
}

static void zone_set(struct switchd *s, uint32_t id, const struct ipc_zone *z)
{
	int64_t now = clock_boot_ms();
	int err = z->limit == 0 ? bridge_zone_del(s->bridge, z->zone, now) : bridge_zone_add(s->bridge, z->zone, now);
	if (err != 0 && err != -ENOENT)
		log_msg(LOG_WARNING, "zone %u gets no timeouts: %s", z->zone, strerror(-err));
	err = ctcut_zone(s->cut, z->zone, z->limit, id);
	if (err != 0 && id != 0)
		role_result(s->role, ROLE_GATE, id, err, 0, "ovs-vswitchd is away");
	ctl_io(s);
}

static void from_gate(struct switchd *s, struct frame *f)
{
	struct ipc_zone zone;
	struct ipc_cut cut;
	if (f->type == IPC_ZONE_SET && ipc_zone_get(f->body, f->len, &zone)) {
		zone_set(s, f->id, &zone);
	} else if (f->type == IPC_CT_CUT && ipc_cut_get(f->body, f->len, &cut)) {
		int err = ctcut_cut(s->cut, cut.zone, cut.mark, f->id);
		if (err != 0 && f->id != 0)
			role_result(s->role, ROLE_GATE, f->id, err, 0, "ovs-vswitchd is away");
		ctl_io(s);
	} else if (f->type == IPC_OF_WANT || f->type == IPC_CHANNEL) {
		mgmt_close(s);
	} else {
		log_msg(LOG_ERROR, "gate sent a message %u that cannot be read", f->type);
	}
}

static void from_desk(struct switchd *s, const struct frame *f)
{
	struct ipc_port port;
	bool known = (f->type == IPC_PORT_ADD || f->type == IPC_PORT_DEL) && ipc_port_get(f->body, f->len, &port);
	if (known && f->type == IPC_PORT_ADD)
		port_add(s, f->id, &port);
	else if (known)
		port_del(s, f->id, &port);
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
		db_read(s);
	else
		ctl_io(s);
}

/* After each event and at each deadline; returns when to wake. */
static int64_t turn(struct switchd *s)
{
	int64_t now = clock_boot_ms(), wake = now + BEAT_MS, deadline = wake;
	struct bridge_event e;
	if (s->db_fd >= 0 && bridge_step(s->bridge, now, &deadline) != 0) {
		tell(s, LOG_WARNING, "OVSDB is silent; connecting again");
		db_close(s);
	}
	while (bridge_next_event(s->bridge, &e))
		bridge_event(s, &e);
	heartbeat(s);
	waits_expire(s, now);
	pursue(s);
	db_write(s);
	bool missing = s->db_fd < 0 || s->ctl == NULL || !s->given;
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
	db_write(s);
	struct loop_event ev;
	struct bridge_event e;
	while (!s->gone && s->db_fd >= 0 && loop_next(s->role->loop, deadline, &ev)) {
		if (ev.ref.type == EVENT_DB) {
			db_read(s);
			db_write(s);
		} else if (ev.ref.type == EVENT_CTL) {
			ctl_close(s);
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
	mgmt_close(&s);
	ctl_close(&s);
	db_close(&s);
	ctcut_free(s.cut);
	bridge_free(s.bridge);
	return err != 0 ? err : s.refused ? -EEXIST : 0;
}
