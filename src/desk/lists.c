/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin's lists. A definition names a source; `fetch` makes a digest of what is there; the last good one is kept in
 * the store's directory, is given to the gate beside the policy, and stays whatever the next attempt brings. One is
 * fetched at a time. Until a list has members for the first time, what refuses it refuses everything (policy.h).
 */
#include "desk/lists.h"

#include "base/clock.h"
#include "base/log.h"
#include "desk/copies.h"
#include "desk/rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum {
	EVERY_MS = 86400000, /* what is said without `every` of an URL */
	RETRY_MS = 60000,    /* after a failure, doubled by each, RETRY_MAX_MS at most */
	RETRY_MAX_MS = 3600000,
	FETCH_MS = 240000, /* fetch answers sooner: longer than this it is lost */
	SAID_MAX = 600
};

struct list {
	struct policy_list def; /* its file is of the policy's text */
	bool defined;
	int fd; /* -1: no members yet */
	const void *map;
	struct list_digest digest;
	size_t len;
	struct list_copy copy;
	int64_t due_ms; /* boot; -1: not of itself */
	bool asked;	/* by somebody who waits */
	unsigned failures;
	char said[SAID_MAX]; /* why it failed last, or the first line that was left out */
};

struct lists {
	struct list v[POLICY_LISTS_MAX];
	struct list *busy; /* being fetched, or its file being opened */
	uint32_t request;  /* of `busy` */
	int64_t until_ms;
	bool opening;
};

static bool is_url(const char *source)
{
	return source[0] != '/';
}

int lists_new(struct desk *d)
{
	d->lists = calloc(1, sizeof(*d->lists));
	for (unsigned i = 0; d->lists != NULL && i < POLICY_LISTS_MAX; i++)
		d->lists->v[i].fd = -1;
	return d->lists == NULL ? -ENOMEM : 0;
}

/* --- definitions --- */

bool lists_refused(struct desk *d, const struct policy_doc *doc, const char *name)
{
	static const char https[] = "https://";
	bool refused = false;
	for (size_t i = 0; i < doc->n_lists; i++) {
		const struct policy_list *l = &doc->lists[i];
		const char *what = NULL;
		if (l->source[0] != '/' && strncmp(l->source, https, sizeof(https) - 1) != 0)
			what = "comes from \"https://…\" or from a file named from /";
		else if (l->every_s != 0 && l->every_s < 60)
			what = "is looked at once a minute at most";
		if (what != NULL)
			file_error(d, "%s:%u:1: error: list %s: a list %s\n", name, l->line, l->id, what);
		refused = refused || what != NULL;
	}
	return refused;
}

static void unload(struct list *l)
{
	if (l->fd >= 0) {
		munmap((void *)(uintptr_t)l->map, l->len);
		close(l->fd);
	}
	*l = (struct list){ .fd = -1, .due_ms = -1 };
}

static struct list *find(struct lists *s, const char *id)
{
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		if (s->v[i].def.id[0] != '\0' && strcmp(s->v[i].def.id, id) == 0)
			return &s->v[i];
	}
	return NULL;
}

static bool is_defined(void *lists, const char *id)
{
	return find(lists, id) != NULL;
}

static void send(struct desk *d, const struct list *l)
{
	struct ipc_list m = { .len = (uint32_t)l->len };
	if (l->fd < 0)
		return;
	snprintf(m.id, sizeof(m.id), "%s", l->def.id);
	(void)role_send_msg(d->role, ROLE_GATE, IPC_LIST, 0, list, &m, &l->fd, 1);
}

void lists_send(struct desk *d)
{
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++)
		send(d, &d->lists->v[i]);
}

void lists_attach(const struct desk *d, struct policy *p)
{
	for (size_t i = 0; i < policy_n_lists(p); i++) {
		const struct list *l = find(d->lists, policy_list_id(p, i));
		if (l != NULL && l->fd >= 0)
			policy_attach(p, i, &l->digest);
	}
}

static int64_t jitter(int64_t ms)
{
	uint32_t r = 0;
	(void)!getrandom(&r, sizeof(r), 0);
	return ms - ms / 20 + (int64_t)(r % 1000) * (ms / 10) / 1000;
}

/* When the next look is due, counted from the last good one, which may be long ago. */
static void schedule(struct list *l, int64_t since_wall_ms)
{
	int64_t every = l->def.every_s != 0 ? l->def.every_s * 1000 : is_url(l->def.source) ? EVERY_MS : -1;
	int64_t age = clock_wall_ms() - since_wall_ms;
	l->due_ms = every < 0 ? -1 : clock_boot_ms() + (age < 0 || age >= every ? 0 : jitter(every - age));
}

