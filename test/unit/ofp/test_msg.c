/* SPDX-License-Identifier: Apache-2.0 */
/* Every message but the flow-mod: against the bytes of ovs-ofctl where it can send it, against its printer, and read
 * back by ourselves; then hostile bytes. */
#include "ofctl.h"
#include "ofp/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t buf[1 << 17], buf2[1 << 17];

static struct addr ip(const char *text)
{
	struct addr a = { 0 };

	assert_true(addr_parse(text, &a));
	return a;
}

/* The n-th message that ovs-ofctl sends is ours but for the transaction number. */
static void expect(const char *const args[], unsigned nth, const struct wr *w)
{
	struct caught c;
	size_t at = 0, len;
	const uint8_t *m;

	assert_true(wr_ok(w));
	ofctl_catch(args, &c);
	do {
		m = caught_next(&c, &at, &len);
		assert_non_null(m);
	} while (nth-- > 0);
	assert_int_equal(len, w->len);
	assert_memory_equal(m, w->buf, 4);
	assert_memory_equal(m + 8, w->buf + 8, len - 8);
	caught_free(&c);
}

static void test_flow_commands(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_flow_mod fm;

	ofp_flow_mod_init(&fm);
	fm.command = OFP_FLOW_DELETE_STRICT;
	fm.cookie = 5;
	fm.cookie_mask = 0xff;
	fm.table = 3;
	fm.priority = 4;
	ofp_match_ip_any(&fm.match, false);
	ofp_put_flow_mod(&w, 1, &fm);
	expect((const char *const[]){ "--strict", "del-flows", "SWITCH", "cookie=5/0xff,table=3,priority=4,ip", NULL },
		0, &w);
	w.len = 0;
	fm.command = OFP_FLOW_MODIFY;
	fm.priority = 0x8000;
	ofp_put_flow_mod(&w, 1, &fm);
	expect((const char *const[]){ "mod-flows", "SWITCH", "cookie=5/0xff,table=3,ip,actions=drop", NULL }, 0, &w);
	w.len = 0;
	ofp_flow_mod_init(&fm);
	fm.command = OFP_FLOW_DELETE;
	fm.table = OFP_TABLE_ALL;
	fm.priority = 0x8000;
	ofp_put_flow_mod(&w, 1, &fm);
	expect((const char *const[]){ "del-flows", "SWITCH", NULL }, 0, &w);
}

static void test_packet_out(void **state)
{
	(void)state;
	static const uint8_t frame[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };
	uint8_t acts[256];
	struct wr w = wr_init(buf, sizeof(buf)), a = wr_init(acts, sizeof(acts));
	struct ofp_packet_out po;

	ofp_act_set_reg(&a, 0, 1);
	ofp_act_ct(&a, &(struct ofp_ct){ .commit = true,
			       .zone = 5,
			       .table = 45,
			       .nat = OFP_NAT_DST,
			       .nat_addr = ip("203.0.113.5"),
			       .mark_from = OFP_MARK_SET,
			       .mark = 7 });
	ofp_put_packet_out(&w, 1,
		&(struct ofp_packet_out){ .in_port = 1,
			.actions = acts,
			.actions_len = a.len,
			.frame = frame,
			.frame_len = sizeof(frame) });
	expect((const char *const[]){ "packet-out", "SWITCH", "1",
		       "set_field:1->reg0,ct(commit,zone=5,nat(dst=203.0.113.5),exec(set_field:7->ct_mark),table=45)",
		       "0102030405060708090a0b0c0d0e", NULL },
		0, &w);
	assert_int_equal(ofp_read_packet_out(buf, w.len, &po), 0);
	assert_int_equal(po.in_port, 1);
	assert_int_equal(po.actions_len, a.len);
	assert_memory_equal(po.actions, acts, a.len);
	assert_int_equal(po.frame_len, sizeof(frame));
	assert_memory_equal(po.frame, frame, sizeof(frame));
	assert_int_equal(ofp_read_packet_out(buf, w.len - 15, &po), -EBADMSG);
}

