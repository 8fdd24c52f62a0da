/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate is given. The policy: compiled here first, so that what cannot be compiled is never sent, then as bytes
 * that nobody can change. Its memory beside the gate: it sends a copy of each grant and each synthetic name, and a new
 * gate gets them all back. Numbers of grants are never given twice: a block is durable before the gate may use it.
 */
#include "base/log.h"
#include "desk/build.h"
#include "desk/rule.h"
#include "policy/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool superseded(const struct desk *d, const struct rule *r)
{
	return rule_by_id(d, r->e.meta.id) != NULL;
}

static void append(void *to, size_t *n, const void *from, size_t n_from, size_t size)
{
	if (n_from > 0)
		memcpy((char *)to + *n * size, from, n_from * size);
	*n += n_from;
}

/* The definitions of all files side by side; shallow. */
static int definitions_join(struct policy_doc *const *docs, unsigned n_docs, struct definitions *ret)
{
	size_t groups = 1, sets = 1, lists = 1;
	for (unsigned i = 0; i < n_docs; i++) {
		groups += docs[i]->n_groups;
		sets += docs[i]->n_sets;
		lists += docs[i]->n_lists;
	}
	*ret = (struct definitions){ .groups = calloc(groups, sizeof(*ret->groups)),
		.sets = calloc(sets, sizeof(*ret->sets)),
		.lists = calloc(lists, sizeof(*ret->lists)) };
	if (ret->groups == NULL || ret->sets == NULL || ret->lists == NULL) {
		free(ret->groups);
		free(ret->sets);
		free(ret->lists);
		*ret = (struct definitions){ 0 };
		return -ENOMEM;
	}
	for (unsigned i = 0; i < n_docs; i++) {
		append(ret->groups, &ret->n_groups, docs[i]->groups, docs[i]->n_groups, sizeof(*ret->groups));
		append(ret->sets, &ret->n_sets, docs[i]->sets, docs[i]->n_sets, sizeof(*ret->sets));
		append(ret->lists, &ret->n_lists, docs[i]->lists, docs[i]->n_lists, sizeof(*ret->lists));
	}
	return 0;
}

void build_free(struct build *b)
{
	free(b->def.groups);
	free(b->def.sets);
	free(b->def.lists);
	free(b->entries);
	free(b->by_index);
	policy_free(b->policy);
}

/* Running rules, and used-up ones so that the gate lets what they admitted run to its own end. */
static int build_entries(const struct desk *d, struct rule *const *rules, size_t n, struct build *b)
{
	b->entries = calloc(n + PLAN_SLOTS, sizeof(*b->entries));
	b->by_index = calloc(n + PLAN_SLOTS, sizeof(struct rule *));
	if (b->entries == NULL || b->by_index == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		struct rule *r = rules[i];
		if (!rule_running(r) && (r->e.meta.ended != POLICY_END_USED || superseded(d, r)))
			continue;
		b->by_index[b->in.n_rules] = r;
		b->entries[b->in.n_rules++] = r->e;
	}
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		struct rule *r = d->apps[i].rehearsal;
		if (r == NULL)
			continue;
		b->by_index[b->in.n_rules] = r;
		b->entries[b->in.n_rules++] = r->e;
	}
	b->in.rules = b->entries;
	return 0;
}

static void build_error(const struct build *b, const struct policy_error *e, char *ret)
{
	const struct rule *r = e->rule < b->in.n_rules ? b->by_index[e->rule] : NULL;
	if (r != NULL && r->file != NULL)
		snprintf(ret, 512, "%s:%u:1: error: %s", r->file, e->line, e->message);
	else
		snprintf(ret, 512, "%s", e->message);
}

