/* SPDX-License-Identifier: Apache-2.0 */
/* Users of the guest's own root, by its /etc/passwd and /etc/group as they are: there is no NSS in a static program. */
#include "guest/setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_LEN = 8192, FIELDS_MAX = 7 };

/* The next line of at least `want` fields, split. */
static bool next_entry(FILE *f, char line[LINE_MAX_LEN], char *field[FIELDS_MAX], unsigned want)
{
	while (f != NULL && fgets(line, LINE_MAX_LEN, f) != NULL) {
		unsigned n = 0;
		line[strcspn(line, "\n")] = 0;
		for (char *rest = line; rest != NULL && n < FIELDS_MAX;)
			field[n++] = strsep(&rest, ":");
		if (n >= want)
			return true;
	}
	return false;
}

static bool number(const char *s, uint32_t *ret)
{
	char *end;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	if (s[0] < '0' || s[0] > '9' || *end != 0 || errno != 0 || v >= UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool entry_is(const char *name, const char *id, const char *wanted)
{
	uint32_t is, want;
	return strcmp(name, wanted) == 0 || (number(wanted, &want) && number(id, &is) && is == want);
}

static bool find_user(struct agent_exec *e, const char *wanted)
{
	char line[LINE_MAX_LEN], *field[FIELDS_MAX];
	FILE *f = fopen("/etc/passwd", "re");
	bool found = false;
	while (!found && next_entry(f, line, field, 6)) {
		found = entry_is(field[0], field[2], wanted) && number(field[2], &e->uid) && number(field[3], &e->gid);
		if (!found)
			continue;
		snprintf(e->user, sizeof(e->user), "%s", field[0]);
		snprintf(e->home, sizeof(e->home), "%s", field[5][0] == '/' ? field[5] : "/");
	}
	if (f != NULL)
		fclose(f);
	return found;
}

static bool find_group(const char *wanted, uint32_t *ret)
{
	char line[LINE_MAX_LEN], *field[FIELDS_MAX];
	FILE *f = fopen("/etc/group", "re");
	bool found = false;
	while (!found && next_entry(f, line, field, 3))
		found = entry_is(field[0], field[2], wanted) && number(field[2], ret);
	if (f != NULL)
		fclose(f);
	return found || number(wanted, ret);
}

int setup_user(struct agent_exec *e, const char **ret_missing)
{
	static char wanted[sizeof(e->user)];
	snprintf(wanted, sizeof(wanted), "%s", e->user[0] == 0 ? "0" : e->user);
	char *group = strchr(wanted, ':');
	if (group != NULL)
		*group++ = 0;
	*ret_missing = wanted;
	if (!find_user(e, wanted)) {
		/* As in a container: a number needs no name, and is in group 0. */
		if (!number(wanted, &e->uid))
			return -ENOENT;
		e->gid = 0;
		snprintf(e->user, sizeof(e->user), "%s", e->uid == 0 ? "root" : wanted);
		snprintf(e->home, sizeof(e->home), "%s", e->uid == 0 ? "/root" : "/");
	}
	*ret_missing = group;
	return group == NULL || group[0] == 0 || find_group(group, &e->gid) ? 0 : -ENOENT;
}

static bool is_member(const char *members, const char *user)
{
	size_t len = strlen(user);
	for (const char *p = members; p != NULL; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, user, len) == 0 && (p[len] == ',' || p[len] == 0))
			return true;
	}
	return false;
}

unsigned user_groups(const struct agent_exec *e, gid_t *ret, unsigned cap)
{
	char line[LINE_MAX_LEN], *field[FIELDS_MAX];
	unsigned n = 0;
	uint32_t gid;
	ret[n++] = e->gid;
	FILE *f = e->guest_user ? fopen("/etc/group", "re") : NULL;
	while (n < cap && next_entry(f, line, field, 4)) {
		if (is_member(field[3], e->user) && number(field[2], &gid) && gid != e->gid)
			ret[n++] = gid;
	}
	if (f != NULL)
		fclose(f);
	return n;
}
