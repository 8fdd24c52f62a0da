/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver role: upstream DNS by libunbound. What it sends is built by libunbound from a name that policy allowed,
 * nothing of a guest's bytes; what it says is held against floor and rules by gate before anything is committed.
 *
 * Theory of operation. libunbound runs on our loop (names/ubevent.h). All it reads from files it reads before the
 * confinement, which a question about "localhost", answered without the network, makes it do. A request of gate's is
 * one slot: its questions carry slot and round, so that an answer that comes after PATIENCE_MS finds nobody and only
 * fills libunbound's cache for the next one.
 *
 * dnssec = auto: two contexts, one that validates, one that does not. The first is asked. When it says bogus or fails,
 * a question for the root's own keys tells whether the upstream is able to serve signatures at all: if so, bogus means
 * bogus. If not, the second context is asked; only an answer of that one proves that it was not the network that
 * failed, and then it alone is asked for the next PLAIN_MS.
 */
#include "names/servers.h"
#include "names/ubevent.h"
#include "names/upstream.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/roles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EV_UNBOUND = ROLE_COUNT };
enum {
	REQUESTS_MAX = 1024,
	PATIENCE_MS = 4500,
	PLAIN_MS = 600000,
	CONF_MAX = 8192,
	RESOLV_CONF_MAX = 65536,
	TYPE_DNSKEY = 48
};
enum { CHECKED, PLAIN, CONTEXTS };
enum question { ASK_V4, ASK_V6, ASK_RELAY, QUESTIONS };
/* Debian's package dns-root-data: newer than what is built in when the root changes its keys. */
#define ROOT_KEYS   "/usr/share/dns/root.ds"
#define CERT_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

struct request {
	uint32_t id;	   /* of RESOLVE, or names' LOOKUP */
	enum role_id from; /* who said RESOLVE */
	uint32_t round;
	uint16_t next_free;
	bool used, relay, plain;
	bool probing; /* waits for the root's keys */
	bool doubted; /* asked again without validation */
	unsigned open;
	uint16_t qtype;
	bool want_v4, want_v6;
	struct name name;
	struct upstream_sum sum;
};

struct resolver {
	struct role *r;
	struct ubevent *events;
	struct ub_ctx *ctx[CONTEXTS];
	bool probing;
	int64_t plain_until_ms;
	uint16_t free;
	unsigned n_used;
	int64_t until_ms[REQUESTS_MAX]; /* of the used ones; apart, because it is looked through on every turn */
	struct request request[REQUESTS_MAX];
	struct ipc_relayed relayed;
};

/* libunbound's callback has one pointer for us and may come late: it carries a number instead, and this is what it
 * counts in. */
static struct resolver *self;

static struct request *request_take(struct resolver *o, uint32_t id, const struct name *name)
{
	if (o->free == REQUESTS_MAX)
		return NULL;
	uint16_t i = o->free;
	struct request *q = &o->request[i];
	o->free = q->next_free;
	uint32_t round = q->round + 1;
	memset(q, 0, sizeof(*q));
	q->used = true;
	q->id = id;
	q->round = round & 0xffffff;
	q->name = *name;
	q->plain = o->ctx[CHECKED] == NULL || clock_boot_ms() < o->plain_until_ms;
	o->until_ms[i] = clock_boot_ms() + PATIENCE_MS;
	o->n_used++;
	return q;
}

static void request_drop(struct resolver *o, struct request *q)
{
	q->used = false;
	q->next_free = o->free;
	o->free = (uint16_t)(q - o->request);
	o->n_used--;
}

static void send_relayed(struct resolver *o, uint32_t id)
{
	role_send_msg(o->r, ROLE_NAMES, IPC_RELAYED, id, relayed, &o->relayed, NULL, 0);
}

