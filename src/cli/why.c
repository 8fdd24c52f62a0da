/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { FILES_MAX = 64 };

static json_t *why_params(const struct cli *c, const char *app, const struct cli_peer *p, bool inbound, const char *at)
{
	json_t *o = json_pack("{s:s, s:s?, s:b, s:s?}", "app", app, "owner", c->owner, "from", inbound, "at", at);
	if (p->name[0] != '\0')
		json_object_set_new(o, "name", json_string(p->name));
	if (p->address[0] != '\0')
		json_object_set_new(o, "address", json_string(p->address));
	if (p->app[0] != '\0')
		json_object_set_new(o, "peer_app", json_string(p->app));
	if (p->port >= 0)
		json_object_set_new(o, "port", json_integer(p->port));
	if (p->protocol[0] != '\0')
		json_object_set_new(o, "protocol", json_string(p->protocol));
	return o;
}

static void side_print(const struct cli *c, const json_t *side)
{
	char text[4200], origin[32];
	json_t *m;
	size_t i;
	cli_text(side, "verdict", text, sizeof(text));
	printf("%s%s%s", cli_paint(c, text), text, cli_plain(c));
	cli_text(side, "origin", origin, sizeof(origin));
	if (json_is_string(json_object_get(side, "rule")))
		printf("  by  %s  (%s)\n", cli_text(side, "rule", text, sizeof(text)), origin);
	else if (strcmp(origin, "floor") == 0 || strcmp(origin, "default") == 0)
		printf("  by the built-in %s\n", origin);
	else
		printf("  by a rule of somebody else's  (%s)\n", origin);
	json_array_foreach(json_object_get(side, "matched"), i, m)
	{
		json_t *rank = json_object_get(m, "rank");
		printf("  matched  %s  (%s) rank", cli_text(m, "rule", text, sizeof(text)),
			cli_text(m, "origin", origin, sizeof(origin)));
		for (size_t k = 0; k < json_array_size(rank); k++)
			printf(" %lld", (long long)json_integer_value(json_array_get(rank, k)));
		if (json_is_string(json_object_get(m, "entry")))
			printf("; its entry %s", cli_text(m, "entry", text, sizeof(text)));
		putchar('\n');
	}
}

void why_print(const struct cli *c, const json_t *reply)
{
	char app[160];
	const json_t *other = json_object_get(reply, "receiver");
	if (c->json) {
		cli_print_json(reply);
		return;
	}
	side_print(c, reply);
	if (json_is_object(other)) {
		printf("at %s: ", cli_app(other, app, sizeof(app)));
		side_print(c, other);
	}
}

static int why_daemon(struct cli *c, const char *app, const char *peer, bool inbound, const char *at)
{
	struct cli_peer p;
	json_t *reply;
	int code = why_valid(app, peer, inbound, at);
	if (code != 0 || !cli_peer_parse(peer, &p))
		return code != 0 ? code : EXIT_USAGE;
	code = cli_call(c, "org.sekisho.Rules.Why", why_params(c, app, &p, inbound, at), &reply);
	if (code != 0)
		return code;
	why_print(c, reply);
	json_decref(reply);
	return EXIT_DONE;
}

struct why_args {
	const char *files[FILES_MAX], *at;
	size_t n_files;
	bool inbound;
};

static int why_one(struct cli *c, const struct why_args *a, const char *app, const char *peer, bool inbound)
{
	if (a->n_files > 0)
		return why_offline(c, a->files, a->n_files, a->at, inbound, app, peer);
	return why_daemon(c, app, peer, inbound, a->at);
}

/* "APP PEER [--from]" a line. */
static int why_stdin(struct cli *c, const struct why_args *a)
{
	char line[2048], app[128], peer[1600], flag[16];
	int worst = EXIT_DONE;
	while (fgets(line, sizeof(line), stdin) != NULL) {
		int n = sscanf(line, "%127s %1599s %15s", app, peer, flag);
		if (n <= 0)
			continue;
		int code = n < 2 ? cli_usage("why", "a line is: APP PEER[:PORT[/PROTO]] [--from]")
				 : why_one(c, a, app, peer, a->inbound || (n == 3 && strcmp(flag, "--from") == 0));
		/* A line is answered by a line, so that a program can count. */
		if (code != EXIT_DONE && c->json)
			puts("{\"error\":\"the line cannot be answered\"}");
		fflush(stdout);
		if (code != EXIT_DONE)
			worst = code;
	}
	return worst;
}

int cmd_why(struct cli *c, int argc, char **argv)
{
	struct why_args a = { 0 };
	const char *word[2] = { NULL, NULL };
	unsigned n = 0;
	for (int i = 1; i < argc; i++) {
		if ((strcmp(argv[i], "--policy") == 0 || strcmp(argv[i], "--at") == 0) && i + 1 == argc)
			return cli_usage("why", "%s needs a value", argv[i]);
		if (strcmp(argv[i], "--policy") == 0 && a.n_files == FILES_MAX)
			return cli_usage("why", "at most %d policy files", FILES_MAX);
		if (strcmp(argv[i], "--policy") == 0)
			a.files[a.n_files++] = argv[++i];
		else if (strcmp(argv[i], "--at") == 0)
			a.at = argv[++i];
		else if (strcmp(argv[i], "--from") == 0)
			a.inbound = true;
		else if (n < 2 && (argv[i][0] != '-' || strcmp(argv[i], "-") == 0))
			word[n++] = argv[i];
		else
			return cli_usage("why", "\"%s\" is not expected here", argv[i]);
	}
	if (n == 1 && strcmp(word[0], "-") == 0)
		return why_stdin(c, &a);
	if (n != 2)
		return cli_usage("why", "an application and a destination are needed");
	return why_one(c, &a, word[0], word[1], a.inbound);
}
