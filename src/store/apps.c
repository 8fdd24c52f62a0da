/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <stdio.h>
#include <string.h>

int store_app_put(struct store *s, const struct store_app *a)
{
	return db_run(s,
		"INSERT INTO app VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT(slot) DO UPDATE SET run = ?2, owner = ?3, kind = ?4,"
		" name = ?5, ifname = ?6, mac = ?7, zone = ?8, names_zone = ?9, ask = ?10, started = ?11",
		"uuuussbuuui", a->slot, a->run, a->owner, a->kind, a->name, a->ifname, (const void *)a->mac.b,
		sizeof(a->mac.b), a->zone, a->names_zone, a->ask, a->started_ms);
}

int store_app_del(struct store *s, uint32_t slot, uint32_t run)
{
	int err = db_run(s, "DELETE FROM app WHERE slot = ?1 AND run = ?2", "uu", slot, run);
	return err != 0 ? err : db_run(s, "DELETE FROM copy WHERE run = ?1", "u", run);
}

int store_apps(struct store *s, struct store_rows **ret)
{
	return db_rows(s, ret,
		"SELECT slot, run, owner, kind, name, ifname, mac, zone, names_zone, ask, started FROM app ORDER BY slot",
		"");
}

int store_apps_next(struct store_rows *q, struct store_app *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_app){
		.slot = db_u32(q, 0),
		.run = db_u32(q, 1),
		.owner = db_u32(q, 2),
		.kind = db_u32(q, 3),
		.zone = db_u32(q, 7),
		.names_zone = db_u32(q, 8),
		.ask = db_u32(q, 9),
		.started_ms = sqlite3_column_int64(q->q, 10),
	};
	snprintf(ret->name, sizeof(ret->name), "%s", db_text(q, 4));
	snprintf(ret->ifname, sizeof(ret->ifname), "%s", db_text(q, 5));
	if (sqlite3_column_bytes(q->q, 6) == (int)sizeof(ret->mac.b))
		memcpy(ret->mac.b, sqlite3_column_blob(q->q, 6), sizeof(ret->mac.b));
	return 1;
}

int store_copy_put(struct store *s, enum store_copy kind, uint32_t run, uint32_t key, const void *body, size_t len)
{
	return db_run(s, "INSERT INTO copy VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET body = ?4", "uuub",
		(uint32_t)kind, run, key, body, len);
}

int store_copy_del(struct store *s, enum store_copy kind, uint32_t key, uint32_t run)
{
	return db_run(s, "DELETE FROM copy WHERE kind = ?1 AND key = ?2 AND run = ?3", "uuu", (uint32_t)kind, key, run);
}

int store_copies(struct store *s, enum store_copy kind, struct store_rows **ret)
{
	return db_rows(s, ret, "SELECT run, key, body FROM copy WHERE kind = ?1 ORDER BY run, key", "u",
		(uint32_t)kind);
}

int store_copies_next(struct store_rows *q, struct store_copy_row *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_copy_row){ .run = db_u32(q, 0),
		.key = db_u32(q, 1),
		.body = sqlite3_column_blob(q->q, 2) };
	ret->len = (size_t)sqlite3_column_bytes(q->q, 2);
	return 1;
}
