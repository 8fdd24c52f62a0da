/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT_MAX = 2500 };

static bool since_parse(const char *text, char buf[32])
{
	static const struct {
		char unit;
		int64_t ms;
	} units[] = { { 's', 1000 }, { 'm', 60000 }, { 'h', 3600000 }, { 'd', 86400000 }, { 'w', 604800000 } };
	char *end;
	long long v = strtoll(text, &end, 10);
	for (unsigned i = 0; end != text && v >= 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (*end == units[i].unit && end[1] == '\0') {
			clock_format(clock_wall_ms() - v * units[i].ms, buf);
			return true;
		}
	}
	if (strlen(text) < 20 || strlen(text) >= 32)
		return false;
	memcpy(buf, text, strlen(text) + 1);
	return true;
}

static void entry_print(const struct cli *c, const json_t *e)
{
	char time[40], event[32], app[160], verdict[16], name[1100], address[64], protocol[16], text[4200];
	cli_time(e, "time", time, sizeof(time));
	cli_text(e, "event", event, sizeof(event));
	cli_app(e, app, sizeof(app));
	bool more = json_is_string(json_object_get(e, "verdict")) || json_is_string(json_object_get(e, "name")) ||
		    json_is_string(json_object_get(e, "address")) || json_is_string(json_object_get(e, "rule")) ||
		    json_is_string(json_object_get(e, "text"));
	printf("%s  %-13s %-*s", time, event, more ? 12 : 0, app);
	if (json_is_string(json_object_get(e, "verdict"))) {
		cli_text(e, "verdict", verdict, sizeof(verdict));
		printf(" %s%s%s", cli_paint(c, verdict), verdict, cli_plain(c));
	}
	if (json_is_string(json_object_get(e, "name")))
		printf(" %s", cli_text(e, "name", name, sizeof(name)));
	if (json_is_string(json_object_get(e, "address")))
		printf(" %s", cli_text(e, "address", address, sizeof(address)));
	/* A lookup has neither port nor protocol. */
	if (cli_number(e, "port", 0) > 0 || strcmp(cli_text(e, "protocol", protocol, sizeof(protocol)), "icmp") == 0)
		printf(" %lld/%s", cli_number(e, "port", 0), cli_text(e, "protocol", protocol, sizeof(protocol)));
	if (cli_number(e, "bytes_out", 0) + cli_number(e, "bytes_in", 0) > 0)
		printf(" out %lld in %lld bytes", cli_number(e, "bytes_out", 0), cli_number(e, "bytes_in", 0));
	if (json_is_string(json_object_get(e, "rule")))
		printf(" by \"%s\"", cli_text(e, "rule", text, sizeof(text)));
	/* "rule-replaced (replaced)" says it twice. */
	if (json_is_string(json_object_get(e, "text")) &&
		strstr(event, cli_text(e, "text", text, sizeof(text))) == NULL)
		printf(" (%s)", text);
	if (cli_number(e, "repeated", 0) > 0)
		printf(", and %lld times more", cli_number(e, "repeated", 0));
	putchar('\n');
	fflush(stdout);
}

/* What is shown; NULL or "": everything. */
struct filter {
	const char *app, *verdict, *event, *destination;
	bool as_rules;
	json_t *said; /* rules printed already, as the members of an object */
};

static const char *const verdicts[] = { "allow", "deny", "drop", "ask", "withheld", NULL };
static const char *const events[] = { "connection", "question", "answer", "rule-added", "rule-replaced", "rule-ended",
	"rule-removed", "app-started", "app-stopped", "name", "refused", "list", "switch", NULL };

static const char *one_of(const char *word, const char *const *list)
{
	while (*list != NULL && strcmp(word, *list) != 0)
		list++;
	return *list;
}

/* A word of the filter: its kind shows in it, since no application may have a keyword's name or a dot first. */
static bool filter_word(struct filter *f, const char *word)
{
	const char **to = one_of(word, verdicts) != NULL ? &f->verdict
			: one_of(word, events) != NULL	 ? &f->event
			: strpbrk(word, ".:") != NULL	 ? &f->destination
							 : &f->app;
	if (word[0] == '-' || *to != NULL)
		return false;
	*to = word;
	return true;
}

static bool is(const json_t *e, const char *member, const char *wanted)
{
	const char *s = json_string_value(json_object_get(e, member));
	return wanted == NULL || (s != NULL && strcmp(s, wanted) == 0);
}

static bool has(const json_t *e, const char *member, const char *part)
{
	const char *s = json_string_value(json_object_get(e, member));
	return s != NULL && strstr(s, part) != NULL;
}

