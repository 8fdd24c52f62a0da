/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completion: the scripts for the shells, and what they call back, `sekisho complete -- WORD…` (the words so far
 * without "sekisho"; the last is being typed). One candidate a line; none: the shell offers files. Commands and options
 * come from the table of commands, so they cannot go stale.
 */
#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 256 };

enum { FOUND_MAX = 64, LINE_WORDS_MAX = 128 };

struct typing {
	struct cli *c;
	char **words; /* the last is being typed */
	int n;
	char (*found)[WORD_MAX]; /* where candidates go; NULL: they are printed */
	unsigned n_found;
};

static void offer(struct typing *t, const char *word)
{
	const char *so_far = t->words[t->n - 1];
	if (strncmp(word, so_far, strlen(so_far)) != 0 || word[0] == '\0')
		return;
	if (t->found == NULL)
		puts(word);
	else if (t->n_found < FOUND_MAX && strlen(word) < WORD_MAX)
		memcpy(t->found[t->n_found++], word, strlen(word) + 1);
}

static void offer_all(struct typing *t, const char *const *list)
{
	for (; *list != NULL; list++)
		offer(t, *list);
}

/* The words of `text` between bars and blanks that begin with `first` (0: with a letter), as a usage line has them. */
static void offer_from_usage(struct typing *t, const char *text, char first, const char *end)
{
	char word[WORD_MAX];
	for (const char *p = text; *p != '\0' && (end == NULL || p < end);) {
		size_t len = strcspn(p, " []|…");
		bool fits = first == 0 ? islower((unsigned char)p[0]) : p[0] == first;
		if (len > 0 && len < sizeof(word) && fits) {
			memcpy(word, p, len);
			word[len] = '\0';
			offer(t, word);
		}
		p += len;
		p += strspn(p, " []|");
		if (strncmp(p, "…", sizeof("…") - 1) == 0)
			p += sizeof("…") - 1;
	}
}

/* Nobody is told when there is no daemon: then there are no names to offer. */
static json_t *list_of(struct typing *t, const char *method, const char *member)
{
	struct api_client *client;
	json_t *part, *all = json_array();
	if (api_client_open(t->c->socket, &client) != 0)
		return all;
	if (api_client_more(client, method, NULL, NULL) == 0) {
		int got = 1;
		while (got == 1 && (got = api_client_next(client, 2000, &part, NULL)) >= 0) {
			json_array_extend(all, json_object_get(part, member));
			json_decref(part);
		}
	}
	api_client_close(client);
	return all;
}

static void offer_members(struct typing *t, const char *method, const char *member, const char *what,
	const char *prefix)
{
	json_t *all = list_of(t, method, member), *one;
	size_t i;
	json_array_foreach(all, i, one)
	{
		char word[WORD_MAX];
		const char *s = json_string_value(json_object_get(one, what));
		if (s != NULL && snprintf(word, sizeof(word), "%s%s", prefix, s) < (int)sizeof(word))
			offer(t, word);
	}
	json_decref(all);
}

static void offer_apps(struct typing *t, const char *prefix)
{
	offer_members(t, "org.sekisho.Apps.List", "apps", "app", prefix);
}

static const char *const rule_verbs[] = { "allow", "deny", "drop", "ask", NULL };

/* What may follow in a rule (sekisho-rules(5)), by the word before; `from` is where its subject stands. */
static void complete_rule(struct typing *t, int from)
{
	static const char *const zones[] = { "any", "internet", "lan", "host", "peers", NULL };
	static const char *const ports[] = { "443/tcp", "80,443", "https", "http", "ssh", "dns", NULL };
	static const char *const until[] = { "exit", "logout", "reboot", NULL };
	static const char *const spans[] = { "10m", "1h", "8h", "1d", "1w", NULL };
	static const char *const days[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL };
	static const char *const clauses[] = { "to", "from", "port", "for", "until", "between", "on", "once", "log",
		"quiet", "note", NULL };
	const char *before = t->n - 2 >= from ? t->words[t->n - 2] : "";
	if (t->n - 1 == from) {
		offer(t, "any");
		offer_apps(t, "");
	} else if (strcmp(before, "to") == 0 || strcmp(before, "from") == 0) {
		offer_all(t, zones);
		offer_apps(t, "app:");
	} else if (strcmp(before, "port") == 0) {
		offer_all(t, ports);
	} else if (strcmp(before, "until") == 0) {
		offer_all(t, until);
	} else if (strcmp(before, "for") == 0) {
		offer_all(t, spans);
	} else if (strcmp(before, "on") == 0) {
		offer_all(t, days);
	} else if (before[0] != '\0' && strspn(before, "0123456789") == strlen(before)) {
		offer(t, "times");
	} else {
		for (unsigned i = 0; clauses[i] != NULL; i++) {
			bool used = false;
			for (int w = from; w < t->n - 1; w++)
				used = used || strcmp(t->words[w], clauses[i]) == 0 ||
				       (i < 2 && (strcmp(t->words[w], "to") == 0 || strcmp(t->words[w], "from") == 0));
			if (!used)
				offer(t, clauses[i]);
		}
	}
}

