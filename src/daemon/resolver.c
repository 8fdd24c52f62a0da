/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resolver role: upstream DNS by libunbound. What it sends is built by libunbound from a name that policy allowed, nothing of a guest's bytes; what it
 * says is held against floor and rules by gate before anything is committed.
 *
 * libunbound runs its own thread, made after the confinement so that uid, root, capabilities and filter hold for it, too; its answers
 * come by one descriptor in our loop.
 */
#include "names/upstream.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/role.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unbound.h>
#include <unistd.h>

enum { EV_UNBOUND = ROLE_COUNT, PENDING_MAX = 2048, CONF_MAX = 16384 };
#define CERTS_DIR "/etc/ssl/certs"
#define CERTS_FILE "/ca-certificates.crt" /* inside CERTS_DIR, the root of this role when it speaks TLS */
#define ROOT_KEY "/usr/share/dns/root.key"

/* A request of gate's, until every query made for it has ended. */
struct pending {
	bool used, relay;
	uint32_t id; /* gate's RESOLVE, or names' LOOKUP */
	unsigned queries;
	bool failed, bogus, nxdomain, answered;
	struct name name;
	uint16_t qtype;
	struct ipc_resolved r;
};

/* One query at libunbound. */
struct query {
	struct resolver *o;
	struct pending *p;
	uint16_t qtype;
};

struct resolver {
	struct role *r;
	struct ub_ctx *ctx;
	struct pending *pending; /* PENDING_MAX */
	struct ipc_relayed relayed;
};

static void answer_resolved(struct resolver *o, struct pending *p)
{
	if (p->bogus)
		p->r.status = RESOLVE_BOGUS;
	else if (p->r.n_v4 + p->r.n_v6 > 0 || (p->answered && !p->nxdomain))
		p->r.status = RESOLVE_OK;
	else
		p->r.status = p->nxdomain ? RESOLVE_NXDOMAIN : RESOLVE_FAILED;
	if (p->r.ttl == UINT32_MAX)
		p->r.ttl = 0;
	role_send_msg(o->r, ROLE_GATE, IPC_RESOLVED, p->id, resolved, &p->r, NULL, 0);
}

static void query_over(struct resolver *o, struct pending *p)
{
	if (--p->queries > 0)
		return;
	if (!p->relay)
		answer_resolved(o, p);
	p->used = false;
}

static void take_addresses(struct pending *p, uint16_t qtype, const struct ub_result *res)
{
	if (res->bogus)
		p->bogus = true;
	else if (res->nxdomain)
		p->nxdomain = true;
	else if (res->rcode != 0)
		p->failed = true;
	else
		p->answered = true;
	if (!res->bogus && res->rcode == 0 && res->answer_packet != NULL && res->answer_len > 0)
		upstream_addresses(&p->name, qtype, res->answer_packet, (size_t)res->answer_len, &p->r);
}

static void take_relay(struct resolver *o, struct pending *p, const struct ub_result *res)
{
	o->relayed = (struct ipc_relayed){ .rcode = DNS_SERVFAIL };
	if (res != NULL && !res->bogus && res->answer_packet != NULL && res->answer_len > 0)
		upstream_relay(&p->name, p->qtype, res->answer_packet, (size_t)res->answer_len, &o->relayed);
	role_send_msg(o->r, ROLE_NAMES, IPC_RELAYED, p->id, relayed, &o->relayed, NULL, 0);
}

/* libunbound's callback: the only way it gives an answer. */
static void answered(void *arg, int err, struct ub_result *res)
{
	struct query *q = arg;
	struct pending *p = q->p;
	if (p->relay)
		take_relay(q->o, p, err == 0 ? res : NULL);
	else if (err != 0)
		p->failed = true;
	else
		take_addresses(p, q->qtype, res);
	query_over(q->o, p);
	ub_resolve_free(res);
	free(q);
}

static void ask(struct resolver *o, struct pending *p, uint16_t qtype)
{
	char text[NAME_TEXT_MAX];
	struct query *q = malloc(sizeof(*q));
	int err = -1;
	p->queries++;
	if (q != NULL) {
		*q = (struct query){ .o = o, .p = p, .qtype = qtype };
		err = ub_resolve_async(o->ctx, name_format(&p->name, text, sizeof(text)), qtype, DNS_CLASS_IN, q, answered, NULL);
	}
	if (err == 0)
		return;
	free(q);
	p->failed = true;
	if (p->relay)
		take_relay(o, p, NULL);
	query_over(o, p);
}

