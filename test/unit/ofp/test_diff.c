/* SPDX-License-Identifier: Apache-2.0 */
/* Our flow-mods against those of ovs-ofctl, byte for byte: the pipeline of the switch and a generated corpus, each flow written as text and as calls. */
#include "ofctl.h"
#include "ofp/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct mac guest = {{2, 0, 0, 0, 1, 1}}, gateway = {{2, 0, 0, 0, 0, 1}}, uplink = {{2, 0, 0, 0, 9, 1}}, broadcast = {{255, 255, 255, 255, 255, 255}};
static const uint8_t ask[] = {1, 0, 0, 0x10};

/* The calls of one flow fill `fm` and `acts`. */
typedef void flow_fn(struct ofp_flow_mod *fm, struct wr *acts);

struct flow_case {
	const char *text;
	flow_fn *build;
};

static struct addr ip(const char *text)
{
	struct addr a = {0};

	assert_true(addr_parse(text, &a));
	return a;
}

static void to(struct ofp_flow_mod *fm, uint8_t table, uint16_t priority, uint8_t next)
{
	fm->table = table;
	fm->priority = priority;
	fm->goto_table = next;
}

static void drop_0(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 0, 0, OFP_NO_TABLE);
	fm->cookie = 0xdead0000;
}

static void classify_app(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 0, 200, 10);
	ofp_match_vlan_none(&fm->match);
	ofp_match_eth_src(&fm->match, &guest);
	ofp_match_in_port(&fm->match, 1);
	ofp_act_set_reg(a, 0, 1);
	ofp_act_set_reg(a, 1, 101);
	ofp_act_set_reg(a, 3, 1);
}

static void classify_uplink(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr dst = ip("2001:db8:1::2");

	to(fm, 0, 200, 30);
	ofp_match_in_port(&fm->match, 9);
	ofp_match_vlan_none(&fm->match);
	ofp_match_eth_dst(&fm->match, &gateway);
	ofp_match_ip_dst(&fm->match, &dst, 64);
	ofp_act_set_reg(a, 0, 1);
	ofp_act_set_reg(a, 2, 1);
}

static void security_v4(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr src = ip("192.0.2.2");

	(void)a;
	to(fm, 10, 200, 20);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_ip_src(&fm->match, &src, 32);
	ofp_match_ip_frag_no(&fm->match);
	ofp_match_eth_dst(&fm->match, &gateway);
}

static void put_ask(struct wr *a, uint32_t meter, const uint8_t *userdata, size_t len)
{
	/* ovs-ofctl wants the meter first: before 1.5 it was an instruction of its own. */
	ofp_act_meter(a, meter);
	ofp_act_check_pkt_larger(a, 2048, 7, 0);
	ofp_act_controller(a, &(struct ofp_controller){.max_len = 65535, .controller_id = 7, .reason = OFP_REASON_ACTION, .userdata = userdata, .userdata_len = len});
}

static void dhcp(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr any = ip("0.0.0.0"), all = ip("255.255.255.255");

	to(fm, 10, 190, OFP_NO_TABLE);
	ofp_match_ip_src(&fm->match, &any, 32);
	ofp_match_ip_dst(&fm->match, &all, 32);
	ofp_match_ip_proto(&fm->match, 17);
	ofp_match_tp_src(&fm->match, 68);
	ofp_match_tp_dst(&fm->match, 67);
	ofp_match_eth_dst(&fm->match, &broadcast);
	ofp_match_ip_frag_no(&fm->match);
	put_ask(a, 11, (const uint8_t[]){1, 0, 0, 1}, 4);
}

