/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fetch role, a program of its own because libcurl brings thirty libraries: what somebody else's server or file
 * says is a list's members. It has the network and nothing else: no file (certificates are read before the confinement,
 * a list in a file comes as a descriptor), no name service (the resolver role gives addresses). Its answer is a digest
 * that desk and gate use without trusting it: taken over, it can give a wrong list.
 *
 * One request at a time, the last. https: the host is resolved, the resource fetched (download.h), each redirect begins
 * anew.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "fetch/download.h"
#include "policy/list_digest.h"
#include "policy/list_parse.h"
#include "role/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { RESOLVE_MS = 15000, KEYS_TRIED = 4 };
#define CERT_BUNDLE "/etc/ssl/certs/ca-certificates.crt"

struct fetch {
	struct role *r;
	struct download *download;
	char no_certificates[DOWNLOAD_TEXT]; /* "": they were read */
	uint32_t id;			     /* of desk's request */
	struct ipc_fetch m;
	char url[DOWNLOAD_TEXT];
	unsigned redirects;
	uint32_t asked; /* of the resolver, 0: nothing */
	int64_t until_ms;
};

/* --- the answer --- */

static void answer(struct fetch *o, const struct ipc_fetched *m, int fd)
{
	(void)role_send_msg(o->r, ROLE_DESK, IPC_FETCHED, o->id, fetched, m, &fd, fd >= 0 ? 1 : 0);
	o->asked = 0;
	o->until_ms = -1;
	download_stop(o->download);
}

static void fail(struct fetch *o, int err, const char *why)
{
	static struct ipc_fetched m;
	char shown[2 * DOWNLOAD_TEXT];
	m = (struct ipc_fetched){ .err = err };
	ipc_text_set(&m.text, text_escape(why, strlen(why), shown, sizeof(shown)));
	answer(o, &m, -1);
}

/* --- from text to digest --- */

static int add(void *builder, const struct policy_peer *p)
{
	return list_builder_add(builder, p);
}

