/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ctcut.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum job_kind { JOB_SILENT, JOB_LAST, JOB_DUMP };

struct job {
	enum job_kind kind;
	uint32_t id;
	uint32_t mark;
	uint16_t zone;
	unsigned n_flushed;
};

struct ctcut {
	const char *datapath;
	struct unixctl *ctl;
	char failed[160]; /* what a silent job was told, for the end of its row */
	unsigned head, n_jobs;
	struct job jobs[UNIXCTL_QUEUE_MAX];
	unsigned n_zones;
	struct {
		uint16_t zone;
		uint32_t limit;
	} zones[CTCUT_ZONES_MAX];
};

int ctcut_new(const char *datapath, struct ctcut **ret)
{
	struct ctcut *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	c->datapath = datapath;
	*ret = c;
	return 0;
}

void ctcut_free(struct ctcut *c)
{
	free(c);
}

static int ask(struct ctcut *c, const char *method, const char *const *args, struct job job)
{
	if (c->ctl == NULL)
		return -ENOTCONN;
	if (c->n_jobs == UNIXCTL_QUEUE_MAX || unixctl_send(c->ctl, method, args) == 0)
		return -ENOBUFS;
	c->jobs[(c->head + c->n_jobs++) % UNIXCTL_QUEUE_MAX] = job;
	return 0;
}

static int ask_limit(struct ctcut *c, uint16_t zone, uint32_t limit, struct job job)
{
	char text[48];
	if (limit == 0)
		snprintf(text, sizeof(text), "zone=%u", zone);
	else
		snprintf(text, sizeof(text), "zone=%u,limit=%u", zone, limit);
	const char *const args[] = { c->datapath, text, NULL };
	return ask(c, limit == 0 ? "dpctl/ct-del-limits" : "dpctl/ct-set-limits", args, job);
}

void ctcut_connected(struct ctcut *c, struct unixctl *u)
{
	c->ctl = u;
	for (unsigned i = 0; i < c->n_zones; i++) {
		if (ask_limit(c, c->zones[i].zone, c->zones[i].limit, (struct job){ .kind = JOB_SILENT }) != 0)
			return;
	}
}

void ctcut_lost(struct ctcut *c)
{
	c->ctl = NULL;
}

static int zone_remember(struct ctcut *c, uint16_t zone, uint32_t limit)
{
	unsigned i = 0;
	while (i < c->n_zones && c->zones[i].zone != zone)
		i++;
	if (limit == 0) {
		if (i < c->n_zones)
			c->zones[i] = c->zones[--c->n_zones];
		return 0;
	}
	if (i == CTCUT_ZONES_MAX)
		return -ENOSPC;
	if (i == c->n_zones)
		c->n_zones++;
	c->zones[i].zone = zone;
	c->zones[i].limit = limit;
	return 0;
}

int ctcut_zone(struct ctcut *c, uint16_t zone, uint32_t limit, uint32_t id)
{
	char text[32];
	snprintf(text, sizeof(text), "zone=%u", zone);
	/* OVS 3.1.0 takes no datapath here: it reads the name as a tuple ("missing value"). */
	const char *const args[] = { text, NULL };
	int err = zone_remember(c, zone, limit);
	if (err == 0)
		err = ask(c, "dpctl/flush-conntrack", args, (struct job){ .kind = JOB_SILENT });
	if (err == 0)
		err = ask_limit(c, zone, limit, (struct job){ .kind = JOB_LAST, .id = id });
	return err;
}

int ctcut_cut(struct ctcut *c, uint16_t zone, uint32_t mark, uint32_t id)
{
	char text[32];
	snprintf(text, sizeof(text), "zone=%u", zone);
	const char *const args[] = { c->datapath, text, NULL };
	return ask(c, "dpctl/dump-conntrack", args,
		(struct job){ .kind = JOB_DUMP, .id = id, .mark = mark, .zone = zone });
}

int ctcut_heartbeat(struct ctcut *c)
{
	return ask(c, "version", NULL, (struct job){ .kind = JOB_SILENT });
}

int ctcut_forget_megaflows(struct ctcut *c)
{
	const char *const args[] = { c->datapath, NULL };
	return ask(c, "dpctl/del-flows", args, (struct job){ .kind = JOB_SILENT });
}

/* Flushes what the dump shows under the mark; the job ends with the last of these, or at once when there is none. */
static bool dump_answered(struct ctcut *c, const struct job *j, const struct unixctl_reply *r, struct ctcut_done *ret)
{
	char zone[32], tuple[256];
	unsigned n = 0;
	snprintf(zone, sizeof(zone), "zone=%u", j->zone);
	for (const char *p = r->text, *end = r->text + r->len; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl == NULL ? (size_t)(end - p) : (size_t)(nl - p);
		struct unixctl_ct e;
		if (unixctl_ct_parse(p, len, &e) && e.mark == j->mark && e.zone == j->zone) {
			const char *const args[] = { zone, unixctl_ct_tuple(&e, tuple, sizeof(tuple)), NULL };
			if (ask(c, "dpctl/flush-conntrack", args, (struct job){ .kind = JOB_SILENT }) != 0)
				break;
			n++;
		}
		p += len + 1;
	}
	if (n == 0) {
		*ret = (struct ctcut_done){ .id = j->id };
		return true;
	}
	struct job *last = &c->jobs[(c->head + c->n_jobs - 1) % UNIXCTL_QUEUE_MAX];
	*last = (struct job){ .kind = JOB_LAST, .id = j->id, .n_flushed = n };
	return false;
}

static bool answered(struct ctcut *c, const struct job *j, const struct unixctl_reply *r, struct ctcut_done *ret)
{
	/* An entry that ended by itself between dump and flush is what was wanted. */
	bool failed = r->failed && memmem(r->text, r->len, "No such file", 12) == NULL;
	if (failed)
		snprintf(c->failed, sizeof(c->failed), "%.*s", (int)(r->len < 150 ? r->len : 150), r->text);
	if (j->kind == JOB_SILENT)
		return false;
	if (j->kind == JOB_DUMP && !r->failed)
		return dump_answered(c, j, r, ret);
	*ret = (struct ctcut_done){ .id = j->id, .err = c->failed[0] != '\0' ? -EIO : 0, .n_flushed = j->n_flushed };
	memcpy(ret->text, c->failed, sizeof(ret->text));
	c->failed[0] = '\0';
	return true;
}

bool ctcut_next(struct ctcut *c, struct ctcut_done *ret)
{
	struct unixctl_reply r;
	while (c->n_jobs > 0 && (c->ctl == NULL || unixctl_next(c->ctl, &r))) {
		struct job j = c->jobs[c->head];
		c->head = (c->head + 1) % UNIXCTL_QUEUE_MAX;
		c->n_jobs--;
		if (c->ctl == NULL && j.kind != JOB_SILENT) {
			*ret = (struct ctcut_done){ .id = j.id, .err = -EPIPE, .text = "ovs-vswitchd ended" };
			return true;
		}
		if (c->ctl != NULL && answered(c, &j, &r, ret))
			return true;
	}
	return false;
}
