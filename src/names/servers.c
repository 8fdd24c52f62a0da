/* SPDX-License-Identifier: Apache-2.0 */
#include "names/servers.h"

#include "base/addr.h"
#include "base/name.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PORT_DNS = 53, PORT_TLS = 853 };

struct text {
	const char *p;
	size_t len;
};

/* What stands before the first `c`, which is taken away; all of it when there is none. */
static struct text cut(struct text *rest, char c)
{
	const char *at = rest->len == 0 ? NULL : memchr(rest->p, c, rest->len);
	struct text head = { rest->p, at == NULL ? rest->len : (size_t)(at - rest->p) };
	size_t taken = head.len + (at != NULL);
	rest->p += taken;
	rest->len -= taken;
	return head;
}

static bool parse_port(struct text t, unsigned *ret)
{
	unsigned v = 0;
	if (t.len == 0 || t.len > 5)
		return false;
	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return false;
		v = v * 10 + (unsigned)(t.p[i] - '0');
	}
	*ret = v;
	return v >= 1 && v <= UINT16_MAX;
}

/* "fe80::1%eth0": the address is checked, the interface's name has no byte with a meaning in unbound.conf. */
static bool check_address(struct text t, char *ret, size_t cap)
{
	char buf[64];
	struct addr a;
	struct text rest = t, host = cut(&rest, '%');
	if (host.len >= sizeof(buf) || t.len >= cap)
		return false;
	memcpy(buf, host.p, host.len);
	buf[host.len] = '\0';
	for (size_t i = 0; i < rest.len; i++) {
		char c = rest.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
			    c == '_' || c == '.'))
			return false;
	}
	if (!addr_parse(buf, &a) || (host.len < t.len && (rest.len == 0 || a.len != 16)))
		return false;
	memcpy(ret, t.p, t.len);
	ret[t.len] = '\0';
	return true;
}

