/* SPDX-License-Identifier: Apache-2.0 */
#include "base/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 64 };

struct loop {
	int epfd;
	unsigned n, next;
	struct epoll_event batch[BATCH];
};

static uint64_t ref_pack(int fd, uint8_t type, uint32_t index)
{
	return (uint64_t)type << 56 | (uint64_t)(index & 0xffffffU) << 32 | (uint32_t)fd;
}

static struct loop_ref ref_unpack(uint64_t v)
{
	return (struct loop_ref){ .type = (uint8_t)(v >> 56),
		.index = (uint32_t)(v >> 32) & 0xffffffU,
		.fd = (int)(uint32_t)v };
}

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		int err = -errno;
		free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	close(l->epfd);
	free(l);
}

int loop_fd(const struct loop *l)
{
	return l->epfd;
}

static int loop_ctl(struct loop *l, int op, int fd, uint32_t events, uint8_t type, uint32_t index)
{
	struct epoll_event ev = { .events = events, .data.u64 = ref_pack(fd, type, index) };
	return epoll_ctl(l->epfd, op, fd, &ev) == 0 ? 0 : -errno;
}

int loop_add(struct loop *l, int fd, uint32_t events, uint8_t type, uint32_t index)
{
	return loop_ctl(l, EPOLL_CTL_ADD, fd, events, type, index);
}

int loop_mod(struct loop *l, int fd, uint32_t events, uint8_t type, uint32_t index)
{
	return loop_ctl(l, EPOLL_CTL_MOD, fd, events, type, index);
}

void loop_del(struct loop *l, int fd)
{
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL);
	/* The number may be reused before the batch is read out: nothing of the old descriptor may reach the new one.
	 */
	for (unsigned i = l->next; i < l->n; i++) {
		if (ref_unpack(l->batch[i].data.u64).fd == fd)
			l->batch[i].events = 0;
	}
}

static int loop_patience(int64_t deadline_ms)
{
	if (deadline_ms < 0)
		return -1;
	int64_t left = deadline_ms - clock_boot_ms();
	return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

bool loop_next(struct loop *l, int64_t deadline_ms, struct loop_event *ret)
{
	for (;;) {
		while (l->next < l->n) {
			const struct epoll_event *ev = &l->batch[l->next++];
			if (ev->events == 0)
				continue;
			*ret = (struct loop_event){ .ref = ref_unpack(ev->data.u64), .events = ev->events };
			return true;
		}
		l->next = l->n = 0;
		int n = epoll_wait(l->epfd, l->batch, BATCH, loop_patience(deadline_ms));
		if (n > 0)
			l->n = (unsigned)n;
		else if (deadline_ms >= 0 && clock_boot_ms() >= deadline_ms)
			return false;
	}
}
