/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "api/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* sekisho(1). Data on stdout, the rest on stderr; whatever came from outside is escaped before a terminal sees it. */
enum cli_exit {
	EXIT_DONE,
	EXIT_FAILED,
	EXIT_USAGE,
	EXIT_NOTHING,
	EXIT_DENIED,
	EXIT_CHANGED,
	EXIT_DAEMON,
	EXIT_PROBLEMS
};

struct cli {
	const char *socket;
	bool json, colour, all;
	bool inbox;	   /* ask: what nobody answered in time, too */
	const char *owner; /* --owner, NULL: the caller */
};

struct command {
	const char *name;
	int (*run)(struct cli *c, int argc, char **argv); /* argv[0] is the command */
	const char *usage;
	const char *help; /* what it does and three examples */
};

/* The table of commands, static. */
unsigned cli_commands(const struct command **ret);
/* Prints the usage line of `name` to stderr with a sentence; returns EXIT_USAGE. */
int cli_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* run.c. "VAR=VALUE", or "VAR" with the value it has here; false: there is none, or it is no text. */
bool cli_add_env(json_t *env, const char *text);
/* A call whose connection becomes a stream; `params` is taken over. The exit code; with EXIT_DONE *ret_fd is the
 * stream, the caller's. */
int cli_upgraded(struct cli *c, const char *method, json_t *params, int *ret_fd);

/* call.c: one connection per process, opened at the first call. */
/* NULL after an error was said (*ret_exit: the exit code). */
struct api_client *cli_connect(const struct cli *c, int *ret_exit);
/* 0 with *ret (may be NULL) or the exit code after the error was said. Takes `params` over. */
int cli_call(const struct cli *c, const char *method, json_t *params, json_t **ret);
/* The same, but what the daemon refuses with is the caller's to say: reterr->exit_code is 0 when it is said already. */
int cli_try(const struct cli *c, const char *method, json_t *params, json_t **ret, struct api_error *reterr);
/* A list that comes in parts (`member` of each reply): 0 with the whole array, or the exit code, said. */
int cli_list(const struct cli *c, const char *method, json_t *params, const char *member, json_t **ret);
int cli_say_error(struct api_error *e);

/* print.c */
void cli_print_json(const json_t *object); /* one line, flushed */
/* The member as text, escaped, into a buffer of the caller's; "-" when it is null or absent. */
const char *cli_text(const json_t *object, const char *member, char *buf, size_t cap);
/* The application, with its owner behind it when that is somebody else: "db" or "db (alice)". */
const char *cli_app(const json_t *object, char *buf, size_t cap);
/* A time of RFC 3339 as this place's clock shows it, "2026-11-22 14:05:00". */
const char *cli_time(const json_t *object, const char *member, char *buf, size_t cap);
/* A whole number from min to max that fills `text`. */
bool cli_integer(const char *text, long min, long max, long *ret);
long long cli_number(const json_t *object, const char *member, long long fallback);
/* A line of rules on stderr, escaped, with a caret below byte `at`; of a long line the part around it. */
void cli_caret(const char *line, size_t len, size_t at);
struct table;
struct table *table_new(const char *const *columns); /* NULL-ended; NULL: no memory */
void table_cell(struct table *t, const char *text);
/* Aligned; the last column is not padded. Frees it. */
void table_print(struct table *t);
const char *cli_paint(const struct cli *c, const char *verdict); /* a colour for a verdict word, "" without */
const char *cli_plain(const struct cli *c);

/* peer.c: "PEER[:PORT[/PROTO]]" of `why`. */
struct cli_peer {
	char name[1100], address[64], app[80]; /* empty: none */
	int port;			       /* -1: none */
	char protocol[16];		       /* empty: none */
};
bool cli_peer_parse(const char *text, struct cli_peer *ret);

int cmd_attach(struct cli *c, int argc, char **argv);
int cmd_detach(struct cli *c, int argc, char **argv);
int cmd_ps(struct cli *c, int argc, char **argv);
int cmd_top(struct cli *c, int argc, char **argv);
int cmd_stop(struct cli *c, int argc, char **argv);
int cmd_run(struct cli *c, int argc, char **argv);
int cmd_console(struct cli *c, int argc, char **argv);
int cmd_exec(struct cli *c, int argc, char **argv);
int cmd_shell(struct cli *c, int argc, char **argv);
int cmd_logs(struct cli *c, int argc, char **argv);
int cmd_freeze(struct cli *c, int argc, char **argv);
int cmd_thaw(struct cli *c, int argc, char **argv);
int cmd_rule(struct cli *c, int argc, char **argv);
int cmd_rules(struct cli *c, int argc, char **argv);
int cmd_undo(struct cli *c, int argc, char **argv);
int cmd_ask(struct cli *c, int argc, char **argv);
int cmd_why(struct cli *c, int argc, char **argv);
int cmd_policy(struct cli *c, int argc, char **argv);
int cmd_learn(struct cli *c, int argc, char **argv);
int cmd_rehearse(struct cli *c, int argc, char **argv);
int cmd_image(struct cli *c, int argc, char **argv);
int cmd_list(struct cli *c, int argc, char **argv);
int cmd_log(struct cli *c, int argc, char **argv);
int cmd_doctor(struct cli *c, int argc, char **argv);
int cmd_self_test(struct cli *c, int argc, char **argv);
int cmd_watch(struct cli *c, int argc, char **argv);
int cmd_completion(struct cli *c, int argc, char **argv);
int cmd_complete(struct cli *c, int argc, char **argv);
/* The rule line being typed: how many words may stand at its end; *ret what they have in common beyond what is typed.
 * Several that have nothing more in common are printed. */
unsigned cli_complete_line(struct cli *c, const char *line, char *ret, size_t cap);
int cmd_version(struct cli *c, int argc, char **argv);

/* why.c: the answer of Rules.Why, or an object like it. */
void why_print(const struct cli *c, const json_t *reply);
/* why_offline.c: 0, or EXIT_USAGE after saying what cannot be asked. */
int why_valid(const char *app, const char *peer, bool inbound, const char *at);
/* With --policy, without a daemon. */
int why_offline(struct cli *c, const char *const *files, size_t n_files, const char *at, bool inbound, const char *app,
	const char *peer);

/* ask_json.c, ask_tty.c */
int ask_json(struct cli *c, bool once);
int ask_terminal(struct cli *c, bool once);
/* Serves questions: 0 with the connection and the first reply (the snapshot), the caller's both; else the exit code,
 * said. */
int ask_open(struct cli *c, struct api_client **ret, json_t **ret_snapshot);
/* The same when an earlier connection was lost: waits for a daemon that is being started again. */
int ask_reopen(struct cli *c, struct api_client **ret, json_t **ret_snapshot);
/* The answer to a question: 0 with *ret the reply, else negative errno with *reterr. */
int ask_answer(struct cli *c, const char *id, const char *digest, const char *rule, json_t **ret,
	struct api_error *reterr);

#endif
