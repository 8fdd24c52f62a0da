/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One epoll per process. A descriptor is watched under a typed reference: `type` is the process's own enum, `index` a
 * slot in one of its tables. The process has one switch over the type; there are no callbacks.
 */
struct loop_ref {
	uint8_t type;
	uint32_t index; /* 24 bits */
	int fd;
};

struct loop_event {
	struct loop_ref ref;
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLHUP, ... */
};

struct loop;

int loop_new(struct loop **ret) __attribute__((warn_unused_result));
void loop_free(struct loop *l);
/* 0 or negative errno. The fd stays the caller's. */
int loop_add(struct loop *l, int fd, uint32_t events, uint8_t type, uint32_t index) __attribute__((warn_unused_result));
int loop_mod(struct loop *l, int fd, uint32_t events, uint8_t type, uint32_t index) __attribute__((warn_unused_result));
/* To be called before the fd is closed. Events of this fd not yet returned by loop_next() are dropped. */
void loop_del(struct loop *l, int fd);
/* Waits until `deadline_ms` (clock_boot_ms time; -1: for ever) and returns one event at a time; false: the deadline
 * came. */
bool loop_next(struct loop *l, int64_t deadline_ms, struct loop_event *ret);
/* Readable when loop_next() has something, for a library that sleeps in poll(2) of its own. All that is there must be
 * taken before: of what was read already it knows nothing. */
int loop_fd(const struct loop *l);

#endif
