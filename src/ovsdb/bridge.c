/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. The replica `db` is always one whole state the server has announced: a monitor's first reply
 * replaces it, each update is applied in one go. After every step bridge_plan_make() compares it with what is wanted;
 * at most one transaction is under way, and while it is nothing is planned, since the server sends its update before
 * its reply. An answer lost with a connection needs no care: the next replica shows what happened.
 */
#include "ovsdb/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ovsdb/bridge_plan.h"
#include "ovsdb/data.h"
#include "ovsdb/session.h"

enum { EVENTS_MAX = 4096, PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 5000, CALM_MS = 10000 };

struct bridge {
	struct bridge_want want;
	struct ovsdb_session *session;
	json_t *db;			  /* NULL until the monitor's first reply */
	uint32_t monitor_id, transact_id; /* requests under way, 0: none */
	bool ready_told, gone_told;
	int64_t settled_cfg; /* vswitchd has caught up when cur_cfg reaches it; -1: nothing written on this connection
				yet */
	int64_t now_ms, not_before_ms, repaired_ms;
	int pause_ms;
	char told_refused[BRIDGE_TEXT_MAX];
	unsigned head, n_events;
	struct bridge_event events[EVENTS_MAX];
};

int bridge_new(const struct bridge_conf *conf, struct bridge **ret)
{
	struct bridge *b = calloc(1, sizeof(*b));
	if (b == NULL)
		return -ENOMEM;
	int err = ovsdb_session_new(&b->session);
	if (err != 0) {
		free(b);
		return err;
	}
	b->want.conf = *conf;
	*ret = b;
	return 0;
}

void bridge_free(struct bridge *b)
{
	if (b == NULL)
		return;
	ovsdb_session_free(b->session);
	json_decref(b->db);
	free(b);
}

static void bridge_say(struct bridge *b, enum bridge_event_type type, const char *port, uint16_t ofport,
	const char *text)
{
	if (b->n_events == EVENTS_MAX)
		return;
	struct bridge_event *e = &b->events[(b->head + b->n_events++) % EVENTS_MAX];
	*e = (struct bridge_event){ .type = type, .ofport = ofport };
	snprintf(e->port, sizeof(e->port), "%s", port);
	snprintf(e->text, sizeof(e->text), "%s", text);
}

bool bridge_next_event(struct bridge *b, struct bridge_event *ret)
{
	if (b->n_events == 0)
		return false;
	*ret = b->events[b->head];
	b->head = (b->head + 1) % EVENTS_MAX;
	b->n_events--;
	return true;
}

void bridge_connected(struct bridge *b, int64_t now_ms)
{
	b->now_ms = now_ms;
	ovsdb_session_reset(b->session, now_ms);
	b->transact_id = 0;
	b->ready_told = false;
	b->settled_cfg = -1;
	b->told_refused[0] = '\0';
	json_t *tables = json_pack("{s:{s:[ssss]}, s:{s:[sssssssssss]}, s:{s:[ssssss]}, s:{s:[ssssssss]}, s:{s:[ss]}}",
		"Open_vSwitch", "columns", "bridges", "next_cfg", "cur_cfg", "datapaths", "Bridge", "columns", "name",
		"ports", "datapath_type", "fail_mode", "protocols", "other_config", "external_ids", "controller",
		"mirrors", "stp_enable", "rstp_enable", "Port", "columns", "name", "interfaces", "tag", "trunks",
		"vlan_mode", "qos", "Interface", "columns", "name", "type", "mac", "ofport", "ofport_request",
		"external_ids", "error", "ifindex", "Datapath", "columns", "ct_zones", "external_ids");
	b->monitor_id =
		ovsdb_session_request(b->session, "monitor", json_pack("[sso]", "Open_vSwitch", "sekisho", tables));
}

/* RFC 7047 §4.1.6: per row "old" and "new"; without "new" the row is gone. */
static int replica_apply(json_t *db, json_t *updates)
{
	const char *table, *uuid;
	json_t *rows, *change;
	json_object_foreach(updates, table, rows)
	{
		json_t *mine = json_object_get(db, table);
		if (mine == NULL) {
			mine = json_object();
			json_object_set_new(db, table, mine);
		}
		if (!json_is_object(rows))
			return -EPROTO;
		json_object_foreach(rows, uuid, change)
		{
			json_t *row = json_object_get(change, "new");
			if (json_is_object(row))
				json_object_set(mine, uuid, row);
			else
				json_object_del(mine, uuid);
		}
	}
	return 0;
}

