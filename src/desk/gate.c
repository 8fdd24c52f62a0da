/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the gate is given. The policy: compiled here first, so that what cannot be compiled is never sent, then as bytes
 * that nobody can change: a base, once, and with it or without it what has changed since. Its memory beside the gate:
 * it sends a copy of each grant and each synthetic name, and a new gate gets them all back. Numbers of grants are never
 * given twice: a block is durable before the gate may use it.
 */
#include "base/fd.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/lists.h"
#include "desk/rule.h"
#include "policy/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The last two stay open here: whoever lets go of a memfd last pays for its pages, and that must not be the gate. */
void image_keep(int fd)
{
	static int kept[2] = { -1, -1 };
	if (kept[0] >= 0)
		close(kept[0]);
	kept[0] = kept[1];
	kept[1] = fd;
}

/* What was joined and what is gone, as ipc.h says; -1 with the reason logged. */
static int delta_memfd(const struct desk *d)
{
	const struct base *b = d->base;
	int fd = fd_memory("policy");
	int err = fd < 0 ? fd : fd_write_all(fd, d->more, d->more_len);
	if (err == 0)
		err = fd_write_all(fd, b->gone, b->n_gone * sizeof(*b->gone));
	if (err == 0)
		err = fd_seal(fd);
	if (err == 0)
		return fd;
	log_msg(LOG_ERROR, "the policy cannot be handed to the gate: %s", strerror(-err));
	if (fd >= 0)
		close(fd);
	return -1;
}

void rules_send(struct desk *d)
{
	struct base *b = d->base;
	int fds[2];
	unsigned n = 0;
	if (!d->loaded || !d->gate_synced)
		return;
	struct ipc_policy m = { .generation = d->generation,
		.base = b->number,
		.more_len = (uint32_t)d->more_len,
		.n_gone = (uint32_t)b->n_gone };
	if (!b->given) {
		if ((fds[n] = base_memfd(b)) < 0)
			return;
		m.len = (uint32_t)b->len;
		n++;
	}
	bool delta = m.more_len + m.n_gone > 0;
	if (delta && (fds[n++] = delta_memfd(d)) < 0)
		return;
	b->given = role_send_msg(d->role, ROLE_GATE, IPC_POLICY, (uint32_t)d->generation & 0x7fffffffU, policy, &m, fds,
		n);
	if (delta)
		close(fds[n - 1]);
}

void rules_result(struct desk *d, const struct frame *f, const struct ipc_result *r)
{
	uint64_t generation = (d->generation & ~0x7fffffffULL) | f->id;
	if (r->err != 0) {
		log_msg(LOG_ERROR, "the gate does not take the policy: %s", r->text.s);
		log_text(d, "switch", "the gate does not take the policy; the one before it stays in force");
		/* Perhaps it lacks the base. */
		d->base->given = false;
		return;
	}
	if (generation > d->generation || generation <= d->in_force)
		return;
	d->in_force = generation;
	d->waits_changed = true;
	rules_report(d);
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
	d->base->given = false;
	apps_sync(d, ROLE_GATE);
	give_names(d);
	for (unsigned i = 0; i < DESK_GRANT_BUCKETS; i++) {
		for (const struct grant *g = d->grants[i]; g != NULL; g = g->next)
			(void)role_send_msg(d->role, ROLE_GATE, IPC_GRANT, 0, grant, &g->g, NULL, 0);
	}
	lists_send(d);
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
