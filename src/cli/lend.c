/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/lend.h"

#include "base/log.h"
#include "base/share.h"
#include "cli/cli.h"
#include "image/cache.h"
#include "policy/parse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SEEN_MAX = 1024, TOLD_MAX = 16 };

static bool refused(const char *dir, const char *why)
{
	char shown[2 * LEND_PATH];
	cli_error("%s cannot be lent: %s", text_escape(dir, strnlen(dir, LEND_PATH), shown, sizeof(shown)), why);
	return false;
}

bool lend_dir(struct lend *l, const char *dir)
{
	char real[PATH_MAX];
	if (l->n == LEND_MAX)
		return refused(dir, "six directories are the most, the home among them");
	if (realpath(dir, real) == NULL || strlen(real) >= LEND_PATH)
		return refused(dir, strerror(errno));
	int fd = open(real, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return refused(dir, strerror(errno));
	l->dir[l->n].fd = fd;
	snprintf(l->dir[l->n++].path, LEND_PATH, "%s", real);
	return true;
}

bool lend_home(struct lend *l, const char *home, const char *app, bool ephemeral)
{
	char place[PATH_MAX], error[IMAGE_ERROR_MAX];
	l->home_kept = strcmp(home, "app") == 0;
	if (strcmp(home, "none") == 0 || (l->home_kept && ephemeral))
		return true;
	/* It becomes a directory's name. */
	if (l->home_kept && !policy_token_ok(app, strlen(app))) {
		cli_error("\"%.63s\" cannot be the name of an application", app);
		return false;
	}
	if (l->home_kept && home_open(app, place, error) != 0) {
		cli_error("%s", error);
		return false;
	}
	l->home = lend_dir(l, l->home_kept ? place : home);
	return l->home;
}

bool lend_give(const struct lend *l, json_t *params, struct api_fds *give)
{
	json_t *rw = json_array();
	for (unsigned i = 0; i < l->n; i++) {
		if (give->n == API_FDS_MAX)
			break;
		give->fd[give->n++] = l->dir[i].fd;
		if (!l->home || i + 1 < l->n)
			json_array_append_new(rw, json_string(l->dir[i].path));
	}
	json_object_set_new(params, "rw", rw);
	if (l->home) {
		json_object_set_new(params, "home", json_string(l->dir[l->n - 1].path));
		json_object_set_new(params, "home_kept", json_boolean(l->home_kept));
	}
	return true;
}

/* --- what other programs run later */

static void note(json_t *seen, const char *path, const struct stat *st)
{
	if (json_object_size(seen) < SEEN_MAX)
		json_object_set_new(seen, path,
			json_sprintf("%llu %lld.%ld", (unsigned long long)st->st_ino, (long long)st->st_ctim.tv_sec,
				st->st_ctim.tv_nsec));
}

/* What lies in it, one level deep. */
static void note_dir(json_t *seen, int fd, const char *path)
{
	DIR *d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return;
	}
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char name[LEND_PATH + 512];
		struct stat st;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
			fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		note(seen, name, &st);
	}
	closedir(d);
}

static json_t *look(const struct lend *l)
{
	json_t *seen = json_object();
	for (unsigned i = 0; i < l->n; i++) {
		for (unsigned k = 0; share_later[k] != NULL; k++) {
			char path[LEND_PATH + 64];
			struct stat st;
			if (fstatat(l->dir[i].fd, share_later[k], &st, AT_SYMLINK_NOFOLLOW) != 0)
				continue;
			snprintf(path, sizeof(path), "%s/%s", l->dir[i].path, share_later[k]);
			int fd = S_ISDIR(st.st_mode) ? openat(l->dir[i].fd, share_later[k],
							       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
						     : -1;
			if (fd >= 0)
				note_dir(seen, fd, path);
			else
				note(seen, path, &st);
		}
	}
	return seen;
}

void lend_look(struct lend *l)
{
	if (l->n > 0)
		l->seen = look(l);
}

void lend_tell(const struct lend *l)
{
	unsigned n = 0;
	const char *path;
	json_t *mark, *now = l->n > 0 ? look(l) : NULL;
	json_object_foreach(now, path, mark)
	{
		char shown[2 * LEND_PATH];
		if (json_equal(json_object_get(l->seen, path), mark) || n++ >= TOLD_MAX)
			continue;
		cli_error("it wrote what other programs may run: %s",
			text_escape(path, strlen(path), shown, sizeof(shown)));
	}
	if (n > TOLD_MAX)
		cli_error("and %u more", n - TOLD_MAX);
	json_decref(now);
}

void lend_fini(struct lend *l)
{
	for (unsigned i = 0; i < l->n; i++)
		close(l->dir[i].fd);
	json_decref(l->seen);
	*l = (struct lend){ 0 };
}
