/* SPDX-License-Identifier: Apache-2.0 */
/* Our flow-mods against those of ovs-ofctl, byte for byte: the pipeline of the switch and a generated corpus, each flow
 * written as text and as calls. */
#include "ofctl.h"
#include "ofp/msg.h"
#include "pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint8_t ask[] = { 1, 0, 0, 0x10 };

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
	struct caught theirs, mine = { .bytes = (uint8_t *)(uintptr_t)ours, .len = ours_len };
	char *file = temp_file(flows, strlen(flows)), *lines = strdup(flows), *save = NULL;
	size_t at = 0, our_at = 0, len, our_len;
	unsigned bad = 0;
	const uint8_t *ref;

	if (getenv("OFP_SHOW") != NULL)
		fputs(flows, stderr);
	ofctl_catch((const char *const[]){ "add-flows", "SWITCH", file, NULL }, &theirs);
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
	for (unsigned i = 0; i < n_pipeline; i++) {
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
	uint8_t b[16] = { 0x20, 1, 0xd, 0xb8 };

	if (!v6)
		return addr_v4(any32() | 1);
	for (unsigned i = 4; i < 16; i++)
		b[i] = (uint8_t)below(256);
	return addr_v6(b);
}

static struct mac random_mac(void)
{
	return (struct mac){ { 2, (uint8_t)below(256), (uint8_t)below(256), (uint8_t)below(256), (uint8_t)below(256),
		(uint8_t)below(256) } };
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
	struct ofp_ct ct = { .commit = true,
		.force = coin(),
		.zone = (uint16_t)below(65536),
		.table = coin() ? (uint8_t)below(250) : OFP_NO_TABLE };

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
		say(g, v6 && ct.nat_port != 0 ? ",nat(%s=[%s]" : ",nat(%s=%s", ct.nat == OFP_NAT_SRC ? "src" : "dst",
			say_addr(&ct.nat_addr));
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
		ofp_act_controller(&g->acts, &(struct ofp_controller){ .max_len = (uint16_t)v,
						     .controller_id = (uint16_t)(v >> 16),
						     .reason = OFP_REASON_ACTION,
						     .userdata = ask,
						     .userdata_len = 1 + v % 4,
						     .meter = 1 + v % 9 });
		say(g, "controller(max_len=%u,id=%u,userdata=%.*s,meter_id=%u),", v & 0xffff, v >> 16,
			(int)(2 + v % 4 * 3), "01.00.00.10", 1 + v % 9);
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
	say(g, "table=%u,priority=%u,cookie=%#llx,idle_timeout=%u,hard_timeout=%u,importance=%u%s%s%s", g->fm.table,
		g->fm.priority, (unsigned long long)g->fm.cookie, g->fm.idle_s, g->fm.hard_s, g->fm.importance,
		g->fm.flags & 1 ? ",send_flow_rem" : "", g->fm.flags & 2 ? ",check_overlap" : "",
		g->fm.flags & 4 ? ",reset_counts" : "");
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
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_pipeline), cmocka_unit_test(test_generated) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
