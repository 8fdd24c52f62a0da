/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names role: port 53 of the guests, in a namespace of its own. Every query arrives here whatever server it was
 * sent to; conntrack gives the answer the source that was asked. It knows no rule and no address: it asks gate.
 *
 * A TCP client that keeps TCP_WAITING_MAX queries open is not read from until one is answered; it is closed when
 * TCP_IDLE_MS pass without a whole query or an answer taken, when it does not read its answers, and when it sends what
 * is no query.
 */
#include "names/clients.h"
#include "names/front.h"
#include "names/stream.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/roles.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SOCKETS = 4,
	TCP_MAX = 256,
	TCP_CLIENT_MAX = 16,
	TCP_IDLE_MS = 10000,
	TCP_WAITING_MAX = 16,
	UDP_BURST = 64,
	UDP_QUERY_MAX = 4096
};
enum { EV_UDP = ROLE_COUNT, EV_LISTEN, EV_TCP };

/* Where the answer to a waiting query goes. */
struct route {
	bool tcp;
	unsigned socket; /* index of the UDP socket */
	unsigned conn;
	uint32_t generation;
	struct sockaddr_storage peer;
	socklen_t peer_len;
	uint8_t control[64]; /* the pktinfo of the query: the answer leaves from the address that was asked */
	size_t control_len;
};

struct conn {
	int fd; /* -1: free */
	uint32_t generation;
	struct addr client;
	struct stream *stream;
	unsigned waiting; /* queries without an answer yet */
	bool ended;	  /* the client sends no more */
	uint32_t events;  /* watched */
	int64_t active_ms;
};

struct names {
	struct role *r;
	struct front *front;
	struct clients *tcp_clients;
	int socket[SOCKETS]; /* UDP v4, UDP v6, TCP v4, TCP v6 */
	unsigned n_conns;
	struct conn conn[TCP_MAX];
	struct route route[FRONT_MAX];
	uint8_t msg[UDP_QUERY_MAX], answer[DNS_MESSAGE_MAX];
};

static bool addr_of(const struct sockaddr_storage *ss, struct addr *ret)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	if (ss->ss_family == AF_INET) {
		memcpy(&v4, ss, sizeof(v4));
		*ret = addr_v4(ntohl(v4.sin_addr.s_addr));
		return true;
	}
	if (ss->ss_family != AF_INET6)
		return false;
	memcpy(&v6, ss, sizeof(v6));
	*ret = addr_v6(v6.sin6_addr.s6_addr);
	return true;
}

/* While gate is away the query waits out its patience, and the guest's own retry asks again. */
static void ask_gate(struct names *n, uint32_t id, const struct ipc_lookup *l)
{
	role_send_msg(n->r, ROLE_GATE, IPC_LOOKUP, id, lookup, l, NULL, 0);
}

