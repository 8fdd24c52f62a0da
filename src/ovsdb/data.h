/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OVSDB_DATA_H
#define OVSDB_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* Values of RFC 7047 §5.1 in jansson's form. Readers accept anything the server may send and yield NULL, 0 or false for
 * what does not fit; makers return a new reference (NULL without memory, which json_pack and the container setters pass
 * on). */

json_t *ovsdb_uuid(const char *uuid);
json_t *ovsdb_named_uuid(const char *name);
json_t *ovsdb_empty_set(void);
/* From pairs of strings, ended by NULL. */
json_t *ovsdb_map(const char *key, ...) __attribute__((sentinel));

/* A set's elements; a lone atom is a set of one. */
size_t ovsdb_set_size(const json_t *value);
json_t *ovsdb_set_at(const json_t *value, size_t i);
bool ovsdb_set_has_uuid(const json_t *value, const char *uuid);
/* The string of a ["uuid", x] atom. */
const char *ovsdb_uuid_text(const json_t *atom);
/* A value that is a set of at most one: its only element's text or number. */
const char *ovsdb_optional_text(const json_t *value);
bool ovsdb_optional_integer(const json_t *value, int64_t *ret);
/* The value of a key of a map of strings, or of integers to UUIDs. */
const char *ovsdb_map_text(const json_t *map, const char *key);
const char *ovsdb_map_uuid(const json_t *map, const char *key);
const char *ovsdb_map_uuid_of(const json_t *map, int64_t key);

#endif
