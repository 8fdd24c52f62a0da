/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls that add rules are taken together: those that have come by now are tried one after the other in memory and in
 * one transaction, which costs the disk one commit, then are in force and answered all at once. What is wrong with one
 * is found before it writes anything. Where the disk fails, nothing of the group happened; then each is tried alone, so
 * that one that the disk refuses does not take the others with it.
 */
#include "desk/group.h"

#include "base/clock.h"
#include "base/log.h"
#include "desk/build.h"
#include "desk/rule.h"
#include "desk/undo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP_MAX = 256, GROUP_MS = 5 };

static struct group {
	struct group_item item[GROUP_MAX];
	size_t n;
	size_t before;	  /* rules there were */
	int err;	  /* the store refused a row */
	bool alone;	  /* one at a time, until nobody waits */
	int64_t since_ms; /* boot time; 0: nobody waits */
} group;

void group_queue(struct client *c)
{
	c->wait = CLIENT_QUEUED;
	if (group.since_ms == 0)
		group.since_ms = clock_boot_ms();
}

bool group_waits(void)
{
	return group.since_ms != 0;
}

bool group_due(const struct desk *d)
{
	return group_waits() &&
	       (clock_boot_ms() >= group.since_ms + GROUP_MS || clients_waiting(d, CLIENT_QUEUED, false) >= GROUP_MAX);
}

bool group_answers(uint32_t question)
{
	for (size_t i = 0; i < group.n; i++) {
		if (question != 0 && group.item[i].question == question)
			return true;
	}
	return false;
}

int group_add(struct desk *d, const struct group_item *add, bool admin, char *ret_error)
{
	struct group_item *item = &group.item[group.n];
	*item = *add;
	item->rules = calloc(add->n, sizeof(struct rule *));
	item->replaced = calloc(add->n, sizeof(struct rule *));
	bool stored = true;
	int err = item->rules == NULL || item->replaced == NULL ? -ENOMEM : 0;
	if (err == 0) {
		memcpy(item->rules, add->rules, add->n * sizeof(struct rule *));
		err = rules_try(d, item, admin, &stored, ret_error);
	} else {
		for (size_t i = 0; i < add->n; i++)
			rule_free(add->rules[i]);
	}
	if (err != 0 && stored) {
		free(item->rules);
		free(item->replaced);
		return err;
	}
	/* In memory it stands; the group as a whole is taken back. */
	group.err = err;
	group.n++;
	return 0;
}

static void items_free(void)
{
	for (size_t i = 0; i < group.n; i++) {
		free(group.item[i].rules);
		free(group.item[i].replaced);
	}
	group.n = 0;
}

/* The newest first, so that each finds what it found. */
static void take_back(struct desk *d, int err, const char *error)
{
	for (size_t i = group.n; i-- > 0;)
		rules_untry(d, &group.item[i]);
	bool again = group.n > 1 && !store_torn(d->store);
	for (size_t i = 0; i < group.n; i++) {
		struct client *c = &d->clients[group.item[i].client];
		if (again)
			group_queue(c);
		else if (!store_torn(d->store))
			client_fail(d, c, "org.sekisho.Failed", "%s%s",
				error[0] != '\0' ? error : "the rule cannot be stored: ",
				error[0] != '\0' ? "" : strerror(-err));
	}
	group.alone = group.alone || again;
}

static void settle(struct desk *d)
{
	struct build b;
	char error[512] = "";
	int err = group.err;
	if (err == 0)
		err = build_change(d, &b, error);
	bool built = err == 0;
	err = commit_or_undo(d, err);
	if (err != 0) {
		if (built)
			build_free(&b);
		take_back(d, err, error);
	} else {
		build_install(d, &b);
		for (size_t i = 0; i < group.n; i++) {
			struct group_item *item = &group.item[i];
			rules_tried(d, item);
			item->done(d, &d->clients[item->client], item);
		}
	}
	items_free();
}

void group_run(struct desk *d)
{
	size_t left = 0;
	rules_save_ends(d);
	int err = store_commit(d->store);
	group.since_ms = 0;
	group.err = 0;
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd < 0 || c->wait != CLIENT_QUEUED)
			continue;
		bool full = group.err != 0 || group.n == GROUP_MAX || (group.alone && group.n == 1);
		if (full) {
			left++;
			continue;
		}
		c->wait = CLIENT_READY;
		if (err != 0)
			client_fail(d, c, "org.sekisho.Failed", "the rule cannot be stored: %s", strerror(-err));
		else
			api_serve(d, c);
	}
	group.alone = group.alone && left > 0;
	if (left > 0)
		group.since_ms = clock_boot_ms();
	if (group.n > 0)
		settle(d);
}