static void bridge_refused(struct bridge *b, const char *text)
{
	if (strcmp(b->told_refused, text) == 0)
		return;
	snprintf(b->told_refused, sizeof(b->told_refused), "%s", text);
	bridge_say(b, BRIDGE_REFUSED, "", 0, text);
}

/* The pause doubles while somebody keeps undoing our work, and is forgotten after a calm while. */
static void bridge_pause(struct bridge *b)
{
	if (b->now_ms - b->repaired_ms > CALM_MS)
		b->pause_ms = 0;
	b->not_before_ms = b->now_ms + b->pause_ms;
	b->repaired_ms = b->now_ms;
	b->pause_ms = b->pause_ms == 0		     ? PAUSE_FIRST_MS
		    : b->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS
						     : b->pause_ms * 2;
}

static int64_t root_integer(struct bridge *b, const char *column)
{
	struct bridge_rows r;
	int64_t v = -1;
	bridge_find(b->db, b->want.conf.name, &r);
	return ovsdb_optional_integer(json_object_get(r.root, column), &v) ? v : -1;
}

static void transact_failed(struct bridge *b, const char *error, const char *details)
{
	/* Our `wait` did not hold: somebody was faster, and the update has told us what. */
	if (strcmp(error, "timed out") != 0) {
		char text[BRIDGE_TEXT_MAX];
		snprintf(text, sizeof(text), "OVSDB refused a change: %s%s%s", error, details == NULL ? "" : ": ",
			details == NULL ? "" : details);
		bridge_refused(b, text);
	}
	bridge_pause(b);
}

/* next_cfg as our transaction left it; deletions in it are done when vswitchd has come that far. */
static void transact_done(struct bridge *b, const json_t *result)
{
	json_t *rows = json_object_get(json_array_get(result, json_array_size(result) - 1), "rows");
	json_t *cfg = json_object_get(json_array_get(rows, 0), "next_cfg");
	b->settled_cfg = json_is_integer(cfg) ? json_integer_value(cfg) : root_integer(b, "next_cfg");
	b->told_refused[0] = '\0';
	for (unsigned i = 0; i < b->want.n_ports; i++) {
		struct want_port *wp = &b->want.ports[i];
		if (wp->used && wp->deleting && wp->gone_cfg == GONE_UNDER_WAY)
			wp->gone_cfg = b->settled_cfg;
	}
}

static int bridge_reply(struct bridge *b, const struct ovsdb_event *ev)
{
	if (ev->id == b->monitor_id) {
		b->monitor_id = 0;
		if (ev->error != NULL || !json_is_object(ev->result))
			return -EPROTO;
		json_t *db = json_object();
		int err = replica_apply(db, ev->result);
		json_decref(b->db);
		b->db = db;
		return err;
	}
	if (ev->id != b->transact_id || b->transact_id == 0)
		return 0;
	b->transact_id = 0;
	const char *details = NULL;
	const char *error = ev->error != NULL ? "transaction not accepted" : ovsdb_transact_error(ev->result, &details);
	if (error != NULL)
		transact_failed(b, error, details);
	else
		transact_done(b, ev->result);
	return 0;
}

static void look_at_deleted(struct bridge *b, struct want_port *wp, bool there, int64_t cur_cfg)
{
	if (there || b->transact_id != 0 || (wp->gone_cfg >= 0 && cur_cfg < wp->gone_cfg))
		return;
	wp->used = false;
	bridge_say(b, BRIDGE_PORT_GONE, wp->p.name, 0, "");
}

static void port_error(struct bridge *b, struct want_port *wp, const char *text)
{
	if (strcmp(wp->told_error, text) == 0)
		return;
	snprintf(wp->told_error, sizeof(wp->told_error), "%s", text);
	wp->told_ofport = 0;
	bridge_say(b, BRIDGE_PORT_ERROR, wp->p.name, 0, wp->told_error);
}

