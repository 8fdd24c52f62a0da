/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_ANSWER_H
#define API_ANSWER_H

#include "api/frame.h"

/* One line of the program on the other side of `ask --json`: {"id":…,"digest":…} with either "rule":… or "later":true.
 * Other members mean nothing. */
struct api_answer {
	const char *id, *digest, *rule; /* rule NULL: later; all live as long as `object` */
	json_t *object;
};

/* 0; *ret is to be finished. -EBADMSG: no such line. */
int api_answer_parse(const char *line, size_t len, struct api_answer *ret) __attribute__((warn_unused_result));
void api_answer_fini(struct api_answer *a);

#endif
