/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/image.h"
#include "cli/lend.h"
#include "cli/stream.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct run_args {
	json_t *env;
	const char *ask, *user, *app, *image, *home, *cwd;
	const char *rw[LEND_MAX];
	unsigned n_rw;
	bool ephemeral, keep;
	long memory, cpus;
	bool term; /* given by -e */
	bool detach;
	int tty;   /* -1: when stdin and stdout are terminals */
	int first; /* of the command */
};

bool cli_add_env(json_t *env, const char *text)
{
	const char *value = strchr(text, '=') == NULL ? getenv(text) : NULL;
	if (strchr(text, '=') != NULL)
		return json_array_append_new(env, json_string(text)) == 0;
	return value != NULL && json_array_append_new(env, json_sprintf("%s=%s", text, value)) == 0;
}

static int take_option(struct run_args *a, int argc, char **argv, int *i)
{
	const char *o = argv[*i];
	if (strcmp(o, "-t") == 0 || strcmp(o, "-T") == 0) {
		a->tty = o[1] == 't';
		return 0;
	}
	if (strcmp(o, "--detach") == 0 || strcmp(o, "-d") == 0) {
		a->detach = true;
		return 0;
	}
	if (strcmp(o, "--ephemeral") == 0) {
		a->ephemeral = true;
		return 0;
	}
	if (strcmp(o, "--keep") == 0) {
		a->keep = true;
		return 0;
	}
	if (*i + 1 >= argc)
		return cli_usage("run", "%s needs a value", o);
	const char *v = argv[++*i];
	a->term = a->term || (strcmp(o, "-e") == 0 && strncmp(v, "TERM", 4) == 0 && (v[4] == '=' || v[4] == '\0'));
	if (strcmp(o, "-e") == 0)
		return cli_add_env(a->env, v)
			     ? 0
			     : cli_usage("run", "-e %s: there is no such variable, or it is not text", v);
	if (strcmp(o, "--ask") == 0)
		a->ask = v;
	else if (strcmp(o, "--user") == 0)
		a->user = v;
	else if (strcmp(o, "--image") == 0)
		a->image = v;
	else if (strcmp(o, "--home") == 0)
		a->home = v;
	else if (strcmp(o, "-w") == 0)
		a->cwd = v;
	else if (strcmp(o, "--rw") == 0 && a->n_rw == LEND_MAX)
		return cli_usage("run", "--rw may be said %d times", LEND_MAX);
	else if (strcmp(o, "--rw") == 0)
		a->rw[a->n_rw++] = v;
	else if (strcmp(o, "--memory") == 0)
		return cli_integer(v, 1, INT32_MAX, &a->memory)
			     ? 0
			     : cli_usage("run", "--memory takes a number of MiB, such as 512");
	else if (strcmp(o, "--cpus") == 0)
		return cli_integer(v, 1, INT32_MAX, &a->cpus) ? 0
							      : cli_usage("run", "--cpus takes a number of processors");
	else
		return cli_usage("run", "there is no option \"%s\"", o);
	return 0;
}

static int take_args(struct run_args *a, int argc, char **argv)
{
	int i = 1;
	for (; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++) {
		int code = take_option(a, argc, argv, &i);
		if (code != 0)
			return code;
	}
	if (i >= argc || strcmp(argv[i], "--") == 0)
		return cli_usage("run", "a name for the application is needed");
	a->app = argv[i++];
	if (i < argc && strcmp(argv[i], "--") == 0)
		i++;
	if (a->ask != NULL && strcmp(a->ask, "desk") != 0 && strcmp(a->ask, "deny") != 0 &&
		strcmp(a->ask, "rehearse") != 0)
		return cli_usage("run", "--ask is desk, deny or rehearse");
	if (a->keep && a->ephemeral)
		return cli_usage("run", "--keep or --ephemeral");
	if (a->cwd != NULL && a->cwd[0] != '/')
		return cli_usage("run", "-w takes an absolute path, as the program sees it");
	a->first = i;
	if (a->tty < 0)
		a->tty = !a->detach && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	/* Programs draw as this terminal understands, unless -e says otherwise. */
	if (a->tty && !a->term && getenv("TERM") != NULL)
		(void)cli_add_env(a->env, "TERM");
	return 0;
}

