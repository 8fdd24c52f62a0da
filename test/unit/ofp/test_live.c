/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against a real switch, started by live.sh, which names its management socket: argv[1]. Ports: 1 is the switch's end
 * of `g`, 2 of `u`, both in this network namespace.
 */
#include "ofp/session.h"
#include "pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, CONTROLLER_ID = 7 };

static const char *socket_path;
static struct ofp_session *session;
static int fd;
static uint8_t buf[1 << 17];

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void flush(void)
{
	size_t len;
	const uint8_t *p;

	while ((p = ofp_session_out(session, &len)) != NULL) {
		ssize_t n = write(fd, p, len);
		assert_true(n > 0);
		ofp_session_out_done(session, (size_t)n);
	}
}

/* The next event, or OFP_EV_NONE after `patience` ms. */
static enum ofp_event_type next(struct ofp_event *ev, int patience)
{
	int64_t end = now_ms() + patience;

	for (;;) {
		enum ofp_event_type type = ofp_session_next(session, now_ms(), ev);
		flush();
		if (type != OFP_EV_NONE)
			return type;
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - now_ms();
		if (left <= 0 || poll(&p, 1, (int)left) != 1)
			return OFP_EV_NONE;
		size_t room;
		uint8_t *to = ofp_session_in_space(session, &room);
		ssize_t n = read(fd, to, room);
		assert_true(n >= 0);
		ofp_session_in_done(session, (size_t)n, now_ms());
	}
}

static int setup(void **state)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	static const struct ofp_session_conf conf = { .packet_in = true,
		.controller_id = CONTROLLER_ID,
		.role = OFP_ROLE_PRIMARY,
		.generation = 1,
		.probe_ms = PATIENCE_MS };
	struct ofp_event ev;

	(void)state;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", socket_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	session = ofp_session_new(&conf);
	assert_non_null(session);
	ofp_session_start(session, now_ms());
	flush();
	assert_int_equal(next(&ev, PATIENCE_MS), OFP_EV_CONNECTED);
	printf("dpid %016llx, %u tables\n", (unsigned long long)ev.features.datapath_id, ev.features.n_tables);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ofp_session_free(session);
	close(fd);
	return 0;
}

static void send_all(const struct wr *w)
{
	assert_true(wr_ok(w));
	assert_int_equal(ofp_session_send(session, w->buf, w->len), 0);
	flush();
}

/* All sent so far was taken without an error. */
static void settle(void)
{
	struct ofp_event ev;
	uint32_t xid = ofp_session_barrier(session);

	flush();
	for (;;) {
		enum ofp_event_type type = next(&ev, PATIENCE_MS);
		if (type == OFP_EV_ERROR)
			fprintf(stderr, "error %u,%u to xid %u\n", ev.error.type, ev.error.code, ev.header.xid);
		assert_int_not_equal(type, OFP_EV_ERROR);
		assert_int_not_equal(type, OFP_EV_CLOSED);
		assert_int_not_equal(type, OFP_EV_NONE);
		if (type == OFP_EV_BARRIER && ev.header.xid == xid)
			return;
	}
}

/* The next message of this type; what else the switch tells meanwhile (ports, ended flows) is passed over. */
static void await_message(struct ofp_event *ev, enum ofp_type type)
{
	do
		assert_int_equal(next(ev, PATIENCE_MS), OFP_EV_MESSAGE);
	while (ev->header.type != (uint8_t)type);
}

static void put_flow(struct wr *w, uint32_t bundle, struct ofp_flow_mod *fm, const struct wr *acts)
{
	assert_true(wr_ok(acts));
	fm->actions = acts->buf;
	fm->actions_len = acts->len;
	ofp_put_bundle_flow_mod(w, ofp_session_xid(session), bundle, fm);
}

static void open_bundle(struct wr *w, uint32_t id)
{
	struct ofp_flow_mod all;

	ofp_put_bundle(w, ofp_session_xid(session), id, OFP_BUNDLE_OPEN);
	ofp_flow_mod_init(&all);
	all.command = OFP_FLOW_DELETE;
	all.table = OFP_TABLE_ALL;
	ofp_put_bundle_flow_mod(w, ofp_session_xid(session), id, &all);
}

