/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "desk/desk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int clients_init(struct desk *d, int listener)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++)
		d->clients[i].fd = -1;
	d->listener = listener;
	return loop_add(d->role->loop, listener, EPOLLIN, DESK_LISTEN, 0);
}

static struct client *client_place(struct desk *d, uid_t uid)
{
	struct client *free_one = NULL;
	unsigned same = 0;
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		if (d->clients[i].fd < 0)
			free_one = free_one == NULL ? &d->clients[i] : free_one;
		else
			same += d->clients[i].uid == uid;
	}
	return same < DESK_CLIENTS_PER_UID ? free_one : NULL;
}

/* Tells in varlink's form why the connection is not kept; what does not fit into the socket at once is not waited for.
 */
static void turn_away(int fd, const char *error, const char *text)
{
	char buf[512];
	int n = snprintf(buf, sizeof(buf), "{\"error\":\"%s\",\"parameters\":{\"text\":\"%s\"}}", error, text);
	(void)!send(fd, buf, (size_t)n + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void client_take(struct desk *d, int fd, const struct ucred *cred)
{
	struct host_user user;
	if (host_user_by_uid(&d->host, cred->uid, &user) != 0) {
		turn_away(fd, "org.sekisho.NotPermitted", "your user id has no entry in /etc/passwd");
		return;
	}
	struct client *c = client_place(d, cred->uid);
	struct api_conn *conn = NULL;
	if (c == NULL || api_conn_new(&conn) != 0 ||
		loop_add(d->role->loop, fd, EPOLLIN | EPOLLRDHUP, DESK_CLIENT, (uint32_t)(c - d->clients)) != 0) {
		api_conn_free(conn);
		turn_away(fd, "org.sekisho.Limit", "too many connections to the control socket; close some");
		return;
	}
	*c = (struct client){ .fd = fd,
		.uid = cred->uid,
		.gid = cred->gid,
		.pid = cred->pid,
		.user = user,
		.conn = conn };
	auth_client_begin(d, c);
}

void clients_accept(struct desk *d)
{
	for (unsigned i = 0; i < 64; i++) {
		int fd = accept4(d->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		struct ucred cred;
		socklen_t len = sizeof(cred);
		if (host_users_stale(&d->host)) {
			/* Who is who has changed under us: a fresh desk reads it again; it costs nobody a grant or a
			 * question. */
			d->restart = true;
			turn_away(fd, "org.sekisho.Failed", "the users of this computer have just changed; try again");
		} else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
			close(fd);
		} else {
			client_take(d, fd, &cred);
		}
	}
}

void client_close(struct desk *d, struct client *c)
{
	if (c->fd < 0)
		return;
	apps_client_gone(d, c);
	learn_client_gone(d, c);
	auth_client_end(d, c);
	loop_del(d->role->loop, c->fd);
	close(c->fd);
	api_fds_drop(&c->fds);
	api_conn_free(c->conn);
	json_decref(c->reply);
	*c = (struct client){ .fd = -1 };
}

static void client_write(struct desk *d, struct client *c)
{
	const char *p;
	size_t len;
	while (!c->dead && (len = api_conn_out(c->conn, &p)) > 0) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->dead = errno != EAGAIN;
			break;
		}
		api_conn_sent(c->conn, (size_t)n);
	}
	bool writing = api_conn_out(c->conn, &p) > 0;
	if (writing == c->writing || c->dead)
		return;
	c->writing = writing;
	uint32_t events = EPOLLIN | EPOLLRDHUP | (writing ? (uint32_t)EPOLLOUT : 0);
	if (loop_mod(d->role->loop, c->fd, events, DESK_CLIENT, (uint32_t)(c - d->clients)) != 0)
		c->dead = true;
}

/* The next call when it is whole. One a turn, so that many which came together do not starve the rest. */
static void client_call(struct desk *d, struct client *c)
{
	int got = c->fd < 0 || c->dead || c->wait != CLIENT_READY ? 0 : api_conn_next(c->conn, &c->call);
	if (got < 0)
		c->dead = true;
	if (got != 1)
		return;
	/* What it changed is looked at before we wait again. */
	d->again = true;
	c->has_call = true;
	int served = api_service(c->conn, &c->call, SEKISHO_VERSION);
	if (served < 0)
		c->dead = true;
	else if (served == 0)
		api_dispatch(d, c);
}

/* Whoever is told things from now on has said what he had to say. */
static void client_forget(struct client *c)
{
	if (c->call.params == NULL || (c->wait != CLIENT_SERVES && c->wait != CLIENT_FOLLOWS &&
					      c->wait != CLIENT_WATCHES && c->wait != CLIENT_LEARNS))
		return;
	api_conn_forget(c->conn);
	c->call.params = NULL;
}

