/* SPDX-License-Identifier: Apache-2.0 */
#include "ovsdb/data.h"

#include <stdarg.h>
#include <string.h>

json_t *ovsdb_uuid(const char *uuid)
{
	return json_pack("[ss]", "uuid", uuid);
}

json_t *ovsdb_named_uuid(const char *name)
{
	return json_pack("[ss]", "named-uuid", name);
}

json_t *ovsdb_empty_set(void)
{
	return json_pack("[s[]]", "set");
}

json_t *ovsdb_map(const char *key, ...)
{
	json_t *pairs = json_array();
	va_list ap;
	va_start(ap, key);
	for (; key != NULL; key = va_arg(ap, const char *)) {
		const char *value = va_arg(ap, const char *);
		json_array_append_new(pairs, json_pack("[ss]", key, value));
	}
	va_end(ap);
	return json_pack("[so]", "map", pairs);
}

/* The array inside [tag, [...]]; NULL when `value` is something else. */
static json_t *tagged(const json_t *value, const char *tag)
{
	const char *t = json_string_value(json_array_get(value, 0));
	json_t *inner = json_array_get(value, 1);
	return t != NULL && strcmp(t, tag) == 0 && json_is_array(inner) ? inner : NULL;
}

size_t ovsdb_set_size(const json_t *value)
{
	json_t *set = tagged(value, "set");
	if (set != NULL)
		return json_array_size(set);
	return value == NULL || json_is_null(value) ? 0 : 1;
}

json_t *ovsdb_set_at(const json_t *value, size_t i)
{
	json_t *set = tagged(value, "set");
	if (set != NULL)
		return json_array_get(set, i);
	/* A set of one atom is written as the atom; jansson's getters take no const. */
	json_t *atom;
	memcpy(&atom, &value, sizeof(atom));
	return i == 0 ? atom : NULL;
}

const char *ovsdb_uuid_text(const json_t *atom)
{
	const char *tag = json_string_value(json_array_get(atom, 0));
	return tag != NULL && strcmp(tag, "uuid") == 0 ? json_string_value(json_array_get(atom, 1)) : NULL;
}

bool ovsdb_set_has_uuid(const json_t *value, const char *uuid)
{
	size_t n = ovsdb_set_size(value);
	for (size_t i = 0; i < n; i++) {
		const char *have = ovsdb_uuid_text(ovsdb_set_at(value, i));
		if (have != NULL && strcmp(have, uuid) == 0)
			return true;
	}
	return false;
}

const char *ovsdb_optional_text(const json_t *value)
{
	return json_string_value(ovsdb_set_at(value, 0));
}

bool ovsdb_optional_integer(const json_t *value, int64_t *ret)
{
	json_t *atom = ovsdb_set_at(value, 0);
	if (!json_is_integer(atom))
		return false;
	*ret = json_integer_value(atom);
	return true;
}

static json_t *map_value(const json_t *map, const char *key)
{
	size_t i;
	json_t *pair;
	json_array_foreach(tagged(map, "map"), i, pair)
	{
		const char *k = json_string_value(json_array_get(pair, 0));
		if (k != NULL && strcmp(k, key) == 0)
			return json_array_get(pair, 1);
	}
	return NULL;
}

const char *ovsdb_map_text(const json_t *map, const char *key)
{
	return json_string_value(map_value(map, key));
}

const char *ovsdb_map_uuid(const json_t *map, const char *key)
{
	return ovsdb_uuid_text(map_value(map, key));
}

const char *ovsdb_map_uuid_of(const json_t *map, int64_t key)
{
	size_t i;
	json_t *pair;
	json_array_foreach(tagged(map, "map"), i, pair)
	{
		json_t *k = json_array_get(pair, 0);
		if (json_is_integer(k) && json_integer_value(k) == key)
			return ovsdb_uuid_text(json_array_get(pair, 1));
	}
	return NULL;
}