/* Every flow of the pipeline is taken, in one bundle that also empties the tables, and comes back as it was sent. */
static void test_pipeline(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_event ev;
	unsigned found = 0, had = 0;

	for (uint32_t id = 9; id <= 13; id++)
		ofp_put_meter_mod(&w, ofp_session_xid(session), OFP_METER_ADD,
			&(struct ofp_meter){ .id = id, .rate = 100, .burst = 10 });
	open_bundle(&w, 1);
	for (unsigned i = 0; i < n_pipeline; i++) {
		static struct ofp_flow_mod fm;
		uint8_t acts[1024];
		struct wr a = wr_init(acts, sizeof(acts));
		ofp_flow_mod_init(&fm);
		pipeline[i].build(&fm, &a);
		put_flow(&w, 1, &fm, &a);
	}
	ofp_put_bundle(&w, ofp_session_xid(session), 1, OFP_BUNDLE_COMMIT);
	send_all(&w);
	settle();
	w.len = 0;
	ofp_put_flow_desc_request(&w, 5, OFP_TABLE_ALL, 0, 0, NULL);
	send_all(&w);
	for (bool more = true; more;) {
		struct ofp_multipart mp;
		static struct ofp_flow_desc flow;
		await_message(&ev, OFP_MULTIPART_REPLY);
		assert_int_equal(ofp_read_multipart(ev.msg, ev.len, &mp), 0);
		more = mp.more;
		while (ofp_next_flow_desc(&mp.body, &flow)) {
			had++;
			assert_false(flow.foreign);
			for (unsigned i = 0; i < n_pipeline; i++) {
				static struct ofp_flow_mod fm;
				uint8_t acts[1024];
				struct wr a = wr_init(acts, sizeof(acts));
				ofp_flow_mod_init(&fm);
				pipeline[i].build(&fm, &a);
				if (fm.table == flow.table && fm.priority == flow.priority &&
					ofp_match_equal(&fm.match, &flow.match)) {
					found++;
					assert_int_equal(fm.cookie, flow.cookie);
					assert_int_equal(fm.goto_table, flow.goto_table);
					assert_int_equal(a.len, flow.actions_len);
					assert_int_equal(a.len == 0 ? 0 : memcmp(acts, flow.actions, a.len), 0);
				}
			}
		}
		assert_true(rd_done(&mp.body));
	}
	assert_int_equal(had, n_pipeline);
	assert_int_equal(found, n_pipeline);
}

/* What OVS says of its meters, ports and tables is understood whole. */
static void test_descriptions(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_event ev;
	struct ofp_multipart mp;
	struct ofp_port port;
	struct ofp_meter_stats ms;
	struct ofp_meter_features mf;
	struct ofp_table_stats ts;
	unsigned ports = 0, meters = 0, tables = 0;

	ofp_put_port_desc_request(&w, 1, OFP_PORT_ANY);
	ofp_put_meter_stats_request(&w, 2, OFP_METER_ALL);
	ofp_put_meter_features_request(&w, 3);
	ofp_put_table_stats_request(&w, 4);
	send_all(&w);
	await_message(&ev, OFP_MULTIPART_REPLY);
	assert_int_equal(ofp_read_multipart(ev.msg, ev.len, &mp), 0);
	for (; ofp_next_port(&mp.body, &port); ports++)
		printf("port %u %s\n", port.number, port.name);
	assert_true(rd_done(&mp.body));
	assert_int_equal(ports, 3);
	await_message(&ev, OFP_MULTIPART_REPLY);
	assert_int_equal(ofp_read_multipart(ev.msg, ev.len, &mp), 0);
	for (; ofp_next_meter_stats(&mp.body, &ms); meters++)
		;
	assert_true(rd_done(&mp.body));
	assert_int_equal(meters, 5);
	await_message(&ev, OFP_MULTIPART_REPLY);
	assert_int_equal(ofp_read_multipart(ev.msg, ev.len, &mp), 0);
	assert_true(ofp_next_meter_features(&mp.body, &mf));
	printf("meters %u, bands %x, capabilities %x\n", mf.max_meters, mf.band_types, mf.capabilities);
	do {
		await_message(&ev, OFP_MULTIPART_REPLY);
		assert_int_equal(ofp_read_multipart(ev.msg, ev.len, &mp), 0);
		for (; ofp_next_table_stats(&mp.body, &ts); tables++)
			;
		assert_true(rd_done(&mp.body));
	} while (mp.more);
	printf("%u tables\n", tables);
	assert_true(tables > 200);
}

static int raw(const char *iface)
{
	struct sockaddr_ll sll = { .sll_family = AF_PACKET,
		.sll_protocol = htons(0x0003),
		.sll_ifindex = (int)if_nametoindex(iface) };
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0003));

	assert_true(s >= 0);
	assert_true(sll.sll_ifindex > 0);
	assert_int_equal(bind(s, (struct sockaddr *)&sll, sizeof(sll)), 0);
	return s;
}

