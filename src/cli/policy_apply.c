/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"

#include "cli/file.h"
#include "policy/check.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MAX = 256, FINDINGS_MAX = 256, NAME_LEN = 256 };

/* One file of policy_dir that is to be replaced. */
struct apply {
	struct cli *c;
	const char *from;   /* the file given; withdraws: its name */
	char dir[PATH_MAX]; /* the daemon's */
	char name[NAME_LEN], fresh[NAME_LEN], old[NAME_LEN];
	int fd; /* of dir */
	bool replaces, withdraws;
};

static int rules_file(const struct dirent *e)
{
	size_t len = strlen(e->d_name);
	return e->d_name[0] != '.' && len > 6 && strcmp(e->d_name + len - 6, ".rules") == 0;
}

static int apply_begin(struct apply *a)
{
	json_t *reply;
	const char *slash = strrchr(a->from, '/'), *base = slash == NULL ? a->from : slash + 1;
	size_t len = strlen(base);
	if (len <= 6 || len >= NAME_LEN - 8 || base[0] == '.' || strcmp(base + len - 6, ".rules") != 0) {
		cli_error("%s: a policy file is named NAME.rules", a->from);
		return EXIT_USAGE;
	}
	int code = cli_call(a->c, "org.sekisho.Admin.Status", NULL, &reply);
	if (code != 0)
		return code;
	const char *dir = json_string_value(json_object_get(reply, "policy_dir"));
	snprintf(a->dir, sizeof(a->dir), "%s", dir == NULL ? "" : dir);
	json_decref(reply);
	snprintf(a->name, sizeof(a->name), "%s", base);
	snprintf(a->fresh, sizeof(a->fresh), ".%s.new", base);
	snprintf(a->old, sizeof(a->old), ".%s.old", base);
	a->fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->fd < 0) {
		cli_error("cannot open %s: %s", a->dir, strerror(errno));
		return errno == EACCES ? EXIT_DENIED : EXIT_FAILED;
	}
	a->replaces = faccessat(a->fd, a->name, F_OK, 0) == 0;
	return 0;
}

/* All files together as they would be. */
static int apply_check(const struct apply *a)
{
	static struct policy_finding found[FINDINGS_MAX];
	static char paths[FILES_MAX][PATH_MAX + NAME_LEN];
	const char *names[FILES_MAX + 1] = { a->from };
	struct dirent **list = NULL;
	size_t first = a->withdraws ? 0 : 1, n_names = first;
	int n = scandir(a->dir, &list, rules_file, alphasort), code = n < 0 ? EXIT_FAILED : 0;
	for (int i = 0; i < n; i++) {
		if (strcmp(list[i]->d_name, a->name) != 0 && n_names < FILES_MAX) {
			char *path = paths[n_names - first];
			snprintf(path, sizeof(paths[0]), "%s/%s", a->dir, list[i]->d_name);
			names[n_names++] = path;
		}
		free(list[i]);
	}
	free(list);
	struct policy_files f;
	if (code == 0 && n_names == 0)
		return 0;
	if (code != 0 || !files_read(names, n_names, a->c->json, &f))
		return EXIT_PROBLEMS;
	long findings = policy_check(&f.in, found, FINDINGS_MAX);
	for (long i = 0; i < findings && i < FINDINGS_MAX; i++) {
		files_say(&f, &found[i], a->c->json);
		code = found[i].error ? EXIT_PROBLEMS : code;
	}
	files_free(&f);
	return findings < 0 ? EXIT_FAILED : code;
}

static int write_fresh(const struct apply *a)
{
	size_t len, done = 0;
	char *text = file_text(a->from, &len);
	if (text == NULL)
		return -ENOENT;
	int fd = openat(a->fd, a->fresh, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	int err = fd < 0 ? -errno : 0;
	while (err == 0 && done < len) {
		ssize_t n = write(fd, text + done, len - done);
		if (n < 0 && errno != EINTR)
			err = -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	if (err == 0 && fsync(fd) != 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	free(text);
	return err;
}

/* The old file keeps a second name until what follows it is in force. */
static int put(const struct apply *a)
{
	int err = a->withdraws ? 0 : write_fresh(a);
	(void)unlinkat(a->fd, a->old, 0);
	if (err == 0 && a->replaces && linkat(a->fd, a->name, a->fd, a->old, 0) != 0)
		err = -errno;
	if (err == 0 && (a->withdraws ? unlinkat(a->fd, a->name, 0) : renameat(a->fd, a->fresh, a->fd, a->name)) != 0)
		err = -errno;
	if (err == 0 && fsync(a->fd) != 0)
		err = -errno;
	if (err != 0) {
		(void)unlinkat(a->fd, a->fresh, 0);
		cli_error("cannot write %s/%s: %s", a->dir, a->name, strerror(-err));
	}
	return err;
}

static void take_back(const struct apply *a)
{
	int err = a->replaces ? renameat(a->fd, a->old, a->fd, a->name) : unlinkat(a->fd, a->name, 0);
	if (err != 0 || fsync(a->fd) != 0)
		cli_error("%s/%s could not be made what it was: %s", a->dir, a->name, strerror(errno));
	else
		cli_error("the policy and %s are as they were", a->dir);
}

static int reload(const struct apply *a)
{
	json_t *reply;
	char text[200];
	int code = cli_call(a->c, "org.sekisho.Admin.Reload", NULL, &reply);
	if (code == EXIT_DAEMON) {
		/* It may have read the new file before it went: only a new start knows. */
		cli_error("%s/%s is %s, and whether that is in force is not known%s%s", a->dir, a->name,
			a->withdraws ? "gone" : "the new file", a->replaces ? "; the old one is " : "",
			a->replaces ? a->old : "");
		return code;
	}
	if (code != 0) {
		take_back(a);
		return code;
	}
	if (a->replaces)
		(void)unlinkat(a->fd, a->old, 0);
	if (a->c->json)
		cli_print_json(reply);
	else
		printf("in force: %s\n", cli_text(reply, "text", text, sizeof(text)));
	json_decref(reply);
	return EXIT_DONE;
}

static int apply(struct apply *a, bool dry_run)
{
	char now[PATH_MAX + NAME_LEN];
	int code = apply_begin(a);
	if (code == 0 && a->withdraws && !a->replaces) {
		cli_error("there is no %s/%s", a->dir, a->name);
		code = EXIT_NOTHING;
	}
	if (code == 0)
		code = apply_check(a);
	if (code == 0) {
		snprintf(now, sizeof(now), "%s/%s", a->dir, a->name);
		const char *const sides[] = { a->replaces ? now : "/dev/null", a->withdraws ? "/dev/null" : a->from };
		int differs = policy_diff(a->c, sides, 2);
		code = differs == EXIT_USAGE ? EXIT_FAILED : 0;
		if (code == 0 && !dry_run)
			code = put(a) == 0 ? reload(a) : EXIT_FAILED;
	}
	if (a->fd >= 0)
		close(a->fd);
	return code;
}

int policy_apply(struct cli *c, const char *name, bool dry_run)
{
	struct apply a = { .c = c, .from = name, .fd = -1 };
	return apply(&a, dry_run);
}

int policy_withdraw(struct cli *c, const char *name)
{
	struct apply a = { .c = c, .from = name, .fd = -1, .withdraws = true };
	return apply(&a, false);
}
