/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_DESK_QUESTION_H
#define DAEMON_DESK_QUESTION_H

#include "daemon/desk.h"

/* What desk_questions.c and desk_inbox.c share. */

void question_clear(struct question *q);
/* A free place; the oldest of the inbox gives way. NULL: all wait. */
struct question *question_place(struct desk *d);
/* Gives `n` its id, what is shown and the digest: those of the same question of the same run when all that is shown is
 * the same, else new ones, and it takes the old one's place. */
int question_identify(struct desk *d, struct question *n) __attribute__((warn_unused_result));
/* What the evaluator is asked. Withheld: judged by its address, since the name is what was refused. */
struct policy_request question_request(const struct question *q);
json_t *question_json(const struct question *q);
/* Into the inbox: what was shown, and what is needed to judge an answer. */
void question_store(struct desk *d, const struct question *q);

#endif
