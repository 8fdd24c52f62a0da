/* SPDX-License-Identifier: Apache-2.0 */
/* The LAN behind uplink port:IFACE: who is asked, believed, remembered, and for whom there is room. */
#include "world.h"

#include "net/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { WEB = 1, OTHER = 2, LAN = 0xc0000200, GATEWAY = 0xc0000201, FAR = 0xc633640a };

static struct world *with(const char *line)
{
	struct world *w = world_new_lan();
	world_app(w, WEB, "web", 1000);
	world_app(w, OTHER, "other", 1000);
	world_rule(w, line);
	world_policy(w);
	return w;
}

/* The address that the last ARP question of ours was about; 0: the last frame was none. */
static uint32_t asked(const struct world *w)
{
	const uint8_t *f = w->frame;
	if (w->frame_len < 42 || f[12] != 8 || f[13] != 6 || f[21] != 1)
		return 0;
	return (uint32_t)f[38] << 24 | (uint32_t)f[39] << 16 | (uint32_t)f[40] << 8 | f[41];
}

static void packet_waits_for_its_way(void **state)
{
	(void)state;
	struct world *w = with("allow web");
	world_connect(w, WEB, IP_TCP, FAR, 2000, 443);
	assert_int_equal(asked(w), GATEWAY);
	assert_int_equal(w->n_admits, 0);
	/* Nobody asked about that one. */
	world_arp_reply(w, WEB, LAN + 7, 7);
	assert_int_equal(w->n_admits, 0);
	world_arp_reply(w, WEB, GATEWAY, 1);
	assert_int_equal(w->n_admits, 1);
	world_free(w);
}

/* An accomplice on the LAN answers for every address an app of ours wants: the others find their ways all the same. */
static void one_app_takes_no_place_from_others(void **state)
{
	(void)state;
	struct world *w = with("allow any");
	for (uint32_t i = 100; i < 250; i++) {
		world_connect(w, WEB, IP_TCP, LAN + i, 2000, 443);
		world_arp_reply(w, WEB, LAN + i, (uint8_t)i);
	}
	unsigned before = w->n_admits;
	assert_true(before > 16 && before < 150);
	world_connect(w, OTHER, IP_TCP, LAN + 251, 2000, 443);
	assert_int_equal(asked(w), LAN + 251);
	world_arp_reply(w, OTHER, LAN + 251, 251);
	assert_int_equal(w->n_admits, before + 1);
	/* The gateway is everybody's. */
	world_connect(w, WEB, IP_TCP, FAR, 2000, 443);
	assert_int_equal(asked(w), GATEWAY);
	world_arp_reply(w, WEB, GATEWAY, 1);
	assert_int_equal(w->n_admits, before + 2);
	world_free(w);
}

/* What a grant needs is asked again, for as long as there is such a grant; a new gate goes on when the LAN comes back.
 */
static void needed_is_kept(void **state)
{
	(void)state;
	struct world *w = with("allow web");
	world_connect(w, WEB, IP_TCP, FAR, 2000, 443);
	world_arp_reply(w, WEB, GATEWAY, 1);
	assert_int_equal(w->n_admits, 1);
	w->frame_len = 0;
	world_pass(w, 31000);
	assert_int_equal(asked(w), GATEWAY);
	world_arp_reply(w, WEB, GATEWAY, 1);
	struct ipc_grant grant = w->grant;
	world_gate_again(w, &grant, 1, true);
	/* The LAN is away for a minute. */
	world_pass(w, 60000);
	w->frame_len = 0;
	w->n_added[60] = 0;
	for (unsigned i = 0; i < 100 && asked(w) == 0; i++)
		world_pass(w, 100);
	assert_int_equal(asked(w), GATEWAY);
	world_arp_reply(w, WEB, GATEWAY, 1);
	assert_int_equal(w->n_added[60], 2);
	world_app_ends(w, WEB);
	w->frame_len = 0;
	world_pass(w, 70000);
	assert_int_equal(asked(w), 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packet_waits_for_its_way),
		cmocka_unit_test(one_app_takes_no_place_from_others),
		cmocka_unit_test(needed_is_kept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
