/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"
#include "policy/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A list that this command defined has a file of its own among the policy files. */
static void own_file(const char *name, char *buf, size_t cap)
{
	snprintf(buf, cap, "list-%s.rules", name);
}

static int write_definition(const char *path, int n, char **words)
{
	FILE *f = fopen(path, "wxe");
	if (f == NULL)
		return -errno;
	fprintf(f, "list %s from \"%s\"", words[0], words[1]);
	if (n == 4)
		fprintf(f, " every %s", words[3]);
	fputc('\n', f);
	int err = ferror(f) != 0 ? -EIO : 0;
	return fclose(f) != 0 && err == 0 ? -errno : err;
}

/* NAME SOURCE [every TIME]: the words of a policy file's line. */
static int list_add(struct cli *c, int n, char **words)
{
	char dir[] = "/tmp/sekisho-list-XXXXXX", name[POLICY_TOKEN_MAX + 16], path[sizeof(dir) + sizeof(name)];
	if ((n != 2 && n != 4) || (n == 4 && strcmp(words[2], "every") != 0))
		return cli_usage("list",
			"add takes a name, an https address or a file and, if you like, \"every\" and a time");
	if (!policy_token_ok(words[0], strlen(words[0])))
		return cli_usage("list", "\"%.80s\" is no name for a list: a-z, 0-9 and . _ + -, at most %d", words[0],
			POLICY_TOKEN_MAX);
	if (strpbrk(words[1], "\"\\\n") != NULL || (n == 4 && strpbrk(words[3], " \n") != NULL))
		return cli_usage("list", "a source is an https address or the path of a file");
	if (mkdtemp(dir) == NULL) {
		cli_error("cannot make a folder in /tmp: %s", strerror(errno));
		return EXIT_FAILED;
	}
	own_file(words[0], name, sizeof(name));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int err = write_definition(path, n, words), code = EXIT_FAILED;
	if (err != 0)
		cli_error("cannot write %s: %s", path, strerror(-err));
	else
		code = policy_apply(c, path, false);
	unlink(path);
	rmdir(dir);
	return code;
}

static int list_rm(struct cli *c, int n, char **words)
{
	char name[POLICY_TOKEN_MAX + 16];
	if (n != 1 || !policy_token_ok(words[0], strlen(words[0])))
		return cli_usage("list", "rm takes the name of a list");
	own_file(words[0], name, sizeof(name));
	int code = policy_withdraw(c, name);
	if (code == EXIT_NOTHING)
		cli_error(
			"only what \"list add\" defined is taken away so: another list's line stands in a policy file of yours");
	return code;
}

int cmd_list(struct cli *c, int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "add") == 0)
		return list_add(c, argc - 2, argv + 2);
	if (argc > 1 && strcmp(argv[1], "rm") == 0)
		return list_rm(c, argc - 2, argv + 2);
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