/* The choices behind an option, if the usage names them: "[--ask desk|deny]". */
static bool complete_value(struct typing *t, const struct command *k)
{
	const char *option = t->words[t->n - 2], *at = option[0] == '-' ? strstr(k->usage, option) : NULL;
	if (at == NULL || at[strlen(option)] != ' ')
		return false;
	at += strlen(option) + 1;
	offer_from_usage(t, at, 0, at + strcspn(at, " ]"));
	return true;
}

static void complete_words(struct typing *t, const struct command *k)
{
	/* Commands of commands come first in a usage, as "policy check|fmt FILE". */
	const char *first = k->usage + strlen(k->name);
	bool names_app = strstr(k->usage, " APP") != NULL || strstr(k->usage, "[APP]") != NULL ||
			 strstr(k->usage, " NAME") != NULL;
	if (t->words[t->n - 1][0] == '-') {
		offer_from_usage(t, k->usage, '-', NULL);
		offer(t, "--help");
		offer(t, "--json");
		return;
	}
	if (t->n == 2 && first[0] == ' ' && islower((unsigned char)first[1]))
		offer_from_usage(t, first + 1, 0, first + 1 + strcspn(first + 1, " ["));
	if (strcmp(k->name, "rules") == 0 && t->n == 2)
		offer(t, "rm");
	if (strcmp(k->name, "rules") == 0 && t->n > 2 && strcmp(t->words[1], "rm") == 0)
		offer_members(t, "org.sekisho.Rules.List", "rules", "rule_id", "");
	else if (strcmp(k->name, "list") == 0 && t->n == 2)
		offer_all(t, (const char *const[]){ "add", "rm", "show", "update", NULL });
	else if (strcmp(k->name, "list") == 0 && strcmp(t->words[1], "add") != 0)
		offer_members(t, "org.sekisho.Lists.List", "lists", "name", "");
	else if (strcmp(k->name, "image") == 0 && t->n == 2)
		offer_all(t, (const char *const[]){ "ls", "prepare", "rm", "prune", "reset", NULL });
	else if (strcmp(k->name, "image") == 0 ? t->n == 3 && strcmp(t->words[1], "reset") == 0
					       : names_app && t->n == 2)
		offer_apps(t, "");
}

static bool is_rule_verb(const char *word)
{
	return strcmp(word, "allow") == 0 || strcmp(word, "deny") == 0 || strcmp(word, "drop") == 0 ||
	       strcmp(word, "ask") == 0 || strcmp(word, "ask-rule") == 0;
}

static void complete(struct typing *t)
{
	static const char *const globals[] = { "--socket", "--json", "--owner", "--all", "--help", "--version", NULL };
	const struct command *list;
	unsigned n = cli_commands(&list);
	if (t->n == 1 || (t->n == 2 && strcmp(t->words[0], "help") == 0)) {
		for (unsigned i = 0; i < n; i++)
			offer(t, list[i].name);
		if (t->n == 1)
			offer(t, "help");
		if (t->words[0][0] == '-')
			offer_all(t, globals);
		return;
	}
	for (int i = 1; i < t->n - 1; i++) {
		if (strcmp(t->words[i], "--") == 0)
			return;
	}
	bool final = strcmp(t->words[0], "final") == 0;
	if (final && t->n == 2)
		offer_all(t, rule_verbs);
	else if (final)
		complete_rule(t, 2);
	else if (is_rule_verb(t->words[0]) && strcmp(t->words[0], "ask") != 0 && t->words[t->n - 1][0] != '-')
		complete_rule(t, 1);
	for (unsigned i = 0; i < n && !final; i++) {
		if (strcmp(list[i].name, t->words[0]) == 0 && list[i].run != cmd_rule && !complete_value(t, &list[i]))
			complete_words(t, &list[i]);
	}
}

int cmd_complete(struct cli *c, int argc, char **argv)
{
	struct typing t = { .c = c, .words = argv + 1, .n = argc - 1 };
	if (t.n > 0 && strcmp(t.words[0], "--") == 0) {
		t.words++;
		t.n--;
	}
	/* Options that stand before the command are not part of it. */
	while (t.n > 1 && t.words[0][0] == '-') {
		int skip = strcmp(t.words[0], "--socket") == 0 || strcmp(t.words[0], "--owner") == 0 ? 2 : 1;
		skip = skip < t.n ? skip : t.n - 1;
		t.words += skip;
		t.n -= skip;
	}
	if (t.n > 0)
		complete(&t);
	return EXIT_DONE;
}

