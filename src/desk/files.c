/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's files: read from descriptors that main opened, all of them taken or none. Many lines are read, and made
 * rules of, some at a time between two events (files_tick()); the newer files take the place of what is being read.
 */
#include "base/clock.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/lists.h"
#include "desk/rule.h"
#include "desk/undo.h"
#include "policy/check.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rule_list {
	struct rule **v;
	size_t n, cap;
};

/* Each part takes a millisecond or two. */
enum { LINES_AT_ONCE = 400, RULES_AT_ONCE = 400, ENTRIES_AT_ONCE = 2000, FREED_AT_ONCE = 2000, DIAGS = 8 };

/* Between their end and their policy. */
static struct reading {
	enum { READ_NOTHING, READ_TEXTS, READ_RULES, READ_ENTRIES, READ_COMPILED } stage;
	bool waiting; /* for another base's process to end */
	uint32_t id;  /* of main's request */
	bool here;    /* compiled here and now */
	unsigned file;
	size_t at; /* the next of its rules, or of `l` */
	struct policy_reading *text;
	struct policy_diag diags[DIAGS];
	struct rule_list l; /* the files' rules; before them answers, in the end */
	size_t answers;
	struct base *base; /* until it is compiled */
} reading;

/* Freed some at a time. */
static struct rule_list trash;

static int list_add(struct rule_list *l, struct rule *r)
{
	if (l->n == l->cap) {
		size_t cap = l->cap == 0 ? 64 : l->cap * 2;
		struct rule **p = realloc(l->v, cap * sizeof(*p));
		if (p == NULL)
			return -ENOMEM;
		l->v = p;
		l->cap = cap;
	}
	l->v[l->n++] = r;
	return 0;
}

static void throw_away(struct rule *r)
{
	if (list_add(&trash, r) != 0)
		rule_free(r);
}

static void list_drop(struct rule_list *l, size_t from)
{
	for (size_t i = from; i < l->n; i++)
		throw_away(l->v[i]);
	free(l->v);
}

static void texts_free(struct desk *d)
{
	for (unsigned i = 0; i < sizeof(d->new_texts) / sizeof(d->new_texts[0]); i++) {
		free(d->new_texts[i]);
		d->new_texts[i] = NULL;
	}
}

static void docs_free(struct policy_doc **docs, char **names, unsigned *n)
{
	for (unsigned i = 0; i < *n; i++) {
		policy_doc_free(docs[i]);
		free(names[i]);
	}
	*n = 0;
}

/* Of what is read, and of what has been read and is not compiled yet: the newer takes its place. */
void rules_reload(struct desk *d)
{
	if (reading.stage == READ_COMPILED)
		compile_forget(d);
	policy_reading_free(reading.text);
	base_free(reading.base);
	list_drop(&reading.l, reading.answers);
	reading = (struct reading){ 0 };
	docs_free(d->new_docs, d->new_names, &d->n_new_docs);
	texts_free(d);
	profiles_reload(d);
	ipc_text_set(&d->new_errors, "");
}

void file_error(struct desk *d, const char *fmt, ...)
{
	va_list ap;
	size_t len = d->new_errors.len;
	va_start(ap, fmt);
	int n = vsnprintf(d->new_errors.s + len, sizeof(d->new_errors.s) - len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(d->new_errors.s) - len)
		d->new_errors.len = (uint16_t)(len + (size_t)n);
	else
		d->new_errors.s[len] = '\0';
}

