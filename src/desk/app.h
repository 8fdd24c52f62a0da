/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_APP_H
#define DESK_APP_H

#include "desk/desk.h"

/* What apps.c, steps.c and run.c share. */

/* A new application in its first step, waited for by `c`; NULL: an error was replied. */
struct app *app_new(struct desk *d, struct client *c, const char *name, uint32_t owner, enum app_kind kind);
/* The first step, when people are asked as `ask` (enum ipc_ask_mode) says; or an error is replied and it is gone. */
void app_begin(struct desk *d, struct client *c, struct app *a, uint8_t ask);
/* The reply to Attach: what the other side needs. */
json_t *attach_json(struct desk *d, const struct app *a, bool already);
/* Its place is free again. */
void app_clear(struct app *a);
/* The step that a->step names; what follows comes with its answer. */
void step_begin(struct desk *d, struct app *a);
void app_stop(struct desk *d, struct app *a);
/* Strings of the call behind one another as the keeper wants them. False: they are too many. */
bool vm_strings(struct ipc_vm *vm, const json_t *list, uint16_t *ret_n) __attribute__((warn_unused_result));
/* shares.c. Members "rw" and "home" of Run, and whether the descriptors are those wanted. False: an error was replied.
 */
bool vm_shares(struct desk *d, struct client *c, struct ipc_vm *vm, uint32_t owner) __attribute__((warn_unused_result));
/* It is seen in the guest, at the same path. */
bool vm_shared(const struct ipc_vm *vm, const char *path);
/* { "rw": [path…], "home": null, "app" or a path } */
json_t *shares_json(const struct ipc_shares *s);
/* The same for the history, "rw /srv/a, home app"; as much as fits. */
void shares_text(const json_t *lent, char *buf, size_t cap);
int shares_store(struct desk *d, const struct app *a) __attribute__((warn_unused_result));
void shares_load(struct desk *d);
/* The files that a profile names are the client's to open: he is told which, and calls again. True: he was, or an
 * error was replied. */
bool wants_files(struct desk *d, struct client *c, const struct profile *p);
/* Member "ask" of the call as enum ipc_ask_mode. False: an error was replied. */
bool arg_ask(struct desk *d, struct client *c, uint8_t *ret);

#endif