static bool fits(const struct filter *f, const json_t *e)
{
	return is(e, "verdict", f->verdict) && is(e, "event", f->event) &&
	       (f->destination == NULL || has(e, "name", f->destination) || has(e, "address", f->destination));
}

/* The destination as a rule that would allow it, once. Names and addresses are canonical text of the daemon's; what is
 * neither is left out. */
static void rule_print(const struct filter *f, const json_t *e)
{
	char line[1400], app[80], peer[1100], protocol[16];
	long long port = cli_number(e, "port", 0);
	bool name = json_is_string(json_object_get(e, "name"));
	if (!json_is_string(json_object_get(e, "app")) || is(e, "event", "name") ||
		(!name && !json_is_string(json_object_get(e, "address"))))
		return;
	cli_text(e, "protocol", protocol, sizeof(protocol));
	cli_text(e, "app", app, sizeof(app));
	cli_text(e, name ? "name" : "address", peer, sizeof(peer));
	const char *way = is(e, "direction", "in") ? "from" : "to";
	if (port > 0)
		snprintf(line, sizeof(line), "allow %s %s %s port %lld/%s", app, way, peer, port, protocol);
	else
		snprintf(line, sizeof(line), "allow %s %s %s port /%s", app, way, peer, protocol);
	if (json_object_get(f->said, line) != NULL)
		return;
	json_object_set_new(f->said, line, json_true());
	puts(line);
	fflush(stdout);
}

static void entry_show(struct cli *c, const struct filter *f, const json_t *e)
{
	if (!fits(f, e))
		return;
	if (f->as_rules)
		rule_print(f, e);
	else if (c->json)
		cli_print_json(e);
	else
		entry_print(c, e);
}

static int log_read(struct cli *c, const struct filter *f, struct api_client *client, json_t *params)
{
	struct api_error e = { .exit_code = EXIT_FAILED };
	int got = api_client_more(client, "org.sekisho.Connections.Log", params, &e);
	for (bool more = got == 0; more;) {
		json_t *reply = NULL, *entry;
		size_t i;
		got = api_client_next(client, -1, &reply, &e);
		if (got < 0)
			break;
		json_array_foreach(json_object_get(reply, "entries"), i, entry) entry_show(c, f, entry);
		json_decref(reply);
		more = got == 1 && !ferror(stdout);
	}
	return got < 0 ? cli_say_error(&e) : EXIT_DONE;
}

static int log_show(struct cli *c, struct filter *f, const char *since, bool follow, long limit)
{
	int code = EXIT_FAILED;
	struct api_client *client = cli_connect(c, &code);
	if (client == NULL)
		return code;
	/* A limit counts what is shown, so it is the daemon that leaves the rest out. */
	json_t *params = json_pack("{s:s?, s:s?, s:b, s:s?, s:s?, s:s?}", "app", f->app, "since", since, "follow",
		follow, "owner", c->owner, "verdict", f->verdict, "event", f->event);
	if (limit > 0)
		json_object_set_new(params, "limit", json_integer(limit));
	f->said = json_object();
	code = log_read(c, f, client, params);
	json_decref(f->said);
	api_client_close(client);
	return code;
}

int cmd_log(struct cli *c, int argc, char **argv)
{
	struct filter f = { 0 };
	const char *since = NULL;
	char since_text[32];
	bool follow = false;
	long limit = 0;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-f") == 0)
			follow = true;
		else if (strcmp(argv[i], "--as-rules") == 0)
			f.as_rules = true;
		else if (strcmp(argv[i], "--since") == 0)
			since = i + 1 < argc ? argv[++i] : "";
		else if (strcmp(argv[i], "-n") == 0)
			limit = i + 1 < argc && cli_integer(argv[++i], 1, LIMIT_MAX, &limit) ? limit : -1;
		else if (!filter_word(&f, argv[i]))
			return cli_usage("log", "\"%s\" is not expected here", argv[i]);
	}
	if (limit < 0)
		return cli_usage("log", "-n takes a number of entries, 1 to %d", LIMIT_MAX);
	if (since != NULL && !since_parse(since, since_text))
		return cli_usage("log", "--since takes a duration such as 10m, 1h, 2d, or a time in RFC 3339");
	return log_show(c, &f, since == NULL ? NULL : since_text, follow, limit);
}

int cmd_watch(struct cli *c, int argc, char **argv)
{
	struct filter f = { 0 };
	char now[32];
	for (int i = 1; i < argc; i++) {
		if (!filter_word(&f, argv[i]))
			return cli_usage("watch", "\"%s\" is not expected here", argv[i]);
	}
	clock_format(clock_wall_ms(), now);
	return log_show(c, &f, now, true, 0);
}
