/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The difference between what is wanted and what the database holds, as one transaction. Invariant: rows are addressed
 * by UUID only, and the set of bridges (or of our bridge's ports) is guarded by a `wait` on the value that was read, so
 * that two writers never overwrite each other unseen: the loser reads again and plans again.
 */
#include "ovsdb/bridge_plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ovsdb/data.h"

json_t *bridge_row(json_t *db, const char *table, const char *uuid)
{
	return uuid == NULL ? NULL : json_object_get(json_object_get(db, table), uuid);
}

static bool text_is(const json_t *value, const char *want)
{
	const char *have = json_string_value(value);
	return have != NULL && strcmp(have, want) == 0;
}

void bridge_find(json_t *db, const char *name, struct bridge_rows *ret)
{
	*ret = (struct bridge_rows){ 0 };
	json_t *roots = json_object_get(db, "Open_vSwitch");
	void *it = json_object_iter(roots);
	if (it == NULL)
		return;
	ret->root_uuid = json_object_iter_key(it);
	ret->root = json_object_iter_value(it);
	json_t *bridges = json_object_get(ret->root, "bridges");
	size_t n = ovsdb_set_size(bridges);
	for (size_t i = 0; i < n; i++) {
		const char *uuid = ovsdb_uuid_text(ovsdb_set_at(bridges, i));
		json_t *row = bridge_row(db, "Bridge", uuid);
		if (!text_is(json_object_get(row, "name"), name))
			continue;
		ret->bridge_uuid = uuid;
		ret->bridge = row;
		return;
	}
}

bool bridge_find_port(json_t *db, const struct bridge_rows *r, const char *name, const char **ret_uuid,
	json_t **ret_port, const char **ret_iface_uuid, json_t **ret_iface)
{
	json_t *ports = json_object_get(r->bridge, "ports");
	size_t n = ovsdb_set_size(ports);
	for (size_t i = 0; i < n; i++) {
		const char *uuid = ovsdb_uuid_text(ovsdb_set_at(ports, i));
		json_t *row = bridge_row(db, "Port", uuid);
		if (!text_is(json_object_get(row, "name"), name))
			continue;
		*ret_uuid = uuid;
		*ret_port = row;
		*ret_iface_uuid = ovsdb_uuid_text(ovsdb_set_at(json_object_get(row, "interfaces"), 0));
		*ret_iface = bridge_row(db, "Interface", *ret_iface_uuid);
		return true;
	}
	return false;
}

/* The atom "x" and the set of one atom "x" are the same value. Of external_ids only our keys count: other tools keep
 * theirs there. */
static bool value_equal(const char *column, const json_t *have, const json_t *want)
{
	const char *tag = json_string_value(json_array_get(want, 0));
	if (tag != NULL && strcmp(tag, "map") == 0) {
		const json_t *a = json_array_get(have, 1), *b = json_array_get(want, 1);
		if (json_array_size(a) != json_array_size(b) && strcmp(column, "external_ids") != 0)
			return false;
		size_t i;
		json_t *pair;
		json_array_foreach(b, i, pair)
		{
			const char *key = json_string_value(json_array_get(pair, 0));
			const char *value = key == NULL ? NULL : ovsdb_map_text(have, key);
			if (value == NULL || !text_is(json_array_get(pair, 1), value))
				return false;
		}
		return true;
	}
	if (ovsdb_set_size(have) != ovsdb_set_size(want) || ovsdb_set_size(want) > 1)
		return false;
	return ovsdb_set_size(want) == 0 || json_equal(ovsdb_set_at(have, 0), ovsdb_set_at(want, 0));
}

/* Keeps in `want` only the columns that differ; NULL when none does. Steals `want`. *ret_column: the first one that
 * differs. */
static json_t *row_difference(const json_t *have, json_t *want, char *ret_column, size_t column_len)
{
	json_t *diff = json_object();
	const char *column;
	json_t *value;
	json_object_foreach(want, column, value)
	{
		if (value_equal(column, json_object_get(have, column), value))
			continue;
		if (json_object_size(diff) == 0)
			snprintf(ret_column, column_len, "%s", column);
		json_object_set(diff, column, value);
	}
	json_decref(want);
	if (json_object_size(diff) > 0)
		return diff;
	json_decref(diff);
	return NULL;
}

static struct want_port *want_find(struct bridge_want *w, const char *name)
{
	for (unsigned i = 0; i < w->n_ports; i++) {
		if (w->ports[i].used && strcmp(w->ports[i].p.name, name) == 0)
			return &w->ports[i];
	}
	return NULL;
}

/* A row of that name in `table` that is not part of our bridge: inserting ours would break the whole transaction. */
static bool name_taken(json_t *db, const char *table, const char *name)
{
	const char *uuid;
	json_t *row;
	json_object_foreach(json_object_get(db, table), uuid, row)
	{
		if (text_is(json_object_get(row, "name"), name))
			return true;
	}
	return false;
}

static void plan_no_bridge(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct bridge_plan *p)
{
	if (w->made)
		plan_foreign(p, "bridge %s was deleted", w->conf.name);
	plan_wait(p, "Open_vSwitch", r->root_uuid, "bridges", json_incref(json_object_get(r->root, "bridges")));
	json_t *ports = json_array();
	struct bridge_port local = { .internal = true };
	snprintf(local.name, sizeof(local.name), "%s", w->conf.name);
	json_array_append_new(ports, plan_new_port(p, &local));
	for (unsigned i = 0; i < w->n_ports; i++) {
		struct want_port *wp = &w->ports[i];
		if (wp->used && !wp->deleting && !name_taken(db, "Interface", wp->p.name))
			json_array_append_new(ports, plan_new_port(p, &wp->p));
	}
	json_t *row = plan_bridge_row(&w->conf);
	json_object_set_new(row, "name", json_string(w->conf.name));
	json_object_set_new(row, "ports", json_pack("[so]", "set", ports));
	plan_insert(p, "Bridge", "bridge", row);
	plan_mutate(p, "Open_vSwitch", r->root_uuid, "bridges", "insert", ovsdb_named_uuid("bridge"));
}

/* At the first look: a port of an app that an earlier life of ours made stays, so that a restart cuts nobody. */
static bool adopt_port(struct bridge_want *w, json_t *db, const char *uuid, const char *name)
{
	json_t *port = bridge_row(db, "Port", uuid);
	json_t *iface =
		bridge_row(db, "Interface", ovsdb_uuid_text(ovsdb_set_at(json_object_get(port, "interfaces"), 0)));
	const char *app = ovsdb_map_text(json_object_get(iface, "external_ids"), "sekisho-app");
	int64_t request = 0;
	if (w->made || app == NULL || app[0] == '\0' || w->n_ports == BRIDGE_PORTS_MAX ||
		strlen(name) >= BRIDGE_NAME_MAX)
		return false;
	struct want_port wp = { .used = true, .adopted = true };
	snprintf(wp.p.name, sizeof(wp.p.name), "%s", name);
	snprintf(wp.p.app, sizeof(wp.p.app), "%s", app);
	if (ovsdb_optional_integer(json_object_get(iface, "ofport_request"), &request) && request > 0 &&
		request < 0xff00)
		wp.p.ofport = (uint16_t)request;
	w->ports[w->n_ports++] = wp;
	return true;
}

/* Ports that stand on our bridge and are not wanted; returns the set to delete, or NULL. */
static json_t *unwanted_ports(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct bridge_plan *p)
{
	json_t *gone = json_array(), *ports = json_object_get(r->bridge, "ports");
	size_t n = ovsdb_set_size(ports);
	for (size_t i = 0; i < n; i++) {
		const char *uuid = ovsdb_uuid_text(ovsdb_set_at(ports, i));
		const char *name = json_string_value(json_object_get(bridge_row(db, "Port", uuid), "name"));
		if (uuid == NULL || name == NULL || strcmp(name, w->conf.name) == 0)
			continue;
		struct want_port *wp = want_find(w, name);
		if ((wp != NULL && !wp->deleting) || (wp == NULL && adopt_port(w, db, uuid, name)))
			continue;
		if (wp == NULL && w->made)
			plan_foreign(p, "port %s was added to bridge %s", name, w->conf.name);
		if (wp != NULL)
			wp->gone_cfg = GONE_UNDER_WAY;
		json_array_append_new(gone, ovsdb_uuid(uuid));
	}
	if (json_array_size(gone) > 0)
		return json_pack("[so]", "set", gone);
	json_decref(gone);
	return NULL;
}

/* Columns of Port that would change what enters or leaves: all must be empty. */
static json_t *port_row(void)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "tag", ovsdb_empty_set(), "trunks", ovsdb_empty_set(), "vlan_mode",
		ovsdb_empty_set(), "qos", ovsdb_empty_set());
}