static void test_meter(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_meter m = { .id = 3, .rate = 100, .burst = 20 }, got;
	enum ofp_meter_command cmd;

	ofp_put_meter_mod(&w, 1, OFP_METER_ADD, &m);
	expect((const char *const[]){ "add-meter", "SWITCH",
		       "meter=3,pktps,burst,stats,bands=type=drop,rate=100,burst_size=20", NULL },
		0, &w);
	assert_int_equal(ofp_read_meter_mod(buf, w.len, &cmd, &got), 0);
	assert_int_equal(cmd, OFP_METER_ADD);
	assert_int_equal(got.rate, 100);
	assert_int_equal(got.burst, 20);
	w.len = 0;
	m = (struct ofp_meter){ .id = 4, .kbps = true, .rate = 7 };
	ofp_put_meter_mod(&w, 1, OFP_METER_MODIFY, &m);
	expect((const char *const[]){ "mod-meter", "SWITCH", "meter=4,kbps,stats,bands=type=drop,rate=7", NULL }, 0,
		&w);
	w.len = 0;
	ofp_put_meter_mod(&w, 1, OFP_METER_DELETE, &m);
	expect((const char *const[]){ "del-meter", "SWITCH", "meter=4", NULL }, 0, &w);
	assert_int_equal(ofp_read_meter_mod(buf, w.len, &cmd, &got), 0);
	assert_int_equal(cmd, OFP_METER_DELETE);
}

static void test_ct_flush(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_ct_tuple t = { .zone = 5,
		.proto = 17,
		.src = ip("192.0.2.2"),
		.dst = ip("203.0.113.5"),
		.sport = 1000,
		.dport = 123 },
			    got;
	uint32_t zone;

	ofp_put_ct_flush(&w, 1, &t);
	expect((const char *const[]){ "ct-flush", "SWITCH", "zone=5",
		       "ct_nw_src=192.0.2.2,ct_nw_dst=203.0.113.5,ct_nw_proto=17,ct_tp_src=1000,ct_tp_dst=123", NULL },
		0, &w);
	assert_int_equal(ofp_read_ct_flush(buf, w.len, &got), 0);
	assert_memory_equal(&t, &got, sizeof(t));
	w.len = 0;
	t = (struct ofp_ct_tuple){ .zone = 6,
		.proto = 6,
		.src = ip("2001:db8::1"),
		.dst = ip("2001:db8::2"),
		.sport = 9,
		.dport = 443 };
	ofp_put_ct_flush(&w, 1, &t);
	expect((const char *const[]){ "ct-flush", "SWITCH", "zone=6",
		       "ct_ipv6_src=2001:db8::1,ct_ipv6_dst=2001:db8::2,ct_nw_proto=6,ct_tp_src=9,ct_tp_dst=443",
		       NULL },
		0, &w);
	w.len = 0;
	/* ovs-ofctl adds an empty reply tuple to ICMP; ours is checked by reading and printing. */
	t = (struct ofp_ct_tuple){ .zone = 6,
		.proto = 1,
		.src = ip("192.0.2.2"),
		.dst = ip("192.0.2.3"),
		.icmp_id = 7,
		.icmp_type = 8 };
	ofp_put_ct_flush(&w, 1, &t);
	assert_int_equal(ofp_read_ct_flush(buf, w.len, &got), 0);
	assert_memory_equal(&t, &got, sizeof(t));
	char *text = ofctl_print(buf, w.len);
	assert_non_null(strstr(text, "icmp_id=7,icmp_type=8,icmp_code=0"));
	free(text);
	w.len = 0;
	ofp_put_ct_flush_zone(&w, 1, 5);
	expect((const char *const[]){ "ct-flush-zone", "SWITCH", "5", NULL }, 0, &w);
	assert_int_equal(ofp_read_nx_arg(buf, w.len, &zone), 0);
	assert_int_equal(zone, 5);
}

static void test_bundle(void **state)
{
	(void)state;
	const char *const args[] = { "--bundle", "add-flow", "SWITCH", "table=1,actions=drop", NULL };
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_flow_mod fm, inner;
	const uint8_t *in;
	size_t in_len;
	uint32_t id;

	ofp_put_bundle(&w, 1, 0, OFP_BUNDLE_OPEN);
	expect(args, 0, &w);
	w.len = 0;
	ofp_flow_mod_init(&fm);
	fm.table = 1;
	fm.priority = 0x8000;
	/* The wrapped message carries the transaction number of its envelope, whatever ovs-ofctl counts up to. */
	struct caught c;
	size_t at = 0, len;
	ofctl_catch(args, &c);
	caught_next(&c, &at, &len);
	const uint8_t *add = caught_next(&c, &at, &len);
	assert_non_null(add);
	struct ofp_header h;
	assert_int_equal(ofp_read_header(add, len, &h), 0);
	ofp_put_bundle_flow_mod(&w, h.xid, 0, &fm);
	assert_int_equal(len, w.len);
	assert_memory_equal(add, buf, len);
	caught_free(&c);
	assert_int_equal(ofp_read_bundle_add(buf, w.len, &id, &in, &in_len), 0);
	assert_int_equal(id, 0);
	assert_int_equal(ofp_read_flow_mod(in, in_len, &inner), 0);
	assert_int_equal(inner.table, 1);
	buf[23] ^= 1;
	assert_int_equal(ofp_read_bundle_add(buf, w.len, &id, &in, &in_len), -EBADMSG);
	w.len = 0;
	ofp_put_bundle(&w, 1, 0, OFP_BUNDLE_COMMIT);
	expect(args, 2, &w);
}

