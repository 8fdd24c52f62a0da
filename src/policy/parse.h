/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_PARSE_H
#define POLICY_PARSE_H

#include "policy/rule.h"

/* Where and why a text is no policy: "FILE:line:col: error: message". All strings are printable UTF-8. */
struct policy_diag {
	uint32_t line, col;  /* from 1; col counts characters */
	size_t offset;	     /* bytes from the start of the text */
	uint32_t other_line; /* the first of two definitions; 0: none */
	char message[512];   /* whole sentence, with what was expected and the near miss */
	char expected[160];  /* "" when nothing in particular */
	char near[64];	     /* did you mean; "" */
};

struct policy_group {
	char id[POLICY_TOKEN_MAX + 1];
	const char *file; /* borrowed; NULL: none */
	uint32_t line;
	size_t n_apps;
	char (*apps)[POLICY_TOKEN_MAX + 1];
};

struct policy_peerset {
	char id[POLICY_TOKEN_MAX + 1];
	const char *file; /* borrowed; NULL: none */
	uint32_t line;
	size_t n_peers;
	struct policy_peer *peers;
};

struct policy_list {
	char id[POLICY_TOKEN_MAX + 1];
	const char *file; /* borrowed; NULL: none */
	uint32_t line;
	char source[POLICY_STRING_MAX + 1];
	int64_t every_s; /* 0: not said */
};

struct policy_doc {
	size_t n_rules, n_groups, n_sets, n_lists;
	struct policy_entry *rules; /* meta: only `line` is set (origin FILE, owner any, no deadline) */
	struct policy_group *groups;
	struct policy_peerset *sets;
	struct policy_list *lists;
};

/* One rule without a line end; a comment may follow. 0, -EINVAL (diag), -E2BIG (a limit; diag), -ENOMEM. Diag may be
 * NULL. */
int policy_parse_rule(const char *text, size_t len, struct policy_rule *ret, struct policy_diag *diag)
	__attribute__((warn_unused_result));
/*
 * A whole file. All or nothing: with any error *ret is untouched and the first `cap` errors are in diags, their number
 * in *ret_n. Undefined groups, sets and lists are no error here: files are judged together by policy_compile.
 */
int policy_parse_file(const char *text, size_t len, struct policy_doc **ret, struct policy_diag *diags, size_t cap,
	size_t *ret_n) __attribute__((warn_unused_result));
void policy_doc_free(struct policy_doc *d);

/* The same, some statements at a time. `text` and `diags` must outlive it. NULL: no memory. */
struct policy_reading;
struct policy_reading *policy_reading_new(const char *text, size_t len, struct policy_diag *diags, size_t cap);
/* Up to `n` statements more (500 rules take about a millisecond): -EAGAIN more to do; else as policy_parse_file(). */
int policy_reading_step(struct policy_reading *r, size_t n, struct policy_doc **ret, size_t *ret_n)
	__attribute__((warn_unused_result));
/* Always, done or not. */
void policy_reading_free(struct policy_reading *r);

/* Where `word` stands as a token from `line` on, or that line's first token with "": only place and offset are set. */
void policy_place(const char *text, size_t len, uint32_t line, const char *word, struct policy_diag *ret);

/* A peer alone, as in PEER of `why`: the same words and errors. */
int policy_parse_peer(const char *text, size_t len, struct policy_peer *ret, struct policy_diag *diag)
	__attribute__((warn_unused_result));
/* APP, ID or GROUP: [a-z0-9][a-z0-9._+-]{0,62} and no keyword. */
bool policy_token_ok(const char *text, size_t len);
/* The port of a service ("https"), -ENOENT. */
int policy_service_port(const char *text, size_t len);

#endif
