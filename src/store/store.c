/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One after the other: a new database goes through all of them, an older one through those it lacks. */
static const char *const schemas[STORE_SCHEMA] = {
	"CREATE TABLE counter(id INTEGER PRIMARY KEY, next INTEGER NOT NULL);"
	"CREATE TABLE rule(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, line TEXT NOT NULL, origin INTEGER NOT NULL,"
	" owner INTEGER NOT NULL, created INTEGER NOT NULL, deadline INTEGER NOT NULL, times_left INTEGER NOT NULL, run INTEGER NOT NULL,"
	" end INTEGER NOT NULL, ended INTEGER NOT NULL, boot_id TEXT NOT NULL);"
	"CREATE UNIQUE INDEX rule_running ON rule(id) WHERE end = 0;"
	"CREATE TABLE journal(seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, who INTEGER NOT NULL, what TEXT NOT NULL,"
	" rule_id TEXT, line TEXT, why TEXT);"
	"CREATE TRIGGER journal_keeps BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;"
	"CREATE TRIGGER journal_stays BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;"
	"CREATE TABLE app(slot INTEGER PRIMARY KEY, run INTEGER NOT NULL, owner INTEGER NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL,"
	" ifname TEXT NOT NULL, mac BLOB NOT NULL, zone INTEGER NOT NULL, names_zone INTEGER NOT NULL, ask INTEGER NOT NULL,"
	" started INTEGER NOT NULL);"
	"CREATE TABLE copy(kind INTEGER NOT NULL, run INTEGER NOT NULL, key INTEGER NOT NULL, body BLOB NOT NULL,"
	" PRIMARY KEY(kind, run, key)) WITHOUT ROWID;"
	"CREATE TABLE event(seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, owner INTEGER NOT NULL, app TEXT,"
	" json TEXT NOT NULL);"
	"CREATE INDEX event_time ON event(time);"
	"CREATE TABLE question(id INTEGER PRIMARY KEY, owner INTEGER NOT NULL, time INTEGER NOT NULL, json TEXT NOT NULL);"
	"INSERT INTO counter VALUES(1000, random());",

	"ALTER TABLE journal ADD COLUMN who_name TEXT;"
	"ALTER TABLE journal ADD COLUMN change INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE journal ADD COLUMN rule INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE journal ADD COLUMN owner INTEGER NOT NULL DEFAULT 4294967295;"
	"ALTER TABLE journal ADD COLUMN undoes INTEGER NOT NULL DEFAULT 0;"
	"CREATE INDEX journal_change ON journal(change);"
	"CREATE INDEX journal_undoes ON journal(undoes) WHERE undoes != 0;"
	"CREATE TABLE file(name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE used(id TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, hits INTEGER NOT NULL) WITHOUT ROWID;"
	"ALTER TABLE event ADD COLUMN event TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE event ADD COLUMN verdict TEXT;"
	"ALTER TABLE event ADD COLUMN peer TEXT;"
	"ALTER TABLE event ADD COLUMN rule TEXT;"
	"CREATE INDEX event_app ON event(app, seq);"
	"CREATE INDEX event_peer ON event(peer, seq);"
	"CREATE INDEX event_rule ON event(rule, seq) WHERE rule IS NOT NULL;",

	"ALTER TABLE rule ADD COLUMN boot_ms INTEGER NOT NULL DEFAULT 0;",
};

int db_error(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_PERM:
	case SQLITE_READONLY:
	case SQLITE_CANTOPEN:
		return -EACCES;
	default:
		return -EIO;
	}
}

static int db_bind(sqlite3_stmt *q, const char *types, va_list ap)
{
	int rc = SQLITE_OK;
	for (int i = 1; *types != '\0' && rc == SQLITE_OK; types++, i++) {
		if (*types == 'i') {
			rc = sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
		} else if (*types == 'u') {
			rc = sqlite3_bind_int64(q, i, va_arg(ap, uint32_t));
		} else if (*types == 's') {
			rc = sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
		} else {
			const void *p = va_arg(ap, const void *);
			rc = sqlite3_bind_blob64(q, i, p, va_arg(ap, size_t), SQLITE_TRANSIENT);
		}
	}
	return rc;
}

static int db_exec(struct store *s, const char *sql)
{
	return db_error(sqlite3_exec(s->db, sql, NULL, NULL, NULL));
}

int db_run(struct store *s, const char *sql, const char *types, ...)
{
	if (!s->pending) {
		int err = db_exec(s, "BEGIN IMMEDIATE");
		if (err != 0)
			return err;
		s->pending = true;
	}
	sqlite3_stmt *q = NULL;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);
	va_list ap;
	va_start(ap, types);
	if (rc == SQLITE_OK)
		rc = db_bind(q, types, ap);
	va_end(ap);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_ROW ? 0 : db_error(rc);
}

