/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The switchd role as a process, confined as in the daemon, against a real private Open vSwitch. This program plays
 * main, gate and desk. Needs root (else 77).
 */
#include "base/clock.h"
#include "daemon/link.h"
#include "daemon/ovs.h"
#include "daemon/program.h"
#include "daemon/roles.h"
#include "daemon/unixctl.h"
#include "daemon/uplink.h"
#include "role/boot.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, SKIP = 77, ZONE = 40001 };

static char run_dir[] = "/tmp/sekisho-switchdry-XXXXXX";
static struct ovs ovs;
static struct link_sock *links;
static struct conf conf;
static char error[256];
static pid_t child;
static struct frame_chan *chans[ROLE_COUNT];
static unsigned n_uplink_events;

static void answer_main(struct frame *f)
{
	struct ipc_text t;
	struct ipc_result r = { 0 };
	if (f->type == IPC_SWITCH_EVENT)
		n_uplink_events++;
	if (f->type != IPC_LINK_FD)
		return;
	assert_true(ipc_text_get(f->body, f->len, &t));
	int fd = strcmp(t.s, "mgmt") == 0 ? ovs_connect_mgmt(&ovs, conf.bridge) : ovs_connect(&ovs, t.s);
	r.err = fd < 0 ? fd : 0;
	assert_int_equal(ipc_send(chans[ROLE_MAIN], IPC_RESULT, f->id, result, &r, &fd, fd < 0 ? 0 : 1), 0);
	if (fd >= 0)
		close(fd);
}

/* Serves as main until a frame of `type` arrives on the channel of `role`. */
static struct frame await(enum role_id role, uint16_t type)
{
	static const enum role_id all[] = { ROLE_MAIN, ROLE_GATE, ROLE_DESK };
	int64_t end = clock_boot_ms() + PATIENCE_MS;
	while (clock_boot_ms() < end) {
		struct pollfd p[3];
		for (unsigned i = 0; i < 3; i++)
			p[i] = (struct pollfd){ .fd = frame_chan_fd(chans[all[i]]), .events = POLLIN };
		poll(p, 3, 100);
		for (unsigned i = 0; i < 3; i++) {
			struct frame f;
			int got = frame_recv(chans[all[i]], &f);
			if (got < 0)
				fail_msg("switchd is gone");
			if (got == 0)
				continue;
			if (all[i] == role && f.type == type)
				return f;
			if (all[i] == ROLE_MAIN)
				answer_main(&f);
			frame_close_fds(&f);
		}
	}
	fail_msg("no message %u from switchd", type);
	return (struct frame){ 0 };
}

static void connect_peer(enum role_id role)
{
	int pair[2];
	struct ipc_u32 who = { .v = role };
	assert_int_equal(frame_pair(pair), 0);
	assert_int_equal(ipc_send(chans[ROLE_MAIN], IPC_CHANNEL, 0, u32, &who, &pair[1], 1), 0);
	close(pair[1]);
	frame_chan_free(chans[role]);
	assert_int_equal(frame_chan_new(pair[0], &chans[role]), 0);
}

static void start_switchd(void)
{
	int pair[2];
	static char text[8192];
	assert_int_equal(frame_pair(pair), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct role r;
		close(pair[0]);
		_exit(role_boot(ROLE_SWITCHD, pair[1], &r) == 0 && switchd_main(&r) == 0 ? 0 : 1);
	}
	close(pair[1]);
	assert_int_equal(frame_chan_new(pair[0], &chans[ROLE_MAIN]), 0);
	int n = conf_print(&conf, text, sizeof(text));
	assert_true(n > 0);
	assert_int_equal(frame_send(chans[ROLE_MAIN], IPC_CONFIG, 0, text, (size_t)n, NULL, 0), 0);
	connect_peer(ROLE_GATE);
	connect_peer(ROLE_DESK);
	assert_int_equal(frame_send(chans[ROLE_MAIN], IPC_START, 0, NULL, 0, NULL, 0), 0);
}