/* What ovs-ofctl has no command for: its printer must understand it, whole, as what we mean. */
static void printed(const struct wr *w, const char *const needles[])
{
	assert_true(wr_ok(w));
	char *text = ofctl_print(w->buf, w->len);
	bool good = strstr(text, "***decode error") == NULL;
	for (unsigned i = 0; needles[i] != NULL; i++) {
		if (strstr(text, needles[i]) == NULL) {
			fprintf(stderr, "not printed: %s\n", needles[i]);
			good = false;
		}
	}
	if (!good)
		fprintf(stderr, "%s\n", text);
	assert_true(good);
	free(text);
}

static void test_printed_session(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));

	ofp_put_hello(&w, 1);
	ofp_put_plain(&w, OFP_FEATURES_REQUEST, 2);
	ofp_put_features_reply(&w, 3, &(struct ofp_features){ .datapath_id = 0x1234, .n_tables = 254 });
	ofp_put_set_config(&w, 4, 128);
	ofp_put_echo(&w, OFP_ECHO_REQUEST, 5, "abc", 3);
	ofp_put_plain(&w, OFP_BARRIER_REQUEST, 6);
	ofp_put_plain(&w, OFP_BARRIER_REPLY, 7);
	ofp_put_role(&w, OFP_ROLE_REQUEST, 8, OFP_ROLE_PRIMARY, 77);
	ofp_put_role(&w, OFP_ROLE_REPLY, 9, OFP_ROLE_EQUAL, 0);
	ofp_put_set_async(&w, 10, &(struct ofp_async){ .packet_in = 2, .port_status = 7, .flow_removed = 0x3f });
	ofp_put_packet_in_format(&w, 11, 2);
	ofp_put_controller_id(&w, 12, 9);
	ofp_put_error(&w, 13, &(struct ofp_error){ .type = 1, .code = 1 });
	printed(&w, (const char *const[]){ "version bitmap: 0x06", "OFPT_FEATURES_REQUEST", "dpid:0000000000001234",
			    "miss_send_len=128", "3 bytes of payload", "OFPT_BARRIER_REQUEST", "OFPT_BARRIER_REPLY",
			    "role=primary", "generation_id=77", "role=equal", "PACKET_IN: action",
			    "PORT_STATUS: add delete modify",
			    "FLOW_REMOVED: idle hard delete group_delete meter_delete eviction",
			    "format=nxt_packet_in2", "id=9", "OFPBRC_BAD_TYPE", NULL });
}

static struct ofp_match some_match(void)
{
	struct ofp_match m;

	ofp_match_init(&m);
	ofp_match_ct_mark(&m, 0x10007);
	ofp_match_reg(&m, 2, 1);
	return m;
}

static size_t body_begin(struct wr *w, enum ofp_multipart_type type)
{
	return ofp_begin_multipart_reply(w, 9, type, true);
}

