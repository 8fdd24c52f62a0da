/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_QUESTION_H
#define DESK_QUESTION_H

#include "desk/desk.h"

/* What waits.c, questions.c and inbox.c share. */
enum { QUESTION_NAMES = 16 }; /* further names that are shown */

/* inbox.c */
void question_clear(struct question *q);
/* A free place. An app, a person and all together have a limit; the oldest of the inbox gives way. NULL: all wait. */
struct question *question_place(struct desk *d, uint32_t owner, const char *app);
struct question *question_by_id(struct desk *d, uint32_t id);
/* Gives `n` its id, what is shown and the digest: those of the same question of the same run when all that is shown is
 * the same, else new ones, and it takes the old one's place. */
int question_identify(struct desk *d, struct question *n) __attribute__((warn_unused_result));
/* What is shown and the digest anew, under the same id: for a question that nobody has seen. */
int question_show(struct desk *d, struct question *q) __attribute__((warn_unused_result));
/* What the evaluator is asked. Withheld: judged by its address, since the name is what was refused. */
struct policy_request question_request(const struct question *q);
/* As it is sent: what is shown, and what is so just now. */
json_t *question_json(struct desk *d, const struct question *q);
/* Into the inbox: what was shown, and what is needed to judge an answer. */
void question_store(struct desk *d, const struct question *q);
void question_log(struct desk *d, const struct question *q);

/* waits.c */
void waits_tick(struct desk *d);
/* What stood on that card may be put on another once `after` is in force. */
void waits_release(struct desk *d, uint32_t card, uint64_t after);
/* Does this app ask more than a person can take one by one? Tells the agents when that changes. NULL: nothing. */
void questions_review(struct desk *d, struct app *a);

/* questions.c */
/* Nothing waits any more; unless it "gave up" it is gone, else it stays in the inbox. */
void question_end(struct desk *d, struct question *q, const char *by);
void questions_tell_review(struct desk *d, const struct app *a);

#endif
