/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/log.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { COLUMNS_MAX = 16, CARET_BEFORE = 100, CARET_LINE = 200 };

struct table {
	unsigned n_columns, column;
	size_t n, cap;
	size_t width[COLUMNS_MAX];
	char **cell;
};

void cli_error(const char *fmt, ...)
{
	char raw[2048], text[4096];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	fprintf(stderr, "sekisho: %s\n", text_escape(raw, strlen(raw), text, sizeof(text)));
}

void cli_print_json(const json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
	fflush(stdout);
}

const char *cli_text(const json_t *object, const char *member, char *buf, size_t cap)
{
	const json_t *v = json_object_get(object, member);
	if (json_is_string(v))
		return text_escape(json_string_value(v), json_string_length(v), buf, cap);
	if (json_is_integer(v))
		snprintf(buf, cap, "%lld", (long long)json_integer_value(v));
	else
		snprintf(buf, cap, "%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-");
	return buf;
}

const char *cli_app(const json_t *object, char *buf, size_t cap)
{
	static char self[80];
	const struct passwd *me = self[0] == '\0' ? getpwuid(getuid()) : NULL;
	char owner[80];
	if (me != NULL)
		snprintf(self, sizeof(self), "%s", me->pw_name);
	cli_text(object, "app", buf, cap);
	size_t at = strlen(buf);
	if (json_is_string(json_object_get(object, "owner")) &&
		strcmp(cli_text(object, "owner", owner, sizeof(owner)), self) != 0)
		snprintf(buf + at, cap - at, " (%s)", owner);
	return buf;
}

const char *cli_time(const json_t *object, const char *member, char *buf, size_t cap)
{
	const char *text = json_string_value(json_object_get(object, member));
	struct tm tm = { 0 };
	const char *end = text == NULL ? NULL : strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t t = end == NULL ? (time_t)-1 : timegm(&tm);
	if (t == (time_t)-1 || localtime_r(&t, &tm) == NULL || strftime(buf, cap, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return cli_text(object, member, buf, cap);
	return buf;
}

bool cli_integer(const char *text, long min, long max, long *ret)
{
	char *end;
	errno = 0;
	long v = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || v < min || v > max)
		return false;
	*ret = v;
	return true;
}

long long cli_number(const json_t *object, const char *member, long long fallback)
{
	const json_t *v = json_object_get(object, member);
	return json_is_integer(v) ? (long long)json_integer_value(v) : fallback;
}

struct table *table_new(const char *const *columns)
{
	struct table *t = calloc(1, sizeof(*t));
	while (t != NULL && columns[t->n_columns] != NULL && t->n_columns < COLUMNS_MAX)
		t->n_columns++;
	for (unsigned i = 0; t != NULL && i < t->n_columns; i++)
		table_cell(t, columns[i]);
	return t;
}

/* Characters as a terminal counts them, near enough: UTF-8 continuation bytes do not count. */
static size_t text_width(const char *s)
{
	size_t n = 0;
	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

void table_cell(struct table *t, const char *text)
{
	if (t == NULL)
		return;
	if (t->n == t->cap) {
		size_t cap = t->cap == 0 ? 256 : t->cap * 2;
		char **cell = realloc(t->cell, cap * sizeof(*cell));
		if (cell == NULL)
			return;
		t->cell = cell;
		t->cap = cap;
	}
	size_t width = text_width(text);
	unsigned column = (unsigned)(t->n % t->n_columns);
	if (width > t->width[column])
		t->width[column] = width;
	t->cell[t->n] = strdup(text);
	if (t->cell[t->n] != NULL)
		t->n++;
}

void table_print(struct table *t)
{
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n; i++) {
		unsigned column = (unsigned)(i % t->n_columns);
		bool last = column + 1 == t->n_columns;
		fputs(t->cell[i], stdout);
		if (last)
			putchar('\n');
		else
			printf("%*s", (int)(t->width[column] - text_width(t->cell[i]) + 2), "");
		free(t->cell[i]);
	}
	free(t->cell);
	free(t);
}

const char *cli_paint(const struct cli *c, const char *verdict)
{
	if (!c->colour)
		return "";
	if (strcmp(verdict, "allow") == 0)
		return "\033[32m";
	if (strcmp(verdict, "ask") == 0 || strcmp(verdict, "withheld") == 0)
		return "\033[33m";
	return "\033[31m";
}

const char *cli_plain(const struct cli *c)
{
	return c->colour ? "\033[0m" : "";
}

/* The part of a long line that is shown: whole characters of UTF-8. */
static size_t shown_from(const char *line, size_t at)
{
	size_t from = at > CARET_BEFORE ? at - CARET_BEFORE : 0;
	while (from > 0 && from < at && ((unsigned char)line[from] & 0xc0) == 0x80)
		from++;
	return from;
}

void cli_caret(const char *line, size_t len, size_t at)
{
	static char text[4 * CARET_LINE + 1], before[4 * CARET_LINE + 1];
	at = at < len ? at : len;
	size_t from = shown_from(line, at), n = len - from < CARET_LINE ? len - from : CARET_LINE, columns = 0;
	while (n > 0 && from + n < len && ((unsigned char)line[from + n] & 0xc0) == 0x80)
		n--;
	text_escape(line + from, n, text, sizeof(text));
	text_escape(line + from, at - from, before, sizeof(before));
	for (const char *p = before; *p != '\0'; p++)
		columns += ((unsigned char)*p & 0xc0) != 0x80;
	fprintf(stderr, "  %s%s%s\n  %*s^\n", from > 0 ? "…" : "", text, from + n < len ? "…" : "",
		(int)columns + (from > 0), "");
}