static void finish(struct resolver *o, struct request *q)
{
	if (q->relay) {
		send_relayed(o, q->id);
	} else {
		upstream_end(&q->sum);
		role_send_msg(o->r, q->from, IPC_RESOLVED, q->id, resolved, &q->sum.r, NULL, 0);
	}
	request_drop(o, q);
}

static void answered(void *key, int rcode, void *packet, int len, int sec, char *why, int limited);

static void *key_of(const struct resolver *o, const struct request *q, enum question what)
{
	uintptr_t slot = (uintptr_t)(q - o->request);
	return (void *)(((uintptr_t)q->round * REQUESTS_MAX + slot) * QUESTIONS + what);
}

static void take(struct resolver *o, struct request *q, enum question what, const struct upstream_result *res)
{
	if (what == ASK_RELAY) {
		upstream_relay(&q->name, q->qtype, res, &o->relayed);
		q->sum.bogus = res->bogus;
		q->sum.failed = o->relayed.rcode == DNS_SERVFAIL;
		return;
	}
	upstream_add(&q->sum, &q->name, what == ASK_V4 ? DNS_A : DNS_AAAA, res);
}

static void ask(struct resolver *o, struct request *q, enum question what, uint16_t qtype)
{
	char text[NAME_TEXT_MAX];
	q->open++;
	if (ub_resolve_event(o->ctx[q->plain ? PLAIN : CHECKED], name_format(&q->name, text, sizeof(text)), qtype,
		    DNS_CLASS_IN, key_of(o, q, what), answered, NULL) == 0)
		return;
	q->open--;
	const struct upstream_result none = { .failed = true };
	take(o, q, what, &none);
}

static void probe(struct resolver *o);

/* All questions of a request have their answers. */
static void complete(struct resolver *o, struct request *q)
{
	bool bad = q->sum.bogus || q->sum.failed;
	if (q->doubted && !bad && clock_boot_ms() >= o->plain_until_ms) {
		log_msg(LOG_NOTICE,
			"the name servers give no signatures: answers are not validated for the next %d minutes (dnssec = auto)",
			PLAIN_MS / 60000);
		o->plain_until_ms = clock_boot_ms() + PLAIN_MS;
	}
	if (!bad || q->plain || o->ctx[PLAIN] == NULL) {
		finish(o, q);
		return;
	}
	q->probing = true;
	if (!o->probing)
		probe(o);
}

static void ask_all(struct resolver *o, struct request *q)
{
	/* An answer out of the cache comes inside ub_resolve_event(): held until all are asked. */
	q->open = 1;
	memset(&q->sum, 0, sizeof(q->sum));
	if (q->relay)
		ask(o, q, ASK_RELAY, q->qtype);
	if (q->want_v4)
		ask(o, q, ASK_V4, DNS_A);
	if (q->want_v6)
		ask(o, q, ASK_V6, DNS_AAAA);
	if (--q->open == 0)
		complete(o, q);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): ub_event_callback_type */
static void answered(void *key, int rcode, void *packet, int len, int sec, char *why, int limited)
{
	struct resolver *o = self;
	uintptr_t n = (uintptr_t)key;
	struct request *q = &o->request[n / QUESTIONS % REQUESTS_MAX];
	(void)why;
	(void)limited;
	if (!q->used || q->round != n / QUESTIONS / REQUESTS_MAX || q->open == 0)
		return;
	/* `rcode` tells only whether there is a packet to look at. */
	struct upstream_result res = { .failed = rcode != 0 || packet == NULL,
		.bogus = sec == 1,
		.packet = packet,
		.len = len < 0 ? 0 : (size_t)len };
	take(o, q, (enum question)(n % QUESTIONS), &res);
	if (--q->open == 0)
		complete(o, q);
}