/* One wanted port; what is to be inserted goes to `add`. */
static void plan_port(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct want_port *wp, json_t *add,
	struct bridge_plan *p)
{
	const char *uuid, *iface_uuid;
	char column[64] = "";
	json_t *port, *iface;
	if (!bridge_find_port(db, r, wp->p.name, &uuid, &port, &iface_uuid, &iface)) {
		if (wp->made)
			plan_foreign(p, "port %s was taken from bridge %s", wp->p.name, w->conf.name);
		wp->made = false;
		if (!name_taken(db, "Interface", wp->p.name) && !name_taken(db, "Port", wp->p.name))
			json_array_append_new(add, plan_new_port(p, &wp->p));
		return;
	}
	bool changed = false;
	json_t *diff = row_difference(port, port_row(), column, sizeof(column));
	if (diff != NULL) {
		plan_update(p, "Port", uuid, diff);
		changed = true;
	}
	diff = iface == NULL ? NULL : row_difference(iface, plan_iface_row(&wp->p), column, sizeof(column));
	if (diff != NULL) {
		plan_update(p, "Interface", iface_uuid, diff);
		changed = true;
	}
	if (changed && wp->made)
		plan_foreign(p, "column %s of port %s was changed", column, wp->p.name);
	if (!changed)
		wp->made = true;
}

