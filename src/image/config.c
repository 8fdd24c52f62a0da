/* SPDX-License-Identifier: Apache-2.0 */
#include "image/config.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* An array of strings; null and absence are none. NULL: it is something else, or too much. */
static json_t *words(const json_t *config, const char *name)
{
	const json_t *from = json_object_get(config, name);
	json_t *ret = json_array();
	size_t bytes = 0;
	bool ok = from == NULL || json_is_null(from) || json_is_array(from);
	for (size_t i = 0; ok && i < json_array_size(from); i++) {
		json_t *word = json_array_get(from, i);
		bytes += json_string_length(word) + 1;
		ok = json_is_string(word) && i < IMAGE_WORDS_MAX && bytes <= IMAGE_WORDS_BYTES &&
		     json_array_append(ret, word) == 0;
	}
	if (ok)
		return ret;
	json_decref(ret);
	return NULL;
}

static json_t *text_of(const json_t *config, const char *name, const char *absent, size_t max)
{
	const json_t *v = json_object_get(config, name);
	if (v == NULL || json_is_null(v) || json_string_length(v) == 0)
		return v == NULL || json_is_null(v) || json_is_string(v) ? json_string(absent) : NULL;
	return json_string_length(v) <= max ? json_string(json_string_value(v)) : NULL;
}

static bool names_values(const json_t *env)
{
	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *s = json_string_value(json_array_get(env, i));
		if (s[0] == '=' || strchr(s, '=') == NULL)
			return false;
	}
	return true;
}

json_t *image_config_read(const char *text, size_t len, char *error, unsigned cap)
{
	json_error_t e;
	json_t *whole = len > IMAGE_CONFIG_MAX ? NULL : json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	const json_t *config = json_object_get(whole, "config");
	json_t *ret = NULL;
	if (json_is_object(whole) && (config == NULL || json_is_null(config) || json_is_object(config)))
		ret = json_pack("{s:o*, s:o*, s:o*, s:o*, s:o*}", "entrypoint", words(config, "Entrypoint"), "cmd",
			words(config, "Cmd"), "env", words(config, "Env"), "user",
			text_of(config, "User", "0", IMAGE_USER_MAX), "cwd",
			text_of(config, "WorkingDir", "/", IMAGE_CWD_MAX));
	enum { MEMBERS = 5 };
	const char *cwd = json_string_value(json_object_get(ret, "cwd"));
	if (json_object_size(ret) != MEMBERS || !names_values(json_object_get(ret, "env")) || cwd == NULL ||
		cwd[0] != '/') {
		snprintf(error, cap, "the image's configuration cannot be understood");
		json_decref(ret);
		ret = NULL;
	}
	json_decref(whole);
	return ret;
}

json_t *image_config_command(const json_t *config, const json_t *given)
{
	json_t *ret = json_array();
	json_array_extend(ret, json_object_get(config, "entrypoint"));
	json_t *behind =
		json_array_size(given) > 0 ? json_deep_copy(given) : json_incref(json_object_get(config, "cmd"));
	json_array_extend(ret, behind);
	json_decref(behind);
	return ret;
}

static bool named(const json_t *env, const char *word)
{
	size_t len = strcspn(word, "=") + 1;
	for (size_t i = 0; i < json_array_size(env); i++) {
		if (strncmp(json_string_value(json_array_get(env, i)), word, len) == 0)
			return true;
	}
	return false;
}

json_t *image_config_env(const json_t *config, const json_t *given)
{
	json_t *ret = json_deep_copy(given);
	const json_t *own = json_object_get(config, "env");
	for (size_t i = 0; i < json_array_size(own); i++) {
		json_t *word = json_array_get(own, i);
		if (!named(given, json_string_value(word)))
			json_array_append(ret, word);
	}
	return ret;
}
