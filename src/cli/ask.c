/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACK_PATIENCE_MS = 120000, PAUSE_MS = 200 };

/* Takes `client` over. */
static int serve_on(const struct cli *c, struct api_client *client, struct api_client **ret, json_t **ret_snapshot,
	struct api_error *reterr)
{
	int err = api_client_more(client, "org.sekisho.Questions.Serve", json_pack("{s:b}", "inbox", c->inbox), reterr);
	while (err == 0 || err == -EAGAIN) {
		err = api_client_next(client, -1, ret_snapshot, reterr);
		if (err == 1) {
			*ret = client;
			return 0;
		}
	}
	api_client_close(client);
	return err;
}

int ask_open(struct cli *c, struct api_client **ret, json_t **ret_snapshot)
{
	struct api_error e = { .exit_code = EXIT_FAILED };
	int code = EXIT_FAILED;
	struct api_client *client = cli_connect(c, &code);
	if (client == NULL)
		return code;
	return serve_on(c, client, ret, ret_snapshot, &e) == 0 ? 0 : cli_say_error(&e);
}

/* A desk that has just started is there but does not serve yet. */
static bool may_come_back(int err, const struct api_error *e)
{
	return err != -EREMOTEIO || strcmp(e->name, "org.sekisho.Failed") == 0;
}

int ask_reopen(struct cli *c, struct api_client **ret, json_t **ret_snapshot)
{
	fputs("sekisho: the daemon closed the connection; waiting for it to come back\n", stderr);
	for (int waited = 0;; waited += PAUSE_MS) {
		struct api_error e = { .exit_code = EXIT_DAEMON };
		struct pollfd input = { .fd = STDIN_FILENO };
		struct api_client *client;
		int err = api_client_open(c->socket, &client);
		if (err == 0)
			err = serve_on(c, client, ret, ret_snapshot, &e);
		if (err == 0)
			return 0;
		if (!may_come_back(err, &e) || waited >= BACK_PATIENCE_MS)
			return cli_say_error(&e);
		api_error_fini(&e);
		/* Whoever was to answer may have gone meanwhile. */
		if (poll(&input, 1, PAUSE_MS) > 0)
			return EXIT_DAEMON;
	}
}

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
		else if (strcmp(argv[i], "--inbox") == 0)
			c->inbox = true;
		else
			return cli_usage("ask", "\"%s\" is not expected here", argv[i]);
	}
	return c->json ? ask_json(c, once) : ask_terminal(c, once);
}