static void arp(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr spa = ip("192.0.2.2"), tpa = ip("192.0.2.1");

	to(fm, 10, 200, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_arp_op(&fm->match, 1);
	ofp_match_arp_spa(&fm->match, &spa);
	ofp_match_arp_tpa(&fm->match, &tpa);
	ofp_match_arp_sha(&fm->match, &guest);
	ofp_match_arp_tha(&fm->match, &(struct mac){{0}});
	put_ask(a, 12, ask, sizeof(ask));
}

static void nd(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr target = ip("fe80::1");

	to(fm, 10, 210, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_ip_any(&fm->match, true);
	ofp_match_icmp_type(&fm->match, 135);
	ofp_match_icmp_code(&fm->match, 0);
	ofp_match_ip_ttl(&fm->match, 255);
	ofp_match_nd_target(&fm->match, &target);
	ofp_match_nd_sll(&fm->match, &guest);
	put_ask(a, 12, ask, sizeof(ask));
}

static void na(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr target = ip("fe80::1");

	to(fm, 11, 10, OFP_NO_TABLE);
	ofp_match_ip_any(&fm->match, true);
	ofp_match_icmp_type(&fm->match, 136);
	ofp_match_icmp_code(&fm->match, 0);
	ofp_match_nd_target(&fm->match, &target);
	ofp_match_nd_tll(&fm->match, &guest);
	ofp_act_output(a, OFP_PORT_IN_PORT);
}

static void no_proto_0(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 10, 300, OFP_NO_TABLE);
	ofp_match_ip_any(&fm->match, false);
	ofp_match_ip_proto(&fm->match, 0);
}

static void names(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 20, 100, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_ip_any(&fm->match, false);
	ofp_match_ip_proto(&fm->match, 17);
	ofp_match_tp_dst(&fm->match, 53);
	ofp_act_ct(a, &(struct ofp_ct){.commit = true, .zone = 40001, .table = 22, .nat = OFP_NAT_DST, .nat_addr = ip("192.0.2.53"), .mark_from = OFP_MARK_SET, .mark = 1});
}

static void names_v6(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 20, 100, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_ip_any(&fm->match, true);
	ofp_match_ip_proto(&fm->match, 6);
	ofp_match_tp_dst(&fm->match, 53);
	ofp_act_ct(a, &(struct ofp_ct){.commit = true, .force = true, .zone = 40001, .table = 22, .nat = OFP_NAT_DST, .nat_addr = ip("2001:db8::53"), .nat_port = 5353, .mark_from = OFP_MARK_SET, .mark = 1});
}

static void track(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 30, 100, OFP_NO_TABLE);
	ofp_match_ip_any(&fm->match, true);
	ofp_act_ct(a, &(struct ofp_ct){.zone_from_reg = true, .zone_reg = 1, .table = 40, .nat = OFP_NAT_REPLY});
}

static void invalid(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 40, 300, OFP_NO_TABLE);
	ofp_match_ct_state(&fm->match, OFP_CS_TRK | OFP_CS_INV, OFP_CS_TRK | OFP_CS_INV);
}

static void established(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 40, 200, 45);
	ofp_match_ct_state(&fm->match, OFP_CS_TRK | OFP_CS_EST, OFP_CS_TRK | OFP_CS_EST | OFP_CS_NEW | OFP_CS_INV);
}

static void related(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 40, 200, 45);
	ofp_match_ct_state(&fm->match, OFP_CS_TRK | OFP_CS_REL, OFP_CS_TRK | OFP_CS_REL | OFP_CS_NEW | OFP_CS_INV);
	ofp_match_ip_any(&fm->match, true);
	ofp_match_ip_proto(&fm->match, 58);
}

static void opening(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 40, 100, 48);
	ofp_match_ct_state(&fm->match, OFP_CS_TRK | OFP_CS_NEW, OFP_CS_TRK | OFP_CS_NEW);
	ofp_match_ct_mark(&fm->match, 0);
	ofp_match_reg(&fm->match, 2, 0);
	ofp_match_reg(&fm->match, 3, 4);
	ofp_match_ip_any(&fm->match, false);
	ofp_match_ip_proto(&fm->match, 6);
	ofp_match_tcp_opening(&fm->match);
}

static void live(struct ofp_flow_mod *fm, struct wr *a)
{
	(void)a;
	to(fm, 45, 10, 60);
	fm->cookie = 0x5301000100000007;
	fm->hard_s = 60;
	fm->idle_s = 5;
	fm->flags = OFP_FLOW_SEND_REMOVED;
	ofp_match_ct_mark(&fm->match, 0x10007);
	ofp_match_reg(&fm->match, 2, 1);
}