/* A datagram that cannot be sent is one the network lost. */
static void send_udp(struct names *n, struct route *to, void *p, size_t len)
{
	struct iovec iov = { .iov_base = p, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_name = &to->peer,
		.msg_namelen = to->peer_len,
		.msg_control = to->control_len > 0 ? to->control : NULL,
		.msg_controllen = to->control_len };
	ssize_t sent = sendmsg(n->socket[to->socket], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

static void conn_close(struct names *n, struct conn *c)
{
	loop_del(n->r->loop, c->fd);
	close(c->fd);
	clients_drop(n->tcp_clients, &c->client);
	stream_free(c->stream);
	*c = (struct conn){ .fd = -1, .generation = c->generation + 1 };
	n->n_conns--;
}

/* What the connection waits for now; closes it when that is nothing any more. */
static void conn_watch(struct names *n, struct conn *c)
{
	size_t out;
	bool writes = stream_out(c->stream, &out) != NULL, reads = !c->ended && c->waiting < TCP_WAITING_MAX;
	if (c->ended && !writes && c->waiting == 0) {
		conn_close(n, c);
		return;
	}
	uint32_t events = (reads ? EPOLLIN : 0U) | (writes ? EPOLLOUT : 0U);
	if (events == c->events)
		return;
	c->events = events;
	if (loop_mod(n->r->loop, c->fd, events, EV_TCP, (uint32_t)(c - n->conn)) != 0)
		conn_close(n, c);
}

/* False: closed. */
static bool conn_flush(struct names *n, struct conn *c)
{
	size_t len;
	for (const uint8_t *p; (p = stream_out(c->stream, &len)) != NULL;) {
		ssize_t sent = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			stream_out_done(c->stream, (size_t)sent);
			c->active_ms = clock_boot_ms();
		} else if (sent < 0 && errno == EAGAIN) {
			break;
		} else if (sent == 0 || errno != EINTR) {
			conn_close(n, c);
			return false;
		}
	}
	return true;
}

static void take_query(struct names *n, struct conn *c, const uint8_t *p, size_t len)
{
	struct ipc_lookup lookup;
	uint32_t id;
	size_t reply;
	switch (front_query(n->front, &c->client, true, p, len, clock_boot_ms(), &id, &lookup, n->answer,
		sizeof(n->answer), &reply)) {
	case FRONT_ASK:
		n->route[front_place(id)] =
			(struct route){ .tcp = true, .conn = (unsigned)(c - n->conn), .generation = c->generation };
		c->waiting++;
		ask_gate(n, id, &lookup);
		break;
	case FRONT_REPLY:
		if (stream_put(c->stream, n->answer, reply) != 0)
			conn_close(n, c);
		break;
	case FRONT_DROP:
		conn_close(n, c);
		break;
	}
}

/* Takes out as many whole queries as may wait at once, sends what there is to send, and watches for the rest. */
static void conn_turn(struct names *n, struct conn *c)
{
	const uint8_t *p;
	size_t len;
	int got = 0;
	while (c->fd >= 0 && c->waiting < TCP_WAITING_MAX && (got = stream_next(c->stream, &p, &len)) == 1) {
		c->active_ms = clock_boot_ms();
		take_query(n, c, p, len);
	}
	if (c->fd >= 0 && got < 0)
		conn_close(n, c);
	if (c->fd >= 0 && conn_flush(n, c))
		conn_watch(n, c);
}

static void take_tcp(struct names *n, struct conn *c)
{
	size_t room;
	uint8_t *space = stream_in(c->stream, &room);
	ssize_t got = room == 0 ? 0 : recv(c->fd, space, room, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got < 0) {
		conn_close(n, c);
		return;
	}
	if (got == 0 && room > 0)
		c->ended = true;
	stream_in_done(c->stream, (size_t)got);
	conn_turn(n, c);
}

static void deliver(struct names *n, uint32_t id, size_t len)
{
	struct route *to = &n->route[front_place(id)];
	if (len == 0)
		return;
	if (!to->tcp) {
		send_udp(n, to, n->answer, len);
		return;
	}
	struct conn *c = &n->conn[to->conn];
	if (c->fd < 0 || c->generation != to->generation)
		return;
	c->waiting--;
	if (stream_put(c->stream, n->answer, len) != 0)
		conn_close(n, c);
	else
		conn_turn(n, c);
}

static void take_datagram(struct names *n, struct route *from, size_t len)
{
	struct addr client;
	struct ipc_lookup lookup;
	uint32_t id;
	size_t reply;
	if (!addr_of(&from->peer, &client))
		return;
	switch (front_query(n->front, &client, false, n->msg, len, clock_boot_ms(), &id, &lookup, n->answer,
		sizeof(n->answer), &reply)) {
	case FRONT_ASK:
		n->route[front_place(id)] = *from;
		ask_gate(n, id, &lookup);
		break;
	case FRONT_REPLY:
		send_udp(n, from, n->answer, reply);
		break;
	case FRONT_DROP:
		break;
	}
}

/* A burst, so that one socket cannot keep the others and gate waiting. */
static void take_udp(struct names *n, unsigned socket)
{
	for (unsigned i = 0; i < UDP_BURST; i++) {
		struct route from = { .socket = socket };
		struct iovec iov = { .iov_base = n->msg, .iov_len = sizeof(n->msg) };
		struct msghdr msg = { .msg_name = &from.peer,
			.msg_namelen = sizeof(from.peer),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = from.control,
			.msg_controllen = sizeof(from.control) };
		ssize_t len = recvmsg(n->socket[socket], &msg, MSG_DONTWAIT);
		if (len < 0)
			return;
		from.peer_len = msg.msg_namelen;
		from.control_len = msg.msg_controllen;
		if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0)
			take_datagram(n, &from, (size_t)len);
	}
}

static struct conn *conn_place(struct names *n)
{
	for (unsigned i = 0; i < TCP_MAX; i++) {
		if (n->conn[i].fd < 0)
			return &n->conn[i];
	}
	return NULL;
}

