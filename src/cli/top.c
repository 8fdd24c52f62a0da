/* SPDX-License-Identifier: Apache-2.0 */
/* `top`: what each application does now and did in the last minute, again and again. */
#include "cli/cli.h"

#include "base/clock.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MINUTE_MS = 60000, LOG_LIMIT = 2500, EVERY_S = 2, EVERY_MAX_S = 3600, ROUNDS_MAX = 1000000 };

struct top {
	struct cli *c;
	bool screen; /* drawn over and over in one place */
	json_t *rows;
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

/* The row of an object's application, NULL: it does not run. */
static json_t *row_of(const struct top *t, const json_t *o)
{
	json_t *row;
	size_t i;
	json_array_foreach(t->rows, i, row)
	{
		if (json_equal(json_object_get(row, "app"), json_object_get(o, "app")) &&
			json_equal(json_object_get(row, "owner"), json_object_get(o, "owner")))
			return row;
	}
	return NULL;
}

static void count(const struct top *t, const json_t *o, const char *member, long long n)
{
	json_t *row = row_of(t, o);
	if (row != NULL)
		json_object_set_new(row, member, json_integer(cli_number(row, member, 0) + n));
}

static int take_apps(struct top *t)
{
	json_t *apps, *app;
	size_t i;
	int code = cli_list(t->c, "org.sekisho.Apps.List",
		json_pack("{s:b, s:s?}", "all", t->c->all, "owner", t->c->owner), "apps", &apps);
	if (code != 0)
		return code;
	json_array_foreach(apps, i, app) json_array_append_new(t->rows,
		json_pack("{s:O, s:O, s:O, s:i, s:i, s:i, s:i, s:O}", "app", json_object_get(app, "app"), "owner",
			json_object_get(app, "owner"), "state", json_object_get(app, "state"), "live", 0, "connections",
			0, "refused", 0, "waiting", 0, "started", json_object_get(app, "started")));
	json_decref(apps);
	return 0;
}

static int take_live(struct top *t)
{
	json_t *list, *o;
	size_t i;
	int code = cli_list(t->c, "org.sekisho.Connections.List",
		json_pack("{s:b, s:s?}", "all", t->c->all, "owner", t->c->owner), "connections", &list);
	if (code != 0)
		return code;
	json_array_foreach(list, i, o) count(t, o, "live", 1);
	json_decref(list);
	return 0;
}

static int take_questions(struct top *t)
{
	json_t *reply, *o;
	size_t i;
	struct api_error e;
	int code = cli_try(t->c, "org.sekisho.Questions.List", json_pack("{s:b}", "all", t->c->all), &reply, &e);
	/* Too many for one message: then that is all there is to know. */
	if (code != 0 && e.exit_code != 0 && strcmp(e.name, "org.sekisho.Limit") != 0)
		return cli_say_error(&e);
	if (code != 0) {
		api_error_fini(&e);
		return e.exit_code == 0 ? code : 0;
	}
	json_array_foreach(json_object_get(reply, "questions"), i, o)
	{
		if (json_is_true(json_object_get(o, "waiting")))
			count(t, o, "waiting", 1);
	}
	json_decref(reply);
	return 0;
}

/* A connection is told when it begins, and once more, with its duration, when all under its permission has ended. */
static void take_entry(struct top *t, const json_t *e)
{
	const char *verdict = json_string_value(json_object_get(e, "verdict"));
	if (verdict == NULL)
		return;
	if (strcmp(verdict, "allow") != 0)
		count(t, e, "refused", 1 + cli_number(e, "repeated", 0));
	else if (!json_is_integer(json_object_get(e, "duration_ms")))
		count(t, e, "connections", 1);
}

static int take_log(struct top *t)
{
	char since[32];
	json_t *entries, *e;
	size_t i;
	clock_format(clock_wall_ms() - MINUTE_MS, since);
	int code = cli_list(t->c, "org.sekisho.Connections.Log",
		json_pack("{s:s, s:i, s:s?}", "since", since, "limit", (int)LOG_LIMIT, "owner", t->c->owner), "entries",
		&entries);
	if (code != 0)
		return code;
	json_array_foreach(entries, i, e) take_entry(t, e);
	json_decref(entries);
	return 0;
}

static int busier(const void *a, const void *b)
{
	json_t *x, *y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	static const char *const by[] = { "waiting", "live", "connections", "refused" };
	for (unsigned i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
		long long m = cli_number(x, by[i], 0), n = cli_number(y, by[i], 0);
		if (m != n)
			return m > n ? -1 : 1;
	}
	return strcmp(json_string_value(json_object_get(x, "app")), json_string_value(json_object_get(y, "app")));
}

static void print_rows(const struct top *t)
{
	static const char *const columns[] = { "APP", "OWNER", "STATE", "LIVE", "CONN/MIN", "REFUSED/MIN", "WAITING",
		"STARTED", NULL };
	static const char *const members[] = { "app", "owner", "state", "live", "connections", "refused", "waiting" };
	size_t n = json_array_size(t->rows);
	json_t **order = calloc(n + 1, sizeof(json_t *));
	struct table *table = t->c->json ? NULL : table_new(columns);
	for (size_t i = 0; order != NULL && i < n; i++)
		order[i] = json_array_get(t->rows, i);
	if (order != NULL)
		qsort(order, n, sizeof(json_t *), busier);
	if (t->screen)
		fputs("\033[H\033[J", stdout);
	for (size_t i = 0; order != NULL && i < n; i++) {
		char text[256];
		if (t->c->json)
			cli_print_json(order[i]);
		for (unsigned k = 0; k < sizeof(members) / sizeof(members[0]); k++)
			table_cell(table, cli_text(order[i], members[k], text, sizeof(text)));
		table_cell(table, cli_time(order[i], "started", text, sizeof(text)));
	}
	table_print(table);
	fflush(stdout);
	free(order);
}

static int round_of(struct top *t)
{
	t->rows = json_array();
	int code = take_apps(t);
	if (code == 0)
		code = take_live(t);
	if (code == 0)
		code = take_questions(t);
	if (code == 0)
		code = take_log(t);
	if (code == 0)
		print_rows(t);
	json_decref(t->rows);
	return code;
}

int cmd_top(struct cli *c, int argc, char **argv)
{
	struct top t = { .c = c, .screen = !c->json && isatty(STDOUT_FILENO) };
	long every = EVERY_S, rounds = t.screen ? 0 : 1;
	struct sigaction sa = { .sa_handler = stop };
	for (int i = 1; i < argc; i++) {
		bool d = strcmp(argv[i], "-d") == 0, n = strcmp(argv[i], "-n") == 0;
		if (!d && !n)
			return cli_usage("top", "\"%s\" is not expected here", argv[i]);
		if (i + 1 == argc || !cli_integer(argv[++i], 1, d ? EVERY_MAX_S : ROUNDS_MAX, d ? &every : &rounds))
			return cli_usage("top", d ? "-d takes seconds, 1 to 3600" : "-n takes how often, from 1");
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	for (long i = 0; stopped == 0 && (rounds == 0 || i < rounds); i++) {
		int code = i == 0 || poll(NULL, 0, (int)every * 1000) == 0 ? round_of(&t) : 0;
		if (code != 0)
			return code;
		if (ferror(stdout))
			return EXIT_FAILED;
	}
	return EXIT_DONE;
}