static void stale(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 45, 5, OFP_NO_TABLE);
	ofp_match_ct_mark_masked(&fm->match, 0x80000000, 0x80000000);
	ofp_match_reg_masked(&fm->match, 7, 0, 1);
	put_ask(a, 13, ask, sizeof(ask));
}

static void hot(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr dst = ip("198.18.0.1");

	to(fm, 48, 10, OFP_NO_TABLE);
	ofp_match_ip_dst(&fm->match, &dst, 32);
	ofp_match_ip_proto(&fm->match, 6);
	ofp_match_tp_dst(&fm->match, 443);
	ofp_act_ct(a, &(struct ofp_ct){.commit = true, .zone = 101, .table = 45, .nat = OFP_NAT_DST, .nat_addr = ip("203.0.113.5"), .nat_port = 443, .mark_from = OFP_MARK_SET, .mark = 0x10007});
}

static void unknown(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 50, 0, OFP_NO_TABLE);
	fm->cookie = 0xa5a50000;
	put_ask(a, 10, ask, sizeof(ask));
}

static void commit_reg(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 51, 100, 60);
	ofp_match_reg(&fm->match, 5, 1);
	ofp_match_ip_any(&fm->match, false);
	ofp_act_ct(a, &(struct ofp_ct){.commit = true, .zone_from_reg = true, .zone_reg = 1, .table = OFP_NO_TABLE, .nat = OFP_NAT_SRC, .nat_addr = ip("192.0.2.9"), .mark_from = OFP_MARK_FROM_REG, .mark_reg = 6});
}

static void egress(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 60, 100, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 2, 0);
	ofp_match_ip_any(&fm->match, false);
	ofp_act_dec_ttl(a);
	ofp_act_set_mac(a, OFP_F_ETH_SRC, &gateway);
	ofp_act_set_mac(a, OFP_F_ETH_DST, &uplink);
	ofp_act_output(a, 9);
}

static void move_and_resubmit(struct ofp_flow_mod *fm, struct wr *a)
{
	struct addr spa = ip("192.0.2.1");

	to(fm, 61, 1, OFP_NO_TABLE);
	ofp_match_eth_type(&fm->match, 0x806);
	ofp_act_move(a, OFP_F_ETH_SRC, 0, OFP_F_ETH_DST, 0, 48);
	ofp_act_move(a, OFP_F_REG0 + 6, 8, OFP_F_REG0 + 7, 16, 8);
	ofp_act_set_uint(a, OFP_F_ARP_OP, 2);
	ofp_act_set_addr(a, OFP_F_ARP_SPA, &spa);
	ofp_act_set_reg_bits(a, 7, 4, 3, 5);
	ofp_act_resubmit(a, 11);
	ofp_act_resubmit_port(a, 3, 12);
	ofp_act_controller(a, &(struct ofp_controller){.max_len = 128, .reason = OFP_REASON_INVALID_TTL, .meter = 9, .userdata = ask, .userdata_len = 3});
}

#define ASK(meter, userdata) "meter:" meter ",check_pkt_larger(2048)->NXM_NX_REG7[0],controller(max_len=65535,id=7,userdata=" userdata ")"

