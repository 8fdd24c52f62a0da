/* SPDX-License-Identifier: Apache-2.0 */
#include "desk/group.h"
#include "policy/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADD_MAX = 1000, ID_SHORTEST = 4 };

void client_bad_rule(struct desk *d, struct client *c, size_t index, const struct policy_diag *diag)
{
	client_error(d, c, "org.sekisho.BadRule",
		json_pack("{s:I, s:i, s:i, s:s, s:o, s:s}", "index", (json_int_t)index, "line", (int)diag->line,
			"column", (int)diag->col, "expected", diag->expected, "hint",
			diag->near[0] == '\0' ? json_null() : json_string(diag->near), "text", diag->message));
}

bool rule_permitted(struct desk *d, struct client *c, const struct policy_rule *r, uint32_t owner)
{
	const char *no = NULL;
	if (c->admin)
		return true;
	bool zone = r->peer.kind == POLICY_PEER_ZONE &&
		    (r->peer.zone == POLICY_ZONE_HOST || r->peer.zone == POLICY_ZONE_PEERS);
	if (owner != c->uid)
		no = "the rule speaks of another user's application";
	else if (r->subject != POLICY_SUBJECT_APP)
		no = "without admin rights a rule names one application of your own";
	else if (r->final)
		no = "only admins may write a final rule";
	else if (r->dir != POLICY_OUT)
		no = "only admins may let something in";
	else if (zone)
		no = "only admins may open this computer or other virtual machines";
	else if (r->verb <= POLICY_ASK && policy_peer_reaches_inside(&d->input, &r->peer) != 0)
		no = "only admins may open this computer or other virtual machines, by their addresses, too";
	else if (r->peer.kind == POLICY_PEER_APP && app_by_name(d, owner, r->peer.id) == NULL)
		no = "without admin rights app: names a running application of your own";
	if (no != NULL)
		client_denied(d, c, "%s", no);
	return no == NULL;
}

bool rule_may_begin(struct desk *d, struct client *c, const struct policy_rule *r, uint32_t owner)
{
	return rule_permitted(d, c, r, owner) &&
	       (r->lives.until != POLICY_UNTIL_LOGOUT || auth_until_logout(d, c, owner));
}

/* Whose rule it is when an admin does not say: the owner of the only running application of that name. */
static uint32_t likely_owner(struct desk *d, const struct client *c, const struct policy_rule *r, uint32_t owner)
{
	const struct app *found = NULL;
	unsigned n = 0;
	if (!c->admin || r->subject != POLICY_SUBJECT_APP || app_by_name(d, owner, r->who) != NULL)
		return owner;
	for (unsigned i = 1; i < PLAN_SLOTS; i++) {
		if (d->apps[i].state == APP_FREE || strcmp(d->apps[i].gate.name, r->who) != 0)
			continue;
		found = &d->apps[i];
		n++;
	}
	return n == 1 ? found->gate.owner : owner;
}

/* It names no group, set or list that nobody defines; false: replied, with the place in the line. */
static bool names_known(struct desk *d, struct client *c, size_t index, const char *line, const struct policy_rule *r)
{
	struct policy_finding missing;
	struct policy_diag diag;
	if (policy_check_rule(&d->input, r, &missing))
		return true;
	policy_finding_diag(&missing, line, strlen(line), &diag);
	client_bad_rule(d, c, index, &diag);
	return false;
}

/* One line of the call as a rule; NULL: an error was replied. */
static struct rule *make_one(struct desk *d, struct client *c, size_t index, const char *line, uint32_t owner,
	bool said)
{
	struct policy_rule parsed;
	struct policy_diag diag = { 0 };
	struct rule *r = NULL;
	int err = policy_parse_rule(line, strlen(line), &parsed, &diag);
	if (err == -EINVAL || err == -E2BIG) {
		client_bad_rule(d, c, index, &diag);
		return NULL;
	}
	if (err == 0 && !said)
		owner = likely_owner(d, c, &parsed, owner);
	if (err == 0 && (!rule_may_begin(d, c, &parsed, owner) || !names_known(d, c, index, line, &parsed))) {
		policy_rule_fini(&parsed);
		return NULL;
	}
	if (err == 0)
		err = rule_make(d, &parsed, owner, &r);
	if (err != 0)
		client_fail(d, c, "org.sekisho.Failed", "the rule cannot be kept: %s", strerror(-err));
	return err == 0 ? r : NULL;
}

static json_t *added_json(struct desk *d, const struct rule *r, const struct rule *replaced, const struct client *c)
{
	char id[POLICY_ID_TEXT];
	json_t *note = json_null();
	if (replaced != NULL && strcmp(replaced->line, r->line) == 0)
		note = json_string("it was there already; its life begins again");
	else if (replaced != NULL)
		note = json_sprintf("it takes the place of: %s", replaced->line);
	else if (r->e.meta.owner != c->uid)
		note = json_sprintf("for %s of another user; --owner says whose",
			r->e.rule.subject == POLICY_SUBJECT_APP ? r->e.rule.who : "the applications");
	return json_pack("{s:s, s:s, s:o, s:o, s:o}", "rule", r->line, "rule_id", rule_short_id(d, r->id, id), "owner",
		owner_json(d, r->e.meta.owner), "replaced",
		replaced == NULL ? json_null() : json_string(replaced->line), "note", note);
}

static bool same_twice(struct rule *const *rules, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = i + 1; k < n; k++) {
			if (memcmp(rules[i]->e.meta.id, rules[k]->e.meta.id, POLICY_ID_LEN) == 0)
				return true;
		}
	}
	return false;
}

static void added(struct desk *d, struct client *c, const struct group_item *item)
{
	json_t *list = json_array();
	for (size_t i = 0; i < item->n; i++)
		json_array_append_new(list, added_json(d, item->rules[i], item->replaced[i], c));
	client_reply_in_force(d, c, json_pack("{s:o}", "added", list), d->generation);
}

