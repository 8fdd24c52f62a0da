/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The apps' interfaces that are up. A vswitchd that ended or froze leaves the kernel's megaflows forwarding past every
 * lease, so they go down with it; what desk brings up meanwhile stays down until it serves again.
 */
#include "base/log.h"
#include "daemon/sekishod.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned port_find(const struct ports *p, const char *name)
{
	unsigned i = 0;
	while (i < p->n && strcmp(p->names[i], name) != 0)
		i++;
	return i;
}

int ports_raise(struct sekishod *d, const char *name)
{
	struct ports *p = &d->ports;
	unsigned i = port_find(p, name);
	if (i == PLAN_SLOTS)
		return -ENOSPC;
	int err = p->down ? 0 : link_set_up(d->links, name, true);
	if (err == 0 && i == p->n)
		snprintf(p->names[p->n++], sizeof(p->names[0]), "%.15s", name);
	return err;
}

void ports_forget(struct sekishod *d, const char *name)
{
	struct ports *p = &d->ports;
	unsigned i = port_find(p, name);
	if (i < p->n)
		memmove(p->names[i], p->names[--p->n], sizeof(p->names[0]));
}

static void set_all(struct sekishod *d, bool up)
{
	for (unsigned i = 0; i < d->ports.n; i++) {
		int err = link_set_up(d->links, d->ports.names[i], up);
		/* One that vanished is told to desk by OVSDB. */
		if (err != 0 && err != -ENODEV)
			log_msg(LOG_ERROR, "cannot bring %s %s: %s", d->ports.names[i], up ? "up" : "down",
				strerror(-err));
	}
}

void ports_down(struct sekishod *d)
{
	char error[OVS_ERROR_MAX] = "";
	if (d->ports.down)
		return;
	d->ports.down = true;
	set_all(d, false);
	if (ovs_forget_megaflows(&d->ovs, error) != 0)
		log_msg(LOG_ERROR, "%s", error);
	if (d->ports.n > 0)
		log_msg(LOG_WARNING, "%u interfaces of applications are down until ovs-vswitchd serves again",
			d->ports.n);
}

void ports_up(struct sekishod *d)
{
	if (!d->ports.down)
		return;
	d->ports.down = false;
	set_all(d, true);
	if (d->ports.n > 0)
		log_msg(LOG_NOTICE, "ovs-vswitchd serves: %u interfaces of applications are up again", d->ports.n);
}