static void test_printed_events(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_match m = some_match();
	struct ofp_port port = { .number = 5,
		.mac = { { 2, 0, 0, 0, 0, 9 } },
		.name = "tap5",
		.state = OFP_PORTS_LIVE };
	uint8_t acts[64];
	struct wr a = wr_init(acts, sizeof(acts));

	ofp_act_output(&a, 9);
	ofp_put_flow_removed(&w, 1,
		&(struct ofp_flow_removed){ .table = 45,
			.reason = OFP_REMOVED_HARD,
			.priority = 10,
			.hard_s = 60,
			.cookie = 0x77,
			.duration_s = 60,
			.packets = 12,
			.bytes = 3456,
			.match = m });
	ofp_put_port_status(&w, 2, OFP_PORT_ADDED, &port);
	ofp_put_flow_desc_request(&w, 3, OFP_TABLE_ALL, 0x5300000000000000, 0xff00000000000000, NULL);
	size_t at = body_begin(&w, OFP_MP_FLOW_DESC);
	ofp_put_flow_desc(&w, &(struct ofp_flow_desc){ .table = 45,
				      .goto_table = 60,
				      .priority = 10,
				      .hard_s = 60,
				      .importance = 3,
				      .cookie = 0x88,
				      .duration_s = 5,
				      .packets = 1,
				      .bytes = 64,
				      .match = m,
				      .actions = acts,
				      .actions_len = a.len });
	ofp_end(&w, at);
	ofp_put_port_desc_request(&w, 4, OFP_PORT_ANY);
	at = body_begin(&w, OFP_MP_PORT_DESC);
	ofp_put_port(&w, &port);
	ofp_end(&w, at);
	ofp_put_meter_stats_request(&w, 5, OFP_METER_ALL);
	at = body_begin(&w, OFP_MP_METER);
	ofp_put_meter_stats(&w, &(struct ofp_meter_stats){ .id = 3,
					.packets = 20,
					.bytes = 2000,
					.dropped_packets = 8,
					.dropped_bytes = 800 });
	ofp_end(&w, at);
	ofp_put_meter_features_request(&w, 6);
	at = body_begin(&w, OFP_MP_METER_FEATURES);
	ofp_put_meter_features(&w, &(struct ofp_meter_features){ .max_meters = 1000,
					   .band_types = 2,
					   .capabilities = 15,
					   .max_bands = 8 });
	ofp_end(&w, at);
	ofp_put_table_stats_request(&w, 7);
	at = body_begin(&w, OFP_MP_TABLE);
	ofp_put_table_stats(&w, &(struct ofp_table_stats){ .table = 4, .flows = 11, .lookups = 22, .matches = 21 });
	ofp_end(&w, at);
	printed(&w, (const char *const[]){ "reason=hard", "duration60", "pkts12", "bytes3456",
			    "ADD:", "5(tap5): addr:02:00:00:00:00:09", "LIVE", "cookie=0x88", "n_packets=1",
			    "n_bytes=64", "output:9,goto_table:60", "meter:3", "packet_in_count:20", "packet_count:8",
			    "max_meter:1000", "active=11", "lookup=22", NULL });
}

static void test_requests(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_match ip4;

	ofp_match_init(&ip4);
	ofp_match_ip_any(&ip4, false);
	ofp_put_flow_desc_request(&w, 3, 7, 0x5300000000000000, 0xff00000000000000, &ip4);
	expect((const char *const[]){ "dump-flows", "SWITCH", "table=7,cookie=0x5300000000000000/0xff00000000000000,ip",
		       NULL },
		0, &w);
	w.len = 0;
	ofp_put_port_desc_request(&w, 3, OFP_PORT_ANY);
	expect((const char *const[]){ "dump-ports-desc", "SWITCH", NULL }, 0, &w);
	w.len = 0;
	ofp_put_meter_stats_request(&w, 3, OFP_METER_ALL);
	expect((const char *const[]){ "meter-stats", "SWITCH", NULL }, 0, &w);
	w.len = 0;
	ofp_put_meter_features_request(&w, 3);
	expect((const char *const[]){ "meter-features", "SWITCH", NULL }, 0, &w);
}

