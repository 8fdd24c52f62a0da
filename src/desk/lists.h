/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_LISTS_H
#define DESK_LISTS_H

#include "desk/desk.h"

/* Ids of requests to main that are for lists. */
enum { LISTS_REQUEST = 0x5c000000, LISTS_REQUEST_MASK = 0x7f000000 };

int lists_new(struct desk *d);
/* Definitions of a file that cannot be followed; said by file_error(). */
bool lists_refused(struct desk *d, const struct policy_doc *doc, const char *name);
/* The files' definitions are d->docs' now. */
void lists_install(struct desk *d);
/* A policy gets the members that are known; again whenever they change. */
void lists_attach(const struct desk *d, struct policy *p);
/* To a gate that is new. */
void lists_send(struct desk *d);
/* Main's answer about a list's file; false: it is about something else. */
bool lists_opened(struct desk *d, const struct frame *f, const struct ipc_result *r);
void lists_fetched(struct desk *d, const struct frame *f);
/* The role fetch is a new process. */
void lists_fetch_back(struct desk *d);
int64_t lists_next_ms(const struct desk *d);
void lists_tick(struct desk *d);
/* Who waits for an update that has ended gets his answer. */
void lists_answer(struct desk *d);
/* For `doctor`, of each place below POLICY_LISTS_MAX that has a list: false, it wants looking at. */
enum { LIST_HEALTH_MAX = 512 };
bool lists_defined(const struct desk *d, unsigned i);
bool lists_health(const struct desk *d, unsigned i, char name[LIST_HEALTH_MAX], char text[LIST_HEALTH_MAX]);
/* What of a list speaks of a name or an address (NULL: none), as it would be written there. False: nothing does. */
bool lists_entry(const struct desk *d, const char *id, const struct name *n, const struct addr *a, char *buf,
	size_t cap);
/* Calls: Lists. */
void lists_list(struct desk *d, struct client *c);
void lists_update(struct desk *d, struct client *c);

#endif
