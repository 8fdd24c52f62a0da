/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/culprit.h"

#include "daemon/program.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LISTING_MAX = 1 << 20 };

struct found {
	bool docker, ufw, firewalld, other, legacy;
	char family[16], table[64], chain[64]; /* of the other */
};

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s == NULL ? "" : s;
}

static void look_at_chain(const json_t *chain, bool ipv6, struct found *f)
{
	const char *family = text(chain, "family"), *table = text(chain, "table"), *name = text(chain, "name");
	bool ours = strcmp(family, "inet") == 0 && strcmp(table, "sekisho") == 0;
	if (ours || (strcmp(family, "inet") != 0 && strcmp(family, ipv6 ? "ip6" : "ip") != 0))
		return;
	f->docker = f->docker || strcmp(name, "DOCKER-USER") == 0;
	f->ufw = f->ufw || strncmp(name, "ufw", 3) == 0;
	f->firewalld = f->firewalld || strcmp(table, "firewalld") == 0;
	if (f->other || strcmp(text(chain, "hook"), "forward") != 0 || strcmp(text(chain, "policy"), "drop") != 0)
		return;
	f->other = true;
	snprintf(f->family, sizeof(f->family), "%.15s", family);
	snprintf(f->table, sizeof(f->table), "%.63s", table);
	snprintf(f->chain, sizeof(f->chain), "%.63s", name);
}

static void look_at_nft(bool ipv6, struct found *f)
{
	static const char *const argv[] = { "nft", "-j", "list", "chains", NULL };
	char *listing = malloc(LISTING_MAX);
	if (listing == NULL)
		return;
	json_t *all = program_run(argv, NULL, NULL, listing, LISTING_MAX) == 0 ? json_loads(listing, 0, NULL) : NULL;
	const json_t *item;
	size_t i;
	json_array_foreach(json_object_get(all, "nftables"), i, item)
	{
		if (json_is_object(json_object_get(item, "chain")))
			look_at_chain(json_object_get(item, "chain"), ipv6, f);
	}
	json_decref(all);
	free(listing);
}

/* Tables of the old kind do not show in nft. */
static void look_at_legacy(bool ipv6, struct found *f)
{
	char name[32];
	FILE *names = fopen(ipv6 ? "/proc/net/ip6_tables_names" : "/proc/net/ip_tables_names", "re");
	while (names != NULL && fscanf(names, "%31s", name) == 1)
		f->legacy = f->legacy || strcmp(name, "filter") == 0;
	if (names != NULL)
		fclose(names);
}

static void fix_iptables(struct culprit *ret, const char *program, const char *chain, const char *port)
{
	snprintf(ret->fix, sizeof(ret->fix),
		"%s -I %s -i %s -j ACCEPT && %s -I %s -o %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
		program, chain, port, program, chain, port);
}

bool culprit_find(const char *port, bool ipv6, struct culprit *ret)
{
	struct found f = { 0 };
	look_at_nft(ipv6, &f);
	look_at_legacy(ipv6, &f);
	if (f.docker) {
		snprintf(ret->who, sizeof(ret->who), "Docker's rules drop it");
		fix_iptables(ret, ipv6 ? "ip6tables" : "iptables", "DOCKER-USER", port);
	} else if (f.ufw) {
		snprintf(ret->who, sizeof(ret->who), "ufw drops it");
		snprintf(ret->fix, sizeof(ret->fix), "ufw route allow in on %s && ufw route allow out on %s", port,
			port);
	} else if (f.firewalld) {
		snprintf(ret->who, sizeof(ret->who), "firewalld drops it");
		snprintf(ret->fix, sizeof(ret->fix),
			"firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", port);
	} else if (f.other) {
		snprintf(ret->who, sizeof(ret->who), "the nft chain %s %.40s %.40s drops it", f.family, f.table,
			f.chain);
		snprintf(ret->fix, sizeof(ret->fix),
			"nft insert rule %s %s %s iifname %s accept && nft insert rule %s %s %s oifname %s accept",
			f.family, f.table, f.chain, port, f.family, f.table, f.chain, port);
	} else if (f.legacy) {
		snprintf(ret->who, sizeof(ret->who), "iptables (legacy) may drop it");
		fix_iptables(ret, ipv6 ? "ip6tables-legacy" : "iptables-legacy", "FORWARD", port);
	} else {
		snprintf(ret->who, sizeof(ret->who), "no table that drops it was found");
		snprintf(ret->fix, sizeof(ret->fix), "nft list ruleset; sysctl net.ipv4.ip_forward");
		return false;
	}
	return true;
}
