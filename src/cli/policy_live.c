/* SPDX-License-Identifier: Apache-2.0 */
/* `sekisho policy` where it meets a running daemon. */
#include "cli/policy.h"

#include "base/clock.h"
#include "cli/file.h"
#include "policy/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int rules_get(struct cli *c, const char *app, json_t **ret)
{
	return cli_list(c, "org.sekisho.Rules.List",
		json_pack("{s:s?, s:b, s:s?}", "app", app, "all", c->all, "owner", c->owner), "rules", ret);
}

static const char *member(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s == NULL ? "" : s;
}

int policy_show(struct cli *c, const char *app)
{
	json_t *rules, *rule;
	size_t i;
	int code = rules_get(c, app, &rules);
	if (code != 0)
		return code;
	json_array_foreach(rules, i, rule)
	{
		char text[4200], file[512], id[80];
		if (c->json) {
			cli_print_json(rule);
			continue;
		}
		cli_text(rule, "rule_id", id, sizeof(id));
		printf("%s  # %.8s %s", cli_text(rule, "rule", text, sizeof(text)), id, member(rule, "origin"));
		if (json_is_string(json_object_get(rule, "file")))
			printf(" %s:%lld", cli_text(rule, "file", file, sizeof(file)), cli_number(rule, "line", 0));
		putchar('\n');
	}
	json_decref(rules);
	return EXIT_DONE;
}

/* RFC 3339 in UTC; -1: none. */
static time_t deadline_of(const json_t *rule)
{
	struct tm tm = { 0 };
	const char *end = strptime(member(rule, "deadline"), "%Y-%m-%dT%H:%M:%S", &tm);
	return end == NULL ? -1 : timegm(&tm);
}

/* The life as it is now: an end stays that end, and a count is what is left of it. Rounded down, never longer. */
static void life_left(const json_t *rule, time_t now, struct policy_lives *l)
{
	time_t end = deadline_of(rule), minute = end / 60 * 60;
	struct tm tm;
	long long left = cli_number(rule, "times_left", 0);
	if (l->times != 0 && left > 0)
		l->times = (uint32_t)left;
	if (end < 0 || (l->for_s == 0 && l->until != POLICY_UNTIL_TIME))
		return;
	bool date = l->until == POLICY_UNTIL_NONE || l->until >= POLICY_UNTIL_TIME;
	l->for_s = 0;
	if (date && minute > now && localtime_r(&minute, &tm) != NULL) {
		l->until = POLICY_UNTIL_DATE;
		l->year = (uint16_t)(tm.tm_year + 1900);
		l->month = (uint8_t)(tm.tm_mon + 1);
		l->day = (uint8_t)tm.tm_mday;
		l->until_minute = (uint16_t)(tm.tm_hour * 60 + tm.tm_min);
		return;
	}
	if (date)
		l->until = POLICY_UNTIL_NONE;
	l->for_s = end > now ? end - now : 1;
}

static bool export_one(const struct cli *c, const json_t *rule, time_t now)
{
	char line[POLICY_PRINT_MAX];
	struct policy_rule r;
	const char *text = member(rule, "rule");
	if (policy_parse_rule(text, strlen(text), &r, NULL) != 0)
		return false;
	life_left(rule, now, &r.lives);
	bool ok = policy_print_rule(&r, line, sizeof(line)) > 0;
	policy_rule_fini(&r);
	if (!ok)
		return false;
	if (c->json) {
		json_t *o = json_pack("{s:s, s:O}", "rule", line, "owner", json_object_get(rule, "owner"));
		cli_print_json(o);
		json_decref(o);
	} else {
		puts(line);
	}
	return true;
}

int policy_export(struct cli *c)
{
	json_t *rules, *rule;
	size_t i;
	time_t now = clock_wall_ms() / 1000;
	int code = rules_get(c, NULL, &rules);
	if (code != 0)
		return code;
	json_array_foreach(rules, i, rule)
	{
		if (strcmp(member(rule, "origin"), "answer") == 0 && !export_one(c, rule, now)) {
			cli_error("the daemon sent a rule that cannot be read");
			code = EXIT_FAILED;
		}
	}
	json_decref(rules);
	return code;
}

static json_t *lines_of(const struct policy_doc *d)
{
	char line[POLICY_PRINT_MAX];
	json_t *lines = json_array();
	for (size_t i = 0; i < d->n_rules; i++) {
		if (policy_print_rule(&d->rules[i].rule, line, sizeof(line)) > 0)
			json_array_append_new(lines, json_string(line));
	}
	return lines;
}

/* A rule that only the daemon could refuse stands in a line of the file. */
static int import_refused(const char *name, const struct policy_doc *d, struct api_error *e)
{
	long long index = e->params == NULL ? -1 : cli_number(e->params, "index", -1);
	if (index >= 0 && (size_t)index < d->n_rules)
		fprintf(stderr, "%s:%u: ", name, d->rules[index].meta.line);
	return cli_say_error(e);
}

static int import(const struct cli *c, const char *name, const struct policy_doc *d)
{
	struct api_error e;
	json_t *reply, *added;
	size_t i;
	int code = cli_try(c, "org.sekisho.Rules.Add",
		json_pack("{s:o, s:s?}", "rules", lines_of(d), "owner", c->owner), &reply, &e);
	if (code != 0)
		return e.exit_code == 0 ? code : import_refused(name, d, &e);
	json_array_foreach(json_object_get(reply, "added"), i, added)
	{
		char id[80], line[4200];
		if (c->json)
			cli_print_json(added);
		else
			printf("%.8s  %s\n", cli_text(added, "rule_id", id, sizeof(id)),
				cli_text(added, "rule", line, sizeof(line)));
	}
	json_decref(reply);
	return EXIT_DONE;
}

int policy_import(struct cli *c, const char *name)
{
	size_t len;
	char *text = file_text(name, &len);
	struct policy_doc *d = text == NULL ? NULL : doc_parse(name, text, len, c->json);
	int code = EXIT_USAGE;
	free(text);
	if (d == NULL)
		return code;
	if (d->n_groups + d->n_sets + d->n_lists == 0 && d->n_rules > 0)
		code = import(c, name, d);
	else
		cli_error(
			"%s: only rules can be imported, and at least one; groups, sets and lists belong to policy_dir",
			name);
	policy_doc_free(d);
	return code;
}
