/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of the owner's that an application may write, and its home: part of Run, shown as long as it runs. */
#include "base/log.h"
#include "base/share.h"
#include "desk/app.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool add_share(struct desk *d, struct client *c, const char *arg, const char *path, const char *home,
	struct ipc_shares *s)
{
	static_assert(IPC_SHARE_PATH == SHARE_PATH_MAX + 1, "one length");
	char shown[2 * IPC_SHARE_PATH];
	const char *why = share_refused(path, home, s->home == IPC_HOME_KEPT);
	if (why != NULL)
		return arg_bad(d, c, arg, "%s %s", text_escape(path, strnlen(path, 128), shown, sizeof(shown)), why);
	if (s->n == IPC_SHARES_MAX)
		return arg_bad(d, c, arg, "at most %d directories, the home among them", IPC_SHARES_MAX);
	snprintf(s->path[s->n++], IPC_SHARE_PATH, "%s", path);
	return true;
}

bool vm_shares(struct desk *d, struct client *c, struct ipc_vm *vm, uint32_t owner)
{
	struct ipc_shares *s = &vm->shares;
	struct host_user u = c->user;
	const json_t *rw, *one;
	const char *home = NULL;
	bool kept = false;
	size_t i;
	if (!arg_strings(d, c, "rw", false, &rw) || !arg_str(d, c, "home", false, &home) ||
		!arg_bool(d, c, "home_kept", &kept))
		return false;
	if (owner != c->uid && host_user_by_uid(&d->host, owner, &u) != 0) {
		client_no_such(d, c, "user", "owner");
		return false;
	}
	s->uid = u.uid;
	s->gid = u.gid;
	json_array_foreach(rw, i, one)
	{
		if (!add_share(d, c, "rw", json_string_value(one), u.home, s))
			return false;
	}
	if (home != NULL && vm->root.kind == IPC_ROOT_HOST && (u.home[0] != '/' || u.home[1] == '\0'))
		return arg_bad(d, c, "home", "/etc/passwd names none for %s", u.name);
	if (home != NULL) {
		s->home = kept ? IPC_HOME_KEPT : IPC_HOME_DIR;
		if (!add_share(d, c, "home", home, u.home, s))
			return false;
	}
	unsigned want = ipc_root_fds(&vm->root) + s->n;
	return c->fds.n == want ||
	       arg_bad(d, c, s->n > 0 ? "rw" : "root", "%u descriptors came along instead of %u", c->fds.n, want);
}

bool vm_shared(const struct ipc_vm *vm, const char *path)
{
	for (unsigned i = 0; i < vm->shares.n; i++) {
		bool home = vm->shares.home != IPC_HOME_NONE && i + 1U == vm->shares.n;
		if (!home && share_below(path, vm->shares.path[i]))
			return true;
	}
	return false;
}

json_t *shares_json(const struct ipc_shares *s)
{
	json_t *rw = json_array();
	if (s->n == 0)
		return json_pack("{s:o, s:n}", "rw", rw, "home");
	unsigned n = s->n - (s->home != IPC_HOME_NONE);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(rw, json_string(s->path[i]));
	return json_pack("{s:o, s:s?}", "rw", rw, "home",
		s->home == IPC_HOME_NONE   ? NULL
		: s->home == IPC_HOME_KEPT ? "app"
					   : s->path[n]);
}

void shares_text(const json_t *lent, char *buf, size_t cap)
{
	const json_t *one;
	const char *home = json_string_value(json_object_get(lent, "home"));
	size_t i, at = 0;
	buf[0] = '\0';
	json_array_foreach(json_object_get(lent, "rw"), i, one)
	{
		int n = snprintf(buf + at, cap - at, "%srw %s", at > 0 ? ", " : "", json_string_value(one));
		at += n > 0 && (size_t)n < cap - at ? (size_t)n : 0;
	}
	if (home != NULL)
		snprintf(buf + at, cap - at, "%shome %s", at > 0 ? ", " : "", home);
}

int shares_store(struct desk *d, const struct app *a)
{
	char *text = a->lent == NULL ? NULL : json_dumps(a->lent, JSON_COMPACT);
	int err = text == NULL ? 0 : store_copy_put(d->store, STORE_SHARES, a->gate.ref.run, 0, text, strlen(text));
	free(text);
	return err;
}

void shares_load(struct desk *d)
{
	struct store_rows *q;
	struct store_copy_row row;
	if (store_copies(d->store, STORE_SHARES, &q) != 0)
		return;
	while (store_copies_next(q, &row) == 1) {
		for (unsigned i = 1; i < PLAN_SLOTS; i++) {
			struct app *a = &d->apps[i];
			if (a->state != APP_FREE && a->gate.ref.run == row.run && a->lent == NULL)
				a->lent = json_loadb(row.body, row.len, 0, NULL);
		}
	}
	store_rows_end(q);
}

bool wants_files(struct desk *d, struct client *c, const struct profile *p)
{
	bool told = false;
	if (!arg_bool(d, c, "with_profile", &told))
		return true;
	bool image = p != NULL && p->image[0] != '\0' && !json_is_string(json_object_get(c->call.params, "root"));
	if (p == NULL || told || (!image && p->n_rw == 0 && p->home[0] == '\0') ||
		!(c->admin || profile_names_user(p, c->user.name)))
		return false;
	json_t *argv = json_array(), *rw = json_array();
	const char *word = p->argv;
	for (unsigned i = 0; i < p->argc; i++, word += strlen(word) + 1)
		json_array_append_new(argv, json_string(word));
	for (unsigned i = 0; i < p->n_rw; i++)
		json_array_append_new(rw, json_string(p->rw[i]));
	client_error(d, c, "org.sekisho.NeedsFiles",
		json_pack("{s:s?, s:o, s:o, s:s?, s:s}", "image", image ? p->image : NULL, "argv", argv, "rw", rw,
			"home", p->home[0] != '\0' ? p->home : NULL, "text",
			"its profile wants files of the caller's; sekisho run opens and gives them"));
	return true;
}
