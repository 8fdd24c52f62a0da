/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an OVSDB server may send: framing, session and bridge. The first byte chooses how the rest is cut into reads;
 * played twice, the same bytes are sent.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ovsdb/bridge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SENT_MAX = 1 << 20 };

struct run {
	size_t len;
	int err;
	char sent[SENT_MAX];
};

static void drain(struct bridge *b, struct run *r)
{
	size_t n;
	const void *p = bridge_output(b, &n);
	if (n > 0 && n <= SENT_MAX - r->len) {
		memcpy(r->sent + r->len, p, n);
		r->len += n;
	}
	bridge_sent(b, n);
}

static void play(const uint8_t *data, size_t len, size_t step, struct run *r)
{
	static const struct bridge_conf conf = { .name = "sk0",
		.datapath_type = "netdev",
		.mac = { { 2, 0, 0, 0, 0, 1 } } };
	static const struct bridge_port port = { .name = "tap0", .ofport = 3, .app = "1.1" },
					internal = { .name = "up0", .internal = true };
	struct bridge *b;
	struct bridge_event e;
	r->len = 0;
	if (bridge_new(&conf, &b) != 0 || bridge_port_add(b, &port, 0) != 0 || bridge_port_add(b, &internal, 0) != 0 ||
		bridge_zone_add(b, 40000, 0) != 0)
		abort();
	bridge_connected(b, 0);
	drain(b, r);
	r->err = 0;
	for (size_t off = 0; off < len && r->err == 0; off += step) {
		r->err = bridge_input(b, data + off, len - off < step ? len - off : step, 1);
		while (bridge_next_event(b, &e)) {
			if (memchr(e.text, '\0', sizeof(e.text)) == NULL ||
				memchr(e.port, '\0', sizeof(e.port)) == NULL)
				abort();
		}
	}
	if (r->err == 0 && bridge_port_del(b, "tap0", 2) != 0)
		abort();
	bridge_remove(b, 3);
	drain(b, r);
	bridge_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct run runs[2];
	static size_t steps[] = { 1, 2, 7, 64, 4096 };
	if (len < 1)
		return 0;
	play(data + 1, len - 1, steps[data[0] % 5], &runs[0]);
	play(data + 1, len - 1, steps[data[0] % 5], &runs[1]);
	if (runs[0].err != runs[1].err || runs[0].len != runs[1].len ||
		memcmp(runs[0].sent, runs[1].sent, runs[0].len) != 0)
		abort();
	return 0;
}