static void take_copy(struct desk *d, struct list *l)
{
	int fd = copy_read(l->def.id, l->def.source, &l->copy, &l->len);
	if (fd >= 0 && digest_map(fd, l->len, &l->digest, &l->map) != 0) {
		close(fd);
		fd = -EBADMSG;
	}
	if (fd == -EBADMSG)
		log_msg(LOG_WARNING, "the copy of list %s is damaged: it is fetched anew", l->def.id);
	l->fd = fd < 0 ? -1 : fd;
	l->due_ms = clock_boot_ms();
	if (fd >= 0) {
		schedule(l, l->copy.fetched_ms);
		send(d, l);
	} else {
		log_msg(LOG_NOTICE, "list %s has no members yet: until it has, what refuses it refuses everything",
			l->def.id);
	}
}

static void define(struct desk *d, const struct policy_list *def)
{
	struct list *l = find(d->lists, def->id), *unused = NULL;
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		if (d->lists->v[i].def.id[0] == '\0')
			unused = &d->lists->v[i];
	}
	bool same = l != NULL && strcmp(l->def.source, def->source) == 0;
	if (l == NULL && (l = unused) == NULL)
		return;
	if (!same) {
		if (d->lists->busy == l)
			d->lists->busy = NULL;
		unload(l);
	}
	l->def = *def;
	l->defined = true;
	/* The file may be another one by now. */
	if (!same)
		take_copy(d, l);
	else if (!is_url(def->source))
		l->due_ms = clock_boot_ms();
}

void lists_install(struct desk *d)
{
	struct lists *s = d->lists;
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++)
		s->v[i].defined = false;
	for (unsigned f = 0; f < d->n_docs; f++) {
		for (size_t i = 0; i < d->docs[f]->n_lists; i++)
			define(d, &d->docs[f]->lists[i]);
	}
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		if (s->v[i].defined || s->v[i].def.id[0] == '\0')
			continue;
		if (s->busy == &s->v[i])
			s->busy = NULL;
		unload(&s->v[i]);
	}
	copies_tidy(is_defined, s);
	/* Who waited for a list that is gone waits for nothing. */
	lists_answer(d);
}

/* --- fetching --- */

static void say(struct desk *d, const struct list *l, bool bad, const char *text)
{
	char line[2 * SAID_MAX];
	snprintf(line, sizeof(line), "list %s: %s", l->def.id, text);
	log_msg(bad ? LOG_WARNING : LOG_INFO, "%s", line);
	log_text(d, "list", line);
}

static void settle(struct desk *d, struct list *l)
{
	l->asked = false;
	d->lists->busy = NULL;
	lists_answer(d);
}

static void failed(struct desk *d, struct list *l, const char *why)
{
	int64_t retry = (int64_t)RETRY_MS << (l->failures < 6 ? l->failures : 6);
	l->failures++;
	l->due_ms = clock_boot_ms() + jitter(retry < RETRY_MAX_MS ? retry : RETRY_MAX_MS);
	snprintf(l->said, sizeof(l->said), "%s", why);
	char text[SAID_MAX + 64];
	snprintf(text, sizeof(text), "%.500s (%s)", why,
		l->fd >= 0 ? "its members stay as they were" : "it has no members: what refuses it refuses everything");
	say(d, l, true, text);
	settle(d, l);
}

static void fetch(struct desk *d, struct list *l, int fd)
{
	struct ipc_fetch m = { .tags = l->copy.tags };
	if (getrandom(m.key, sizeof(m.key), 0) != (ssize_t)sizeof(m.key)) {
		failed(d, l, "there are no random numbers");
		return;
	}
	snprintf(m.source, sizeof(m.source), "%s", l->def.source);
	if (l->fd < 0)
		m.tags = (struct ipc_list_tags){ 0 };
	if (!role_send_msg(d->role, ROLE_FETCH, IPC_FETCH, d->lists->request, fetch, &m, &fd, fd >= 0 ? 1 : 0))
		failed(d, l, "the role that fetches lists is away");
}

static void begin(struct desk *d, struct list *l)
{
	struct lists *s = d->lists;
	static uint32_t request;
	s->busy = l;
	/* Requests to main share their ids with those of applications, which end in a place. */
	s->request = LISTS_REQUEST | (++request & 0xffffff);
	s->until_ms = clock_boot_ms() + FETCH_MS;
	s->opening = !is_url(l->def.source);
	if (!s->opening) {
		fetch(d, l, -1);
		return;
	}
	struct ipc_text path;
	ipc_text_set(&path, l->def.source);
	if (!role_send_msg(d->role, ROLE_MAIN, IPC_LIST_OPEN, s->request, text, &path, NULL, 0))
		failed(d, l, "the daemon is ending");
}

