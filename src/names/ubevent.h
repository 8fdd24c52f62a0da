/* SPDX-License-Identifier: Apache-2.0 */
#ifndef NAMES_UBEVENT_H
#define NAMES_UBEVENT_H

#include "base/loop.h"

#include <unbound.h>

#include <unbound-event.h>

/*
 * The event base that libunbound asks for (unbound-event.h), on our loop: its descriptors are watched under one loop
 * type, its timers are one deadline. So libunbound runs inside the role's own turn of the loop, without a thread, a
 * pipe or libevent.
 */
struct ubevent;

/* `type` is the loop type of all its descriptors. */
int ubevent_new(struct loop *l, uint8_t type, struct ubevent **ret) __attribute__((warn_unused_result));
struct ub_event_base *ubevent_base(struct ubevent *u);
/* A ready descriptor of this type. */
void ubevent_handle(struct ubevent *u, const struct loop_event *ev);
/* When ubevent_tick() is due (clock_boot_ms()); -1: never. */
int64_t ubevent_deadline(const struct ubevent *u);
void ubevent_tick(struct ubevent *u);

#endif
