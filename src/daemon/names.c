/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The names role: port 53 of the guests, in a namespace of its own. Every query arrives here whatever server it was sent to; conntrack gives the
 * answer the source that was asked. It knows no rule and no address: it asks gate.
 */
#include "names/front.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/role.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SOCKETS = 4, TCP_MAX = 256, TCP_CLIENT_MAX = 16, TCP_IDLE_MS = 10000, TCP_IN_MAX = 2048, TCP_OUT_MAX = 65536 + 2, UDP_BURST = 64 };
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
	int64_t active_ms;
	size_t in_len, out_len, out_at;
	uint8_t in[TCP_IN_MAX];
	uint8_t *out;
};

struct names {
	struct role *r;
	struct front *front;
	int socket[SOCKETS]; /* UDP v4, UDP v6, TCP v4, TCP v6 */
	struct route route[FRONT_MAX];
	struct conn conn[TCP_MAX];
	uint8_t msg[DNS_MSG_MAX], answer[DNS_MSG_MAX];
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

static void ask_gate(struct names *n, uint32_t id, const struct ipc_lookup *l)
{
	if (role_send_msg(n->r, ROLE_GATE, IPC_LOOKUP, id, lookup, l, NULL, 0))
		return;
	/* gate is away: the query waits out its patience, the guest's own retry asks again. */
}

static void send_udp(struct names *n, const struct route *to, const uint8_t *p, size_t len)
{
	struct iovec iov = { .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_namelen = to->peer_len, .msg_controllen = to->control_len };
	struct route copy = *to;
	memcpy(&iov.iov_base, &p, sizeof(p));
	msg.msg_name = &copy.peer;
	msg.msg_control = to->control_len > 0 ? copy.control : NULL;
	/* A datagram that cannot be sent is one the network lost. */
	ssize_t sent = sendmsg(n->socket[to->socket], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)sent;
}

static void conn_close(struct names *n, struct conn *c)
{
	loop_del(n->r->loop, c->fd);
	close(c->fd);
	c->fd = -1;
	c->generation++;
	c->in_len = c->out_len = c->out_at = 0;
}

static void conn_flush(struct names *n, struct conn *c)
{
	unsigned index = (unsigned)(c - n->conn);
	while (c->out_at < c->out_len) {
		ssize_t sent = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno != EAGAIN) {
			conn_close(n, c);
			return;
		}
		if (sent < 0)
			break;
		c->out_at += (size_t)sent;
	}
	if (c->out_at == c->out_len)
		c->out_at = c->out_len = 0;
	uint32_t events = c->out_len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
	if (loop_mod(n->r->loop, c->fd, events, EV_TCP, index) != 0)
		conn_close(n, c);
}

static void send_tcp(struct names *n, struct conn *c, const uint8_t *p, size_t len)
{
	if (len + 2 > TCP_OUT_MAX - c->out_len) {
		conn_close(n, c); /* does not read */
		return;
	}
	c->out[c->out_len] = (uint8_t)(len >> 8);
	c->out[c->out_len + 1] = (uint8_t)len;
	memcpy(c->out + c->out_len + 2, p, len);
	c->out_len += len + 2;
	conn_flush(n, c);
}

static void deliver(struct names *n, uint32_t id, size_t len)
{
	const struct route *to = &n->route[front_place(id)];
	if (len == 0)
		return;
	if (!to->tcp)
		send_udp(n, to, n->answer, len);
	else if (n->conn[to->conn].fd >= 0 && n->conn[to->conn].generation == to->generation)
		send_tcp(n, &n->conn[to->conn], n->answer, len);
}

static void take_udp(struct names *n, unsigned socket)
{
	for (unsigned i = 0; i < UDP_BURST; i++) {
		struct route from = { .socket = socket };
		struct iovec iov = { .iov_base = n->msg, .iov_len = sizeof(n->msg) };
		struct msghdr msg = { .msg_name = &from.peer, .msg_namelen = sizeof(from.peer), .msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = from.control, .msg_controllen = sizeof(from.control) };
		ssize_t len = recvmsg(n->socket[socket], &msg, MSG_DONTWAIT);
		struct addr client;
		struct ipc_lookup lookup;
		uint32_t id;
		size_t reply;
		if (len < 0)
			return;
		from.peer_len = msg.msg_namelen;
		from.control_len = msg.msg_controllen;
		if (!addr_of(&from.peer, &client))
			continue;
		switch (front_query(n->front, &client, false, n->msg, (size_t)len, clock_boot_ms(), &id, &lookup, n->answer, sizeof(n->answer),
			&reply)) {
		case FRONT_ASK:
			n->route[front_place(id)] = from;
			ask_gate(n, id, &lookup);
			break;
		case FRONT_REPLY:
			send_udp(n, &from, n->answer, reply);
			break;
		case FRONT_DROP:
			break;
		}
	}
}

static void take_query(struct names *n, struct conn *c, const uint8_t *p, size_t len)
{
	struct ipc_lookup lookup;
	uint32_t id;
	size_t reply;
	switch (front_query(n->front, &c->client, true, p, len, clock_boot_ms(), &id, &lookup, n->answer, sizeof(n->answer), &reply)) {
	case FRONT_ASK:
		n->route[front_place(id)] = (struct route){ .tcp = true, .conn = (unsigned)(c - n->conn), .generation = c->generation };
		ask_gate(n, id, &lookup);
		break;
	case FRONT_REPLY:
		send_tcp(n, c, n->answer, reply);
		break;
	case FRONT_DROP:
		conn_close(n, c);
		break;
	}
}