/* The root's keys, or what came instead of them. */
/* NOLINTNEXTLINE(readability-non-const-parameter): ub_event_callback_type */
static void probed(void *arg, int rcode, void *packet, int len, int sec, char *why, int limited)
{
	struct resolver *o = self;
	(void)arg;
	(void)packet;
	(void)len;
	(void)why;
	(void)limited;
	bool able = rcode == 0 && sec == 2;
	o->probing = false;
	for (unsigned i = 0; i < REQUESTS_MAX; i++) {
		struct request *q = &o->request[i];
		if (!q->used || !q->probing)
			continue;
		q->probing = false;
		q->plain = q->doubted = !able;
		o->relayed = (struct ipc_relayed){ .rcode = DNS_SERVFAIL };
		if (able)
			finish(o, q);
		else
			ask_all(o, q);
	}
}

static void probe(struct resolver *o)
{
	o->probing = true;
	if (ub_resolve_event(o->ctx[CHECKED], ".", TYPE_DNSKEY, DNS_CLASS_IN, NULL, probed, NULL) != 0)
		probed(NULL, DNS_SERVFAIL, NULL, 0, 0, NULL, 0);
}

static void resolve(struct resolver *o, enum role_id from, uint32_t id, const struct ipc_resolve *m)
{
	/* Only names of plain letters can be allowed; anything else has no text form that libunbound could read back.
	 */
	struct request *q = name_is_plain(&m->name) ? request_take(o, id, &m->name) : NULL;
	if (q == NULL) {
		static const struct ipc_resolved failed = { .status = RESOLVE_FAILED };
		role_send_msg(o->r, from, IPC_RESOLVED, id, resolved, &failed, NULL, 0);
		return;
	}
	q->from = from;
	q->want_v4 = m->want_v4;
	q->want_v6 = m->want_v6;
	ask_all(o, q);
}

static void relay(struct resolver *o, const struct ipc_relay *m)
{
	struct request *q =
		name_is_plain(&m->name) && dns_type_known(m->qtype) ? request_take(o, m->lookup_id, &m->name) : NULL;
	if (q == NULL) {
		o->relayed = (struct ipc_relayed){ .rcode = DNS_SERVFAIL };
		send_relayed(o, m->lookup_id);
		return;
	}
	q->relay = true;
	q->qtype = m->qtype;
	ask_all(o, q);
}

/* Gate gets its answer in time even when no server is there; returns the next deadline. */
static int64_t expire(struct resolver *o)
{
	int64_t now = clock_boot_ms(), next = -1;
	for (unsigned i = 0; o->n_used > 0 && i < REQUESTS_MAX; i++) {
		struct request *q = &o->request[i];
		if (!q->used)
			continue;
		if (o->until_ms[i] > now) {
			next = next < 0 || o->until_ms[i] < next ? o->until_ms[i] : next;
			continue;
		}
		q->sum.failed = true;
		o->relayed = (struct ipc_relayed){ .rcode = DNS_SERVFAIL };
		finish(o, q);
	}
	return next;
}

static size_t read_resolv_conf(char *buf, size_t cap)
{
	int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, cap);
	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : (size_t)n;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): ub_event_callback_type */
static void said(void *arg, int rcode, void *packet, int len, int sec, char *why, int limited)
{
	(void)packet;
	(void)len;
	(void)sec;
	(void)why;
	(void)limited;
	*(bool *)arg = rcode == 0;
}

