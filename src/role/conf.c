/* SPDX-License-Identifier: Apache-2.0 */
#include "role/conf.h"

#include <errno.h>
#include <sekisho-paths.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum key_kind { KEY_PATH, KEY_WORD, KEY_CHOICE, KEY_NUMBER, KEY_MILLIS, KEY_IFNAME, KEY_UPLINK, KEY_RESOLVER };

/* One row per key of sekishod.conf(5). `choices` is a NULL-ended list in the order of the enum behind `offset`. */
struct conf_key {
	const char *name;
	enum key_kind kind;
	size_t offset, size;
	const char *fallback;
	const char *const *choices;
	uint32_t min, max;
};

static const char *const switch_choices[] = { "auto", "system", "private", NULL };
static const char *const datapath_choices[] = { "auto", "system", "netdev", NULL };
static const char *const host_choices[] = { "refuse", "share", NULL };
static const char *const vmm_choices[] = { "auto", "firecracker", "qemu", NULL };
static const char *const stop_choices[] = { "stop", "keep", NULL };
static const char *const dnssec_choices[] = { "auto", "require", "off", NULL };

#define AT(field) offsetof(struct conf, field), sizeof(((struct conf *)NULL)->field)
static const struct conf_key keys[] = {
	{ "run_dir", KEY_PATH, AT(run_dir), "/run/sekisho", NULL, 0, 0 },
	{ "state_dir", KEY_PATH, AT(state_dir), "/var/lib/sekisho", NULL, 0, 0 },
	{ "policy_dir", KEY_PATH, AT(policy_dir), SEKISHO_SYSCONFDIR "/policy.d", NULL, 0, 0 },
	{ "apps_dir", KEY_PATH, AT(apps_dir), SEKISHO_SYSCONFDIR "/apps", NULL, 0, 0 },
	{ "switch", KEY_CHOICE, AT(switch_), "auto", switch_choices, 0, 0 },
	{ "datapath", KEY_CHOICE, AT(datapath), "auto", datapath_choices, 0, 0 },
	{ "bridge", KEY_IFNAME, AT(bridge), "sekisho0", NULL, 0, 0 },
	{ "uplink", KEY_UPLINK, AT(uplink), "nat", NULL, 0, 0 },
	{ "lan_ipv4", KEY_WORD, AT(lan_ipv4), "", NULL, 0, 0 },
	{ "lan_ipv6", KEY_WORD, AT(lan_ipv6), "", NULL, 0, 0 },
	{ "uplink_host", KEY_CHOICE, AT(uplink_share), "refuse", host_choices, 0, 0 },
	{ "guest_ipv4", KEY_WORD, AT(guest_ipv4), "100.64.0.0/20", NULL, 0, 0 },
	{ "guest_ipv6", KEY_WORD, AT(guest_ipv6), "fd73:6b69:7368::/48", NULL, 0, 0 },
	{ "resolver", KEY_RESOLVER, AT(resolver), "system", NULL, 0, 0 },
	{ "vmm", KEY_CHOICE, AT(vmm), "auto", vmm_choices, 0, 0 },
	{ "ask_expires", KEY_MILLIS, AT(ask_expires_ms), "75s", NULL, 1000, 600000 },
	{ "users_group", KEY_WORD, AT(users_group), "sekisho", NULL, 0, 0 },
	{ "admins_group", KEY_WORD, AT(admins_group), "sekisho-admin", NULL, 0, 0 },
	{ "on_stop", KEY_CHOICE, AT(on_stop_keep), "stop", stop_choices, 0, 0 },
	{ "zone_base", KEY_NUMBER, AT(zone_base), "40000", NULL, 1, 49000 },
	{ "uid_base", KEY_NUMBER, AT(uid_base), "2000000000", NULL, 1000, 4000000000U },
	{ "history_rows", KEY_NUMBER, AT(history_rows), "1000000", NULL, 1000, 100000000 },
	{ "history_mib", KEY_NUMBER, AT(history_mib), "512", NULL, 1, 1000000 },
	{ "history_days", KEY_NUMBER, AT(history_days), "90", NULL, 1, 36500 },
	{ "dnssec", KEY_CHOICE, AT(dnssec), "auto", dnssec_choices, 0, 0 },
};
#undef AT
enum { N_KEYS = sizeof(keys) / sizeof(keys[0]) };

static int __attribute__((format(printf, 3, 4))) fail(struct conf_error *e, unsigned line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	e->line = line;
	return -EINVAL;
}

static void store_uint(struct conf *c, const struct conf_key *k, uint32_t v)
{
	uint8_t *at = (uint8_t *)c + k->offset;
	if (k->size == sizeof(uint32_t)) {
		memcpy(at, &v, sizeof(v));
	} else if (k->size == sizeof(uint16_t)) {
		uint16_t half = (uint16_t)v;
		memcpy(at, &half, sizeof(half));
	} else {
		*at = (uint8_t)v;
	}
}

