/* SPDX-License-Identifier: Apache-2.0 */
#include "role/role.h"

#include "base/log.h"
#include "role/boot.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int role_adopt(struct role *r, enum role_id peer, int fd)
{
	struct frame_chan *c;
	int err = frame_chan_new(fd, &c);
	if (err != 0)
		return err;
	if (r->chan[peer] != NULL) {
		loop_del(r->loop, frame_chan_fd(r->chan[peer]));
		frame_chan_free(r->chan[peer]);
	}
	r->chan[peer] = c;
	return loop_add(r->loop, fd, EPOLLIN, (uint8_t)peer, peer);
}

static void role_lost(struct role *r, enum role_id peer)
{
	loop_del(r->loop, frame_chan_fd(r->chan[peer]));
	frame_chan_free(r->chan[peer]);
	r->chan[peer] = NULL;
	if (peer == ROLE_MAIN)
		r->stopping = true;
}

/* A channel given by main; *ret_peer is the role behind it. */
static int role_take_channel(struct role *r, struct frame *f, enum role_id *ret_peer)
{
	struct ipc_u32 peer;
	if (!ipc_u32_get(f->body, f->len, &peer) || peer.v == 0 || peer.v >= ROLE_COUNT || f->n_fds != 1)
		return -EPROTO;
	int err = role_adopt(r, (enum role_id)peer.v, f->fds[0]);
	if (err != 0)
		return err;
	f->n_fds = 0;
	*ret_peer = (enum role_id)peer.v;
	return 0;
}

static int role_take_config(struct role *r, const struct frame *f)
{
	struct conf_error e;
	return conf_parse((const char *)f->body, f->len, &r->conf, &e);
}

int role_boot(enum role_id id, int main_fd, struct role *ret)
{
	struct role r = { .id = id };
	int err = loop_new(&r.loop);
	if (err != 0)
		return err;
	err = role_adopt(&r, ROLE_MAIN, main_fd);
	bool started = false;
	while (err == 0 && !started) {
		struct pollfd p = { .fd = main_fd, .events = POLLIN };
		struct frame f;
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return -errno;
		int got = frame_recv(r.chan[ROLE_MAIN], &f);
		if (got <= 0) {
			err = got;
			continue;
		}
		enum role_id peer;
		if (f.type == IPC_CONFIG)
			err = role_take_config(&r, &f);
		else if (f.type == IPC_CHANNEL)
			err = role_take_channel(&r, &f, &peer);
		else if (f.type == IPC_START)
			started = true;
		else
			err = -EPROTO;
		frame_close_fds(&f);
	}
	if (err == 0)
		*ret = r;
	return err;
}

/* What is the same for every role; true when the frame has been dealt with. */
static bool role_handle(struct role *r, enum role_id from, struct frame *f, enum role_id *ret_from)
{
	if (from != ROLE_MAIN)
		return false;
	if (f->type == IPC_STOP) {
		r->stopping = true;
		return r->id != ROLE_DESK && r->id != ROLE_KEEPER;
	}
	if (f->type == IPC_CHANNEL) {
		int err = role_take_channel(r, f, ret_from);
		frame_close_fds(f);
		if (err != 0)
			log_msg(LOG_ERROR, "a channel from main cannot be used: %s", strerror(-err));
		return err != 0;
	}
	return false;
}

int role_recv(struct role *r, const struct loop_event *ev, enum role_id *ret_from, struct frame *ret)
{
	enum role_id from = (enum role_id)ev->ref.index;
	/* The event may be of a channel that was replaced since. */
	if (r->chan[from] == NULL || frame_chan_fd(r->chan[from]) != ev->ref.fd)
		return 0;
	if (ev->events & EPOLLOUT) {
		int err = frame_flush(r->chan[from]);
		if (err == 0 && !frame_pending(r->chan[from]))
			err = loop_mod(r->loop, ev->ref.fd, EPOLLIN, (uint8_t)from, from);
		if (err != 0) {
			role_lost(r, from);
			return 0;
		}
	}
	for (;;) {
		struct frame f;
		int got = frame_recv(r->chan[from], &f);
		if (got == 0)
			return 0;
		if (got < 0) {
			if (got != -EPIPE)
				log_msg(LOG_ERROR, "channel to %s: %s", role_name(from), strerror(-got));
			role_lost(r, from);
			return 0;
		}
		enum role_id subject = from;
		if (role_handle(r, from, &f, &subject))
			continue;
		*ret_from = subject;
		*ret = f;
		return 1;
	}
}

bool role_send(struct role *r, enum role_id to, uint16_t type, uint32_t id, const void *body, size_t len,
	const int *fds, unsigned n_fds)
{
	if (r->chan[to] == NULL)
		return false;
	bool waited = frame_pending(r->chan[to]);
	int err = frame_send(r->chan[to], type, id, body, len, fds, n_fds);
	if (err != 0) {
		if (err != -EPIPE)
			log_msg(LOG_ERROR, "cannot send message %u to %s: %s", type, role_name(to), strerror(-err));
		return false;
	}
	int fd = frame_chan_fd(r->chan[to]);
	if (!waited && frame_pending(r->chan[to]) && loop_mod(r->loop, fd, EPOLLIN | EPOLLOUT, (uint8_t)to, to) != 0)
		return false;
	return true;
}

bool role_result(struct role *r, enum role_id to, uint32_t id, int err, uint32_t value, const char *text)
{
	struct ipc_result m = { .err = err, .value = value };
	ipc_text_set(&m.text, text == NULL ? "" : text);
	return role_send_msg(r, to, IPC_RESULT, id, result, &m, NULL, 0);
}

void role_ready(struct role *r)
{
	role_send(r, ROLE_MAIN, IPC_READY, 0, NULL, 0, NULL, 0);
}

int role_run(enum role_id id, int (*serve)(struct role *r))
{
	static char said[32];
	struct role r;
	snprintf(said, sizeof(said), "sekishod[%s]", role_name(id));
	log_open(said, LOG_INFO);
	prctl(PR_SET_NAME, role_name(id), 0, 0, 0);
	umask(077);
	int err = role_boot(id, 3, &r);
	if (err == 0)
		err = serve(&r);
	if (err != 0)
		log_msg(LOG_ERROR, "ends: %s", strerror(-err));
	return err == 0 ? 0 : 1;
}