static const struct flow_case pipeline[] = {
	{"table=0,priority=0,cookie=0xdead0000,actions=drop", drop_0},
	{"table=0,priority=200,in_port=1,vlan_tci=0,dl_src=02:00:00:00:01:01,actions=set_field:1->reg0,set_field:101->reg1,set_field:1->reg3,goto_table:10", classify_app},
	{"table=0,priority=200,in_port=9,vlan_tci=0,dl_dst=02:00:00:00:00:01,ipv6,ipv6_dst=2001:db8:1::2/64,actions=set_field:1->reg0,set_field:1->reg2,goto_table:30", classify_uplink},
	{"table=10,priority=200,reg0=1,ip,nw_src=192.0.2.2,nw_frag=no,dl_dst=02:00:00:00:00:01,actions=goto_table:20", security_v4},
	{"table=10,priority=190,udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67,dl_dst=ff:ff:ff:ff:ff:ff,nw_frag=no,actions=" ASK("11", "01.00.00.01"), dhcp},
	{"table=10,priority=200,reg0=1,arp,arp_op=1,arp_spa=192.0.2.2,arp_tpa=192.0.2.1,arp_sha=02:00:00:00:01:01,arp_tha=00:00:00:00:00:00,actions=" ASK("12", "01.00.00.10"), arp},
	{"table=10,priority=210,reg0=1,icmp6,icmp_type=135,icmp_code=0,nw_ttl=255,nd_target=fe80::1,nd_sll=02:00:00:00:01:01,actions=" ASK("12", "01.00.00.10"), nd},
	{"table=11,priority=10,icmp6,icmp_type=136,icmp_code=0,nd_target=fe80::1,nd_tll=02:00:00:00:01:01,actions=in_port", na},
	{"table=10,priority=300,ip,nw_proto=0,actions=drop", no_proto_0},
	{"table=20,priority=100,reg0=1,udp,tp_dst=53,actions=ct(commit,zone=40001,nat(dst=192.0.2.53),exec(set_field:1->ct_mark),table=22)", names},
	{"table=20,priority=100,reg0=1,tcp6,tp_dst=53,actions=ct(commit,force,zone=40001,nat(dst=[2001:db8::53]:5353),exec(set_field:1->ct_mark),table=22)", names_v6},
	{"table=30,priority=100,ipv6,actions=ct(zone=NXM_NX_REG1[0..15],nat,table=40)", track},
	{"table=40,priority=300,ct_state=+trk+inv,actions=drop", invalid},
	{"table=40,priority=200,ct_state=+trk+est-new-inv,actions=goto_table:45", established},
	{"table=40,priority=200,ct_state=+trk+rel-new-inv,icmp6,actions=goto_table:45", related},
	{"table=40,priority=100,ct_state=+trk+new,ct_mark=0,reg2=0,reg3=4,tcp,tcp_flags=+syn-ack-rst-fin,actions=goto_table:48", opening},
	{"table=45,priority=10,cookie=0x5301000100000007,hard_timeout=60,idle_timeout=5,send_flow_rem,ct_mark=0x10007,reg2=1,actions=goto_table:60", live},
	{"table=45,priority=5,ct_mark=0x80000000/0x80000000,reg7=0/1,actions=" ASK("13", "01.00.00.10"), stale},
	{"table=48,priority=10,tcp,nw_dst=198.18.0.1,tp_dst=443,actions=ct(commit,zone=101,nat(dst=203.0.113.5:443),exec(set_field:0x10007->ct_mark),table=45)", hot},
	{"table=50,priority=0,cookie=0xa5a50000,actions=" ASK("10", "01.00.00.10"), unknown},
	{"table=51,priority=100,reg5=1,ip,actions=ct(commit,zone=NXM_NX_REG1[0..15],nat(src=192.0.2.9),exec(move:NXM_NX_REG6[]->NXM_NX_CT_MARK[])),goto_table:60", commit_reg},
	{"table=60,priority=100,reg2=0,ip,actions=dec_ttl,set_field:02:00:00:00:00:01->eth_src,set_field:02:00:00:00:09:01->eth_dst,output:9", egress},
	{"table=61,priority=1,arp,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],move:NXM_NX_REG6[8..15]->NXM_NX_REG7[16..23],set_field:2->arp_op,set_field:192.0.2.1->arp_spa,load:5->NXM_NX_REG7[4..6],resubmit(,11),resubmit(3,12),controller(reason=invalid_ttl,max_len=128,userdata=01.00.00,meter_id=9)", move_and_resubmit},
};

static void hex(const char *who, const uint8_t *p, size_t len)
{
	fprintf(stderr, "%s ", who);
	for (size_t i = 0; i < len; i++)
		fprintf(stderr, "%02x%s", p[i], i % 8 == 7 ? " " : "");
	fprintf(stderr, "\n");
}

/* `ours` and the reference, except for the transaction number. */
static bool same(const char *text, const uint8_t *ours, size_t len, const uint8_t *ref, size_t ref_len)
{
	if (len == ref_len && memcmp(ours, ref, 4) == 0 && memcmp(ours + 8, ref + 8, len - 8) == 0)
		return true;
	fprintf(stderr, "%s\n", text);
	hex("ours", ours, len);
	hex("ovs ", ref, ref_len);
	return false;
}

