/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <string.h>

struct api_client *cli_connect(const struct cli *c, int *ret_exit)
{
	struct api_client *client;
	int err = api_client_open(c->socket, &client);
	if (err == 0)
		return client;
	*ret_exit = EXIT_DAEMON;
	if (err == -ENOENT || err == -ECONNREFUSED)
		cli_error("no daemon listens on %s (start it: systemctl start sekishod, or sekishod as root)",
			c->socket);
	else
		cli_error("cannot reach the daemon on %s: %s", c->socket, strerror(-err));
	return NULL;
}

int cli_say_error(struct api_error *e)
{
	cli_error("%s", e->text[0] != '\0'   ? e->text
			: e->name[0] != '\0' ? e->name
					     : "the daemon closed the connection");
	int code = e->exit_code;
	api_error_fini(e);
	return code == 0 ? EXIT_FAILED : code;
}

int cli_try(const struct cli *c, const char *method, json_t *params, json_t **ret, struct api_error *reterr)
{
	int code = EXIT_FAILED;
	struct api_client *client = cli_connect(c, &code);
	*reterr = (struct api_error){ .exit_code = 0 };
	if (client == NULL) {
		json_decref(params);
		return code;
	}
	int err = api_client_call(client, method, params, ret, reterr);
	api_client_close(client);
	return err == 0 ? 0 : reterr->exit_code == 0 ? EXIT_FAILED : reterr->exit_code;
}

int cli_call(const struct cli *c, const char *method, json_t *params, json_t **ret)
{
	struct api_error e;
	int code = cli_try(c, method, params, ret, &e);
	return code == 0 || e.exit_code == 0 ? code : cli_say_error(&e);
}

/* One part of a list: what came before a fresh beginning is forgotten. */
static void part_take(json_t *all, const json_t *part, const char *member)
{
	if (json_is_true(json_object_get(part, "first")))
		json_array_clear(all);
	json_array_extend(all, json_object_get(part, member));
}

int cli_list(const struct cli *c, const char *method, json_t *params, const char *member, json_t **ret)
{
	int code = EXIT_FAILED;
	struct api_error e = { .exit_code = EXIT_FAILED };
	struct api_client *client = cli_connect(c, &code);
	if (client == NULL) {
		json_decref(params);
		return code;
	}
	json_t *all = json_array();
	int got = api_client_more(client, method, params, &e);
	for (bool more = got == 0; more;) {
		json_t *part;
		got = api_client_next(client, -1, &part, &e);
		more = got == 1 || got == -EAGAIN;
		if (got < 0)
			continue;
		part_take(all, part, member);
		json_decref(part);
	}
	api_client_close(client);
	if (got < 0) {
		json_decref(all);
		return cli_say_error(&e);
	}
	*ret = all;
	return 0;
}
