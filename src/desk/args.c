/* SPDX-License-Identifier: Apache-2.0 */
/* Parameters of calls. What is wrong with one is said in words, since varlink's InvalidParameter only says which. */
#include "base/log.h"
#include "desk/desk.h"

#include <stdio.h>
#include <string.h>

bool arg_bad(struct desk *d, struct client *c, const char *name, const char *fmt, ...)
{
	char why[512], text[640], escaped[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "parameter %s: %s", name, why);
	client_error(d, c, "org.varlink.service.InvalidParameter",
		json_pack("{s:s, s:s}", "parameter", name, "text",
			text_escape(text, strlen(text), escaped, sizeof(escaped))));
	return false;
}

/* Present and not null. */
static const json_t *arg(const struct client *c, const char *name)
{
	const json_t *v = json_object_get(c->call.params, name);
	return json_is_null(v) ? NULL : v;
}

bool arg_str(struct desk *d, struct client *c, const char *name, bool required, const char **ret)
{
	const json_t *v = arg(c, name);
	if (v == NULL && required)
		return arg_bad(d, c, name, "it is missing");
	if (v != NULL && !json_is_string(v))
		return arg_bad(d, c, name, "it is no string");
	if (v != NULL)
		*ret = json_string_value(v);
	return true;
}

bool arg_int(struct desk *d, struct client *c, const char *name, int64_t min, int64_t max, int64_t *ret)
{
	const json_t *v = arg(c, name);
	if (v == NULL)
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return arg_bad(d, c, name, "it is no whole number from %lld to %lld", (long long)min, (long long)max);
	*ret = json_integer_value(v);
	return true;
}

bool arg_bool(struct desk *d, struct client *c, const char *name, bool *ret)
{
	const json_t *v = arg(c, name);
	if (v != NULL && !json_is_boolean(v))
		return arg_bad(d, c, name, "it is neither true nor false");
	if (v != NULL)
		*ret = json_is_true(v);
	return true;
}

bool arg_strings(struct desk *d, struct client *c, const char *name, bool required, const json_t **ret)
{
	const json_t *v = arg(c, name);
	if (v == NULL) {
		*ret = NULL;
		return !required || arg_bad(d, c, name, "it is missing");
	}
	if (!json_is_array(v))
		return arg_bad(d, c, name, "it is no array of strings");
	for (size_t i = 0; i < json_array_size(v); i++) {
		if (!json_is_string(json_array_get(v, i)))
			return arg_bad(d, c, name, "its member %zu is no string", i);
	}
	*ret = v;
	return true;
}

bool arg_owner(struct desk *d, struct client *c, uint32_t *ret, bool *ret_said)
{
	const char *name = NULL;
	if (!arg_str(d, c, "owner", false, &name))
		return false;
	*ret = c->uid;
	*ret_said = name != NULL;
	if (name == NULL)
		return true;
	struct host_user u;
	if (host_user_by_name(&d->host, name, &u) != 0) {
		client_no_such(d, c, "user", name);
		return false;
	}
	enum right right = c->need == RIGHT_VIEW_OWN ? RIGHT_VIEW_ALL : RIGHT_ADMIN;
	if (u.uid != c->uid && !auth_has(c, right)) {
		auth_deny(d, c, right, "only admins may act for another user");
		return false;
	}
	*ret = u.uid;
	return true;
}

bool arg_app(struct desk *d, struct client *c, bool required, const char **ret)
{
	if (!arg_str(d, c, "app", required, ret))
		return false;
	if (*ret == NULL || policy_token_ok(*ret, strlen(*ret)))
		return true;
	/* A wrong word, not a missing thing: sekisho(1) exits with 2. */
	return arg_bad(d, c, "app",
		"\"%.63s\" cannot be the name of an application: at most 63 of a-z 0-9 . _ + -, beginning with a letter or digit, and no "
		"keyword",
		*ret);
}

bool arg_all(struct desk *d, struct client *c, bool *ret)
{
	*ret = c->view_all;
	if (!arg_bool(d, c, "all", ret))
		return false;
	if (!*ret || c->view_all)
		return true;
	auth_deny(d, c, RIGHT_VIEW_ALL, "only admins may see what belongs to others");
	return false;
}
