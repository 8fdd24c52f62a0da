/* SPDX-License-Identifier: Apache-2.0 */
/* `ask` in a terminal: one line a question, one key an answer. Nothing is answered by Return alone, and what was typed
 * before the question stood there is thrown away. */
#include "cli/ask_edit.h"
#include "cli/cli.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

/* HOLD_MS: an answer sooner than that after a question appeared was meant for something else. ESCAPE_MS: the rest of a
 * key's sequence. */
enum { QUESTIONS_MAX = 256, RULE_MAX = 4096, HOLD_MS = 700, ESCAPE_MS = 50 };

struct terminal {
	struct cli *c;
	struct api_client *serve;
	json_t *waiting; /* array; the first is the one shown */
	bool shown, raw, once, answered;
	bool lost;	  /* the connection ended while a line was edited */
	size_t told;	  /* how many waited when that was last said */
	int64_t first_ms; /* when the question was first shown; 0: not yet */
	struct termios saved;
	const char *life;
};

static const char *const lives[] = { "until exit", "for 10m", "for 1h", "once", "" };

/* For the handler alone. */
static struct termios before;

static void restore_and_die(int sig)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
	raise(sig); /* SA_RESETHAND: now the default; it arrives when this handler returns */
}

/* Ctrl-C is the way out, and leaves the terminal as it was. */
static void guard_terminal(void)
{
	static const int deadly[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction sa = { .sa_handler = restore_and_die, .sa_flags = (int)SA_RESETHAND };
	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return;
	for (unsigned i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
		sigaction(deadly[i], &sa, NULL);
}

static void raw_on(struct terminal *t)
{
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &t->saved) != 0)
		return;
	struct termios raw = t->saved;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	t->raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void raw_off(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
	t->raw = false;
}

/* A question carries how long its connection was held when it was sent; what passes here comes on top. */
static void arrived(json_t *q)
{
	json_object_set_new(q, "arrived_ms", json_integer(clock_boot_ms()));
}

static long long held_s(const json_t *q)
{
	long long now = clock_boot_ms();
	return (cli_number(q, "held_ms", 0) + now - cli_number(q, "arrived_ms", now)) / 1000;
}

static void target(const json_t *q, char *buf, size_t cap)
{
	bool app = json_is_string(json_object_get(q, "peer_app")), named = json_is_string(json_object_get(q, "name"));
	size_t at = (size_t)snprintf(buf, cap, "%s", app ? "app:" : "");
	cli_text(q, app ? "peer_app" : named ? "name" : "address", buf + at, cap - at);
}

static void show(struct terminal *t)
{
	json_t *q = json_array_get(t->waiting, 0);
	char app[160], to[1100], proto[16], address[64];
	if (q == NULL || t->shown) {
		if (q != NULL && json_array_size(t->waiting) > t->told)
			printf("  (%zu wait now)\n", json_array_size(t->waiting));
		t->told = json_array_size(t->waiting);
		fflush(stdout);
		return;
	}
	t->told = json_array_size(t->waiting);
	target(q, to, sizeof(to));
	const char *direction = json_string_value(json_object_get(q, "direction"));
	bool in = direction != NULL && strcmp(direction, "in") == 0;
	cli_app(q, app, sizeof(app));
	printf("\n%s wants %s%s  %lld/%s  %sheld %lld s   [1 of %zu]\n", in ? to : app, in ? "to reach " : "",
		in ? app : to, cli_number(q, "port", 0), cli_text(q, "protocol", proto, sizeof(proto)),
		json_is_true(json_object_get(q, "first")) ? "first time, " : "", held_s(q),
		json_array_size(t->waiting));
	if (cli_number(q, "more", 0) > 0)
		printf("  and %lld more names under the same domain (w shows them)\n", cli_number(q, "more", 0));
	if (json_is_true(json_object_get(q, "withheld")))
		printf("  this name is %s on your own network\n", cli_text(q, "address", address, sizeof(address)));
	printf("  a  allow %-11s A  allow always   d  deny %-11s D  deny always\n", t->life, t->life);
	printf("  s  write the rule yourself   t  change time    w  why   l  later   ?\n");
	fflush(stdout);
	if (t->raw)
		tcflush(STDIN_FILENO, TCIFLUSH);
	if (t->first_ms == 0)
		t->first_ms = clock_boot_ms();
	t->shown = true;
}

static void drop_first(struct terminal *t)
{
	json_array_remove(t->waiting, 0);
	t->shown = false;
	t->first_ms = 0;
	t->life = lives[0];
}

static void answer(struct terminal *t, const char *rule)
{
	json_t *q = json_array_get(t->waiting, 0), *reply = NULL;
	struct api_error e = { 0 };
	char text[RULE_MAX];
	int err = ask_answer(t->c, json_string_value(json_object_get(q, "id")),
		json_string_value(json_object_get(q, "digest")), rule, &reply, &e);
	if (err != 0) {
		cli_say_error(&e);
		/* A line that was refused may be mended; a question that is gone will be cancelled. */
		t->shown = false;
		return;
	}
	printf("  → %s\n", rule == NULL ? "later" : cli_text(reply, "rule", text, sizeof(text)));
	json_decref(reply);
	t->answered = true;
	drop_first(t);
}

/* Where a suggestion's life begins, with the space before it; its end if it has none. */
static size_t life_at(const char *line)
{
	const char *cut = strstr(line, " until ");
	size_t len = strlen(line);
	if (cut == NULL)
		cut = strstr(line, " for ");
	if (cut != NULL)
		return (size_t)(cut - line);
	return len > 5 && strcmp(line + len - 5, " once") == 0 ? len - 5 : len;
}

/* The narrowest suggestion of this verb, which comes first, with this life in place of its own; else "". */
static const char *line_with(const struct terminal *t, const char *verb, const char *life, char line[RULE_MAX])
{
	const json_t *s;
	size_t i, verb_len = strlen(verb);
	line[0] = '\0';
	json_array_foreach(json_object_get(json_array_get(t->waiting, 0), "suggestions"), i, s)
	{
		const char *own = json_is_string(s) ? json_string_value(s) : "";
		if (strncmp(own, verb, verb_len) != 0 || own[verb_len] != ' ')
			continue;
		int n = snprintf(line, RULE_MAX, "%.*s%s%s", (int)life_at(own), own, life[0] != '\0' ? " " : "", life);
		if (n > 0 && n < RULE_MAX)
			return line;
		line[0] = '\0';
	}
	return line;
}

static void answer_with(struct terminal *t, const char *verb, const char *life)
{
	char line[RULE_MAX];
	if (line_with(t, verb, life, line)[0] != '\0')
		answer(t, line);
	else
		cli_error("no rule of that kind would decide this question");
}

static void cancelled(struct terminal *t, const json_t *reply)
{
	const char *id = json_string_value(json_object_get(reply, "id"));
	char by[128];
	for (size_t i = 0; i < json_array_size(t->waiting); i++) {
		const char *own = json_string_value(json_object_get(json_array_get(t->waiting, i), "id"));
		if (id == NULL || own == NULL || strcmp(id, own) != 0)
			continue;
		if (i == 0 && t->shown)
			printf("  withdrawn: %s\n", cli_text(reply, "by", by, sizeof(by)));
		if (i == 0)
			drop_first(t);
		else
			json_array_remove(t->waiting, i);
		return;
	}
}

static void reviewed(const json_t *review)
{
	char app[160];
	if (json_is_true(json_object_get(review, "on")))
		printf("\n  %s asks a lot: %lld questions wait, %lld more were refused unasked\n",
			cli_app(review, app, sizeof(app)), cli_number(review, "waiting", 0),
			cli_number(review, "refused", 0));
}

/* One that was in the inbox is asked again under its id when its connection is tried again. */
static void asked(struct terminal *t, json_t *q)
{
	const char *id = json_string_value(json_object_get(q, "id"));
	arrived(q);
	for (size_t i = 0; i < json_array_size(t->waiting); i++) {
		const char *own = json_string_value(json_object_get(json_array_get(t->waiting, i), "id"));
		if (id == NULL || own == NULL || strcmp(id, own) != 0)
			continue;
		json_array_set(t->waiting, i, q);
		return;
	}
	if (json_array_size(t->waiting) < QUESTIONS_MAX)
		json_array_append(t->waiting, q);
}

static void take_reply(struct terminal *t, const json_t *reply)
{
	const char *event = json_string_value(json_object_get(reply, "event"));
	json_t *q;
	size_t i;
	json_array_foreach(json_object_get(reply, "questions"), i, q) arrived(q);
	if (event != NULL && strcmp(event, "snapshot") == 0) {
		json_array_extend(t->waiting, json_object_get(reply, "questions"));
	} else if (event != NULL && strcmp(event, "question") == 0) {
		asked(t, json_object_get(reply, "question"));
	} else if (event != NULL && strcmp(event, "cancelled") == 0) {
		cancelled(t, reply);
	} else if (event != NULL && strcmp(event, "review") == 0) {
		reviewed(json_object_get(reply, "review"));
	}
}

/* Something came while a line is edited: false when the question it answers is gone. */
static bool still_asked(void *arg)
{
	struct terminal *t = arg;
	struct api_error e = { 0 };
	char id[64];
	cli_text(json_array_get(t->waiting, 0), "id", id, sizeof(id));
	for (bool more = true; more; more = api_client_buffered(t->serve)) {
		json_t *reply = NULL;
		int got = api_client_next(t->serve, 0, &reply, &e);
		if (got == -EAGAIN)
			break;
		if (got != 1) {
			t->lost = true;
			break;
		}
		take_reply(t, reply);
		json_decref(reply);
	}
	api_error_fini(&e);
	char now[64];
	cli_text(json_array_get(t->waiting, 0), "id", now, sizeof(now));
	return !t->lost && strcmp(id, now) == 0;
}

static void write_rule(struct terminal *t)
{
	char first[RULE_MAX], line[RULE_MAX];
	struct ask_edit_watch watch = { .fd = api_client_fd(t->serve), .look = still_asked, .arg = t };
	raw_off(t);
	puts("  Return sends it, Tab completes, an empty line leaves the question as it is");
	int err = ask_edit(t->c, line_with(t, "allow", t->life, first), &watch, line, sizeof(line));
	raw_on(t);
	t->shown = false;
	if (err == 0)
		answer(t, line);
	else if (err == -ESTALE)
		puts("\n  this question needs no answer any more");
}

static void why(struct terminal *t)
{
	json_t *q = json_array_get(t->waiting, 0);
	char owner[80], address[64], text[RULE_MAX];
	size_t i;
	json_t *s;
	printf("  owner %s, address %s\n", cli_text(q, "owner", owner, sizeof(owner)),
		cli_text(q, "address", address, sizeof(address)));
	json_array_foreach(json_object_get(q, "names"), i, s)
	{
		json_t *o = json_pack("{s:O}", "s", s);
		printf("  and %s\n", cli_text(o, "s", text, sizeof(text)));
		json_decref(o);
	}
	json_array_foreach(json_object_get(q, "suggestions"), i, s)
	{
		json_t *o = json_pack("{s:O}", "s", s);
		printf("    %s\n", cli_text(o, "s", text, sizeof(text)));
		json_decref(o);
	}
	t->shown = false;
}

static void key(struct terminal *t, char k)
{
	static const char *const help =
		"  a/A allow, d/D deny, s your own rule line, t other time, w what else could be answered, l leave it for later\n";
	if (json_array_size(t->waiting) == 0)
		return;
	if (t->raw && strchr("aAdDs", k) != NULL && clock_boot_ms() - t->first_ms < HOLD_MS) {
		puts("  this question has only just appeared: look, then press again");
		return;
	}
	switch (k) {
	case 'a':
		answer_with(t, "allow", t->life);
		break;
	case 'A':
		answer_with(t, "allow", "");
		break;
	case 'd':
		answer_with(t, "deny", t->life);
		break;
	case 'D':
		answer_with(t, "deny", "");
		break;
	case 's':
		write_rule(t);
		break;
	case 't':
		for (unsigned i = 0; i + 1 < sizeof(lives) / sizeof(lives[0]); i++) {
			if (strcmp(t->life, lives[i]) == 0) {
				t->life = i + 2 < sizeof(lives) / sizeof(lives[0]) ? lives[i + 1] : lives[0];
				break;
			}
		}
		t->shown = false;
		break;
	case 'w':
		why(t);
		break;
	case 'l':
	case '\033':
		answer(t, NULL);
		break;
	case '?':
		fputs(help, stdout);
		break;
	default:
		if (k > ' ')
			printf("  %c means nothing here\n%s", k, help);
		break;
	}
}

/* One key. An arrow or another key that sends several characters is none of ours ("\033[A" ends in the key for "allow
 * always"), nor is what was pasted. False at the end of input. */
static bool take_keys(struct terminal *t)
{
	char k[64];
	ssize_t n = read(STDIN_FILENO, k, t->raw ? sizeof(k) : 1);
	if (n <= 0)
		return n < 0 && errno == EINTR;
	struct pollfd more = { .fd = STDIN_FILENO, .events = POLLIN };
	if (t->raw && n == 1 && k[0] == '\033' && poll(&more, 1, ESCAPE_MS) > 0) {
		tcflush(STDIN_FILENO, TCIFLUSH);
		return true;
	}
	if (n == 1)
		key(t, k[0]);
	return true;
}

/* The desk has gone: what it asked is asked again, under the same ids, when it is back. */
static int reconnect(struct terminal *t)
{
	json_t *snapshot;
	api_client_close(t->serve);
	t->serve = NULL;
	t->lost = false;
	json_array_clear(t->waiting);
	t->shown = false;
	t->first_ms = 0;
	t->told = 0;
	raw_off(t);
	int code = ask_reopen(t->c, &t->serve, &snapshot);
	raw_on(t);
	if (code != 0)
		return code;
	take_reply(t, snapshot);
	json_decref(snapshot);
	return -1;
}

/* The exit code when it is over, else -1. */
static int turn(struct terminal *t)
{
	bool buffered = api_client_buffered(t->serve);
	struct pollfd p[2] = { { .fd = api_client_fd(t->serve), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN } };
	if (poll(p, 2, buffered ? 0 : -1) < 0 && errno != EINTR)
		return EXIT_FAILED;
	if (p[0].revents != 0 || buffered) {
		json_t *reply = NULL;
		struct api_error e = { .exit_code = EXIT_DAEMON };
		int got = api_client_next(t->serve, 0, &reply, &e);
		if (got == -EREMOTEIO)
			return cli_say_error(&e);
		api_error_fini(&e);
		if (got >= 0)
			take_reply(t, reply);
		json_decref(reply);
		if (got <= 0 && got != -EAGAIN)
			return reconnect(t);
	}
	bool end = p[1].revents != 0 && !take_keys(t);
	if (t->lost)
		return reconnect(t);
	if (end)
		return t->once && !t->answered ? EXIT_FAILED : EXIT_DONE;
	return t->once && t->answered ? EXIT_DONE : -1;
}

int ask_terminal(struct cli *c, bool once)
{
	struct terminal t = { .c = c, .once = once, .life = lives[0], .waiting = json_array() };
	json_t *snapshot;
	int code = ask_open(c, &t.serve, &snapshot);
	if (code == 0) {
		take_reply(&t, snapshot);
		json_decref(snapshot);
		guard_terminal();
		raw_on(&t);
		fputs("waiting for questions; Ctrl-C leaves\n", stderr);
		do {
			show(&t);
			code = turn(&t);
		} while (code < 0);
		raw_off(&t);
	}
	api_client_close(t.serve);
	json_decref(t.waiting);
	return code;
}
