/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/addr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool copy(char *to, size_t cap, const char *from, size_t len)
{
	if (len >= cap)
		return false;
	memcpy(to, from, len);
	to[len] = '\0';
	return len > 0;
}

/* ":443/tcp" or nothing. */
static bool port_parse(const char *text, struct cli_peer *p)
{
	if (*text == '\0')
		return true;
	if (*text++ != ':')
		return false;
	const char *slash = strchr(text, '/');
	if (slash != NULL && !copy(p->protocol, sizeof(p->protocol), slash + 1, strlen(slash + 1)))
		return false;
	size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
	if (len == 0)
		return slash != NULL;
	char digits[8], *end;
	if (!copy(digits, sizeof(digits), text, len))
		return false;
	long v = strtol(digits, &end, 10);
	if (*end != '\0' || v < 0 || v > 65535)
		return false;
	p->port = (int)v;
	return true;
}

/* "192.0.2.1" or "[2001:db8::1]", then what stands behind it. */
static const char *address_parse(const char *text, struct cli_peer *p)
{
	struct addr a;
	const char *end;
	if (*text == '[') {
		end = strchr(text, ']');
		if (end == NULL || !copy(p->address, sizeof(p->address), text + 1, (size_t)(end - text) - 1))
			return NULL;
		end++;
	} else {
		/* A bare IPv6 address has no port. */
		end = addr_parse(text, &a) && a.len == 16 ? text + strlen(text) : text + strcspn(text, ":");
		if (!copy(p->address, sizeof(p->address), text, (size_t)(end - text)))
			return NULL;
	}
	return addr_parse(p->address, &a) ? end : NULL;
}

bool cli_peer_parse(const char *text, struct cli_peer *ret)
{
	struct cli_peer p = { .port = -1 };
	const char *equals = strchr(text, '='), *rest;
	if (strncmp(text, "app:", 4) == 0) {
		rest = text + 4 + strcspn(text + 4, ":");
		if (!copy(p.app, sizeof(p.app), text + 4, (size_t)(rest - text) - 4))
			return false;
	} else if (equals != NULL) {
		rest = address_parse(equals + 1, &p);
		if (rest == NULL || !copy(p.name, sizeof(p.name), text, (size_t)(equals - text)))
			return false;
	} else {
		rest = address_parse(text, &p);
		if (rest == NULL) {
			p.address[0] = '\0';
			rest = text + strcspn(text, ":");
			if (!copy(p.name, sizeof(p.name), text, (size_t)(rest - text)))
				return false;
		}
	}
	if (!port_parse(rest, &p))
		return false;
	*ret = p;
	return true;
}