int file_text_read(int fd, char **ret, size_t *ret_len)
{
	char *buf = malloc(POLICY_FILE_MAX + 2);
	size_t len = 0;
	if (buf == NULL)
		return -ENOMEM;
	for (;;) {
		ssize_t n = read(fd, buf + len, POLICY_FILE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int err = -errno;
			free(buf);
			return err;
		}
		if (n == 0 || len > POLICY_FILE_MAX)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	char *fit = realloc(buf, len + 1);
	*ret = fit == NULL ? buf : fit;
	*ret_len = len;
	return 0;
}

/* A file has no owner who could log out. */
static bool logout_refused(struct desk *d, const struct policy_doc *doc, const char *name, const char *text, size_t len)
{
	struct policy_diag at;
	bool found = false;
	for (size_t i = 0; i < doc->n_rules; i++) {
		if (doc->rules[i].rule.lives.until != POLICY_UNTIL_LOGOUT)
			continue;
		policy_place(text, len, doc->rules[i].meta.line, "until", &at);
		file_error(d, "%s:%u:%u: error: \"until logout\" is for a person's own answers, not for files\n", name,
			at.line, at.col);
		found = true;
	}
	return found;
}

/* So that what is wrong between files can name them; `name` lives as long as the document. */
static void doc_name(struct policy_doc *doc, const char *name)
{
	for (size_t i = 0; i < doc->n_groups; i++)
		doc->groups[i].file = name;
	for (size_t i = 0; i < doc->n_sets; i++)
		doc->sets[i].file = name;
	for (size_t i = 0; i < doc->n_lists; i++)
		doc->lists[i].file = name;
}

static void say_finding(struct desk *d, const struct policy_input *in, const struct policy_finding *f)
{
	struct policy_diag at = { .line = f->line, .col = 1 };
	char line[POLICY_PRINT_MAX] = "";
	for (unsigned k = 0; f->file != NULL && k < d->n_new_docs; k++) {
		if (d->new_texts[k] != NULL && strcmp(d->new_names[k], f->file) == 0)
			policy_finding_diag(f, d->new_texts[k], strlen(d->new_texts[k]), &at);
	}
	if (f->file != NULL)
		file_error(d, "%s:%u:%u: error: %s\n", f->file, at.line, at.col, f->message);
	else if (f->rule < in->n_rules && policy_print_rule(&in->rules[f->rule].rule, line, sizeof(line)) > 0)
		file_error(d, "the answer \"%.200s\": %s\n", line, f->message);
	else
		file_error(d, "%s\n", f->message);
}

bool files_refused(struct desk *d, const struct policy_input *in)
{
	enum { SAID_MAX = 16 };
	static struct policy_finding found[SAID_MAX];
	long n = policy_check_refs(in, found, SAID_MAX);
	for (long i = 0; i < n && i < SAID_MAX; i++)
		say_finding(d, in, &found[i]);
	return n > 0;
}

static void digest_of(const char *text, size_t len, char ret[65])
{
	uint8_t sum[SHA256_DIGEST_LENGTH];
	SHA256((const unsigned char *)text, len, sum);
	for (unsigned i = 0; i < sizeof(sum); i++)
		snprintf(ret + 2 * (size_t)i, 3, "%02x", sum[i]);
}

void rules_file(struct desk *d, struct frame *f)
{
	struct ipc_text name;
	size_t len = 0;
	char *text = NULL;
	char shown[1200];
	unsigned i = d->n_new_docs;
	if (!ipc_text_get(f->body, f->len, &name) || f->n_fds != 1)
		return;
	/* A file that is left out would be a rule that is lost. */
	if (i == sizeof(d->new_docs) / sizeof(d->new_docs[0])) {
		if (d->new_errors.len == 0)
			file_error(d, "there are more than %zu policy files\n",
				sizeof(d->new_docs) / sizeof(d->new_docs[0]));
		return;
	}
	/* Names of files are bytes; from here on this one is text. */
	text_escape(name.s, strlen(name.s), shown, sizeof(shown));
	int err = file_text_read(f->fds[0], &text, &len);
	char *copy = strdup(shown);
	if (err != 0 || copy == NULL) {
		file_error(d, "%s: error: cannot be read: %s\n", shown, strerror(err == 0 ? ENOMEM : -err));
		free(copy);
		free(text);
		return;
	}
	digest_of(text, len, d->new_digests[i]);
	d->new_docs[i] = NULL;
	d->new_names[i] = copy;
	d->new_texts[i] = text;
	d->new_lens[i] = len;
	d->n_new_docs++;
}

/* What became of a file: a document, or errors. */
static void text_done(struct desk *d, unsigned i, int err, struct policy_doc *doc, size_t n_diags)
{
	const char *name = d->new_names[i];
	if (err == 0) {
		d->new_docs[i] = doc;
		d->new_counts[i] = doc->n_rules;
		doc_name(doc, name);
		/* Both say why, so that the report is of all that is wrong. */
		(void)!(logout_refused(d, doc, name, d->new_texts[i], d->new_lens[i]) || lists_refused(d, doc, name));
		return;
	}
	for (size_t k = 0; k < n_diags && k < DIAGS; k++)
		file_error(d, "%s:%u:%u: error: %s\n", name, reading.diags[k].line, reading.diags[k].col,
			reading.diags[k].message);
	if (n_diags == 0)
		file_error(d, "%s: error: cannot be read: %s\n", name, strerror(-err));
}

/* Up to `n` lines of one file are read. 0, -EAGAIN, -EINVAL: all are read, and some are wrong. */
static int texts_some(struct desk *d, size_t n)
{
	struct reading *r = &reading;
	unsigned i = r->file;
	if (i == d->n_new_docs)
		return d->new_errors.len > 0 ? -EINVAL : 0;
	if (d->new_docs[i] != NULL) {
		r->file++;
		return -EAGAIN;
	}
	struct policy_doc *doc = NULL;
	size_t n_diags = 0;
	if (r->text == NULL)
		r->text = policy_reading_new(d->new_texts[i], d->new_lens[i], r->diags, DIAGS);
	int err = r->text == NULL ? -ENOMEM : policy_reading_step(r->text, n, &doc, &n_diags);
	if (err == -EAGAIN)
		return err;
	text_done(d, i, err, doc, n_diags);
	policy_reading_free(r->text);
	r->text = NULL;
	r->file++;
	return -EAGAIN;
}

/* The admin's rule as it has been known, by id and line; NULL when it is new. */
static struct rule *known_admin_rule(const struct desk *d, const struct rule *r)
{
	struct rule *k = index_find(d, r->e.meta.id, NULL);
	while (k != NULL && (k->e.meta.origin != POLICY_ORIGIN_ADMIN || strcmp(k->line, r->line) != 0))
		k = index_find(d, r->e.meta.id, k);
	return k;
}

static bool has_life(const struct policy_rule *r)
{
	return policy_rule_limited(r);
}

/* Takes the entry's rule over. */
static int file_rule(struct desk *d, struct policy_entry *e, const char *file, struct rule **ret)
{
	struct policy_rule own = e->rule;
	struct rule *r;
	e->rule = (struct policy_rule){ 0 };
	int err = rule_new(&own, POLICY_ORIGIN_ADMIN, POLICY_OWNER_ANY, &r);
	if (err != 0)
		return err;
	r->file = strdup(file);
	r->e.meta.file = r->file;
	r->e.meta.line = e->meta.line;
	struct rule *k = known_admin_rule(d, r);
	if (k == NULL) {
		rule_begin(d, r, clock_wall_ms());
	} else {
		k->stays = true;
		/* A life begins when the rule is first seen; neither reading again nor a restart renews it. */
		r->seq = k->seq;
		r->run = k->run;
		r->boot_ms = k->boot_ms;
		r->ends = k->ends;
		r->older_boot = k->older_boot;
		r->ended_ms = k->ended_ms;
		r->e.meta.created_ms = k->e.meta.created_ms;
		r->e.meta.deadline_ms = k->e.meta.deadline_ms;
		r->e.meta.times_left = k->e.meta.times_left;
		r->e.meta.ended = k->e.meta.ended;
	}
	*ret = r;
	return 0;
}

/* The document keeps its definitions. */
static void doc_spent(struct policy_doc *doc)
{
	free(doc->rules);
	doc->rules = NULL;
	doc->n_rules = 0;
}

/* Up to `n` lines become rules. 0, -EAGAIN. */
static int rules_some(struct desk *d, size_t n)
{
	struct reading *r = &reading;
	for (size_t i = 0; r->file == 0 && r->at == 0 && i < d->n_rules; i++)
		d->rules[i]->stays = false;
	for (; r->file < d->n_new_docs; r->file++, r->at = 0) {
		struct policy_doc *doc = d->new_docs[r->file];
		for (; r->at < doc->n_rules; r->at++, n--) {
			struct rule *rule;
			if (n == 0)
				return -EAGAIN;
			int err = file_rule(d, &doc->rules[r->at], d->new_names[r->file], &rule);
			if (err == 0 && (err = list_add(&r->l, rule)) != 0)
				rule_free(rule);
			if (err != 0)
				return err;
		}
		doc_spent(doc);
	}
	return 0;
}

/* Lives of the files' rules become rows; rows whose line has gone are forgotten. */
static int store_file_rules(struct desk *d, const struct rule_list *l, size_t answers)
{
	int err = store_commit(d->store);
	for (size_t i = 0; i < d->n_rules && err == 0; i++) {
		struct rule *r = d->rules[i];
		if (r->e.meta.origin == POLICY_ORIGIN_ADMIN && r->seq != 0 && !r->stays)
			err = store_rule_forget(d->store, r->seq);
	}
	for (size_t i = answers; i < l->n && err == 0; i++) {
		if (l->v[i]->seq == 0 && has_life(&l->v[i]->e.rule))
			err = rule_store(d, l->v[i]);
	}
	if (err == 0 && d->damaged[0] == '\0')
		err = journal_files(d);
	return commit_or_undo(d, err);
}

/* The new files take the place of the old. */
static void install_files(struct desk *d, struct rule_list *l, size_t answers, struct build *b)
{
	index_ids_forget(d);
	policy_drop(d);
	for (size_t i = 0; i < d->n_rules; i++) {
		if (d->rules[i]->e.meta.origin != POLICY_ORIGIN_ADMIN)
			continue;
		index_drop(d, d->rules[i]);
		throw_away(d->rules[i]);
	}
	free(d->rules);
	d->rules = l->v;
	d->n_rules = l->n;
	d->cap_rules = l->cap;
	/* There is room for all of them. */
	for (size_t i = answers; i < l->n; i++)
		(void)!index_add(d, l->v[i]);
	watch_rules_moved(d);
	docs_free(d->docs, d->doc_names, &d->n_docs);
	memcpy(d->docs, d->new_docs, sizeof(d->docs));
	memcpy(d->doc_names, d->new_names, sizeof(d->doc_names));
	d->n_docs = d->n_new_docs;
	d->n_new_docs = 0;
	texts_free(d);
	profiles_install(d);
	lists_install(d);
	d->loaded = true;
	build_install(d, b);
	if (!d->gate_synced)
		gate_sync(d);
	questions_loaded(d);
}

/* Instead of the admin's files: they alone may deny less than what was lost. */
static void hold_all(struct desk *d)
{
	static const char text[] = "final deny any\nfinal deny any from any\n";
	struct policy_diag diag;
	size_t n = 0;
	char *name = strdup("damaged store");
	rules_reload(d);
	if (name == NULL || policy_parse_file(text, strlen(text), &d->new_docs[0], &diag, 1, &n) != 0) {
		free(name);
		file_error(d, "no memory for the policy of a damaged store\n");
		return;
	}
	d->new_counts[0] = d->new_docs[0]->n_rules;
	d->new_names[d->n_new_docs++] = name;
}

static void reading_end(struct desk *d, int err, const char *error)
{
	if (error[0] != '\0')
		file_error(d, "%s\n", error);
	else if (d->new_errors.len == 0)
		file_error(d, "the policy files cannot be used: %s\n", strerror(-err));
	(void)role_result(d->role, ROLE_MAIN, reading.id, err, 0, d->new_errors.s);
	reload_ended(d, err, d->new_errors.s);
	rules_reload(d);
}

/* What happened to a line's rule while the policy was compiled: counted, used up, over. */
static void catch_up(struct desk *d, struct base *b, struct rule *r)
{
	const struct rule *k = has_life(&r->e.rule) ? known_admin_rule(d, r) : NULL;
	if (k == NULL || (k->e.meta.times_left == r->e.meta.times_left && k->e.meta.ended == r->e.meta.ended))
		return;
	r->ended_ms = k->ended_ms;
	r->end_unsaved = k->end_unsaved;
	r->e.meta.times_left = k->e.meta.times_left;
	r->e.meta.ended = k->e.meta.ended;
	base_touch(b, r);
}

/* The answers as they are by now, then the files' rules. */
static int reading_now(struct desk *d)
{
	struct rule_list now = { 0 };
	int err = 0;
	for (size_t i = 0; i < d->n_rules && err == 0; i++) {
		if (d->rules[i]->e.meta.origin != POLICY_ORIGIN_ADMIN)
			err = list_add(&now, d->rules[i]);
	}
	size_t answers = now.n;
	for (size_t i = reading.answers; i < reading.l.n && err == 0; i++)
		err = list_add(&now, reading.l.v[i]);
	if (err != 0) {
		free(now.v);
		return err;
	}
	free(reading.l.v);
	reading.l = now;
	reading.answers = answers;
	return 0;
}

/* What the files' rules are beside those before. */
static void report_write(struct desk *d, const struct reading *r)
{
	size_t now = r->l.n - r->answers, before = 0, stay = 0;
	for (size_t i = 0; i < d->n_rules; i++) {
		before += d->rules[i]->e.meta.origin == POLICY_ORIGIN_ADMIN;
		stay += d->rules[i]->e.meta.origin == POLICY_ORIGIN_ADMIN && d->rules[i]->stays;
	}
	/* A desk that is new does not know what there was. */
	if (d->loaded)
		snprintf(d->report_text, sizeof(d->report_text), "%zu rules (%zu added, %zu removed)", now, now - stay,
			before - stay);
	else
		snprintf(d->report_text, sizeof(d->report_text), "%zu rules", now);
}

/* Durable, then installed, then told: once it is in force. */
static void reading_done(struct desk *d, struct build *b)
{
	char error[512] = "";
	int err = reading_now(d);
	if (err == 0)
		err = index_room(d, reading.l.n);
	if (err == 0)
		err = store_file_rules(d, &reading.l, reading.answers);
	if (err != 0) {
		build_free(b);
		reading_end(d, err, error);
		return;
	}
	struct reading r = reading;
	reading = (struct reading){ 0 };
	report_write(d, &r);
	install_files(d, &r.l, r.answers, b);
	d->report = r.id;
	d->report_generation = d->generation;
	rules_report(d);
}

void rules_report(struct desk *d)
{
	if (d->report == 0 || (d->in_force < d->report_generation && d->role->chan[ROLE_GATE] != NULL))
		return;
	(void)role_result(d->role, ROLE_MAIN, d->report, 0, (uint32_t)d->n_rules, d->report_text);
	reload_ended(d, 0, d->report_text);
	d->report = 0;
}

void files_compiled(struct desk *d, struct base *b, int err, const char *error)
{
	struct reading *r = &reading;
	struct build w = { 0 };
	bool files = r->stage == READ_COMPILED;
	r->waiting = false;
	if (b != NULL && files && err == 0) {
		base_leave_files(b);
		for (size_t i = 0; i < r->l.n; i++)
			catch_up(d, b, r->l.v[i]);
	}
	if (b != NULL && files && err == -EINVAL && files_refused(d, &b->in))
		error = "";
	if (b != NULL && err == 0)
		err = build_rebase(d, b, &w);
	else
		base_free(b);
	/* Another base was made at once meanwhile: what was read is compiled again. */
	if (b == NULL && files)
		r->stage = READ_ENTRIES;
	else if (b != NULL && files && err != 0)
		reading_end(d, err, error);
	else if (b != NULL && files)
		reading_done(d, &w);
	else if (b != NULL && err == 0)
		build_install(d, &w);
	else if (b != NULL)
		log_msg(LOG_ERROR, "the policy goes on as it is, in parts: %s",
			error[0] != '\0' ? error : strerror(-err));
}

/* Few rules, or the first that there are: here and now. */
static void build_now(struct desk *d)
{
	char error[512] = "";
	struct build b = { 0 };
	int err = reading_now(d);
	if (err == 0)
		err = build_policy(d, reading.l.v, reading.l.n, d->new_docs, d->n_new_docs, &b, error);
	if (err != 0)
		reading_end(d, err, error);
	else
		reading_done(d, &b);
}

/* The files' rules become entries of a base, some at a time; with the answers, all at once, it is whole and goes to the
 * process that compiles it. 0, -EAGAIN. */
static int entries_some(struct desk *d, size_t n)
{
	struct reading *r = &reading;
	/* A new one has taken its place in the rules' notes. */
	if (r->base != NULL && r->base->slot == d->base->slot) {
		base_free(r->base);
		r->base = NULL;
	}
	if (r->base == NULL) {
		r->at = 0;
		int err = base_new(d, r->l.n, d->new_docs, d->n_new_docs, &r->base);
		if (err != 0)
			return err;
	}
	n = n < r->l.n - r->at ? n : r->l.n - r->at;
	base_take(d, r->base, r->l.v + r->at, n);
	r->at += n;
	r->waiting = r->at == r->l.n && compile_busy();
	if (r->at < r->l.n || r->waiting)
		return -EAGAIN;
	int err = base_take_answers(d, r->base);
	struct base *b = r->base;
	if (err != 0)
		return err;
	r->base = NULL;
	base_ready(d, b);
	return compile_begin(d, b);
}

static bool small(const struct desk *d)
{
	size_t n = d->n_rules;
	for (unsigned i = 0; i < d->n_new_docs; i++)
		n += d->new_counts[i];
	return !d->loaded || d->base == NULL || n <= BASE_SMALL;
}

static int read_some(struct desk *d)
{
	struct reading *r = &reading;
	switch (r->stage) {
	case READ_TEXTS:
		return texts_some(d, d->loaded ? LINES_AT_ONCE : SIZE_MAX);
	case READ_RULES:
		return rules_some(d, r->here ? SIZE_MAX : RULES_AT_ONCE);
	case READ_ENTRIES:
		return entries_some(d, ENTRIES_AT_ONCE);
	case READ_NOTHING:
	case READ_COMPILED:
		break;
	}
	return -EAGAIN;
}

static void reading_step(struct desk *d)
{
	struct reading *r = &reading;
	int err = read_some(d);
	if (err == -EAGAIN)
		return;
	r->file = 0;
	r->at = 0;
	if (err != 0)
		reading_end(d, err, "");
	else if (r->stage == READ_RULES && r->here)
		build_now(d);
	else
		r->stage++;
	r->here = r->stage == READ_RULES && small(d);
}

static bool reading_goes_on(void)
{
	return reading.stage != READ_NOTHING && reading.stage != READ_COMPILED && !reading.waiting;
}

void files_tick(struct desk *d)
{
	if (reading_goes_on())
		reading_step(d);
	for (unsigned i = 0; i < FREED_AT_ONCE && trash.n > 0; i++)
		rule_free(trash.v[--trash.n]);
	if (trash.n == 0) {
		free(trash.v);
		trash = (struct rule_list){ 0 };
	}
	d->again = d->again || reading_goes_on() || trash.n > 0;
}

void rules_files_end(struct desk *d, uint32_t id)
{
	if (d->damaged[0] != '\0')
		hold_all(d);
	reading.id = id;
	reload_begins(id);
	reading.stage = READ_TEXTS;
	/* Without a policy there is nobody whom it could keep waiting. */
	while (!d->loaded && reading_goes_on())
		reading_step(d);
	d->again = true;
}
