/* SPDX-License-Identifier: Apache-2.0 */
/* A DHCPv4 payload in a frame of ours (so that the fuzzer need not find checksums): what is accepted is answered by
 * frames that parse. */
#include "base/rd.h"
#include "net/checksum.h"
#include "net/dhcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { HEADERS = ETH_HEADER_BYTES + 20 + 8, INPUT_MAX = 1500 };

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void make_frame(uint8_t *frame, const uint8_t *data, size_t len)
{
	struct wr w = wr_init(frame, HEADERS + len);
	wr_u64(&w, 0xffffffffffff0200U);
	wr_u32(&w, 0x00000002);
	wr_u16(&w, 0x0800);
	wr_u16(&w, 0x4500);
	wr_u16(&w, (uint16_t)(28 + len));
	wr_u32(&w, 0);
	wr_u16(&w, 0x4011);
	wr_u16(&w, 0);
	wr_u32(&w, 0);
	wr_u32(&w, UINT32_MAX);
	wr_u32(&w, 68 << 16 | 67);
	wr_u16(&w, (uint16_t)(8 + len));
	wr_u16(&w, 0);
	wr_bytes(&w, data, len);
	wr_patch_u16(&w, ETH_HEADER_BYTES + 10, checksum_fold(checksum_add(0, frame + ETH_HEADER_BYTES, 20)));
	check(wr_ok(&w));
}

/* The answer is a reply to this client, ended by the end option. */
static void check_answer(const struct wr *w, const struct dhcp *d)
{
	struct packet p;
	check(packet_parse(w->buf, w->len, &p) == 0 && packet_l4_checksum_ok(w->buf, w->len, &p));
	check(p.sport == 67 && p.dport == 68 && p.len == w->len);
	struct rd r = rd_init(w->buf + p.payload, packet_payload_len(&p));
	check(rd_u32(&r) == 0x02010600 && rd_u32(&r) == d->xid);
	rd_skip(&r, 228);
	check(rd_u32(&r) == 0x63825363);
	for (uint8_t code; (code = rd_u8(&r)) != 255 && rd_ok(&r);)
		rd_skip(&r, code == 0 ? 0 : rd_u8(&r));
	check(rd_ok(&r));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len > INPUT_MAX)
		return 0;
	uint8_t frame[HEADERS + INPUT_MAX], buf[DHCP_FRAME_MAX];
	make_frame(frame, data, len);
	struct packet p;
	struct dhcp d;
	check(packet_parse(frame, HEADERS + len, &p) == 0);
	if (dhcp_parse(frame, HEADERS + len, &p, &d) != 0)
		return 0;
	struct dhcp_lease lease = { .mac = { { 2, 0, 0, 0, 0, 1 } },
		.server = addr_v4(0xc0000201),
		.address = addr_v4(0xc0000202),
		.prefix_len = 32,
		.router = addr_v4(0xa9fe0101),
		.dns = { addr_v4(0xc0000201) },
		.n_dns = 1,
		.lease_s = 3600,
		.mtu = 1500 };
	struct wr w = wr_init(buf, sizeof(buf));
	int err = dhcp_answer(&w, &d, &lease);
	check(err == 0 || (err == -ENOMSG && w.len == 0));
	if (err == 0)
		check_answer(&w, &d);
	return 0;
}
