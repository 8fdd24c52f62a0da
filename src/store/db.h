/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "store/store.h"

#include <sqlite3.h>

/* Inside of the store: statements with one-letter bindings, so that each query is one line at its place. */
struct store {
	sqlite3 *db;
	bool pending;
	unsigned events_since_prune;
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

#endif
