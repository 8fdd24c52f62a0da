/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate role: moves bytes between gate/ and its two OpenFlow connections, messages between gate/ and the other
 * roles. It has no file system, no network, no other socket: whoever takes it over can open the switch and nothing
 * else.
 */
#include "gate/gate.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "daemon/roles.h"
#include "policy/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EV_OPENFLOW = ROLE_COUNT };
enum { POLICY_BYTES_MAX = 256 << 20, WRITE_DOWN_MS = 4, POLICIES = 8 };

struct gate_role {
	struct role *r;
	struct gate *g;
	int fd[CONN_COUNT]; /* -1: not connected */
	bool writing[CONN_COUNT];
	bool said_synced;
	int64_t tell_ms; /* when messages that may wait go; 0: there are none */
	struct mapped {
		void *at; /* NULL: free */
		size_t len;
		uint64_t base; /* its number; 0: what is joined to one */
	} policy[POLICIES];    /* what the gate may still read */
	struct mapped list[2 * POLICY_LISTS_MAX];
};

static void conns_close(struct gate_role *o)
{
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		if (o->fd[i] < 0)
			continue;
		loop_del(o->r->loop, o->fd[i]);
		close(o->fd[i]);
		o->fd[i] = -1;
	}
}

static void conns_lost(struct gate_role *o)
{
	unsigned type, code;
	gate_last_error(o->g, &type, &code);
	log_msg(LOG_WARNING, "the switch is gone or out of step (its last error: type %u, code %u); connecting again",
		type, code);
	conns_close(o);
	o->said_synced = false;
	gate_conn_lost(o->g, CONN_QUESTIONS);
}

/* -errno when the connection is of no more use. */
static int conn_read(struct gate_role *o, enum gate_conn c)
{
	struct ofp_session *s = gate_session(o->g, c);
	for (;;) {
		size_t room;
		uint8_t *space = ofp_session_in_space(s, &room);
		if (space == NULL)
			return gate_events(o->g, c);
		ssize_t n = recv(o->fd[c], space, room, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return -errno;
		ofp_session_in_done(s, (size_t)n, clock_boot_ms());
		int err = gate_events(o->g, c);
		if (err != 0 || (size_t)n < room)
			return n == 0 ? -EPIPE : err;
	}
}

static int conn_write(struct gate_role *o, enum gate_conn c)
{
	struct ofp_session *s = gate_session(o->g, c);
	size_t len;
	const uint8_t *out;
	bool blocked = false;
	while (!blocked && (out = ofp_session_out(s, &len)) != NULL) {
		ssize_t n = send(o->fd[c], out, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0)
			ofp_session_out_done(s, (size_t)n);
		else if (errno == EAGAIN)
			blocked = true;
		else if (errno != EINTR)
			return -errno;
	}
	if (blocked == o->writing[c])
		return 0;
	o->writing[c] = blocked;
	return loop_mod(o->r->loop, o->fd[c], blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, EV_OPENFLOW, c);
}

/* Messages go at once when somebody waits for one of them, else together a little later; their order is kept. */
static void send_messages(struct gate_role *o)
{
	struct out *out = gate_messages(o->g);
	struct out_msg m;
	int64_t now = clock_boot_ms();
	if (out->start == out->len)
		return;
	if (!out->urgent && o->tell_ms == 0)
		o->tell_ms = now + WRITE_DOWN_MS;
	if (!out->urgent && now < o->tell_ms)
		return;
	while (out_msg_next(out, &m))
		role_send(o->r, m.to, m.type, m.id, m.body, m.len, NULL, 0);
	o->tell_ms = 0;
}

static void send_all(struct gate_role *o)
{
	for (enum gate_conn c = 0; c < CONN_COUNT; c++) {
		if (o->fd[c] < 0)
			continue;
		if (conn_write(o, c) != 0) {
			conns_lost(o);
			break;
		}
	}
	send_messages(o);
	if (gate_synced(o->g) && !o->said_synced) {
		o->said_synced = true;
		log_msg(LOG_INFO, "the switch is in step");
	}
}

static void take_switch(struct gate_role *o, struct frame *f)
{
	struct ipc_switch sw;
	if (!ipc_switch_get(f->body, f->len, &sw) || f->n_fds != CONN_COUNT) {
		log_msg(LOG_ERROR, "switchd sent a switch that cannot be used");
		return;
	}
	conns_close(o);
	o->said_synced = false;
	gate_switch(o->g, &sw);
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		o->fd[i] = f->fds[i];
		o->writing[i] = false;
		if (gate_session(o->g, (enum gate_conn)i) == NULL ||
			loop_add(o->r->loop, o->fd[i], EPOLLIN, EV_OPENFLOW, i) != 0)
			log_msg(LOG_ERROR, "an OpenFlow connection cannot be used");
	}
	f->n_fds = 0;
}

