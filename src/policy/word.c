/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/lex.h"

#include <errno.h>
#include <idn2.h>
#include <libpsl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const keywords[] = { "final", "allow", "deny", "drop", "ask", "reject", "any", "to", "from", "port",
	"for", "until", "exit", "logout", "reboot", "between", "on", "times", "once", "log", "quiet", "note", "group",
	"set", "list", "every", "internet", "lan", "host", "peers", NULL };

static const struct {
	const char *name;
	uint16_t port;
} services[] = { { "ftp", 21 }, { "ssh", 22 }, { "telnet", 23 }, { "smtp", 25 }, { "dns", 53 }, { "domain", 53 },
	{ "tftp", 69 }, { "http", 80 }, { "kerberos", 88 }, { "pop3", 110 }, { "ntp", 123 }, { "imap", 143 },
	{ "snmp", 161 }, { "ldap", 389 }, { "https", 443 }, { "smb", 445 }, { "smtps", 465 }, { "ipp", 631 },
	{ "ldaps", 636 }, { "submission", 587 }, { "rsync", 873 }, { "dot", 853 }, { "imaps", 993 }, { "pop3s", 995 },
	{ "socks", 1080 }, { "mqtt", 1883 }, { "nfs", 2049 }, { "git", 9418 }, { "mysql", 3306 }, { "rdp", 3389 },
	{ "stun", 3478 }, { "svn", 3690 }, { "sip", 5060 }, { "sips", 5061 }, { "xmpp", 5222 }, { "mdns", 5353 },
	{ "llmnr", 5355 }, { "postgresql", 5432 }, { "vnc", 5900 }, { "redis", 6379 }, { "irc", 6667 },
	{ "ircs", 6697 }, { "mqtts", 8883 } };

static bool keyword(struct span s)
{
	for (const char *const *k = keywords; *k != NULL; k++) {
		if (span_is(s, *k))
			return true;
	}
	return false;
}

static bool lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool policy_token_ok(const char *text, size_t len)
{
	struct span s = { .p = text, .len = len };
	if (len == 0 || len > POLICY_TOKEN_MAX || !lower_or_digit(text[0]) || keyword(s))
		return false;
	for (size_t i = 1; i < len; i++) {
		if (!lower_or_digit(text[i]) && (text[i] == '\0' || strchr("._+-", text[i]) == NULL))
			return false;
	}
	return true;
}

int policy_service_port(const char *text, size_t len)
{
	struct span s = { .p = text, .len = len };
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		if (span_is(s, services[i].name))
			return services[i].port;
	}
	return -ENOENT;
}

bool word_token(struct lex *x, struct span s, const char *what, char ret[POLICY_TOKEN_MAX + 1])
{
	char show[64];
	if (policy_token_ok(s.p, s.len)) {
		memcpy(ret, s.p, s.len);
		ret[s.len] = '\0';
		return true;
	}
	if (s.len > POLICY_TOKEN_MAX)
		return lex_fail(x, -E2BIG, s.off + POLICY_TOKEN_MAX, what, NULL,
			"expected %s; it has at most %d characters", what, POLICY_TOKEN_MAX);
	if (s.len == 0)
		return lex_fail(x, -EINVAL, s.off, what, NULL, "expected %s, found nothing", what);
	if (keyword(s))
		return lex_fail(x, -EINVAL, s.off, what, NULL, "expected %s, found the keyword \"%s\"", what,
			lex_show(s, show));
	size_t at = 0;
	while (at < s.len &&
		(lower_or_digit(s.p[at]) || (at > 0 && s.p[at] != '\0' && strchr("._+-", s.p[at]) != NULL)))
		at++;
	return lex_fail(x, -EINVAL, s.off + at, what, NULL,
		"expected %s, found \"%s\": it is made of a-z, 0-9 and . _ + -, and starts with a letter or digit",
		what, lex_show(s, show));
}

