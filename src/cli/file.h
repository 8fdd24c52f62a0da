/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_FILE_H
#define CLI_FILE_H

#include "policy/check.h"

#include <stdbool.h>

/* Policy files as one policy input. */
struct policy_files {
	struct policy_input in;
	const char *const *names; /* borrowed, of each file */
	char **texts;
	struct policy_doc **docs;
	size_t n_docs;
	struct policy_entry *rules;
	struct policy_group *groups;
	struct policy_peerset *sets;
	struct policy_list *lists;
};

/* Reads and parses all; "-" is standard input. False after every error was said ("FILE:LINE:COL: error: …", or objects
 * with `json`). */
bool files_read(const char *const *names, size_t n, bool json, struct policy_files *ret);
/* One file's text; NULL after every error was said. */
struct policy_doc *doc_parse(const char *name, const char *text, size_t len, bool json);
/* A finding with its place, the line and a caret; with `json` as an object. */
void files_say(const struct policy_files *f, const struct policy_finding *k, bool json);
void files_free(struct policy_files *f);
/* A whole file, NUL-ended; NULL after saying why not. */
char *file_text(const char *name, size_t *ret_len);

#endif