/* Of what is mapped that stays which is in use: the policy in force, the one being checked, the next. */
static void policies_tidy(struct gate_role *o)
{
	for (unsigned i = 0; i < POLICIES; i++) {
		struct mapped *m = &o->policy[i];
		if (m->at == NULL || gate_policy_uses(o->g, m->at))
			continue;
		munmap(m->at, m->len);
		*m = (struct mapped){ 0 };
	}
}

/* Memory is mapped only when nobody can change or shrink it any more. NULL: it is not sealed, or there is no room. */
static struct mapped *policy_map(struct gate_role *o, int fd, size_t len)
{
	struct mapped *m = NULL;
	for (unsigned i = 0; i < POLICIES && m == NULL; i++)
		m = o->policy[i].at == NULL ? &o->policy[i] : NULL;
	if (m == NULL || len > POLICY_BYTES_MAX || !fd_sealed(fd, len))
		return NULL;
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return NULL;
	*m = (struct mapped){ .at = map, .len = len };
	return m;
}

static struct mapped *policy_base(struct gate_role *o, const struct ipc_policy *p, const struct frame *f)
{
	struct mapped *m = NULL;
	if (p->len != 0) {
		m = f->n_fds < 1 ? NULL : policy_map(o, f->fds[0], p->len);
		if (m != NULL)
			m->base = p->base;
		return m;
	}
	for (unsigned i = 0; i < POLICIES && m == NULL; i++)
		m = o->policy[i].at != NULL && o->policy[i].base == p->base ? &o->policy[i] : NULL;
	return m;
}

/* False: not what it says it is. */
static bool policy_read(struct gate_role *o, const struct ipc_policy *p, const struct frame *f, struct gate_image *ret)
{
	unsigned delta = p->len != 0;
	size_t gone = (size_t)p->n_gone * sizeof(uint32_t), len = p->more_len + gone;
	if (p->base == 0 || p->more_len % sizeof(uint64_t) != 0 || f->n_fds != delta + (len != 0))
		return false;
	const struct mapped *base = policy_base(o, p, f), *m = NULL;
	if (base != NULL && len != 0)
		m = policy_map(o, f->fds[delta], len);
	if (base == NULL || (len != 0 && m == NULL))
		return false;
	*ret = (struct gate_image){ .base = base->at, .len = base->len, .n_gone = p->n_gone };
	if (p->more_len != 0) {
		ret->more = m->at;
		ret->more_len = p->more_len;
	}
	if (gone != 0)
		ret->gone = (const uint32_t *)m->at + p->more_len / sizeof(uint32_t);
	return true;
}

static void take_policy(struct gate_role *o, const struct frame *f)
{
	struct ipc_policy p;
	struct gate_image i;
	policies_tidy(o);
	if (ipc_policy_get(f->body, f->len, &p) && policy_read(o, &p, f, &i))
		gate_policy(o->g, f->id, p.generation, &i);
	else
		role_result(o->r, ROLE_DESK, f->id, -EBADMSG, 0, "the policy is not in sealed files of that length");
}

/* A list that is refused here would be one whose refusals are missing: the old members stay, and the log says so. */
static void take_list(struct gate_role *o, const struct frame *f)
{
	struct ipc_list m;
	struct list_digest digest;
	void *map = MAP_FAILED;
	if (ipc_list_get(f->body, f->len, &m) && f->n_fds == 1 && m.len <= POLICY_BYTES_MAX &&
		fd_sealed(f->fds[0], m.len))
		map = mmap(NULL, m.len, PROT_READ, MAP_SHARED, f->fds[0], 0);
	if (map == MAP_FAILED || list_digest_open(map, m.len, &digest) != 0) {
		log_msg(LOG_ERROR, "what desk sent is no list's digest");
		if (map != MAP_FAILED)
			munmap(map, m.len);
		return;
	}
	/* As many places here as there. */
	const void *unused = gate_list(o->g, m.id, &digest);
	struct mapped own = { .at = map, .len = m.len }, *l = o->list;
	while (unused != map && l->at != unused)
		l++;
	if (unused == map) {
		log_msg(LOG_ERROR, "there is no room for list %s", m.id);
		l = &own;
	}
	if (l->at != NULL)
		munmap(l->at, l->len);
	if (l != &own)
		*l = own;
}

static void from_desk(struct gate_role *o, struct frame *f)
{
	static union {
		struct ipc_app app;
		struct ipc_app_ref ref;
		struct ipc_block block;
		struct ipc_u32 number;
		struct ipc_grant grant;
		struct ipc_syn syn;
		struct ipc_result result;
	} m;
	if (f->type == IPC_CHANNEL)
		gate_desk_back(o->g);
	else if (f->type == IPC_POLICY)
		take_policy(o, f);
	else if (f->type == IPC_LIST)
		take_list(o, f);
	else if (f->type == IPC_APP_ADD && ipc_app_get(f->body, f->len, &m.app))
		gate_app_add(o->g, f->id, &m.app);
	else if (f->type == IPC_APP_DEL && ipc_app_ref_get(f->body, f->len, &m.ref))
		gate_app_del(o->g, f->id, &m.ref);
	else if (f->type == IPC_GRANT_BLOCK && ipc_block_get(f->body, f->len, &m.block))
		gate_block(o->g, &m.block);
	else if (f->type == IPC_GRANT && ipc_grant_get(f->body, f->len, &m.grant))
		gate_grant_restore(o->g, &m.grant);
	else if (f->type == IPC_GRANT_CUT && ipc_u32_get(f->body, f->len, &m.number))
		gate_cut(o->g, m.number.v);
	else if (f->type == IPC_SYN && ipc_syn_get(f->body, f->len, &m.syn))
		gate_syn_restore(o->g, &m.syn);
	else if (f->type == IPC_SYNC_END)
		gate_sync_end(o->g);
	else if (f->type == IPC_RESULT && ipc_result_get(f->body, f->len, &m.result))
		gate_charged(o->g, f->id, m.result.err);
	else
		log_msg(LOG_ERROR, "desk sent message %u, which is malformed or not its to send", f->type);
}

