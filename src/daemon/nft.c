/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/nft.h"

#include "daemon/program.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char table[] = "sekisho";

static json_t *table_object(void)
{
	return json_pack("{s:{s:s, s:s}}", "table", "family", "inet", "name", table);
}

static json_t *meta(const char *key)
{
	return json_pack("{s:{s:s}}", "meta", "key", key);
}

static json_t *match(json_t *left, const char *op, json_t *right)
{
	return json_pack("{s:{s:s, s:o, s:o}}", "match", "op", op, "left", left, "right", right);
}

static json_t *match_iface(const char *key, const char *op, const char *name)
{
	return match(meta(key), op, json_string(name));
}

static json_t *verdict(const char *word)
{
	return json_pack("{s:n}", word);
}

static void add(json_t *commands, const char *verb, json_t *object)
{
	json_array_append_new(commands, json_pack("{s:o}", verb, object));
}

static void add_chain(json_t *commands, const char *name, const char *type, const char *hook, int priority)
{
	add(commands, "add",
		json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:i, s:s}}", "chain", "family", "inet", "table", table, "name",
			name, "type", type, "hook", hook, "prio", priority, "policy", "accept"));
}

/* A rule of up to four statements; NULL ones are left out. */
static void add_rule(json_t *commands, const char *chain, json_t *a, json_t *b, json_t *c, json_t *d)
{
	json_t *statements[] = { a, b, c, d }, *expr = json_array();
	for (unsigned i = 0; i < 4; i++) {
		if (statements[i] != NULL)
			json_array_append_new(expr, statements[i]);
	}
	add(commands, "add",
		json_pack("{s:{s:s, s:s, s:s, s:o}}", "rule", "family", "inet", "table", table, "chain", chain, "expr",
			expr));
}

/* `field`: "saddr" or "daddr". */
static json_t *match_net(const char *field, const struct uplink_net *n)
{
	char text[ADDR_TEXT_MAX];
	return match(json_pack("{s:{s:s, s:s}}", "payload", "protocol", n->net.len == 4 ? "ip" : "ip6", "field", field),
		"==",
		json_pack("{s:{s:s, s:i}}", "prefix", "addr", addr_format(&n->net, text, sizeof(text)), "len",
			(int)n->prefix));
}

/* What the switch let out is allowed; what comes back is the same connection or a forward of ours. */
static void add_forward_rules(json_t *commands, const struct uplink_conf *c, bool close4, bool close6)
{
	const struct uplink_net *nets[] = { &c->v4, &c->v6 };
	/* While our port is away (vswitchd starts again, or the daemon ends) answers still are translated, and would
	 * take the host's default route. */
	for (unsigned i = 0; i < 2; i++) {
		if (nets[i]->net.len != 0)
			add_rule(commands, "forward", match_net("daddr", nets[i]),
				match_iface("oifname", "!=", c->port), verdict("drop"), NULL);
	}
	add_rule(commands, "forward", match_iface("iifname", "==", c->port), verdict("accept"), NULL, NULL);
	add_rule(commands, "forward", match_iface("oifname", "==", c->port),
		match(json_pack("{s:{s:s}}", "ct", "key", "state"), "in", json_pack("[ss]", "established", "related")),
		verdict("accept"), NULL);
	add_rule(commands, "forward", match_iface("oifname", "==", c->port),
		match(json_pack("{s:{s:s}}", "ct", "key", "status"), "in", json_string("dnat")), verdict("accept"),
		NULL);
	add_rule(commands, "forward", match_iface("oifname", "==", c->port), verdict("drop"), NULL, NULL);
	if (close4)
		add_rule(commands, "forward", match(meta("nfproto"), "==", json_string("ipv4")), verdict("drop"), NULL,
			NULL);
	if (close6)
		add_rule(commands, "forward", match(meta("nfproto"), "==", json_string("ipv6")), verdict("drop"), NULL,
			NULL);
}

/* Steals `commands`. */
static int nft_run(json_t *commands, char *error)
{
	static const char *const argv[] = { "nft", "-j", "-f", "-", NULL };
	json_t *all = json_pack("{s:o}", "nftables", commands);
	char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT), said[160];
	json_decref(all);
	if (text == NULL)
		return -ENOMEM;
	int status = program_run(argv, NULL, text, said, sizeof(said));
	free(text);
	if (status == 0)
		return 0;
	said[strcspn(said, "\n")] = '\0';
	if (status == 127)
		snprintf(error, UPLINK_ERROR_MAX, "nft is missing: apt-get install nftables");
	else
		snprintf(error, UPLINK_ERROR_MAX, "nft refused the table inet %s: %s", table, said);
	return status < 0 ? status : status == 127 ? -ENOENT : -EIO;
}

int nft_make_table(const struct uplink_conf *c, bool close4, bool close6, char *error)
{
	json_t *commands = json_array();
	/* Adding before deleting makes the deletion valid whether the table was there or not. */
	add(commands, "add", table_object());
	add(commands, "delete", table_object());
	add(commands, "add", table_object());
	add_chain(commands, "forward", "filter", "forward", 0);
	add_chain(commands, "prerouting", "nat", "prerouting", -100);
	add_chain(commands, "postrouting", "nat", "postrouting", 100);
	add_forward_rules(commands, c, close4, close6);
	const struct uplink_net *nets[] = { &c->v4, &c->v6 };
	for (unsigned i = 0; i < 2; i++) {
		if (nets[i]->net.len != 0)
			add_rule(commands, "postrouting", match_net("saddr", nets[i]),
				match_iface("oifname", "!=", c->port), verdict("masquerade"), NULL);
	}
	return nft_run(commands, error);
}

static void add_dnat(json_t *commands, const struct uplink_conf *c, const struct uplink_forward *f,
	const struct addr *guest)
{
	char text[ADDR_TEXT_MAX];
	const char *family = guest->len == 4 ? "ip" : "ip6";
	if (guest->len == 0)
		return;
	add_rule(commands, "prerouting", match_iface("iifname", "!=", c->port),
		match(json_pack("{s:{s:s, s:[s]}}", "fib", "result", "type", "flags", "daddr"),
			"==", json_string("local")),
		match(json_pack("{s:{s:s, s:s}}", "payload", "protocol", f->protocol == 6 ? "tcp" : "udp", "field",
			      "dport"),
			"==", json_integer(f->port)),
		json_pack("{s:{s:s, s:s}}", "dnat", "family", family, "addr", addr_format(guest, text, sizeof(text))));
}

int nft_set_forwards(const struct uplink_conf *c, const struct uplink_forward *f, unsigned n, char *error)
{
	json_t *commands = json_array();
	add(commands, "flush",
		json_pack("{s:{s:s, s:s, s:s}}", "chain", "family", "inet", "table", table, "name", "prerouting"));
	for (unsigned i = 0; i < n; i++) {
		add_dnat(commands, c, &f[i], &f[i].guest4);
		add_dnat(commands, c, &f[i], &f[i].guest6);
	}
	return nft_run(commands, error);
}

int nft_drop_table(char *error)
{
	json_t *commands = json_array();
	add(commands, "add", table_object());
	add(commands, "delete", table_object());
	return nft_run(commands, error);
}