static void look_at_port(struct bridge *b, const struct bridge_rows *r, struct want_port *wp, int64_t cur_cfg)
{
	const char *uuid, *iface_uuid;
	json_t *port, *iface = NULL;
	bool there = bridge_find_port(b->db, r, wp->p.name, &uuid, &port, &iface_uuid, &iface);
	if (wp->deleting) {
		look_at_deleted(b, wp, there, cur_cfg);
		return;
	}
	if (!there) {
		if (b->transact_id == 0)
			port_error(b, wp, "this interface is a port of another Open vSwitch bridge");
		return;
	}
	const char *error = ovsdb_optional_text(json_object_get(iface, "error"));
	int64_t ofport = 0;
	bool numbered = ovsdb_optional_integer(json_object_get(iface, "ofport"), &ofport);
	int64_t ifindex = 1;
	/* vswitchd keeps the number of an interface that vanished, and says so only here. */
	if (ovsdb_optional_integer(json_object_get(iface, "ifindex"), &ifindex) && ifindex == 0 && error == NULL)
		error = "the interface vanished";
	if (error != NULL && error[0] != '\0') {
		port_error(b, wp, error);
	} else if (numbered && ofport > 0 && ofport < 0xff00) {
		wp->told_error[0] = '\0';
		if (wp->told_ofport != ofport)
			bridge_say(b, BRIDGE_PORT_UP, wp->p.name, (uint16_t)ofport, "");
		wp->told_ofport = (uint16_t)ofport;
	}
}

/* What the replica says to the caller. */
static void bridge_look(struct bridge *b)
{
	struct bridge_rows r;
	bridge_find(b->db, b->want.conf.name, &r);
	int64_t cur_cfg = root_integer(b, "cur_cfg");
	bool caught_up = b->transact_id == 0 && cur_cfg >= b->settled_cfg;
	if (b->want.remove) {
		if (r.bridge == NULL && caught_up && !b->gone_told)
			bridge_say(b, BRIDGE_PORT_GONE, "", 0, "");
		b->gone_told = b->gone_told || (r.bridge == NULL && caught_up);
		return;
	}
	if (b->want.made && r.bridge != NULL && caught_up && !b->ready_told) {
		b->ready_told = true;
		bridge_say(b, BRIDGE_READY, "", 0, "");
	}
	for (unsigned i = 0; i < b->want.n_ports; i++) {
		if (b->want.ports[i].used)
			look_at_port(b, &r, &b->want.ports[i], cur_cfg);
	}
}

/* Plans and sends when nothing is under way, then tells what there is to tell. */
static void bridge_turn(struct bridge *b)
{
	if (b->db == NULL || b->monitor_id != 0)
		return;
	if (b->transact_id == 0 && b->now_ms >= b->not_before_ms) {
		struct bridge_plan plan;
		bridge_plan_make(&b->want, b->db, &plan);
		if (plan.refused[0] != '\0')
			bridge_refused(b, plan.refused);
		if (plan.foreign[0] != '\0') {
			bridge_say(b, BRIDGE_FOREIGN, "", 0, plan.foreign);
			bridge_pause(b);
		}
		if (plan.ops != NULL)
			b->transact_id = ovsdb_session_request(b->session, "transact", plan.ops);
		else if (b->settled_cfg == -1)
			b->settled_cfg = root_integer(b, "next_cfg");
	}
	bridge_look(b);
}

int bridge_input(struct bridge *b, const void *bytes, size_t len, int64_t now_ms)
{
	b->now_ms = now_ms;
	int err = ovsdb_session_input(b->session, bytes, len, now_ms);
	if (err != 0)
		return err;
	struct ovsdb_event ev;
	int got;
	while ((got = ovsdb_session_next(b->session, &ev)) > 0) {
		if (ev.type == OVSDB_EVENT_REPLY)
			err = bridge_reply(b, &ev);
		else if (b->db != NULL)
			err = replica_apply(b->db, ev.result);
		if (err != 0)
			return err;
	}
	if (got == 0)
		bridge_turn(b);
	return got;
}

const void *bridge_output(const struct bridge *b, size_t *ret_len)
{
	return ovsdb_session_output(b->session, ret_len);
}

void bridge_sent(struct bridge *b, size_t len)
{
	ovsdb_session_sent(b->session, len);
}

