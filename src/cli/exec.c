/* SPDX-License-Identifier: Apache-2.0 */
/* Another program in an application's machine, beside its own. */
#include "cli/cli.h"
#include "cli/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct exec_args {
	json_t *env, *argv;
	const char *user, *cwd, *app;
	bool term; /* given by -e */
	int tty;   /* -1: when stdin and stdout are terminals */
};

static int take_option(struct exec_args *a, const char *command, int argc, char **argv, int *i)
{
	const char *o = argv[*i];
	if (strcmp(o, "-t") == 0 || strcmp(o, "-T") == 0) {
		a->tty = o[1] == 't';
		return 0;
	}
	if (strcmp(o, "-e") != 0 && strcmp(o, "--user") != 0 && strcmp(o, "-w") != 0)
		return cli_usage(command, "there is no option \"%s\"", o);
	if (*i + 1 >= argc)
		return cli_usage(command, "%s needs a value", o);
	const char *v = argv[++*i];
	if (strcmp(o, "--user") == 0)
		a->user = v;
	else if (strcmp(o, "-w") == 0)
		a->cwd = v;
	else if (!cli_add_env(a->env, v))
		return cli_usage(command, "-e %s: there is no such variable, or it is not text", v);
	a->term = a->term || (strcmp(o, "-e") == 0 && strncmp(v, "TERM", 4) == 0 && (v[4] == '=' || v[4] == '\0'));
	return 0;
}

static int exec_run(struct cli *c, struct exec_args *a)
{
	struct winsize ws = { 0 };
	int fd;
	/* Programs draw as this terminal understands, unless -e says otherwise. */
	if (a->tty && !a->term && getenv("TERM") != NULL)
		(void)cli_add_env(a->env, "TERM");
	json_t *params = json_pack("{s:s, s:o, s:o, s:b, s:s?, s:s?, s:s?}", "app", a->app, "argv", a->argv, "env",
		a->env, "tty", a->tty, "user", a->user, "cwd", a->cwd, "owner", c->owner);
	if (a->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0) {
		json_object_set_new(params, "rows", json_integer(ws.ws_row));
		json_object_set_new(params, "cols", json_integer(ws.ws_col));
	}
	int code = cli_upgraded(c, "org.sekisho.Apps.Exec", params, &fd);
	/* As with run, the codes below 125 are the program's. */
	return code == EXIT_DONE ? stream_run(fd, a->tty, STREAM_PROGRAM) : STREAM_OURS;
}

int cmd_exec(struct cli *c, int argc, char **argv)
{
	struct exec_args a = { .env = json_array(), .argv = json_array(), .tty = -1 };
	int i = 1, code = 0;
	for (; code == 0 && i < argc && argv[i][0] == '-' && strcmp(argv[i], "--") != 0; i++)
		code = take_option(&a, "exec", argc, argv, &i);
	if (code == 0 && (i >= argc || strcmp(argv[i], "--") == 0))
		code = cli_usage("exec", "the name of an application is needed");
	if (code == 0)
		a.app = argv[i++];
	if (code == 0 && i < argc && strcmp(argv[i], "--") == 0)
		i++;
	if (code == 0 && i >= argc)
		code = cli_usage("exec", "a command is needed");
	if (code != 0) {
		json_decref(a.env);
		json_decref(a.argv);
		return code;
	}
	for (; i < argc; i++)
		json_array_append_new(a.argv, json_string(argv[i]));
	if (a.tty < 0)
		a.tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	return exec_run(c, &a);
}

int cmd_shell(struct cli *c, int argc, char **argv)
{
	static const char shell[] = "if [ -x /bin/bash ]; then exec /bin/bash -l; else exec sh -l; fi";
	struct exec_args a = { .tty = -1 };
	bool user = argc == 4 && strcmp(argv[1], "--user") == 0;
	if ((argc != 2 && !user) || argv[argc - 1][0] == '-')
		return cli_usage("shell", "the name of an application is needed");
	a.user = user ? argv[2] : NULL;
	a.app = argv[argc - 1];
	a.env = json_array();
	a.argv = json_pack("[s, s, s]", "sh", "-c", shell);
	a.tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	return exec_run(c, &a);
}
