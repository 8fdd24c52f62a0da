/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_PRINT_H
#define POLICY_PRINT_H

#include "policy/parse.h"

enum {
	POLICY_PRINT_MAX = 16384
}; /* no canonical line is longer: numbers may print longer than they were written, once */

/* The canonical line without line end, NUL-ended, into buf; its length, or -ENOBUFS. Parsing it gives the same rule. */
int policy_print_rule(const struct policy_rule *r, char *buf, size_t cap) __attribute__((warn_unused_result));
int policy_print_peer(const struct policy_peer *p, char *buf, size_t cap) __attribute__((warn_unused_result));
int policy_print_port(const struct policy_port *p, char *buf, size_t cap) __attribute__((warn_unused_result));
/* The text of a file, which `doc` was read from, with every rule and definition in canonical form in its place;
 * comments, empty lines and definitions over several lines stay. *ret is malloc'd and NUL-ended. */
int policy_format(const char *text, size_t len, const struct policy_doc *doc, char **ret)
	__attribute__((warn_unused_result));
/* The whole document, definitions first; *ret is malloc'd and NUL-ended. -ENOMEM. */
int policy_print_doc(const struct policy_doc *d, char **ret) __attribute__((warn_unused_result));

#endif
