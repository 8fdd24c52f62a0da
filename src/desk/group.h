/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_GROUP_H
#define DESK_GROUP_H

#include "desk/desk.h"

/* The rules of one call, tried but not yet durable. */
struct group_item {
	int client;
	struct rule **rules, **replaced; /* replaced[i]: what rules[i] took the place of, or NULL */
	size_t n;
	uint32_t who;
	char why[64];	   /* "": no reason */
	uint32_t question; /* that it answers; 0: none */
	/* Durable and on its way to the gate: replies. */
	void (*done)(struct desk *d, struct client *c, const struct group_item *item);
};

/* The open call is served by the next group_run(). */
void group_queue(struct client *c);
bool group_waits(void);
/* Nobody else is waited for. */
bool group_due(const struct desk *d);
void group_run(struct desk *d);
/* While a call is served in a group. `add`->rules are taken over, also on failure; replaced is set by this. 0: done()
 * or an error comes later; negative errno and a sentence: reply with it. */
int group_add(struct desk *d, const struct group_item *add, bool admin, char *ret_error)
	__attribute__((warn_unused_result));
/* An answer to this question has been tried already. */
bool group_answers(uint32_t question);

/* rules.c */
/* In memory and as rows of the open transaction. On failure nothing of it is in memory, or (*ret_stored false) the
 * store refused it and all of the transaction is to be rolled back, and it is to be taken out of memory by
 * rules_untry(). */
int rules_try(struct desk *d, struct group_item *item, bool admin, bool *ret_stored, char *ret_error)
	__attribute__((warn_unused_result));
/* Out of memory again, and freed; the last one first. */
void rules_untry(struct desk *d, struct group_item *item);
/* It is durable: in the log. */
void rules_tried(struct desk *d, const struct group_item *item);
/* api.c: the call that was queued. */
void api_serve(struct desk *d, struct client *c);

#endif
