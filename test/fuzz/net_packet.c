/* SPDX-License-Identifier: Apache-2.0 */
/* Any frame: what is accepted keeps its offsets in order, and every answer built from it parses, with right checksums.
 */
#include "net/build.h"
#include "net/checksum.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_answer(int err, const struct wr *w, const struct packet *p)
{
	if (err != 0) {
		check(w->len == 0);
		return;
	}
	struct packet q;
	check(packet_parse(w->buf, w->len, &q) == 0);
	check(q.len == w->len && q.has_l4 && !q.fragment && q.kind == p->kind);
	check(packet_l4_checksum_ok(w->buf, w->len, &q));
	check(mac_equal(&q.eth_dst, &p->eth_src) && addr_equal(&q.dst, &p->src));
	/* No answer may call for another one. */
	uint8_t again[BUILD_MAX];
	struct wr w2 = wr_init(again, sizeof(again));
	check(build_tcp_reset(&w2, &q) != 0);
	if (q.icmp_error || q.proto == IP_TCP)
		check(build_unreachable(&w2, w->buf, &q, UNREACHABLE_HOST, NULL) != 0);
}

static void check_shape(const struct packet *p, size_t len)
{
	check(p->len <= len && p->l3 == ETH_HEADER_BYTES && p->l3 < p->l4 && p->l4 <= p->payload &&
		p->payload <= p->len);
	check(!p->has_l4 || (p->payload > p->l4 && !p->later_fragment));
	check(p->src.len == p->dst.len && p->src.len == (p->kind == PACKET_IPV6 ? 16 : 4));
}

static void check_fix(const uint8_t *data, size_t len, const struct packet *p)
{
	uint8_t *copy = malloc(len);
	check(copy != NULL);
	memcpy(copy, data, len);
	if (packet_fix_l4_checksum(copy, len, p) == 0) {
		struct packet q;
		check(packet_parse(copy, len, &q) == 0 && packet_l4_checksum_ok(copy, len, &q));
		check(q.payload == p->payload && q.proto == p->proto && q.sport == p->sport);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct packet p;
	if (packet_parse(data, len, &p) != 0)
		return 0;
	check_shape(&p, len);
	check_fix(data, len, &p);
	uint8_t buf[BUILD_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	check_answer(build_tcp_reset(&w, &p), &w, &p);
	w = wr_init(buf, sizeof(buf));
	check_answer(build_tcp_end(&w, &p), &w, &p);
	for (enum unreachable why = UNREACHABLE_PROHIBITED; why <= UNREACHABLE_PORT; why++) {
		w = wr_init(buf, sizeof(buf));
		check_answer(build_unreachable(&w, data, &p, why, NULL), &w, &p);
	}
	w = wr_init(buf, sizeof(buf));
	check_answer(build_echo_reply(&w, data, &p), &w, &p);
	return 0;
}