static bool bad_name(struct lex *x, struct span s)
{
	char show[64];
	lex_show(s, show);
	for (size_t i = 0; i + 2 < s.len; i++) {
		if (memcmp(s.p + i, "://", 3) == 0)
			return lex_fail(x, -EINVAL, s.off, "a host name", NULL,
				"\"%s\" is a URL: write the host name alone", show);
	}
	size_t start = 0;
	for (size_t i = 0; i <= s.len; i++) {
		char c = i < s.len ? s.p[i] : '.';
		if (c == '.') {
			if (i == start)
				return lex_fail(x, -EINVAL, s.off + i, "a label", NULL,
					"expected a label, found nothing: two dots, or a dot too many");
			if (i - start > NAME_LABEL_MAX)
				return lex_fail(x, -EINVAL, s.off + start, NULL, NULL,
					"a label of a host name has at most 63 characters");
			start = i + 1;
		} else if (c == ':') {
			return lex_fail(x, -EINVAL, s.off + i, NULL, NULL,
				"a port is not part of the name: write \"port\" and its number after it");
		} else if (c == '/') {
			return lex_fail(x, -EINVAL, s.off + i, NULL, NULL,
				"a host name has no \"/\"; only an address takes a prefix length");
		} else if (c == '*') {
			return lex_fail(x, -EINVAL, s.off + i, NULL, NULL, "\"*\" stands only at the front, as \"*.\"");
		} else if (!lower_or_digit(c | 0x20) && c != '-' && c != '_') {
			return lex_fail(x, -EINVAL, s.off + i, NULL, NULL,
				"this character is no part of a host name (a-z, 0-9, \"-\", \"_\")");
		}
	}
	return lex_fail(x, -EINVAL, s.off, "a host name", NULL, "\"%s\" is too long for a host name", show);
}

static bool to_ascii(struct lex *x, struct span s, struct name *ret)
{
	char text[1024], show[64];
	uint8_t *ascii = NULL;
	if (s.len >= sizeof(text))
		return lex_fail(x, -EINVAL, s.off, "a host name", NULL, "\"%s\" is too long for a host name",
			lex_show(s, show));
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	int rc = idn2_lookup_u8((const uint8_t *)text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL);
	bool ok = rc == IDN2_OK && name_from_text((const char *)ascii, strlen((const char *)ascii), ret);
	idn2_free(ascii);
	if (!ok)
		return lex_fail(x, -EINVAL, s.off, "a host name", NULL, "\"%s\" is no international host name: %s",
			lex_show(s, show), rc == IDN2_OK ? "characters outside the rules" : idn2_strerror(rc));
	return true;
}

/* "10.0.0." or digits of another script: everybody else would read an address. */
static bool ends_in_number(const struct name *n)
{
	struct name last = name_parent(n, name_labels(n) - 1);
	for (unsigned i = 1; i <= last.wire[0]; i++) {
		if (last.wire[i] < '0' || last.wire[i] > '9')
			return false;
	}
	return true;
}

static bool name_of(struct lex *x, struct span s, struct name *ret)
{
	char show[64];
	bool ascii = true;
	for (size_t i = 0; i < s.len; i++) {
		ascii = ascii && (uint8_t)s.p[i] < 0x80;
		if (s.p[i] == '\0')
			return lex_fail(x, -EINVAL, s.off + i, NULL, NULL, "this character is no part of a host name");
	}
	struct name n;
	if (!ascii && !to_ascii(x, s, &n))
		return false;
	if (ascii && !name_from_text(s.p, s.len, &n))
		return bad_name(x, s.len > 1 && s.p[s.len - 1] == '.' ? span_to(s, s.len - 1) : s);
	if (ends_in_number(&n))
		return lex_fail(x, -EINVAL, s.off, "a host name or an address", NULL,
			"\"%s\" is neither a host name nor an address", lex_show(s, show));
	if (name_labels(&n) < 2)
		return lex_fail(x, -EINVAL, s.off, "a host name", NULL,
			"expected a host name of at least two labels, found \"%s\" (another application is \"app:NAME\")",
			lex_show(s, show));
	*ret = n;
	return true;
}

static bool pattern(struct lex *x, struct span whole, size_t skip, enum policy_peer_kind kind, struct policy_peer *ret)
{
	char text[NAME_TEXT_MAX], show[64];
	struct policy_peer p = { .kind = kind };
	if (whole.len == skip)
		return lex_fail(x, -EINVAL, whole.off, "a host name", "any",
			"expected a host name after \"%.*s\"; did you mean \"any\"?", (int)skip, whole.p);
	struct span rest = span_from(whole, skip);
	if (span_find(rest, '.') + 1 >= rest.len)
		return lex_fail(x, -EINVAL, whole.off, "a registrable name", NULL,
			"\"%s\" spans a whole top-level domain: at least two labels are needed", lex_show(whole, show));
	if (!name_of(x, rest, &p.name))
		return false;
	name_format(&p.name, text, sizeof(text));
	/* Only what registries hand out: below a private suffix such as githubusercontent.com one owner answers for it.
	 * home.arpa is one's own. */
	if (strcmp(text, "home.arpa") != 0 && psl_is_public_suffix2(psl_builtin(), text, PSL_TYPE_ICANN))
		return lex_fail(x, -EINVAL, whole.off, "a registrable name", NULL,
			"\"%s\" is a public suffix: the pattern would span everybody below it", lex_show(whole, show));
	*ret = p;
	return true;
}