void clients_flush(struct desk *d)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd < 0)
			continue;
		/* A call that had to wait for the answer to the one before. */
		client_call(d, c);
		if (c->fd < 0)
			continue;
		client_forget(c);
		client_write(d, c);
		watch_pump(d, c);
		serve_pump(d, c);
		if (c->dead)
			client_close(d, c);
		else if (c->fd >= 0 && c->wait == CLIENT_READY && api_conn_has_call(c->conn))
			d->again = true;
	}
}

void client_event(struct desk *d, const struct loop_event *ev)
{
	struct client *c = &d->clients[ev->ref.index % DESK_CLIENTS];
	if (c->fd != ev->ref.fd)
		return;
	if (ev->events & (EPOLLERR | EPOLLHUP))
		c->dead = true;
	char *p;
	size_t room;
	/* One read per turn keeps one client from starving the rest; a client in a call is read only to see it go. */
	if (!c->dead && (ev->events & (EPOLLIN | EPOLLRDHUP)) != 0) {
		if (api_conn_room(c->conn, &p, &room) != 0) {
			c->dead = true;
			return;
		}
		ssize_t n = api_fds_recv(c->fd, p, room, &c->fds);
		if (n > 0)
			api_conn_add(c->conn, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			c->dead = true;
	}
}

static void client_done(struct client *c, int err)
{
	c->has_call = false;
	api_fds_drop(&c->fds);
	c->wait = CLIENT_READY;
	auth_call_end(c);
	if (err != 0)
		c->dead = true;
}

void client_reply(struct desk *d, struct client *c, json_t *params)
{
	int err = api_conn_reply(c->conn, params, false);
	if (err == -EMSGSIZE)
		err = api_conn_error(c->conn, "org.sekisho.Limit",
			json_pack("{s:s, s:i, s:s}", "what", "bytes of a reply", "limit", (int)API_MESSAGE_MAX, "text",
				"the reply is too long for one message; what was asked for has been done"));
	client_done(c, err);
	client_write(d, c);
}

void client_stream(struct desk *d, struct client *c, json_t *params)
{
	if (api_conn_reply(c->conn, params, true) != 0)
		c->dead = true;
	client_write(d, c);
}

void client_error(struct desk *d, struct client *c, const char *error, json_t *params)
{
	client_done(c, api_conn_error(c->conn, error, params));
	client_write(d, c);
}

static void __attribute__((format(printf, 4, 0)))
client_vfail(struct desk *d, struct client *c, const char *error, const char *fmt, va_list ap)
{
	char text[1024], escaped[2048];
	vsnprintf(text, sizeof(text), fmt, ap);
	client_error(d, c, error,
		json_pack("{s:s}", "text", text_escape(text, strlen(text), escaped, sizeof(escaped))));
}

void client_fail(struct desk *d, struct client *c, const char *error, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	client_vfail(d, c, error, fmt, ap);
	va_end(ap);
}

void client_denied(struct desk *d, struct client *c, const char *fmt, ...)
{
	char text[1024], escaped[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	auth_deny(d, c, RIGHT_ADMIN, text_escape(text, strlen(text), escaped, sizeof(escaped)));
}

void client_no_such(struct desk *d, struct client *c, const char *kind, const char *what)
{
	char text[512];
	snprintf(text, sizeof(text), "there is no %s \"%.400s\"", kind, what);
	client_error(d, c, "org.sekisho.NoSuchThing",
		json_pack("{s:s, s:s, s:s}", "kind", kind, "what", what, "text", text));
}

void client_reply_in_force(struct desk *d, struct client *c, json_t *params, uint64_t generation)
{
	bool active = d->in_force >= generation;
	if (active || d->role->chan[ROLE_GATE] == NULL) {
		json_object_set_new(params, "in_force", json_boolean(active));
		client_reply(d, c, params);
		return;
	}
	c->wait = CLIENT_POLICY;
	c->reply = params;
	c->generation = generation;
}

void clients_in_force(struct desk *d)
{
	for (unsigned i = 0; i < DESK_CLIENTS; i++) {
		struct client *c = &d->clients[i];
		if (c->fd < 0 || c->wait != CLIENT_POLICY)
			continue;
		if (d->in_force < c->generation && d->role->chan[ROLE_GATE] != NULL)
			continue;
		json_t *reply = c->reply;
		c->reply = NULL;
		client_reply_in_force(d, c, reply, c->generation);
	}
}

int client_take_fd(struct desk *d, struct client *c)
{
	const char *p;
	client_write(d, c);
	if (c->dead || api_conn_out(c->conn, &p) > 0 || api_conn_has_input(c->conn))
		return -1;
	int fd = c->fd;
	auth_client_end(d, c);
	api_fds_drop(&c->fds);
	loop_del(d->role->loop, fd);
	api_conn_free(c->conn);
	*c = (struct client){ .fd = -1 };
	return fd;
}