static size_t udp_frame(uint8_t *f, uint16_t payload)
{
	struct wr w = wr_init(f, 9000);
	uint32_t sum = 0;

	wr_bytes(&w, (const uint8_t[]){ 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1, 1, 8, 0 }, 14);
	wr_bytes(&w, (const uint8_t[]){ 0x45, 0 }, 2);
	wr_u16(&w, (uint16_t)(28 + payload));
	wr_u32(&w, 0x00014000);
	wr_u32(&w, 0x40110000);
	wr_u32(&w, 0xc0000202); /* 192.0.2.2 */
	wr_u32(&w, 0xc6336407); /* 198.51.100.7 */
	for (size_t i = 14; i < 34; i += 2)
		sum += (uint32_t)(f[i] << 8 | f[i + 1]);
	sum = (sum & 0xffff) + (sum >> 16);
	wr_patch_u16(&w, 24, (uint16_t) ~(sum + (sum >> 16)));
	wr_u16(&w, 4000);
	wr_u16(&w, 123);
	wr_u16(&w, (uint16_t)(8 + payload));
	wr_u16(&w, 0); /* no checksum */
	wr_zero(&w, payload);
	assert_true(wr_ok(&w));
	return w.len;
}

static const uint8_t ask[] = { 1, 0, 0, 0x10 };
enum { GRANT = 0x10007, LARGE = 3000, LEASE_S = 2 };

/* 0: registers and the size check; 50: ask, unless too large; 45: the grant's lease. */
static void install(void)
{
	uint8_t acts[512];
	struct wr w = wr_init(buf, sizeof(buf)), a = wr_init(acts, sizeof(acts));
	static struct ofp_flow_mod fm;

	open_bundle(&w, 2);
	ofp_flow_mod_init(&fm);
	ofp_match_in_port(&fm.match, 1);
	ofp_match_ip_any(&fm.match, false);
	ofp_match_ip_proto(&fm.match, 17);
	ofp_act_set_reg(&a, 0, 5);
	ofp_act_set_reg(&a, 1, 101);
	ofp_act_set_reg(&a, 15, 99);
	ofp_act_check_pkt_larger(&a, 2048, 7, 0);
	fm.goto_table = 50;
	put_flow(&w, 2, &fm, &a);
	ofp_flow_mod_init(&fm);
	a.len = 0;
	fm.table = 50;
	fm.cookie = 0x50;
	ofp_match_reg_masked(&fm.match, 7, 0, 1);
	ofp_act_meter(&a, 10);
	ofp_act_controller(&a, &(struct ofp_controller){ .max_len = 65535,
				       .controller_id = CONTROLLER_ID,
				       .reason = OFP_REASON_ACTION,
				       .userdata = ask,
				       .userdata_len = sizeof(ask) });
	put_flow(&w, 2, &fm, &a);
	ofp_flow_mod_init(&fm);
	a.len = 0;
	fm.table = 45;
	fm.flags = OFP_FLOW_SEND_REMOVED;
	fm.hard_s = LEASE_S;
	ofp_match_ct_mark(&fm.match, GRANT);
	ofp_act_output(&a, 2);
	put_flow(&w, 2, &fm, &a);
	ofp_put_bundle(&w, ofp_session_xid(session), 2, OFP_BUNDLE_COMMIT);
	send_all(&w);
	settle();
}

static void admit(const uint8_t *frame, size_t len)
{
	uint8_t acts[512];
	struct wr w = wr_init(buf, sizeof(buf)), a = wr_init(acts, sizeof(acts));

	ofp_act_set_reg(&a, 0, 5);
	ofp_act_ct(&a, &(struct ofp_ct){ .commit = true,
			       .zone = 101,
			       .table = 45,
			       .nat = OFP_NAT_DST,
			       .nat_addr = addr_v4(0xcb007105),
			       .mark_from = OFP_MARK_SET,
			       .mark = GRANT });
	ofp_put_packet_out(&w, ofp_session_xid(session),
		&(struct ofp_packet_out){ .in_port = 1,
			.actions = acts,
			.actions_len = a.len,
			.frame = frame,
			.frame_len = len });
	send_all(&w);
	settle();
}

static void arrives(int world)
{
	static uint8_t got[9000];
	struct pollfd p = { .fd = world, .events = POLLIN };

	do {
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		assert_true(recv(world, got, sizeof(got), 0) > 0);
	} while (got[12] != 8 || got[13] != 0 || got[23] != 17 || got[37] != 123);
	printf("out: to %u.%u.%u.%u\n", got[30], got[31], got[32], got[33]);
	assert_memory_equal(got + 30, "\xcb\x00\x71\x05", 4);
}

/* The lease ends by itself and is told. */
static void lease_ends(size_t len)
{
	static struct ofp_flow_removed fr;
	struct ofp_event ev;

	do {
		await_message(&ev, OFP_FLOW_REMOVED);
		assert_int_equal(ofp_read_flow_removed(ev.msg, ev.len, &fr), 0);
	} while (fr.table != 45 || fr.hard_s != LEASE_S);
	printf("removed: reason %u, %llu packets, %llu bytes, %u s\n", fr.reason, (unsigned long long)fr.packets,
		(unsigned long long)fr.bytes, fr.duration_s);
	assert_int_equal(fr.reason, OFP_REMOVED_HARD);
	assert_int_equal(fr.packets, 1);
	assert_int_equal(fr.bytes, len);
}

