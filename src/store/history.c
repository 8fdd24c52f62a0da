/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { PRUNE_EVERY = 64, PRUNE_MOST = 256, SCAN_MOST = 200000, SEEN_MOST = 256 };

void store_history_limits(struct store *s, int64_t rows, int64_t bytes, int64_t age_ms)
{
	s->history_rows = rows;
	s->history_most = bytes;
	s->history_age_ms = age_ms;
}

static int one_number(struct store *s, int64_t *ret, const char *sql, const char *types, int64_t a, int64_t b)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, sql, types, a, b);
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		*ret = sqlite3_column_int64(q->q, 0);
	store_rows_end(q);
	return err < 0 ? err : 0;
}

int history_open(struct store *s)
{
	s->history_bytes = -1;
	int err = one_number(s, &s->history_bytes, "SELECT next FROM counter WHERE id = ?1 AND ?2 = 0", "ii",
		STORE_HISTORY, 0);
	if (err == 0 && s->history_bytes < 0)
		err = one_number(s, &s->history_bytes,
			"SELECT coalesce(sum(length(CAST(json AS BLOB))), 0) FROM event WHERE ?1 = ?2", "ii", 0, 0);
	s->history_stored = s->history_bytes;
	return err;
}

int history_commit(struct store *s)
{
	if (s->history_bytes == s->history_stored)
		return 0;
	return db_run(s, "INSERT INTO counter VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET next = ?2", "ii",
		(int64_t)STORE_HISTORY, s->history_bytes);
}

/* Never more at a time than a moment's work, and four times what has come since: smaller limits are reached in steps.
 */
static int history_prune(struct store *s, int64_t newest, int64_t now_ms)
{
	int64_t oldest = newest, n = 0, old = 0, bytes = 0;
	int err = one_number(s, &oldest, "SELECT min(seq) FROM event WHERE ?1 = ?2", "ii", 0, 0);
	if (err == 0)
		err = one_number(s, &old,
			"SELECT count(*) FROM (SELECT time FROM event ORDER BY seq LIMIT ?2) WHERE time < ?1", "ii",
			now_ms - s->history_age_ms, PRUNE_MOST);
	if (err != 0)
		return err;
	n = newest - oldest + 1 - s->history_rows;
	n = n < old ? old : n;
	if (n > PRUNE_MOST || s->history_bytes > s->history_most)
		n = PRUNE_MOST;
	if (n <= 0)
		return 0;
	err = one_number(s, &bytes,
		"SELECT coalesce(sum(length(CAST(json AS BLOB))), 0) FROM event WHERE seq < ?1 AND ?2 = 0", "ii",
		oldest + n, 0);
	if (err == 0)
		err = db_run(s, "DELETE FROM event WHERE seq < ?1", "i", oldest + n);
	if (err == 0)
		s->history_bytes -= bytes;
	return err;
}

int store_event_add(struct store *s, struct store_event *e)
{
	int err = db_run(s,
		"INSERT INTO event(time, owner, app, json, event, verdict, peer, rule)"
		" VALUES(?1, ?2, ?3, ?4, coalesce(?5, ''), ?6, ?7, ?8)",
		"iussssss", e->time_ms, e->owner, e->app, e->json, e->event, e->verdict, e->peer, e->rule);
	if (err != 0)
		return err;
	e->seq = sqlite3_last_insert_rowid(s->db);
	s->history_bytes += (int64_t)strlen(e->json);
	if (++s->events_since_prune < PRUNE_EVERY)
		return 0;
	s->events_since_prune = 0;
	return history_prune(s, e->seq, e->time_ms);
}

/* Where the search may stop: what came before `since`, and more rows than one call may look at. */
int store_events_low(struct store *s, const struct store_event_filter *f, int64_t *ret)
{
	int64_t newest = 0, first = 1;
	int err = one_number(s, &newest, "SELECT coalesce(max(seq), 0) FROM event WHERE ?1 = ?2", "ii", 0, 0);
	if (err == 0 && f->since_ms > 0)
		err = one_number(s, &first, "SELECT coalesce(min(seq), ?2 + 1) FROM event WHERE time >= ?1", "ii",
			f->since_ms, newest);
	int64_t top = f->before != 0 && f->before <= newest ? f->before : newest + 1;
	*ret = top - SCAN_MOST > first ? top - SCAN_MOST : 0;
	return err;
}

int store_events(struct store *s, const struct store_event_filter *f, struct store_rows **ret)
{
	char sql[768];
	int64_t low = 0;
	int err = store_events_low(s, f, &low);
	if (err != 0)
		return err;
	/* Only what is asked for, so that its index is taken. */
	snprintf(sql, sizeof(sql),
		"SELECT seq, time, owner, app, json FROM (SELECT seq, time, owner, app, json FROM event WHERE seq >= ?1 AND seq < ?2"
		" AND +time >= ?3%s%s%s%s%s%s ORDER BY seq DESC LIMIT ?10) ORDER BY seq",
		f->app != NULL ? " AND app = ?4" : "", f->owner != UINT32_MAX ? " AND +owner = ?5" : "",
		f->event != NULL ? " AND +event = ?6" : "", f->verdict != NULL ? " AND +verdict = ?7" : "",
		f->peer != NULL ? " AND peer = ?8" : "", f->rule != NULL ? " AND rule = ?9" : "");
	return db_rows(s, ret, sql, "iiisussssu", low, f->before != 0 ? f->before : INT64_MAX, f->since_ms, f->app,
		f->owner, f->event, f->verdict, f->peer, f->rule, f->limit);
}

int store_event_seen(struct store *s, uint32_t owner, const char *app, const char *peer)
{
	struct store_rows *q = NULL;
	int n = 0, seen = 0;
	int err = db_rows(s, &q, "SELECT owner, app FROM event WHERE peer = ?1 ORDER BY seq DESC LIMIT ?2", "su", peer,
		(uint32_t)SEEN_MOST);
	while (err == 0 && !seen && (err = db_step(q)) == 1) {
		const char *who = db_text(q, 1);
		seen = sqlite3_column_int64(q->q, 0) == owner && who != NULL && strcmp(who, app) == 0;
		err = 0;
		n++;
	}
	store_rows_end(q);
	if (err < 0 || seen)
		return err < 0 ? err : 1;
	return n == SEEN_MOST ? -EAGAIN : 0;
}

int store_used_put(struct store *s, const char *id, int64_t last_ms, uint64_t hits)
{
	return db_run(s, "INSERT INTO used VALUES(?1, ?2, ?2, ?3) ON CONFLICT(id) DO UPDATE SET last = ?2, hits = ?3",
		"sii", id, last_ms, (int64_t)hits);
}

int store_used_del(struct store *s, const char *id)
{
	return db_run(s, "DELETE FROM used WHERE id = ?1", "s", id);
}

int store_used(struct store *s, struct store_rows **ret)
{
	return db_rows(s, ret, "SELECT id, last, hits FROM used ORDER BY id", "");
}

int store_used_next(struct store_rows *q, const char **ret_id, int64_t *ret_last_ms, uint64_t *ret_hits)
{
	int got = db_step(q);
	if (got != 1)
		return got;
	*ret_id = db_text(q, 0);
	*ret_last_ms = sqlite3_column_int64(q->q, 1);
	*ret_hits = (uint64_t)sqlite3_column_int64(q->q, 2);
	return 1;
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
