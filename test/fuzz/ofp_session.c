/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes in any pieces as what a switch says. The first byte chooses how they are cut and whether the handshake is
 * done for them. */
#include "ofp/session.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct ofp_session *session;

static void must(int condition)
{
	if (!condition)
		abort();
}

static void drain(int64_t now)
{
	struct ofp_event ev;
	size_t len;

	while (ofp_session_next(session, now, &ev) != OFP_EV_NONE) {
		if (ev.type == OFP_EV_MESSAGE)
			must(ev.len == ev.header.len && ev.len >= OFP_HEADER_LEN && ev.msg[0] == OFP_VERSION);
		if (ev.type == OFP_EV_CLOSED)
			must(!ofp_session_connected(session));
	}
	const uint8_t *p = ofp_session_out(session, &len);
	/* What we say is always whole messages of version 6. */
	for (size_t at = 0; at < len;) {
		must(len - at >= OFP_HEADER_LEN && p[at] == OFP_VERSION);
		size_t one = (size_t)(p[at + 2] << 8 | p[at + 3]);
		must(one >= OFP_HEADER_LEN && one <= len - at);
		at += one;
	}
	ofp_session_out_done(session, len);
}

static void feed(const uint8_t *data, size_t len, size_t piece, int64_t now)
{
	while (len > 0) {
		size_t room, n = len < piece ? len : piece;
		uint8_t *to = ofp_session_in_space(session, &room);
		if (to == NULL)
			return;
		n = n < room ? n : room;
		memcpy(to, data, n);
		ofp_session_in_done(session, n, now);
		drain(now);
		data += n;
		len -= n;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct ofp_session_conf conf = { .packet_in = true, .controller_id = 1, .probe_ms = 1000 };
	uint8_t buf[256];
	struct wr w = wr_init(buf, sizeof(buf));

	if (session == NULL)
		session = ofp_session_new(&conf);
	must(session != NULL);
	if (len == 0)
		return 0;
	uint8_t how = data[0];
	ofp_session_start(session, 0);
	drain(0);
	if (how & 0x80) {
		ofp_put_hello(&w, 1);
		ofp_put_features_reply(&w, 1, &(struct ofp_features){ 0 });
		for (uint32_t i = 0; i < 16; i++)
			ofp_put_plain(&w, OFP_BARRIER_REPLY, 0x80000000u + i);
		feed(buf, w.len, sizeof(buf), 0);
	}
	feed(data + 1, len - 1, how & 0x40 ? (size_t)1 + (how & 0x3f) : SIZE_MAX, 1);
	ofp_session_tick(session, 1001);
	drain(1001);
	ofp_session_tick(session, 2002);
	drain(2002);
	ofp_session_in_done(session, 0, 2003);
	drain(2003);
	must(!ofp_session_connected(session));
	return 0;
}
