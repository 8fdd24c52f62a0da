/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/side.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct wr vm_side_begin(struct vm_side *s)
{
	if (s->head > 0) {
		memmove(s->queue, s->queue + s->head, s->len);
		s->head = 0;
	}
	struct wr w = wr_init(s->queue, VM_QUEUE_CAP);
	w.len = s->len;
	return w;
}

bool vm_side_end(struct vm_side *s, const struct wr *w)
{
	if (!wr_ok(w))
		return false;
	s->len = w->len;
	return true;
}

bool vm_side_frame(struct vm_side *s, const struct agent_frame *f)
{
	struct wr w = vm_side_begin(s);
	agent_put(&w, f->type, f->stream, f->body, f->len);
	return vm_side_end(s, &w);
}

bool vm_side_flush(struct vm_side *s, int fd)
{
	while (s->len > 0 && fd >= 0) {
		ssize_t n = send(fd, s->queue + s->head, s->len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		s->head += (size_t)n;
		s->len -= (size_t)n;
	}
	if (s->len == 0)
		s->head = 0;
	return fd >= 0;
}

void vm_side_forget(struct vm_side *s)
{
	s->len = 0;
	s->in.have = 0;
}