int bridge_step(struct bridge *b, int64_t now_ms, int64_t *ret_deadline_ms)
{
	int64_t deadline;
	b->now_ms = now_ms;
	int err = ovsdb_session_step(b->session, now_ms, &deadline);
	if (err != 0)
		return err;
	bool waiting = b->transact_id == 0 && b->not_before_ms > 0;
	if (waiting && now_ms >= b->not_before_ms) {
		b->not_before_ms = 0;
		bridge_turn(b);
	} else if (waiting && b->not_before_ms < deadline) {
		deadline = b->not_before_ms;
	}
	*ret_deadline_ms = deadline;
	return 0;
}

static struct want_port *port_find(struct bridge *b, const char *name)
{
	for (unsigned i = 0; i < b->want.n_ports; i++) {
		if (b->want.ports[i].used && strcmp(b->want.ports[i].p.name, name) == 0)
			return &b->want.ports[i];
	}
	return NULL;
}

static struct want_port *port_slot(struct bridge *b)
{
	for (unsigned i = 0; i < b->want.n_ports; i++) {
		if (!b->want.ports[i].used)
			return &b->want.ports[i];
	}
	return b->want.n_ports == BRIDGE_PORTS_MAX ? NULL : &b->want.ports[b->want.n_ports++];
}

int bridge_port_add(struct bridge *b, const struct bridge_port *p, int64_t now_ms)
{
	if (p->name[0] == '\0' || memchr(p->name, '\0', sizeof(p->name)) == NULL ||
		strcmp(p->name, b->want.conf.name) == 0 || p->ofport >= 0xff00)
		return -EINVAL;
	struct want_port *wp = port_find(b, p->name);
	if (wp != NULL && !wp->deleting && !wp->adopted)
		return -EEXIST;
	if (wp != NULL && wp->deleting)
		bridge_say(b, BRIDGE_PORT_GONE, p->name, 0, "");
	else if (wp == NULL)
		wp = port_slot(b);
	if (wp == NULL)
		return -ENOSPC;
	*wp = (struct want_port){ .p = *p, .used = true };
	b->now_ms = now_ms;
	bridge_turn(b);
	return 0;
}

int bridge_port_del(struct bridge *b, const char *name, int64_t now_ms)
{
	struct want_port *wp = port_find(b, name);
	if (wp == NULL || wp->deleting)
		return -ENOENT;
	wp->deleting = true;
	wp->gone_cfg = GONE_UNASKED;
	b->now_ms = now_ms;
	bridge_turn(b);
	return 0;
}

int bridge_zone_add(struct bridge *b, uint16_t zone, int64_t now_ms)
{
	struct want_zone *free_slot = NULL;
	for (unsigned i = 0; i < b->want.n_zones; i++) {
		struct want_zone *z = &b->want.zones[i];
		if (z->used && z->zone == zone) {
			z->deleting = false;
			return 0;
		}
		if (!z->used && free_slot == NULL)
			free_slot = z;
	}
	if (free_slot == NULL && b->want.n_zones == BRIDGE_ZONES_MAX)
		return -ENOSPC;
	if (free_slot == NULL)
		free_slot = &b->want.zones[b->want.n_zones++];
	*free_slot = (struct want_zone){ .zone = zone, .used = true };
	b->now_ms = now_ms;
	bridge_turn(b);
	return 0;
}

int bridge_zone_del(struct bridge *b, uint16_t zone, int64_t now_ms)
{
	for (unsigned i = 0; i < b->want.n_zones; i++) {
		struct want_zone *z = &b->want.zones[i];
		if (!z->used || z->zone != zone)
			continue;
		z->deleting = true;
		b->now_ms = now_ms;
		bridge_turn(b);
		return 0;
	}
	return -ENOENT;
}

void bridge_remove(struct bridge *b, int64_t now_ms)
{
	b->want.remove = true;
	b->now_ms = now_ms;
	bridge_turn(b);
}

uint16_t bridge_port_ofport(const struct bridge *b, const char *name)
{
	for (unsigned i = 0; i < b->want.n_ports; i++) {
		if (b->want.ports[i].used && strcmp(b->want.ports[i].p.name, name) == 0)
			return b->want.ports[i].told_ofport;
	}
	return 0;
}
