/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/ctcut.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum job_kind { JOB_SILENT, JOB_LAST, JOB_DUMP, JOB_DUMP_WANTED };
enum { WANTS_MAX = 16384, HEARTBEAT_ROOM = 16 };

struct job {
	enum job_kind kind;
	uint32_t id;
	uint32_t mark;
	uint16_t zone;
	unsigned n_flushed;
};

/* A mark that is to go; `asked`: with the dump under way. */
struct want {
	uint16_t zone;
	bool asked;
	uint32_t mark;
};

struct ctcut {
	const char *datapath;
	struct unixctl *ctl;
	char failed[160]; /* what a silent job was told, for the end of its row */
	unsigned head, n_jobs;
	struct job jobs[UNIXCTL_QUEUE_MAX];
	unsigned n_wants;
	struct want wants[WANTS_MAX];
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
	/* vswitchd's userspace conntrack ends with it; what the kernel's keeps under a dead mark is found as it comes.
	 */
	c->n_wants = 0;
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

int ctcut_zone(struct ctcut *c, const struct ipc_zone *z, uint32_t id)
{
	char text[32];
	snprintf(text, sizeof(text), "zone=%u", z->zone);
	/* OVS 3.1.0 takes no datapath here: it reads the name as a tuple ("missing value"). */
	const char *const args[] = { text, NULL };
	int err = zone_remember(c, z->zone, z->limit);
	if (err == 0 && !z->keep)
		err = ask(c, "dpctl/flush-conntrack", args, (struct job){ .kind = JOB_SILENT });
	if (err == 0)
		err = ask_limit(c, z->zone, z->limit, (struct job){ .kind = JOB_LAST, .id = id });
	return err;
}

static int ask_dump(struct ctcut *c, struct job job)
{
	char text[32];
	snprintf(text, sizeof(text), "zone=%u", job.zone);
	const char *const args[] = { c->datapath, text, NULL };
	return ask(c, "dpctl/dump-conntrack", args, job);
}

static int ask_wanted(struct ctcut *c, uint16_t zone)
{
	int err = ask_dump(c, (struct job){ .kind = JOB_DUMP_WANTED, .zone = zone });
	for (unsigned i = 0; err == 0 && i < c->n_wants; i++)
		c->wants[i].asked = c->wants[i].asked || c->wants[i].zone == zone;
	return err;
}

int ctcut_cut(struct ctcut *c, uint16_t zone, uint32_t mark, uint32_t id)
{
	bool under_way = false;
	if (id != 0)
		return ask_dump(c, (struct job){ .kind = JOB_DUMP, .id = id, .mark = mark, .zone = zone });
	if (c->ctl == NULL)
		return -ENOTCONN;
	if (c->n_wants == WANTS_MAX)
		return -ENOBUFS;
	for (unsigned i = 0; i < c->n_wants && !under_way; i++)
		under_way = c->wants[i].zone == zone && c->wants[i].asked;
	c->wants[c->n_wants++] = (struct want){ .zone = zone, .mark = mark };
	int err = under_way ? 0 : ask_wanted(c, zone);
	c->n_wants -= err != 0;
	return err;
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

static int want_cmp(const void *a, const void *b)
{
	const struct want *x = a, *y = b;
	return (x->mark > y->mark) - (x->mark < y->mark);
}

/* The asked wants of a zone, in front and by mark; the others behind. Returns how many. */
static size_t wants_asked(struct ctcut *c, uint16_t zone)
{
	size_t n = 0;
	for (unsigned i = 0; i < c->n_wants; i++) {
		struct want w = c->wants[i];
		if (w.zone != zone || !w.asked)
			continue;
		c->wants[i] = c->wants[n];
		c->wants[n++] = w;
	}
	if (n > 0)
		qsort(c->wants, n, sizeof(c->wants[0]), want_cmp);
	return n;
}

static bool flush_wanted(struct ctcut *c, const struct job *j, const struct unixctl_reply *r, size_t n_asked)
{
	char zone[32], tuple[256];
	snprintf(zone, sizeof(zone), "zone=%u", j->zone);
	for (const char *p = r->text, *end = r->text + r->len; p < end;) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t len = nl == NULL ? (size_t)(end - p) : (size_t)(nl - p);
		struct unixctl_ct e;
		if (unixctl_ct_parse(p, len, &e) && e.zone == j->zone) {
			const struct want key = { .mark = e.mark };
			const char *const args[] = { zone, unixctl_ct_tuple(&e, tuple, sizeof(tuple)), NULL };
			/* The heartbeat and what somebody waits for must find room. */
			if (bsearch(&key, c->wants, n_asked, sizeof(c->wants[0]), want_cmp) != NULL &&
				(c->n_jobs + HEARTBEAT_ROOM > UNIXCTL_QUEUE_MAX ||
					ask(c, "dpctl/flush-conntrack", args, (struct job){ .kind = JOB_SILENT }) != 0))
				return false;
		}
		p += len + 1;
	}
	return true;
}

static void wanted_answered(struct ctcut *c, const struct job *j, const struct unixctl_reply *r)
{
	size_t n = wants_asked(c, j->zone);
	bool more = false;
	if (r->failed || flush_wanted(c, j, r, n)) {
		memmove(c->wants, c->wants + n, (c->n_wants - n) * sizeof(c->wants[0]));
		c->n_wants -= (unsigned)n;
	}
	for (unsigned i = 0; i < c->n_wants; i++) {
		if (c->wants[i].zone != j->zone)
			continue;
		c->wants[i].asked = false;
		more = true;
	}
	/* Without room for a dump they wait for the next cut of the zone. */
	if (more)
		(void)ask_wanted(c, j->zone);
}

static bool answered(struct ctcut *c, const struct job *j, const struct unixctl_reply *r, struct ctcut_done *ret)
{
	/* An entry that ended by itself between dump and flush is what was wanted. */
	bool failed = r->failed && memmem(r->text, r->len, "No such file", 12) == NULL;
	if (failed)
		snprintf(c->failed, sizeof(c->failed), "%.*s", (int)(r->len < 150 ? r->len : 150), r->text);
	if (j->kind == JOB_SILENT)
		return false;
	if (j->kind == JOB_DUMP_WANTED) {
		wanted_answered(c, j, r);
		return false;
	}
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
		if (c->ctl == NULL && j.kind != JOB_SILENT && j.kind != JOB_DUMP_WANTED) {
			*ret = (struct ctcut_done){ .id = j.id, .err = -EPIPE, .text = "ovs-vswitchd ended" };
			return true;
		}
		if (c->ctl != NULL && answered(c, &j, &r, ret))
			return true;
	}
	return false;
}
