/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switch side against a real private Open vSwitch, in a network namespace and a directory of its own. Needs root;
 * without it the test is skipped (77).
 */
#include "base/clock.h"
#include "daemon/ctcut.h"
#include "daemon/link.h"
#include "daemon/ovs.h"
#include "daemon/program.h"
#include "daemon/sysctl.h"
#include "daemon/unixctl.h"
#include "daemon/uplink.h"
#include "ovsdb/bridge.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, SKIP = 77 };

static char run_dir[] = "/tmp/sekisho-bridgetry-XXXXXX";
static struct ovs ovs;
static struct link_sock *links;
static char error[256];

/* A bridge and its connection. */
struct pump {
	struct bridge *b;
	int fd;
	unsigned n_foreign, n_ready;
	char last_text[BRIDGE_TEXT_MAX];
	struct bridge_event seen; /* the event waited for */
};

static bool pump_events(struct pump *p, int type, const char *port)
{
	struct bridge_event e;
	while (bridge_next_event(p->b, &e)) {
		if (e.type == BRIDGE_FOREIGN) {
			p->n_foreign++;
			snprintf(p->last_text, sizeof(p->last_text), "%s", e.text);
		}
		p->n_ready += e.type == BRIDGE_READY;
		if ((int)e.type == type && strcmp(e.port, port) == 0) {
			p->seen = e;
			return true;
		}
	}
	return false;
}

static void pump_connect(struct pump *p)
{
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	if (p->fd >= 0)
		close(p->fd);
	while ((p->fd = ovs_connect(&ovs, "db")) < 0 && clock_boot_ms() < end)
		poll(NULL, 0, 10);
	assert_true(p->fd >= 0);
	bridge_connected(p->b, clock_boot_ms());
}

/* Moves bytes until an event of the type and port comes; false: `timeout_ms` passed. */
static bool pump_until(struct pump *p, int type, const char *port, int timeout_ms)
{
	static char buf[65536];
	int64_t end = clock_boot_ms() + timeout_ms, deadline = 0;
	while (!pump_events(p, type, port)) {
		size_t len;
		if (clock_boot_ms() >= end)
			return false;
		if (bridge_step(p->b, clock_boot_ms(), &deadline) != 0)
			pump_connect(p);
		const void *out = bridge_output(p->b, &len);
		if (len > 0) {
			ssize_t n = send(p->fd, out, len, MSG_NOSIGNAL);
			if (n > 0)
				bridge_sent(p->b, (size_t)n);
		}
		struct pollfd pf = { .fd = p->fd, .events = POLLIN };
		poll(&pf, 1, 20);
		ssize_t n = recv(p->fd, buf, sizeof(buf), 0);
		if (n > 0)
			assert_int_equal(bridge_input(p->b, buf, (size_t)n, clock_boot_ms()), 0);
		else if (n == 0)
			pump_connect(p);
	}
	return true;
}

/* Answers what is there without waiting for anything. */
static void pump_idle(struct pump *p)
{
	(void)pump_until(p, -1, "", 200);
}

static int run(const char *const *argv)
{
	char said[200];
	int status = program_run(argv, NULL, NULL, said, sizeof(said));
	if (status != 0)
		print_message("%s: %d %s\n", argv[0], status, said);
	return status;
}

static int vsctl(const char *a, const char *b, const char *c, const char *d, const char *e)
{
	char db[200];
	snprintf(db, sizeof(db), "--db=unix:%s/ovs/db.sock", run_dir);
	const char *const argv[] = { "ovs-vsctl", db, "--timeout=8", a, b, c, d, e, NULL };
	return run(argv);
}

/* The output of a shell line. */
static char *text_of(const char *line)
{
	FILE *f = popen(line, "re");
	assert_non_null(f);
	char *buf = calloc(1, 1 << 20);
	assert_non_null(buf);
	size_t n = fread(buf, 1, (1 << 20) - 1, f);
	buf[n] = '\0';
	pclose(f);
	return buf;
}

static struct pump start_bridge(void)
{
	struct bridge_conf c = { .name = "skt0", .mac = { { 2, 0x5e, 0x6b, 0, 0, 1 } } };
	struct pump p = { .fd = -1 };
	snprintf(c.datapath_type, sizeof(c.datapath_type), "%s", ovs.datapath_type);
	assert_int_equal(bridge_new(&c, &p.b), 0);
	pump_connect(&p);
	return p;
}

