/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "desk/undo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JOURNAL_LIMIT = 100, JOURNAL_LIMIT_MAX = 1000, JOURNAL_FILES = 512 };

int change_begin(struct desk *d, struct change *c)
{
	return store_journal_next(d->store, &c->number);
}

int journal_note(struct desk *d, struct store_journal *j, const struct change *by)
{
	json_t *name = by->who == UINT32_MAX ? NULL : owner_json(d, by->who);
	j->time_ms = clock_wall_ms();
	j->who = by->who;
	j->who_name = json_string_value(name);
	j->change = by->number;
	int err = store_journal_add(d->store, j);
	json_decref(name);
	return err;
}

const char *journal_end(enum policy_end why)
{
	switch (why) {
	case POLICY_END_TIME:
		return "expired";
	case POLICY_END_USED:
		return "used up";
	case POLICY_END_REMOVED:
		return "removed";
	case POLICY_END_REPLACED:
		return "replaced";
	case POLICY_RUNNING:
	case POLICY_END_EXIT:
	case POLICY_END_LOGOUT:
	case POLICY_END_REBOOT:
		break;
	}
	return "ended";
}

struct known_file {
	char *name;
	char digest[65];
	bool still;
};

static size_t files_known(struct desk *d, struct known_file *files, int *ret_err)
{
	struct store_rows *q;
	const char *name, *digest;
	size_t n = 0;
	*ret_err = store_files(d->store, &q);
	if (*ret_err != 0)
		return 0;
	while (n < JOURNAL_FILES && store_files_next(q, &name, &digest) == 1) {
		files[n] = (struct known_file){ .name = strdup(name) };
		snprintf(files[n].digest, sizeof(files[n].digest), "%s", digest);
		if (files[n].name != NULL)
			n++;
	}
	store_rows_end(q);
	return n;
}

static int file_applied(struct desk *d, unsigned i, const struct change *by)
{
	char why[160];
	snprintf(why, sizeof(why), "%zu rules, sha256 %s", d->new_counts[i], d->new_digests[i]);
	struct store_journal j = { .what = "applied", .line = d->new_names[i], .owner = UINT32_MAX, .why = why };
	int err = store_file_put(d->store, d->new_names[i], d->new_digests[i]);
	return err != 0 ? err : journal_note(d, &j, by);
}

static int file_removed(struct desk *d, const char *name, const struct change *by)
{
	struct store_journal j = { .what = "file-removed", .line = name, .owner = UINT32_MAX };
	int err = store_file_del(d->store, name);
	return err != 0 ? err : journal_note(d, &j, by);
}

int journal_files(struct desk *d)
{
	struct known_file *known = calloc(JOURNAL_FILES, sizeof(*known));
	struct change by = { .who = UINT32_MAX };
	int err = known == NULL ? -ENOMEM : 0;
	size_t n = err == 0 ? files_known(d, known, &err) : 0;
	if (err == 0)
		err = change_begin(d, &by);
	for (unsigned i = 0; i < d->n_new_docs && err == 0; i++) {
		bool same = false;
		for (size_t k = 0; k < n; k++) {
			if (strcmp(known[k].name, d->new_names[i]) != 0)
				continue;
			known[k].still = true;
			same = strcmp(known[k].digest, d->new_digests[i]) == 0;
		}
		if (!same)
			err = file_applied(d, i, &by);
	}
	for (size_t k = 0; k < n; k++) {
		if (err == 0 && !known[k].still)
			err = file_removed(d, known[k].name, &by);
		free(known[k].name);
	}
	free(known);
	return err;
}

static json_t *text_json(const char *s)
{
	return s[0] == '\0' ? json_null() : json_string(s);
}

static json_t *journal_json(struct desk *d, const struct store_journal *j)
{
	char text[POLICY_ID_TEXT];
	json_t *id = j->rule_id[0] == '\0' ? json_null() : json_string(rule_short_id(d, j->rule_id, text));
	json_t *owner = j->owner == UINT32_MAX ? json_null() : owner_json(d, j->owner);
	return json_pack("{s:I, s:i, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "sequence", (json_int_t)j->seq, "change",
		(int)j->change, "time", time_json(j->time_ms), "by", text_json(j->who_name), "what", j->what, "rule",
		text_json(j->line), "rule_id", id, "owner", owner, "why", text_json(j->why), "undoes",
		j->undoes == 0 ? json_null() : json_integer(j->undoes));
}

void journal_api(struct desk *d, struct client *c)
{
	int64_t limit = JOURNAL_LIMIT, before = INT64_MAX;
	bool all = false;
	struct store_rows *q;
	struct store_journal j;
	if (!arg_int(d, c, "limit", 1, JOURNAL_LIMIT_MAX, &limit) || !arg_int(d, c, "before", 1, INT64_MAX, &before) ||
		!arg_all(d, c, &all))
		return;
	json_t *list = json_array();
	int got, err = store_journal_list(d->store, all ? UINT32_MAX : c->uid, before, (uint32_t)limit, &q);
	if (err == 0) {
		while ((got = store_journal_row(q, &j)) == 1)
			json_array_append_new(list, journal_json(d, &j));
		store_rows_end(q);
		err = got;
	}
	if (err == 0) {
		client_reply(d, c, json_pack("{s:o}", "changes", list));
		return;
	}
	json_decref(list);
	client_fail(d, c, "org.sekisho.Failed", "the journal cannot be read: %s", strerror(-err));
}