static void compare_all(const char *flows, const uint8_t *ours, size_t ours_len)
{
	struct caught theirs, mine = {.bytes = (uint8_t *)(uintptr_t)ours, .len = ours_len};
	char *file = temp_file(flows, strlen(flows)), *lines = strdup(flows), *save = NULL;
	size_t at = 0, our_at = 0, len, our_len;
	unsigned bad = 0;
	const uint8_t *ref;

	if (getenv("OFP_SHOW") != NULL)
		fputs(flows, stderr);
	ofctl_catch((const char *const[]){"add-flows", "SWITCH", file, NULL}, &theirs);
	unlink(file);
	free(file);
	char *line = strtok_r(lines, "\n", &save);
	while ((ref = caught_next(&theirs, &at, &len)) != NULL) {
		const uint8_t *m = caught_next(&mine, &our_at, &our_len);
		assert_non_null(m);
		assert_non_null(line);
		bad += !same(line, m, our_len, ref, len);
		line = strtok_r(NULL, "\n", &save);
	}
	assert_null(line);
	assert_int_equal(our_at, ours_len);
	assert_int_equal(bad, 0);
	/* The other way: theirs read by us and written again, and ours read by them. */
	at = 0;
	while ((ref = caught_next(&theirs, &at, &len)) != NULL) {
		static uint8_t again[OFP_MSG_MAX];
		static struct ofp_flow_mod fm;
		struct wr w = wr_init(again, sizeof(again));
		assert_int_equal(ofp_read_flow_mod(ref, len, &fm), 0);
		ofp_put_flow_mod(&w, 0, &fm);
		assert_true(wr_ok(&w));
		assert_true(same("read and written again", again, w.len, ref, len));
		struct rd r = rd_init(fm.actions, fm.actions_len);
		struct wr acts = wr_init(again, sizeof(again));
		struct ofp_act act;
		while (ofp_act_read(&r, &act))
			ofp_act_put(&acts, &act);
		assert_true(rd_done(&r));
		assert_true(wr_ok(&acts));
		assert_int_equal(acts.len, fm.actions_len);
		if (acts.len > 0)
			assert_memory_equal(again, fm.actions, acts.len);
	}
	char *a = ofctl_print(ours, ours_len), *b = ofctl_print(theirs.bytes, theirs.len);
	assert_null(strstr(a, "***"));
	assert_int_equal(strlen(a) > 0, 1);
	free(a);
	free(b);
	free(lines);
	caught_free(&theirs);
}

static uint8_t out[1 << 20];

static void test_pipeline(void **state)
{
	(void)state;
	static char text[1 << 16];
	static struct ofp_flow_mod fm;
	struct wr w = wr_init(out, sizeof(out));

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(pipeline) / sizeof(pipeline[0]); i++) {
		uint8_t acts[1024];
		struct wr a = wr_init(acts, sizeof(acts));
		ofp_flow_mod_init(&fm);
		pipeline[i].build(&fm, &a);
		assert_true(wr_ok(&a));
		fm.actions = acts;
		fm.actions_len = a.len;
		ofp_put_flow_mod(&w, 0, &fm);
		assert_true(wr_ok(&w));
		strcat(text, pipeline[i].text);
		strcat(text, "\n");
	}
	compare_all(text, out, w.len);
}

/* A generator small enough to be replayed from its seed. */
static uint64_t seed;

static uint32_t below(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 16) % n);
}

static bool coin(void)
{
	return below(2) == 1;
}

static uint32_t any32(void)
{
	return below(0x10000) << 16 | below(0x10000);
}

struct gen {
	char text[2048];
	size_t len;
	struct ofp_flow_mod fm;
	struct wr acts;
	uint8_t act_bytes[2048];
};

__attribute__((format(printf, 2, 3))) static void say(struct gen *g, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	g->len += (size_t)vsnprintf(g->text + g->len, sizeof(g->text) - g->len, fmt, ap);
	va_end(ap);
	assert_true(g->len < sizeof(g->text));
}

static struct addr random_addr(bool v6)
{
	uint8_t b[16] = {0x20, 1, 0xd, 0xb8};

