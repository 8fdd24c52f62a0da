/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as any OpenFlow message: no read outside; what was understood, written and understood again, is written the
 * same. */
#include "ofp/msg.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint8_t first[1 << 17], second[1 << 17];

static void must(int condition)
{
	if (!condition)
		abort();
}

static void actions(const uint8_t *p, size_t len)
{
	struct rd r = rd_init(p, len);
	struct ofp_act a, b;

	while (ofp_act_read(&r, &a)) {
		struct wr w = wr_init(first, sizeof(first)), w2 = wr_init(second, sizeof(second));
		ofp_act_put(&w, &a);
		must(wr_ok(&w));
		struct rd again = rd_init(first, w.len);
		must(ofp_act_read(&again, &b) && rd_done(&again));
		ofp_act_put(&w2, &b);
		must(wr_ok(&w2) && w2.len == w.len && memcmp(first, second, w.len) == 0);
	}
}

static void flow_mod(const uint8_t *data, size_t len)
{
	static struct ofp_flow_mod fm, again;
	struct wr w = wr_init(first, sizeof(first)), w2 = wr_init(second, sizeof(second));

	if (ofp_read_flow_mod(data, len, &fm) != 0)
		return;
	ofp_put_flow_mod(&w, 1, &fm);
	must(wr_ok(&w));
	must(ofp_read_flow_mod(first, w.len, &again) == 0);
	must(ofp_match_equal(&fm.match, &again.match));
	ofp_put_flow_mod(&w2, 1, &again);
	must(wr_ok(&w2) && w2.len == w.len && memcmp(first, second, w.len) == 0);
	actions(fm.actions, fm.actions_len);
}

static void packet_in(const uint8_t *data, size_t len)
{
	struct ofp_packet_in pi, again;
	struct wr w = wr_init(first, sizeof(first));

	if (ofp_read_packet_in(data, len, &pi) != 0)
		return;
	ofp_put_packet_in(&w, 1, &pi);
	if (!wr_ok(&w))
		return; /* grown past 65535 by properties that were missing */
	must(ofp_read_packet_in(first, w.len, &again) == 0);
	must(again.frame_len == pi.frame_len && memcmp(again.frame, pi.frame, pi.frame_len) == 0);
	must(again.userdata_len == pi.userdata_len && memcmp(again.reg, pi.reg, sizeof(pi.reg)) == 0);
	must(again.in_port == pi.in_port && again.ct_mark == pi.ct_mark && again.ct_state == pi.ct_state &&
		again.ct_zone == pi.ct_zone);
}

static void packet_out(const uint8_t *data, size_t len)
{
	struct ofp_packet_out po, again;
	struct wr w = wr_init(first, sizeof(first));

	if (ofp_read_packet_out(data, len, &po) != 0)
		return;
	ofp_put_packet_out(&w, 1, &po);
	if (wr_ok(&w)) {
		must(ofp_read_packet_out(first, w.len, &again) == 0);
		must(again.frame_len == po.frame_len && again.actions_len == po.actions_len &&
			again.in_port == po.in_port);
	}
	actions(po.actions, po.actions_len);
}

static void multipart(const uint8_t *data, size_t len)
{
	struct ofp_multipart mp;
	static struct ofp_flow_desc fd;
	static struct ofp_flow_mod fm;
	struct ofp_port port;
	struct ofp_meter_stats ms;
	struct ofp_meter_features mf;
	struct ofp_table_stats ts;

	if (ofp_read_multipart(data, len, &mp) != 0)
		return;
	for (struct rd r = mp.body; ofp_next_flow_desc(&r, &fd);)
		actions(fd.actions, fd.actions_len);
	for (struct rd r = mp.body; ofp_next_port(&r, &port);)
		must(strlen(port.name) <= OFP_PORT_NAME_MAX);
	for (struct rd r = mp.body; ofp_next_meter_stats(&r, &ms);)
		;
	for (struct rd r = mp.body; ofp_next_meter_features(&r, &mf);)
		;
	for (struct rd r = mp.body; ofp_next_table_stats(&r, &ts);)
		;
	(void)!ofp_read_flow_desc_request(data, len, &fm);
}

static void small(const uint8_t *data, size_t len)
{
	static struct ofp_flow_removed fr;
	struct ofp_port port;
	struct ofp_features f;
	struct ofp_async async;
	struct ofp_error e;
	struct ofp_bundle b;
	struct ofp_meter m;
	struct ofp_ct_tuple t, t2;
	enum ofp_port_reason reason;
	enum ofp_meter_command cmd;
	enum ofp_role role;
	uint64_t gen;
	uint32_t arg;
	uint16_t miss;
	bool speaks;

	(void)!ofp_read_hello(data, len, &speaks);
	(void)!ofp_read_error(data, len, &e);
	(void)!ofp_read_features_reply(data, len, &f);
	(void)!ofp_read_set_config(data, len, &miss);
	(void)!ofp_read_role(data, len, &role, &gen);
	(void)!ofp_read_set_async(data, len, &async);
	(void)!ofp_read_nx_arg(data, len, &arg);
	(void)!ofp_read_flow_removed(data, len, &fr);
	(void)!ofp_read_port_status(data, len, &reason, &port);
	(void)!ofp_read_meter_mod(data, len, &cmd, &m);
	(void)!ofp_read_bundle(data, len, &b);
	if (ofp_read_ct_flush(data, len, &t) == 0) {
		struct wr w = wr_init(first, sizeof(first));
		ofp_put_ct_flush(&w, 1, &t);
		must(wr_ok(&w) && ofp_read_ct_flush(first, w.len, &t2) == 0);
		must(addr_equal(&t.src, &t2.src) && addr_equal(&t.dst, &t2.dst) && t.zone == t2.zone);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct ofp_header h;
	const uint8_t *inner;
	size_t inner_len;
	uint32_t bundle;

	/* Lists of actions alone, too: a flow-mod reaches them only with a sound match. */
	actions(data, len);
	if (ofp_read_header(data, len, &h) != 0)
		return 0;
	flow_mod(data, len);
	packet_in(data, len);
	packet_out(data, len);
	multipart(data, len);
	small(data, len);
	if (ofp_read_bundle_add(data, len, &bundle, &inner, &inner_len) == 0)
		flow_mod(inner, inner_len);
	return 0;
}
