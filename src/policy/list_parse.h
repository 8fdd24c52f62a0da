/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_LIST_PARSE_H
#define POLICY_LIST_PARSE_H

#include "policy/rule.h"

/*
 * The text of a `list:`, line by line in any mixture of
 *   example.org  *.example.org  .example.org  192.0.2.0/24     as in a rule
 *   0.0.0.0 ads.example.org …                                  hosts format, with 0.0.0.0, 127.0.0.0/8, :: or ::1
 *   ||example.org^                                             AdBlock: like .example.org
 * with comments after # ! and ;. U-labels become A-labels. What only a browser can follow and exceptions (@@) are
 * counted and left out; so is what cannot be read, with its line.
 */
enum { LIST_BYTES_MAX = 64 << 20, LIST_LINE_MAX = 4096, LIST_ERRORS_MAX = 8 };

struct list_error {
	uint32_t line;	   /* from 1 */
	char message[320]; /* printable UTF-8 */
};

struct list_report {
	size_t n_names, n_nets; /* entries, those given twice counted twice */
	size_t n_exceptions, n_browser;
	size_t n_bad;
	size_t n_errors; /* of them here: the first */
	struct list_error errors[LIST_ERRORS_MAX];
};

/* Gives every entry (NAME BELOW WITHIN NET) to `add`, whose failure ends it and is returned. 0, -E2BIG (more than
 * LIST_BYTES_MAX), -EBADMSG (no list: nothing valid, or more bad lines than entries). *ret is written in each case. */
int list_parse(const char *text, size_t len, int (*add)(void *arg, const struct policy_peer *p), void *arg,
	struct list_report *ret) __attribute__((warn_unused_result));

#endif