static int end_of_child(void)
{
	int status = -1;
	for (unsigned i = 0; i < 500 && waitpid(child, &status, WNOHANG) == 0; i++)
		poll(NULL, 0, 10);
	for (unsigned i = 0; i < ROLE_COUNT; i++) {
		frame_chan_free(chans[i]);
		chans[i] = NULL;
	}
	return status;
}

/* The sockets that gate gets speak OpenFlow: the switch's HELLO comes by itself. */
static struct ipc_switch take_conns(void)
{
	struct ipc_switch s;
	struct frame f = await(ROLE_GATE, IPC_OF_CONNS);
	assert_true(ipc_switch_get(f.body, f.len, &s));
	assert_int_equal(f.n_fds, 2);
	for (unsigned i = 0; i < 2; i++) {
		uint8_t hello[8] = { 0 };
		struct pollfd p = { .fd = f.fds[i], .events = POLLIN };
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		assert_int_equal(recv(f.fds[i], hello, sizeof(hello), 0), sizeof(hello));
		assert_int_equal(hello[0], 6); /* OpenFlow 1.5 */
		assert_int_equal(hello[1], 0);
	}
	frame_close_fds(&f);
	return s;
}

static struct ipc_result result(enum role_id role)
{
	struct ipc_result r;
	struct frame f = await(role, IPC_RESULT);
	assert_true(ipc_result_get(f.body, f.len, &r));
	return r;
}

static char *ctl(const char *method, const char *a, const char *b)
{
	char path[200], *text = NULL;
	const char *const args[] = { a, b, NULL };
	snprintf(path, sizeof(path), "%s/ovs/ovs-vswitchd.%d.ctl", run_dir, (int)ovs.vswitchd_pid);
	assert_int_equal(unixctl_call(path, method, args, PATIENCE_MS, &text), 0);
	return text;
}

static void flow(const char *text)
{
	char mgmt[200], said[200] = "";
	snprintf(mgmt, sizeof(mgmt), "unix:%s/ovs/%s.mgmt", run_dir, conf.bridge);
	const char *const argv[] = { "ovs-ofctl", "-O", "OpenFlow15", "add-flow", mgmt, text, NULL };
	if (program_run(argv, NULL, NULL, said, sizeof(said)) != 0)
		fail_msg("%s: %s", text, said);
}

static void cut(uint32_t mark)
{
	struct ipc_cut c = { .zone = ZONE, .mark = mark };
	assert_int_equal(ipc_send(chans[ROLE_GATE], IPC_CT_CUT, 7, cut, &c, NULL, 0), 0);
}

/* From a port of its own, so that the same packet once more is the same connection. */
static void send_to(int type, int protocol, const char *to, uint16_t port, const void *bytes, size_t len)
{
	const uint16_t own = type == SOCK_RAW ? 0 : htons(20000);
	struct addr a;
	struct sockaddr_in s4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 s6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	assert_true(addr_parse(to, &a));
	memcpy(a.len == 4 ? (uint8_t *)&s4.sin_addr : s6.sin6_addr.s6_addr, a.b, a.len);
	const struct sockaddr *sa = a.len == 4 ? (const struct sockaddr *)&s4 : (const struct sockaddr *)&s6;
	socklen_t sa_len = a.len == 4 ? sizeof(s4) : sizeof(s6);
	int fd = socket(sa->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	assert_true(fd >= 0);
	struct sockaddr_in from4 = { .sin_family = AF_INET, .sin_port = own };
	struct sockaddr_in6 from6 = { .sin6_family = AF_INET6, .sin6_port = own };
	const int on = 1;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, a.len == 4 ? (const struct sockaddr *)&from4 : (const struct sockaddr *)&from6,
				 sa_len),
		0);
	if (type == SOCK_STREAM)
		assert_true(connect(fd, sa, sa_len) != 0 && errno == EINPROGRESS);
	else
		assert_int_equal(sendto(fd, bytes, len, 0, sa, sa_len), len);
	close(fd);
}

