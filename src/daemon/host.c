/* SPDX-License-Identifier: Apache-2.0 */
/* The switch and the host around it, as main makes and unmakes them. */
#include "base/log.h"
#include "daemon/sekishod.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define SYSTEM_OVS_DIR "/run/openvswitch"

enum { SELFTEST_ZONE = 16384 }; /* above those of apps (conf zone_base) */

static void fill_uplink(struct sekishod *d)
{
	const struct plan *p = &d->conf.plan;
	struct uplink_conf *u = &d->uplink;
	u->run_dir = d->conf.run_dir;
	snprintf(u->port, sizeof(u->port), "%s", PLAN_UPLINK_PORT);
	u->v4 = (struct uplink_net){ .net = p->v4,
		.prefix = p->v4_prefix,
		.gateway = plan_v4(p, 0, 2),
		.next_hop = plan_v4(p, 0, 1) };
	u->v6 = (struct uplink_net){ .net = p->v6,
		.prefix = PLAN_V6_SLOTS_PREFIX,
		.gateway = plan_v6(p, 0, 2),
		.next_hop = plan_v6(p, 0, 1) };
	u->next_hop_mac = plan_router_mac();
	u->tso = d->ovs.tso;
}

static void fill_names(struct sekishod *d)
{
	const struct plan *p = &d->conf.plan;
	struct uplink_names_conf *n = &d->names;
	snprintf(n->port, sizeof(n->port), "%s", PLAN_NAMES_PORT);
	n->mac = plan_mac(0, 0, 2);
	n->addr4 = plan_v4(p, 0, 3);
	n->addr6 = plan_v6(p, 0, 3);
	n->next_hop4 = plan_v4(p, 0, 1);
	n->next_hop6 = plan_v6(p, 0, 1);
	n->next_hop_mac = plan_router_mac();
	n->tso = d->ovs.tso;
}

static int watch_ovs(struct sekishod *d)
{
	if (!d->ovs.private)
		return 0;
	int err = loop_add(d->loop, d->ovs.db_pidfd, EPOLLIN, MAIN_OVS_DB, 0);
	if (err == 0)
		err = loop_add(d->loop, d->ovs.vswitchd_pidfd, EPOLLIN, MAIN_OVS_VSWITCHD, 0);
	return err;
}

static enum ovs_switch which_switch(const struct conf *c)
{
	switch (c->switch_) {
	case SWITCH_SYSTEM:
		return OVS_SWITCH_SYSTEM;
	case SWITCH_PRIVATE:
		return OVS_SWITCH_PRIVATE;
	case SWITCH_AUTO:
		break;
	}
	return OVS_SWITCH_AUTO;
}

static enum ovs_datapath which_datapath(const struct conf *c)
{
	switch (c->datapath) {
	case DATAPATH_SYSTEM:
		return OVS_DATAPATH_SYSTEM;
	case DATAPATH_NETDEV:
		return OVS_DATAPATH_NETDEV;
	case DATAPATH_AUTO:
		break;
	}
	return OVS_DATAPATH_AUTO;
}

/* The choice of a private OVS that runs on is kept beside it. */
static bool offload_noted(const struct sekishod *d, bool *ret)
{
	char path[300], word[8] = "";
	snprintf(path, sizeof(path), "%s/offload", d->conf.run_dir);
	FILE *f = fopen(path, "re");
	bool known = f != NULL && fscanf(f, "%7s", word) == 1;
	if (f != NULL)
		fclose(f);
	*ret = strcmp(word, "on") == 0;
	return known;
}

static void offload_note(const struct sekishod *d)
{
	char path[300];
	snprintf(path, sizeof(path), "%s/offload", d->conf.run_dir);
	FILE *f = fopen(path, "we");
	if (f == NULL || fprintf(f, "%s\n", d->ovs.tso ? "on" : "off") < 0)
		log_msg(LOG_WARNING, "cannot write %s", path);
	if (f != NULL)
		fclose(f);
}

/* Offloads are used where they are seen to work. Where nothing works the daemon runs all the same: it is not the less
 * safe, and doctor says what is wrong. */
