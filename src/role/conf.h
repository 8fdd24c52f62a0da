/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ROLE_CONF_H
#define ROLE_CONF_H

#include "ipc/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* sekishod.conf(5): "key = value" lines, '#' comments. Every value has a default; a struct conf is always complete. */
enum conf_switch { SWITCH_AUTO, SWITCH_SYSTEM, SWITCH_PRIVATE };
enum conf_datapath { DATAPATH_AUTO, DATAPATH_SYSTEM, DATAPATH_NETDEV };
enum conf_vmm { VMM_AUTO, VMM_FIRECRACKER, VMM_QEMU };
enum conf_dnssec { DNSSEC_AUTO, DNSSEC_REQUIRE, DNSSEC_OFF };

struct conf {
	char run_dir[256], state_dir[256], policy_dir[256], apps_dir[256];
	enum conf_switch switch_;
	enum conf_datapath datapath;
	char bridge[16];
	char uplink[32];		   /* "nat" or "port:IFACE" */
	char lan_ipv4[128], lan_ipv6[160]; /* empty: none */
	bool uplink_share;
	char guest_ipv4[64], guest_ipv6[64];
	struct plan plan;    /* of the two pools */
	char resolver[1024]; /* "system", "forward:…", "tls:…", "recursive" */
	enum conf_vmm vmm;
	uint32_t ask_expires_ms;
	char users_group[64], admins_group[64];
	bool on_stop_keep;
	uint16_t zone_base;
	uint32_t uid_base;
	uint32_t history_rows, history_mib, history_days;
	enum conf_dnssec dnssec;
};

struct conf_error {
	unsigned line; /* 1-based; 0: not about a line */
	char text[256];
};

void conf_defaults(struct conf *c);
/* Parses a whole text over the defaults. 0, or -EINVAL with *reterr filled and *ret untouched. */
int conf_parse(const char *text, size_t len, struct conf *ret, struct conf_error *reterr)
	__attribute__((warn_unused_result));
/* The configuration as text that conf_parse() reads back; returns the length, -ENOSPC. */
int conf_print(const struct conf *c, char *buf, size_t cap);

#endif