int build_policy(const struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs,
	unsigned n_docs, struct build *ret, char *ret_error)
{
	*ret = (struct build){ 0 };
	int err = definitions_join(docs, n_docs, &ret->def);
	if (err == 0)
		err = build_entries(d, rules, n, ret);
	struct policy_error e = { .rule = SIZE_MAX };
	if (err == 0) {
		ret->in.groups = ret->def.groups;
		ret->in.n_groups = ret->def.n_groups;
		ret->in.sets = ret->def.sets;
		ret->in.n_sets = ret->def.n_sets;
		ret->in.lists = ret->def.lists;
		ret->in.n_lists = ret->def.n_lists;
		ret->in.env = host_env(&d->host);
		err = policy_compile(&ret->in, &ret->policy, &e);
	}
	if (err == 0)
		return 0;
	if (ret_error != NULL && e.message[0] != '\0')
		build_error(ret, &e, ret_error);
	else if (ret_error != NULL)
		snprintf(ret_error, 512, "the policy cannot be compiled: %s", strerror(-err));
	build_free(ret);
	return err;
}

/* What `d` owns of the last build, so that it is freed by the next. */
static struct build current;

void build_install(struct desk *d, struct build *b)
{
	build_free(&current);
	current = *b;
	d->input = b->in;
	d->entries = b->entries;
	d->by_index = b->by_index;
	d->policy = b->policy;
	index_ids(d);
	d->generation++;
	rules_send(d);
}