int db_rows(struct store *s, struct store_rows **ret, const char *sql, const char *types, ...)
{
	struct store_rows *r = calloc(1, sizeof(*r));
	if (r == NULL)
		return -ENOMEM;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &r->q, NULL);
	va_list ap;
	va_start(ap, types);
	if (rc == SQLITE_OK)
		rc = db_bind(r->q, types, ap);
	va_end(ap);
	if (rc != SQLITE_OK) {
		store_rows_end(r);
		return db_error(rc);
	}
	*ret = r;
	return 0;
}

int db_step(struct store_rows *q)
{
	int rc = sqlite3_step(q->q);
	return rc == SQLITE_ROW ? 1 : db_error(rc);
}

const char *db_text(struct store_rows *q, int column)
{
	const unsigned char *t = sqlite3_column_text(q->q, column);
	return t == NULL ? "" : (const char *)t;
}

uint32_t db_u32(struct store_rows *q, int column)
{
	return (uint32_t)sqlite3_column_int64(q->q, column);
}

void store_rows_end(struct store_rows *q)
{
	if (q == NULL)
		return;
	sqlite3_finalize(q->q);
	free(q);
}

/*
 * The last frame of a commit that failed may be in the log: found there after a kill it would be a commit. Another one
 * in its place settles it. Where there was no room it was not written.
 */
static void store_settle(struct store *s)
{
	int err = db_exec(s, "BEGIN IMMEDIATE");
	if (err == 0)
		err = db_exec(s, "INSERT INTO counter VALUES(1001, 1) ON CONFLICT(id) DO UPDATE SET next = next + 1");
	if (err == 0)
		err = db_exec(s, "COMMIT");
	if (err != 0)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	s->torn = err != 0;
}

int store_commit(struct store *s)
{
	if (!s->pending)
		return 0;
	bool rules = memcmp(s->sum, s->sealed, STORE_SUM) != 0;
	int err = history_commit(s);
	if (err == 0 && rules)
		err = seal_write(s, s->sealed, true);
	bool begun = err == 0 && !s->torn;
	if (s->torn)
		err = -EIO;
	if (err == 0)
		err = db_exec(s, "COMMIT");
	if (err != 0) {
		store_rollback(s);
		if (begun && err != -ENOSPC)
			store_settle(s);
		return err;
	}
	s->pending = false;
	s->history_stored = s->history_bytes;
	memcpy(s->sealed, s->sum, STORE_SUM);
	/* From now on a copy from before this change does not fit. Lost by a power cut it only fits one change longer.
	 */
	if (rules)
		(void)!seal_write(s, s->sum, false);
	return 0;
}

void store_rollback(struct store *s)
{
	/* A full disk has SQLite roll back by itself; then this says "no transaction", which is what is wanted. */
	if (s->pending)
		sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
	memcpy(s->sum, s->sealed, STORE_SUM);
	s->history_bytes = s->history_stored;
	s->sum_lost = false;
	s->pending = false;
}

bool store_torn(const struct store *s)
{
	return s->torn;
}

bool store_pending(const struct store *s)
{
	return s->pending;
}

int store_limit_pages(struct store *s, unsigned pages)
{
	char sql[64];
	snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %u", pages);
	return db_exec(s, sql);
}

static int pragma_text(struct store *s, const char *sql, char *ret, size_t cap)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, sql, "");
	if (err != 0)
		return err;
	err = db_step(q);
	if (err == 1)
		snprintf(ret, cap, "%s", db_text(q, 0));
	store_rows_end(q);
	return err == 1 ? 0 : err == 0 ? -EIO : err;
}

/* The first open finds an empty file: version 0 without a table. */
static int store_schema(struct store *s, char *error)
{
	char text[64];
	int err = pragma_text(s, "PRAGMA user_version", text, sizeof(text));
	if (err != 0)
		return err;
	int version = atoi(text);
	if (version < 0 || version > STORE_SCHEMA) {
		snprintf(error, STORE_ERROR_MAX,
			"the store was written by a newer version (schema %d, this one knows %d); install that version, "
			"or move the store away to begin without its rules",
			version, STORE_SCHEMA);
		return -EPROTO;
	}
	if (version == STORE_SCHEMA)
		return 0;
	char make[64];
	snprintf(make, sizeof(make), "PRAGMA user_version = %d", STORE_SCHEMA);
	err = db_exec(s, "BEGIN EXCLUSIVE");
	for (int i = version; i < STORE_SCHEMA && err == 0; i++)
		err = db_exec(s, schemas[i]);
	if (err == 0)
		err = db_exec(s, make);
	return err == 0 ? db_exec(s, "COMMIT") : err;
}

static int store_prepare(struct store *s, char *error)
{
	int err = db_exec(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			     "PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
			     "PRAGMA journal_size_limit = 8388608;");
	char text[64] = "";
	if (err == 0)
		err = pragma_text(s, "PRAGMA integrity_check(1)", text, sizeof(text));
	if (err == 0 && strcmp(text, "ok") != 0)
		err = -EUCLEAN;
	if (err == 0)
		err = store_schema(s, error);
	return err == 0 ? history_open(s) : err;
}

