/* SPDX-License-Identifier: Apache-2.0 */
/* The ports of apps, as desk asks for them. */
#include "base/clock.h"
#include "daemon/switchd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PORT_MS = 8000 };

static struct port_wait *wait_find(struct switchd *s, const char *name)
{
	for (unsigned i = 0; i < SWITCHD_WAITS_MAX; i++) {
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
	for (unsigned i = 0; i < SWITCHD_WAITS_MAX && w == NULL; i++) {
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

void switchd_port_add(struct switchd *s, uint32_t id, const struct ipc_port *m)
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

void switchd_port_del(struct switchd *s, uint32_t id, const struct ipc_port *m)
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

void switchd_port_event(struct switchd *s, const struct bridge_event *e)
{
	struct port_wait *w = wait_find(s, e->port);
	if (e->type == BRIDGE_PORT_ERROR)
		port_error(s, e);
	else if (w != NULL && w->del == (e->type == BRIDGE_PORT_GONE))
		wait_end(s, w, 0, w->del ? 0 : e->ofport, NULL);
}

void switchd_waits_expire(struct switchd *s, int64_t now)
{
	for (unsigned i = 0; i < SWITCHD_WAITS_MAX; i++) {
		struct port_wait *w = &s->waits[i];
		if (w->id != 0 && now >= w->deadline_ms)
			wait_end(s, w, -ETIMEDOUT, 0, "Open vSwitch does not answer");
	}
}