static void end_bridge(struct pump *p)
{
	bridge_remove(p->b, clock_boot_ms());
	assert_true(pump_until(p, BRIDGE_PORT_GONE, "", PATIENCE_MS));
	bridge_free(p->b);
	close(p->fd);
}

static void add_port(struct pump *p, const char *name, bool internal, uint16_t ofport)
{
	struct bridge_port bp = { .internal = internal, .ofport = ofport };
	snprintf(bp.name, sizeof(bp.name), "%s", name);
	snprintf(bp.app, sizeof(bp.app), "1.1");
	assert_int_equal(bridge_port_add(p->b, &bp, clock_boot_ms()), 0);
}

static void test_made_and_removed(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	assert_int_equal(link_add_veth(links, "bt0", "bt1", -1), 0);
	add_port(&p, "bt0", false, 7);
	add_port(&p, "bti", true, 9);
	int64_t t0 = clock_mono_us();
	assert_true(pump_until(&p, BRIDGE_READY, "", PATIENCE_MS));
	print_message("bridge and two ports ready after %lld us\n", (long long)(clock_mono_us() - t0));
	pump_idle(&p);
	assert_int_equal(bridge_port_ofport(p.b, "bt0"), 7);
	assert_int_equal(bridge_port_ofport(p.b, "bti"), 9);
	char *show = text_of(
		"ovs-vsctl --db=unix:$RUN/ovs/db.sock --columns=fail_mode,protocols,other_config,datapath_type list bridge skt0");
	assert_non_null(strstr(show, "secure"));
	assert_non_null(strstr(show, "[OpenFlow15]"));
	assert_non_null(strstr(show, "disable-in-band=\"true\""));
	free(show);
	t0 = clock_mono_us();
	assert_int_equal(bridge_port_del(p.b, "bt0", clock_boot_ms()), 0);
	assert_true(pump_until(&p, BRIDGE_PORT_GONE, "bt0", PATIENCE_MS));
	print_message("port gone after %lld us\n", (long long)(clock_mono_us() - t0));
	t0 = clock_mono_us();
	add_port(&p, "bt0", false, 8);
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bt0", PATIENCE_MS));
	print_message("port up after %lld us\n", (long long)(clock_mono_us() - t0));
	assert_int_equal(p.seen.ofport, 8);
	assert_int_equal(p.n_foreign, 0);
	add_port(&p, "nothere", false, 11);
	assert_true(pump_until(&p, BRIDGE_PORT_ERROR, "nothere", PATIENCE_MS));
	print_message("a missing interface: %s\n", p.seen.text);
	assert_int_equal(link_del(links, "bt1"), 0);
	assert_true(pump_until(&p, BRIDGE_PORT_ERROR, "bt0", PATIENCE_MS));
	print_message("a vanished interface: %s\n", p.seen.text);
	end_bridge(&p);
	char *left = text_of("ovs-vsctl --db=unix:$RUN/ovs/db.sock --bare --columns=name list interface");
	assert_string_equal(left, "");
	free(left);
}