static void add_rules(struct desk *d, struct client *c, struct rule **rules, size_t n)
{
	struct group_item item = { .client = (int)(c - d->clients),
		.rules = rules,
		.n = n,
		.who = c->uid,
		.done = added };
	char error[512] = "";
	if (same_twice(rules, n)) {
		for (size_t i = 0; i < n; i++)
			rule_free(rules[i]);
		client_fail(d, c, "org.sekisho.Failed",
			"two of the rules are the same rule (same subject, direction, peer and ports); nothing was changed");
		return;
	}
	int err = group_add(d, &item, c->admin, error);
	if (err != 0)
		client_fail(d, c, "org.sekisho.Failed", "%s", error[0] != '\0' ? error : strerror(-err));
}

static bool number_ok(struct desk *d, struct client *c, size_t n, size_t least)
{
	if (n >= least && n <= ADD_MAX)
		return true;
	client_error(d, c, "org.sekisho.Limit",
		json_pack("{s:s, s:i, s:s}", "what", "rules", "limit", (int)ADD_MAX, "text",
			"give between 1 and 1000 rules at a time"));
	return false;
}

void rules_api_add(struct desk *d, struct client *c)
{
	const json_t *lines;
	uint32_t owner;
	bool said;
	if (!arg_strings(d, c, "rules", true, &lines) || !arg_owner(d, c, &owner, &said))
		return;
	size_t n = json_array_size(lines), made = 0;
	if (!number_ok(d, c, n, 1))
		return;
	struct rule **rules = calloc(n, sizeof(*rules));
	while (rules != NULL && made < n) {
		rules[made] = make_one(d, c, made, json_string_value(json_array_get(lines, made)), owner, said);
		if (rules[made] == NULL)
			break;
		made++;
	}
	if (rules == NULL)
		client_fail(d, c, "org.sekisho.Failed", "no memory");
	else if (made == n)
		add_rules(d, c, rules, n);
	else
		while (made > 0)
			rule_free(rules[--made]);
	free(rules);
}

static bool may_see(const struct client *c, const struct rule *r)
{
	return c->admin || r->e.meta.owner == c->uid || r->e.meta.owner == POLICY_OWNER_ANY;
}

/* The running rule that a prefix means; NULL: an error was replied. */
static struct rule *rule_by_prefix(struct desk *d, struct client *c, const char *prefix)
{
	struct rule *found = NULL;
	size_t len = strlen(prefix);
	for (size_t i = 0; len >= ID_SHORTEST && i < d->n_rules; i++) {
		struct rule *r = d->rules[i];
		if (!rule_running(r) || !may_see(c, r) || strncmp(r->id, prefix, len) != 0)
			continue;
		if (found != NULL) {
			client_fail(d, c, "org.sekisho.Changed",
				"\"%.60s\" is the beginning of more than one rule's id; give more of it", prefix);
			return NULL;
		}
		found = r;
	}
	if (found == NULL)
		client_no_such(d, c, "rule", prefix);
	return found;
}

/* The rule of that id if the caller may take it away; NULL: an error was replied. */
static struct rule *removable(struct desk *d, struct client *c, const char *prefix)
{
	struct rule *r = rule_by_prefix(d, c, prefix);
	if (r == NULL)
		return NULL;
	if (r->e.meta.origin != POLICY_ORIGIN_ANSWER)
		client_denied(d, c, "the rule stands in the policy file %s, line %u; remove it there",
			r->file == NULL ? "?" : r->file, r->e.meta.line);
	else if (r->learning != 0)
		client_fail(d, c, "org.sekisho.Failed",
			"the rule is part of a learning and ends with it; end sekisho learn");
	/* Who may not write a rule may not take it away: an admin's refusal stands beside his answers under his own
	 * name.
	 */
	else if (rule_permitted(d, c, &r->e.rule, r->e.meta.owner))
		return r;
	return NULL;
}

void rules_api_remove(struct desk *d, struct client *c)
{
	const json_t *ids;
	if (!arg_strings(d, c, "ids", true, &ids))
		return;
	size_t n = json_array_size(ids), kept = 0;
	if (!number_ok(d, c, n, 0))
		return;
	struct rule **rules = calloc(n + 1, sizeof(*rules));
	for (size_t i = 0; rules != NULL && i < n; i++) {
		struct rule *r = removable(d, c, json_string_value(json_array_get(ids, i)));
		if (r == NULL) {
			free(rules);
			return;
		}
		bool twice = false;
		for (size_t k = 0; k < kept; k++)
			twice = twice || rules[k] == r;
		if (!twice)
			rules[kept++] = r;
	}
	int err = rules == NULL ? -ENOMEM : kept == 0 ? 0 : rules_end(d, rules, kept, c->uid, POLICY_END_REMOVED);
	if (err != 0) {
		client_fail(d, c, "org.sekisho.Failed", "the rules cannot be removed: %s", strerror(-err));
	} else {
		json_t *removed = json_array();
		for (size_t i = 0; i < kept; i++)
			json_array_append_new(removed, rule_json(d, rules[i]));
		client_reply_in_force(d, c, json_pack("{s:o}", "removed", removed), d->generation);
	}
	free(rules);
}

void rules_api_list(struct desk *d, struct client *c)
{
	struct watch what = { .kind = WATCH_RULES };
	int64_t unused = 0;
	if (!arg_bool(d, c, "ended", &what.ended) || !arg_bool(d, c, "brief", &what.brief) ||
		!arg_int(d, c, "unused", 1, INT64_C(100000000000), &unused))
		return;
	what.unused_ms = unused * 1000;
	watch_begin(d, c, &what);
}
