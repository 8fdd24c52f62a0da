/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/lex.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void lex_init(struct lex *x, const char *text, size_t len, struct policy_diag *diags, size_t cap)
{
	*x = (struct lex){ .text = text, .len = len, .diags = diags, .cap = cap };
}

/* Length of the UTF-8 character at p, 0 when it is malformed (RFC 3629). */
static size_t utf8_len(const char *p, size_t left)
{
	const uint8_t *u = (const uint8_t *)p;
	size_t n = u[0] < 0x80		       ? 1
		 : u[0] >= 0xc2 && u[0] < 0xe0 ? 2
		 : (u[0] & 0xf0) == 0xe0       ? 3
		 : u[0] >= 0xf0 && u[0] < 0xf5 ? 4
					       : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
		(u[0] == 0xf4 && u[1] > 0x8f))
		return 0;
	return n;
}

uint32_t lex_line_of(const struct lex *x, size_t off)
{
	uint32_t line = 1;
	for (const char *p = x->text, *end = x->text + off; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL;
		p++)
		line++;
	return line;
}

static uint32_t col_of(const struct lex *x, size_t off)
{
	size_t start = off;
	while (start > 0 && x->text[start - 1] != '\n')
		start--;
	uint32_t col = 1;
	for (size_t i = start; i < off; i++)
		col += ((uint8_t)x->text[i] & 0xc0) != 0x80;
	return col;
}

bool lex_fail(struct lex *x, int err, size_t off, const char *expected, const char *near, const char *fmt, ...)
{
	if (x->err != 0)
		return false;
	x->err = err;
	if (x->n++ >= x->cap)
		return false;
	struct policy_diag *d = &x->diags[x->n - 1];
	*d = (struct policy_diag){ .line = lex_line_of(x, off), .col = col_of(x, off), .offset = off };
	snprintf(d->expected, sizeof(d->expected), "%s", expected == NULL ? "" : expected);
	snprintf(d->near, sizeof(d->near), "%s", near == NULL ? "" : near);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(d->message, sizeof(d->message), fmt, ap);
	va_end(ap);
	return false;
}

const char *lex_show(struct span s, char buf[64])
{
	size_t at = 0;
	for (size_t i = 0; i < s.len;) {
		size_t n = utf8_len(s.p + i, s.len - i);
		/* C1 controls, bidi and zero-width characters must not reach a terminal raw. */
		bool plain = n == 1 && s.p[i] >= ' ' && s.p[i] < 0x7f;
		bool wide = n > 1 && (uint8_t)s.p[i] != 0xe2 && (uint8_t)s.p[i] != 0xef && !((uint8_t)s.p[i] == 0xc2);
		size_t need = plain ? 1 : wide ? n : 4;
		if (at + need > 44) {
			memcpy(buf + at, "...", 3);
			at += 3;
			break;
		}
		if (plain || wide) {
			memcpy(buf + at, s.p + i, n);
			i += n;
		} else {
			snprintf(buf + at, 5, "\\x%02x", (uint8_t)s.p[i]);
			i++;
		}
		at += need;
	}
	buf[at] = '\0';
	return buf;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;
	return m < c ? m : c;
}

/* Damerau–Levenshtein with adjacent transpositions, for words of at most 31 bytes; case does not count. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
	unsigned d[32][32];
	if (n > 31 || m > 31)
		return 99;
	for (size_t i = 0; i <= n; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned diff = (a[i - 1] | 0x20) != (b[j - 1] | 0x20);
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + diff);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	}
	return d[n][m];
}

const char *lex_near(struct span s, const char *const *words)
{
	const char *best = NULL;
	unsigned least = s.len <= 3 ? 2 : 3;
	for (; words != NULL && *words != NULL && s.len != 0; words++) {
		unsigned d = distance(s.p, s.len, *words, strlen(*words));
		if (d < least && d < strlen(*words)) {
			least = d;
			best = *words;
		}
	}
	return best;
}

bool lex_expected_span(struct lex *x, struct span s, const char *what, const char *const *words)
{
	char show[64];
	const char *near = lex_near(s, words);
	if (near != NULL)
		return lex_fail(x, -EINVAL, s.off, what, near, "expected %s, found \"%s\"; did you mean \"%s\"?", what,
			lex_show(s, show), near);
	return lex_fail(x, -EINVAL, s.off, what, NULL, "expected %s, found \"%s\"", what, lex_show(s, show));
}

bool lex_expected(struct lex *x, const char *what, const char *const *words)
{
	static const char *const found[] = { [LEX_END] = "the end",
		[LEX_NEWLINE] = "the end of the line",
		[LEX_STRING] = "a string",
		[LEX_COMMA] = "\",\"",
		[LEX_EQUALS] = "\"=\"",
		[LEX_OPEN] = "\"{\"",
		[LEX_CLOSE] = "\"}\"",
		[LEX_BAD] = "a bad byte" };
	if (x->kind == LEX_WORD)
		return lex_expected_span(x, lex_span(x), what, words);
	return lex_fail(x, -EINVAL, x->off, what, NULL, "expected %s, found %s", what, found[x->kind]);
}

static void bad(struct lex *x, size_t at, const char *why)
{
	x->kind = LEX_BAD;
	lex_fail(x, -EINVAL, at, NULL, NULL, "%s", why);
}

/* C0, C1 (which a terminal obeys), line separators, and what changes the direction of text. One well-formed character.
 */
static bool controls(const char *p, size_t len)
{
	const uint8_t *u = (const uint8_t *)p;
	if (len == 1)
		return u[0] < ' ' || u[0] == 0x7f;
	if (len == 2)
		return u[0] == 0xc2 && u[1] < 0xa0;
	unsigned cp = (u[0] & 15U) << 12 | (u[1] & 63U) << 6 | (u[2] & 63U);
	return len == 3 && ((cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069));
}

