/* SPDX-License-Identifier: Apache-2.0 */
#include "net/arp.h"

#include "base/rd.h"
#include "net/wire.h"

#include <errno.h>

int arp_parse(const uint8_t *frame, size_t len, struct arp *ret)
{
	struct packet p;
	if (packet_parse(frame, len, &p) != 0 || p.kind != PACKET_ARP)
		return -EBADMSG;
	struct rd r = rd_init(frame + p.l3, p.len - p.l3);
	rd_skip(&r, 6);
	struct arp a = { .eth_src = p.eth_src, .eth_dst = p.eth_dst, .op = rd_u16(&r) };
	a.sha = wire_mac(&r);
	a.spa = wire_addr4(&r);
	a.tha = wire_mac(&r);
	a.tpa = wire_addr4(&r);
	if (!rd_done(&r) || (a.op != ARP_REQUEST && a.op != ARP_REPLY) || !mac_equal(&a.sha, &a.eth_src) ||
		mac_is_group(&a.sha))
		return -EBADMSG;
	*ret = a;
	return 0;
}
