/* SPDX-License-Identifier: Apache-2.0 */
#include "pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

static const struct mac guest = { { 2, 0, 0, 0, 1, 1 } }, gateway = { { 2, 0, 0, 0, 0, 1 } },
			uplink = { { 2, 0, 0, 0, 9, 1 } }, broadcast = { { 255, 255, 255, 255, 255, 255 } };
static const uint8_t ask[] = { 1, 0, 0, 0x10 };

static struct addr ip(const char *text)
{
	struct addr a = { 0 };

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
	ofp_act_controller(a, &(struct ofp_controller){ .max_len = 65535,
				      .controller_id = 7,
				      .reason = OFP_REASON_ACTION,
				      .userdata = userdata,
				      .userdata_len = len });
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
	put_ask(a, 11, (const uint8_t[]){ 1, 0, 0, 1 }, 4);
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
	ofp_match_arp_tha(&fm->match, &(struct mac){ { 0 } });
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
	ofp_act_ct(a, &(struct ofp_ct){ .commit = true,
			      .zone = 40001,
			      .table = 22,
			      .nat = OFP_NAT_DST,
			      .nat_addr = ip("192.0.2.53"),
			      .mark_from = OFP_MARK_SET,
			      .mark = 1 });
}

static void names_v6(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 20, 100, OFP_NO_TABLE);
	ofp_match_reg(&fm->match, 0, 1);
	ofp_match_ip_any(&fm->match, true);
	ofp_match_ip_proto(&fm->match, 6);
	ofp_match_tp_dst(&fm->match, 53);
	ofp_act_ct(a, &(struct ofp_ct){ .commit = true,
			      .force = true,
			      .zone = 40001,
			      .table = 22,
			      .nat = OFP_NAT_DST,
			      .nat_addr = ip("2001:db8::53"),
			      .nat_port = 5353,
			      .mark_from = OFP_MARK_SET,
			      .mark = 1 });
}

static void track(struct ofp_flow_mod *fm, struct wr *a)
{
	to(fm, 30, 100, OFP_NO_TABLE);
	ofp_match_ip_any(&fm->match, true);
	ofp_act_ct(a, &(struct ofp_ct){ .zone_from_reg = true, .zone_reg = 1, .table = 40, .nat = OFP_NAT_REPLY });
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
	ofp_act_ct(a, &(struct ofp_ct){ .commit = true,
			      .zone = 101,
			      .table = 45,
			      .nat = OFP_NAT_DST,
			      .nat_addr = ip("203.0.113.5"),
			      .nat_port = 443,
			      .mark_from = OFP_MARK_SET,
			      .mark = 0x10007 });
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
	ofp_act_ct(a, &(struct ofp_ct){ .commit = true,
			      .zone_from_reg = true,
			      .zone_reg = 1,
			      .table = OFP_NO_TABLE,
			      .nat = OFP_NAT_SRC,
			      .nat_addr = ip("192.0.2.9"),
			      .mark_from = OFP_MARK_FROM_REG,
			      .mark_reg = 6 });
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
	ofp_act_controller(a, &(struct ofp_controller){ .max_len = 128,
				      .reason = OFP_REASON_INVALID_TTL,
				      .meter = 9,
				      .userdata = ask,
				      .userdata_len = 3 });
}

#define ASK(meter, userdata) \
	"meter:" meter ",check_pkt_larger(2048)->NXM_NX_REG7[0],controller(max_len=65535,id=7,userdata=" userdata ")"