/* ADDR[@PORT][#NAME]; the name is wanted with tls and only then. */
static bool add_server(struct servers *s, struct text t)
{
	char host[96], name[NAME_TEXT_MAX];
	unsigned port = s->tls ? PORT_TLS : PORT_DNS;
	struct name n;
	bool named = t.len > 0 && memchr(t.p, '#', t.len) != NULL;
	struct text where = cut(&t, '#'), at = where, addr = cut(&at, '@');
	if (s->n == SERVERS_MAX || named != s->tls || !check_address(addr, host, sizeof(host)))
		return false;
	if (addr.len < where.len && !parse_port(at, &port))
		return false;
	if (named && !name_from_text(t.p, t.len, &n))
		return false;
	int len = snprintf(s->at[s->n], SERVER_TEXT_MAX, "%s@%u%s%s", host, port, named ? "#" : "",
		named ? name_format(&n, name, sizeof(name)) : "");
	if (len >= SERVER_TEXT_MAX)
		return false;
	s->n++;
	return true;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct text word(struct text *rest)
{
	while (rest->len > 0 && blank(*rest->p)) {
		rest->p++;
		rest->len--;
	}
	size_t n = 0;
	while (n < rest->len && !blank(rest->p[n]))
		n++;
	struct text w = { rest->p, n };
	rest->p += n;
	rest->len -= n;
	return w;
}

static void from_resolv_conf(struct servers *s, struct text all)
{
	while (all.len > 0 && s->n < SERVERS_MAX) {
		struct text line = cut(&all, '\n'), key = word(&line);
		if (key.len != strlen("nameserver") || memcmp(key.p, "nameserver", key.len) != 0)
			continue;
		struct text server = word(&line);
		/* '@' and '#' are ours, not resolv.conf's. */
		if (server.len > 0 && memchr(server.p, '@', server.len) == NULL && !add_server(s, server))
			continue;
	}
	if (s->n == 0)
		add_server(s, (struct text){ "127.0.0.1", strlen("127.0.0.1") });
}

bool servers_parse(const char *key, const char *resolv_conf, size_t len, struct servers *ret)
{
	struct servers s = { .recursive = strcmp(key, "recursive") == 0, .tls = strncmp(key, "tls:", 4) == 0 };
	struct text list = { key, strlen(key) };
	if (strcmp(key, "system") == 0) {
		from_resolv_conf(&s, (struct text){ resolv_conf, len });
	} else if (!s.recursive) {
		if (!s.tls && strncmp(key, "forward:", 8) != 0)
			return false;
		cut(&list, ':');
		do {
			if (!add_server(&s, cut(&list, ',')))
				return false;
		} while (list.len > 0);
		if (key[strlen(key) - 1] == ',')
			return false;
	}
	*ret = s;
	return true;
}

struct out {
	char *buf;
	size_t cap, len;
};

__attribute__((format(printf, 2, 3))) static void put(struct out *o, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	size_t room = o->len < o->cap ? o->cap - o->len : 0;
	int n = vsnprintf(room == 0 ? NULL : o->buf + o->len, room, fmt, ap);
	va_end(ap);
	o->len += n < 0 ? o->cap : (size_t)n;
}

static const char general[] =
	"server:\n"
	"\tverbosity: 0\n\tuse-syslog: no\n\tlogfile: \"\"\n\tchroot: \"\"\n\tusername: \"\"\n\tdirectory: \"\"\n\tpidfile: \"\"\n"
	"\tdo-not-query-localhost: no\n\tedns-buffer-size: 1232\n\tqname-minimisation: yes\n\tminimal-responses: yes\n"
	"\tmsg-cache-size: 2m\n\trrset-cache-size: 4m\n\tkey-cache-size: 1m\n\tneg-cache-size: 256k\n"
	"\tcache-max-ttl: 3600\n\tcache-max-negative-ttl: 5\n\toutgoing-range: 256\n\tnum-queries-per-thread: 512\n"
	/* A server that was away for a while is found again at once. */
	"\tinfra-host-ttl: 30\n\tinfra-keep-probing: yes\n"
	/* What libunbound would answer by itself though the host's own servers may know it. */
	"\tunblock-lan-zones: yes\n\tinsecure-lan-zones: yes\n"
	"\tlocal-zone: \"home.arpa.\" nodefault\n\tlocal-zone: \"test.\" nodefault\n";

/* IANA's root keys of 2017 and 2024 (https://data.iana.org/root-anchors/root-anchors.xml). */
static const char root_keys[] =
	"\ttrust-anchor: \". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\"\n"
	"\ttrust-anchor: \". IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16\"\n";

/* Names that only exist on somebody's own network: the root proves that they do not exist, the host's server knows
 * better. */
static const char *const local_names[] = { "home.arpa", "test", "lan", "local", "home", "internal", "intranet",
	"private", "corp" };

size_t servers_unbound_conf(const struct servers *s, bool validate, const char *anchors, const char *cert_bundle,
	char *buf, size_t cap)
{
	struct out o = { .cap = cap };
	o.buf = buf;
	put(&o, "%s\tmodule-config: \"%s\"\n", general, validate ? "validator iterator" : "iterator");
	/* Nobody is told which keys of the root we hold (RFC 8145): no name leaves but those that were allowed. */
	if (validate)
		put(&o, "\ttrust-anchor-signaling: no\n");
	if (validate && anchors != NULL)
		put(&o, "\ttrust-anchor-file: \"%s\"\n", anchors);
	else if (validate)
		put(&o, "%s", root_keys);
	for (size_t i = 0; validate && !s->recursive && i < sizeof(local_names) / sizeof(local_names[0]); i++)
		put(&o, "\tdomain-insecure: \"%s\"\n", local_names[i]);
	if (s->tls)
		put(&o, "\ttls-cert-bundle: \"%s\"\n", cert_bundle);
	if (!s->recursive)
		put(&o, "forward-zone:\n\tname: \".\"\n%s", s->tls ? "\tforward-tls-upstream: yes\n" : "");
	for (unsigned i = 0; i < s->n; i++)
		put(&o, "\tforward-addr: %s\n", s->at[i]);
	return o.len < cap ? o.len : 0;
}