static void string(struct lex *x)
{
	size_t n = 0;
	for (x->pos++;;) {
		if (x->pos >= x->len || x->text[x->pos] == '\n')
			return bad(x, x->off, "this string has no end: expected \" before the end of the line");
		char c = x->text[x->pos];
		if (c == '"')
			break;
		if (c == '\\' && (x->pos + 1 >= x->len || (x->text[x->pos + 1] != '"' && x->text[x->pos + 1] != '\\')))
			return bad(x, x->pos, "in a string a backslash stands before \" or \\ only");
		x->pos += c == '\\';
		size_t len = utf8_len(x->text + x->pos, x->len - x->pos);
		if (len == 0)
			return bad(x, x->pos, "a string is UTF-8; this byte is not");
		if (controls(x->text + x->pos, len))
			return bad(x, x->pos, "a string holds no control characters, nor any that turn text round");
		if (n + len > POLICY_STRING_MAX) {
			x->kind = LEX_BAD;
			lex_fail(x, -E2BIG, x->pos, NULL, NULL, "a string has at most %d bytes", POLICY_STRING_MAX);
			return;
		}
		memcpy(x->string + n, x->text + x->pos, len);
		n += len;
		x->pos += len;
	}
	x->string[n] = '\0';
	x->pos++;
	x->kind = LEX_STRING;
}

static void skip_blanks(struct lex *x)
{
	while (x->pos < x->len) {
		char c = x->text[x->pos];
		bool line_end = c == '\n' || (c == '\r' && (x->pos + 1 == x->len || x->text[x->pos + 1] == '\n'));
		if (c == '#') {
			while (x->pos < x->len && x->text[x->pos] != '\n')
				x->pos++;
		} else if (c == ' ' || c == '\t' || (line_end && (c == '\r' || x->braces))) {
			x->pos++;
		} else {
			break;
		}
	}
}

static void word(struct lex *x)
{
	while (x->pos < x->len) {
		uint8_t c = (uint8_t)x->text[x->pos];
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || strchr(",={}\"#", c) != NULL)
			break;
		if (c < ' ' || c == 0x7f)
			return bad(x, x->pos, "a control character is no part of a rule");
		x->pos++;
	}
	x->kind = LEX_WORD;
	x->word = x->text + x->off;
	x->word_len = x->pos - x->off;
}

void lex_next(struct lex *x)
{
	skip_blanks(x);
	x->off = x->pos;
	x->word = NULL;
	x->word_len = 0;
	if (x->pos >= x->len) {
		x->kind = LEX_END;
		return;
	}
	char c = x->text[x->pos];
	static const char one[] = "\n,={}";
	static const enum lex_kind kinds[] = { LEX_NEWLINE, LEX_COMMA, LEX_EQUALS, LEX_OPEN, LEX_CLOSE };
	const char *at = c == '\0' ? NULL : strchr(one, c);
	if (at != NULL) {
		x->kind = kinds[at - one];
		x->pos++;
	} else if (c == '"') {
		string(x);
	} else if ((uint8_t)c < ' ' || c == 0x7f) {
		bad(x, x->pos, "a control character is no part of a rule");
	} else {
		word(x);
	}
}

void lex_skip_line(struct lex *x)
{
	x->braces = false;
	x->err = 0;
	if (x->kind != LEX_NEWLINE) {
		while (x->pos < x->len && x->text[x->pos] != '\n')
			x->pos++;
		x->pos += x->pos < x->len;
	}
	lex_next(x);
}

struct span lex_span(const struct lex *x)
{
	return (struct span){ .p = x->text + x->off, .len = x->word_len, .off = x->off };
}

bool lex_is(const struct lex *x, const char *w)
{
	return x->kind == LEX_WORD && span_is(lex_span(x), w);
}

bool lex_take(struct lex *x, const char *w)
{
	if (!lex_is(x, w))
		return false;
	lex_next(x);
	return true;
}

static size_t line_start(const char *text, size_t len, uint32_t line)
{
	const char *p = text, *end = text + len;
	for (; line > 1 && p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; line--)
		p++;
	return p == NULL || line > 1 ? len : (size_t)(p - text);
}

void policy_place(const char *text, size_t len, uint32_t line, const char *word, struct policy_diag *ret)
{
	struct lex x;
	size_t start = line_start(text, len, line), at;
	lex_init(&x, text, len, NULL, 0);
	x.pos = start;
	lex_next(&x);
	for (at = x.off; word[0] != '\0' && x.kind != LEX_END && x.kind != LEX_BAD && !lex_is(&x, word);)
		lex_next(&x);
	if (lex_is(&x, word))
		at = x.off;
	*ret = (struct policy_diag){ .line = lex_line_of(&x, at), .col = col_of(&x, at), .offset = at };
}

bool span_is(struct span s, const char *w)
{
	return s.len == strlen(w) && memcmp(s.p, w, s.len) == 0;
}

struct span span_from(struct span s, size_t n)
{
	return (struct span){ .p = s.p + n, .len = s.len - n, .off = s.off + n };
}

struct span span_to(struct span s, size_t n)
{
	return (struct span){ .p = s.p, .len = n, .off = s.off };
}

size_t span_find(struct span s, char c)
{
	const char *at = s.len == 0 ? NULL : memchr(s.p, c, s.len);
	return at == NULL ? s.len : (size_t)(at - s.p);
}

bool span_digits(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	}
	return s.len != 0;
}

bool span_number(struct span s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	if (!span_digits(s) || s.len > 18)
		return false;
	for (size_t i = 0; i < s.len; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	if (v > max)
		return false;
	*ret = v;
	return true;
}