static json_t *params_of(const struct cli *c, const struct run_args *a, int argc, char **argv)
{
	json_t *list = json_array();
	char cwd[4096];
	struct winsize ws = { 0 };
	for (int i = a->first; i < argc; i++)
		json_array_append_new(list, json_string(argv[i]));
	json_t *o = json_pack("{s:s, s:o, s:O, s:b, s:s?, s:s?, s:s?, s:s?}", "app", a->app, "argv", list, "env",
		a->env, "tty", a->tty, "ask", a->ask, "user", a->user, "owner", c->owner, "cwd",
		getcwd(cwd, sizeof(cwd)));
	if (a->cwd != NULL)
		json_object_set_new(o, "chdir", json_string(a->cwd));
	if (a->detach)
		json_object_set_new(o, "detach", json_true());
	if (a->memory > 0)
		json_object_set_new(o, "memory", json_integer(a->memory));
	if (a->cpus > 0)
		json_object_set_new(o, "cpus", json_integer(a->cpus));
	if (a->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0) {
		json_object_set_new(o, "rows", json_integer(ws.ws_row));
		json_object_set_new(o, "cols", json_integer(ws.ws_col));
	}
	return o;
}

/* One refusal as the rule that would allow it. False: it has no destination. */
static bool refused_line(const char *app, const json_t *e, char *line, size_t cap)
{
	char to[1100], proto[16];
	bool name = json_is_string(json_object_get(e, "name"));
	const char *way = json_string_value(json_object_get(e, "direction"));
	long long port = cli_number(e, "port", 0);
	if (!name && !json_is_string(json_object_get(e, "address")))
		return false;
	cli_text(e, name ? "name" : "address", to, sizeof(to));
	cli_text(e, "protocol", proto, sizeof(proto));
	way = way != NULL && strcmp(way, "in") == 0 ? "from" : "to";
	if (port > 0)
		snprintf(line, cap, "allow %s %s %s port %lld/%s", app, way, to, port, proto);
	else
		snprintf(line, cap, "allow %s %s %s port /%s", app, way, to, proto);
	return true;
}

/* Neither these words nor a profile say what to run. */
static int no_command(struct api_error *e)
{
	const char *text = strchr(e->text, ':');
	cli_usage("run", "%s", text == NULL ? e->text : text + 2);
	api_error_fini(e);
	return -EINVAL;
}

/* With --ask deny: what was refused, as rule lines ready to paste. */
static void say_refused(const struct cli *c, const char *app, const char *since)
{
	json_t *reply, *e, *seen = json_object();
	size_t i;
	json_t *params = json_pack("{s:s, s:s, s:s}", "app", app, "since", since, "event", "refused");
	if (cli_call(c, "org.sekisho.Connections.Log", params, &reply) != 0)
		return;
	json_array_foreach(json_object_get(reply, "entries"), i, e)
	{
		char line[1300];
		if (!refused_line(app, e, line, sizeof(line)) || json_object_get(seen, line) != NULL)
			continue;
		json_object_set_new(seen, line, json_true());
		fprintf(stderr, "sekisho: refused: %s\n", line);
	}
	json_decref(seen);
	json_decref(reply);
}

/* What is opened for the application. */
struct files {
	struct api_fds root;
	struct lend lend;
};

static bool open_files(const struct run_args *a, json_t *params, struct files *f)
{
	bool ok = a->image != NULL	    ? cli_image_use(a->image, a->app, a->ephemeral, params, &f->root)
		: a->keep && f->root.n == 0 ? cli_layer_use(a->app, params, &f->root)
					    : true;
	for (unsigned i = 0; ok && i < a->n_rw; i++)
		ok = lend_dir(&f->lend, a->rw[i]);
	return ok && (a->home == NULL || lend_home(&f->lend, a->home, a->app, a->ephemeral));
}

static void close_files(struct files *f)
{
	for (unsigned i = 0; i < f->root.n; i++)
		close(f->root.fd[i]);
	f->root.n = 0;
	lend_fini(&f->lend);
}

/* The application's profile names files, and what to run unless that was said; what these words say goes before.
 * False: why not was said. */
static bool use_profile(const struct run_args *a, json_t *params, const struct api_error *e, struct files *f)
{
	const char *image = json_string_value(json_object_get(e->params, "image"));
	const char *home = json_string_value(json_object_get(e->params, "home"));
	json_t *argv = json_object_get(e->params, "argv"), *dir;
	struct run_args both = *a;
	size_t i;
	lend_fini(&f->lend);
	json_object_set_new(params, "with_profile", json_true());
	if (json_array_size(json_object_get(params, "argv")) == 0 && json_is_array(argv))
		json_object_set(params, "argv", argv);
	/* With one of its own a layer over the host's directories is not wanted; one that these words name is open. */
	for (unsigned k = 0; a->image == NULL && image != NULL && k < f->root.n; k++)
		close(f->root.fd[k]);
	f->root.n = a->image == NULL && image != NULL ? 0 : f->root.n;
	both.image = a->image == NULL ? image : NULL;
	both.home = a->home != NULL ? a->home : home;
	json_array_foreach(json_object_get(e->params, "rw"), i, dir)
	{
		if (!json_is_string(dir) || !lend_dir(&f->lend, json_string_value(dir)))
			return false;
	}
	return open_files(&both, params, f);
}