static void take_listen(struct names *n, unsigned socket)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct addr client;
	int fd = accept4(n->socket[socket], (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct conn *c = conn_place(n);
	if (c == NULL || !addr_of(&ss, &client) || !clients_take(n->tcp_clients, &client, TCP_CLIENT_MAX)) {
		close(fd);
		return;
	}
	struct stream *s = stream_new();
	if (s == NULL || loop_add(n->r->loop, fd, EPOLLIN, EV_TCP, (uint32_t)(c - n->conn)) != 0) {
		stream_free(s);
		clients_drop(n->tcp_clients, &client);
		close(fd);
		return;
	}
	*c = (struct conn){ .fd = fd,
		.generation = c->generation,
		.client = client,
		.stream = s,
		.events = EPOLLIN,
		.active_ms = clock_boot_ms() };
	n->n_conns++;
}

static void take_frame(struct names *n, enum role_id from, const struct frame *f)
{
	static struct ipc_lookup_answer answer;
	static struct ipc_relayed relayed;
	if (from == ROLE_GATE && f->type == IPC_LOOKUP_ANSWER && ipc_lookup_answer_get(f->body, f->len, &answer))
		deliver(n, f->id, front_answer(n->front, f->id, &answer, n->answer, sizeof(n->answer)));
	else if (from == ROLE_RESOLVER && f->type == IPC_RELAYED && ipc_relayed_get(f->body, f->len, &relayed))
		deliver(n, f->id, front_relayed(n->front, f->id, &relayed, n->answer, sizeof(n->answer)));
	else if (f->type != IPC_CHANNEL)
		log_msg(LOG_ERROR, "%s sent message %u, which is malformed or not its to send", role_name(from),
			f->type);
}

static void take_channel(struct names *n, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	while (role_recv(n->r, ev, &from, &f) > 0) {
		take_frame(n, from, &f);
		frame_close_fds(&f);
	}
}

/* Gate spoke before the resolver did, but on another channel: its word is heard first. */
static void take_gate(struct names *n)
{
	const struct frame_chan *gate = n->r->chan[ROLE_GATE];
	if (gate == NULL)
		return;
	const struct loop_event ev = { .ref = { ROLE_GATE, ROLE_GATE, frame_chan_fd(gate) }, .events = EPOLLIN };
	take_channel(n, &ev);
}

static void handle(struct names *n, const struct loop_event *ev)
{
	if (ev->ref.type == ROLE_RESOLVER)
		take_gate(n);
	if (ev->ref.type < ROLE_COUNT) {
		take_channel(n, ev);
	} else if (ev->ref.type == EV_UDP) {
		take_udp(n, ev->ref.index);
	} else if (ev->ref.type == EV_LISTEN) {
		take_listen(n, ev->ref.index);
	} else {
		struct conn *c = &n->conn[ev->ref.index % TCP_MAX];
		if (c->fd != ev->ref.fd)
			return;
		if ((ev->events & (EPOLLHUP | EPOLLERR)) != 0)
			conn_close(n, c);
		else if ((ev->events & EPOLLIN) != 0)
			take_tcp(n, c);
		else
			conn_turn(n, c);
	}
}

/* Ends what has waited too long; returns the next time to look. */
static int64_t tick(struct names *n)
{
	int64_t now = clock_boot_ms(), at;
	uint32_t id;
	for (size_t len; (len = front_expire(n->front, now, &id, n->answer, sizeof(n->answer))) > 0;)
		deliver(n, id, len);
	at = front_deadline(n->front);
	for (unsigned i = 0; n->n_conns > 0 && i < TCP_MAX; i++) {
		struct conn *c = &n->conn[i];
		if (c->fd < 0 || c->waiting > 0)
			continue;
		int64_t end = c->active_ms + TCP_IDLE_MS;
		if (now >= end)
			conn_close(n, c);
		else if (at < 0 || end < at)
			at = end;
	}
	return at;
}

static int watch_sockets(struct names *n, struct frame *f)
{
	for (unsigned i = 0; i < SOCKETS; i++) {
		n->socket[i] = f->fds[i];
		f->fds[i] = -1;
		int err = loop_add(n->r->loop, n->socket[i], EPOLLIN, i < 2 ? EV_UDP : EV_LISTEN, i);
		if (err != 0)
			return err;
	}
	return 0;
}

/* The four sockets come right after the start. */
static int take_sockets(struct names *n)
{
	while (!n->r->stopping) {
		struct loop_event ev;
		enum role_id from;
		struct frame f;
		if (!loop_next(n->r->loop, -1, &ev))
			continue;
		while (role_recv(n->r, &ev, &from, &f) > 0) {
			if (from == ROLE_MAIN && f.type == IPC_SOCKETS && f.n_fds == SOCKETS)
				return watch_sockets(n, &f);
			frame_close_fds(&f);
		}
	}
	return -EPIPE;
}

int names_main(struct role *r)
{
	static const char *const extra[] = { "accept4", NULL };
	struct role_confine confine = { .extra = extra };
	uint64_t seed;
	static struct names all;
	struct names *n = &all;
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return -ENOMEM;
	unsigned v6_bytes = plan_guest_prefix(&r->conf.plan, true) / 8;
	n->r = r;
	n->front = front_new(seed, v6_bytes);
	n->tcp_clients = clients_new(seed, v6_bytes);
	if (n->front == NULL || n->tcp_clients == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < TCP_MAX; i++)
		n->conn[i].fd = -1;
	int err = take_sockets(n);
	if (err == 0)
		err = role_confine(r, &confine);
	if (err != 0)
		return err;
	role_ready(r);
	for (int64_t at = -1; !r->stopping; at = tick(n)) {
		struct loop_event ev;
		if (loop_next(r->loop, at, &ev))
			handle(n, &ev);
	}
	return 0;
}
