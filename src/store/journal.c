/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <errno.h>

int store_journal_next(struct store *s, uint32_t *ret)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, "SELECT coalesce(max(change), 0) + 1 FROM journal", "");
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		*ret = db_u32(q, 0);
	store_rows_end(q);
	return err == 1 ? 0 : err == 0 ? -EIO : err;
}

int store_journal_add(struct store *s, const struct store_journal *j)
{
	return db_run(s,
		"INSERT INTO journal(time, who, who_name, change, what, rule, rule_id, line, owner, why, undoes)"
		" VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
		"iususissusu", j->time_ms, j->who, j->who_name, j->change, j->what, j->rule, j->rule_id, j->line,
		j->owner, j->why, j->undoes);
}

int store_journal_count(struct store *s, uint64_t *ret)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, "SELECT count(*) FROM journal", "");
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		*ret = (uint64_t)sqlite3_column_int64(q->q, 0);
	store_rows_end(q);
	return err == 1 ? 0 : err == 0 ? -EIO : err;
}

int store_journal_undoable(struct store *s, uint32_t who, uint32_t before, uint32_t *ret)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q,
		"SELECT change FROM journal j WHERE change BETWEEN 1 AND ?1 - 1 AND undoes = 0 AND who != 4294967295"
		" AND (?2 = 4294967295 OR who = ?2) AND what IN ('added', 'replaced', 'removed')"
		" AND NOT EXISTS (SELECT 1 FROM journal u WHERE u.undoes = j.change AND u.undoes != 0)"
		" ORDER BY change DESC LIMIT 1",
		"uu", before, who);
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		*ret = db_u32(q, 0);
	store_rows_end(q);
	return err == 1 ? 0 : err == 0 ? -ENOENT : err;
}

int store_journal_of(struct store *s, uint32_t change, struct store_rows **ret)
{
	return db_rows(s, ret,
		"SELECT seq, time, who, who_name, change, what, rule, rule_id, line, owner, why, undoes FROM journal"
		" WHERE change = ?1 ORDER BY seq DESC",
		"u", change);
}

int store_journal_list(struct store *s, uint32_t owner, int64_t before, uint32_t limit, struct store_rows **ret)
{
	return db_rows(s, ret,
		"SELECT seq, time, who, who_name, change, what, rule, rule_id, line, owner, why, undoes FROM journal"
		" WHERE seq < ?1 AND (?2 = 4294967295 OR owner = ?2 OR who = ?2) ORDER BY seq DESC LIMIT ?3",
		"iuu", before, owner, limit);
}

int store_journal_row(struct store_rows *q, struct store_journal *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_journal){
		.seq = sqlite3_column_int64(q->q, 0),
		.time_ms = sqlite3_column_int64(q->q, 1),
		.who = db_u32(q, 2),
		.who_name = db_text(q, 3),
		.change = db_u32(q, 4),
		.what = db_text(q, 5),
		.rule = sqlite3_column_int64(q->q, 6),
		.rule_id = db_text(q, 7),
		.line = db_text(q, 8),
		.owner = db_u32(q, 9),
		.why = db_text(q, 10),
		.undoes = db_u32(q, 11),
	};
	return 1;
}

int store_file_put(struct store *s, const char *name, const char *digest)
{
	return db_run(s, "INSERT INTO file VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET digest = ?2", "ss", name,
		digest);
}

int store_file_del(struct store *s, const char *name)
{
	return db_run(s, "DELETE FROM file WHERE name = ?1", "s", name);
}

int store_files(struct store *s, struct store_rows **ret)
{
	return db_rows(s, ret, "SELECT name, digest FROM file ORDER BY name", "");
}

int store_files_next(struct store_rows *q, const char **ret_name, const char **ret_digest)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret_name = db_text(q, 0);
	*ret_digest = db_text(q, 1);
	return 1;
}

int store_journal_applied(struct store *s, const char *file, int64_t *ret_ms)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q,
		"SELECT time FROM journal WHERE +what = 'applied' AND line = ?1 ORDER BY seq DESC LIMIT 1", "s", file);
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		*ret_ms = sqlite3_column_int64(q->q, 0);
	store_rows_end(q);
	return err < 0 ? err : 0;
}
