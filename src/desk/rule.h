/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_RULE_H
#define DESK_RULE_H

#include "desk/desk.h"

/* What rules.c, lives.c and files.c share. */
enum { ENDED_KEPT_MS = 7 * 86400 * 1000 };

/* Takes the parsed rule over, also on failure. */
int rule_new(struct policy_rule *parsed, enum policy_origin origin, uint32_t owner, struct rule **ret)
	__attribute__((warn_unused_result));
/* Its life begins at `now`. */
void rule_begin(struct desk *d, struct rule *r, int64_t now);
/* Its row, in the open transaction. */
int rule_store(struct desk *d, struct rule *r) __attribute__((warn_unused_result));
/* Ends whose rows do not say so yet (end_unsaved) are written, in one change: as long as such a row stands the same
 * rule cannot be added again. Tried again with the next rule that is added. */
void rules_save_ends(struct desk *d);
/* In memory alone. */
void rule_set_end(struct desk *d, struct rule *r, enum policy_end why);
/* Ends the transaction of which `err` tells: durable from here on, or nothing happened. */
int commit_or_undo(struct desk *d, int err) __attribute__((warn_unused_result));

/* What is wrong with a file of the admin's, for the report. */
void file_error(struct desk *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What is wrong between the files that were just read, each with its place; false: nothing is. */
bool files_refused(struct desk *d, const struct policy_input *in);
/* All of it, at most POLICY_FILE_MAX and a byte; *ret is the caller's. */
int file_text_read(int fd, char **ret, size_t *ret_len) __attribute__((warn_unused_result));

/* In the log, and to those who watch; only after the commit, for the log tells what is so. */
void rule_log(struct desk *d, const struct rule *r, const char *event, uint32_t who);
/* policy.c. It was added, ended or runs again: the next build has it as it is now. */
void policy_touch(struct desk *d, struct rule *r);
/* Before it is freed. */
void policy_forget(struct desk *d, struct rule *r);
/* The base in use is no longer any. Another one is installed before anything is asked. */
void policy_drop(struct desk *d);
/* files.c: the base was compiled (0) or was not (NULL: it is no longer wanted); takes it over. */
struct base;
void files_compiled(struct desk *d, struct base *b, int err, const char *error);
/* index.c. Every rule of d->rules is in the index. 0, -ENOMEM. */
int index_add(struct desk *d, struct rule *r) __attribute__((warn_unused_result));
/* Room for so many rules: then index_add cannot fail for one of the answers' owners or of a file. 0, -ENOMEM. */
int index_room(struct desk *d, size_t n) __attribute__((warn_unused_result));
/* Before it is freed. */
void index_drop(struct desk *d, struct rule *r);
/* Its end was taken back. */
void index_wake(struct desk *d, struct rule *r);
/* All in memory of this id, running or not, one after the other (NULL: the first), the newest first; NULL: no more. */
struct rule *index_find(const struct desk *d, const uint8_t id[POLICY_ID_LEN], const struct rule *after);
/* How many answers of this owner are in memory. */
size_t index_owned(const struct desk *d, uint32_t owner);
/* Some running rule whose time is over, by either clock, which has left the heaps; NULL. */
struct rule *index_over(struct desk *d);
/* Until the next end, by whichever clock is nearer; DEADLINE_NEVER. */
int64_t index_left_ms(const struct desk *d);
/* d->ids: from now on it is made anew by index_ids() instead of being kept. */
void index_ids_forget(struct desk *d);
void index_ids(struct desk *d);
/* The first place of d->ids whose id is not below this one. */
size_t index_place(const struct desk *d, const char *id);
bool run_alive(const struct desk *d, uint32_t run);

#endif