static void plan_bridge(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct bridge_plan *p)
{
	char column[64];
	plan_wait(p, "Bridge", r->bridge_uuid, "ports", json_incref(json_object_get(r->bridge, "ports")));
	json_t *diff = row_difference(r->bridge, plan_bridge_row(&w->conf), column, sizeof(column));
	if (diff != NULL) {
		if (w->made)
			plan_foreign(p, "column %s of bridge %s was changed", column, w->conf.name);
		plan_update(p, "Bridge", r->bridge_uuid, diff);
	}
	json_t *gone = unwanted_ports(w, db, r, p);
	if (gone != NULL)
		plan_mutate(p, "Bridge", r->bridge_uuid, "ports", "delete", gone);
	json_t *add = json_array();
	for (unsigned i = 0; i < w->n_ports; i++) {
		if (w->ports[i].used && !w->ports[i].deleting)
			plan_port(w, db, r, &w->ports[i], add, p);
	}
	if (json_array_size(add) > 0)
		plan_mutate(p, "Bridge", r->bridge_uuid, "ports", "insert", json_pack("[so]", "set", add));
	else
		json_decref(add);
}

/* switch.md 10: what an idle connection may take. vswitchd's names, ovs-vswitchd.conf.db(5) CT_Timeout_Policy. */
static json_t *timeouts(void)
{
	static const struct {
		const char *name;
		int seconds;
	} all[] = { { "udp_first", 30 }, { "udp_single", 30 }, { "udp_multiple", 120 }, { "icmp_first", 30 },
		{ "icmp_reply", 30 }, { "tcp_established", 86400 },
		/* An ended connection holds its place in the zone for this long: an app that opens many must not run
		   out. */
		{ "tcp_time_wait", 5 }, { "tcp_close", 2 } };
	json_t *pairs = json_array();
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		json_array_append_new(pairs, json_pack("[si]", all[i].name, all[i].seconds));
	return json_pack("[so]", "map", pairs);
}

static json_t *plan_new_zone(struct bridge_plan *p)
{
	char policy[32], zone[32];
	snprintf(policy, sizeof(policy), "policy%u", p->n_names);
	snprintf(zone, sizeof(zone), "zone%u", p->n_names++);
	plan_insert(p, "CT_Timeout_Policy", policy, json_pack("{s:o}", "timeouts", timeouts()));
	plan_insert(p, "CT_Zone", zone,
		json_pack("{s:o, s:o}", "timeout_policy", ovsdb_named_uuid(policy), "external_ids",
			ovsdb_map("sekisho", "1", (char *)NULL)));
	return ovsdb_named_uuid(zone);
}