	if (!v6)
		return addr_v4(any32() | 1);
	for (unsigned i = 4; i < 16; i++)
		b[i] = (uint8_t)below(256);
	return addr_v6(b);
}

static struct mac random_mac(void)
{
	return (struct mac){{2, (uint8_t)below(256), (uint8_t)below(256), (uint8_t)below(256), (uint8_t)below(256), (uint8_t)below(256)}};
}

static const char *say_addr(const struct addr *a)
{
	static char b[4][ADDR_TEXT_MAX];
	static unsigned i;

	return addr_format(a, b[i++ % 4], ADDR_TEXT_MAX);
}

static const char *say_mac(const struct mac *m)
{
	static char b[4][MAC_TEXT_MAX];
	static unsigned i;

	return mac_format(m, b[i++ % 4], MAC_TEXT_MAX);
}

static void random_transport(struct gen *g, bool v6)
{
	unsigned kind = below(4);
	uint16_t src = (uint16_t)below(65536), dst = (uint16_t)below(65536);

	if (kind == 0) {
		bool tcp = coin();
		ofp_match_ip_proto(&g->fm.match, tcp ? 6 : 17);
		ofp_match_tp_dst(&g->fm.match, dst);
		say(g, ",nw_proto=%d,tp_dst=%u", tcp ? 6 : 17, dst);
		if (coin()) {
			ofp_match_tp_src(&g->fm.match, src);
			say(g, ",tp_src=%u", src);
		}
		if (tcp && coin()) {
			uint16_t mask = (uint16_t)(1 + below(0xfff)), value = (uint16_t)(below(0x1000) & mask);
			ofp_match_tcp_flags(&g->fm.match, value, mask);
			say(g, ",tcp_flags=%#x/%#x", value, mask);
		}
	} else if (kind == 1) {
		ofp_match_icmp_type(&g->fm.match, (uint8_t)(src & 0xff));
		ofp_match_icmp_code(&g->fm.match, (uint8_t)(dst & 0xff));
		say(g, ",nw_proto=%d,icmp_type=%u,icmp_code=%u", v6 ? 58 : 1, src & 0xff, dst & 0xff);
	} else if (kind == 2) {
		ofp_match_ip_proto(&g->fm.match, (uint8_t)(src & 0xff));
		say(g, ",nw_proto=%u", src & 0xff);
	}
}

static void random_ip(struct gen *g, bool v6)
{
	struct addr a = random_addr(v6), b = random_addr(v6);
	unsigned prefix = 1 + below(v6 ? 128 : 32);

	ofp_match_ip_any(&g->fm.match, v6);
	say(g, v6 ? ",ipv6" : ",ip");
	if (coin()) {
		ofp_match_ip_src(&g->fm.match, &a, prefix);
		say(g, ",%s=%s/%u", v6 ? "ipv6_src" : "nw_src", say_addr(&a), prefix);
	}
	if (coin()) {
		ofp_match_ip_dst(&g->fm.match, &b, v6 ? 128 : 32);
		say(g, ",%s=%s", v6 ? "ipv6_dst" : "nw_dst", say_addr(&b));
	}
	if (coin()) {
		ofp_match_ip_ttl(&g->fm.match, 64);
		say(g, ",nw_ttl=64");
	}
	if (coin()) {
		ofp_match_ip_frag_no(&g->fm.match);
		say(g, ",nw_frag=no");
	}
	random_transport(g, v6);
}

