/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles of applications: read with the policy files, all of both taken or none. */
#include "base/log.h"
#include "desk/app.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void drop(struct profile **list, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++)
		free(list[i]);
	*n = 0;
}

void profiles_reload(struct desk *d)
{
	drop(d->new_profiles, &d->n_new_profiles);
}

void profile_file(struct desk *d, struct frame *f)
{
	struct ipc_text name;
	struct profile_error e = { 0 };
	char *text = NULL, shown[1200];
	size_t len = 0;
	if (!ipc_text_get(f->body, f->len, &name) || f->n_fds != 1)
		return;
	if (d->n_new_profiles == DESK_PROFILES) {
		if (d->new_errors.len == 0)
			file_error(d, "there are more than %d profiles\n", DESK_PROFILES);
		return;
	}
	text_escape(name.s, strlen(name.s), shown, sizeof(shown));
	int err = file_text_read(f->fds[0], &text, &len);
	if (err == 0)
		err = profile_parse(name.s, text, len, &d->new_profiles[d->n_new_profiles], &e);
	free(text);
	if (err == 0)
		d->n_new_profiles++;
	else if (e.line != 0)
		file_error(d, "apps/%s:%u:%u: error: %s\n", shown, e.line, e.col, e.text);
	else
		file_error(d, "apps/%s: error: cannot be read: %s\n", shown, strerror(-err));
}

const struct profile *profile_of(const struct desk *d, const char *app)
{
	for (unsigned i = 0; i < d->n_profiles; i++) {
		if (strcmp(d->profiles[i]->app, app) == 0)
			return d->profiles[i];
	}
	return NULL;
}

void profile_apply(const struct desk *d, struct app *a)
{
	const struct profile *p = profile_of(d, a->gate.name);
	a->gate.new_names_per_min = p == NULL ? 0 : p->new_names_per_min;
}

/* What runs learns of it, too. */
static void apply_all(struct desk *d)
{
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct app *a = &d->apps[i];
		uint16_t before = a->gate.new_names_per_min;
		if (a->state == APP_FREE)
			continue;
		profile_apply(d, a);
		if (before != a->gate.new_names_per_min && a->state == APP_RUNNING && d->gate_synced)
			(void)role_send_msg(d->role, ROLE_GATE, IPC_APP_ADD, 0, app, &a->gate, NULL, 0);
	}
}

void profiles_install(struct desk *d)
{
	drop(d->profiles, &d->n_profiles);
	memcpy(d->profiles, d->new_profiles, sizeof(d->profiles));
	d->n_profiles = d->n_new_profiles;
	d->n_new_profiles = 0;
	apply_all(d);
}