/* UDP, TCP, ICMP and UDP over IPv6 under mark 5, one UDP under mark 6: packets of the kernel's that enter by bt1. */
static void make_entries(void)
{
	static const uint8_t echo[8] = { 8, 0, 0xf7, 0xf3, 0, 7, 0, 5 };
	static const char *const ends[] = { "192.0.2.2", "192.0.2.3", "2001:db8::2" };
	const struct mac mac = { { 2, 0, 0, 0, 0, 1 } };
	struct addr us4, us6, net4, net6;
	assert_true(addr_parse("192.0.2.1", &us4) && addr_parse("2001:db8::1", &us6) &&
		    addr_parse("192.0.2.0", &net4) && addr_parse("2001:db8::", &net6));
	assert_int_equal(link_set_no_ipv6_auto(links, "bt1"), 0);
	assert_int_equal(link_set_up(links, "bt0", true), 0);
	assert_int_equal(link_set_up(links, "bt1", true), 0);
	assert_int_equal(link_add_address(links, "bt1", &us4, 24), 0);
	assert_int_equal(link_add_address(links, "bt1", &us6, 64), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct addr a;
		assert_true(addr_parse(ends[i], &a));
		assert_int_equal(link_add_neighbour(links, "bt1", &a, &mac), 0);
	}
	flow("table=0,priority=9,ip,nw_dst=192.0.2.3,actions=ct(commit,zone=40001,exec(set_field:6->ct_mark))");
	flow("table=0,priority=8,ip,actions=ct(commit,zone=40001,exec(set_field:5->ct_mark))");
	flow("table=0,priority=8,udp6,actions=ct(commit,zone=40001,exec(set_field:5->ct_mark))");
	/* Until all five have arrived: the switch may take up the interface after the first try. */
	unsigned n = 0;
	for (int64_t end = clock_boot_ms() + PATIENCE_MS; clock_boot_ms() < end && n < 5;) {
		send_to(SOCK_DGRAM, 0, "192.0.2.2", 53, "x", 1);
		send_to(SOCK_DGRAM, 0, "192.0.2.3", 53, "x", 1);
		send_to(SOCK_DGRAM, 0, "2001:db8::2", 53, "x", 1);
		send_to(SOCK_STREAM, 0, "192.0.2.2", 443, NULL, 0);
		send_to(SOCK_RAW, IPPROTO_ICMP, "192.0.2.2", 0, echo, sizeof(echo));
		char *text = ctl("dpctl/dump-conntrack", "netdev@ovs-netdev", "zone=40001");
		n = 0;
		for (const char *p = text; (p = strstr(p, "orig=")) != NULL; p++)
			n++;
		free(text);
	}
	assert_int_equal(n, 5);
}

static const struct ipc_port bt0 = { .ifname = "bt0", .ofport = 11, .ref = { .slot = 1, .run = 1 } };

static void try_ports(void)
{
	struct ipc_result r;
	assert_int_equal(ipc_send(chans[ROLE_DESK], IPC_PORT_ADD, 3, port, &bt0, NULL, 0), 0);
	r = result(ROLE_DESK);
	assert_int_equal(r.err, 0);
	assert_int_equal(r.value, 11);
	/* Asked again it is the same. */
	assert_int_equal(ipc_send(chans[ROLE_DESK], IPC_PORT_ADD, 4, port, &bt0, NULL, 0), 0);
	assert_int_equal(result(ROLE_DESK).value, 11);
	struct ipc_port missing = { .ifname = "nothere", .ofport = 12, .ref = { .slot = 2, .run = 2 } };
	assert_int_equal(ipc_send(chans[ROLE_DESK], IPC_PORT_ADD, 5, port, &missing, NULL, 0), 0);
	r = result(ROLE_DESK);
	assert_int_equal(r.err, -ENODEV);
	print_message("PORT_ADD of nothing: %s\n", r.text.s);
}

