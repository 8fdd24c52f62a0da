/* SPDX-License-Identifier: Apache-2.0 */
#include "ovsdb/bridge_plan.h"

#include <stdarg.h>
#include <stdio.h>

#include "ovsdb/data.h"

static json_t *where_uuid(const char *uuid)
{
	return json_pack("[[sso]]", "_uuid", "==", ovsdb_uuid(uuid));
}

static void plan_add(struct bridge_plan *p, json_t *op)
{
	/* Fails only without memory; jansson then leaves the element out and the server refuses what no longer fits
	 * together. */
	json_array_append_new(p->ops, op);
}

void plan_wait(struct bridge_plan *p, const char *table, const char *uuid, const char *column, json_t *seen)
{
	plan_add(p, json_pack("{s:s, s:s, s:i, s:o, s:[s], s:s, s:[{s:o}]}", "op", "wait", "table", table, "timeout", 0,
			    "where", where_uuid(uuid), "columns", column, "until", "==", "rows", column, seen));
}

void plan_insert(struct bridge_plan *p, const char *table, const char *name, json_t *row)
{
	plan_add(p, json_pack("{s:s, s:s, s:s, s:o}", "op", "insert", "table", table, "uuid-name", name, "row", row));
	p->changes = true;
}

void plan_update(struct bridge_plan *p, const char *table, const char *uuid, json_t *row)
{
	plan_add(p, json_pack("{s:s, s:s, s:o, s:o}", "op", "update", "table", table, "where", where_uuid(uuid), "row",
			    row));
	p->changes = true;
}

void plan_mutate(struct bridge_plan *p, const char *table, const char *uuid, const char *column, const char *mutator,
	json_t *value)
{
	plan_add(p, json_pack("{s:s, s:s, s:o, s:[[sso]]}", "op", "mutate", "table", table, "where", where_uuid(uuid),
			    "mutations", column, mutator, value));
	p->changes = true;
}

json_t *plan_bridge_row(const struct bridge_conf *c)
{
	char mac[MAC_TEXT_MAX];
	mac_format(&c->mac, mac, sizeof(mac));
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b, s:b}", "datapath_type", c->datapath_type,
		"fail_mode", "secure", "protocols", "OpenFlow15", "other_config",
		ovsdb_map("disable-in-band", "true", "hwaddr", mac, (char *)NULL), "external_ids",
		ovsdb_map("sekisho", "1", (char *)NULL), "controller", ovsdb_empty_set(), "mirrors", ovsdb_empty_set(),
		"stp_enable", 0, "rstp_enable", 0);
}

json_t *plan_iface_row(const struct bridge_port *p)
{
	static const struct mac none;
	char text[MAC_TEXT_MAX];
	json_t *mac = ovsdb_empty_set(), *request = ovsdb_empty_set();
	if (p->internal && !mac_equal(&p->mac, &none)) {
		json_decref(mac);
		mac = json_string(mac_format(&p->mac, text, sizeof(text)));
	}
	if (p->ofport != 0) {
		json_decref(request);
		request = json_integer(p->ofport);
	}
	return json_pack("{s:s, s:o, s:o, s:o}", "type", p->internal ? "internal" : "", "mac", mac, "ofport_request",
		request, "external_ids", ovsdb_map("sekisho-app", p->app, (char *)NULL));
}

json_t *plan_new_port(struct bridge_plan *p, const struct bridge_port *port)
{
	char port_name[32], iface_name[32];
	snprintf(port_name, sizeof(port_name), "port%u", p->n_names);
	snprintf(iface_name, sizeof(iface_name), "iface%u", p->n_names++);
	json_t *iface = plan_iface_row(port);
	json_object_set_new(iface, "name", json_string(port->name));
	plan_insert(p, "Interface", iface_name, iface);
	plan_insert(p, "Port", port_name,
		json_pack("{s:s, s:o}", "name", port->name, "interfaces", ovsdb_named_uuid(iface_name)));
	return ovsdb_named_uuid(port_name);
}

void plan_finish(struct bridge_plan *p, const char *root_uuid)
{
	plan_mutate(p, "Open_vSwitch", root_uuid, "next_cfg", "+=", json_integer(1));
	plan_add(p, json_pack("{s:s, s:s, s:o, s:[s]}", "op", "select", "table", "Open_vSwitch", "where",
			    where_uuid(root_uuid), "columns", "next_cfg"));
}

void plan_foreign(struct bridge_plan *p, const char *fmt, ...)
{
	if (p->foreign[0] != '\0')
		return;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(p->foreign, sizeof(p->foreign), fmt, ap);
	va_end(ap);
}
