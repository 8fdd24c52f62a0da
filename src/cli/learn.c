/* SPDX-License-Identifier: Apache-2.0 */
/* `learn` and `rehearse`: what an application asks for, as a draft that somebody reads before any of it is in force. */
#include "cli/cli.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_MAX = 86400, REHEARSE_S = 60, LOG_LIMIT = 2500, LOOK_MS = 500 };

struct draft {
	struct cli *c;
	const char *app, *path; /* path NULL: standard output */
	long seconds;
	int fd;
	json_t *lines; /* members of an object: each once, in order */
};

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static void stop_on_signals(void)
{
	struct sigaction sa = { .sa_handler = stop };
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

/* "90s", "15m", "1h30m". */
static bool seconds_parse(const char *text, long *ret)
{
	static const char units[] = "smhd";
	static const long each[] = { 1, 60, 3600, 86400 };
	long total = 0;
	while (*text != '\0') {
		char *end;
		long n = strtol(text, &end, 10);
		const char *unit = *end == '\0' ? NULL : strchr(units, *end);
		if (end == text || n < 0 || n > SECONDS_MAX || unit == NULL)
			return false;
		total += n * each[unit - units];
		if (total > SECONDS_MAX)
			return false;
		text = end + 1;
	}
	*ret = total;
	return total > 0;
}

/* Nothing that stands there is overwritten, and nothing is begun whose end could not be written down. */
static int draft_open(struct draft *d)
{
	d->fd = d->path == NULL ? STDOUT_FILENO : open(d->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (d->fd >= 0)
		return 0;
	cli_error(errno == EEXIST ? "%s is there already; remove it or choose another name" : "%s: cannot be written",
		d->path);
	return EXIT_FAILED;
}

static int draft_write(struct draft *d, const char *what)
{
	char since[32];
	const char *line;
	json_t *v;
	FILE *f = d->fd == STDOUT_FILENO ? stdout : fdopen(d->fd, "w");
	if (f == NULL)
		return EXIT_FAILED;
	fprintf(f,
		"# %s of %s, %s: what it asked for. Nothing here is in force: read it, strike out what should not be,\n"
		"# then keep it with the rules (sekisho policy check FILE).\n",
		what, d->app, clock_format(clock_wall_ms(), since));
	json_object_foreach(d->lines, line, v) fprintf(f, "%s\n", line);
	bool bad = fflush(f) != 0 || ferror(f);
	if (d->fd != STDOUT_FILENO)
		bad = fclose(f) != 0 || bad;
	if (bad)
		cli_error("%s: cannot be written whole", d->path == NULL ? "standard output" : d->path);
	else
		fprintf(stderr, "sekisho: %zu rules wanted%s%s; none of them is in force\n", json_object_size(d->lines),
			d->path == NULL ? "" : ", written to ", d->path == NULL ? "" : d->path);
	return bad ? EXIT_FAILED : EXIT_DONE;
}

static void want(struct draft *d, const char *line)
{
	if (json_object_get(d->lines, line) != NULL)
		return;
	json_object_set_new(d->lines, line, json_true());
	fprintf(stderr, "sekisho: wanted: %s\n", line);
}

static void began(const struct draft *d, const json_t *reply)
{
	char ends[40];
	fprintf(stderr,
		"sekisho: learning %s until %s; Ctrl-C ends it sooner\n"
		"sekisho: until then what no rule speaks of is LET THROUGH to the internet. What rules and lists refuse, the local\n"
		"sekisho: network, this computer and other applications stay as they are. At the end all of it is closed again.\n",
		d->app, cli_time(reply, "ends", ends, sizeof(ends)));
}

/* 0 when it goes on, 1 when the learning has ended. */
static int learn_reply(struct draft *d, const json_t *reply)
{
	const char *event = json_string_value(json_object_get(reply, "event"));
	char text[4200];
	if (d->c->json)
		cli_print_json(reply);
	if (event != NULL && strcmp(event, "began") == 0)
		began(d, reply);
	else if (event != NULL && strcmp(event, "wanted") == 0)
		want(d, cli_text(reply, "rule", text, sizeof(text)));
	else
		return 1;
	return 0;
}

static int learn(struct draft *d)
{
	int code = EXIT_FAILED;
	struct api_error e = { .exit_code = EXIT_DAEMON };
	struct api_client *client = cli_connect(d->c, &code);
	if (client == NULL)
		return code;
	int got = api_client_more(client, "org.sekisho.Rules.Learn",
		json_pack("{s:s, s:i, s:s?}", "app", d->app, "seconds", (int)d->seconds, "owner", d->c->owner), &e);
	bool over = got != 0;
	while (!over && stopped == 0) {
		json_t *reply;
		got = api_client_next(client, LOOK_MS, &reply, &e);
		if (got >= 0) {
			over = learn_reply(d, reply) != 0 || got == 0;
			json_decref(reply);
		} else {
			over = got != -EAGAIN;
		}
	}
	/* Closed, and with it all that was let through. */
	api_client_close(client);
	return got < 0 && got != -EAGAIN ? cli_say_error(&e) : EXIT_DONE;
}

/* Options before the name. The exit code, or 0 with *ret_next behind the name. */
static int take_args(struct draft *d, int argc, char **argv, int *ret_next)
{
	int i = 1;
	for (; i < argc && d->app == NULL; i++) {
		if (strcmp(argv[i], "--for") == 0 && i + 1 < argc) {
			if (!seconds_parse(argv[++i], &d->seconds))
				return cli_usage(argv[0],
					"--for takes a time such as 90s, 15m or 1h30m, at most a day");
		} else if (strcmp(argv[i], "-o") == 0 && i + 1 < argc) {
			d->path = argv[++i];
		} else if (argv[i][0] != '-') {
			d->app = argv[i];
		} else {
			return cli_usage(argv[0], "\"%s\" is not expected here", argv[i]);
		}
	}
	if (d->app == NULL)
		return cli_usage(argv[0], "a name for the application is needed");
	*ret_next = i;
	return 0;
}

int cmd_learn(struct cli *c, int argc, char **argv)
{
	struct draft d = { .c = c };
	int next, code = take_args(&d, argc, argv, &next);
	/* Options may stand behind the name, too. */
	for (; code == 0 && next < argc; next++) {
		if (strcmp(argv[next], "-o") == 0 && next + 1 < argc)
			d.path = argv[++next];
		else if (strcmp(argv[next], "--for") != 0 || next + 1 >= argc ||
			 !seconds_parse(argv[++next], &d.seconds))
			code = cli_usage("learn", "\"%s\" is not expected here", argv[next]);
	}
	if (code == 0 && d.seconds == 0)
		code = cli_usage("learn", "say how long: --for 15m");
	if (code == 0)
		code = draft_open(&d);
	if (code != 0)
		return code;
	d.lines = json_object();
	stop_on_signals();
	code = learn(&d);
	/* What was learnt so far is kept, whatever ended it; nothing learnt leaves nothing behind. */
	if (code != EXIT_DONE && json_object_size(d.lines) == 0) {
		if (d.path != NULL)
			unlink(d.path);
	} else if (draft_write(&d, "A draft") != EXIT_DONE) {
		code = EXIT_FAILED;
	}
	json_decref(d.lines);
	return code;
}

/* The program in a machine of its own, of which nothing gets out; ended when its time is over. Its exit status. */
static int rehearsal_run(struct draft *d, int n, char **command)
{
	char run[] = "run", ask[] = "--ask", mode[] = "rehearse", dashes[] = "--";
	char **argv = calloc((size_t)n + 6, sizeof(*argv));
	if (argv == NULL)
		return EXIT_FAILED;
	char *app = strdup(d->app);
	argv[0] = run;
	argv[1] = ask;
	argv[2] = mode;
	argv[3] = app;
	argv[4] = dashes;
	memcpy(argv + 5, command, (size_t)n * sizeof(*argv));
	pid_t pid = fork();
	if (pid == 0)
		_exit(cmd_run(d->c, n + 5, argv));
	free(app);
	free(argv);
	int status = 0;
	alarm((unsigned)d->seconds);
	bool told = false;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
		if (!told && cli_call(d->c, "org.sekisho.Apps.Stop",
				     json_pack("{s:s, s:s?}", "app", d->app, "owner", d->c->owner), NULL) == 0)
			told = true;
	}
	alarm(0);
	/* Its time was over: whatever it ended with, that was our doing. */
	if (told)
		return 0;
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}

static int take_log(struct draft *d, const char *since)
{
	json_t *entries, *e;
	size_t i;
	int code = cli_list(d->c, "org.sekisho.Connections.Log",
		json_pack("{s:s, s:s, s:i, s:s?}", "app", d->app, "since", since, "limit", (int)LOG_LIMIT, "owner",
			d->c->owner),
		"entries", &entries);
	if (code != 0)
		return code;
	json_array_foreach(entries, i, e)
	{
		const char *event = json_string_value(json_object_get(e, "event")),
			   *direction = json_string_value(json_object_get(e, "direction"));
		char to[1100], proto[16], line[1300];
		if (event == NULL || strcmp(event, "refused") != 0 || direction == NULL ||
			strcmp(direction, "out") != 0)
			continue;
		bool named = json_is_string(json_object_get(e, "name"));
		cli_text(e, named ? "name" : "address", to, sizeof(to));
		cli_text(e, "protocol", proto, sizeof(proto));
		long long port = cli_number(e, "port", 0);
		if (proto[0] >= '0' && proto[0] <= '9')
			snprintf(line, sizeof(line), "allow %s to %s port /%s", d->app, to, proto);
		else
			snprintf(line, sizeof(line), "allow %s to %s port %lld/%s", d->app, to, port, proto);
		want(d, line);
	}
	json_decref(entries);
	return 0;
}

int cmd_rehearse(struct cli *c, int argc, char **argv)
{
	struct draft d = { .c = c, .seconds = REHEARSE_S };
	char since[32];
	int next, code = take_args(&d, argc, argv, &next);
	if (code != 0)
		return code;
	if (next < argc && strcmp(argv[next], "--") == 0)
		next++;
	if (next >= argc)
		return cli_usage("rehearse", "a command is needed: sekisho rehearse %s -- CMD", d.app);
	code = draft_open(&d);
	if (code != 0)
		return code;
	struct sigaction sa = { .sa_handler = stop };
	sigaction(SIGALRM, &sa, NULL);
	d.lines = json_object();
	clock_format(clock_wall_ms(), since);
	fprintf(stderr,
		"sekisho: rehearsing %s for at most %ld s: nothing gets out, not even a lookup, whatever the rules allow\n",
		d.app, d.seconds);
	int status = rehearsal_run(&d, argc - next, argv + next);
	code = status == 125 ? EXIT_FAILED : take_log(&d, since);
	if (code == 0)
		code = draft_write(&d, "A rehearsal");
	else if (d.path != NULL)
		unlink(d.path);
	json_decref(d.lines);
	return code;
}