static int sealed_memfd(const void *bytes, size_t len)
{
	int fd = fd_memory("list");
	int err = fd < 0 ? fd : fd_write_all(fd, bytes, len);
	if (err == 0)
		err = fd_seal(fd);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

/* The digest as a memfd, or negative errno; -EAGAIN: another key. */
static int digest(const char *text, size_t len, const uint64_t key[2], struct list_report *report, uint32_t *ret_len)
{
	struct list_builder *b = list_builder_new(key);
	size_t need = 0;
	int err = b == NULL ? -ENOMEM : list_parse(text, len, add, b, report);
	if (err == 0)
		err = list_builder_finish(b, &need);
	void *bytes = err == 0 ? aligned_alloc(8, (need + 7) / 8 * 8) : NULL;
	if (err == 0)
		err = bytes == NULL ? -ENOMEM : list_builder_write(b, bytes, need);
	list_builder_free(b);
	int fd = err == 0 ? sealed_memfd(bytes, need) : err;
	free(bytes);
	*ret_len = (uint32_t)need;
	return fd;
}

static void say_report(const struct list_report *r, int err, struct ipc_text *ret)
{
	char text[1024] = "";
	size_t len = 0;
	if (err == -EBADMSG)
		len = (size_t)snprintf(text, sizeof(text), "this is no list: %zu lines of it cannot be read, %zu can",
			r->n_bad, r->n_names + r->n_nets);
	else if (err == -E2BIG)
		len = (size_t)snprintf(text, sizeof(text), "it has more than %d entries or %d MiB", LIST_ENTRIES_MAX,
			LIST_BYTES_MAX >> 20);
	else if (err < 0)
		len = (size_t)snprintf(text, sizeof(text), "%s", strerror(-err));
	if (r->n_errors > 0 && (err >= 0 || err == -EBADMSG))
		snprintf(text + len, sizeof(text) - len, "%sline %u: %s", len > 0 ? "; " : "", r->errors[0].line,
			r->errors[0].message);
	ipc_text_set(ret, text);
}

static void take_text(struct fetch *o, const char *text, size_t len, const struct ipc_list_tags *tags)
{
	static struct ipc_fetched m;
	static struct list_report r;
	uint64_t key[2] = { o->m.key[0], o->m.key[1] };
	int fd = -EAGAIN;
	m = (struct ipc_fetched){ .tags = *tags };
	for (unsigned i = 0; fd == -EAGAIN && i < KEYS_TRIED; i++) {
		memset(&r, 0, sizeof(r));
		fd = digest(text, len, key, &r, &m.len);
		key[0] = key[0] * 0x9e3779b97f4a7c15U + 1;
	}
	m.err = fd < 0 ? fd : 0;
	m.n_names = (uint32_t)r.n_names;
	m.n_nets = (uint32_t)r.n_nets;
	m.n_browser = (uint32_t)r.n_browser;
	m.n_exceptions = (uint32_t)r.n_exceptions;
	m.n_bad = (uint32_t)r.n_bad;
	say_report(&r, m.err, &m.text);
	answer(o, &m, fd < 0 ? -1 : fd);
	if (fd >= 0)
		close(fd);
}

static void take_file(struct fetch *o, int fd)
{
	static const struct ipc_list_tags none;
	size_t len = 0, cap = 1 << 20;
	char *text = malloc(cap);
	ssize_t n = 1;
	while (text != NULL && n > 0 && len <= LIST_BYTES_MAX) {
		if (len == cap) {
			char *more = realloc(text, cap *= 2);
			if (more == NULL)
				free(text);
			text = more;
			continue;
		}
		n = read(fd, text + len, cap - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (text == NULL || n < 0)
		fail(o, n < 0 ? -errno : -ENOMEM, n < 0 ? strerror(errno) : "no memory");
	else
		take_text(o, text, len, &none);
	free(text);
}

/* --- from the network --- */

static void begin(struct fetch *o, const struct addr *addr, unsigned n)
{
	int err = download_begin(o->download, o->url, &o->m.tags, addr, n);
	if (err != 0)
		fail(o, err, err == -EINVAL ? download_text(o->download) : strerror(-err));
}

static void locate(struct fetch *o)
{
	char host[NAME_TEXT_MAX], error[DOWNLOAD_TEXT] = "";
	struct ipc_resolve q = { .want_v4 = true, .want_v6 = true };
	static uint32_t next;
	int err = download_host(o->url, host, error);
	if (err != 0) {
		fail(o, err, error);
	} else if (host[0] == '\0') {
		begin(o, NULL, 0);
	} else if (!name_from_text(host, strlen(host), &q.name)) {
		fail(o, -EINVAL, "its host is no name");
	} else {
		next = next == UINT32_MAX ? 1 : next + 1;
		o->asked = next;
		o->until_ms = clock_boot_ms() + RESOLVE_MS;
		(void)role_send_msg(o->r, ROLE_RESOLVER, IPC_RESOLVE, o->asked, resolve, &q, NULL, 0);
	}
}

static void resolved(struct fetch *o, const struct ipc_resolved *r)
{
	struct addr all[DOWNLOAD_ADDRS];
	unsigned n = 0;
	o->asked = 0;
	o->until_ms = -1;
	/* Some of each family, whoever has many. */
	for (unsigned i = 0; n < DOWNLOAD_ADDRS && (i < r->n_v4 || i < r->n_v6); i++) {
		if (i < r->n_v6)
			all[n++] = r->v6[i];
		if (i < r->n_v4 && n < DOWNLOAD_ADDRS)
			all[n++] = r->v4[i];
	}
	if (n == 0)
		fail(o, -EHOSTUNREACH,
			r->status == RESOLVE_NXDOMAIN ? "its host does not exist" : "its host has no address");
	else
		begin(o, all, n);
}

static void request(struct fetch *o, struct frame *f)
{
	static struct ipc_fetch m;
	if (!ipc_fetch_get(f->body, f->len, &m))
		return;
	/* Desk has given up what it asked before: the list is another one now, or none. */
	download_stop(o->download);
	o->asked = 0;
	o->until_ms = -1;
	o->m = m;
	o->id = f->id;
	o->redirects = 0;
	snprintf(o->url, sizeof(o->url), "%s", m.source);
	if (f->n_fds == 1)
		take_file(o, f->fds[0]);
	else if (o->no_certificates[0] != '\0')
		fail(o, -ENOENT, o->no_certificates);
	else
		locate(o);
}

static void turned(struct fetch *o, enum download_state s)
{
	size_t len;
	static struct ipc_fetched same;
	switch (s) {
	case DOWNLOAD_IDLE:
	case DOWNLOAD_RUNS:
		break;
	case DOWNLOAD_DONE: {
		const char *body = download_body(o->download, &len);
		const struct ipc_list_tags tags = *download_tags(o->download);
		take_text(o, body, len, &tags);
		break;
	}
	case DOWNLOAD_UNCHANGED:
		same = (struct ipc_fetched){ .unchanged = true };
		answer(o, &same, -1);
		break;
	case DOWNLOAD_MOVED:
		snprintf(o->url, sizeof(o->url), "%s", download_text(o->download));
		download_stop(o->download);
		if (++o->redirects > DOWNLOAD_REDIRECTS)
			fail(o, -ELOOP, "it is moved from one place to the next too often");
		else
			locate(o);
		break;
	case DOWNLOAD_FAILED:
		fail(o, -EIO, download_text(o->download));
		break;
	}
}

static void take_event(struct fetch *o, const struct loop_event *ev)
{
	static struct ipc_resolved r;
	enum role_id from;
	struct frame f;
	while (role_recv(o->r, ev, &from, &f) > 0) {
		if (from == ROLE_DESK && f.type == IPC_FETCH)
			request(o, &f);
		else if (from == ROLE_RESOLVER && f.type == IPC_RESOLVED && f.id == o->asked && o->asked != 0 &&
			 ipc_resolved_get(f.body, f.len, &r))
			resolved(o, &r);
		frame_close_fds(&f);
	}
}

static void serve(struct fetch *o)
{
	struct loop_event ev;
	while (!o->r->stopping) {
		enum download_state s = download_turn(o->download, loop_fd(o->r->loop));
		if (s != DOWNLOAD_IDLE)
			turned(o, s);
		/* Nothing under way: sleep here; else only what is there already. */
		for (int64_t until = s == DOWNLOAD_IDLE ? o->until_ms : 0; loop_next(o->r->loop, until, &ev); until = 0)
			take_event(o, &ev);
		if (o->asked != 0 && clock_boot_ms() >= o->until_ms)
			fail(o, -ETIMEDOUT, "its host cannot be resolved");
	}
}

static int fetch(struct role *r)
{
	static const char *const extra[] = { "bind", "connect", "ioctl", "memfd_create", "ftruncate", "eventfd2",
		"pipe2", "socketpair", "uname", "geteuid", "getuid", NULL };
	struct role_confine confine = { .extra = extra, .keep_network_namespace = true, .inet_sockets = true };
	struct fetch *o = calloc(1, sizeof(*o));
	if (o == NULL)
		return -ENOMEM;
	o->r = r;
	o->until_ms = -1;
	/* OpenSSL and libcurl look at the clock of this place, whose file they cannot open later. */
	tzset();
	int err = download_new(CERT_BUNDLE, o->no_certificates, &o->download);
	if (o->download == NULL)
		return err;
	err = role_confine(r, &confine);
	if (err != 0)
		return err;
	role_ready(r);
	serve(o);
	return 0;
}

/* Started by main as every role is: its words say which. */
int main(void)
{
	return role_run(ROLE_FETCH, fetch);
}
