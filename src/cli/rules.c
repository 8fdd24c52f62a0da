/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "policy/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The words of the command line as one rule line: an argument with blanks is one STRING (policy.md). One
 * with "#" too: as a comment it would hide the words after it. */
static bool join(int argc, char **argv, char *line, size_t cap)
{
	size_t at = 0;
	for (int i = 0; i < argc; i++) {
		const char *word = i == 0 && strcmp(argv[0], "ask-rule") == 0 ? "ask" : argv[i];
		bool quote = strpbrk(word, " \t#") != NULL || word[0] == '\0';
		if (at > 0 && at + 1 < cap)
			line[at++] = ' ';
		if (quote && at + 1 < cap)
			line[at++] = '"';
		for (const char *p = word; *p != '\0' && at + 3 < cap; p++) {
			if (quote && (*p == '"' || *p == '\\'))
				line[at++] = '\\';
			line[at++] = *p;
		}
		if (quote && at + 1 < cap)
			line[at++] = '"';
		if (at + 4 >= cap)
			return false;
	}
	line[at] = '\0';
	return true;
}

static int bad_line(const char *line, const struct policy_diag *d)
{
	cli_error("%s", d->message);
	cli_caret(line, strlen(line), d->offset);
	return EXIT_USAGE;
}

/* What the daemon alone can know to be wrong with a line, such as a group that nobody defines, has a place in it, too.
 */
static int say_refused(const char *line, struct api_error *e)
{
	long long col = e->params == NULL ? 0 : cli_number(e->params, "column", 0);
	int code = cli_say_error(e);
	size_t at = 0, len = strlen(line);
	for (; col > 1 && at < len; col--) {
		at++;
		while (at < len && ((unsigned char)line[at] & 0xc0) == 0x80)
			at++;
	}
	if (col == 1)
		cli_caret(line, len, at);
	return code;
}

static int rule_add(const struct cli *c, const char *line, json_t **ret)
{
	struct api_error e;
	json_t *params = json_pack("{s:[s], s:s?}", "rules", line, "owner", c->owner);
	int code = cli_try(c, "org.sekisho.Rules.Add", params, ret, &e);
	return code == 0 || e.exit_code == 0 ? code : say_refused(line, &e);
}

int cmd_rule(struct cli *c, int argc, char **argv)
{
	char line[POLICY_TEXT_MAX];
	struct policy_rule rule;
	struct policy_diag diag = { .col = 1 };
	if (argc < 2)
		return cli_usage(argv[0], "a rule needs at least an application");
	if (!join(argc, argv, line, sizeof(line)))
		return cli_usage(argv[0], "a rule has at most %d bytes", POLICY_TEXT_MAX - 1);
	/* Read here first: the caret can then point into what was typed. The daemon reads it again. */
	if (policy_parse_rule(line, strlen(line), &rule, &diag) != 0)
		return bad_line(line, &diag);
	policy_rule_fini(&rule);
	json_t *reply, *added;
	int code = rule_add(c, line, &reply);
	if (code != 0)
		return code;
	size_t i;
	json_array_foreach(json_object_get(reply, "added"), i, added)
	{
		char id[80], text[4200], note[512];
		if (c->json) {
			cli_print_json(added);
			continue;
		}
		printf("%.8s  %s\n", cli_text(added, "rule_id", id, sizeof(id)),
			cli_text(added, "rule", text, sizeof(text)));
		if (json_is_string(json_object_get(added, "note")))
			fprintf(stderr, "sekisho: %s\n", cli_text(added, "note", note, sizeof(note)));
		else if (json_is_string(json_object_get(added, "replaced")))
			fprintf(stderr, "sekisho: replaces: %s\n", cli_text(added, "replaced", text, sizeof(text)));
	}
	if (json_is_false(json_object_get(reply, "in_force")))
		fputs("sekisho: stored; the switch is away just now, the rule is in force before anything new passes\n",
			stderr);
	json_decref(reply);
	return EXIT_DONE;
}

static int rules_rm(struct cli *c, int argc, char **argv)
{
	json_t *ids = json_array(), *reply, *rule;
	if (argc < 1)
		return cli_usage("rules", "rules rm needs at least one id");
	for (int i = 0; i < argc; i++)
		json_array_append_new(ids, json_string(argv[i]));
	int code = cli_call(c, "org.sekisho.Rules.Remove", json_pack("{s:o}", "ids", ids), &reply);
	if (code != 0)
		return code;
	size_t i;
	json_array_foreach(json_object_get(reply, "removed"), i, rule)
	{
		char text[4200];
		if (c->json)
			cli_print_json(rule);
		else
			printf("removed  %s\n", cli_text(rule, "rule", text, sizeof(text)));
	}
	json_decref(reply);
	return EXIT_DONE;
}