/* More at once than vswitchd's queue holds, as from an app whose grants end as fast as it makes new ones. */
static void try_many_cuts(void)
{
	enum { MANY = 6000, BOUND_MS = 15000 }; /* a dump for each took 30 s where one for all takes 0.2 s */
	struct ipc_cut c = { .zone = ZONE };
	struct ipc_zone z = { .zone = ZONE, .limit = 77 };
	int64_t end = clock_boot_ms() + BOUND_MS;
	for (unsigned i = 0; i < MANY;) {
		assert_true(clock_boot_ms() < end);
		c.mark = i == MANY - 1 ? 6 : 1000 + i;
		i += ipc_send(chans[ROLE_GATE], IPC_CT_CUT, 0, cut, &c, NULL, 0) == 0;
		while (frame_pending(chans[ROLE_GATE]) && clock_boot_ms() < end)
			assert_true(frame_flush(chans[ROLE_GATE]) == 0);
	}
	bool gone = false;
	while (!gone && clock_boot_ms() < end) {
		char *text = ctl("dpctl/dump-conntrack", "netdev@ovs-netdev", "zone=40001");
		gone = strstr(text, "mark=6") == NULL;
		free(text);
	}
	assert_true(gone);
	assert_int_equal(ipc_send(chans[ROLE_GATE], IPC_ZONE_SET, 6, zone, &z, NULL, 0), 0);
	assert_int_equal(result(ROLE_GATE).err, 0);
}

static void try_zone(void)
{
	struct ipc_result r;
	int64_t t0;
	struct ipc_zone z = { .zone = ZONE, .limit = 77 };
	assert_int_equal(ipc_send(chans[ROLE_GATE], IPC_ZONE_SET, 6, zone, &z, NULL, 0), 0);
	assert_int_equal(result(ROLE_GATE).err, 0);
	char *text = ctl("dpctl/ct-get-limits", "netdev@ovs-netdev", "zone=40001");
	assert_non_null(strstr(text, "limit=77"));
	free(text);

	make_entries();
	text = ctl("dpctl/dump-conntrack", "netdev@ovs-netdev", "zone=40001");
	print_message("%s\n", text);
	free(text);
	t0 = clock_mono_us();
	cut(5);
	r = result(ROLE_GATE);
	print_message("cut %u entries in %lld us\n", r.value, (long long)(clock_mono_us() - t0));
	assert_int_equal(r.err, 0);
	assert_int_equal(r.value, 4);
	text = ctl("dpctl/dump-conntrack", "netdev@ovs-netdev", "zone=40001");
	assert_null(strstr(text, "mark=5"));
	assert_non_null(strstr(text, "mark=6"));
	free(text);
	try_many_cuts();
}

static void try_vswitchd(uint64_t epoch)
{
	struct ipc_zone z = { .zone = ZONE, .limit = 77 };
	/* vswitchd dies and comes back: sockets and limits again. */
	unsigned before = n_uplink_events;
	int64_t t0 = clock_mono_us();
	kill(ovs.vswitchd_pid, SIGKILL);
	struct pollfd p = { .fd = ovs.vswitchd_pidfd, .events = POLLIN };
	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(ovs_restart(&ovs, error), 0);
	struct ipc_switch again = take_conns();
	print_message("vswitchd killed; gate has sockets again after %lld us\n", (long long)(clock_mono_us() - t0));
	assert_true(again.epoch > epoch);
	char *text = ctl("dpctl/ct-get-limits", "netdev@ovs-netdev", "zone=40001");
	assert_non_null(strstr(text, "limit=77"));
	free(text);

	assert_int_equal(ipc_send(chans[ROLE_GATE], IPC_ZONE_SET, 6, zone, &z, NULL, 0), 0);
	assert_int_equal(result(ROLE_GATE).err, 0);
	assert_true(n_uplink_events > before);
}