static void test_packet_in(void **state)
{
	(void)state;
	static const uint8_t frame[] = { 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 8, 6, 5 }, userdata[] = { 1, 0, 0, 0x10 };
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_packet_in pi = { .frame = frame,
		.frame_len = sizeof(frame),
		.full_len = 70,
		.userdata = userdata,
		.userdata_len = 4,
		.reason = OFP_REASON_ACTION,
		.table = 50,
		.cookie = 0xabc,
		.in_port = 3,
		.ct_state = 0x21,
		.ct_mark = 7,
		.ct_zone = 101,
		.metadata = 5 },
			     got;

	for (unsigned i = 0; i < OFP_REGS; i++)
		pi.reg[i] = 100 + i;
	ofp_put_packet_in(&w, 1, &pi);
	printed(&w,
		(const char *const[]){ "table_id=50", "cookie=0xabc", "total_len=70", "reg0=0x64", "reg15=0x73",
			"ct_state=new|trk", "ct_mark=0x7", "in_port=3", "via action", "userdata=01.00.00.10", NULL });
	assert_int_equal(ofp_read_packet_in(buf, w.len, &got), 0);
	assert_int_equal(got.frame_len, sizeof(frame));
	assert_memory_equal(got.frame, frame, sizeof(frame));
	assert_int_equal(got.full_len, 70);
	assert_memory_equal(got.reg, pi.reg, sizeof(pi.reg));
	assert_int_equal(got.ct_state, 0x21);
	assert_int_equal(got.ct_zone, 101);
	assert_int_equal(got.ct_mark, 7);
	assert_int_equal(got.in_port, 3);
	assert_int_equal(got.metadata, 5);
	assert_int_equal(got.cookie, 0xabc);
	assert_int_equal(got.table, 50);
	assert_memory_equal(got.userdata, userdata, 4);
	/* Every two-byte place that could be a length, lying: an error or a result inside the message, never beyond. */
	for (size_t at = 16; at + 2 <= w.len; at++) {
		for (unsigned v = 0; v < 4; v++) {
			static const uint16_t lies[] = { 0, 3, 0x7fff, 0xffff };
			memcpy(buf2, buf, w.len);
			buf2[at] = (uint8_t)(lies[v] >> 8);
			buf2[at + 1] = (uint8_t)lies[v];
			uint8_t *exact = malloc(w.len);
			assert_non_null(exact);
			memcpy(exact, buf2, w.len);
			if (ofp_read_packet_in(exact, w.len, &got) == 0) {
				assert_true(got.frame >= exact && got.frame + got.frame_len <= exact + w.len);
				assert_true(got.userdata == NULL || got.userdata + got.userdata_len <= exact + w.len);
			}
			free(exact);
		}
	}
	/* A property twice: which frame would be judged, which sent? */
	w.len = 0;
	size_t at = ofp_begin_nx(&w, OFP_NX_PACKET_IN2, 1);
	wr_bytes(&w, (const uint8_t[]){ 0, 0, 0, 8, 1, 2, 3, 4 }, 8);
	ofp_end(&w, at);
	assert_int_equal(ofp_read_packet_in(buf, w.len, &got), 0);
	wr_bytes(&w, (const uint8_t[]){ 0, 0, 0, 8, 5, 6, 7, 8 }, 8);
	ofp_end(&w, at);
	assert_int_equal(ofp_read_packet_in(buf, w.len, &got), -EBADMSG);
}

static void test_multipart_read(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_multipart mp;
	struct ofp_flow_desc fd = { .table = 45,
		.goto_table = 60,
		.priority = 10,
		.cookie = 0x88,
		.duration_s = 5,
		.packets = 1,
		.bytes = 64,
		.match = some_match() },
			     got;
	struct ofp_port port = { .number = 5, .mac = { { 2, 0, 0, 0, 0, 9 } }, .name = "sixteen-bytes-xy" }, gotp;
	enum ofp_port_reason reason;

	size_t at = body_begin(&w, OFP_MP_FLOW_DESC);
	ofp_put_flow_desc(&w, &fd);
	fd.goto_table = OFP_NO_TABLE;
	fd.cookie = 0x99;
	ofp_put_flow_desc(&w, &fd);
	ofp_end(&w, at);
	assert_int_equal(ofp_read_multipart(buf, w.len, &mp), 0);
	assert_true(mp.more);
	assert_int_equal(mp.type, OFP_MP_FLOW_DESC);
	assert_true(ofp_next_flow_desc(&mp.body, &got));
	assert_int_equal(got.goto_table, 60);
	assert_false(got.foreign);
	assert_true(ofp_match_equal(&got.match, &fd.match));
	assert_true(ofp_next_flow_desc(&mp.body, &got));
	assert_int_equal(got.cookie, 0x99);
	assert_int_equal(got.packets, 1);
	assert_int_equal(got.bytes, 64);
	assert_int_equal(got.duration_s, 5);
	assert_false(ofp_next_flow_desc(&mp.body, &got));
	assert_true(rd_done(&mp.body));
	/* An entry longer than the body. */
	buf[16] = 0xff;
	assert_int_equal(ofp_read_multipart(buf, w.len, &mp), 0);
	assert_false(ofp_next_flow_desc(&mp.body, &got));
	assert_false(rd_ok(&mp.body));

	w.len = 0;
	ofp_put_port_status(&w, 2, OFP_PORT_DELETED, &port);
	assert_int_equal(ofp_read_port_status(buf, w.len, &reason, &gotp), 0);
	assert_int_equal(reason, OFP_PORT_DELETED);
	assert_string_equal(gotp.name, "sixteen-bytes-xy");
	assert_true(mac_equal(&gotp.mac, &port.mac));
	assert_int_equal(gotp.number, 5);
	buf[8] = 9;
	assert_int_equal(ofp_read_port_status(buf, w.len, &reason, &gotp), -EBADMSG);
}