/* Length-prefixed queries, in whatever pieces they come (RFC 7766 §8); a longer one than TCP_IN_MAX is no question of a guest's. */
static void take_tcp(struct names *n, struct conn *c)
{
	ssize_t got = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		conn_close(n, c);
		return;
	}
	c->in_len += (size_t)got;
	c->active_ms = clock_boot_ms();
	while (c->fd >= 0 && c->in_len >= 2) {
		size_t len = (size_t)c->in[0] << 8 | c->in[1];
		if (len + 2 > sizeof(c->in)) {
			conn_close(n, c);
			return;
		}
		if (c->in_len < len + 2)
			return;
		uint8_t query[TCP_IN_MAX];
		memcpy(query, c->in + 2, len);
		c->in_len -= len + 2;
		memmove(c->in, c->in + len + 2, c->in_len);
		take_query(n, c, query, len);
	}
}

static struct conn *conn_place(struct names *n, const struct addr *client)
{
	struct conn *place = NULL;
	unsigned own = 0;
	for (unsigned i = 0; i < TCP_MAX; i++) {
		if (n->conn[i].fd < 0)
			place = place == NULL ? &n->conn[i] : place;
		else
			own += addr_equal(&n->conn[i].client, client);
	}
	return own < TCP_CLIENT_MAX ? place : NULL;
}

static void take_listen(struct names *n, unsigned socket)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr client;
	int fd = accept4(n->socket[socket], (struct sockaddr *)&ss, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct conn *c = addr_of(&ss, &client) ? conn_place(n, &client) : NULL;
	if (c == NULL || (c->out == NULL && (c->out = malloc(TCP_OUT_MAX)) == NULL) ||
		loop_add(n->r->loop, fd, EPOLLIN, EV_TCP, (uint32_t)(c - n->conn)) != 0) {
		close(fd);
		return;
	}
	c->fd = fd;
	c->client = client;
	c->active_ms = clock_boot_ms();
}

static void take_frame(struct names *n, enum role_id from, struct frame *f)
{
	static struct ipc_lookup_answer answer;
	static struct ipc_relayed relayed;
	if (from == ROLE_GATE && f->type == IPC_LOOKUP_ANSWER && ipc_lookup_answer_get(f->body, f->len, &answer))
		deliver(n, f->id, front_answer(n->front, f->id, &answer, n->answer, sizeof(n->answer)));
	else if (from == ROLE_RESOLVER && f->type == IPC_RELAYED && ipc_relayed_get(f->body, f->len, &relayed))
		deliver(n, f->id, front_relayed(n->front, f->id, &relayed, n->answer, sizeof(n->answer)));
	else if (f->type != IPC_CHANNEL)
		log_msg(LOG_ERROR, "%s sent message %u, which is malformed or not its to send", role_name(from), f->type);
}

static void handle(struct names *n, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	if (ev->ref.type < ROLE_COUNT) {
		while (role_recv(n->r, ev, &from, &f) > 0) {
			take_frame(n, from, &f);
			frame_close_fds(&f);
		}
	} else if (ev->ref.type == EV_UDP) {
		take_udp(n, ev->ref.index);
	} else if (ev->ref.type == EV_LISTEN) {
		take_listen(n, ev->ref.index);
	} else {
		struct conn *c = &n->conn[ev->ref.index % TCP_MAX];
		if (c->fd == ev->ref.fd && (ev->events & EPOLLOUT) != 0)
			conn_flush(n, c);
		if (c->fd == ev->ref.fd && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
			take_tcp(n, c);
	}
}

static int64_t tick(struct names *n)
{
	int64_t now = clock_boot_ms(), at = front_deadline(n->front);
	uint32_t id;
	while (front_expire(n->front, now, &id))
		;
	for (unsigned i = 0; i < TCP_MAX; i++) {
		struct conn *c = &n->conn[i];
		if (c->fd < 0)
			continue;
		if (now - c->active_ms >= TCP_IDLE_MS)
			conn_close(n, c);
		else if (at < 0 || c->active_ms + TCP_IDLE_MS < at)
			at = c->active_ms + TCP_IDLE_MS;
	}
	return at;
}

/* The four sockets come right after the start. */
static int take_sockets(struct names *n)
{
	for (;;) {
		struct loop_event ev;
		enum role_id from;
		struct frame f;
		if (!loop_next(n->r->loop, -1, &ev))
			continue;
		while (role_recv(n->r, &ev, &from, &f) > 0) {
			if (from == ROLE_MAIN && f.type == IPC_SOCKETS && f.n_fds == SOCKETS) {
				for (unsigned i = 0; i < SOCKETS; i++) {
					n->socket[i] = f.fds[i];
					int err = loop_add(n->r->loop, f.fds[i], EPOLLIN, i < 2 ? EV_UDP : EV_LISTEN, i);
					if (err != 0)
						return err;
				}
				return 0;
			}
			frame_close_fds(&f);
		}
		if (n->r->stopping)
			return -EPIPE;
	}
}

int names_main(struct role *r)
{
	static const char *const extra[] = { "accept4", NULL };
	struct role_confine confine = { .extra = extra };
	struct names *n = calloc(1, sizeof(*n));
	if (n == NULL || (n->front = front_new()) == NULL)
		return -ENOMEM;
	n->r = r;
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
