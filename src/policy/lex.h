/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_LEX_H
#define POLICY_LEX_H

#include "policy/parse.h"

/* The tokens of the language and the state all parts of the parser share. Inside this folder only. */
enum lex_kind { LEX_END, LEX_NEWLINE, LEX_WORD, LEX_STRING, LEX_COMMA, LEX_EQUALS, LEX_OPEN, LEX_CLOSE, LEX_BAD };

struct lex {
	const char *text;
	size_t len, pos;
	bool braces; /* line ends are blanks */
	/* The token that stands next: */
	enum lex_kind kind;
	const char *word; /* of a WORD, in place */
	size_t word_len, off;
	char string[POLICY_STRING_MAX + 1];
	/* Where errors go: */
	int err; /* of this line; 0 */
	struct policy_diag *diags;
	size_t cap, n;
};

/* A part of the text: what a word parser is given. */
struct span {
	const char *p;
	size_t len, off;
};

void lex_init(struct lex *x, const char *text, size_t len, struct policy_diag *diags, size_t cap);
/* Moves to the next token; a bad one is reported. */
void lex_next(struct lex *x);
/* Past the next line end, whatever stands before it. */
void lex_skip_line(struct lex *x);
bool lex_is(const struct lex *x, const char *word);
/* True and moves on when the next token is this word. */
bool lex_take(struct lex *x, const char *word);
struct span lex_span(const struct lex *x);

/* Reports at byte `off`; only the first error of a line counts. Returns false, so that parsers can return it. */
bool lex_fail(struct lex *x, int err, size_t off, const char *expected, const char *near, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* "expected WHAT, found X" at the next token; `words` (NULL-ended, may be NULL) are looked through for a near miss. */
bool lex_expected(struct lex *x, const char *what, const char *const *words);
/* The same for part of a word. */
bool lex_expected_span(struct lex *x, struct span s, const char *what, const char *const *words);
/* Printable, shortened copy of text for a message. */
const char *lex_show(struct span s, char buf[64]);
/* The word nearest to `s`, NULL when none is near. */
const char *lex_near(struct span s, const char *const *words);
uint32_t lex_line_of(const struct lex *x, size_t off);

bool span_is(struct span s, const char *word);
struct span span_from(struct span s, size_t n);
struct span span_to(struct span s, size_t n);
/* Position of the first `c`, s.len when there is none. */
size_t span_find(struct span s, char c);
bool span_digits(struct span s);
/* Decimal without sign up to `max`; false otherwise. */
bool span_number(struct span s, uint64_t max, uint64_t *ret);

/* word.c: one word each; false after reporting. */
bool word_peer(struct lex *x, struct span s, struct policy_peer *ret);
bool word_token(struct lex *x, struct span s, const char *what, char ret[POLICY_TOKEN_MAX + 1]);
bool word_port(struct lex *x, struct span s, struct policy_port *ret);
bool word_duration(struct lex *x, struct span s, int64_t *ret_s);
bool word_time(struct lex *x, struct span s, uint16_t *ret_minute);
bool word_is_time(struct span s);
bool word_date(struct lex *x, struct span s, struct policy_lives *ret);
bool word_is_date(struct span s);
bool word_day(struct lex *x, struct span s, uint8_t *ret_bit);

/* parse.c: one rule from the next token to the end of its line, which is not taken. */
bool parse_rule(struct lex *x, struct policy_rule *ret);

#endif