static void random_match(struct gen *g, bool *ret_ip, bool *ret_v6)
{
	struct mac mac = random_mac();
	unsigned l3 = below(4);

	*ret_ip = l3 < 2;
	*ret_v6 = l3 == 1;
	if (coin()) {
		uint32_t port = 1 + below(0xfeff);
		ofp_match_in_port(&g->fm.match, port);
		say(g, ",in_port=%u", port);
	}
	if (coin()) {
		ofp_match_eth_src(&g->fm.match, &mac);
		say(g, ",dl_src=%s", say_mac(&mac));
	}
	if (coin()) {
		ofp_match_vlan_none(&g->fm.match);
		say(g, ",vlan_tci=0");
	}
	for (unsigned reg = 0; reg < 8; reg++) {
		uint32_t mask = below(3) == 0 ? any32() : UINT32_MAX, value = any32() & mask;
		if (below(3) != 0)
			continue;
		ofp_match_reg_masked(&g->fm.match, reg, value, mask);
		say(g, ",reg%u=%#x/%#x", reg, value, mask);
	}
	if (coin()) {
		/* OVS refuses a commit where the match says +inv. */
		uint32_t mask = 1 + below(255), value = below(256) & mask & ~(uint32_t)OFP_CS_INV;
		ofp_match_ct_state(&g->fm.match, value, mask);
		say(g, ",ct_state=%#x/%#x", value, mask);
	}
	if (coin()) {
		uint32_t mark = any32();
		ofp_match_ct_mark(&g->fm.match, mark);
		ofp_match_ct_zone(&g->fm.match, (uint16_t)mark);
		say(g, ",ct_mark=%#x,ct_zone=%u", mark, mark & 0xffff);
	}
	if (coin()) {
		ofp_match_metadata(&g->fm.match, 0x123456789abcdef0);
		say(g, ",metadata=0x123456789abcdef0");
	}
	if (*ret_ip)
		random_ip(g, *ret_v6);
}

static void random_ct(struct gen *g, bool v6)
{
	struct ofp_ct ct = {.commit = true, .force = coin(), .zone = (uint16_t)below(65536), .table = coin() ? (uint8_t)below(250) : OFP_NO_TABLE};

	say(g, "ct(commit%s", ct.force ? ",force" : "");
	ct.zone_from_reg = coin();
	ct.zone_reg = (uint8_t)below(8);
	if (ct.zone_from_reg)
		say(g, ",zone=NXM_NX_REG%u[0..15]", ct.zone_reg);
	else
		say(g, ",zone=%u", ct.zone);
	if (ct.table != OFP_NO_TABLE)
		say(g, ",table=%u", ct.table);
	ct.nat = (enum ofp_nat)below(4);
	if (ct.nat == OFP_NAT_REPLY)
		say(g, ",nat");
	if (ct.nat == OFP_NAT_SRC || ct.nat == OFP_NAT_DST) {
		ct.nat_addr = random_addr(v6);
		ct.nat_port = coin() ? (uint16_t)(1 + below(65535)) : 0;
		say(g, v6 && ct.nat_port != 0 ? ",nat(%s=[%s]" : ",nat(%s=%s", ct.nat == OFP_NAT_SRC ? "src" : "dst", say_addr(&ct.nat_addr));
		if (ct.nat_port != 0)
			say(g, ":%u", ct.nat_port);
		say(g, ")");
	}
	ct.mark_from = (enum ofp_ct_mark)below(3);
	ct.mark = any32();
	ct.mark_reg = (uint8_t)below(8);
	if (ct.mark_from == OFP_MARK_SET)
		say(g, ",exec(set_field:%#x->ct_mark)", ct.mark);
	else if (ct.mark_from == OFP_MARK_FROM_REG)
		say(g, ",exec(move:NXM_NX_REG%u[]->NXM_NX_CT_MARK[])", ct.mark_reg);
	say(g, "),");
	ofp_act_ct(&g->acts, &ct);
}

