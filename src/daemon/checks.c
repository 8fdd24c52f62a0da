/* SPDX-License-Identifier: Apache-2.0 */
/* What main sees and tries out for `sekisho doctor`. Anybody may ask, so the answer is kept a few seconds. */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/cgroup.h"
#include "daemon/culprit.h"
#include "daemon/sekishod.h"
#include "daemon/selftest.h"
#include "daemon/vms.h"
#include "vm/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHECKS_MAX = 10, KEPT_MS = 1000, UPLINK_OFPORT = 60001, BOOT_QUIRK_S = 10, STAT_STARTTIME = 20 };

struct checks {
	int64_t made_ms;
	unsigned n;
	struct ipc_check c[CHECKS_MAX];
};

static struct ipc_check *add(struct checks *l, const char *name, bool ok, const char *text, const char *fix)
{
	struct ipc_check *c = &l->c[l->n++ % CHECKS_MAX];
	*c = (struct ipc_check){ .ok = ok };
	snprintf(c->name, sizeof(c->name), "%s", name);
	ipc_text_set(&c->text, text);
	ipc_text_set(&c->fix, ok || fix == NULL ? "" : fix);
	return c;
}

static const char *kind_of(const struct ovs *o)
{
	return strcmp(o->datapath_type, "system") == 0 ? "the kernel's datapath" : "userspace datapath";
}

static void check_vswitchd(const struct sekishod *d, struct checks *l)
{
	char text[128], fix[96];
	if (d->ports.down) {
		snprintf(fix, sizeof(fix),
			d->ovs.private ? "kill -KILL $(cat %s/ovs-vswitchd.pid)"
				       : "systemctl restart openvswitch-switch",
			d->ovs.dir);
		add(l, "ovs-vswitchd", false,
			"it does not answer; the applications' interfaces are down until it serves again", fix);
		return;
	}
	snprintf(text, sizeof(text), "%s Open vSwitch serves, %s", d->ovs.private ? "a private" : "this computer's",
		kind_of(&d->ovs));
	add(l, "ovs-vswitchd", true, text, NULL);
}

static void check_offload(const struct sekishod *d, struct checks *l)
{
	char text[SELFTEST_TEXT_MAX + 128];
	if (d->offload_error[0] != '\0') {
		snprintf(text, sizeof(text), "the switch does not carry what it should: %s", d->offload_error);
		add(l, "offload", false, text, "apt-get install --reinstall openvswitch-switch");
		return;
	}
	add(l, "offload", true,
		d->ovs.tso
			? "segmentation and checksum offload are on: TCP and UDP pass the switch both ways"
			: "offloads are off, TCP and UDP pass without; an attached veth needs `ethtool -K IFACE tx off` "
			  "at its other end",
		NULL);
}

/* Seconds between the boot and the start of a process (proc(5), stat, field 22); -1: unknown. */
static long started_after_boot(pid_t pid)
{
	char path[64], text[1024] = "";
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	const char *p = n > 0 ? strrchr(text, ')') : NULL; /* the name may hold anything */
	for (unsigned field = 2; p != NULL && field < STAT_STARTTIME + 2; field++) {
		p = strchr(p, ' ');
		p = p == NULL ? NULL : p + 1;
	}
	return p == NULL ? -1 : strtol(p, NULL, 10) / sysconf(_SC_CLK_TCK);
}

static void check_upcalls(const struct sekishod *d, struct checks *l)
{
	long s = started_after_boot(ovs_vswitchd_pid(&d->ovs));
	if (strcmp(d->ovs.datapath_type, "system") != 0 || s < 0)
		return;
	add(l, "upcalls", s >= BOOT_QUIRK_S,
		s >= BOOT_QUIRK_S ? "ovs-vswitchd was started late enough after boot to see every packet"
				  : "ovs-vswitchd was started within ten seconds of boot and loses every new packet",
		"systemctl restart openvswitch-switch");
}