/* How many characters all candidates have in common. */
static size_t common(const struct typing *t)
{
	size_t len = strlen(t->found[0]);
	for (unsigned i = 1; i < t->n_found; i++) {
		size_t k = 0;
		while (k < len && t->found[i][k] == t->found[0][k])
			k++;
		len = k;
	}
	return len;
}

unsigned cli_complete_line(struct cli *c, const char *line, char *ret, size_t cap)
{
	static char found[FOUND_MAX][WORD_MAX];
	static char empty[] = "";
	char copy[4096], *words[LINE_WORDS_MAX], *save = NULL;
	struct typing t = { .c = c, .words = words, .found = found };
	ret[0] = '\0';
	if ((size_t)snprintf(copy, sizeof(copy), "%s", line) >= sizeof(copy))
		return 0;
	for (char *w = strtok_r(copy, " ", &save); w != NULL && t.n < LINE_WORDS_MAX - 1;
		w = strtok_r(NULL, " ", &save))
		words[t.n++] = w;
	if (t.n == 0 || line[strlen(line) - 1] == ' ')
		words[t.n++] = empty;
	bool final = strcmp(words[0], "final") == 0;
	if (t.n == 1 || (final && t.n == 2))
		offer_all(&t, rule_verbs);
	else
		complete_rule(&t, final ? 2 : 1);
	if (t.n_found == 0)
		return 0;
	size_t typed = strlen(words[t.n - 1]);
	snprintf(ret, cap, "%.*s%s", (int)(common(&t) - typed), found[0] + typed, t.n_found == 1 ? " " : "");
	if (t.n_found > 1 && ret[0] == '\0') {
		putchar('\n');
		for (unsigned i = 0; i < t.n_found; i++)
			printf("  %s", found[i]);
		putchar('\n');
	}
	return t.n_found;
}

static const char bash_script[] =
	"# sekisho: completion for bash\n"
	"_sekisho() {\n"
	"\tlocal line=${COMP_LINE:0:COMP_POINT} words cur IFS=$' \\t\\n'\n"
	"\tread -ra words <<<\"$line\"\n"
	"\t[[ $line == *[[:blank:]] ]] && words+=('')\n"
	"\tcur=${words[${#words[@]}-1]}\n"
	"\tIFS=$'\\n'\n"
	"\tCOMPREPLY=($(sekisho complete -- \"${words[@]:1}\" 2>/dev/null))\n"
	"\t[ ${#COMPREPLY[@]} -gt 0 ] || { compopt -o default 2>/dev/null; return; }\n"
	"\t# bash takes a colon for the end of a word\n"
	"\t[[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && COMPREPLY=(\"${COMPREPLY[@]#\"${cur%\"${cur##*:}\"}\"}\")\n"
	"}\n"
	"complete -F _sekisho sekisho\n";

static const char zsh_script[] =
	"#compdef sekisho\n"
	"# sekisho: completion for zsh\n"
	"_sekisho() {\n"
	"\tlocal -a found\n"
	"\tfound=(${(f)\"$(sekisho complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n"
	"\tif (( $#found )); then compadd -- $found; else _files; fi\n"
	"}\n"
	"if [ \"$funcstack[1]\" = _sekisho ]; then _sekisho \"$@\"; else compdef _sekisho sekisho; fi\n";

static const char fish_script[] = "# sekisho: completion for fish\n"
				  "function __sekisho_complete\n"
				  "\tset -l words (commandline -opc)\n"
				  "\tset -l found (sekisho complete -- $words[2..-1] (commandline -ct) 2>/dev/null)\n"
				  "\tif count $found >/dev/null\n"
				  "\t\tprintf '%s\\n' $found\n"
				  "\telse\n"
				  "\t\t__fish_complete_path (commandline -ct)\n"
				  "\tend\n"
				  "end\n"
				  "complete -c sekisho -f -a '(__sekisho_complete)'\n";

int cmd_completion(struct cli *c, int argc, char **argv)
{
	(void)c;
	const char *shell = argc == 2 ? argv[1] : "";
	const char *script = strcmp(shell, "bash") == 0 ? bash_script
			   : strcmp(shell, "zsh") == 0	? zsh_script
			   : strcmp(shell, "fish") == 0 ? fish_script
							: NULL;
	if (script == NULL)
		return cli_usage("completion", "bash, zsh or fish is needed");
	fputs(script, stdout);
	return EXIT_DONE;
}
