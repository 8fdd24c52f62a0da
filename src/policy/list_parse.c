/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/list_parse.h"
#include "policy/lex.h"

#include <errno.h>
#include <libpsl.h>
#include <stdio.h>
#include <string.h>

struct list_reader {
	int (*add)(void *arg, const struct policy_peer *p);
	void *arg;
	struct list_report *report;
	struct span sink; /* the last word that stood for "nobody is to reach": most lines of a hosts file begin so */
	uint32_t line;
	bool bad; /* this line, already counted */
	int err;  /* of `add` */
};

static void bad_line(struct list_reader *r, const char *message)
{
	struct list_report *out = r->report;
	if (r->bad)
		return;
	r->bad = true;
	out->n_bad++;
	if (out->n_errors == LIST_ERRORS_MAX)
		return;
	struct list_error *e = &out->errors[out->n_errors++];
	e->line = r->line;
	snprintf(e->message, sizeof(e->message), "%s", message);
}

static void add_entry(struct list_reader *r, const struct policy_peer *p)
{
	r->err = r->add(r->arg, p);
	if (r->err != 0)
		return;
	if (p->kind == POLICY_PEER_NET)
		r->report->n_nets++;
	else
		r->report->n_names++;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static struct span trim(struct span s)
{
	const char *p = s.p, *end = s.p + s.len;
	while (p < end && blank(*p))
		p++;
	while (end > p && blank(end[-1]))
		end--;
	return (struct span){ .p = p, .len = (size_t)(end - p) };
}

/* The next word of *s, which begins with none left. */
static struct span take_word(struct span *s)
{
	size_t n = 0;
	while (n < s->len && !blank(s->p[n]))
		n++;
	struct span word = { .p = s->p, .len = n };
	*s = trim((struct span){ .p = s->p + n, .len = s->len - n });
	return word;
}

/* What nearly all of a list is made of, taken as policy_parse_peer() takes it: at least two labels of letters, digits,
 * - and _, the last of which is no number, and no public suffix. */
static bool plain_name(struct span word, struct name *ret)
{
	char text[NAME_WIRE_MAX];
	size_t last = word.len;
	while (last > 0 && word.p[last - 1] != '.')
		last--;
	if (last == 0 || last == word.len || span_digits(span_from(word, last)) ||
		!name_from_text(word.p, word.len, ret))
		return false;
	memcpy(text, ret->wire + 1, ret->len - 1U);
	for (size_t i = 0; ret->wire[i + ret->wire[i] + 1U] != 0; i += ret->wire[i] + 1U)
		text[i + ret->wire[i]] = '.';
	return psl_is_public_suffix2(psl_builtin(), text, PSL_TYPE_ICANN) == 0;
}

/* The rule language's own peer, of the kinds a list may have. `within`: the pattern .x, or an address. */
static bool read_peer(struct list_reader *r, struct span word, bool within, struct policy_peer *ret)
{
	char text[LIST_LINE_MAX + 1];
	struct policy_diag d;
	struct policy_peer p, pattern;
	ret->kind = within ? POLICY_PEER_WITHIN : POLICY_PEER_NAME;
	if (plain_name(word, &ret->name))
		return true;
	for (size_t i = 0; i < word.len; i++) {
		if (word.p[i] == '\0' || strchr("#\"{},=", word.p[i]) != NULL) {
			bad_line(r, "expected a host name, a pattern or an address");
			return false;
		}
	}
	if (policy_parse_peer(word.p, word.len, &p, &d) != 0) {
		bad_line(r, d.message);
		return false;
	}
	bool name = p.kind == POLICY_PEER_NAME;
	if (!name && p.kind != POLICY_PEER_NET &&
		(within || (p.kind != POLICY_PEER_BELOW && p.kind != POLICY_PEER_WITHIN))) {
		bad_line(r, "expected a host name, a pattern or an address");
		return false;
	}
	/* What registries hand out to everybody is nobody's name: refused as its pattern is. */
	text[0] = '.';
	memcpy(text + 1, word.p, word.len);
	if (name && policy_parse_peer(text, word.len + 1, &pattern, &d) != 0) {
		bad_line(r, d.message);
		return false;
	}
	*ret = name && within ? pattern : p;
	return true;
}

/* What a hosts file says of names nobody is to reach. */
static bool sinkhole(const struct policy_peer *p)
{
	static const struct addr any6 = { .len = 16 }, one6 = { .len = 16, .b = { [15] = 1 } };
	if (p->kind != POLICY_PEER_NET || p->net.prefix != p->net.addr.len * 8U)
		return false;
	if (p->net.addr.len == 4)
		return p->net.addr.b[0] == 127 || addr_to_u32(&p->net.addr) == 0;
	return addr_equal(&p->net.addr, &any6) || addr_equal(&p->net.addr, &one6);
}

/* The computer's own lines of a hosts file: localhost, ip6-loopback, broadcasthost, 0.0.0.0 … */
static bool own_name(struct span word)
{
	return span_find(word, '.') == word.len || span_is(word, "localhost.localdomain") || span_is(word, "0.0.0.0");
}

static void read_hosts(struct list_reader *r, struct span rest)
{
	while (rest.len > 0 && r->err == 0) {
		struct policy_peer p;
		struct span word = take_word(&rest);
		if (own_name(word))
			continue;
		if (!read_peer(r, word, false, &p))
			continue;
		if (p.kind == POLICY_PEER_NAME)
			add_entry(r, &p);
		else
			bad_line(r, "expected a host name after the address");
	}
}

/* True: the line was one of AdBlock's. */
static bool read_adblock(struct list_reader *r, struct span line)
{
	struct policy_peer p;
	if (line.len >= 2 && memcmp(line.p, "@@", 2) == 0) {
		r->report->n_exceptions++;
		return true;
	}
	bool rule = line.len >= 2 && memcmp(line.p, "||", 2) == 0;
	struct span name = rule ? span_from(line, 2) : line;
	if (rule && span_find(name, '^') + 1 == name.len && memchr(name.p, '*', name.len) == NULL &&
		memchr(name.p, '/', name.len) == NULL) {
		if (read_peer(r, span_to(name, name.len - 1), true, &p))
			add_entry(r, &p);
		return true;
	}
	/* Paths, options and what is hidden in a page. */
	const char *mark = memchr(line.p, '#', line.len);
	size_t hash = mark == NULL ? line.len : (size_t)(mark - line.p);
	bool hides = hash + 1 < line.len && strchr("#@?$%", line.p[hash + 1]) != NULL && line.p[hash + 1] != '\0';
	if (!rule && !hides && line.p[0] != '/' && line.p[0] != '|')
		return false;
	r->report->n_browser++;
	return true;
}

/* Up to a # or ; that begins the line or stands after a blank. */
static struct span without_comment(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if ((s.p[i] == '#' || s.p[i] == ';') && (i == 0 || blank(s.p[i - 1])))
			return trim(span_to(s, i));
	}
	return s;
}

