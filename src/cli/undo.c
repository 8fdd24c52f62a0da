/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { UNDO_MAX = 100 };

static void print_lines(const json_t *undone, const char *member, const char *word)
{
	const json_t *line;
	size_t i;
	json_array_foreach(json_object_get(undone, member), i, line)
	{
		char text[4300];
		json_t *one = json_pack("{s:O}", "line", line);
		printf("%-9s %s\n", word, cli_text(one, "line", text, sizeof(text)));
		json_decref(one);
	}
}

static void print_undone(const json_t *u)
{
	char time[40], by[80];
	printf("change %lld of %s by %s\n", cli_number(u, "change", 0), cli_time(u, "time", time, sizeof(time)),
		cli_text(u, "by", by, sizeof(by)));
	print_lines(u, "removed", "removed");
	print_lines(u, "restored", "restored");
	print_lines(u, "notes", "note");
}

int cmd_undo(struct cli *c, int argc, char **argv)
{
	long count = 1;
	bool dry = false, counted = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--dry-run") == 0)
			dry = true;
		else if (!counted && cli_integer(argv[i], 1, UNDO_MAX, &count))
			counted = true;
		else
			return cli_usage("undo", "\"%s\" is no number of changes, 1 to %d", argv[i], UNDO_MAX);
	}
	json_t *reply, *u;
	int code = cli_call(c, "org.sekisho.Rules.Undo",
		json_pack("{s:i, s:b, s:b}", "count", (int)count, "all", c->all, "dry", dry), &reply);
	if (code != 0)
		return code;
	size_t i;
	json_array_foreach(json_object_get(reply, "undone"), i, u)
	{
		if (c->json)
			cli_print_json(u);
		else
			print_undone(u);
	}
	if (dry)
		fputs("sekisho: nothing was undone; leave --dry-run away to do it\n", stderr);
	json_decref(reply);
	return EXIT_DONE;
}
