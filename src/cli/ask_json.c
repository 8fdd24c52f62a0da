/* SPDX-License-Identifier: Apache-2.0 */
/* `ask --json`: questions out, answers in, one object a line (surface.md). The program on the other side is trusted no
 * more than a person. */
#include "api/answer.h"
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 65536 };

struct agent {
	struct cli *c;
	struct api_client *serve;
	json_t *open; /* ids that were said and not settled, as the members of an object */
	bool once, answered;
	size_t have;
	char line[LINE_BYTES];
};

static void say_question(struct agent *a, const json_t *q)
{
	const char *id = json_string_value(json_object_get(q, "id"));
	json_t *o = json_pack("{s:s}", "event", "question");
	json_object_update(o, (json_t *)(uintptr_t)q);
	cli_print_json(o);
	json_decref(o);
	if (id != NULL)
		json_object_set_new(a->open, id, json_true());
}

static void say_cancelled(struct agent *a, const char *id, const char *by)
{
	json_t *o = json_pack("{s:s, s:s?, s:s?}", "event", "cancelled", "id", id, "by", by);
	cli_print_json(o);
	json_decref(o);
	if (id != NULL)
		json_object_del(a->open, id);
}

/* Any other event of the stream goes out as it is. */
static void say_event(const json_t *reply)
{
	json_t *o = json_copy((json_t *)(uintptr_t)reply);
	json_object_del(o, "sequence");
	cli_print_json(o);
	json_decref(o);
}

static void say_reply(struct agent *a, const json_t *reply)
{
	const char *event = json_string_value(json_object_get(reply, "event"));
	json_t *q;
	size_t i;
	if (event == NULL)
		return;
	if (strcmp(event, "snapshot") == 0)
		json_array_foreach(json_object_get(reply, "questions"), i, q) say_question(a, q);
	else if (strcmp(event, "question") == 0)
		say_question(a, json_object_get(reply, "question"));
	else if (strcmp(event, "cancelled") == 0)
		say_cancelled(a, json_string_value(json_object_get(reply, "id")),
			json_string_value(json_object_get(reply, "by")));
	else
		say_event(reply);
}

static void say_result(const char *id, int err, json_t *reply, struct api_error *e)
{
	json_t *o = json_pack("{s:s, s:s?, s:b}", "event", "result", "id", id, "ok", err == 0);
	if (err == 0) {
		json_object_set(o, "rule", json_object_get(reply, "rule"));
		json_object_set(o, "rule_id", json_object_get(reply, "rule_id"));
		json_decref(reply);
	} else {
		json_object_set_new(o, "error", json_string(e->text));
		api_error_fini(e);
	}
	cli_print_json(o);
	json_decref(o);
}

static void take_line(struct agent *a, const char *line, size_t len)
{
	struct api_error e = {
		.text = "the line is not an answer: {\"id\":…,\"digest\":…,\"rule\":… or \"later\":true}"
	};
	struct api_answer answer;
	json_t *reply = NULL;
	int err = api_answer_parse(line, len, &answer);
	if (err != 0) {
		say_result(NULL, err, NULL, &e);
		return;
	}
	err = ask_answer(a->c, answer.id, answer.digest, answer.rule, &reply, &e);
	say_result(answer.id, err, reply, &e);
	if (err == 0 && answer.rule != NULL)
		json_object_del(a->open, answer.id);
	a->answered = a->answered || err == 0;
	api_answer_fini(&answer);
}

static int take_input(struct agent *a)
{
	ssize_t n = read(STDIN_FILENO, a->line + a->have, sizeof(a->line) - a->have);
	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : -EPIPE;
	a->have += (size_t)n;
	size_t start = 0;
	for (char *nl; (nl = memchr(a->line + start, '\n', a->have - start)) != NULL;) {
		size_t len = (size_t)(nl - a->line) - start;
		if (len > 0)
			take_line(a, a->line + start, len);
		start += len + 1;
	}
	memmove(a->line, a->line + start, a->have - start);
	a->have -= start;
	if (a->have == sizeof(a->line)) {
		take_line(a, "", 0);
		a->have = 0;
	}
	return 0;
}

static void drop_serve(struct agent *a)
{
	api_client_close(a->serve);
	a->serve = NULL;
}

/* Everything the daemon has said so far. 0, or the exit code when it refuses; without a connection afterwards it has
 * gone. */
static int take_serve(struct agent *a)
{
	do {
		json_t *reply = NULL;
		struct api_error e = { .exit_code = EXIT_DAEMON };
		int got = api_client_next(a->serve, 0, &reply, &e);
		if (got == -EREMOTEIO)
			return cli_say_error(&e);
		api_error_fini(&e);
		if (got == -EAGAIN)
			return 0;
		if (got >= 0)
			say_reply(a, reply);
		json_decref(reply);
		if (got <= 0) {
			drop_serve(a);
			return 0;
		}
	} while (api_client_buffered(a->serve));
	return 0;
}

/* Questions of a daemon that has gone are no longer open; those that are will be asked again, under the same id. */
static int reconnect(struct agent *a)
{
	const char *id;
	json_t *v, *snapshot, *gone = a->open;
	a->open = json_object();
	json_object_foreach(gone, id, v) say_cancelled(a, id, "the daemon was restarted");
	json_decref(gone);
	int code = ask_reopen(a->c, &a->serve, &snapshot);
	if (code != 0)
		return code;
	say_reply(a, snapshot);
	json_decref(snapshot);
	return 0;
}

/* -1: go on; else the exit code. */
static int turn(struct agent *a)
{
	if (a->serve == NULL) {
		int code = reconnect(a);
		return code == 0 ? -1 : code;
	}
	bool buffered = api_client_buffered(a->serve);
	struct pollfd p[2] = { { .fd = api_client_fd(a->serve), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN } };
	if (poll(p, 2, buffered ? 0 : -1) < 0)
		return errno == EINTR ? -1 : EXIT_FAILED;
	if (p[0].revents != 0 || buffered) {
		int code = take_serve(a);
		if (code != 0)
			return code;
	}
	/* The program went away: what it did not answer stays open. */
	if (p[1].revents != 0 && take_input(a) != 0)
		return a->once && !a->answered ? EXIT_FAILED : EXIT_DONE;
	if (ferror(stdout) || (a->once && a->answered))
		return EXIT_DONE;
	return -1;
}

int ask_json(struct cli *c, bool once)
{
	static struct agent a;
	json_t *snapshot;
	a = (struct agent){ .c = c, .once = once };
	int code = ask_open(c, &a.serve, &snapshot);
	if (code != 0)
		return code;
	a.open = json_object();
	say_reply(&a, snapshot);
	json_decref(snapshot);
	do
		code = turn(&a);
	while (code < 0);
	drop_serve(&a);
	json_decref(a.open);
	return code;
}
