/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What must outlive the daemon, in one SQLite file of one process (WAL, synchronous=FULL, exclusive lock).
 *
 * Every write joins the open transaction, which the first write begins. Nothing is durable, and nothing may be
 * acknowledged, before store_commit() has returned 0. A change that must be all or nothing is: store_commit() (what is
 * pending and not to be lost), the writes, store_commit(), or store_rollback(). Functions return 0 or negative errno:
 * -ENOSPC (disk full), -EIO, -EUCLEAN (damaged).
 */
struct store;

enum {
	STORE_SCHEMA = 3,
	STORE_TEXT_MAX = 16384,
	STORE_RULE_ID = 53,
	STORE_APP_NAME = 64,
	STORE_REASON_MAX = 64,
	STORE_ERROR_MAX = 512
};
enum { STORE_BLOCK = 4096, STORE_HISTORY_ROWS = 1000000, STORE_INBOX_ROWS = 1000 };
#define STORE_HISTORY_BYTES  (512LL << 20)
#define STORE_HISTORY_AGE_MS (90LL * 86400 * 1000)

/* -EPROTO: written by a newer version. -EUCLEAN: damaged (the integrity check failed), gone, or not the one whose rules
 * were sealed in PATH.seal; it has been moved aside, and every open fails so until somebody makes
 * PATH.accept. In
 * `error` (STORE_ERROR_MAX) what is wrong and what to do; with 0 "" or what should be known (it was accepted).
 * ":memory:" is a store that nothing outlives. */
int store_open(const char *path, struct store **ret, char *error) __attribute__((warn_unused_result));
/* Commits nothing. */
void store_close(struct store *s);
int store_commit(struct store *s) __attribute__((warn_unused_result));
void store_rollback(struct store *s);
/* A commit failed and may come back all the same after a kill: neither yes nor no may be said; whoever opens the store
 * again finds out. */
bool store_torn(const struct store *s);
/* Something waits for store_commit(). */
bool store_pending(const struct store *s);
/* At most so many 4 KiB pages from now on, as if the disk were full then. */
int store_limit_pages(struct store *s, unsigned pages) __attribute__((warn_unused_result));

/* Numbers that are never given twice, whatever is killed: the first of `n` new ones. Durable on return (commits). */
enum store_counter { STORE_GRANTS, STORE_RUNS, STORE_QUESTIONS, STORE_GENERATIONS, STORE_COUNTERS };
int store_take(struct store *s, enum store_counter c, uint32_t n, uint32_t *ret_first)
	__attribute__((warn_unused_result));

/* A rule of the answers (with its line), or what is known of a rule that stands in a file (line empty). */
struct store_rule {
	int64_t seq;			 /* 0: not stored yet */
	const char *id;			 /* 52 characters */
	const char *line;		 /* canonical */
	uint32_t origin;		 /* enum policy_origin */
	uint32_t owner;			 /* uid, UINT32_MAX: none */
	int64_t created_ms, deadline_ms; /* deadline INT64_MAX: none */
	uint32_t times_left;		 /* of counted rules */
	uint32_t run;			 /* `until exit`: the run it is bound to; 0: the next */
	uint32_t end;			 /* enum policy_end */
	int64_t ended_ms;		 /* 0: running */
	const char *boot_id;		 /* of the boot it was made in */
	int64_t boot_ms;		 /* CLOCK_BOOTTIME at created_ms; 0: not known */
};

/* Sets r->seq. */
int store_rule_add(struct store *s, struct store_rule *r) __attribute__((warn_unused_result));
int store_rule_end(struct store *s, int64_t seq, uint32_t end, int64_t ended_ms) __attribute__((warn_unused_result));
/* The end is taken back. */
int store_rule_back(struct store *s, int64_t seq) __attribute__((warn_unused_result));
int store_rule_times(struct store *s, int64_t seq, uint32_t times_left) __attribute__((warn_unused_result));
int store_rule_run(struct store *s, int64_t seq, uint32_t run) __attribute__((warn_unused_result));
/* As if it had never been: the line of a file has gone, and comes back afresh. */
int store_rule_forget(struct store *s, int64_t seq) __attribute__((warn_unused_result));
/* Ended answers older than `before_ms` are forgotten (the journal keeps them). */
int store_rules_prune(struct store *s, int64_t before_ms) __attribute__((warn_unused_result));

/* Rows one by one; strings live until the next step. 1: a row, 0: the end (or negative errno); always finish with
 * store_rows_end(). */
struct store_rows;
int store_rules(struct store *s, struct store_rows **ret) __attribute__((warn_unused_result));
int store_rules_next(struct store_rows *q, struct store_rule *ret) __attribute__((warn_unused_result));
void store_rows_end(struct store_rows *q);

/* The append-only journal: who did what (added, replaced, removed, expired, used up, ended, applied, restored, undone)
 * to which rule, and why. All rows of one acknowledged change share its number. */
struct store_journal {
	int64_t seq; /* set by reading */
	int64_t time_ms;
	uint32_t who; /* UINT32_MAX: the daemon itself */
	const char *who_name;
	uint32_t change; /* 0: from before there were numbers */
	const char *what;
	int64_t rule;		    /* its row; 0: none */
	const char *rule_id, *line; /* applied: line is the file's name */
	uint32_t owner;		    /* the rule's */
	const char *why;
	uint32_t undoes; /* the change that this takes back; 0: none */
};
/* The number of the next change. */
int store_journal_next(struct store *s, uint32_t *ret) __attribute__((warn_unused_result));
int store_journal_add(struct store *s, const struct store_journal *j) __attribute__((warn_unused_result));
int store_journal_count(struct store *s, uint64_t *ret) __attribute__((warn_unused_result));
/* The newest change below `before` made by `who` (UINT32_MAX: any person) that is no undo and not undone; -ENOENT. */
int store_journal_undoable(struct store *s, uint32_t who, uint32_t before, uint32_t *ret)
	__attribute__((warn_unused_result));