/* Not a new one, nor one that was being made when we were killed. */
static bool store_used_before(struct store *s)
{
	struct store_rows *q = NULL;
	if (db_rows(s, &q, "SELECT 1 WHERE EXISTS (SELECT 1 FROM rule) OR EXISTS (SELECT 1 FROM journal)", "") != 0)
		return true;
	bool used = db_step(q) != 0;
	store_rows_end(q);
	return used;
}

/* Opened and found whole; else *ret is closed by the caller all the same. */
static int store_try(const char *path, struct store *s, char *error)
{
	bool memory = strcmp(path, ":memory:") == 0, accepted = !memory && seal_accepted(path);
	if (!memory && !accepted && seal_exists(path) && access(path, F_OK) != 0) {
		snprintf(error, STORE_ERROR_MAX, "the database is gone");
		return -EUCLEAN;
	}
	int rc = sqlite3_open_v2(path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX, NULL);
	int err = db_error(rc);
	if (err == 0)
		err = store_prepare(s, error);
	if (err != 0 && error[0] == '\0')
		snprintf(error, STORE_ERROR_MAX, "%s", s->db == NULL ? strerror(-err) : sqlite3_errmsg(s->db));
	if (err != 0 || memory)
		return err;
	if (!accepted && !seal_exists(path) && store_used_before(s)) {
		snprintf(error, STORE_ERROR_MAX,
			"its seal is gone: nobody can say whether its rules are those stored last");
		return -ENODATA;
	}
	err = seal_open(s, path, accepted);
	if (err == 0 && accepted)
		snprintf(error, STORE_ERROR_MAX, "%s.accept was there: its rules are taken as they are", path);
	if (accepted)
		seal_accept_end(path);
	if (err == -EUCLEAN)
		snprintf(error, STORE_ERROR_MAX, "its rules are not those that were stored last");
	else if (err != 0)
		snprintf(error, STORE_ERROR_MAX, "%s.seal: %s", path, strerror(-err));
	return err;
}

/* Whoever makes PATH.accept has decided: until then every open fails. What he decided was not about this one. */
static void store_damaged(const char *path, const char *why, char *error)
{
	char aside[STORE_PATH_MAX] = "", text[STORE_ERROR_MAX];
	snprintf(text, sizeof(text), "%s", why);
	int err = access(path, F_OK) == 0 ? seal_set_aside(path, aside) : -ENOENT;
	seal_accept_end(path);
	snprintf(error, STORE_ERROR_MAX,
		"%.160s%s%.150s; put a backup in its place or begin without its rules, then make the file %.60s.accept",
		text, err == 0 ? "; it was moved to " : "", err == 0 ? aside : "", path);
}

/* A database that was never sealed must not be taken for a new one after it was moved aside. */
static void store_mark(const char *path)
{
	char name[STORE_PATH_MAX];
	snprintf(name, sizeof(name), "%s.seal", path);
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0)
		close(fd);
}

int store_open(const char *path, struct store **ret, char *error)
{
	struct store *s = calloc(1, sizeof(*s));
	char why[STORE_ERROR_MAX] = "";
	if (s == NULL)
		return -ENOMEM;
	s->seal_fd = -1;
	store_history_limits(s, STORE_HISTORY_ROWS, STORE_HISTORY_BYTES, STORE_HISTORY_AGE_MS);
	error[0] = '\0';
	int err = store_try(path, s, why);
	if (err == 0) {
		snprintf(error, STORE_ERROR_MAX, "%s", why);
		*ret = s;
		return 0;
	}
	store_close(s);
	if (err == -EUCLEAN) {
		store_mark(path);
		store_damaged(path, why, error);
	} else if (err == -ENODATA) {
		/* It stays where it is: perhaps nothing else is wrong with it. */
		err = -EUCLEAN;
		snprintf(error, STORE_ERROR_MAX,
			"%.200s; if they are to be taken as they are, make the file %.60s.accept", why, path);
	} else if (err == -EPROTO) {
		snprintf(error, STORE_ERROR_MAX, "%s", why);
	} else {
		snprintf(error, STORE_ERROR_MAX, "the store cannot be used: %.400s", why);
	}
	return err;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	store_rollback(s);
	sqlite3_close_v2(s->db);
	if (s->seal_fd >= 0)
		close(s->seal_fd);
	free(s);
}

static int counter_next(struct store *s, enum store_counter c, uint32_t *ret)
{
	struct store_rows *q = NULL;
	int err = db_rows(s, &q, "SELECT next FROM counter WHERE id = ?1", "u", (uint32_t)c);
	if (err != 0)
		return err;
	err = db_step(q);
	*ret = err == 1 ? db_u32(q, 0) : 1;
	store_rows_end(q);
	return err < 0 ? err : 0;
}

int store_take(struct store *s, enum store_counter c, uint32_t n, uint32_t *ret_first)
{
	uint32_t next = 1;
	int err = counter_next(s, c, &next);
	if (err == 0 && n > UINT32_MAX - next)
		err = -ERANGE;
	if (err == 0)
		err = db_run(s, "INSERT INTO counter VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET next = ?2", "uu",
			(uint32_t)c, next + n);
	if (err == 0)
		err = store_commit(s);
	if (err == 0)
		*ret_first = next;
	return err;
}