static void check_forward(const struct sekishod *d, struct checks *l, bool v6)
{
	const struct plan *p = &d->conf.plan;
	char error[SELFTEST_TEXT_MAX] = "", text[SELFTEST_TEXT_MAX + CULPRIT_TEXT_MAX + 8];
	struct culprit c = { 0 };
	struct selftest_forward f = { .bridge = d->conf.bridge,
		.port = d->uplink.port,
		.ofport = UPLINK_OFPORT,
		.port_mac = plan_mac(0, 0, 1),
		.router_mac = plan_router_mac(),
		.guest = v6 ? plan_v6(p, PLAN_SLOTS - 1, 2) : plan_v4(p, PLAN_SLOTS - 1, 2),
		.host_end = v6 ? plan_syn6(p, PLAN_SYN_MAX - 2) : plan_syn4(PLAN_SYN_MAX - 2),
		.peer = v6 ? plan_syn6(p, PLAN_SYN_MAX - 1) : plan_syn4(PLAN_SYN_MAX - 1) };
	int err = selftest_forward(&d->ovs, &f, error);
	if (err == -EHOSTUNREACH)
		culprit_find(f.port, v6, &c);
	snprintf(text, sizeof(text), "%s%s%s",
		err == 0 ? "a guest's packet passes this computer and its answer comes back" : error,
		c.who[0] == '\0' ? "" : ": ", c.who);
	add(l, v6 ? "forward IPv6" : "forward IPv4", err == 0, text, c.fix);
}

static void check_uplink(const struct sekishod *d, struct checks *l)
{
	bool v4 = link_has_default_route(d->links, 4, d->uplink.port),
	     v6 = link_has_default_route(d->links, 16, d->uplink.port);
	if (strcmp(d->conf.uplink, "nat") != 0)
		return;
	add(l, "uplink", v4 || v6,
		v4 && v6 ? "this computer has a way out, IPv4 and IPv6"
		: v4	 ? "this computer has a way out, IPv4 alone"
		: v6	 ? "this computer has a way out, IPv6 alone"
			 : "this computer has no default route: nothing gets out, whatever the rules say",
		"nmcli networking on, or ifup");
	if (!d->uplink_up || d->ports.down)
		return;
	if (v4)
		check_forward(d, l, false);
	if (v6)
		check_forward(d, l, true);
}

/* Nothing to repair: a machine's size is its own limit already. */
static void check_machines(struct checks *l)
{
	char text[160];
	bool limits = false;
	int err = cgroup_try(&limits);
	if (err != 0)
		snprintf(text, sizeof(text), "no cgroup can be made for virtual machines here (%s); they run without",
			strerror(-err));
	else
		snprintf(text, sizeof(text), "each virtual machine has a cgroup of its own, %s",
			limits ? "which limits its memory, processors and processes"
			       : "without limits: this computer gives it no controllers");
	add(l, "virtual machines", true, text, NULL);
}

/* Debian has no package of it. */
static void check_firecracker(const struct sekishod *d, struct checks *l)
{
	char error[VM_ERROR_MAX], text[VM_ERROR_MAX + 64];
	int err = vm_firecracker_there(vms_firecracker(), error);
	bool wanted = d->conf.vmm == VMM_FIRECRACKER;
	if (d->conf.vmm == VMM_QEMU)
		return;
	snprintf(text, sizeof(text), "%s%s",
		err == 0 ? "Firecracker runs applications on images where KVM works" : error,
		err == 0 || wanted ? "" : "; QEMU runs all");
	add(l, "firecracker", err == 0 || !wanted, text,
		"put the program of a release (github.com/firecracker-microvm/firecracker/releases, 1.12.1 is the one tested) "
		"into /usr/local/bin/firecracker");
}

static struct checks *look(struct sekishod *d)
{
	if (d->checks == NULL)
		d->checks = calloc(1, sizeof(*d->checks));
	struct checks *l = d->checks;
	if (l == NULL || (l->n > 0 && clock_boot_ms() - l->made_ms < KEPT_MS))
		return l;
	l->n = 0;
	check_vswitchd(d, l);
	check_offload(d, l);
	check_upcalls(d, l);
	check_uplink(d, l);
	check_machines(l);
	check_firecracker(d, l);
	l->made_ms = clock_boot_ms();
	return l;
}

void checks_run(struct sekishod *d)
{
	const struct checks *l = look(d);
	struct frame_chan *desk = d->children[ROLE_DESK].chan;
	int err = 0;
	for (unsigned i = 0; l != NULL && err == 0 && i < l->n; i++)
		err = ipc_send(desk, IPC_CHECK, 0, check, &l->c[i], NULL, 0);
	if (err == 0)
		err = frame_send(desk, IPC_CHECK_END, 0, NULL, 0, NULL, 0);
	if (err != 0)
		log_msg(LOG_WARNING, "desk could not be told what the checks found");
}

void checks_at_start(struct sekishod *d)
{
	const struct checks *l = look(d);
	for (unsigned i = 0; l != NULL && i < l->n; i++) {
		if (!l->c[i].ok)
			log_msg(LOG_WARNING, "%s: %s; try: %s", l->c[i].name, l->c[i].text.s, l->c[i].fix.s);
	}
}