static void test_stats_read(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_multipart mp;
	struct ofp_meter_stats ms;
	struct ofp_meter_features mf;
	struct ofp_table_stats ts;
	struct ofp_flow_mod req;

	size_t at = body_begin(&w, OFP_MP_METER);
	ofp_put_meter_stats(&w, &(struct ofp_meter_stats){ .id = 3,
					.packets = 20,
					.bytes = 2000,
					.dropped_packets = 8,
					.dropped_bytes = 800 });
	ofp_end(&w, at);
	assert_int_equal(ofp_read_multipart(buf, w.len, &mp), 0);
	assert_true(ofp_next_meter_stats(&mp.body, &ms));
	assert_int_equal(ms.dropped_packets, 8);
	assert_int_equal(ms.packets, 20);
	assert_false(ofp_next_meter_stats(&mp.body, &ms));
	w.len = 0;
	at = body_begin(&w, OFP_MP_METER_FEATURES);
	ofp_put_meter_features(&w, &(struct ofp_meter_features){ .max_meters = 1000,
					   .band_types = 2,
					   .capabilities = 15,
					   .max_bands = 8 });
	ofp_end(&w, at);
	assert_int_equal(ofp_read_multipart(buf, w.len, &mp), 0);
	assert_true(ofp_next_meter_features(&mp.body, &mf));
	assert_int_equal(mf.max_meters, 1000);
	w.len = 0;
	at = body_begin(&w, OFP_MP_TABLE);
	ofp_put_table_stats(&w, &(struct ofp_table_stats){ .table = 4, .flows = 11, .lookups = 22, .matches = 21 });
	ofp_end(&w, at);
	assert_int_equal(ofp_read_multipart(buf, w.len, &mp), 0);
	assert_true(ofp_next_table_stats(&mp.body, &ts));
	assert_int_equal(ts.flows, 11);
	assert_false(ofp_next_table_stats(&mp.body, &ts));
	w.len = 0;
	ofp_put_flow_desc_request(&w, 3, 45, 1, 2, NULL);
	assert_int_equal(ofp_read_flow_desc_request(buf, w.len, &req), 0);
	assert_int_equal(req.table, 45);
	assert_int_equal(req.cookie_mask, 2);
	assert_int_equal(ofp_read_flow_desc_request(buf, w.len - 1, &req), -EBADMSG);
}

static void test_small_reads(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_flow_removed fr;
	struct ofp_async async;
	struct ofp_error e;
	enum ofp_role role;
	uint64_t gen;
	uint16_t miss;
	uint32_t arg;
	bool speaks;

	ofp_put_flow_removed(&w, 1,
		&(struct ofp_flow_removed){ .table = 45,
			.reason = OFP_REMOVED_HARD,
			.cookie = 0x77,
			.packets = 12,
			.bytes = 3456,
			.match = some_match() });
	assert_int_equal(ofp_read_flow_removed(buf, w.len, &fr), 0);
	assert_int_equal(fr.bytes, 3456);
	assert_int_equal(ofp_match_get(&fr.match, OFP_F_CT_MARK, 0), 0x10007);
	w.len = 0;
	ofp_put_set_async(&w, 1, &(struct ofp_async){ .packet_in = 2, .port_status = 7, .flow_removed = 0x3f });
	assert_int_equal(ofp_read_set_async(buf, w.len, &async), 0);
	assert_int_equal(async.flow_removed, 0x3f);
	w.len = 0;
	ofp_put_error(&w, 14,
		&(struct ofp_error){ .type = OFP_ERROR_EXPERIMENTER,
			.code = 1540,
			.experimenter = 0x2320,
			.data = buf2,
			.data_len = 5 });
	assert_int_equal(ofp_read_error(buf, w.len, &e), 0);
	assert_int_equal(e.code, 1540);
	assert_int_equal(e.experimenter, 0x2320);
	assert_int_equal(e.data_len, 5);
	w.len = 0;
	ofp_put_role(&w, OFP_ROLE_REPLY, 8, OFP_ROLE_PRIMARY, 77);
	assert_int_equal(ofp_read_role(buf, w.len, &role, &gen), 0);
	assert_int_equal(gen, 77);
	w.len = 0;
	ofp_put_set_config(&w, 1, 128);
	assert_int_equal(ofp_read_set_config(buf, w.len, &miss), 0);
	assert_int_equal(miss, 128);
	w.len = 0;
	ofp_put_packet_in_format(&w, 1, 2);
	assert_int_equal(ofp_read_nx_arg(buf, w.len, &arg), 0);
	assert_int_equal(arg, 2);
	w.len = 0;
	ofp_put_hello(&w, 1);
	assert_int_equal(ofp_read_hello(buf, w.len, &speaks), 0);
	assert_true(speaks);
	buf[15] = 0x10;
	assert_int_equal(ofp_read_hello(buf, w.len, &speaks), 0);
	assert_false(speaks);
	buf[11] = 3;
	assert_int_equal(ofp_read_hello(buf, w.len, &speaks), -EBADMSG);
}

