/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "policy/lex.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/sekisho/api"

static const struct command commands[] = {
	{ "run", cmd_run,
		"run [-e VAR[=VALUE]] [--ask desk|deny|rehearse] [--image IMAGE] [--ephemeral|--keep] [--rw DIR]… [--home none|app|DIR] [-w DIR] [--memory MIB] [--cpus N] [--user NAME] [-t|-T] [-d] NAME [-- CMD [ARG…]]",
		"Runs CMD, or what NAME's profile says, alone in a virtual machine as the application NAME.\n"
		"  sekisho run web -- curl -sS https://www.example.org/\n"
		"  sekisho run shell -- bash\n"
		"  sekisho run --ask deny build -- make" },
	{ "attach", cmd_attach, "attach APP --port IFACE [--mac MAC] [--ask desk|deny|rehearse]",
		"Makes an existing veth or tap the NIC of APP and prints what the other side needs.\n"
		"  sekisho attach db --port veth0\n"
		"  sekisho attach db --port tap7 --mac 02:00:00:00:00:07\n"
		"  sekisho --json attach db --port veth0" },
	{ "detach", cmd_detach, "detach APP",
		"Gives the interface of APP back.\n  sekisho detach db\n  sekisho --owner alice detach db\n  sekisho --json detach db" },
	{ "ps", cmd_ps, "ps",
		"Lists the applications that run.\n  sekisho ps\n  sekisho --all ps\n  sekisho --json ps" },
	{ "top", cmd_top, "top [-d SECONDS] [-n TIMES]",
		"What each application does now and did in the last minute, every two seconds; Ctrl-C leaves.\n"
		"  sekisho top\n  sekisho --all top -d 5\n  sekisho --json top -n 1" },
	{ "console", cmd_console, "console APP",
		"The streams of an application that runs without a terminal. Ctrl-] leaves.\n"
		"  sekisho console web\n  sekisho --owner alice console web\n  sekisho console web </dev/null" },
	{ "exec", cmd_exec, "exec [-t|-T] [-e VAR[=VALUE]]… [--user USER] [-w DIR] APP -- CMD [ARG…]",
		"Runs another program in an application that runs, beside its own, and ends with its status.\n"
		"  sekisho exec web -- ps aux\n  sekisho exec --user root web -- ip addr\n  echo hi | sekisho exec -T web -- tee /tmp/x" },
	{ "shell", cmd_shell, "shell [--user USER] APP",
		"A shell in an application that runs.\n  sekisho shell web\n  sekisho shell --user root web\n  sekisho --owner alice shell web" },
	{ "logs", cmd_logs, "logs APP",
		"What an application wrote last, 64 KiB at most.\n"
		"  sekisho logs web\n  sekisho --owner alice logs web\n  sekisho logs web >web.txt" },
	{ "freeze", cmd_freeze, "freeze APP",
		"Holds an application as it is.\n  sekisho freeze web\n  sekisho --owner alice freeze web\n  sekisho --json freeze web" },
	{ "thaw", cmd_thaw, "thaw APP",
		"Lets a frozen application go on.\n  sekisho thaw web\n  sekisho --owner alice thaw web\n  sekisho --json thaw web" },
	{ "stop", cmd_stop, "stop APP",
		"Ends an application.\n  sekisho stop web\n  sekisho --owner alice stop web\n  sekisho --json stop web" },
	{ "ask", cmd_ask, "ask [--once] [--inbox] [--json]",
		"Answers questions in this terminal; with --json serves a program on its standard streams.\n"
		"  sekisho ask\n  sekisho ask --inbox\n  sekisho ask --json" },
	{ "allow", cmd_rule, "allow RULE…",
		"Adds a rule (sekisho-rules(5)).\n"
		"  sekisho allow web to www.example.org port 443/tcp for 1h\n  sekisho allow web to 192.0.2.7 port 22 once\n"
		"  sekisho allow backup to '*.example.net' port https" },
	{ "deny", cmd_rule, "deny RULE…",
		"Adds a rule that refuses at once.\n  sekisho deny web to ads.example.com\n  sekisho deny any to lan\n  sekisho final deny viewer" },
	{ "drop", cmd_rule, "drop RULE…",
		"Adds a rule that is silent.\n  sekisho drop web to 192.0.2.9\n  sekisho drop any to internet port 25\n  sekisho drop web" },
	{ "ask-rule", cmd_rule, "ask-rule RULE…",
		"Adds a rule that asks each time.\n  sekisho ask-rule web to 192.0.2.7 port 22\n  sekisho ask-rule any\n  sekisho ask-rule web to lan" },
	{ "final", cmd_rule, "final allow|deny|drop|ask RULE…",
		"Adds a rule that nothing overrides (admins).\n  sekisho final deny viewer\n  sekisho final allow web to example.org\n  sekisho final drop any to lan" },
	{ "rules", cmd_rules, "rules [APP] [--ended] [--unused 30d] | rules rm ID…",
		"Lists or removes rules.\n  sekisho rules\n  sekisho rules web --unused 30d\n  sekisho rules rm 7f3a" },
	{ "undo", cmd_undo, "undo [N] [--dry-run]",
		"Takes back your last N changes of rules, all or none (--all: anybody's, for admins).\n"
		"  sekisho undo\n  sekisho undo 3 --dry-run\n  sekisho --all undo" },
	{ "why", cmd_why, "why [--policy FILE]… [--at \"YYYY-MM-DD HH:MM\"] [--from] APP PEER[:PORT[/PROTO]] | why - …",
		"Prints the verdict, the rule that decides and every rule that matches.\n"
		"  sekisho why web www.example.org:443\n  sekisho why web '[2001:db8::1]:22/tcp'\n"
		"  sekisho why --policy my.rules --json web www.example.org=192.0.2.1:443" },
	{ "policy", cmd_policy, "policy check|fmt|diff|import FILE… | apply [--dry-run] FILE | show [APP] | export",
		"Checks policy files, puts one in force, prints one in canonical form, compares; shows the rules in force, carries answers away\n"
		"and back.\n"
		"  sekisho policy check my.rules\n  sekisho policy apply --dry-run my.rules\n  sekisho policy export > answers.rules" },
	{ "image", cmd_image, "image [ls] | prepare [--space MIB] IMAGE… | rm IMAGE… | prune [--keep GIB] | reset APP",
		"The images that run --image uses, prepared: shows, fetches, removes them; forgets what APP wrote over them.\n"
		"  sekisho image prepare docker://docker.io/library/debian:12\n  sekisho image ls\n  sekisho image reset web" },
	{ "list", cmd_list, "list [show NAME | update [NAME] | add NAME SOURCE [every TIME] | rm NAME]",
		"Shows the lists that policy files define, fetches them now, defines one in a file of its own and takes\n"
		"that away again. A rule uses it as list:NAME.\n"
		"  sekisho list\n  sekisho list update ads\n  sekisho list add ads https://lists.example.org/hosts every 12h" },
	{ "learn", cmd_learn, "learn APP --for TIME [-o FILE]",
		"Lets APP through to the internet for a while and writes down what it asked for, as a draft of rules.\n"
		"  sekisho learn web --for 15m -o draft.rules\n  sekisho learn build --for 1h30m\n  sekisho --json learn web --for 90s" },
	{ "rehearse", cmd_rehearse, "rehearse [--for TIME] [-o FILE] NAME -- CMD [ARG…]",
		"Runs CMD in a virtual machine that nothing gets out of, and prints what it asked for as a draft of rules.\n"
		"  sekisho rehearse web -- curl -sS https://www.example.org/\n  sekisho rehearse -o draft.rules build -- make\n"
		"  sekisho rehearse --for 5m shell -- bash" },
	{ "log", cmd_log, "log [APP] [VERDICT] [EVENT] [DESTINATION] [--since 1h] [-f] [-n N] [--as-rules]",
		"What happened; with --as-rules the destinations, as rules to paste.\n"
		"  sekisho log web --since 10m\n  sekisho log deny example.org -f\n  sekisho log web deny --as-rules" },
	{ "watch", cmd_watch, "watch [APP] [VERDICT] [EVENT] [DESTINATION]",
		"What happens from now on.\n  sekisho watch\n  sekisho watch web\n  sekisho --json watch deny" },
	{ "doctor", cmd_doctor, "doctor",
		"Checks this machine and says what repairs it.\n  sekisho doctor\n  sekisho --json doctor\n  sekisho --socket /run/x/api doctor" },
	{ "self-test", cmd_self_test, "self-test [--list] [-k WORD]…",
		"Attacks the installed programs in a network of its own and counts what leaves without a rule: about three minutes, as root.\n"
		"  sekisho self-test\n  sekisho self-test --list\n  sekisho self-test -k spoof" },
	{ "version", cmd_version, "version",
		"Prints the version.\n  sekisho version\n  sekisho --version\n  sekisho --json version" },
	{ "completion", cmd_completion, "completion bash|zsh|fish",
		"Prints the completion of a shell.\n  . <(sekisho completion bash)\n  sekisho completion zsh >~/.zfunc/_sekisho\n"
		"  sekisho completion fish | source" },
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

unsigned cli_commands(const struct command **ret)
{
	*ret = commands;
	return N_COMMANDS;
}

static const struct command *find(const char *name)
{
	for (unsigned i = 0; i < N_COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

int cli_usage(const char *name, const char *fmt, ...)
{
	char text[512];
	const struct command *k = find(name);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli_error("%s", text);
	if (k != NULL)
		fprintf(stderr, "usage: sekisho %s\n", k->usage);
	return EXIT_USAGE;
}

static void help(FILE *to)
{
	fputs("usage: sekisho [--socket PATH] [--json] [--owner USER] [--all] COMMAND …\n\n"
	      "A firewall per application that the application cannot get round.\n\n",
		to);
	for (unsigned i = 0; i < N_COMMANDS; i++) {
		const char *end = strchr(commands[i].help, '\n');
		fprintf(to, "  %-10s %.*s\n", commands[i].name, end == NULL ? 0 : (int)(end - commands[i].help),
			commands[i].help);
	}
	fputs("\n`sekisho COMMAND --help` shows examples. The socket: --socket, else SEKISHO_SOCKET, else " DEFAULT_SOCKET
	      ".\n",
		to);
}

static int command_help(const struct command *k)
{
	printf("usage: sekisho %s\n\n%s\n", k->usage, k->help);
	return EXIT_DONE;
}

static int unknown(const char *name)
{
	cli_error("there is no command \"%s\"", name);
	const char *words[N_COMMANDS + 1] = { NULL };
	for (unsigned i = 0; i < N_COMMANDS; i++)
		words[i] = commands[i].name;
	const char *near = lex_near((struct span){ .p = name, .len = strlen(name) }, words);
	if (near != NULL)
		fprintf(stderr, "  did you mean \"%s\"?\n", near);
	fputs("`sekisho --help` lists the commands.\n", stderr);
	return EXIT_USAGE;
}

static bool takes_value(const char *option)
{
	static const char *const options[] = { "-e", "--ask", "--user", "--memory", "--cpus", "--for", "-o" };
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(option, options[i]) == 0)
			return true;
	}
	return false;
}

/* Where the words of a program begin, which are none of ours: behind "--", and behind the name that `run` takes. */
static int own_words(int argc, char **argv)
{
	int i = 1;
	while (i < argc && argv[i][0] == '-')
		i += strcmp(argv[i], "--socket") == 0 || strcmp(argv[i], "--owner") == 0 ? 2 : 1;
	bool run = i < argc && (strcmp(argv[i], "run") == 0 || strcmp(argv[i], "rehearse") == 0);
	for (i++; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (run &&
			(takes_value(argv[i]) || strcmp(argv[i], "--socket") == 0 || strcmp(argv[i], "--owner") == 0))
			i++;
		else if (run && argv[i][0] != '-')
			return i + 1 < argc ? i + 1 : argc;
	}
	return i < argc ? i : argc;
}

/* Options that every command takes may stand before or behind it; 0: one lacks its value. */
static int take_globals(struct cli *c, int argc, char **argv)
{
	int n = 1, end = own_words(argc, argv);
	for (int i = 1; i < argc; i++) {
		bool socket = strcmp(argv[i], "--socket") == 0, owner = strcmp(argv[i], "--owner") == 0;
		if (i < end && strcmp(argv[i], "--json") == 0) {
			c->json = true;
		} else if (i < end && strcmp(argv[i], "--all") == 0) {
			c->all = true;
		} else if (i < end && (socket || owner)) {
			if (i + 1 >= argc) {
				cli_error("%s needs a value", argv[i]);
				return 0;
			}
			i++;
			*(socket ? &c->socket : &c->owner) = argv[i];
		} else {
			argv[n++] = argv[i];
		}
	}
	argv[n] = NULL;
	return n;
}

/* "--help" among the command's own words. */
static bool wants_help(int argc, char **argv)
{
	int end = own_words(argc, argv);
	for (int i = 2; i < end; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct cli c = { .socket = getenv("SEKISHO_SOCKET") };
	if (c.socket == NULL || c.socket[0] == '\0')
		c.socket = DEFAULT_SOCKET;
	c.colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
	signal(SIGPIPE, SIG_IGN);
	argc = take_globals(&c, argc, argv);
	if (argc == 0)
		return EXIT_USAGE;
	if (argc < 2) {
		help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		const struct command *about = argc > 2 ? find(argv[2]) : NULL;
		if (argc > 2 && about == NULL)
			return unknown(argv[2]);
		if (about != NULL)
			return command_help(about);
		help(stdout);
		return EXIT_DONE;
	}
	const struct command *k = find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
	/* What the shells' completion calls; not for people, so it has no line in the table. */
	if (k == NULL && strcmp(argv[1], "complete") == 0)
		return cmd_complete(&c, argc - 1, argv + 1);
	if (k == NULL)
		return unknown(argv[1]);
	if (wants_help(argc, argv))
		return command_help(k);
	int code = k->run(&c, argc - 1, argv + 1);
	if (fflush(stdout) != 0 && code == EXIT_DONE)
		code = EXIT_FAILED;
	return code;
}
