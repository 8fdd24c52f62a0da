/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A host name: lower-cased wire labels (RFC 1035 §3.1) without compression, ended by the zero label; `len` counts that
 * zero, 1 is the root. A NUL, dot or control byte inside a label is data. This is the only form of a name in the
 * project; text exists for printing.
 */
enum { NAME_WIRE_MAX = 255, NAME_LABEL_MAX = 63, NAME_TEXT_MAX = 1024, NAME_LABELS_MAX = 127 };

struct name {
	uint8_t len;
	uint8_t wire[NAME_WIRE_MAX];
};

/* From uncompressed wire bytes, which must be exactly one name; folds case. False, *ret untouched, when they are not.
 */
bool name_from_wire(const uint8_t *wire, size_t len, struct name *ret);
/* From text "www.example.org" or with one trailing dot: labels of [a-z0-9_-] only, upper case folded; not for hostile
 * display forms. */
bool name_from_text(const char *text, size_t len, struct name *ret);
/* Printable text without trailing dot into `buf` (>= NAME_TEXT_MAX): other bytes, '\\' and '.' inside a label as \DDD;
 * root is ".". */
const char *name_format(const struct name *n, char *buf, size_t len);

bool name_equal(const struct name *a, const struct name *b);
/* Number of labels without the root: www.example.org has 3. */
unsigned name_labels(const struct name *n);
/* `n` is `apex` or lies below it; strictly below when `below` is set. Compared label by label. */
bool name_within(const struct name *n, const struct name *apex, bool below);
/* The name without its first `n_labels` labels. n_labels must not exceed name_labels(). */
struct name name_parent(const struct name *n, unsigned n_labels);
/* Every label consists of [a-z0-9_-]: only such names can be allowed by a rule. */
bool name_is_plain(const struct name *n);
/* Not keyed: for tables whose size is bounded and whose key space is not the guest's; else mix `seed`. */
uint64_t name_hash(const struct name *n, uint64_t seed);

#endif
