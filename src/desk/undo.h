/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_UNDO_H
#define DESK_UNDO_H

#include "desk/desk.h"

/* What is done by one acknowledged call, or by the daemon itself at one moment. */
struct change {
	uint32_t number; /* change_begin() */
	uint32_t who;	 /* UINT32_MAX: the daemon itself */
	const char *why;
};

/* In the transaction that the change is written in. */
int change_begin(struct desk *d, struct change *c) __attribute__((warn_unused_result));
/* A row of it: completes `j` with time, who and number. */
int journal_note(struct desk *d, struct store_journal *j, const struct change *by) __attribute__((warn_unused_result));
/* The same for a rule; `why` may be NULL. */
int rule_note(struct desk *d, const struct rule *r, const struct change *by, const char *what, const char *why)
	__attribute__((warn_unused_result));
/* How the journal calls an end. */
const char *journal_end(enum policy_end why);
/* The admin's files as they are applied now: those that differ from the last time are rows. */
int journal_files(struct desk *d) __attribute__((warn_unused_result));

#endif