/*
 * Asks for the application. Right behind an earlier run its machine may still be ending: the name is free a moment
 * later. The end may also be known here before it is known there, so "it runs" is asked a second time. 0, or a negative
 * errno after the reason was said: -EINVAL when there is nothing to run.
 */
static int begin(struct cli *c, const struct run_args *a, json_t *params, struct files *f, int *ret_fd)
{
	enum { TRIES = 100, TRIES_RUNS = 2, PAUSE_MS = 50 };
	bool told = false;
	for (unsigned i = 1;; i++) {
		struct api_error e = { .exit_code = EXIT_FAILED };
		struct api_fds give = f->root;
		int code;
		struct api_client *client = cli_connect(c, &code);
		if (client == NULL)
			return -ENOTCONN;
		lend_give(&f->lend, params, &give);
		api_client_give(client, &give);
		int err = api_client_upgrade(client, "org.sekisho.Apps.Run", json_incref(params), NULL, ret_fd, &e);
		api_client_close(client);
		if (err == 0)
			return 0;
		if (strcmp(e.name, "org.sekisho.NeedsFiles") == 0 && !told) {
			told = use_profile(a, params, &e, f);
			api_error_fini(&e);
			if (!told)
				return -EPERM;
			continue;
		}
		bool ending = json_is_true(json_object_get(e.params, "ending"));
		const char *parameter = json_string_value(json_object_get(e.params, "parameter"));
		if (parameter != NULL && strcmp(parameter, "argv") == 0)
			return no_command(&e);
		if (strcmp(e.name, "org.sekisho.Exists") != 0 || i >= (ending ? TRIES : TRIES_RUNS)) {
			cli_say_error(&e);
			return -EPERM;
		}
		api_error_fini(&e);
		poll(NULL, 0, PAUSE_MS);
	}
}

int cmd_run(struct cli *c, int argc, char **argv)
{
	struct run_args a = { .env = json_array(), .tty = -1 };
	char since[32];
	int fd, code = take_args(&a, argc, argv);
	if (code == 0 && c->owner != NULL && a.home != NULL && strcmp(a.home, "app") == 0)
		code = cli_usage("run", "--home app is kept among your own files; it cannot be another user's");
	if (code != 0)
		return code;
	clock_format(clock_wall_ms(), since);
	json_t *params = params_of(c, &a, argc, argv);
	static struct files f;
	int err = open_files(&a, params, &f) ? begin(c, &a, params, &f, &fd) : -EPERM;
	json_decref(params);
	json_decref(a.env);
	for (unsigned i = 0; i < f.root.n; i++)
		close(f.root.fd[i]);
	f.root.n = 0;
	if (err != 0) {
		close_files(&f);
		return err == -EINVAL ? EXIT_USAGE : STREAM_OURS;
	}
	lend_look(&f.lend);
	code = stream_run(fd, a.tty && !a.detach, a.detach ? STREAM_START : STREAM_PROGRAM);
	if (!a.detach)
		lend_tell(&f.lend);
	lend_fini(&f.lend);
	if (a.ask != NULL && strcmp(a.ask, "deny") == 0)
		say_refused(c, a.app, since);
	return code;
}

int cli_upgraded(struct cli *c, const char *method, json_t *params, int *ret_fd)
{
	struct api_error e = { .exit_code = EXIT_FAILED };
	int code;
	struct api_client *client = cli_connect(c, &code);
	if (client == NULL) {
		json_decref(params);
		return code;
	}
	int err = api_client_upgrade(client, method, params, NULL, ret_fd, &e);
	api_client_close(client);
	return err == 0 ? EXIT_DONE : cli_say_error(&e);
}

int cmd_console(struct cli *c, int argc, char **argv)
{
	struct winsize ws = { 0 };
	bool tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	int fd;
	if (argc != 2 || argv[1][0] == '-')
		return cli_usage("console", "one application is needed");
	json_t *params = json_pack("{s:s, s:s?}", "app", argv[1], "owner", c->owner);
	if (tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0) {
		json_object_set_new(params, "rows", json_integer(ws.ws_row));
		json_object_set_new(params, "cols", json_integer(ws.ws_col));
	}
	int code = cli_upgraded(c, "org.sekisho.Apps.Console", params, &fd);
	if (code != EXIT_DONE)
		return code;
	if (tty)
		fputs("sekisho: Ctrl-] leaves; the application runs on\n", stderr);
	return stream_run(fd, tty, STREAM_CONSOLE);
}

int cmd_logs(struct cli *c, int argc, char **argv)
{
	int fd;
	if (argc != 2 || argv[1][0] == '-')
		return cli_usage("logs", "one application is needed");
	json_t *params = json_pack("{s:s, s:s?}", "app", argv[1], "owner", c->owner);
	int code = cli_upgraded(c, "org.sekisho.Apps.Output", params, &fd);
	return code != EXIT_DONE ? code : stream_run(fd, false, STREAM_OUTPUT);
}