static void try_switchd(void)
{
	struct ipc_port port;
	/* switchd is killed: the app's port stays. */
	kill(child, SIGKILL);
	end_of_child();
	start_switchd();
	take_conns();
	assert_int_equal(ipc_send(chans[ROLE_DESK], IPC_PORT_ADD, 8, port, &bt0, NULL, 0), 0);
	assert_int_equal(result(ROLE_DESK).value, 11);

	/* The interface vanishes. */
	assert_int_equal(link_del(links, "bt0"), 0);
	struct frame f = await(ROLE_DESK, IPC_PORT_GONE);
	assert_true(ipc_port_get(f.body, f.len, &port));
	assert_string_equal(port.ifname, "bt0");
	assert_int_equal(ipc_send(chans[ROLE_DESK], IPC_PORT_DEL, 9, port, &port, NULL, 0), 0);
	assert_int_equal(result(ROLE_DESK).err, 0);
}

static void test_role(void **state)
{
	(void)state;
	int64_t t0 = clock_mono_us();
	start_switchd();
	struct ipc_switch s = take_conns();
	print_message("switchd gave the sockets after %lld us\n", (long long)(clock_mono_us() - t0));
	assert_int_equal(s.uplink_ofport, 60001);
	assert_int_equal(s.names_ofport, 60002);
	try_ports();
	try_zone();

	/* gate asks, or comes anew. */
	assert_int_equal(frame_send(chans[ROLE_GATE], IPC_OF_WANT, 0, NULL, 0, NULL, 0), 0);
	take_conns();
	connect_peer(ROLE_GATE);
	take_conns();
	try_vswitchd(s.epoch);
	try_switchd();

	assert_int_equal(frame_send(chans[ROLE_MAIN], IPC_STOP, 0, NULL, 0, NULL, 0), 0);
	int status = end_of_child();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	char db[200], said[200] = "?";
	snprintf(db, sizeof(db), "--db=unix:%s/ovs/db.sock", run_dir);
	const char *const list[] = { "ovs-vsctl", db, "list-br", NULL };
	assert_int_equal(program_run(list, NULL, NULL, said, sizeof(said)), 0);
	assert_string_equal(said, "");
}

static int setup(void **state)
{
	(void)state;
	char empty[200];
	struct ovs_conf c = { .which = OVS_SWITCH_PRIVATE,
		.datapath = OVS_DATAPATH_NETDEV,
		.run_dir = run_dir,
		.tso = true };
	conf_defaults(&conf);
	if (unshare(CLONE_NEWNET) != 0 || mkdtemp(run_dir) == NULL || link_open(&links) != 0)
		return -1;
	snprintf(conf.run_dir, sizeof(conf.run_dir), "%s", run_dir);
	conf.datapath = DATAPATH_NETDEV;
	snprintf(empty, sizeof(empty), "%s/empty", run_dir);
	chmod(run_dir, 0755);
	if (mkdir(empty, 0555) != 0 || link_add_veth(links, PLAN_NAMES_PORT, "nm1", -1) != 0 ||
		link_add_veth(links, "bt0", "bt1", -1) != 0)
		return -1;
	int err = ovs_open(&c, &ovs, error);
	if (err != 0)
		print_message("%s\n", error);
	return err;
}

static int teardown(void **state)
{
	(void)state;
	char empty[200];
	snprintf(empty, sizeof(empty), "%s/empty", run_dir);
	if (child > 0 && kill(child, SIGKILL) == 0)
		waitpid(child, NULL, 0);
	ovs_stop(&ovs);
	link_close(links);
	rmdir(empty);
	return rmdir(run_dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_role) };
	if (geteuid() != 0)
		return SKIP;
	return cmocka_run_group_tests_name("switchd", tests, setup, teardown);
}