/* The zones' timeouts; nothing without a wanted zone, so that a plain bridge needs no Datapath row. */
static void plan_zones(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct bridge_plan *p)
{
	const char *uuid = ovsdb_map_uuid(json_object_get(r->root, "datapaths"), w->conf.datapath_type);
	json_t *have = json_object_get(bridge_row(db, "Datapath", uuid), "ct_zones");
	json_t *add = json_array(), *gone = json_array();
	for (unsigned i = 0; i < w->n_zones; i++) {
		struct want_zone *z = &w->zones[i];
		bool there = ovsdb_map_uuid_of(have, z->zone) != NULL;
		if (z->used && z->deleting && there)
			json_array_append_new(gone, json_integer(z->zone));
		else if (z->used && !z->deleting && !there)
			json_array_append_new(add, json_pack("[io]", (int)z->zone, plan_new_zone(p)));
		if (z->deleting && !there)
			z->used = false;
	}
	if (json_array_size(gone) > 0)
		plan_mutate(p, "Datapath", uuid, "ct_zones", "delete", json_pack("[sO]", "set", gone));
	if (json_array_size(add) > 0 && uuid != NULL) {
		plan_mutate(p, "Datapath", uuid, "ct_zones", "insert", json_pack("[sO]", "map", add));
	} else if (json_array_size(add) > 0) {
		plan_insert(p, "Datapath", "datapath",
			json_pack("{s:[sO], s:o}", "ct_zones", "map", add, "external_ids",
				ovsdb_map("sekisho", "1", (char *)NULL)));
		plan_mutate(p, "Open_vSwitch", r->root_uuid, "datapaths", "insert",
			json_pack("[s[[so]]]", "map", w->conf.datapath_type, ovsdb_named_uuid("datapath")));
	}
	json_decref(add);
	json_decref(gone);
}

static void plan_remove(struct bridge_want *w, json_t *db, const struct bridge_rows *r, struct bridge_plan *p)
{
	const char *type = w->conf.datapath_type;
	const char *uuid = ovsdb_map_uuid(json_object_get(r->root, "datapaths"), type);
	json_t *datapath = bridge_row(db, "Datapath", uuid);
	for (unsigned i = 0; i < w->n_zones; i++)
		w->zones[i].deleting = true;
	if (r->bridge != NULL)
		plan_mutate(p, "Open_vSwitch", r->root_uuid, "bridges", "delete", ovsdb_uuid(r->bridge_uuid));
	if (ovsdb_map_text(json_object_get(datapath, "external_ids"), "sekisho") != NULL)
		plan_mutate(p, "Open_vSwitch", r->root_uuid, "datapaths", "delete", json_pack("[s[s]]", "set", type));
	else
		plan_zones(w, db, r, p);
}

void bridge_plan_make(struct bridge_want *w, json_t *db, struct bridge_plan *ret)
{
	struct bridge_plan p = { .ops = json_pack("[s]", "Open_vSwitch") };
	struct bridge_rows r;
	bridge_find(db, w->conf.name, &r);
	if (r.root == NULL) {
		snprintf(p.refused, sizeof(p.refused), "the database has no Open_vSwitch row: run ovs-vsctl init");
	} else if (r.bridge != NULL && ovsdb_map_text(json_object_get(r.bridge, "external_ids"), "sekisho") == NULL &&
		   !w->made) {
		snprintf(p.refused, sizeof(p.refused),
			"bridge %s exists and is not Sekisho's; choose another `bridge` or delete it", w->conf.name);
	} else if (w->remove) {
		plan_remove(w, db, &r, &p);
	} else {
		if (r.bridge == NULL)
			plan_no_bridge(w, db, &r, &p);
		else
			plan_bridge(w, db, &r, &p);
		plan_zones(w, db, &r, &p);
		w->made = w->made || !p.changes;
	}
	if (p.changes)
		plan_finish(&p, r.root_uuid);
	if (!p.changes) {
		json_decref(p.ops);
		p.ops = NULL;
	}
	*ret = p;
}
