/* SPDX-License-Identifier: Apache-2.0 */
#include "base/frame.h"

#include "base/rd.h"
#include "base/wr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 8, SOCKET_BUFFER = 4 << 20 };

struct queued {
	struct queued *next;
	size_t len;
	unsigned n_fds;
	int fds[FRAME_FDS_MAX];
	uint8_t bytes[];
};

struct frame_chan {
	int fd;
	unsigned n_queued;
	struct queued *head, *tail;
	uint8_t buf[HEADER + FRAME_BODY_MAX];
};

int frame_pair(int ret[2])
{
	int fds[2], room = SOCKET_BUFFER;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		/* Root may pass the system's limit; without the right the limit itself has to do. */
		if (setsockopt(fds[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) != 0)
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	}
	ret[0] = fds[0];
	ret[1] = fds[1];
	return 0;
}

int frame_chan_new(int fd, struct frame_chan **ret)
{
	struct frame_chan *c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
		int err = -errno;
		free(c);
		return err;
	}
	c->fd = fd;
	*ret = c;
	return 0;
}

static void close_all(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

static void queued_free(struct queued *q)
{
	close_all(q->fds, q->n_fds);
	free(q);
}

void frame_chan_free(struct frame_chan *c)
{
	if (c == NULL)
		return;
	for (struct queued *q = c->head, *next; q != NULL; q = next) {
		next = q->next;
		queued_free(q);
	}
	close(c->fd);
	free(c);
}

int frame_chan_fd(const struct frame_chan *c)
{
	return c->fd;
}

static int frame_sendmsg(int fd, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
	} control;
	struct msghdr msg = { .msg_iovlen = n_iov };
	memcpy(&msg.msg_iov, &iov, sizeof(iov));
	if (n_fds > 0) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	for (;;) {
		if (sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		if (errno == EINTR)
			continue;
		return errno == EAGAIN || errno == ENOBUFS ? -EAGAIN : errno == ECONNRESET ? -EPIPE : -errno;
	}
}

static int frame_enqueue(struct frame_chan *c, const uint8_t header[HEADER], const void *body, size_t len,
	const int *fds, unsigned n_fds)
{
	if (c->n_queued >= FRAME_QUEUE_MAX)
		return -ENOBUFS;
	struct queued *q = calloc(1, sizeof(*q) + HEADER + len);
	if (q == NULL)
		return -ENOMEM;
	memcpy(q->bytes, header, HEADER);
	if (len > 0)
		memcpy(q->bytes + HEADER, body, len);
	q->len = HEADER + len;
	for (; q->n_fds < n_fds; q->n_fds++) {
		q->fds[q->n_fds] = fcntl(fds[q->n_fds], F_DUPFD_CLOEXEC, 3);
		if (q->fds[q->n_fds] < 0) {
			int err = -errno;
			queued_free(q);
			return err;
		}
	}
	if (c->tail != NULL)
		c->tail->next = q;
	else
		c->head = q;
	c->tail = q;
	c->n_queued++;
	return 0;
}

int frame_send(struct frame_chan *c, uint16_t type, uint32_t id, const void *body, size_t len, const int *fds,
	unsigned n_fds)
{
	if (len > FRAME_BODY_MAX || n_fds > FRAME_FDS_MAX)
		return -EMSGSIZE;
	uint8_t header[HEADER];
	struct wr w = wr_init(header, sizeof(header));
	wr_u16(&w, type);
	wr_u16(&w, 0);
	wr_u32(&w, id);
	if (c->head == NULL) {
		struct iovec iov[2] = { { .iov_base = header, .iov_len = HEADER }, { .iov_len = len } };
		memcpy(&iov[1].iov_base, &body, sizeof(body));
		int err = frame_sendmsg(c->fd, iov, len > 0 ? 2 : 1, fds, n_fds);
		if (err != -EAGAIN)
			return err;
	}
	return frame_enqueue(c, header, body, len, fds, n_fds);
}

bool frame_pending(const struct frame_chan *c)
{
	return c->head != NULL;
}

int frame_flush(struct frame_chan *c)
{
	while (c->head != NULL) {
		struct queued *q = c->head;
		struct iovec iov = { .iov_base = q->bytes, .iov_len = q->len };
		int err = frame_sendmsg(c->fd, &iov, 1, q->fds, q->n_fds);
		if (err == -EAGAIN)
			return 0;
		if (err != 0)
			return err;
		c->head = q->next;
		if (c->head == NULL)
			c->tail = NULL;
		c->n_queued--;
		queued_free(q);
	}
	return 0;
}

static void frame_take_fds(struct msghdr *msg, struct frame *f)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (f->n_fds < FRAME_FDS_MAX)
				f->fds[f->n_fds++] = fd;
			else
				close(fd);
		}
	}
}

int frame_recv(struct frame_chan *c, struct frame *ret)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * FRAME_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = c->buf, .iov_len = sizeof(c->buf) };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf) };
	ssize_t n;
	do
		n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
	struct frame f = { 0 };
	frame_take_fds(&msg, &f);
	/* A SOCK_SEQPACKET peer that has gone reads as zero bytes; no frame of ours is empty. */
	if (n == 0)
		return -EPIPE;
	struct rd r = rd_init(c->buf, (size_t)n);
	f.type = rd_u16(&r);
	uint16_t zero = rd_u16(&r);
	f.id = rd_u32(&r);
	if (!rd_ok(&r) || zero != 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		frame_close_fds(&f);
		return -EPROTO;
	}
	f.len = rd_left(&r);
	f.body = rd_bytes(&r, f.len);
	*ret = f;
	return 1;
}

void frame_close_fds(struct frame *f)
{
	close_all(f->fds, f->n_fds);
	f->n_fds = 0;
}
