/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

static json_t *named(const struct cli *c, const char *app)
{
	return json_pack("{s:s, s:s?}", "app", app, "owner", c->owner);
}

int cmd_attach(struct cli *c, int argc, char **argv)
{
	const char *app = NULL, *port = NULL, *mac = NULL, *ask = NULL;
	for (int i = 1; i < argc; i++) {
		const char **to = strcmp(argv[i], "--port") == 0 ? &port
				: strcmp(argv[i], "--mac") == 0	 ? &mac
				: strcmp(argv[i], "--ask") == 0	 ? &ask
								 : NULL;
		if (to != NULL && i + 1 < argc)
			*to = argv[++i];
		else if (argv[i][0] != '-' && app == NULL)
			app = argv[i];
		else
			return cli_usage("attach", "\"%s\" is not expected here", argv[i]);
	}
	if (app == NULL || port == NULL)
		return cli_usage("attach", "an application and --port IFACE are needed");
	if (ask != NULL && strcmp(ask, "desk") != 0 && strcmp(ask, "deny") != 0 && strcmp(ask, "rehearse") != 0)
		return cli_usage("attach", "--ask is desk, deny or rehearse");
	json_t *params = named(c, app), *reply;
	json_object_set_new(params, "port", json_string(port));
	json_object_set_new(params, "mac", mac == NULL ? json_null() : json_string(mac));
	json_object_set_new(params, "ask", ask == NULL ? json_null() : json_string(ask));
	int code = cli_call(c, "org.sekisho.Apps.Attach", params, &reply);
	if (code != 0)
		return code;
	if (json_is_true(json_object_get(reply, "already")))
		cli_error("%s is attached to %s already", app, port);
	if (c->json) {
		cli_print_json(reply);
	} else {
		static const char *const members[] = { "mac", "ipv4", "ipv4_prefix", "ipv4_gateway", "ipv6",
			"ipv6_prefix", "ipv6_gateway" };
		char text[256];
		for (unsigned i = 0; i < sizeof(members) / sizeof(members[0]); i++)
			printf("%-13s %s\n", members[i], cli_text(reply, members[i], text, sizeof(text)));
		size_t k;
		json_t *v;
		json_array_foreach(json_object_get(reply, "dns"), k, v)
			printf("%-13s %s\n", "dns", json_string_value(v));
	}
	json_decref(reply);
	return EXIT_DONE;
}

static int simple(struct cli *c, int argc, char **argv, const char *method)
{
	if (argc != 2 || argv[1][0] == '-')
		return cli_usage(argv[0], "one application is needed");
	return cli_call(c, method, named(c, argv[1]), NULL);
}

int cmd_detach(struct cli *c, int argc, char **argv)
{
	return simple(c, argc, argv, "org.sekisho.Apps.Detach");
}

int cmd_freeze(struct cli *c, int argc, char **argv)
{
	return simple(c, argc, argv, "org.sekisho.Apps.Freeze");
}

int cmd_thaw(struct cli *c, int argc, char **argv)
{
	return simple(c, argc, argv, "org.sekisho.Apps.Thaw");
}

int cmd_stop(struct cli *c, int argc, char **argv)
{
	return simple(c, argc, argv, "org.sekisho.Apps.Stop");
}

/* What it may write of its owner's. */
static const char *writes(const json_t *app, char *buf, size_t cap)
{
	const char *home = json_string_value(json_object_get(app, "home"));
	const json_t *rw = json_object_get(app, "rw"), *dir;
	char all[2048];
	size_t i, at = 0;
	all[0] = '\0';
	json_array_foreach(rw, i, dir)
	{
		int n = snprintf(all + at, sizeof(all) - at, "%s%s", at > 0 ? "," : "", json_string_value(dir));
		at += n > 0 && (size_t)n < sizeof(all) - at ? (size_t)n : 0;
	}
	if (home != NULL)
		snprintf(all + at, sizeof(all) - at, "%shome:%s", at > 0 ? "," : "", home);
	return all[0] == '\0' ? "-" : text_escape(all, strlen(all), buf, cap);
}

int cmd_ps(struct cli *c, int argc, char **argv)
{
	static const char *const columns[] = { "APP", "OWNER", "KIND", "STATE", "PORT", "IPV4", "STARTED", "WRITES",
		NULL };
	static const char *const members[] = { "app", "owner", "kind", "state", "port", "ipv4", "started" };
	json_t *apps, *app;
	if (argc != 1)
		return cli_usage("ps", "\"%s\" is not expected here", argv[1]);
	int code = cli_list(c, "org.sekisho.Apps.List", json_pack("{s:b, s:s?}", "all", c->all, "owner", c->owner),
		"apps", &apps);
	if (code != 0)
		return code;
	struct table *t = c->json ? NULL : table_new(columns);
	size_t i;
	json_array_foreach(apps, i, app)
	{
		char text[2 * 2048];
		if (c->json)
			cli_print_json(app);
		for (unsigned k = 0; k < sizeof(members) / sizeof(members[0]); k++)
			table_cell(t, (strcmp(members[k], "started") == 0 ? cli_time : cli_text)(app, members[k], text,
					      sizeof(text)));
		table_cell(t, writes(app, text, sizeof(text)));
	}
	table_print(t);
	json_decref(apps);
	return EXIT_DONE;
}
