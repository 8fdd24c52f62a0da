/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation. libunbound holds `struct event`s through the tables of functions below; each keeps a slot of
 * ours from new_event() to free(). A callback may free, change or add any event, its own too: nothing of an event is
 * used after its callback ran, and a readiness that was read earlier is matched by slot, descriptor and activity. A
 * persistent event keeps its timeout only until it fires once, as in unbound's own mini_event.c, which these functions
 * follow.
 */
#include "names/ubevent.h"

#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/time.h>

enum { EVENTS_MAX = 8192 };

struct event {
	struct ub_event ub; /* first: libunbound holds a pointer to it */
	struct ubevent *owner;
	unsigned slot;
	int fd;
	short bits;
	bool watched; /* in the loop */
	bool timed;
	int64_t deadline_ms;
	void (*cb)(int, short, void *);
	void *arg;
};

struct ubevent {
	struct ub_event_base base; /* first */
	struct loop *loop;
	uint8_t type;
	int64_t next_ms; /* not later than the first deadline; -1: no timer */
	unsigned n_slots;
	struct event *slot[EVENTS_MAX];
};

/* The API gives back the pointer to the first member. */
static struct event *event_of(struct ub_event *e)
{
	return (struct event *)(void *)e;
}

static void unwatch(struct event *e)
{
	if (e->watched)
		loop_del(e->owner->loop, e->fd);
	e->watched = false;
}

static int deactivate(struct ub_event *ub)
{
	struct event *e = event_of(ub);
	unwatch(e);
	e->timed = false;
	return 0;
}

static void start_timer(struct event *e, const struct timeval *tv)
{
	struct ubevent *u = e->owner;
	e->timed = true;
	/* Rounded up, so that a timer never comes early. */
	e->deadline_ms = clock_boot_ms() + (int64_t)tv->tv_sec * 1000 + (tv->tv_usec + 999) / 1000;
	if (u->next_ms < 0 || e->deadline_ms < u->next_ms)
		u->next_ms = e->deadline_ms;
}

static int watch(struct event *e)
{
	uint32_t events = ((e->bits & UB_EV_READ) != 0 ? EPOLLIN : 0U) | ((e->bits & UB_EV_WRITE) != 0 ? EPOLLOUT : 0U);
	if (e->fd < 0 || events == 0)
		return 0;
	int err = e->watched ? loop_mod(e->owner->loop, e->fd, events, e->owner->type, e->slot)
			     : loop_add(e->owner->loop, e->fd, events, e->owner->type, e->slot);
	e->watched = err == 0;
	return err;
}

static int activate(struct ub_event *ub, struct timeval *tv)
{
	struct event *e = event_of(ub);
	e->timed = false;
	if (tv != NULL && (e->bits & UB_EV_TIMEOUT) != 0)
		start_timer(e, tv);
	return watch(e) == 0 ? 0 : -1;
}

static void add_bits(struct ub_event *ub, short bits)
{
	struct event *e = event_of(ub);
	e->bits = (short)(e->bits | bits);
}

static void del_bits(struct ub_event *ub, short bits)
{
	struct event *e = event_of(ub);
	e->bits = (short)(e->bits & ~bits);
}

static void set_fd(struct ub_event *ub, int fd)
{
	struct event *e = event_of(ub);
	unwatch(e);
	e->fd = fd;
}

static void event_free(struct ub_event *ub)
{
	struct event *e = event_of(ub);
	if (e == NULL)
		return;
	deactivate(ub);
	e->owner->slot[e->slot] = NULL;
	free(e);
}

static int add_timer(struct ub_event *ub, struct ub_event_base *base, void (*cb)(int, short, void *), void *arg,
	struct timeval *tv)
{
	struct event *e = event_of(ub);
	(void)base;
	unwatch(e);
	e->cb = cb;
	e->arg = arg;
	e->fd = -1;
	start_timer(e, tv);
	return 0;
}

static int no_signal(struct ub_event *ub, struct timeval *tv)
{
	(void)ub;
	(void)tv;
	return -1;
}

static int no_signal_del(struct ub_event *ub)
{
	(void)ub;
	return -1;
}

static void no_winsock(struct ub_event *ub)
{
	(void)ub;
}

static void no_winsock_block(struct ub_event *ub, int bit)
{
	(void)ub;
	(void)bit;
}