static void test_ask_and_admit(void **state)
{
	(void)state;
	static uint8_t frame[9000];
	struct ofp_event ev;
	struct ofp_packet_in pi;
	int guest = raw("g"), world = raw("u");

	install();
	size_t len = udp_frame(frame, LARGE);
	assert_int_equal(send(guest, frame, len, 0), (ssize_t)len);
	len = udp_frame(frame, 40);
	assert_int_equal(send(guest, frame, len, 0), (ssize_t)len);
	/* The large one was sent first, so had it been handed over it would be this. */
	await_message(&ev, OFP_EXPERIMENTER);
	assert_int_equal(ofp_read_packet_in(ev.msg, ev.len, &pi), 0);
	printf("packet-in: %zu bytes of %zu, port %u, reg0 %u, reg1 %u, reg7 %u, reg15 %u, table %u, cookie %llx\n",
		pi.frame_len, pi.full_len, pi.in_port, pi.reg[0], pi.reg[1], pi.reg[7], pi.reg[15], pi.table,
		(unsigned long long)pi.cookie);
	assert_int_equal(pi.frame_len, len);
	assert_memory_equal(pi.frame, frame, len);
	assert_int_equal(pi.in_port, 1);
	assert_int_equal(pi.reg[0], 5);
	assert_int_equal(pi.reg[1], 101);
	assert_int_equal(pi.reg[15], 99);
	assert_int_equal(pi.userdata_len, sizeof(ask));
	assert_memory_equal(pi.userdata, ask, sizeof(ask));
	admit(frame, len);
	arrives(world);
	close(guest);
	close(world);
	lease_ends(len);
}

static void test_flush(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct addr src = addr_v4(0xc0000202), dst = addr_v4(0xc6336407);

	ofp_put_ct_flush(&w, ofp_session_xid(session),
		&(struct ofp_ct_tuple){ .zone = 101,
			.proto = 17,
			.src = src,
			.dst = dst,
			.sport = 4000,
			.dport = 123 });
	ofp_put_ct_flush(&w, ofp_session_xid(session),
		&(struct ofp_ct_tuple){ .zone = 101,
			.proto = 1,
			.src = src,
			.dst = dst,
			.icmp_id = 3,
			.icmp_type = 8 });
	ofp_put_ct_flush_zone(&w, ofp_session_xid(session), 101);
	send_all(&w);
	settle();
}

/* The order of actions that ovs-ofctl's text refuses, and an error of Nicira's own. */
static void test_errors(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	uint8_t acts[256];
	struct wr a = wr_init(acts, sizeof(acts));
	struct ofp_flow_mod fm;
	struct ofp_event ev;

	ofp_flow_mod_init(&fm);
	fm.table = 70;
	ofp_act_check_pkt_larger(&a, 2048, 7, 0);
	ofp_act_meter(&a, 10);
	ofp_act_output(&a, 2);
	fm.actions = acts;
	fm.actions_len = a.len;
	ofp_put_flow_mod(&w, ofp_session_xid(session), &fm);
	send_all(&w);
	uint32_t barrier = ofp_session_barrier(session);
	flush();
	enum ofp_event_type type = next(&ev, PATIENCE_MS);
	while (type == OFP_EV_MESSAGE)
		type = next(&ev, PATIENCE_MS);
	if (type == OFP_EV_ERROR) {
		printf("meter after another action: error %u,%u\n", ev.error.type, ev.error.code);
		type = next(&ev, PATIENCE_MS);
	} else {
		printf("meter after another action: taken\n");
	}
	assert_int_equal(type, OFP_EV_BARRIER);
	assert_int_equal(ev.header.xid, barrier);

	w.len = 0;
	ofp_put_ct_flush_zone(&w, 77, 101);
	buf[16] = 1; /* must be zero */
	send_all(&w);
	assert_int_equal(next(&ev, PATIENCE_MS), OFP_EV_ERROR);
	printf("must be zero: error %x,%u of %x, %zu bytes of ours\n", ev.error.type, ev.error.code,
		ev.error.experimenter, ev.error.data_len);
	assert_int_equal(ev.header.xid, 77);
	assert_int_equal(ev.error.type, OFP_ERROR_EXPERIMENTER);
	assert_int_equal(ev.error.experimenter, 0x2320);
	assert_int_equal(ev.error.data_len, w.len);
	assert_memory_equal(ev.error.data, buf, w.len);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_pipeline), cmocka_unit_test(test_descriptions),
		cmocka_unit_test(test_ask_and_admit), cmocka_unit_test(test_flush), cmocka_unit_test(test_errors) };

	if (argc != 2)
		return 2;
	socket_path = argv[1];
	return cmocka_run_group_tests(tests, setup, teardown);
}
