/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVSDB_BRIDGE_PLAN_H
#define OVSDB_BRIDGE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "ovsdb/bridge.h"

/* Inner parts of the bridge: what is wanted, and the difference to what the database holds, as one transaction. */

struct want_port {
	struct bridge_port p;
	bool used;     /* the slot is taken */
	bool deleting; /* wanted gone */
	bool adopted;  /* an earlier life of ours made it; bridge_port_add() may claim it */
	bool made;     /* seen in place as wanted: from now on a difference is somebody else's doing */
	uint16_t told_ofport;
	int64_t gone_cfg; /* deleting: vswitchd has let go when cur_cfg reaches this, or one of below */
	char told_error[BRIDGE_TEXT_MAX];
};

enum { GONE_UNASKED = -1, GONE_UNDER_WAY = -2 };

struct want_zone {
	uint16_t zone;
	bool used, deleting;
};

enum { BRIDGE_ZONES_MAX = 2100 };

struct bridge_want {
	struct bridge_conf conf;
	bool made; /* the bridge was seen in place as wanted */
	bool remove;
	unsigned n_ports, n_zones; /* slots ever used */
	struct want_port ports[BRIDGE_PORTS_MAX];
	struct want_zone zones[BRIDGE_ZONES_MAX];
};

struct bridge_plan {
	json_t *ops;  /* the whole array for `transact`, database name first; NULL: nothing to do; the caller's */
	bool changes; /* something is to be done */
	char foreign[BRIDGE_TEXT_MAX]; /* "" or what somebody else changed */
	char refused[BRIDGE_TEXT_MAX]; /* "" or why nothing can be done */
	unsigned n_names;	       /* named-uuids used so far */
};

/* Where our rows are in the replica `db` ({table: {uuid: row}}). Strings and rows belong to `db`. */
struct bridge_rows {
	const char *root_uuid, *bridge_uuid;
	json_t *root, *bridge;
};

void bridge_find(json_t *db, const char *name, struct bridge_rows *ret);
json_t *bridge_row(json_t *db, const char *table, const char *uuid);
/* The port of our bridge with that name, and its only interface; false when there is none. */
bool bridge_find_port(json_t *db, const struct bridge_rows *r, const char *name, const char **ret_uuid,
	json_t **ret_port, const char **ret_iface_uuid, json_t **ret_iface);

/* Sets `made` of ports that stand as wanted. */
void bridge_plan_make(struct bridge_want *w, json_t *db, struct bridge_plan *ret);

/* bridge_ops.c: append one operation to p->ops; steal their JSON. */
void plan_wait(struct bridge_plan *p, const char *table, const char *uuid, const char *column, json_t *seen);
void plan_insert(struct bridge_plan *p, const char *table, const char *name, json_t *row);
void plan_update(struct bridge_plan *p, const char *table, const char *uuid, json_t *row);
void plan_mutate(struct bridge_plan *p, const char *table, const char *uuid, const char *column, const char *mutator,
	json_t *value);
json_t *plan_bridge_row(const struct bridge_conf *c);
json_t *plan_iface_row(const struct bridge_port *p);
/* Port and Interface of `p`; returns the named-uuid of the port. */
json_t *plan_new_port(struct bridge_plan *p, const struct bridge_port *port);
/* next_cfg is counted up and read back: the last two operations. */
void plan_finish(struct bridge_plan *p, const char *root_uuid);
/* Sets p->foreign once. */
void plan_foreign(struct bridge_plan *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
