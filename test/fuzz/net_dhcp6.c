/* SPDX-License-Identifier: Apache-2.0 */
/* A DHCPv6 payload in a frame of ours: what is accepted is answered by frames that parse and carry the client's
 * identifier back. */
#include "base/rd.h"
#include "net/checksum.h"
#include "net/dhcp6.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { HEADERS = ETH_HEADER_BYTES + 40 + 8, INPUT_MAX = 1400 };

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void make_frame(uint8_t *frame, const uint8_t *data, size_t len)
{
	static const uint8_t src[16] = { 0xfe, 0x80, [15] = 2 }, dst[16] = { 0xff, 0x02, [13] = 1, [15] = 2 };
	struct wr w = wr_init(frame, HEADERS + len);
	wr_u64(&w, 0x3333000100020200U);
	wr_u32(&w, 0x00000002);
	wr_u16(&w, 0x86dd);
	wr_u32(&w, 0x60000000);
	wr_u16(&w, (uint16_t)(8 + len));
	wr_u16(&w, 0x1101);
	wr_bytes(&w, src, 16);
	wr_bytes(&w, dst, 16);
	wr_u32(&w, 546 << 16 | 547);
	wr_u16(&w, (uint16_t)(8 + len));
	wr_u16(&w, 0);
	wr_bytes(&w, data, len);
	check(wr_ok(&w));
}

static void check_answer(const struct wr *w, const struct dhcp6 *d)
{
	struct packet p;
	check(packet_parse(w->buf, w->len, &p) == 0 && packet_l4_checksum_ok(w->buf, w->len, &p));
	check(p.sport == 547 && p.dport == 546 && p.len == w->len);
	struct rd r = rd_init(w->buf + p.payload, packet_payload_len(&p));
	check((rd_u32(&r) & 0xffffff) == d->xid);
	bool client = d->client_duid_len == 0;
	while (rd_left(&r) > 0) {
		uint16_t code = rd_u16(&r), size = rd_u16(&r);
		const uint8_t *value = rd_bytes(&r, size);
		client =
			client || (code == 1 && size == d->client_duid_len && memcmp(value, d->client_duid, size) == 0);
	}
	check(rd_done(&r) && client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > INPUT_MAX)
		return 0;
	uint8_t frame[HEADERS + INPUT_MAX], buf[DHCP6_FRAME_MAX];
	make_frame(frame, data, len);
	struct packet p;
	struct dhcp6 d;
	check(packet_parse(frame, HEADERS + len, &p) == 0);
	if (dhcp6_parse(frame, HEADERS + len, &p, &d) != 0)
		return 0;
	struct dhcp6_lease lease = { .mac = { { 2, 0, 0, 0, 0, 1 } },
		.src = { .len = 16, .b = { 0xfe, 0x80, [15] = 1 } },
		.address = { .len = 16, .b = { 0x20, 0x01, 0x0d, 0xb8, [15] = 2 } },
		.preferred_s = 1800,
		.valid_s = 3600,
		.dns = { { .len = 16, .b = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } } },
		.n_dns = 1 };
	struct wr w = wr_init(buf, sizeof(buf));
	int err = dhcp6_answer(&w, &d, &lease);
	check(err == 0 || (err == -ENOMSG && w.len == 0));
	if (err == 0)
		check_answer(&w, &d);
	return 0;
}