static int open_context(struct resolver *o, const struct servers *s, bool validate, struct ub_ctx **ret)
{
	static char conf[CONF_MAX];
	char path[64];
	const char *anchors = access(ROOT_KEYS, R_OK) == 0 ? ROOT_KEYS : NULL;
	size_t len = servers_unbound_conf(s, validate, anchors, CERT_BUNDLE, conf, sizeof(conf));
	int fd = memfd_create("unbound.conf", MFD_CLOEXEC);
	if (len == 0 || fd < 0 || write(fd, conf, len) != (ssize_t)len) {
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct ub_ctx *ctx = ub_ctx_create_ub_event(ubevent_base(o->events));
	int err = ctx == NULL ? UB_NOMEM : ub_ctx_config(ctx, path);
	close(fd);
	if (err == 0)
		err = ub_ctx_debugout(ctx, NULL);
	/* Local, and at once: makes libunbound read its files and build its worker while it still may. */
	bool good = false;
	if (err == 0)
		err = ub_resolve_event(ctx, "localhost", DNS_A, DNS_CLASS_IN, &good, said, NULL);
	if (err == 0 && !good)
		err = UB_INITFAIL;
	if (err != 0) {
		log_msg(LOG_ERROR, "libunbound: %s%s", ub_strerror(err),
			s->tls ? "; resolver = tls: needs " CERT_BUNDLE
				 " and a libunbound built with OpenSSL, which Debian's is not:"
				 " use forward:ADDR or recursive"
			       : "");
		return -EINVAL;
	}
	*ret = ctx;
	return 0;
}

static int open_unbound(struct resolver *o)
{
	static char text[RESOLV_CONF_MAX];
	const struct conf *c = &o->r->conf;
	struct servers s;
	size_t len = strcmp(c->resolver, "system") == 0 ? read_resolv_conf(text, sizeof(text)) : 0;
	if (!servers_parse(c->resolver, text, len, &s)) {
		log_msg(LOG_ERROR, "resolver = %s: each server is ADDR[@PORT]%s, at most %d of them", c->resolver,
			strncmp(c->resolver, "tls:", 4) == 0 ? "#NAME" : "", SERVERS_MAX);
		return -EINVAL;
	}
	int err = ubevent_new(o->r->loop, EV_UNBOUND, &o->events);
	if (err == 0 && c->dnssec != DNSSEC_OFF)
		err = open_context(o, &s, true, &o->ctx[CHECKED]);
	if (err == 0 && c->dnssec != DNSSEC_REQUIRE)
		err = open_context(o, &s, false, &o->ctx[PLAIN]);
	return err;
}

static void take_frame(struct resolver *o, enum role_id from, const struct frame *f)
{
	struct ipc_resolve m;
	struct ipc_relay y;
	if ((from == ROLE_GATE || from == ROLE_FETCH) && f->type == IPC_RESOLVE && ipc_resolve_get(f->body, f->len, &m))
		resolve(o, from, f->id, &m);
	else if (from == ROLE_GATE && f->type == IPC_RELAY && ipc_relay_get(f->body, f->len, &y))
		relay(o, &y);
	else if (f->type != IPC_CHANNEL)
		log_msg(LOG_ERROR, "%s sent message %u, which is malformed or not its to send", role_name(from),
			f->type);
}

static void serve(struct resolver *o)
{
	for (int64_t at = -1; !o->r->stopping;) {
		struct loop_event ev;
		enum role_id from;
		struct frame f;
		bool got = loop_next(o->r->loop, at, &ev);
		if (got && ev.ref.type == EV_UNBOUND)
			ubevent_handle(o->events, &ev);
		while (got && ev.ref.type < ROLE_COUNT && role_recv(o->r, &ev, &from, &f) > 0) {
			take_frame(o, from, &f);
			frame_close_fds(&f);
		}
		ubevent_tick(o->events);
		at = expire(o);
		int64_t timer = ubevent_deadline(o->events);
		if (timer >= 0 && (at < 0 || timer < at))
			at = timer;
	}
}

int resolver_main(struct role *r)
{
	static const char *const extra[] = { "bind", "connect", "ioctl", NULL };
	struct role_confine confine = { .extra = extra, .keep_network_namespace = true, .inet_sockets = true };
	struct resolver *o = calloc(1, sizeof(*o));
	if (o == NULL)
		return -ENOMEM;
	self = o;
	o->r = r;
	for (unsigned i = 0; i < REQUESTS_MAX; i++)
		o->request[i].next_free = (uint16_t)(i + 1);
	int err = open_unbound(o);
	if (err == 0)
		err = role_confine(r, &confine);
	if (err != 0)
		return err;
	role_ready(r);
	serve(o);
	return 0;
}