static void test_foreign_changes(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	add_port(&p, "bti", true, 9);
	assert_true(pump_until(&p, BRIDGE_READY, "", PATIENCE_MS));
	pump_idle(&p);
	assert_int_equal(vsctl("--no-wait", "set-fail-mode", "skt0", "standalone", NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	print_message("foreign: %s\n", p.seen.text);
	assert_int_equal(vsctl("--no-wait", "set-controller", "skt0", "tcp:127.0.0.1:6653", NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	assert_int_equal(vsctl("--no-wait", "del-port", "skt0", "bti", NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	print_message("foreign: %s\n", p.seen.text);
	assert_int_equal(vsctl("--no-wait", "add-port", "skt0", "evil", NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	print_message("foreign: %s\n", p.seen.text);
	assert_int_equal(vsctl("--no-wait", "set", "port", "bti", "tag=5"), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	print_message("foreign: %s\n", p.seen.text);
	assert_int_equal(vsctl("--no-wait", "del-br", "skt0", NULL, NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	/* Six in a row: the last repair waits a little. */
	(void)pump_until(&p, -1, "", 6000);
	char *show = text_of(
		"ovs-vsctl --db=unix:$RUN/ovs/db.sock get-fail-mode skt0; ovs-vsctl --db=unix:$RUN/ovs/db.sock get-controller skt0; "
		"ovs-vsctl --db=unix:$RUN/ovs/db.sock list-ports skt0; ovs-vsctl --db=unix:$RUN/ovs/db.sock get port bti tag");
	assert_string_equal(show, "secure\nbti\n[]\n");
	free(show);
	end_bridge(&p);
}

static void test_zones(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	assert_int_equal(bridge_zone_add(p.b, 40001, clock_boot_ms()), 0);
	assert_true(pump_until(&p, BRIDGE_READY, "", PATIENCE_MS));
	assert_int_equal(bridge_zone_add(p.b, 40002, clock_boot_ms()), 0);
	assert_int_equal(bridge_zone_del(p.b, 40001, clock_boot_ms()), 0);
	pump_idle(&p);
	char line[200];
	snprintf(line, sizeof(line), "ovs-vsctl --db=unix:$RUN/ovs/db.sock list-zone-tp %s", ovs.datapath_type);
	char *show = text_of(line);
	print_message("%s", show);
	assert_non_null(strstr(show, "Zone:40002"));
	assert_null(strstr(show, "Zone:40001"));
	assert_non_null(strstr(show, "udp_multiple=120"));
	free(show);
	end_bridge(&p);
}

static void test_not_ours(void **state)
{
	(void)state;
	assert_int_equal(vsctl("--no-wait", "add-br", "skt0", NULL, NULL), 0);
	struct pump p = start_bridge();
	assert_true(pump_until(&p, BRIDGE_REFUSED, "", PATIENCE_MS));
	print_message("refused: %s\n", p.seen.text);
	bridge_free(p.b);
	close(p.fd);
	assert_int_equal(vsctl("--no-wait", "del-br", "skt0", NULL, NULL), 0);
}

static void kill_one(pid_t pid, int pidfd)
{
	struct pollfd pf = { .fd = pidfd, .events = POLLIN };
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&pf, 1, PATIENCE_MS), 1);
}

static void test_restarts(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	add_port(&p, "bti", true, 9);
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bti", PATIENCE_MS));
	/* The database server dies; while nobody looks somebody changes the bridge. */
	int64_t t0 = clock_mono_us();
	kill_one(ovs.db_pid, ovs.db_pidfd);
	assert_int_equal(ovs_restart(&ovs, error), 0);
	assert_int_equal(vsctl("--no-wait", "set-fail-mode", "skt0", "standalone", NULL), 0);
	assert_true(pump_until(&p, BRIDGE_FOREIGN, "", PATIENCE_MS));
	print_message("ovsdb-server killed, restarted, change found: %lld us\n", (long long)(clock_mono_us() - t0));
	pump_idle(&p);
	/* vswitchd dies: its control socket tells at once. */
	int ctl = ovs_connect(&ovs, "ctl");
	assert_true(ctl >= 0);
	struct unixctl *u;
	assert_int_equal(unixctl_new(ctl, &u), 0);
	t0 = clock_mono_us();
	kill_one(ovs.vswitchd_pid, ovs.vswitchd_pidfd);
	struct pollfd pf = { .fd = ctl, .events = POLLIN };
	assert_int_equal(poll(&pf, 1, 20000), 1);
	assert_int_equal(unixctl_io(u), -EPIPE);
	print_message("vswitchd's end seen after %lld us\n", (long long)(clock_mono_us() - t0));
	unixctl_free(u);
	assert_int_equal(ovs_restart(&ovs, error), 0);
	print_message("vswitchd answers again after %lld us\n", (long long)(clock_mono_us() - t0));
	int fd = -1;
	for (unsigned i = 0; i < 500 && (fd = ovs_connect_mgmt(&ovs, "skt0")) < 0; i++)
		pump_idle(&p);
	assert_true(fd >= 0);
	print_message("OpenFlow socket after %lld us\n", (long long)(clock_mono_us() - t0));
	close(fd);
	end_bridge(&p);
}

static void test_adopted(void **state)
{
	(void)state;
	struct ovs_conf c = { .which = OVS_SWITCH_PRIVATE,
		.datapath = OVS_DATAPATH_NETDEV,
		.run_dir = run_dir,
		.tso = true };
	struct ovs second;
	assert_int_equal(ovs_open(&c, &second, error), 0);
	assert_true(second.adopted);
	assert_int_equal(second.vswitchd_pid, ovs.vswitchd_pid);
	ovs_close(&second);
	c.which = OVS_SWITCH_SYSTEM;
	c.system_dir = "/nowhere";
	assert_int_equal(ovs_open(&c, &second, error), -ENOENT);
	print_message("%s\n", error);
	c.which = OVS_SWITCH_PRIVATE;
	c.datapath = OVS_DATAPATH_SYSTEM;
	if (!link_has_genl_family("ovs_datapath"))
		assert_int_equal(ovs_open(&c, &second, error), -EOPNOTSUPP);
}

static void test_app_ports_survive(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	add_port(&p, "bti", true, 9);
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bti", PATIENCE_MS));
	pump_idle(&p);
	bridge_free(p.b);
	close(p.fd);
	p = start_bridge();
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bti", PATIENCE_MS));
	assert_int_equal(p.seen.ofport, 9);
	add_port(&p, "bti", true, 9);
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bti", PATIENCE_MS));
	end_bridge(&p);
}

static void test_links(void **state)
{
	(void)state;
	struct link_info i;
	assert_int_equal(link_check_attachable(links, "nothere", error), -ENODEV);
	print_message("%s\n", error);
	assert_int_equal(link_check_attachable(links, "lo", error), -EINVAL);
	print_message("%s\n", error);
	assert_int_equal(link_add_veth(links, "bt0", "bt1", -1), 0);
	assert_int_equal(link_check_attachable(links, "bt0", error), 0);
	assert_int_equal(link_prepare(links, "bt0", false), 0);
	assert_int_equal(link_set_up(links, "bt0", true), 0);
	assert_int_equal(link_set_up(links, "bt1", true), 0);
	assert_int_equal(link_get(links, "bt0", &i), 0);
	assert_true(i.up);
	assert_string_equal(i.kind, "veth");
	char *show = text_of("ip -6 addr show dev bt0; ethtool -k bt0 2>/dev/null | grep tx-checksumming:");
	assert_null(strstr(show, "fe80"));
	free(show);
	struct addr a = addr_v4(0xc0000201);
	assert_int_equal(link_add_address(links, "bt0", &a, 24), 0);
	assert_int_equal(link_check_attachable(links, "bt0", error), -EADDRINUSE);
	print_message("%s\n", error);
	assert_int_equal(link_check_uplink(links, "bt0", false, error), -EADDRINUSE);
	assert_int_equal(link_check_uplink(links, "bt0", true, error), 0);
	assert_int_equal(link_del(links, "bt0"), 0);
	assert_int_equal(link_add_tap("btap", 0, true), 0);
	assert_int_equal(link_check_attachable(links, "btap", error), 0);
	assert_int_equal(link_prepare(links, "btap", true), 0);
	const char *const bridge[] = { "ip", "link", "add", "btbr", "type", "bridge", NULL };
	const char *const master[] = { "ip", "link", "set", "btap", "master", "btbr", NULL };
	if (run(bridge) == 0 && run(master) == 0) {
		assert_int_equal(link_check_attachable(links, "btap", error), -EBUSY);
		print_message("%s\n", error);
		assert_int_equal(link_del(links, "btbr"), 0);
	}
	assert_int_equal(link_del(links, "btap"), 0);
}

#define DUMP \
	"ip -d link show | grep -v '^ *RX\\|^ *TX'; ip addr; ip route show table all; ip -6 route show table all; ip neigh; nft list ruleset; " \
	"grep -r . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf 2>/dev/null | grep -v stable_secret | " \
	"grep 'forward\\|accept_ra:\\|ip_forward' | sort"

static struct uplink_conf nat_conf(void)
{
	struct uplink_conf c = { .run_dir = run_dir,
		.port = "bti",
		.next_hop_mac = { { 2, 0x5e, 0x6b, 0, 0, 1 } },
		.tso = true };
	c.v4 = (struct uplink_net){ .net = addr_v4(0x64400000),
		.prefix = 20,
		.gateway = addr_v4(0x64400002),
		.next_hop = addr_v4(0x64400001) };
	c.v6.prefix = 48;
	assert_true(addr_parse("fd73:6b69:7368::", &c.v6.net));
	assert_true(addr_parse("fd73:6b69:7368::2", &c.v6.gateway));
	assert_true(addr_parse("fd73:6b69:7368::1", &c.v6.next_hop));
	return c;
}

static void show_difference(const char *before, const char *after)
{
	char path[64];
	const char *texts[] = { before, after };
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%.40s/dump%u", run_dir, i);
		FILE *f = fopen(path, "we");
		assert_non_null(f);
		fputs(texts[i], f);
		fclose(f);
	}
	char *diff = text_of("diff $RUN/dump0 $RUN/dump1; rm $RUN/dump0 $RUN/dump1");
	print_message("%.4000s\n", diff);
	free(diff);
}

/* The kernel tells of carriers by a work of its own, up to a second late. */
static void settle(void)
{
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	for (bool settled = false; !settled;) {
		char *show = text_of("ip -o link show bt0; ip -o link show bt1");
		const char *first = strstr(show, "state UP");
		settled = first != NULL && strstr(first + 1, "state UP") != NULL;
		free(show);
		assert_true(settled || clock_boot_ms() < end);
	}
}

static void settled_veth(bool ipv6_auto)
{
	static const char *const ends[] = { "bt0", "bt1" };
	assert_int_equal(link_add_veth(links, ends[0], ends[1], -1), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ipv6_auto ? 0 : link_set_no_ipv6_auto(links, ends[i]), 0);
		assert_int_equal(link_set_up(links, ends[i], true), 0);
	}
	settle();
}

static void test_nat_uplink(void **state)
{
	(void)state;
	struct pump p = start_bridge();
	assert_true(pump_until(&p, BRIDGE_READY, "", PATIENCE_MS));
	/* Somebody else's table and interface, forwarding off, one interface that listens to router advertisements. */
	settled_veth(false);
	const char *const other[] = { "nft",
		"add table inet other { chain c { type filter hook forward priority 0; }; }", NULL };
	assert_int_equal(run(other), 0);
	char *before = text_of(DUMP);
	add_port(&p, "bti", true, 9);
	assert_true(pump_until(&p, BRIDGE_PORT_UP, "bti", PATIENCE_MS));
	struct uplink_conf c = nat_conf();
	int64_t t0 = clock_mono_us();
	int err = uplink_nat_up(&c, error);
	if (err != 0)
		print_message("%s\n", error);
	assert_int_equal(err, 0);
	print_message("nat uplink up after %lld us\n", (long long)(clock_mono_us() - t0));
	assert_int_equal(uplink_nat_up(&c, error), 0);
	char value[SYSCTL_VALUE_MAX];
	assert_int_equal(sysctl_read("ipv4/ip_forward", value), 0);
	assert_string_equal(value, "1");
	assert_int_equal(sysctl_read("ipv6/conf/bt0/accept_ra", value), 0);
	assert_string_equal(value, "2");
	char *show = text_of("ip route; ip -6 route; ip neigh show dev bti; nft list table inet sekisho");
	print_message("%s", show);
	assert_non_null(strstr(show, "100.64.0.0/20 via 100.64.0.1 dev bti"));
	assert_non_null(strstr(show, "fd73:6b69:7368::/48 via fd73:6b69:7368::1 dev bti"));
	assert_non_null(strstr(show, "100.64.0.1 lladdr 02:5e:6b:00:00:01 PERMANENT"));
	assert_non_null(strstr(show, "meta nfproto ipv4 drop"));
	assert_non_null(strstr(show, "masquerade"));
	free(show);
	struct uplink_forward f = { .protocol = 17, .port = 27015, .guest4 = addr_v4(0x64400006) };
	err = uplink_set_forwards(&c, &f, 1, error);
	if (err != 0)
		print_message("%s\n", error);
	assert_int_equal(err, 0);
	assert_int_equal(uplink_nat_down(&c, error), 0);
	assert_int_equal(bridge_port_del(p.b, "bti", clock_boot_ms()), 0);
	assert_true(pump_until(&p, BRIDGE_PORT_GONE, "bti", PATIENCE_MS));
	char *after = text_of(DUMP);
	if (strcmp(before, after) != 0)
		show_difference(before, after);
	assert_string_equal(before, after);
	free(before);
	free(after);
	assert_int_equal(link_del(links, "bt0"), 0);
	end_bridge(&p);
}

static void test_names_namespace(void **state)
{
	(void)state;
	struct uplink_names_conf c = { .port = "btn0",
		.mac = { { 2, 0x5e, 0x72, 0, 0, 0 } },
		.addr4 = addr_v4(0x64400003),
		.next_hop4 = addr_v4(0x64400001),
		.next_hop_mac = { { 2, 0x5e, 0x6b, 0, 0, 1 } },
		.tso = true };
	int fds[UPLINK_NAMES_FDS], netns = -1;
	struct link_info i;
	assert_true(addr_parse("fd73:6b69:7368::3", &c.addr6));
	assert_true(addr_parse("fd73:6b69:7368::1", &c.next_hop6));
	assert_int_equal(uplink_names_up(&c, fds, &netns, error), 0);
	assert_int_equal(link_get(links, "btn0", &i), 0);
	char line[200];
	snprintf(line, sizeof(line),
		"nsenter --net=/proc/%d/fd/%d sh -c 'ip addr; ip route; ip -6 route; ip neigh; ss -lnut'",
		(int)getpid(), netns);
	char *show = text_of(line);
	print_message("%s", show);
	assert_non_null(strstr(show, "default via 100.64.0.1"));
	assert_non_null(strstr(show, "default via fd73:6b69:7368::1"));
	free(show);
	/* A second start takes over from the first. */
	int again[UPLINK_NAMES_FDS], netns2 = -1;
	assert_int_equal(uplink_names_up(&c, again, &netns2, error), 0);
	uplink_names_down(&c);
	assert_int_equal(link_get(links, "btn0", &i), -ENODEV);
	for (unsigned k = 0; k < UPLINK_NAMES_FDS; k++) {
		close(fds[k]);
		close(again[k]);
	}
	close(netns);
	close(netns2);
}

static void test_port_uplink(void **state)
{
	(void)state;
	struct link_info i;
	settled_veth(true);
	char *before = text_of("ip -d link show bt0 | head -3; ethtool -k bt0 2>/dev/null");
	assert_int_equal(uplink_port_up(run_dir, "bt0", false, false, error), 0);
	assert_int_equal(uplink_port_up(run_dir, "bt0", false, false, error), 0);
	uplink_port_down(run_dir);
	settle();
	char *after = text_of("ip -d link show bt0 | head -3; ethtool -k bt0 2>/dev/null");
	assert_string_equal(before, after);
	free(before);
	free(after);
	struct addr a = addr_v4(0xc0000201);
	assert_int_equal(link_add_address(links, "bt0", &a, 24), 0);
	assert_int_equal(uplink_port_up(run_dir, "bt0", false, false, error), -EADDRINUSE);
	assert_int_equal(uplink_port_up(run_dir, "bt0", true, false, error), -EOPNOTSUPP);
	assert_int_equal(link_get(links, "bt0", &i), 0);
	assert_true(i.up);
	assert_int_equal(link_del(links, "bt0"), 0);
}

static int setup(void **state)
{
	(void)state;
	struct ovs_conf c = { .which = OVS_SWITCH_PRIVATE,
		.datapath = OVS_DATAPATH_NETDEV,
		.run_dir = run_dir,
		.tso = true };
	if (unshare(CLONE_NEWNET) != 0 || mkdtemp(run_dir) == NULL || link_open(&links) != 0)
		return -1;
	setenv("RUN", run_dir, 1);
	int64_t t0 = clock_mono_us();
	int err = ovs_open(&c, &ovs, error);
	if (err != 0)
		print_message("ovs_open: %s\n", error);
	print_message("private OVS up after %lld us\n", (long long)(clock_mono_us() - t0));
	return err;
}

static int teardown(void **state)
{
	(void)state;
	int64_t t0 = clock_mono_us();
	ovs_stop(&ovs);
	print_message("private OVS ended after %lld us\n", (long long)(clock_mono_us() - t0));
	link_close(links);
	return rmdir(run_dir); /* empty: nothing is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_and_removed),
		cmocka_unit_test(test_foreign_changes),
		cmocka_unit_test(test_zones),
		cmocka_unit_test(test_not_ours),
		cmocka_unit_test(test_restarts),
		cmocka_unit_test(test_adopted),
		cmocka_unit_test(test_app_ports_survive),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_nat_uplink),
		cmocka_unit_test(test_names_namespace),
		cmocka_unit_test(test_port_uplink),
	};
	if (geteuid() != 0)
		return SKIP;
	return cmocka_run_group_tests_name("switch side", tests, setup, teardown);
}
