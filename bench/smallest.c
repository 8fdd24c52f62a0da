/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smallest SOCKET ZONE TABLE [each|stand]: the least a controller can do for a first packet, as the reference of the
 * benchmarks. Every packet-in is sent back at once with the actions gate would use (registers, ct with commit, zone and
 * a new mark, on to TABLE); no thought is given to it. With "each" it also installs, before each packet, the
 * two flows of a new grant; with "stand" those of all marks that will be used stand before the first packet. What is
 * above the plain one is then the switch's price for numbers, and not the price of thinking. Runs until it is killed;
 * says "ready" when the switch sends packets.
 */
#include "base/clock.h"
#include "net/checksum.h"
#include "net/packet.h"
#include "ofp/session.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONTROLLER = 1, FRAME_MAX = 4096, PROBE_MS = 60000, STANDING = 2000 };
enum flows { FLOWS_NONE, FLOWS_EACH, FLOWS_STAND };

struct smallest {
	struct ofp_session *session;
	uint16_t zone;
	uint8_t table;
	uint32_t mark;
	enum flows flows;
	bool connected;
};

/* The flows that let this mark pass, one per direction, as gate has them. */
static void put_flows(struct smallest *o, uint32_t mark)
{
	for (uint32_t dir = 0; dir < 2; dir++) {
		uint8_t buf[512];
		struct wr w = wr_init(buf, sizeof(buf));
		struct ofp_flow_mod fm;
		ofp_flow_mod_init(&fm);
		fm.table = o->table;
		fm.goto_table = (uint8_t)(o->table + 1);
		fm.priority = 200;
		fm.hard_s = o->flows == FLOWS_EACH ? 60 : 0;
		fm.flags = OFP_FLOW_SEND_REMOVED;
		ofp_match_reg(&fm.match, 2, dir);
		ofp_match_ct_mark(&fm.match, mark);
		ofp_put_flow_mod(&w, ofp_session_xid(o->session), &fm);
		if (!wr_ok(&w) || ofp_session_send(o->session, buf, w.len) != 0)
			fprintf(stderr, "smallest: a flow was lost\n");
	}
}

static void answer(struct smallest *o, const uint8_t *msg, size_t len)
{
	static uint8_t frame[FRAME_MAX], acts_buf[512], buf[FRAME_MAX + 1024];
	struct ofp_packet_in pi;
	struct packet p;
	if (ofp_read_packet_in(msg, len, &pi) != 0 || pi.frame_len > sizeof(frame))
		return;
	memcpy(frame, pi.frame, pi.frame_len);
	/* With segmentation offload the copy carries a partial checksum and would be lost. */
	if (packet_parse(frame, pi.frame_len, &p) != 0 || packet_fix_l4_checksum(frame, pi.frame_len, &p) != 0)
		return;
	struct wr acts = wr_init(acts_buf, sizeof(acts_buf)), w = wr_init(buf, sizeof(buf));
	struct ofp_ct ct = { .commit = true,
		.zone = o->zone,
		.table = o->table,
		.mark_from = OFP_MARK_SET,
		.mark = ++o->mark };
	for (unsigned reg = 0; reg < 5; reg++)
		ofp_act_set_reg(&acts, reg, reg == 2 ? 0 : reg + 1);
	if (o->flows == FLOWS_EACH)
		put_flows(o, o->mark);
	ofp_act_ct(&acts, &ct);
	struct ofp_packet_out po = { .in_port = pi.in_port,
		.actions = acts.buf,
		.actions_len = acts.len,
		.frame = frame,
		.frame_len = pi.frame_len };
	ofp_put_packet_out(&w, ofp_session_xid(o->session), &po);
	if (!wr_ok(&acts) || !wr_ok(&w) || ofp_session_send(o->session, buf, w.len) != 0)
		fprintf(stderr, "smallest: an answer was lost\n");
}

/* Everything the session has to say; false when the connection is over. */
static bool events(struct smallest *o)
{
	struct ofp_event ev;
	for (;;) {
		switch (ofp_session_next(o->session, clock_boot_ms(), &ev)) {
		case OFP_EV_NONE:
			return true;
		case OFP_EV_CONNECTED:
			o->connected = true;
			return true;
		case OFP_EV_MESSAGE:
			if (ev.header.nx_type == OFP_NX_PACKET_IN2)
				answer(o, ev.msg, ev.len);
			break;
		case OFP_EV_BARRIER:
			break;
		case OFP_EV_ERROR:
			fprintf(stderr, "smallest: the switch refused: type %u code %u\n", ev.error.type,
				ev.error.code);
			break;
		case OFP_EV_CLOSED:
			return false;
		}
	}
}

static bool flush(struct smallest *o, int fd)
{
	size_t len;
	const uint8_t *out;
	while ((out = ofp_session_out(o->session, &len)) != NULL) {
		ssize_t n = send(fd, out, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		ofp_session_out_done(o->session, (size_t)n);
	}
	return true;
}

static bool receive(struct smallest *o, int fd)
{
	size_t room;
	uint8_t *space = ofp_session_in_space(o->session, &room);
	ssize_t n = space == NULL ? 0 : recv(fd, space, room, 0);
	if (n <= 0)
		return false;
	ofp_session_in_done(o->session, (size_t)n, clock_boot_ms());
	return true;
}

static int connect_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || strlen(path) >= sizeof(sa.sun_path))
		return -1;
	memcpy(sa.sun_path, path, strlen(path));
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

int main(int argc, char **argv)
{
	struct ofp_session_conf conf = { .packet_in = true, .controller_id = CONTROLLER, .probe_ms = PROBE_MS };
	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: smallest SOCKET ZONE TABLE [each|stand]\n");
		return 2;
	}
	struct smallest o = { .session = ofp_session_new(&conf),
		.zone = (uint16_t)atoi(argv[2]),
		.table = (uint8_t)atoi(argv[3]),
		.flows = argc != 5		      ? FLOWS_NONE
		       : strcmp(argv[4], "each") == 0 ? FLOWS_EACH
						      : FLOWS_STAND };
	int fd = connect_unix(argv[1]);
	if (fd < 0 || o.session == NULL) {
		perror(argv[1]);
		return 1;
	}
	ofp_session_start(o.session, clock_boot_ms());
	while (!o.connected && flush(&o, fd) && receive(&o, fd) && events(&o))
		;
	bool stand = true;
	for (uint32_t mark = 1; mark <= STANDING && o.flows == FLOWS_STAND && stand; mark++) {
		put_flows(&o, mark);
		stand = flush(&o, fd);
	}
	puts("ready");
	fflush(stdout);
	while (stand && events(&o) && flush(&o, fd) && receive(&o, fd))
		;
	return 1;
}