static int choose_offload(struct sekishod *d, char *error)
{
	uint16_t zone = (uint16_t)(d->conf.zone_base + SELFTEST_ZONE);
	char *said = d->offload_error;
	if (d->ovs.adopted && d->ovs.private && offload_noted(d, &d->ovs.tso))
		return 0;
	int err = selftest_offload(&d->ovs, zone, d->ovs.tso, said);
	if (err != 0) {
		log_msg(LOG_WARNING, "with offloads %s; trying without", said);
		int without = ovs_without_tso(&d->ovs, error);
		if (without != 0)
			return without;
		err = selftest_offload(&d->ovs, zone, false, said);
	}
	if (err != 0)
		log_msg(LOG_ERROR, "the switch does not carry what it should: %s", said);
	else
		said[0] = '\0';
	offload_note(d);
	return 0;
}

static void nat_down(struct sekishod *d)
{
	char error[UPLINK_ERROR_MAX] = "";
	if (uplink_nat_down(&d->uplink, error) != 0)
		log_msg(LOG_WARNING, "%s", error);
}

int host_up(struct sekishod *d)
{
	char error[OVS_ERROR_MAX] = "";
	struct ovs_conf conf = { .which = which_switch(&d->conf),
		.datapath = which_datapath(&d->conf),
		.run_dir = d->conf.run_dir,
		.system_dir = SYSTEM_OVS_DIR,
		.tso = true };
	int err = link_open(&d->links);
	if (err != 0) {
		log_msg(LOG_ERROR, "cannot open netlink: %s", strerror(-err));
		return err;
	}
	/* What a crash left. Translation that is wanted again stays until it is replaced in one piece: without it the
	 * host would take the apps' live connections for its own and reset them. */
	fill_uplink(d);
	if (strcmp(d->conf.uplink, "nat") != 0)
		nat_down(d);
	uplink_port_down(d->conf.run_dir);
	err = ovs_open(&conf, &d->ovs, error);
	if (err != 0) {
		log_msg(LOG_ERROR, "%s", error);
		return err;
	}
	d->host_up = true;
	err = choose_offload(d, error);
	if (err != 0) {
		log_msg(LOG_ERROR, "%s", error);
		return err;
	}
	fill_uplink(d);
	fill_names(d);
	/* The roles must not choose again what has been chosen. */
	d->conf.datapath = strcmp(d->ovs.datapath_type, "system") == 0 ? DATAPATH_SYSTEM : DATAPATH_NETDEV;
	if (d->ovs.adopted || !d->ovs.private)
		err = ovs_del_port(&d->ovs, d->names.port, error);
	if (err == 0)
		err = uplink_names_up(&d->names, d->names_fds, &d->names_netns, error);
	if (err != 0) {
		log_msg(LOG_ERROR, "%s", error);
		return err;
	}
	if (strncmp(d->conf.uplink, "port:", 5) == 0) {
		err = uplink_port_up(d->conf.run_dir, d->conf.uplink + 5, d->conf.uplink_share, d->ovs.tso, error);
		if (err != 0) {
			log_msg(LOG_ERROR, "%s", error);
			return err;
		}
	}
	return watch_ovs(d);
}

int host_uplink(struct sekishod *d)
{
	char error[UPLINK_ERROR_MAX] = "";
	if (strcmp(d->conf.uplink, "nat") != 0)
		return 0;
	int err = uplink_nat_up(&d->uplink, error);
	/* The table is a new one. */
	if (err == 0 && d->n_forwards > 0)
		err = uplink_set_forwards(&d->uplink, d->forwards, d->n_forwards, error);
	if (err != 0)
		log_msg(LOG_ERROR, "%s", error);
	else
		d->uplink_up = true;
	return err;
}

void host_ovs_died(struct sekishod *d)
{
	char error[OVS_ERROR_MAX] = "";
	loop_del(d->loop, d->ovs.db_pidfd);
	loop_del(d->loop, d->ovs.vswitchd_pidfd);
	log_msg(LOG_WARNING, "a part of the private Open vSwitch ended; starting it again");
	if (ovs_restart(&d->ovs, error) != 0 || watch_ovs(d) != 0) {
		log_msg(LOG_ERROR, "%s", error);
		main_stop(d, 1);
	}
}

void host_down(struct sekishod *d)
{
	if (!d->host_up)
		return;
	nat_down(d);
	uplink_port_down(d->conf.run_dir);
	uplink_names_down(&d->names);
	for (unsigned i = 0; i < UPLINK_NAMES_FDS; i++) {
		if (d->names_fds[i] > 0)
			close(d->names_fds[i]);
	}
	if (d->names_netns >= 0)
		close(d->names_netns);
	ovs_stop(&d->ovs);
	char path[300];
	snprintf(path, sizeof(path), "%s/offload", d->conf.run_dir);
	unlink(path);
	link_close(d->links);
}