static void life_text(const json_t *rule, char *buf, size_t cap)
{
	char text[64];
	if (json_is_string(json_object_get(rule, "ended")))
		snprintf(buf, cap, "ended: %s", cli_text(rule, "reason", text, sizeof(text)));
	else if (json_is_integer(json_object_get(rule, "times_left")))
		snprintf(buf, cap, "%lld left", cli_number(rule, "times_left", 0));
	else if (json_is_string(json_object_get(rule, "deadline")))
		snprintf(buf, cap, "until %s", cli_time(rule, "deadline", text, sizeof(text)));
	else
		snprintf(buf, cap, "-");
}

/* What stands in the way of a rule, below the table. */
static void rules_notes(const struct cli *c, const json_t *rules)
{
	const json_t *rule;
	size_t i;
	json_array_foreach(rules, i, rule)
	{
		char id[80], note[512];
		if (!c->json && json_is_string(json_object_get(rule, "note")))
			printf("%.8s: %s\n", cli_text(rule, "rule_id", id, sizeof(id)),
				cli_text(rule, "note", note, sizeof(note)));
	}
}

static int rules_list(struct cli *c, const char *app, bool ended, long long unused_s)
{
	static const char *const columns[] = { "ID", "ORIGIN", "LIFE", "RULE", NULL };
	static const char *const of_all[] = { "ID", "ORIGIN", "OWNER", "LIFE", "RULE", NULL };
	json_t *rules, *rule;
	json_t *params = json_pack("{s:s?, s:b, s:b, s:s?, s:b}", "app", app, "ended", ended, "all", c->all, "owner",
		c->owner, "brief", !c->json);
	if (unused_s > 0)
		json_object_set_new(params, "unused", json_integer(unused_s));
	int code = cli_list(c, "org.sekisho.Rules.List", params, "rules", &rules);
	if (code != 0)
		return code;
	struct table *t = c->json ? NULL : table_new(c->all ? of_all : columns);
	size_t i;
	json_array_foreach(rules, i, rule)
	{
		char id[80], origin[32], life[96], text[4200];
		if (c->json) {
			cli_print_json(rule);
			continue;
		}
		cli_text(rule, "rule_id", id, sizeof(id));
		id[8] = '\0';
		life_text(rule, life, sizeof(life));
		table_cell(t, id);
		table_cell(t, cli_text(rule, "origin", origin, sizeof(origin)));
		if (c->all)
			table_cell(t, cli_text(rule, "owner", id, sizeof(id)));
		table_cell(t, life);
		/* The last column is not padded, so the terminal's own words do no harm in it. */
		bool struck = c->colour && json_is_string(json_object_get(rule, "ended"));
		size_t at = (size_t)snprintf(text, sizeof(text), "%s", struck ? "\033[9m" : "");
		cli_text(rule, "rule", text + at, sizeof(text) - at - sizeof("\033[0m"));
		if (struck)
			strcat(text, "\033[0m");
		table_cell(t, text);
	}
	table_print(t);
	rules_notes(c, rules);
	json_decref(rules);
	return EXIT_DONE;
}

/* "30d" */
static bool seconds(const char *text, long long *ret)
{
	static const char units[] = "smhdw";
	static const long long of[] = { 1, 60, 3600, 86400, 604800 };
	char *end;
	long long n = strtoll(text, &end, 10);
	const char *unit = *end == '\0' ? NULL : strchr(units, *end);
	if (end == text || unit == NULL || end[1] != '\0' || n < 1 || n > 100000)
		return false;
	*ret = n * of[unit - units];
	return true;
}

int cmd_rules(struct cli *c, int argc, char **argv)
{
	const char *app = NULL;
	bool ended = false;
	long long unused = 0;
	if (argc >= 2 && strcmp(argv[1], "rm") == 0)
		return rules_rm(c, argc - 2, argv + 2);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--ended") == 0)
			ended = true;
		else if (strcmp(argv[i], "--unused") == 0 && i + 1 < argc && seconds(argv[i + 1], &unused))
			i++;
		else if (strcmp(argv[i], "--unused") == 0)
			return cli_usage("rules", "--unused takes a duration such as 12h, 30d or 4w");
		else if (argv[i][0] != '-' && app == NULL)
			app = argv[i];
		else
			return cli_usage("rules", "\"%s\" is not expected here", argv[i]);
	}
	return rules_list(c, app, ended, unused);
}