static void switchd_back(struct gate_role *o)
{
	gate_switchd_back(o->g);
	if (o->fd[CONN_QUESTIONS] < 0)
		role_send(o->r, ROLE_SWITCHD, IPC_OF_WANT, 0, NULL, 0, NULL, 0);
}

static void from_others(struct gate_role *o, enum role_id from, struct frame *f)
{
	static struct ipc_resolved resolved;
	struct ipc_lookup lookup;
	if (from == ROLE_SWITCHD && f->type == IPC_OF_CONNS)
		take_switch(o, f);
	else if (from == ROLE_NAMES && f->type == IPC_LOOKUP && ipc_lookup_get(f->body, f->len, &lookup))
		gate_lookup(o->g, f->id, &lookup);
	else if (from == ROLE_RESOLVER && f->type == IPC_RESOLVED && ipc_resolved_get(f->body, f->len, &resolved))
		gate_resolved(o->g, f->id, &resolved);
	else if (from == ROLE_RESOLVER && f->type == IPC_CHANNEL)
		gate_resolver_back(o->g);
	else if (from == ROLE_SWITCHD && f->type == IPC_CHANNEL)
		switchd_back(o);
	else if (f->type != IPC_CHANNEL && f->type != IPC_RESULT)
		log_msg(LOG_ERROR, "%s sent message %u, which is malformed or not its to send", role_name(from),
			f->type);
}

static void handle(struct gate_role *o, const struct loop_event *ev)
{
	enum role_id from;
	struct frame f;
	if (ev->ref.type == EV_OPENFLOW) {
		enum gate_conn c = ev->ref.index == CONN_BULK ? CONN_BULK : CONN_QUESTIONS;
		if (o->fd[c] == ev->ref.fd && (ev->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 &&
			conn_read(o, c) != 0)
			conns_lost(o);
		return;
	}
	while (role_recv(o->r, ev, &from, &f) > 0) {
		gate_clock(o->g, clock_boot_ms(), clock_wall_ms());
		if (from == ROLE_DESK)
			from_desk(o, &f);
		else
			from_others(o, from, &f);
		frame_close_fds(&f);
	}
}

static int64_t next_deadline(const struct gate_role *o)
{
	int64_t at = gate_deadline(o->g);
	if (o->tell_ms != 0 && (at < 0 || o->tell_ms < at))
		at = o->tell_ms;
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		if (o->fd[i] < 0)
			continue;
		int64_t d = ofp_session_deadline(gate_session(o->g, (enum gate_conn)i));
		if (d != INT64_MAX && (at < 0 || d < at))
			at = d;
	}
	return at;
}

static void tick(struct gate_role *o)
{
	gate_tick(o->g);
	(void)policies_tidy(o);
	for (unsigned i = 0; i < CONN_COUNT; i++) {
		if (o->fd[i] < 0)
			continue;
		ofp_session_tick(gate_session(o->g, (enum gate_conn)i), clock_boot_ms());
		if (gate_events(o->g, (enum gate_conn)i) != 0) {
			conns_lost(o);
			return;
		}
	}
}

int gate_main(struct role *r)
{
	static const char *const extra[] = { NULL };
	struct gate_role o = { .r = r, .fd = { -1, -1 } };
	uint64_t seed;
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		return -EIO;
	o.g = gate_new(&r->conf.plan, seed, r->conf.ask_expires_ms);
	if (o.g == NULL)
		return -ENOMEM;
	struct role_confine confine = { .extra = extra };
	int err = role_confine(r, &confine);
	if (err != 0)
		return err;
	role_ready(r);
	/* One readable event may hold many packets: what they cause is sent after each, then the next is read. */
	while (!r->stopping) {
		struct loop_event ev;
		int64_t at = next_deadline(&o);
		bool got = loop_next(r->loop, at, &ev);
		gate_clock(o.g, clock_boot_ms(), clock_wall_ms());
		if (got)
			handle(&o, &ev);
		/* Traffic must not keep time from passing: what is due is done even if events never end. */
		if (at >= 0 && clock_boot_ms() >= at)
			tick(&o);
		send_all(&o);
	}
	return 0;
}