static uint32_t load_uint(const struct conf *c, const struct conf_key *k)
{
	const uint8_t *at = (const uint8_t *)c + k->offset;
	uint32_t v = 0;
	uint16_t half;
	if (k->size == sizeof(uint32_t))
		memcpy(&v, at, sizeof(v));
	else if (k->size == sizeof(uint16_t))
		v = (memcpy(&half, at, sizeof(half)), half);
	else
		v = *at;
	return v;
}

static int set_choice(struct conf *c, const struct conf_key *k, const char *value, unsigned line, struct conf_error *e)
{
	char want[128] = "";
	for (uint32_t i = 0; k->choices[i] != NULL; i++) {
		if (strcmp(k->choices[i], value) == 0) {
			store_uint(c, k, i);
			return 0;
		}
		size_t at = strlen(want);
		snprintf(want + at, sizeof(want) - at, "%s%s", i > 0 ? ", " : "", k->choices[i]);
	}
	return fail(e, line, "%s is \"%s\"; it must be one of: %s", k->name, value, want);
}

static int set_number(struct conf *c, const struct conf_key *k, const char *value, unsigned line, struct conf_error *e)
{
	char *end;
	errno = 0;
	unsigned long long v = strtoull(value, &end, 10);
	unsigned long long scale = 1;
	if (k->kind == KEY_MILLIS) {
		scale = strcmp(end, "ms") == 0 ? 1 : strcmp(end, "s") == 0 ? 1000 : strcmp(end, "m") == 0 ? 60000 : 0;
		if (end == value || scale == 0)
			return fail(e, line, "%s is \"%s\"; it must be a time such as 75s or 2m", k->name, value);
	} else if (end == value || *end != '\0' || value[0] == '-') {
		return fail(e, line, "%s is \"%s\"; it must be a number", k->name, value);
	}
	if (errno != 0 || v > UINT32_MAX || v * scale < k->min || v * scale > k->max)
		return fail(e, line, "%s is %s; it must lie between %u and %u%s", k->name, value, k->min, k->max,
			k->kind == KEY_MILLIS ? " milliseconds" : "");
	store_uint(c, k, (uint32_t)(v * scale));
	return 0;
}

static bool ifname_ok(const char *s)
{
	size_t len = strlen(s);
	return len > 0 && len < 16 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len &&
	       strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int set_string(struct conf *c, const struct conf_key *k, const char *value, unsigned line, struct conf_error *e)
{
	if (strlen(value) >= k->size)
		return fail(e, line, "%s is longer than %zu bytes", k->name, k->size - 1);
	if (k->kind == KEY_PATH && value[0] != '/')
		return fail(e, line, "%s is \"%s\"; it must be an absolute path", k->name, value);
	/* A Unix socket's path holds 107 bytes, and OVS makes names of its own below run_dir. */
	if (k->offset == offsetof(struct conf, run_dir) && strlen(value) > 60)
		return fail(e, line, "run_dir is longer than 60 bytes, too long for the sockets below it");
	if (k->kind == KEY_IFNAME && !ifname_ok(value))
		return fail(e, line, "%s is \"%s\"; an interface name has 1 to 15 letters, digits, '.', '_' or '-'",
			k->name, value);
	if (k->kind == KEY_UPLINK && strcmp(value, "nat") != 0 &&
		(strncmp(value, "port:", 5) != 0 || !ifname_ok(value + 5)))
		return fail(e, line, "uplink is \"%s\"; it must be nat or port:IFACE", value);
	if (k->kind == KEY_RESOLVER && strcmp(value, "system") != 0 && strcmp(value, "recursive") != 0 &&
		strncmp(value, "forward:", 8) != 0 && strncmp(value, "tls:", 4) != 0)
		return fail(e, line,
			"resolver is \"%s\"; it must be system, recursive, forward:ADDR[@PORT] or tls:ADDR#NAME",
			value);
	memcpy((uint8_t *)c + k->offset, value, strlen(value) + 1);
	return 0;
}

static int set_key(struct conf *c, const struct conf_key *k, const char *value, unsigned line, struct conf_error *e)
{
	switch (k->kind) {
	case KEY_CHOICE:
		return set_choice(c, k, value, line, e);
	case KEY_NUMBER:
	case KEY_MILLIS:
		return set_number(c, k, value, line, e);
	case KEY_PATH:
	case KEY_WORD:
	case KEY_IFNAME:
	case KEY_UPLINK:
	case KEY_RESOLVER:
		return set_string(c, k, value, line, e);
	}
	return -EINVAL;
}

/* Edit distance for near misses; both words are short. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 32 };
	unsigned row[MAX + 1];
	size_t la = strlen(a), lb = strlen(b);
	if (la > MAX || lb > MAX)
		return MAX;
	for (unsigned j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

static int unknown_key(const char *name, unsigned line, struct conf_error *e)
{
	const char *near = NULL;
	unsigned best = 4;
	for (unsigned i = 0; i < N_KEYS; i++) {
		unsigned d = distance(name, keys[i].name);
		if (d < best) {
			best = d;
			near = keys[i].name;
		}
	}
	if (near != NULL)
		return fail(e, line, "unknown key \"%.60s\": did you mean \"%s\"?", name, near);
	return fail(e, line, "unknown key \"%.60s\" (sekishod.conf(5) lists the keys)", name);
}

static char *trim(char *s)
{
	s += strspn(s, " \t");
	size_t len = strlen(s);
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t' || s[len - 1] == '\r'))
		s[--len] = '\0';
	return s;
}

static int parse_line(struct conf *c, char *text, unsigned line, unsigned seen[N_KEYS], struct conf_error *e)
{
	char *s = trim(text);
	if (*s == '\0' || *s == '#')
		return 0;
	char *eq = strchr(s, '=');
	if (eq == NULL)
		return fail(e, line, "expected \"key = value\", found \"%.60s\"", s);
	*eq = '\0';
	char *name = trim(s), *value = trim(eq + 1);
	/* A comment behind a value needs a blank before it: "tls:192.0.2.1#name" is a value. */
	char *hash = strstr(value, " #");
	if (hash != NULL) {
		*hash = '\0';
		value = trim(value);
	}
	for (unsigned i = 0; i < N_KEYS; i++) {
		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (seen[i] != 0)
			return fail(e, line, "%s was already set in line %u", name, seen[i]);
		seen[i] = line;
		return set_key(c, &keys[i], value, line, e);
	}
	return unknown_key(name, line, e);
}