static void random_action(struct gen *g, bool is_ip, bool v6)
{
	uint32_t v = any32();
	struct mac mac = random_mac();
	struct addr a = random_addr(v6);

	switch (below(10)) {
	case 0:
		ofp_act_output(&g->acts, 1 + v % 0xfe00);
		say(g, "output:%u,", 1 + v % 0xfe00);
		break;
	case 1:
		ofp_act_resubmit(&g->acts, (uint8_t)(v % 250));
		say(g, "resubmit(,%u),", v % 250);
		break;
	case 2:
		if (g->acts.len > 0)
			break;
		ofp_act_meter(&g->acts, 1 + v % 1000);
		say(g, "meter:%u,", 1 + v % 1000);
		break;
	case 3:
		ofp_act_set_reg(&g->acts, v % 16, v);
		say(g, "set_field:%#x->reg%u,", v, v % 16);
		break;
	case 4:
		ofp_act_set_reg_bits(&g->acts, 3, v % 20, 1 + v % 12, 1);
		say(g, "load:1->NXM_NX_REG3[%u..%u],", v % 20, v % 20 + v % 12);
		break;
	case 5:
		ofp_act_set_mac(&g->acts, OFP_F_ETH_DST, &mac);
		say(g, "set_field:%s->eth_dst,", say_mac(&mac));
		break;
	case 6:
		ofp_act_check_pkt_larger(&g->acts, (uint16_t)(64 + v % 60000), v % 16, v % 32);
		say(g, "check_pkt_larger(%u)->NXM_NX_REG%u[%u],", 64 + v % 60000, v % 16, v % 32);
		break;
	case 7:
		ofp_act_controller(&g->acts, &(struct ofp_controller){.max_len = (uint16_t)v, .controller_id = (uint16_t)(v >> 16), .reason = OFP_REASON_ACTION, .userdata = ask, .userdata_len = 1 + v % 4, .meter = 1 + v % 9});
		say(g, "controller(max_len=%u,id=%u,userdata=%.*s,meter_id=%u),", v & 0xffff, v >> 16, (int)(2 + v % 4 * 3), "01.00.00.10", 1 + v % 9);
		break;
	case 8:
		if (!is_ip)
			break;
		ofp_act_dec_ttl(&g->acts);
		ofp_act_set_addr(&g->acts, v6 ? OFP_F_IPV6_DST : OFP_F_IPV4_DST, &a);
		say(g, "dec_ttl,set_field:%s->%s,", say_addr(&a), v6 ? "ipv6_dst" : "ip_dst");
		break;
	case 9:
		if (is_ip)
			random_ct(g, v6);
		break;
	}
}

static void random_flow(struct gen *g)
{
	bool is_ip, v6;

	memset(g, 0, sizeof(*g));
	g->acts = wr_init(g->act_bytes, sizeof(g->act_bytes));
	ofp_flow_mod_init(&g->fm);
	g->fm.table = (uint8_t)below(200);
	g->fm.priority = (uint16_t)below(65536);
	g->fm.cookie = (uint64_t)any32() << 32 | any32();
	g->fm.idle_s = (uint16_t)below(100);
	g->fm.hard_s = (uint16_t)below(100);
	g->fm.importance = (uint16_t)below(100);
	g->fm.flags = (uint16_t)below(8);
	say(g, "table=%u,priority=%u,cookie=%#llx,idle_timeout=%u,hard_timeout=%u,importance=%u%s%s%s", g->fm.table, g->fm.priority, (unsigned long long)g->fm.cookie,
		g->fm.idle_s, g->fm.hard_s, g->fm.importance, g->fm.flags & 1 ? ",send_flow_rem" : "", g->fm.flags & 2 ? ",check_overlap" : "", g->fm.flags & 4 ? ",reset_counts" : "");
	random_match(g, &is_ip, &v6);
	say(g, ",actions=");
	for (unsigned n = below(5); n > 0; n--)
		random_action(g, is_ip, v6);
	bool next = coin() || g->acts.len == 0;
	if (next) {
		g->fm.goto_table = (uint8_t)(g->fm.table + 1 + below(10));
		say(g, "goto_table:%u", g->fm.goto_table);
	}
	assert_true(wr_ok(&g->acts));
	g->fm.actions = g->act_bytes;
	g->fm.actions_len = g->acts.len;
}

static void test_generated(void **state)
{
	(void)state;
	enum { FLOWS = 1500, TEXT_MAX = 1 << 20 };
	static struct gen g;
	const char *given = getenv("OFP_SEED");
	char *text = calloc(1, TEXT_MAX);
	struct wr w = wr_init(out, sizeof(out));
	size_t at = 0;

	assert_non_null(text);
	seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + 1;
	printf("OFP_SEED=%#llx\n", (unsigned long long)seed);
	for (unsigned i = 0; i < FLOWS; i++) {
		random_flow(&g);
		assert_true(at + g.len + 2 < TEXT_MAX);
		memcpy(text + at, g.text, g.len);
		text[at + g.len] = '\n';
		at += g.len + 1;
		ofp_put_flow_mod(&w, i, &g.fm);
		assert_true(wr_ok(&w));
	}
	compare_all(text, out, w.len);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_pipeline), cmocka_unit_test(test_generated)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
