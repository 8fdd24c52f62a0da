/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "store/store.h"

#include <sqlite3.h>

/* Inside of the store: statements with one-letter bindings, so that each query is one line at its place. */
enum { STORE_SUM = 32, STORE_PATH_MAX = 256, STORE_DATABASE = 1000 /* row of `counter`: this database's own number */ };
enum { STORE_HISTORY = 1002 /* row of `counter`: bytes of history */ };

struct store {
	sqlite3 *db;
	bool pending;
	int seal_fd;		   /* -1: in memory */
	uint8_t sum[STORE_SUM];	   /* of the rules that run, with what is pending */
	uint8_t sealed[STORE_SUM]; /* as committed last */
	bool sum_lost, torn;
	unsigned events_since_prune;
	int64_t history_bytes, history_stored; /* of the entries; as committed last */
	int64_t history_rows, history_most, history_age_ms;
};

struct store_rows {
	sqlite3_stmt *q;
};

/* An argument of db_run/db_rows by `types`: i int64_t, u uint32_t, s string (NULL is NULL), b const void * and size_t.
 */
int db_run(struct store *s, const char *sql, const char *types, ...) __attribute__((warn_unused_result));
int db_rows(struct store *s, struct store_rows **ret, const char *sql, const char *types, ...)
	__attribute__((warn_unused_result));
/* 1, 0 or negative errno. */
int db_step(struct store_rows *q) __attribute__((warn_unused_result));
/* "" for NULL; never NULL. */
const char *db_text(struct store_rows *q, int column);
uint32_t db_u32(struct store_rows *q, int column);
int db_error(int rc);

/* history.c */
int history_open(struct store *s) __attribute__((warn_unused_result));
int history_commit(struct store *s) __attribute__((warn_unused_result));

/* seal.c. Takes a rule into the sum, or out of it. */
void seal_toggle(struct store *s, const struct store_rule *r);
int seal_toggle_row(struct store *s, int64_t seq) __attribute__((warn_unused_result));
int seal_toggle_all(struct store *s, struct store_rows *q) __attribute__((warn_unused_result));
/* Before the commit that makes s->sum true, `durable`; after it with that sum alone. */
int seal_write(struct store *s, const uint8_t before[STORE_SUM], bool durable) __attribute__((warn_unused_result));
/* -EUCLEAN: this database is not the one that was sealed. Without a seal, or when a person has `accepted` the database
 * as it is: makes one. */
int seal_open(struct store *s, const char *path, bool accepted) __attribute__((warn_unused_result));
bool seal_exists(const char *path);
/* A person's decision, for one open: PATH.accept. */
bool seal_accepted(const char *path);
void seal_accept_end(const char *path);
/* The damaged database gets a name beside its own. */
int seal_set_aside(const char *path, char ret_name[STORE_PATH_MAX]) __attribute__((warn_unused_result));

#endif