bool lists_opened(struct desk *d, const struct frame *f, const struct ipc_result *r)
{
	struct lists *s = d->lists;
	if ((f->id & LISTS_REQUEST_MASK) != LISTS_REQUEST)
		return false;
	if (s->busy == NULL || !s->opening || f->id != s->request)
		return true;
	s->opening = false;
	if (r->err != 0 || f->n_fds != 1)
		failed(d, s->busy, r->text.s);
	else
		fetch(d, s->busy, f->fds[0]);
	return true;
}

static void take_members(struct desk *d, struct list *l, int fd, const struct ipc_fetched *m)
{
	struct list_digest digest;
	const void *map;
	char text[160];
	if (digest_map(fd, m->len, &digest, &map) != 0) {
		failed(d, l, "what came is no digest");
		return;
	}
	const void *old = l->map;
	size_t old_len = l->len;
	int old_fd = l->fd;
	l->fd = dup(fd);
	if (l->fd < 0) {
		l->fd = old_fd;
		munmap((void *)(uintptr_t)map, m->len);
		failed(d, l, strerror(errno));
		return;
	}
	l->map = map;
	l->len = m->len;
	l->digest = digest;
	if (d->policy != NULL)
		lists_attach(d, d->policy);
	send(d, l);
	if (old_fd >= 0) {
		munmap((void *)(uintptr_t)old, old_len);
		close(old_fd);
	}
	l->copy = (struct list_copy){ .tags = m->tags,
		.fetched_ms = clock_wall_ms(),
		.n_names = m->n_names,
		.n_nets = m->n_nets,
		.n_left_out = m->n_bad + m->n_browser + m->n_exceptions };
	snprintf(l->copy.source, sizeof(l->copy.source), "%s", l->def.source);
	snprintf(l->said, sizeof(l->said), "%.500s", m->text.s);
	int err = copy_write(l->def.id, &l->copy, l->map, l->len);
	if (err != 0)
		log_msg(LOG_WARNING, "list %s cannot be kept over a restart: %s", l->def.id, strerror(-err));
	snprintf(text, sizeof(text), "%u names and %u networks are in force; %u lines left out", m->n_names, m->n_nets,
		l->copy.n_left_out);
	say(d, l, false, text);
}

static void same_members(struct list *l)
{
	l->copy.fetched_ms = clock_wall_ms();
	l->said[0] = '\0';
	int err = copy_fetched(l->def.id, l->copy.fetched_ms);
	if (err != 0)
		log_msg(LOG_WARNING, "list %s: when it was looked at cannot be kept over a restart: %s", l->def.id,
			strerror(-err));
}

void lists_fetched(struct desk *d, const struct frame *f)
{
	static struct ipc_fetched m;
	struct lists *s = d->lists;
	struct list *l = s->busy;
	if (!ipc_fetched_get(f->body, f->len, &m) || l == NULL || s->opening || f->id != s->request)
		return;
	if (m.err != 0) {
		failed(d, l, m.text.s);
		return;
	}
	if (m.unchanged && l->fd < 0) {
		failed(d, l, "the server says that nothing has changed, yet nothing is here");
		return;
	}
	unsigned before = l->failures;
	if (m.unchanged)
		same_members(l);
	else
		take_members(d, l, f->n_fds == 1 ? f->fds[0] : -1, &m);
	if (l->failures > before)
		return;
	l->failures = 0;
	schedule(l, clock_wall_ms());
	settle(d, l);
}

void lists_fetch_back(struct desk *d)
{
	if (d->lists->busy != NULL)
		failed(d, d->lists->busy, "the role that fetches lists has died");
}

int64_t lists_next_ms(const struct desk *d)
{
	const struct lists *s = d->lists;
	int64_t next = -1;
	if (s->busy != NULL)
		return s->until_ms;
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		const struct list *l = &s->v[i];
		if (l->def.id[0] != '\0' && l->due_ms >= 0 && (next < 0 || l->due_ms < next))
			next = l->due_ms;
	}
	return next;
}

void lists_tick(struct desk *d)
{
	struct lists *s = d->lists;
	int64_t now = clock_boot_ms();
	if (s->busy != NULL && now >= s->until_ms)
		failed(d, s->busy, "no answer came in time");
	for (unsigned i = 0; s->busy == NULL && i < POLICY_LISTS_MAX; i++) {
		struct list *l = &s->v[i];
		if (l->def.id[0] != '\0' && l->due_ms >= 0 && now >= l->due_ms)
			begin(d, l);
	}
}

/* --- what people are told --- */

