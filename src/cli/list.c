/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_one(const json_t *l)
{
	static const char *const members[] = { "name", "source", "every_s", "state", "names", "networks", "left_out",
		"fetched", "next", "said" };
	char text[1200];
	for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		bool time = strcmp(members[i], "fetched") == 0 || strcmp(members[i], "next") == 0;
		printf("%-9s %s\n", members[i], (time ? cli_time : cli_text)(l, members[i], text, sizeof(text)));
	}
	if (!json_is_true(json_object_get(l, "loaded")))
		puts("          nobody knows its members yet: what refuses it refuses everything");
}

static void print_all(const json_t *lists)
{
	static const char *const columns[] = { "NAME", "STATE", "NAMES", "NETWORKS", "FETCHED", "NEXT", "SOURCE",
		NULL };
	static const char *const members[] = { "name", "state", "names", "networks", "fetched", "next", "source" };
	struct table *t = table_new(columns);
	const json_t *l;
	size_t i;
	json_array_foreach(lists, i, l)
	{
		char text[1200];
		for (unsigned k = 0; k < sizeof(members) / sizeof(members[0]); k++) {
			bool time = strcmp(members[k], "fetched") == 0 || strcmp(members[k], "next") == 0;
			table_cell(t, (time ? cli_time : cli_text)(l, members[k], text, sizeof(text)));
		}
	}
	table_print(t);
	json_array_foreach(lists, i, l)
	{
		char name[80], said[1200];
		if (strcmp(cli_text(l, "state", said, sizeof(said)), "good") != 0)
			fprintf(stderr, "sekisho: list %s: %s\n", cli_text(l, "name", name, sizeof(name)),
				json_is_string(json_object_get(l, "said")) ? cli_text(l, "said", said, sizeof(said))
									   : "not fetched yet");
	}
}

/* Failed, if one that was to be shown is. */
static int print(const struct cli *c, const json_t *lists, const char *name, bool judge)
{
	const json_t *l;
	size_t i;
	bool found = false, bad = false;
	json_array_foreach(lists, i, l)
	{
		char own[80], state[16];
		bool is = name == NULL || strcmp(cli_text(l, "name", own, sizeof(own)), name) == 0;
		found = found || is;
		bad = bad || (is && strcmp(cli_text(l, "state", state, sizeof(state)), "good") != 0);
		if (is && c->json)
			cli_print_json(l);
		else if (is && name != NULL)
			print_one(l);
	}
	if (name == NULL && !c->json)
		print_all(lists);
	if (name != NULL && !found) {
		cli_error("there is no list \"%s\"", name);
		return EXIT_NOTHING;
	}
	return judge && bad ? EXIT_FAILED : EXIT_DONE;
}

int cmd_list(struct cli *c, int argc, char **argv)
{
	bool update = argc > 1 && strcmp(argv[1], "update") == 0, show = argc > 1 && strcmp(argv[1], "show") == 0;
	const char *name = argc > 2 ? argv[2] : NULL;
	if ((argc > 1 && !update && !show) || argc > 3 || (show && name == NULL))
		return cli_usage("list", "\"%s\" is not expected here", argv[argc - 1]);
	json_t *reply;
	int code = update ? cli_call(c, "org.sekisho.Lists.Update", json_pack("{s:s?}", "name", name), &reply)
			  : cli_call(c, "org.sekisho.Lists.List", NULL, &reply);
	if (code != 0)
		return code;
	code = print(c, json_object_get(reply, "lists"), name, update);
	json_decref(reply);
	return code;
}
