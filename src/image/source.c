/* SPDX-License-Identifier: Apache-2.0 */
#include "image/source.h"

#include <stdio.h>
#include <string.h>

static bool copy(char *ret, size_t cap, const char *s, size_t len)
{
	if (len >= cap)
		return false;
	memcpy(ret, s, len);
	ret[len] = 0;
	return true;
}

static bool local(const char *rest, const char *cwd, struct image_source *ret)
{
	const char *tag = strchr(rest, ':');
	size_t len = tag == NULL ? strlen(rest) : (size_t)(tag - rest);
	size_t at = 0;
	if (len == 0 || (tag != NULL && tag[1] == 0))
		return false;
	if (rest[0] != '/') {
		at = strlen(cwd);
		if (!copy(ret->path, sizeof(ret->path) - 1, cwd, at))
			return false;
		ret->path[at++] = '/';
	}
	return copy(ret->path + at, sizeof(ret->path) - at, rest, len) &&
	       (tag == NULL || copy(ret->tag, sizeof(ret->tag), tag + 1, strlen(tag + 1)));
}

/* It becomes a word of a command line: nothing but what a reference may be made of. */
static bool remote(const char *rest, struct image_source *ret)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@[]+%";
	size_t len = strlen(rest);
	return len > 2 && strncmp(rest, "//", 2) == 0 && strspn(rest, allowed) == len &&
	       copy(ret->path, sizeof(ret->path), rest, len);
}

bool image_source_parse(const char *text, const char *cwd, struct image_source *ret, char *error, unsigned cap)
{
	static const char *const transports[] = { "docker-archive", "oci-archive", "oci", "docker" };
	*ret = (struct image_source){ 0 };
	for (unsigned i = 0; i < sizeof(transports) / sizeof(transports[0]); i++) {
		size_t len = strlen(transports[i]);
		if (strncmp(text, transports[i], len) != 0 || text[len] != ':')
			continue;
		snprintf(ret->transport, sizeof(ret->transport), "%s", transports[i]);
		ret->dir = strcmp(transports[i], "oci") == 0;
		ret->registry = strcmp(transports[i], "docker") == 0;
		if (ret->registry ? remote(text + len + 1, ret) : local(text + len + 1, cwd, ret))
			return true;
		break;
	}
	snprintf(error, cap,
		"\"%.200s\" is no image: it is docker-archive:FILE, oci-archive:FILE, oci:DIR[:TAG] or docker://HOST/NAME[:TAG]",
		text);
	return false;
}

void image_source_print(const struct image_source *s, char *ret, unsigned cap)
{
	snprintf(ret, cap, "%s:%s%s%s", s->transport, s->path, s->tag[0] == 0 ? "" : ":", s->tag);
}
