/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/file.h"

#include "cli/cli.h"

#include "base/clock.h"
#include "policy/id.h"
#include "policy/print.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIAGS_MAX = 64 };

char *file_text(const char *name, size_t *ret_len)
{
	FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	char *text = f == NULL ? NULL : malloc(POLICY_FILE_MAX + 2);
	if (text == NULL) {
		cli_error("cannot read %s: %s", name, strerror(errno));
		if (f != NULL && f != stdin)
			fclose(f);
		return NULL;
	}
	size_t len = fread(text, 1, POLICY_FILE_MAX + 1, f);
	bool bad = ferror(f) != 0;
	if (f != stdin)
		fclose(f);
	if (bad || len > POLICY_FILE_MAX) {
		cli_error("cannot read %s: %s", name, bad ? strerror(errno) : "it is larger than 16 MiB");
		free(text);
		return NULL;
	}
	text[len] = '\0';
	*ret_len = len;
	char *fit = realloc(text, len + 1);
	if (fit != NULL)
		text = fit;
	return text;
}

static void say_line(const char *text, size_t offset)
{
	const char *start = text + offset;
	while (start > text && start[-1] != '\n')
		start--;
	cli_caret(start, strcspn(start, "\n"), (size_t)(text + offset - start));
}

static void say_diag(const char *name, const char *text, const struct policy_diag *d, const char *severity, bool json)
{
	if (json) {
		json_t *o = json_pack("{s:s, s:i, s:i, s:s, s:s, s:s?, s:s?}", "file", name, "line", (int)d->line,
			"column", (int)d->col, "severity", severity, "message", d->message, "expected",
			d->expected[0] != '\0' ? d->expected : NULL, "near", d->near[0] != '\0' ? d->near : NULL);
		cli_print_json(o);
		json_decref(o);
		return;
	}
	fprintf(stderr, "%s:%u:%u: %s: %s\n", name, d->line, d->col, severity, d->message);
	say_line(text, d->offset);
}

struct policy_doc *doc_parse(const char *name, const char *text, size_t len, bool json)
{
	static struct policy_diag diags[DIAGS_MAX];
	struct policy_doc *doc = NULL;
	size_t n = 0;
	int err = policy_parse_file(text, len, &doc, diags, DIAGS_MAX, &n);
	for (size_t i = 0; i < n && i < DIAGS_MAX; i++)
		say_diag(name, text, &diags[i], "error", json);
	if (err != 0 && n == 0)
		cli_error("cannot read %s: %s", name, strerror(-err));
	return err == 0 ? doc : NULL;
}

void files_say(const struct policy_files *f, const struct policy_finding *k, bool json)
{
	struct policy_diag d;
	size_t at = 0;
	while (at + 1 < f->n_docs && (k->file == NULL || strcmp(f->names[at], k->file) != 0))
		at++;
	policy_finding_diag(k, f->texts[at], strlen(f->texts[at]), &d);
	say_diag(f->names[at], f->texts[at], &d, k->error ? "error" : "warning", json);
}

/* Arrays of all documents behind one another; what the entries own stays the documents'. */
static bool merge(struct policy_files *f, const char *const *names)
{
	size_t n[4] = { 0 };
	for (size_t i = 0; i < f->n_docs; i++) {
		n[0] += f->docs[i]->n_rules;
		n[1] += f->docs[i]->n_groups;
		n[2] += f->docs[i]->n_sets;
		n[3] += f->docs[i]->n_lists;
	}
	f->rules = calloc(n[0] + 1, sizeof(*f->rules));
	f->groups = calloc(n[1] + 1, sizeof(*f->groups));
	f->sets = calloc(n[2] + 1, sizeof(*f->sets));
	f->lists = calloc(n[3] + 1, sizeof(*f->lists));
	if (f->rules == NULL || f->groups == NULL || f->sets == NULL || f->lists == NULL)
		return false;
	struct policy_input in = { .rules = f->rules, .groups = f->groups, .sets = f->sets, .lists = f->lists };
	for (size_t i = 0; i < f->n_docs; i++) {
		const struct policy_doc *d = f->docs[i];
		for (size_t k = 0; k < d->n_rules; k++) {
			struct policy_entry *e = &f->rules[in.n_rules++];
			*e = d->rules[k];
			e->meta.file = names[i];
			e->meta.origin = POLICY_ORIGIN_FILE;
			e->meta.owner = POLICY_OWNER_ANY;
			e->meta.created_ms = clock_wall_ms();
			e->meta.deadline_ms = policy_lives_deadline(&e->rule.lives, NULL, 0, e->meta.created_ms);
			e->meta.times_left = e->rule.lives.times;
			if (policy_id(&e->rule, POLICY_ORIGIN_FILE, POLICY_OWNER_ANY, e->meta.id) != 0)
				return false;
		}
		for (size_t k = 0; k < d->n_groups; k++) {
			f->groups[in.n_groups] = d->groups[k];
			f->groups[in.n_groups++].file = names[i];
		}
		for (size_t k = 0; k < d->n_sets; k++) {
			f->sets[in.n_sets] = d->sets[k];
			f->sets[in.n_sets++].file = names[i];
		}
		for (size_t k = 0; k < d->n_lists; k++) {
			f->lists[in.n_lists] = d->lists[k];
			f->lists[in.n_lists++].file = names[i];
		}
	}
	f->in = in;
	return true;
}

bool files_read(const char *const *names, size_t n, bool json, struct policy_files *ret)
{
	struct policy_files f = { .docs = calloc(n, sizeof(struct policy_doc *)),
		.texts = calloc(n, sizeof(char *)),
		.names = names };
	bool good = f.docs != NULL && f.texts != NULL;
	for (size_t i = 0; good && i < n; i++) {
		size_t len;
		char *text = file_text(names[i], &len);
		struct policy_doc *d = text == NULL ? NULL : doc_parse(names[i], text, len, json);
		if (d == NULL) {
			free(text);
			continue;
		}
		f.texts[f.n_docs] = text;
		f.docs[f.n_docs++] = d;
	}
	good = good && f.n_docs == n && merge(&f, names);
	if (good)
		*ret = f;
	else
		files_free(&f);
	return good;
}

void files_free(struct policy_files *f)
{
	for (size_t i = 0; i < f->n_docs; i++)
		policy_doc_free(f->docs[i]);
	for (size_t i = 0; i < f->n_docs; i++)
		free(f->texts[i]);
	free(f->texts);
	free(f->docs);
	free(f->rules);
	free(f->groups);
	free(f->sets);
	free(f->lists);
	*f = (struct policy_files){ 0 };
}
