/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/side.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

struct wr vm_side_begin(struct vm_side *s)
{
	if (s->head > 0) {
		memmove(s->queue, s->queue + s->head, s->len);
		if (s->data_at < s->head)
			s->data_len = 0;
		s->data_at -= s->head;
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
	s->data_len = 0;
	return true;
}

bool vm_side_frame(struct vm_side *s, const struct agent_frame *f)
{
	struct wr w = vm_side_begin(s);
	agent_put(&w, f->type, f->stream, f->body, f->len);
	return vm_side_end(s, &w);
}

static bool joins(const struct vm_side *s, const struct agent_frame *f)
{
	return s->data_len > 0 && s->data_of == f->stream && s->data_len + f->len <= AGENT_DATA_MAX;
}

bool vm_side_data(struct vm_side *s, const struct agent_frame *f)
{
	enum { LENGTH_AT = 4 };
	struct wr w = vm_side_begin(s);
	bool join = joins(s, f);
	size_t at = join ? s->data_at : s->len, len = join ? s->data_len + f->len : f->len;
	if (join)
		wr_bytes(&w, f->body, f->len);
	else
		agent_put(&w, f->type, f->stream, f->body, f->len);
	if (!vm_side_end(s, &w))
		return false;
	struct wr length = wr_init(s->queue + at + LENGTH_AT, 4);
	wr_u32(&length, (uint32_t)len);
	s->data_at = at;
	s->data_len = len;
	s->data_of = f->stream;
	return true;
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
		s->head = s->data_len = 0;
	return fd >= 0;
}

void vm_side_forget(struct vm_side *s)
{
	s->len = s->data_len = 0;
	s->in.have = 0;
}
