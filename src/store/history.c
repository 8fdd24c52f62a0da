/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

enum { PRUNE_EVERY = 1000 };

int store_event_add(struct store *s, struct store_event *e)
{
	int err = db_run(s, "INSERT INTO event(time, owner, app, json) VALUES(?1, ?2, ?3, ?4)", "iuss", e->time_ms,
		e->owner, e->app, e->json);
	if (err != 0)
		return err;
	e->seq = sqlite3_last_insert_rowid(s->db);
	if (++s->events_since_prune < PRUNE_EVERY)
		return 0;
	s->events_since_prune = 0;
	return db_run(s, "DELETE FROM event WHERE seq <= ?1", "i", e->seq - STORE_HISTORY_ROWS);
}

int store_events(struct store *s, const struct store_event_filter *f, struct store_rows **ret)
{
	return db_rows(s, ret,
		"SELECT seq, time, owner, app, json FROM (SELECT * FROM event WHERE time >= ?1 AND (?2 IS NULL OR app = ?2)"
		" AND (?3 = 4294967295 OR owner = ?3) ORDER BY seq DESC LIMIT ?4) ORDER BY seq",
		"isuu", f->since_ms, f->app, f->owner, f->limit);
}

int store_events_next(struct store_rows *q, struct store_event *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_event){
		.seq = sqlite3_column_int64(q->q, 0),
		.time_ms = sqlite3_column_int64(q->q, 1),
		.owner = db_u32(q, 2),
		.app = db_text(q, 3),
		.json = db_text(q, 4),
	};
	return 1;
}

int store_question_put(struct store *s, const struct store_question *q)
{
	int err = db_run(s, "INSERT OR REPLACE INTO question VALUES(?1, ?2, ?3, ?4)", "uuis", q->id, q->owner,
		q->time_ms, q->json);
	if (err != 0)
		return err;
	return db_run(s, "DELETE FROM question WHERE id NOT IN (SELECT id FROM question ORDER BY id DESC LIMIT ?1)",
		"u", (uint32_t)STORE_INBOX_ROWS);
}

int store_question_del(struct store *s, uint32_t id)
{
	return db_run(s, "DELETE FROM question WHERE id = ?1", "u", id);
}

int store_questions(struct store *s, struct store_rows **ret)
{
	return db_rows(s, ret, "SELECT id, owner, time, json FROM question ORDER BY id", "");
}

int store_questions_next(struct store_rows *q, struct store_question *ret)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret = (struct store_question){
		.id = db_u32(q, 0),
		.owner = db_u32(q, 1),
		.time_ms = sqlite3_column_int64(q->q, 2),
		.json = db_text(q, 3),
	};
	return 1;
}