bool lists_health(const struct desk *d, unsigned i, char name[LIST_HEALTH_MAX], char text[LIST_HEALTH_MAX])
{
	const struct list *l = &d->lists->v[i];
	snprintf(name, LIST_HEALTH_MAX, "list %s", l->def.id);
	bool loaded = l->fd >= 0;
	if (l->failures > 0)
		snprintf(text, LIST_HEALTH_MAX, "%s: %.400s",
			loaded ? "its members are those of the last good fetch"
			       : "it has no members, so what refuses it refuses everything",
			l->said);
	else if (!loaded)
		snprintf(text, LIST_HEALTH_MAX, "it is not fetched yet: what refuses it refuses everything");
	else
		snprintf(text, LIST_HEALTH_MAX, "%u names and %u networks", l->copy.n_names, l->copy.n_nets);
	return loaded && l->failures == 0;
}

bool lists_defined(const struct desk *d, unsigned i)
{
	return d->lists->v[i].def.id[0] != '\0';
}

static bool entry_addr(const struct list_digest *l, const struct addr *a, bool single, char *buf, size_t cap)
{
	char text[ADDR_TEXT_MAX];
	struct policy_net net = { .addr = *a };
	int prefix = list_digest_addr(l, a);
	if (prefix < 0 || (single && prefix != a->len * 8))
		return false;
	net.prefix = (uint8_t)prefix;
	for (unsigned bit = net.prefix; bit < a->len * 8U; bit++)
		net.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	snprintf(buf, cap, prefix == a->len * 8 ? "%s" : "%s/%d", addr_format(&net.addr, text, sizeof(text)), prefix);
	return true;
}

bool lists_entry(const struct desk *d, const char *id, const struct name *n, const struct addr *a, char *buf,
	size_t cap)
{
	const struct list *l = find(d->lists, id);
	struct list_hit hit;
	char text[NAME_TEXT_MAX];
	if (l == NULL || l->fd < 0)
		return false;
	bool named = n != NULL && list_digest_name(&l->digest, n, &hit);
	/* As the ranks have it: a name, one address, a pattern, a network. */
	if ((!named || !hit.exact) && a != NULL && entry_addr(&l->digest, a, named, buf, cap))
		return true;
	if (!named)
		return false;
	struct name entry = name_parent(n, name_labels(n) - hit.labels);
	snprintf(buf, cap, "%s%s", hit.exact ? "" : "*.", name_format(&entry, text, sizeof(text)));
	return true;
}

/* --- calls --- */

static json_t *list_json(const struct list *l)
{
	bool loaded = l->fd >= 0;
	return json_pack("{s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:i}", "name", l->def.id, "source",
		l->def.source, "every_s", l->def.every_s == 0 ? json_null() : json_integer(l->def.every_s), "loaded",
		loaded, "names", loaded ? json_integer(l->copy.n_names) : json_null(), "networks",
		loaded ? json_integer(l->copy.n_nets) : json_null(), "left_out",
		loaded ? json_integer(l->copy.n_left_out) : json_null(), "fetched",
		loaded ? time_json(l->copy.fetched_ms) : json_null(), "next",
		l->due_ms < 0 ? json_null() : time_json(clock_wall_ms() + l->due_ms - clock_boot_ms()), "said",
		l->said[0] == '\0' ? json_null() : json_string(l->said), "state",
		l->failures > 0 ? "failed"
		: loaded	? "good"
				: "waiting",
		"line", (int)l->def.line);
}

static json_t *all_json(const struct lists *s)
{
	json_t *all = json_array();
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		if (s->v[i].def.id[0] != '\0')
			json_array_append_new(all, list_json(&s->v[i]));
	}
	return all;
}

void lists_list(struct desk *d, struct client *c)
{
	client_reply(d, c, json_pack("{s:o}", "lists", all_json(d->lists)));
}

void lists_answer(struct desk *d)
{
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		if (d->lists->v[i].asked)
			return;
	}
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd >= 0 && !c->dead && c->wait == CLIENT_LISTS)
			lists_list(d, c);
	}
}

void lists_update(struct desk *d, struct client *c)
{
	const json_t *name = json_object_get(c->call.params, "name");
	const char *id = json_string_value(name);
	struct list *one = id == NULL ? NULL : find(d->lists, id);
	if (name != NULL && !json_is_null(name) && id == NULL) {
		arg_bad(d, c, "name", "it is the name of a list");
		return;
	}
	if (id != NULL && one == NULL) {
		client_no_such(d, c, "list", id);
		return;
	}
	bool any = false;
	for (unsigned i = 0; i < POLICY_LISTS_MAX; i++) {
		struct list *l = &d->lists->v[i];
		if (l->def.id[0] == '\0' || (one != NULL && l != one))
			continue;
		l->asked = any = true;
		l->due_ms = clock_boot_ms();
	}
	c->wait = CLIENT_LISTS;
	if (!any)
		lists_answer(d);
}
