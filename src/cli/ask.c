/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <string.h>

int ask_answer(struct cli *c, const char *id, const char *digest, const char *rule, json_t **ret,
	struct api_error *reterr)
{
	struct api_client *client;
	int err = api_client_open(c->socket, &client);
	if (err != 0) {
		*reterr = (struct api_error){ .text = "the daemon is gone", .exit_code = EXIT_DAEMON };
		return err;
	}
	json_t *params = json_pack("{s:s, s:s}", "id", id, "digest", digest);
	if (rule != NULL)
		json_object_set_new(params, "rule", json_string(rule));
	else
		json_object_set_new(params, "later", json_true());
	err = api_client_call(client, "org.sekisho.Questions.Answer", params, ret, reterr);
	api_client_close(client);
	return err;
}

int cmd_ask(struct cli *c, int argc, char **argv)
{
	bool once = false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--once") == 0)
			once = true;
		else
			return cli_usage("ask", "\"%s\" is not expected here", argv[i]);
	}
	int code = EXIT_FAILED;
	struct api_error e = { .exit_code = EXIT_FAILED };
	struct api_client *serve = cli_connect(c, &code);
	if (serve == NULL)
		return code;
	if (api_client_more(serve, "org.sekisho.Questions.Serve", NULL, &e) != 0)
		code = cli_say_error(&e);
	else
		code = c->json ? ask_json(c, serve, once) : ask_terminal(c, serve, once);
	api_client_close(serve);
	return code;
}
