/* SPDX-License-Identifier: Apache-2.0 */
/* `ask --json`: questions out, answers in, one object a line (surface.md). The program on the other side is trusted no
 * more than a person. */
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
	bool once, answered, gone;
	size_t have;
	char line[LINE_BYTES];
};

static void say_question(const json_t *q)
{
	json_t *o = json_pack("{s:s}", "event", "question");
	json_object_update(o, (json_t *)(uintptr_t)q);
	cli_print_json(o);
	json_decref(o);
}

static void say_reply(const json_t *reply)
{
	const char *event = json_string_value(json_object_get(reply, "event"));
	json_t *q;
	size_t i;
	if (event == NULL)
		return;
	if (strcmp(event, "snapshot") == 0) {
		json_array_foreach(json_object_get(reply, "questions"), i, q) say_question(q);
	} else if (strcmp(event, "question") == 0) {
		say_question(json_object_get(reply, "question"));
	} else {
		json_t *o = json_pack("{s:s, s:O?, s:O?}", "event", "cancelled", "id", json_object_get(reply, "id"),
			"by", json_object_get(reply, "by"));
		cli_print_json(o);
		json_decref(o);
	}
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
	json_t *reply = NULL, *o = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	const char *id = json_string_value(json_object_get(o, "id")),
		   *digest = json_string_value(json_object_get(o, "digest"));
	const char *rule = json_string_value(json_object_get(o, "rule"));
	bool later = json_is_true(json_object_get(o, "later"));
	int err = -EINVAL;
	if (id != NULL && digest != NULL && (rule != NULL) != later)
		err = ask_answer(a->c, id, digest, rule, &reply, &e);
	say_result(id, err, reply, &e);
	a->answered = a->answered || err == 0;
	json_decref(o);
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

/* Everything the daemon has said so far; the exit code when it is gone, else -1. */
static int take_serve(struct api_client *serve)
{
	do {
		json_t *reply = NULL;
		struct api_error e = { .exit_code = EXIT_DAEMON };
		int got = api_client_next(serve, 0, &reply, &e);
		if (got == -EAGAIN) {
			api_error_fini(&e);
			return -1;
		}
		if (got < 0)
			return cli_say_error(&e);
		say_reply(reply);
		json_decref(reply);
		if (got == 0)
			return EXIT_DONE;
	} while (api_client_buffered(serve));
	return -1;
}

int ask_json(struct cli *c, struct api_client *serve, bool once)
{
	static struct agent a;
	a = (struct agent){ .c = c, .once = once };
	while (!(a.once && a.answered)) {
		struct pollfd p[2] = { { .fd = api_client_fd(serve), .events = POLLIN },
			{ .fd = STDIN_FILENO, .events = POLLIN } };
		if (!api_client_buffered(serve) && poll(p, 2, -1) < 0 && errno != EINTR)
			return EXIT_FAILED;
		if (p[0].revents != 0 || api_client_buffered(serve)) {
			int code = take_serve(serve);
			if (code >= 0)
				return code;
		}
		/* The program went away: what it did not answer stays open. */
		if (p[1].revents != 0 && take_input(&a) != 0)
			return EXIT_DONE;
		if (ferror(stdout))
			return EXIT_DONE;
	}
	return EXIT_DONE;
}