static void test_match_rules(void **state)
{
	(void)state;
	struct ofp_match m, got;
	struct addr v4 = ip("192.0.2.1"), v6 = ip("2001:db8::1");
	uint32_t mask;

	ofp_match_init(&m);
	ofp_match_tp_dst(&m, 80);
	assert_true(m.err);
	ofp_match_init(&m);
	ofp_match_ip_src(&m, &v4, 24);
	ofp_match_ip_dst(&m, &v6, 64);
	assert_true(m.err);
	ofp_match_init(&m);
	ofp_match_ip_src(&m, &v4, 33);
	assert_true(m.err);
	ofp_match_init(&m);
	ofp_match_reg(&m, 16, 1);
	assert_true(m.err);
	ofp_match_init(&m);
	ofp_match_uint(&m, OFP_F_IPV6_SRC, 1);
	assert_true(m.err);
	ofp_match_init(&m);
	ofp_match_uint(&m, OFP_F_REG0, 1);
	assert_true(m.err);
	struct wr w = wr_init(buf, sizeof(buf));
	ofp_match_put(&w, &m);
	assert_false(wr_ok(&w));
	/* A full match; then one more. */
	ofp_match_init(&m);
	for (unsigned f = 0; f < OFP_MATCH_MAX; f++)
		ofp_match_set(&m, (enum ofp_field)f, (const uint8_t[16]){ 1 }, NULL);
	assert_false(m.err);
	ofp_match_metadata(&m, 1);
	assert_true(m.err);
	/* Registers share their pair and leave it when opened. */
	ofp_match_init(&m);
	ofp_match_reg(&m, 2, 7);
	ofp_match_reg_masked(&m, 3, 0xff, 0xf0);
	assert_int_equal(m.n, 1);
	assert_int_equal(ofp_match_get_reg(&m, 3, &mask), 0xf0);
	assert_int_equal(mask, 0xf0);
	assert_int_equal(ofp_match_get_reg(&m, 9, &mask), 0);
	assert_int_equal(mask, 0);
	ofp_match_reg_masked(&m, 2, 0, 0);
	ofp_match_reg_masked(&m, 3, 0, 0);
	assert_int_equal(m.n, 0);
	/* A single register on the wire joins its pair; twice the same does not. */
	static const uint8_t regs[] = { 0, 1, 4, 4, 0, 0, 0, 7, 0, 1, 6, 4, 0, 0, 0, 8, 0, 1, 6, 4, 0, 0, 0, 8 };
	struct rd r = rd_init(regs, 16);
	ofp_match_read_fields(&r, &got);
	assert_true(rd_done(&r));
	assert_int_equal(ofp_match_get_reg(&got, 2, NULL), 7);
	assert_int_equal(ofp_match_get_reg(&got, 3, NULL), 8);
	r = rd_init(regs, 24);
	ofp_match_read_fields(&r, &got);
	assert_false(rd_ok(&r));
	assert_false(ofp_match_equal(&got, &m));
	/* Truncated, a value outside its mask, an unknown field. */
	static const uint8_t cut[] = { 0x80, 0, 0, 4, 0, 0 }, outside[] = { 0, 1, 0xd7, 8, 0, 0, 0, 2, 0, 0, 0, 1 },
			     unknown[] = { 0x12, 0x34, 0, 2, 1, 2 };
	r = rd_init(cut, sizeof(cut));
	ofp_match_read_fields(&r, &got);
	assert_false(rd_ok(&r));
	r = rd_init(outside, sizeof(outside));
	ofp_match_read_fields(&r, &got);
	assert_false(rd_ok(&r));
	r = rd_init(unknown, sizeof(unknown));
	ofp_match_read_fields(&r, &got);
	assert_true(rd_done(&r));
	assert_int_equal(got.n_unknown, 1);
}

