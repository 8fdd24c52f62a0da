/* SPDX-License-Identifier: Apache-2.0 */
#include "api/fds.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void take(struct msghdr *msg, struct api_fds *fds, struct api_fds *surplus)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			struct api_fds *to = fds->n < API_FDS_MAX ? fds : surplus;
			memcpy(&to->fd[to->n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		}
	}
}

ssize_t api_fds_recv(int socket, void *p, size_t room, struct api_fds *fds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * API_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = p, .iov_len = room };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = fd_closers_free() ? sizeof(control.buf) : 0 };
	struct api_fds surplus = { 0 };
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return n;
	take(&msg, fds, &surplus);
	/* What had no room was dropped by the kernel. */
	if (surplus.n == 0 && ((msg.msg_flags & MSG_CTRUNC) == 0 || msg.msg_controllen == 0))
		return n;
	api_fds_drop(&surplus);
	errno = EMFILE;
	return -1;
}

void api_fds_drop(struct api_fds *fds)
{
	fd_close_aside(fds->fd, fds->n);
	fds->n = 0;
}

int api_fds_send(int socket, const void *p, size_t len, const struct api_fds *fds, size_t *ret_sent)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * API_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_len = len };
	memcpy(&iov.iov_base, &p, sizeof(p));
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = CMSG_SPACE(sizeof(int) * fds->n) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * fds->n);
	memcpy(CMSG_DATA(c), fds->fd, sizeof(int) * fds->n);
	ssize_t n;
	do
		n = sendmsg(socket, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_sent = (size_t)n;
	return 0;
}