static void read_line(struct list_reader *r, struct span line)
{
	struct policy_peer p;
	line = trim(line);
	if (line.len == 0 || line.p[0] == '!' || line.p[0] == '[')
		return;
	if (line.len > LIST_LINE_MAX) {
		bad_line(r, "the line is longer than 4096 bytes");
		return;
	}
	line = without_comment(line);
	if (line.len == 0 || read_adblock(r, line))
		return;
	struct span word = take_word(&line);
	bool sink = line.len > 0 && r->sink.p != NULL && word.len == r->sink.len &&
		    memcmp(word.p, r->sink.p, word.len) == 0;
	if (!sink && !read_peer(r, word, false, &p))
		return;
	if (line.len == 0) {
		add_entry(r, &p);
	} else if (sink || sinkhole(&p)) {
		r->sink = word;
		read_hosts(r, line);
	} else {
		bad_line(r, "expected one name or address on a line, or 0.0.0.0 and names after it");
	}
}

int list_parse(const char *text, size_t len, int (*add)(void *arg, const struct policy_peer *p), void *arg,
	struct list_report *ret)
{
	static const char bom[] = "\xef\xbb\xbf";
	*ret = (struct list_report){ 0 };
	if (len > LIST_BYTES_MAX)
		return -E2BIG;
	struct list_reader r = { .add = add, .arg = arg, .report = ret };
	struct span rest = { .p = text, .len = len };
	if (len >= 3 && memcmp(text, bom, 3) == 0)
		rest = span_from(rest, 3);
	while (rest.len > 0 && r.err == 0) {
		const char *end = memchr(rest.p, '\n', rest.len);
		size_t n = end == NULL ? rest.len : (size_t)(end - rest.p);
		r.line++;
		r.bad = false;
		read_line(&r, span_to(rest, n));
		rest = span_from(rest, end == NULL ? n : n + 1);
	}
	if (r.err != 0)
		return r.err;
	size_t entries = ret->n_names + ret->n_nets;
	return entries == 0 || ret->n_bad > entries ? -EBADMSG : 0;
}