static struct pending *place(struct resolver *o, uint32_t id, const struct name *name)
{
	for (unsigned i = 0; i < PENDING_MAX; i++) {
		struct pending *p = &o->pending[i];
		if (p->used)
			continue;
		p->used = true;
		p->relay = p->failed = p->bogus = p->nxdomain = p->answered = false;
		p->id = id;
		p->queries = 0;
		p->name = *name;
		memset(&p->r, 0, sizeof(p->r));
		p->r.ttl = UINT32_MAX;
		return p;
	}
	return NULL;
}

static void resolve(struct resolver *o, uint32_t id, const struct ipc_resolve *m)
{
	/* Only names of plain letters can be allowed; anything else has no text form that libunbound could read back. */
	struct pending *p = name_is_plain(&m->name) ? place(o, id, &m->name) : NULL;
	if (p == NULL) {
		static struct ipc_resolved failed;
		failed.status = RESOLVE_FAILED;
		role_send_msg(o->r, ROLE_GATE, IPC_RESOLVED, id, resolved, &failed, NULL, 0);
		return;
	}
	p->queries = 1; /* holds it until both are on their way */
	if (m->want_v4)
		ask(o, p, DNS_A);
	if (m->want_v6)
		ask(o, p, DNS_AAAA);
	query_over(o, p);
}

static void relay(struct resolver *o, const struct ipc_relay *m)
{
	struct pending *p = name_is_plain(&m->name) ? place(o, m->lookup_id, &m->name) : NULL;
	if (p == NULL) {
		struct pending none = { .id = m->lookup_id };
		take_relay(o, &none, NULL);
		return;
	}
	p->relay = true;
	p->qtype = m->qtype;
	ask(o, p, m->qtype);
}

/* The servers of the host's resolv.conf as forward-addr lines. */
static size_t host_servers(char *conf, size_t at, size_t cap)
{
	char line[512], server[80];
	FILE *f = fopen("/etc/resolv.conf", "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		char *word = line + strspn(line, " \t");
		if (strncmp(word, "nameserver", 10) != 0)
			continue;
		word += 10 + strspn(word + 10, " \t");
		size_t len = strcspn(word, " \t\r\n%");
		if (upstream_server(word, len, server, sizeof(server)))
			at += (size_t)snprintf(conf + at, cap - at, "\tforward-addr: %s\n", server);
	}
	if (f != NULL)
		fclose(f);
	return at;
}

/* "forward:A[@P],…" or "tls:A#NAME,…" as forward-addr lines; 0: one of them is no server. */
static size_t given_servers(const char *list, bool tls, char *conf, size_t at, size_t cap)
{
	for (const char *p = list; *p != '\0';) {
		size_t len = strcspn(p, ",");
		const char *hash = tls ? memchr(p, '#', len) : NULL;
		char server[80], *port;
		if ((tls && hash == NULL) || !upstream_server(p, hash == NULL ? len : (size_t)(hash - p), server, sizeof(server)))
			return 0;
		if (tls && memchr(p, '@', (size_t)(hash - p)) == NULL && (port = strchr(server, '@')) != NULL)
			snprintf(port, sizeof(server) - (size_t)(port - server), "@853");
		at += (size_t)snprintf(conf + at, cap - at, "\tforward-addr: %s%.*s\n", server, hash == NULL ? 0 : (int)(len - (size_t)(hash - p)),
			hash == NULL ? "" : hash);
		p += len + (p[len] == ',');
	}
	return at;
}