void conf_defaults(struct conf *c)
{
	struct conf_error e;
	memset(c, 0, sizeof(*c));
	for (unsigned i = 0; i < N_KEYS; i++)
		(void)set_key(c, &keys[i], keys[i].fallback, 0, &e);
	(void)plan_parse(c->guest_ipv4, c->guest_ipv6, &c->plan);
}

/* Addresses of the LAN mean something only to the uplink that puts guests on it; what cannot be read is refused in any
 * case. */
static int conf_lan(struct conf *c, struct conf_error *e)
{
	char error[PLAN_ERROR_MAX];
	struct plan_lan lan[2] = { 0 };
	if (c->lan_ipv4[0] != '\0' && !plan_lan_parse(c->lan_ipv4, false, &lan[0], error))
		return fail(e, 0, "lan_ipv4: %s", error);
	if (c->lan_ipv6[0] != '\0' && !plan_lan_parse(c->lan_ipv6, true, &lan[1], error))
		return fail(e, 0, "lan_ipv6: %s", error);
	if (strncmp(c->uplink, "port:", 5) == 0) {
		c->plan.lan4 = lan[0];
		c->plan.lan6 = lan[1];
	}
	return 0;
}

static int conf_check(struct conf *c, struct conf_error *e)
{
	if (!plan_parse(c->guest_ipv4, c->guest_ipv6, &c->plan))
		return fail(e, 0,
			"guest_ipv4 must be a network of at most /%d and guest_ipv6 a /%d, without host bits (\"%s\", \"%s\")",
			PLAN_V4_PREFIX_MAX, PLAN_V6_PREFIX, c->guest_ipv4, c->guest_ipv6);
	if (strncmp(c->uplink, "port:", 5) == 0 && c->lan_ipv4[0] == '\0' && c->lan_ipv6[0] == '\0')
		return fail(e, 0, "uplink = %s needs lan_ipv4 or lan_ipv6: FIRST-LAST/PREFIX via GATEWAY", c->uplink);
	return conf_lan(c, e);
}

int conf_parse(const char *text, size_t len, struct conf *ret, struct conf_error *reterr)
{
	struct conf c;
	unsigned seen[N_KEYS] = { 0 }, line = 1;
	conf_defaults(&c);
	for (size_t at = 0; at < len; line++) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t n = nl == NULL ? len - at : (size_t)(nl - text) - at;
		char buf[2048];
		if (n >= sizeof(buf))
			return fail(reterr, line, "the line is longer than %zu bytes", sizeof(buf) - 1);
		memcpy(buf, text + at, n);
		buf[n] = '\0';
		if (strlen(buf) != n)
			return fail(reterr, line, "the line has a NUL byte");
		int err = parse_line(&c, buf, line, seen, reterr);
		if (err != 0)
			return err;
		at += n + 1;
	}
	int err = conf_check(&c, reterr);
	if (err == 0)
		*ret = c;
	return err;
}

int conf_print(const struct conf *c, char *buf, size_t cap)
{
	size_t at = 0;
	for (unsigned i = 0; i < N_KEYS && at < cap; i++) {
		const struct conf_key *k = &keys[i];
		int n = 0;
		if (k->kind == KEY_CHOICE)
			n = snprintf(buf + at, cap - at, "%s = %s\n", k->name, k->choices[load_uint(c, k)]);
		else if (k->kind == KEY_NUMBER || k->kind == KEY_MILLIS)
			n = snprintf(buf + at, cap - at, "%s = %u%s\n", k->name, load_uint(c, k),
				k->kind == KEY_MILLIS ? "ms" : "");
		else
			n = snprintf(buf + at, cap - at, "%s = %s\n", k->name, (const char *)c + k->offset);
		at += (size_t)n;
	}
	return at < cap ? (int)at : -ENOSPC;
}