static void test_refused_actions(void **state)
{
	(void)state;
	static const struct ofp_ct bad_reg = { .zone_from_reg = true, .zone_reg = 16 },
				   bad_nat = { .nat = OFP_NAT_DST };
	struct addr v6 = ip("2001:db8::1");
	struct wr w;

#define REFUSED(call) \
	do { \
		w = wr_init(buf, sizeof(buf)); \
		call; \
		assert_false(wr_ok(&w)); \
	} while (0)
	REFUSED(ofp_act_ct(&w, &bad_reg));
	REFUSED(ofp_act_ct(&w, &bad_nat));
	REFUSED(ofp_act_set_reg(&w, 16, 1));
	REFUSED(ofp_act_set_reg_bits(&w, 1, 30, 3, 1));
	REFUSED(ofp_act_set_uint(&w, OFP_F_IPV6_SRC, 1));
	REFUSED(ofp_act_set_addr(&w, OFP_F_IPV4_SRC, &v6));
	REFUSED(ofp_act_set_mac(&w, OFP_F_IPV4_SRC, &(struct mac){ { 0 } }));
	REFUSED(ofp_act_check_pkt_larger(&w, 1, 16, 0));
	REFUSED(ofp_act_move(&w, OFP_F_ETH_SRC, 1, OFP_F_ETH_DST, 0, 48));
	REFUSED(ofp_act_controller(&w, &(struct ofp_controller){ .userdata = buf2, .userdata_len = 65533 }));
	REFUSED(ofp_put_echo(&w, OFP_ECHO_REQUEST, 1, buf2, 65530));
	REFUSED(ofp_put_packet_out(&w, 1, &(struct ofp_packet_out){ .actions = buf2, .actions_len = 65536 }));
	REFUSED(ofp_put_packet_in(&w, 1, &(struct ofp_packet_in){ .frame = buf2, .frame_len = 65533 }));
	REFUSED(ofp_put_ct_flush(&w, 1, &(struct ofp_ct_tuple){ .src = v6 }));
#undef REFUSED
}

/* Any single byte changed, any prefix: no reader may read outside, and what is read as a flow-mod can be written. */
static void test_broken_flow_mod(void **state)
{
	(void)state;
	struct wr w = wr_init(buf, sizeof(buf));
	uint8_t acts[512];
	struct wr a = wr_init(acts, sizeof(acts));
	static struct ofp_flow_mod fm, got;

	ofp_flow_mod_init(&fm);
	fm.match = some_match();
	fm.goto_table = 3;
	ofp_act_controller(&a, &(struct ofp_controller){ .max_len = 9,
				       .controller_id = 2,
				       .reason = 0,
				       .meter = 4,
				       .userdata = buf2,
				       .userdata_len = 3 });
	ofp_act_ct(&a, &(struct ofp_ct){ .zone_from_reg = true,
			       .table = 4,
			       .nat = OFP_NAT_SRC,
			       .nat_addr = ip("2001:db8::1"),
			       .nat_port = 4,
			       .mark_from = OFP_MARK_FROM_REG });
	ofp_act_ct(&a, &(struct ofp_ct){ .zone = 3, .table = 4, .nat = OFP_NAT_REPLY, .mark_from = OFP_MARK_SET });
	ofp_act_check_pkt_larger(&a, 4, 3, 2);
	ofp_act_resubmit(&a, 3);
	fm.actions = acts;
	fm.actions_len = a.len;
	ofp_put_flow_mod(&w, 1, &fm);
	assert_true(wr_ok(&w));
	for (size_t i = 0; i < w.len * 8; i++) {
		uint8_t *exact = malloc(w.len);
		struct ofp_act act;
		assert_non_null(exact);
		memcpy(exact, buf, w.len);
		exact[i / 8] ^= (uint8_t)(1u << i % 8);
		if (ofp_read_flow_mod(exact, w.len, &got) == 0) {
			struct rd r = rd_init(got.actions, got.actions_len);
			while (ofp_act_read(&r, &act)) {
				struct wr again = wr_init(buf2, sizeof(buf2));
				ofp_act_put(&again, &act);
				assert_true(wr_ok(&again));
			}
		}
		free(exact);
	}
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(ofp_read_flow_mod(buf, len, &got), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flow_commands),
		cmocka_unit_test(test_packet_out),
		cmocka_unit_test(test_meter),
		cmocka_unit_test(test_ct_flush),
		cmocka_unit_test(test_bundle),
		cmocka_unit_test(test_printed_session),
		cmocka_unit_test(test_printed_events),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_packet_in),
		cmocka_unit_test(test_multipart_read),
		cmocka_unit_test(test_stats_read),
		cmocka_unit_test(test_small_reads),
		cmocka_unit_test(test_match_rules),
		cmocka_unit_test(test_refused_actions),
		cmocka_unit_test(test_broken_flow_mod),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