static struct ub_event_vmt event_table = { .add_bits = add_bits,
	.del_bits = del_bits,
	.set_fd = set_fd,
	.free = event_free,
	.add = activate,
	.del = deactivate,
	.add_timer = add_timer,
	.del_timer = deactivate,
	.add_signal = no_signal,
	.del_signal = no_signal_del,
	.winsock_unregister_wsaevent = no_winsock,
	.winsock_tcp_wouldblock = no_winsock_block };

static struct ub_event *new_event(struct ub_event_base *base, int fd, short bits, void (*cb)(int, short, void *),
	void *arg)
{
	struct ubevent *u = (struct ubevent *)(void *)base;
	unsigned slot = 0;
	while (slot < u->n_slots && u->slot[slot] != NULL)
		slot++;
	if (slot == EVENTS_MAX)
		return NULL;
	struct event *e = calloc(1, sizeof(*e));
	if (e == NULL)
		return NULL;
	*e = (struct event){ .ub = { UB_EVENT_MAGIC, &event_table },
		.owner = u,
		.slot = slot,
		.fd = fd,
		.bits = bits,
		.cb = cb,
		.arg = arg };
	u->slot[slot] = e;
	if (slot == u->n_slots)
		u->n_slots++;
	return &e->ub;
}

static struct ub_event *new_signal(struct ub_event_base *base, int fd, void (*cb)(int, short, void *), void *arg)
{
	(void)base;
	(void)fd;
	(void)cb;
	(void)arg;
	return NULL;
}

static struct ub_event *new_wsaevent(struct ub_event_base *base, void *wsa, void (*cb)(int, short, void *), void *arg)
{
	(void)base;
	(void)wsa;
	(void)cb;
	(void)arg;
	return NULL;
}

static void base_free(struct ub_event_base *base)
{
	(void)base;
}

static int base_dispatch(struct ub_event_base *base)
{
	(void)base;
	return -1;
}

static int base_loopexit(struct ub_event_base *base, struct timeval *tv)
{
	(void)base;
	(void)tv;
	return -1;
}

static struct ub_event_base_vmt base_table = { .free = base_free,
	.dispatch = base_dispatch,
	.loopexit = base_loopexit,
	.new_event = new_event,
	.new_signal = new_signal,
	.winsock_register_wsaevent = new_wsaevent };

int ubevent_new(struct loop *l, uint8_t type, struct ubevent **ret)
{
	struct ubevent *u = calloc(1, sizeof(*u));
	if (u == NULL)
		return -ENOMEM;
	u->base = (struct ub_event_base){ UB_EVENT_MAGIC, &base_table };
	u->loop = l;
	u->type = type;
	u->next_ms = -1;
	*ret = u;
	return 0;
}

struct ub_event_base *ubevent_base(struct ubevent *u)
{
	return &u->base;
}

static void fire(struct event *e, short bits)
{
	if ((e->bits & UB_EV_PERSIST) == 0)
		deactivate(&e->ub);
	e->cb(e->fd, bits, e->arg);
}

void ubevent_handle(struct ubevent *u, const struct loop_event *ev)
{
	struct event *e = ev->ref.index < u->n_slots ? u->slot[ev->ref.index] : NULL;
	if (e == NULL || !e->watched || e->fd != ev->ref.fd)
		return;
	bool broken = (ev->events & (EPOLLERR | EPOLLHUP)) != 0;
	short bits = (short)((broken || (ev->events & EPOLLIN) != 0 ? UB_EV_READ : 0) |
			     (broken || (ev->events & EPOLLOUT) != 0 ? UB_EV_WRITE : 0));
	bits = (short)(bits & e->bits);
	if (bits != 0)
		fire(e, bits);
}

int64_t ubevent_deadline(const struct ubevent *u)
{
	return u->next_ms;
}

void ubevent_tick(struct ubevent *u)
{
	int64_t now = clock_boot_ms();
	if (u->next_ms < 0 || now < u->next_ms)
		return;
	/* Only what is due now: a timer that a callback starts waits for the next turn, even with no time at all. */
	for (unsigned i = 0; i < u->n_slots; i++) {
		struct event *e = u->slot[i];
		if (e == NULL || !e->timed || e->deadline_ms > now)
			continue;
		e->timed = false;
		fire(e, UB_EV_TIMEOUT);
	}
	u->next_ms = -1;
	for (unsigned i = 0; i < u->n_slots; i++) {
		const struct event *e = u->slot[i];
		if (e != NULL && e->timed && (u->next_ms < 0 || e->deadline_ms < u->next_ms))
			u->next_ms = e->deadline_ms;
	}
}