const struct flow_case pipeline[] = {
	{ "table=0,priority=0,cookie=0xdead0000,actions=drop", drop_0 },
	{ "table=0,priority=200,in_port=1,vlan_tci=0,dl_src=02:00:00:00:01:01,actions=set_field:1->reg0,set_field:101->reg1,set_field:1->reg3,goto_table:10",
		classify_app },
	{ "table=0,priority=200,in_port=9,vlan_tci=0,dl_dst=02:00:00:00:00:01,ipv6,ipv6_dst=2001:db8:1::2/64,actions=set_field:1->reg0,set_field:1->reg2,goto_table:30",
		classify_uplink },
	{ "table=10,priority=200,reg0=1,ip,nw_src=192.0.2.2,nw_frag=no,dl_dst=02:00:00:00:00:01,actions=goto_table:20",
		security_v4 },
	{ "table=10,priority=190,udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67,dl_dst=ff:ff:ff:ff:ff:ff,nw_frag=no,actions=" ASK(
		  "11", "01.00.00.01"),
		dhcp },
	{ "table=10,priority=200,reg0=1,arp,arp_op=1,arp_spa=192.0.2.2,arp_tpa=192.0.2.1,arp_sha=02:00:00:00:01:01,arp_tha=00:00:00:00:00:00,actions=" ASK(
		  "12", "01.00.00.10"),
		arp },
	{ "table=10,priority=210,reg0=1,icmp6,icmp_type=135,icmp_code=0,nw_ttl=255,nd_target=fe80::1,nd_sll=02:00:00:00:01:01,actions=" ASK(
		  "12", "01.00.00.10"),
		nd },
	{ "table=11,priority=10,icmp6,icmp_type=136,icmp_code=0,nd_target=fe80::1,nd_tll=02:00:00:00:01:01,actions=in_port",
		na },
	{ "table=10,priority=300,ip,nw_proto=0,actions=drop", no_proto_0 },
	{ "table=20,priority=100,reg0=1,udp,tp_dst=53,actions=ct(commit,zone=40001,nat(dst=192.0.2.53),exec(set_field:1->ct_mark),table=22)",
		names },
	{ "table=20,priority=100,reg0=1,tcp6,tp_dst=53,actions=ct(commit,force,zone=40001,nat(dst=[2001:db8::53]:5353),exec(set_field:1->ct_mark),table=22)",
		names_v6 },
	{ "table=30,priority=100,ipv6,actions=ct(zone=NXM_NX_REG1[0..15],nat,table=40)", track },
	{ "table=40,priority=300,ct_state=+trk+inv,actions=drop", invalid },
	{ "table=40,priority=200,ct_state=+trk+est-new-inv,actions=goto_table:45", established },
	{ "table=40,priority=200,ct_state=+trk+rel-new-inv,icmp6,actions=goto_table:45", related },
	{ "table=40,priority=100,ct_state=+trk+new,ct_mark=0,reg2=0,reg3=4,tcp,tcp_flags=+syn-ack-rst-fin,actions=goto_table:48",
		opening },
	{ "table=45,priority=10,cookie=0x5301000100000007,hard_timeout=60,idle_timeout=5,send_flow_rem,ct_mark=0x10007,reg2=1,actions=goto_table:60",
		live },
	{ "table=45,priority=5,ct_mark=0x80000000/0x80000000,reg7=0/1,actions=" ASK("13", "01.00.00.10"), stale },
	{ "table=48,priority=10,tcp,nw_dst=198.18.0.1,tp_dst=443,actions=ct(commit,zone=101,nat(dst=203.0.113.5:443),exec(set_field:0x10007->ct_mark),table=45)",
		hot },
	{ "table=50,priority=0,cookie=0xa5a50000,actions=" ASK("10", "01.00.00.10"), unknown },
	{ "table=51,priority=100,reg5=1,ip,actions=ct(commit,zone=NXM_NX_REG1[0..15],nat(src=192.0.2.9),exec(move:NXM_NX_REG6[]->NXM_NX_CT_MARK[])),goto_table:60",
		commit_reg },
	{ "table=60,priority=100,reg2=0,ip,actions=dec_ttl,set_field:02:00:00:00:00:01->eth_src,set_field:02:00:00:00:09:01->eth_dst,output:9",
		egress },
	{ "table=61,priority=1,arp,actions=move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],move:NXM_NX_REG6[8..15]->NXM_NX_REG7[16..23],set_field:2->arp_op,set_field:192.0.2.1->arp_spa,load:5->NXM_NX_REG7[4..6],resubmit(,11),resubmit(3,12),controller(reason=invalid_ttl,max_len=128,userdata=01.00.00,meter_id=9)",
		move_and_resubmit },
};

const unsigned n_pipeline = sizeof(pipeline) / sizeof(pipeline[0]);