/* The image in a memfd that nobody can change any more; -1 with the reason logged. */
static int image_memfd(const struct policy *p, uint32_t *ret_len)
{
	size_t len, done = 0;
	const char *image = policy_image(p, &len);
	int fd = memfd_create("policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	while (fd >= 0 && done < len) {
		ssize_t n = write(fd, image + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	if (fd >= 0 && done == len && len <= UINT32_MAX &&
		fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
		*ret_len = (uint32_t)len;
		return fd;
	}
	log_msg(LOG_ERROR, "the policy cannot be handed to the gate: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The last two stay open here: whoever lets go of a memfd last pays for its pages, and that must not be the gate. */
static void image_keep(int fd)
{
	static int kept[2] = { -1, -1 };
	if (kept[0] >= 0)
		close(kept[0]);
	kept[0] = kept[1];
	kept[1] = fd;
}

void rules_send(struct desk *d)
{
	if (!d->loaded || !d->gate_synced)
		return;
	struct ipc_policy m = { .generation = d->generation };
	int fd = image_memfd(d->policy, &m.len);
	if (fd < 0)
		return;
	(void)role_send_msg(d->role, ROLE_GATE, IPC_POLICY, (uint32_t)d->generation & 0x7fffffffU, policy, &m, &fd, 1);
	image_keep(fd);
}

void rules_result(struct desk *d, const struct frame *f, const struct ipc_result *r)
{
	uint64_t generation = (d->generation & ~0x7fffffffULL) | f->id;
	if (r->err != 0) {
		log_msg(LOG_ERROR, "the gate does not take the policy: %s", r->text.s);
		log_text(d, "switch", "the gate does not take the policy; the one before it stays in force");
		return;
	}
	if (generation > d->generation || generation <= d->in_force)
		return;
	d->in_force = generation;
	d->waits_changed = true;
	clients_in_force(d);
}

static struct grant **grant_slot(struct desk *d, uint32_t number)
{
	struct grant **p = &d->grants[number % DESK_GRANT_BUCKETS];
	while (*p != NULL && (*p)->g.grant != number)
		p = &(*p)->next;
	return p;
}

static int grant_put(struct desk *d, const struct ipc_grant *g)
{
	struct grant **p = grant_slot(d, g->grant);
	if (*p == NULL) {
		*p = calloc(1, sizeof(**p));
		if (*p == NULL)
			return -ENOMEM;
	}
	(*p)->g = *g;
	watch_connection(d, g, false);
	return 0;
}

static void grant_drop(struct grant **p)
{
	struct grant *g = *p;
	*p = g->next;
	free(g);
}

int gate_load(struct desk *d)
{
	struct store_rows *q;
	struct store_copy_row row;
	int err = store_copies(d->store, STORE_GRANT, &q);
	if (err != 0)
		return err;
	unsigned strange = 0;
	while ((err = store_copies_next(q, &row)) == 1) {
		struct ipc_grant g;
		bool known = ipc_grant_get(row.body, row.len, &g);
		strange += !known;
		if (known && app_by_ref(d, &g.ref) != NULL && grant_put(d, &g) != 0) {
			err = -ENOMEM;
			break;
		}
	}
	store_rows_end(q);
	if (strange > 0)
		log_msg(LOG_WARNING,
			"%u permissions of running applications were stored by another version: their connections end, "
			"new ones are judged as ever",
			strange);
	return err;
}

void gate_block_give(struct desk *d)
{
	struct ipc_block b = { .count = STORE_BLOCK };
	if (d->damaged[0] != '\0')
		return;
	int err = store_take(d->store, STORE_GRANTS, STORE_BLOCK, &b.first);
	if (err != 0)
		log_msg(LOG_ERROR, "no numbers for new permissions: %s; nothing new passes", strerror(-err));
	else
		(void)role_send_msg(d->role, ROLE_GATE, IPC_GRANT_BLOCK, 0, block, &b, NULL, 0);
}

static void give_names(struct desk *d)
{
	struct store_rows *q;
	struct store_copy_row row;
	if (store_copies(d->store, STORE_SYN, &q) != 0) {
		log_msg(LOG_ERROR, "the names of running applications cannot be read back");
		return;
	}
	while (store_copies_next(q, &row) == 1) {
		struct ipc_syn s;
		if (ipc_syn_get(row.body, row.len, &s) && app_by_ref(d, &s.ref) != NULL)
			(void)role_send(d->role, ROLE_GATE, IPC_SYN, 0, row.body, row.len, NULL, 0);
	}
	store_rows_end(q);
}

void gate_sync(struct desk *d)
{
	if (!d->loaded || d->role->chan[ROLE_GATE] == NULL)
		return;
	d->gate_synced = true;
	apps_sync(d, ROLE_GATE);
	give_names(d);
	for (unsigned i = 0; i < DESK_GRANT_BUCKETS; i++) {
		for (const struct grant *g = d->grants[i]; g != NULL; g = g->next)
			(void)role_send_msg(d->role, ROLE_GATE, IPC_GRANT, 0, grant, &g->g, NULL, 0);
	}
	rules_send(d);
	gate_block_give(d);
	(void)role_send(d->role, ROLE_GATE, IPC_SYNC_END, 0, NULL, 0, NULL, 0);
}

void gate_grant_copy(struct desk *d, const struct frame *f)
{
	struct ipc_grant g;
	if (!ipc_grant_get(f->body, f->len, &g) || app_by_ref(d, &g.ref) == NULL)
		return;
	if (grant_put(d, &g) != 0 || store_copy_put(d->store, STORE_GRANT, g.ref.run, g.grant, f->body, f->len) != 0)
		log_msg(LOG_WARNING,
			"a permission could not be copied; should the gate restart now, its connections are cut");
	desk_flush_later(d);
}

void gate_grant_ended(struct desk *d, const struct frame *f)
{
	static struct ipc_grant_end e;
	if (!ipc_grant_end_get(f->body, f->len, &e))
		return;
	struct grant **p = grant_slot(d, e.grant);
	if (*p == NULL)
		return;
	log_grant_end(d, &(*p)->g, &e);
	watch_connection(d, &(*p)->g, true);
	if (store_copy_del(d->store, STORE_GRANT, e.grant, (*p)->g.ref.run) != 0)
		log_msg(LOG_WARNING, "the end of a permission could not be stored");
	grant_drop(p);
	desk_flush_later(d);
}

void gate_syn_copy(struct desk *d, const struct frame *f)
{
	struct ipc_syn s;
	if (!ipc_syn_get(f->body, f->len, &s) || app_by_ref(d, &s.ref) == NULL)
		return;
	if (store_copy_put(d->store, STORE_SYN, s.ref.run, s.index, f->body, f->len) != 0)
		log_msg(LOG_WARNING,
			"a name could not be copied; should the gate restart now, its address means nothing");
	desk_flush_later(d);
}

void gate_app_forget(struct desk *d, uint32_t run)
{
	for (unsigned i = 0; i < DESK_GRANT_BUCKETS; i++) {
		for (struct grant **p = &d->grants[i]; *p != NULL;) {
			if ((*p)->g.ref.run == run) {
				watch_connection(d, &(*p)->g, true);
				grant_drop(p);
			} else {
				p = &(*p)->next;
			}
		}
	}
}
