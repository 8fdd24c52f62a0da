/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_ASK_EDIT_H
#define CLI_ASK_EDIT_H

#include <stdbool.h>
#include <stddef.h>

struct cli;

/* What else may happen while a line is edited: `look` is called when `fd` is readable, false ends the editing. */
struct ask_edit_watch {
	int fd;
	bool (*look)(void *arg);
	void *arg;
};

/* A rule line the grammar takes, edited from `first`. 0; -ECANCELED: nothing was written (an empty line, Escape, the
 * end of input); -ESTALE: `look` said so; -ENOMEM. The terminal must be in its ordinary mode. */
int ask_edit(struct cli *c, const char *first, const struct ask_edit_watch *watch, char *ret, size_t cap)
	__attribute__((warn_unused_result));

#endif
