/* SPDX-License-Identifier: Apache-2.0 */
#include "base/share.h"

#include <string.h>

/* The system's own, with all below them. */
static const char *const trees[] = { "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc",
	"/run", "/sbin", "/sys", "/usr", "/var/lib/sekisho", "/var/run" };
/* Shared by many: only what is below them. */
static const char *const tops[] = { "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib",
	"/var/tmp" };
/* Wherever they are. */
static const char *const keys[] = { ".ssh", ".gnupg", ".git" };

const char *const share_later[] = { ".git/hooks", ".git/config", ".vscode", ".envrc", ".devcontainer", ".claude",
	NULL };

bool share_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);
	return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Absolute, canonical, printable. */
static bool well_formed(const char *path)
{
	size_t len = strlen(path);
	if (path[0] != '/' || len > SHARE_PATH_MAX || (len > 1 && path[len - 1] == '/'))
		return false;
	for (const char *p = path; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return false;
	}
	for (const char *p = path; p != NULL && p[1] != '\0'; p = strchr(p + 1, '/')) {
		size_t n = strcspn(p + 1, "/");
		if (n == 0 || (n <= 2 && strspn(p + 1, ".") == n))
			return false;
	}
	return true;
}

static bool has_component(const char *path, const char *name)
{
	size_t len = strlen(name);
	for (const char *p = strchr(path, '/'); p != NULL; p = strchr(p + 1, '/')) {
		if (strncmp(p + 1, name, len) == 0 && (p[1 + len] == '/' || p[1 + len] == '\0'))
			return true;
	}
	return false;
}

const char *share_refused(const char *path, const char *home, bool kept)
{
	if (!well_formed(path))
		return "is no absolute path of at most 255 bytes without symbolic links and control characters";
	if (strcmp(path, "/") == 0)
		return "is the whole computer";
	for (unsigned i = 0; i < sizeof(trees) / sizeof(*trees); i++) {
		if (share_below(path, trees[i]))
			return "belongs to the system";
	}
	for (unsigned i = 0; i < sizeof(tops) / sizeof(*tops); i++) {
		if (strcmp(path, tops[i]) == 0)
			return "holds things of many; name a directory below it";
	}
	for (unsigned i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		if (has_component(path, keys[i]))
			return "holds keys, or what other programs run";
	}
	if (home[0] != '/' || home[1] == '\0')
		return NULL;
	if (share_below(home, path))
		return "is the home directory, or holds it; name a directory below it";
	if (!kept && share_below(path, home) && path[strlen(home)] == '/' && path[strlen(home) + 1] == '.')
		return "is hidden in the home directory, where settings and keys are";
	return NULL;
}