/* Rows, the newest first: of one change; or below row `before` of what `owner` did or owns (UINT32_MAX: all). */
int store_journal_of(struct store *s, uint32_t change, struct store_rows **ret) __attribute__((warn_unused_result));
int store_journal_list(struct store *s, uint32_t owner, int64_t before, uint32_t limit, struct store_rows **ret)
	__attribute__((warn_unused_result));
int store_journal_row(struct store_rows *q, struct store_journal *ret) __attribute__((warn_unused_result));
/* When the file was applied last; unchanged: never. */
int store_journal_applied(struct store *s, const char *file, int64_t *ret_ms) __attribute__((warn_unused_result));

/* The admin's files as they were applied last. */
int store_file_put(struct store *s, const char *name, const char *digest) __attribute__((warn_unused_result));
int store_file_del(struct store *s, const char *name) __attribute__((warn_unused_result));
int store_files(struct store *s, struct store_rows **ret) __attribute__((warn_unused_result));
int store_files_next(struct store_rows *q, const char **ret_name, const char **ret_digest)
	__attribute__((warn_unused_result));

/* Applications that hold a slot. */
struct store_app {
	uint32_t slot, run, owner;
	uint32_t kind; /* 0 attached, 1 VM */
	char name[STORE_APP_NAME];
	char ifname[16];
	struct mac mac;
	uint32_t zone, names_zone, ask;
	int64_t started_ms;
};
int store_app_put(struct store *s, const struct store_app *a) __attribute__((warn_unused_result));
/* With its synthetic names and grants. */
int store_app_del(struct store *s, uint32_t slot, uint32_t run) __attribute__((warn_unused_result));
int store_apps(struct store *s, struct store_rows **ret) __attribute__((warn_unused_result));
int store_apps_next(struct store_rows *q, struct store_app *ret) __attribute__((warn_unused_result));

/* The gate's memory, kept as the bytes it sent: synthetic names (key: index) and grants (key: grant number) of a run.
 */
enum store_copy { STORE_SYN, STORE_GRANT, STORE_SHARES };
int store_copy_put(struct store *s, enum store_copy kind, uint32_t run, uint32_t key, const void *body, size_t len)
	__attribute__((warn_unused_result));
int store_copy_del(struct store *s, enum store_copy kind, uint32_t key, uint32_t run)
	__attribute__((warn_unused_result));
struct store_copy_row {
	uint32_t run, key;
	const void *body;
	size_t len;
};
int store_copies(struct store *s, enum store_copy kind, struct store_rows **ret) __attribute__((warn_unused_result));
int store_copies_next(struct store_rows *q, struct store_copy_row *ret) __attribute__((warn_unused_result));

/* What happened, as one JSON object a row. The oldest go when there are more rows or bytes than the limits, or they are
 * older: a few at each addition. */
struct store_event {
	int64_t seq; /* set by add */
	int64_t time_ms;
	uint32_t owner;	 /* UINT32_MAX: nobody's */
	const char *app; /* NULL: none */
	const char *json;
	const char *event, *verdict, *peer, *rule; /* to be found by; NULL: none. Peer: name, else address */
};
void store_history_limits(struct store *s, int64_t rows, int64_t bytes, int64_t age_ms);
int store_event_add(struct store *s, struct store_event *e) __attribute__((warn_unused_result));
struct store_event_filter {
	const char *app; /* NULL: every; so the next four */
	const char *event, *verdict, *peer, *rule;
	uint32_t owner; /* UINT32_MAX: every */
	int64_t since_ms;
	int64_t before; /* rows below this seq; 0: all */
	uint32_t limit; /* the newest so many, given oldest first */
};
/* One call looks at a bounded number of rows, down to store_events_low(): what is older takes another call with that
 * as `before`; 0: nothing is. */
int store_events(struct store *s, const struct store_event_filter *f, struct store_rows **ret)
	__attribute__((warn_unused_result));
int store_events_low(struct store *s, const struct store_event_filter *f, int64_t *ret)
	__attribute__((warn_unused_result));
/* An event of this app about this peer is among the last ones about it: 1; 0: there is none at all; -EAGAIN: others had
 * so many that the search ended. */
int store_event_seen(struct store *s, uint32_t owner, const char *app, const char *peer)
	__attribute__((warn_unused_result));
int store_events_next(struct store_rows *q, struct store_event *ret) __attribute__((warn_unused_result));

/* How often each rule (by id) decided, and when last. */
int store_used_put(struct store *s, const char *id, int64_t last_ms, uint64_t hits) __attribute__((warn_unused_result));
int store_used_del(struct store *s, const char *id) __attribute__((warn_unused_result));
int store_used(struct store *s, struct store_rows **ret) __attribute__((warn_unused_result));
int store_used_next(struct store_rows *q, const char **ret_id, int64_t *ret_last_ms, uint64_t *ret_hits)
	__attribute__((warn_unused_result));

/* Questions nobody answered in time; bounded to STORE_INBOX_ROWS. `json` is what was shown and what is needed to judge
 * an answer. */
struct store_question {
	uint32_t id;
	uint32_t owner;
	int64_t time_ms;
	const char *json;
};
int store_question_put(struct store *s, const struct store_question *q) __attribute__((warn_unused_result));
int store_question_del(struct store *s, uint32_t id) __attribute__((warn_unused_result));
int store_questions(struct store *s, struct store_rows **ret) __attribute__((warn_unused_result));
int store_questions_next(struct store_rows *q, struct store_question *ret) __attribute__((warn_unused_result));

#endif