static void clear_host_bits(struct policy_net *n)
{
	for (unsigned bit = n->prefix; bit < n->addr.len * 8U; bit++)
		n->addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static bool address(struct lex *x, struct span s, struct policy_peer *ret)
{
	char text[ADDR_TEXT_MAX + 1], show[64];
	size_t slash = span_find(s, '/');
	struct policy_net n;
	if (slash <= ADDR_TEXT_MAX) {
		memcpy(text, s.p, slash);
		text[slash] = '\0';
	}
	if (slash > ADDR_TEXT_MAX || !addr_parse(text, &n.addr))
		return lex_fail(x, -EINVAL, s.off, "an address", NULL, "\"%s\" is no address%s",
			lex_show(span_to(s, slash), show),
			memchr(s.p, '[', s.len) != NULL ? ": it stands without brackets, its port after \"port\"" : "");
	uint64_t prefix = n.addr.len * 8U;
	if (slash < s.len && !span_number(span_from(s, slash + 1), prefix, &prefix))
		return lex_fail(x, -EINVAL, s.off + slash + 1, "a prefix length", NULL,
			"expected a prefix length from 0 to %u", n.addr.len * 8U);
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	n.prefix = (uint8_t)prefix;
	struct policy_net net = n;
	clear_host_bits(&net);
	if (!addr_equal(&net.addr, &n.addr))
		return lex_fail(x, -EINVAL, s.off, "a network", NULL, "\"%s\" has host bits set; the network is %s/%u",
			lex_show(s, show), addr_format(&net.addr, text, sizeof(text)), net.prefix);
	if (n.addr.len == 16 && n.prefix >= 96 && memcmp(n.addr.b, mapped, 12) == 0) {
		net.addr = addr_v4((uint32_t)n.addr.b[12] << 24 | (uint32_t)n.addr.b[13] << 16 |
				   (uint32_t)n.addr.b[14] << 8 | n.addr.b[15]);
		net.prefix = (uint8_t)(n.prefix - 96);
	}
	*ret = (struct policy_peer){ .kind = POLICY_PEER_NET, .net = net };
	return true;
}

/* Digits and dots, or a last label of digits alone, or colons in the places of an IPv6 address: never a name. */
static bool looks_like_address(struct span s)
{
	struct span head = span_to(s, span_find(s, '/'));
	size_t colon = span_find(head, ':');
	if (head.len != 0 && head.p[0] == '[')
		return true;
	if (colon < head.len)
		return span_find(span_from(head, colon + 1), ':') < head.len - colon - 1 || colon == 0;
	size_t label = head.len;
	while (label > 0 && head.p[label - 1] != '.')
		label--;
	return span_digits(span_from(head, label)) && (label > 0 || head.len < s.len);
}

bool word_peer(struct lex *x, struct span s, struct policy_peer *ret)
{
	static const struct {
		const char *prefix, *what;
		enum policy_peer_kind kind;
	} refs[] = { { "set:", "the name of a set", POLICY_PEER_SET },
		{ "list:", "the name of a list", POLICY_PEER_LIST },
		{ "app:", "the name of an application", POLICY_PEER_APP } };
	static const char *const words[] = { "any", "internet", "lan", "host", "peers", NULL };
	struct policy_peer p = { .kind = POLICY_PEER_ANY };
	for (unsigned i = 0; i < 3; i++) {
		size_t n = strlen(refs[i].prefix);
		if (s.len < n || memcmp(s.p, refs[i].prefix, n) != 0)
			continue;
		p.kind = refs[i].kind;
		if (!word_token(x, span_from(s, n), refs[i].what, p.id))
			return false;
		*ret = p;
		return true;
	}
	for (unsigned i = 0; words[i] != NULL; i++) {
		if (!span_is(s, words[i]))
			continue;
		p.kind = i == 0 ? POLICY_PEER_ANY : POLICY_PEER_ZONE;
		if (i != 0)
			p.zone = (enum policy_zone)(i - 1);
		*ret = p;
		return true;
	}
	if (s.len >= 1 && s.p[0] == '*')
		return s.len >= 2 && s.p[1] != '.' ? bad_name(x, s)
						   : pattern(x, s, s.len >= 2 ? 2 : 1, POLICY_PEER_BELOW, ret);
	if (s.len >= 1 && s.p[0] == '.')
		return pattern(x, s, 1, POLICY_PEER_WITHIN, ret);
	if (keyword(s))
		return lex_expected_span(x, s, "a peer (any, a zone, a host name, an address, set:, list: or app:)",
			NULL);
	if (looks_like_address(s))
		return address(x, s, ret);
	if (span_find(s, '.') == s.len && lex_near(s, words) != NULL)
		return lex_expected_span(x, s, "a peer", words);
	p.kind = POLICY_PEER_NAME;
	if (!name_of(x, s, &p.name))
		return false;
	*ret = p;
	return true;
}

static bool port_proto(struct lex *x, struct span s, struct policy_port *ret)
{
	static const char *const words[] = { "tcp", "udp", "icmp", "sctp", NULL };
	static const uint8_t numbers[] = { 6, 17, 0, 132 };
	for (unsigned i = 0; words[i] != NULL; i++) {
		if (span_is(s, words[i])) {
			ret->proto_kind = i == 2 ? POLICY_PROTO_ICMP : POLICY_PROTO_NUMBER;
			ret->proto = numbers[i];
			return true;
		}
	}
	uint64_t n;
	if (!span_number(s, 255, &n))
		return lex_expected_span(x, s, "a protocol (tcp, udp, icmp, sctp or a number up to 255)", words);
	ret->proto_kind = POLICY_PROTO_NUMBER;
	ret->proto = (uint8_t)n;
	return true;
}

static bool port_range(struct lex *x, struct span s, struct policy_port *ret)
{
	uint64_t lo = 0, hi = 0;
	size_t dash = span_find(s, '-');
	int service = policy_service_port(s.p, s.len);
	if (service >= 0) {
		ret->lo = ret->hi = (uint16_t)service;
		return true;
	}
	if (!span_digits(span_to(s, dash))) {
		const char *names[sizeof(services) / sizeof(services[0]) + 1];
		for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
			names[i] = services[i].name;
		names[sizeof(services) / sizeof(services[0])] = NULL;
		return lex_expected_span(x, s, "a port (a number, a range or a service)", names);
	}
	if (!span_number(span_to(s, dash), 65535, &lo))
		return lex_fail(x, -EINVAL, s.off, "a port", NULL, "a port is at most 65535");
	hi = lo;
	if (dash < s.len && !span_number(span_from(s, dash + 1), 65535, &hi))
		return lex_fail(x, -EINVAL, s.off + dash + 1, "a port", NULL,
			"expected the last port of the range, at most 65535");
	if (hi < lo)
		return lex_fail(x, -EINVAL, s.off + dash + 1, "a port", NULL, "the range ends before it starts");
	ret->lo = (uint16_t)lo;
	ret->hi = (uint16_t)hi;
	return true;
}

bool word_port(struct lex *x, struct span s, struct policy_port *ret)
{
	struct policy_port p = { .proto_kind = POLICY_PROTO_NONE };
	size_t slash = span_find(s, '/');
	if (slash < s.len && !port_proto(x, span_from(s, slash + 1), &p))
		return false;
	if (slash == 0) {
		*ret = p;
		return true;
	}
	p.ranged = true;
	if (!port_range(x, span_to(s, slash), &p))
		return false;
	bool icmp = p.proto_kind == POLICY_PROTO_ICMP ||
		    (p.proto_kind == POLICY_PROTO_NUMBER && (p.proto == 1 || p.proto == 58));
	bool has_ports = p.proto_kind == POLICY_PROTO_NONE ||
			 (p.proto_kind == POLICY_PROTO_NUMBER && (p.proto == 6 || p.proto == 17 || p.proto == 132));
	if (!icmp && !has_ports)
		return lex_fail(x, -EINVAL, s.off, NULL, NULL, "protocol %u has no ports: write \"/%u\"", p.proto,
			p.proto);
	if (icmp && (!span_digits(span_to(s, 1)) || p.hi > 255))
		return lex_fail(x, -EINVAL, s.off, "an ICMP type", NULL, "before /icmp stands a type from 0 to 255");
	*ret = p;
	return true;
}

bool word_duration(struct lex *x, struct span s, int64_t *ret_s)
{
	static const char units[] = "smhdw";
	static const int64_t seconds[] = { 1, 60, 3600, 86400, 604800 };
	int64_t sum = 0;
	struct span rest = s;
	while (rest.len != 0) {
		size_t n = 0;
		uint64_t v;
		while (n < rest.len && rest.p[n] >= '0' && rest.p[n] <= '9')
			n++;
		const char *unit = n == rest.len || rest.p[n] == '\0' ? NULL : strchr(units, rest.p[n]);
		if (n == 0)
			return lex_expected_span(x, rest, "a duration (such as 30s, 10m, 1h30m, 7d or 2w)", NULL);
		if (unit == NULL)
			return lex_fail(x, -EINVAL, rest.off + n, "a unit", NULL,
				"expected a unit after the number: s, m, h, d or w");
		if (!span_number(span_to(rest, n), 3155760000U, &v) ||
			(sum += (int64_t)v * seconds[unit - units]) > 3155760000)
			return lex_fail(x, -EINVAL, rest.off, "a duration", NULL,
				"a duration is at most a hundred years");
		rest = span_from(rest, n + 1);
	}
	if (sum == 0)
		return lex_fail(x, -EINVAL, s.off, "a duration", NULL, "a duration is longer than nothing");
	*ret_s = sum;
	return true;
}

bool word_is_time(struct span s)
{
	return s.len == 5 && s.p[2] == ':' && span_digits(span_to(s, 2)) && span_digits(span_from(s, 3));
}

bool word_time(struct lex *x, struct span s, uint16_t *ret_minute)
{
	uint64_t h = 0, m = 0;
	if (!word_is_time(s))
		return lex_expected_span(x, s, "a time (HH:MM)", NULL);
	if (!span_number(span_to(s, 2), 23, &h))
		return lex_fail(x, -EINVAL, s.off, "a time (HH:MM)", NULL, "an hour is 00 to 23");
	if (!span_number(span_from(s, 3), 59, &m))
		return lex_fail(x, -EINVAL, s.off + 3, "a time (HH:MM)", NULL, "a minute is 00 to 59");
	*ret_minute = (uint16_t)(h * 60 + m);
	return true;
}

bool word_is_date(struct span s)
{
	return s.len == 10 && s.p[4] == '-' && s.p[7] == '-' && span_digits(span_to(s, 4)) &&
	       span_digits(span_to(span_from(s, 5), 2)) && span_digits(span_from(s, 8));
}

bool word_date(struct lex *x, struct span s, struct policy_lives *ret)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	uint64_t y = 0, m = 0, d = 0;
	if (!span_number(span_to(s, 4), 9999, &y) || y < 1970)
		return lex_fail(x, -EINVAL, s.off, "a date (YYYY-MM-DD)", NULL, "a year is 1970 to 9999");
	if (!span_number(span_to(span_from(s, 5), 2), 12, &m) || m < 1)
		return lex_fail(x, -EINVAL, s.off + 5, "a date (YYYY-MM-DD)", NULL, "a month is 01 to 12");
	bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
	uint64_t most = days[m - 1] + (m == 2 && leap ? 1U : 0U);
	if (!span_number(span_from(s, 8), most, &d) || d < 1)
		return lex_fail(x, -EINVAL, s.off + 8, "a date (YYYY-MM-DD)", NULL, "this month has the days 01 to %u",
			(unsigned)most);
	ret->year = (uint16_t)y;
	ret->month = (uint8_t)m;
	ret->day = (uint8_t)d;
	return true;
}

bool word_day(struct lex *x, struct span s, uint8_t *ret_bit)
{
	static const char *const days[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL };
	for (unsigned i = 0; days[i] != NULL; i++) {
		if (span_is(s, days[i])) {
			*ret_bit = (uint8_t)(1U << i);
			return true;
		}
	}
	return lex_expected_span(x, s, "a day (mon, tue, wed, thu, fri, sat or sun)", days);
}