/* Zones that libunbound would answer itself, though the host's own servers may know them. */
static size_t own_zones(char *conf, size_t at, size_t cap)
{
	static const char *const zones[] = { "home.arpa.", "test.", "10.in-addr.arpa.", "168.192.in-addr.arpa.", "2.0.192.in-addr.arpa.",
		"100.51.198.in-addr.arpa.", "113.0.203.in-addr.arpa.", "d.f.ip6.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa." };
	for (unsigned i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		at += (size_t)snprintf(conf + at, cap - at, "\tlocal-zone: \"%s\" nodefault\n", zones[i]);
	for (unsigned i = 16; i < 32; i++)
		at += (size_t)snprintf(conf + at, cap - at, "\tlocal-zone: \"%u.172.in-addr.arpa.\" nodefault\n", i);
	return at;
}

/* unbound.conf(5) from our configuration; the length, 0 when the resolver key is malformed. */
static size_t unbound_conf(const struct conf *c, char *conf, size_t cap)
{
	bool tls = strncmp(c->resolver, "tls:", 4) == 0, validate = c->dnssec == DNSSEC_REQUIRE;
	size_t at = (size_t)snprintf(conf, cap,
		"server:\n\tverbosity: 0\n\tuse-syslog: no\n\tchroot: \"\"\n\tdo-not-query-localhost: no\n\tedns-buffer-size: 1232\n"
		"\tmsg-cache-size: 2m\n\trrset-cache-size: 4m\n\tkey-cache-size: 1m\n\tcache-max-ttl: 3600\n\tcache-max-negative-ttl: 5\n"
		"\toutgoing-range: 256\n\tqname-minimisation: yes\n\tmodule-config: \"%s\"\n",
		validate ? "validator iterator" : "iterator");
	if (validate)
		at += (size_t)snprintf(conf + at, cap - at, "\ttrust-anchor-file: \"%s\"\n", ROOT_KEY);
	if (tls)
		at += (size_t)snprintf(conf + at, cap - at, "\ttls-cert-bundle: \"%s\"\n", CERTS_FILE);
	at = own_zones(conf, at, cap);
	if (strcmp(c->resolver, "recursive") == 0)
		return at;
	at += (size_t)snprintf(conf + at, cap - at, "forward-zone:\n\tname: \".\"\n%s", tls ? "\tforward-tls-upstream: yes\n" : "");
	if (strcmp(c->resolver, "system") == 0)
		return host_servers(conf, at, cap);
	return given_servers(strchr(c->resolver, ':') + 1, tls, conf, at, cap);
}

static int open_unbound(struct resolver *o)
{
	static char conf[CONF_MAX];
	char path[64];
	size_t len = unbound_conf(&o->r->conf, conf, sizeof(conf));
	if (len == 0 || len >= sizeof(conf)) {
		log_msg(LOG_ERROR, "resolver = %s: one of the servers is not ADDR[@PORT]%s", o->r->conf.resolver,
			o->r->conf.resolver[0] == 't' ? "#NAME" : "");
		return -EINVAL;
	}
	int fd = memfd_create("unbound.conf", MFD_CLOEXEC);
	if (fd < 0 || write(fd, conf, len) != (ssize_t)len)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	o->ctx = ub_ctx_create();
	int err = o->ctx == NULL ? UB_NOMEM : ub_ctx_config(o->ctx, path);
	close(fd);
	if (err == 0)
		err = ub_ctx_async(o->ctx, 1);
	if (err != 0) {
		log_msg(LOG_ERROR, "libunbound: %s", ub_strerror(err));
		return -EINVAL;
	}
	return 0;
}

static void take_frame(struct resolver *o, enum role_id from, const struct frame *f)
{
	struct ipc_resolve m;
	struct ipc_relay y;
	if (from == ROLE_GATE && f->type == IPC_RESOLVE && ipc_resolve_get(f->body, f->len, &m))
		resolve(o, f->id, &m);
	else if (from == ROLE_GATE && f->type == IPC_RELAY && ipc_relay_get(f->body, f->len, &y))
		relay(o, &y);
	else if (f->type != IPC_CHANNEL)
		log_msg(LOG_ERROR, "%s sent message %u, which is malformed or not its to send", role_name(from), f->type);
}

int resolver_main(struct role *r)
{
	static const char *const extra[] = { "clone", "clone3", "set_robust_list", "rseq", "socket", "bind", "connect", "pipe", "pipe2", "socketpair",
		"sysinfo", "prlimit64", "getrlimit", "setrlimit", "sched_getaffinity", "open", "openat", "stat", "lstat", "access", "ioctl", "select",
		"pselect6", "getuid", "geteuid", "getgid", "getegid", "uname", "pread64", "sendmmsg", "recvmmsg", "accept4", "clock_nanosleep",
		"getdents64", "readlink", "unlink", NULL };
	static struct resolver o;
	struct role_confine confine = { .extra = extra, .keep_network_namespace = true,
		.root_dir = strncmp(r->conf.resolver, "tls:", 4) == 0 ? CERTS_DIR : NULL };
	o.r = r;
	o.pending = calloc(PENDING_MAX, sizeof(*o.pending));
	int err = o.pending == NULL ? -ENOMEM : open_unbound(&o);
	if (err == 0)
		err = role_confine(r, &confine);
	if (err == 0)
		err = loop_add(r->loop, ub_fd(o.ctx), EPOLLIN, EV_UNBOUND, 0);
	if (err != 0)
		return err;
	role_ready(r);
	while (!r->stopping) {
		struct loop_event ev;
		enum role_id from;
		struct frame f;
		if (!loop_next(r->loop, -1, &ev))
			continue;
		if (ev.ref.type == EV_UNBOUND) {
			if (ub_process(o.ctx) != 0)
				return -EIO;
			continue;
		}
		while (role_recv(r, &ev, &from, &f) > 0) {
			take_frame(&o, from, &f);
			frame_close_fds(&f);
		}
	}
	return 0;
}
