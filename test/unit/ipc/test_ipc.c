/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/ipc.h"
#include "ipc/plan.h"

static uint8_t bytes[FRAME_BODY_MAX];

static void grant_round_trip(void **state)
{
	(void)state;
	struct ipc_grant g = { .grant = 7,
		.ref = { 3, 9 },
		.inbound = 1,
		.proto = 6,
		.port = 443,
		.peer = addr_v4(0xc6120001),
		.real = addr_v6((const uint8_t[16]){ 0x20, 1, 0xd, 0xb8, [15] = 1 }),
		.rule = { 1, 2, 3 },
		.since_wall_ms = -5 };
	assert_true(name_from_text("www.example.org", 15, &g.name));
	struct wr w = wr_init(bytes, sizeof(bytes));
	assert_true(ipc_grant_put(&w, &g));
	struct ipc_grant back;
	assert_true(ipc_grant_get(bytes, w.len, &back));
	assert_memory_equal(&g, &back, sizeof(g));
	/* Every shorter body and every longer one is refused. */
	for (size_t n = 0; n < w.len; n++)
		assert_false(ipc_grant_get(bytes, n, &back));
	bytes[w.len] = 0;
	assert_false(ipc_grant_get(bytes, w.len + 1, &back));
}

static void check_round_trip(void **state)
{
	(void)state;
	static struct ipc_check c, back;
	c = (struct ipc_check){ .ok = true, .name = "forward IPv4" };
	ipc_text_set(&c.text, "a packet passes");
	ipc_text_set(&c.fix, "nft insert rule");
	struct wr w = wr_init(bytes, sizeof(bytes));
	assert_true(ipc_check_put(&w, &c));
	assert_true(ipc_check_get(bytes, w.len, &back));
	assert_true(back.ok);
	assert_string_equal(back.name, c.name);
	assert_string_equal(back.text.s, c.text.s);
	assert_string_equal(back.fix.s, c.fix.s);
	for (size_t n = 0; n < w.len; n++)
		assert_false(ipc_check_get(bytes, n, &back));
}

static void vm_strings_must_count(void **state)
{
	(void)state;
	static struct ipc_vm m, back;
	m = (struct ipc_vm){ .ref = { 1, 1 }, .argc = 2, .envc = 1, .strings_len = 12 };
	memcpy(m.strings, "ls\0-l\0A=bcd", 12);
	struct wr w = wr_init(bytes, sizeof(bytes));
	assert_true(ipc_vm_put(&w, &m));
	assert_true(ipc_vm_get(bytes, w.len, &back));
	m.argc = 3;
	w = wr_init(bytes, sizeof(bytes));
	assert_false(ipc_vm_put(&w, &m));
}

static void vm_roots(void **state)
{
	(void)state;
	static struct ipc_vm m;
	static const struct {
		struct ipc_root root;
		bool ok;
		unsigned fds;
	} cases[] = { { { IPC_ROOT_HOST, false }, true, 0 }, { { IPC_ROOT_HOST, true }, true, 1 },
		{ { IPC_ROOT_IMAGE, false }, true, 1 }, { { IPC_ROOT_IMAGE, true }, true, 2 },
		{ { IPC_ROOT_KINDS, false }, false, 0 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		m = (struct ipc_vm){ .ref = { 1, 1 }, .root = cases[i].root };
		struct wr w = wr_init(bytes, sizeof(bytes));
		assert_int_equal(ipc_vm_put(&w, &m), cases[i].ok);
		assert_int_equal(ipc_root_fds(&m.root), cases[i].fds);
	}
}

static void vm_shares(void **state)
{
	(void)state;
	static struct ipc_vm m, back;
	static const struct {
		uint8_t n, home;
		bool ok;
	} cases[] = { { 0, IPC_HOME_NONE, true }, { IPC_SHARES_MAX, IPC_HOME_DIR, true }, { 1, IPC_HOME_KEPT, true },
		{ 0, IPC_HOME_KEPT, false }, { IPC_SHARES_MAX + 1, IPC_HOME_NONE, false }, { 1, IPC_HOMES, false } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		m = (struct ipc_vm){
			.ref = { 1, 1 },
			.shares = { .uid = 7, .gid = 8, .n = cases[i].n, .home = cases[i].home, .path = { "/srv/a" } }
		};
		struct wr w = wr_init(bytes, sizeof(bytes));
		assert_int_equal(ipc_vm_put(&w, &m), cases[i].ok);
		if (!cases[i].ok)
			continue;
		assert_true(ipc_vm_get(bytes, w.len, &back));
		assert_int_equal(back.shares.n, m.shares.n);
		assert_string_equal(back.shares.path[0], m.shares.n > 0 ? "/srv/a" : "");
	}
}

static void resolved_bounds(void **state)
{
	(void)state;
	static struct ipc_resolved r, back;
	r.n_v4 = 2;
	r.v4[0] = addr_v4(1);
	r.v4[1] = addr_v4(2);
	struct wr w = wr_init(bytes, sizeof(bytes));
	assert_true(ipc_resolved_put(&w, &r));
	assert_true(ipc_resolved_get(bytes, w.len, &back));
	assert_int_equal(back.n_v4, 2);
	bytes[6] = 255; /* n_v4 */
	assert_false(ipc_resolved_get(bytes, w.len, &back));
}

static void plan_is_a_function(void **state)
{
	(void)state;
	struct plan p;
	char buf[ADDR_TEXT_MAX];
	assert_true(plan_parse("100.64.0.0/20", "fd73:6b69:7368::/48", &p));
	struct addr a = plan_v4(&p, 5, 2);
	assert_string_equal(addr_format(&a, buf, sizeof(buf)), "100.64.0.22");
	a = plan_v6(&p, 5, 2);
	assert_string_equal(addr_format(&a, buf, sizeof(buf)), "fd73:6b69:7368:5::2");
	for (unsigned slot = 1; slot < PLAN_SLOTS; slot++) {
		struct addr v4 = plan_v4(&p, slot, 2), v6 = plan_v6(&p, slot, 0x1234);
		assert_int_equal(plan_slot(&p, &v4), slot);
		assert_int_equal(plan_slot(&p, &v6), slot);
	}
	a = addr_v4(0xc0000201);
	assert_int_equal(plan_slot(&p, &a), 0);
	for (unsigned i = 1; i < PLAN_SYN_MAX; i += 977) {
		struct addr s4 = plan_syn4(i), s6 = plan_syn6(&p, i);
		assert_int_equal(plan_syn_index(&p, &s4), i);
		assert_int_equal(plan_syn_index(&p, &s6), i);
		assert_true(plan_is_synthetic(&p, &s4) && plan_is_synthetic(&p, &s6));
	}
	a = addr_v4(0xc6130001); /* 198.19.0.1: synthetic range, no name */
	assert_true(plan_is_synthetic(&p, &a));
	assert_int_equal(plan_syn_index(&p, &a), 0);
	assert_false(plan_parse("100.64.0.1/20", "fd73:6b69:7368::/48", &p));
	assert_false(plan_parse("100.64.0.0/24", "fd73:6b69:7368::/48", &p));
	assert_false(plan_parse("100.64.0.0/20", "fd73:6b69:7368::/64", &p));
	assert_false(plan_parse("100.64.0.0", "fd73:6b69:7368::/48", &p));
}

static void lan_addresses(void **state)
{
	(void)state;
	char error[PLAN_ERROR_MAX];
	struct plan p;
	assert_true(plan_parse("100.64.0.0/20", "fd73:6b69:7368::/48", &p));
	assert_int_equal(plan_guest_prefix(&p, false), 30);
	assert_int_equal(plan_guest_prefix(&p, true), 64);
	assert_true(plan_lan_parse("192.0.2.100-192.0.2.120/24 via 192.0.2.1", false, &p.lan4, error));
	assert_true(plan_lan_parse("2001:db8::fe-2001:db8::1ff/64 via fe80::1", true, &p.lan6, error));
	struct addr want4 = addr_v4(0xc0000264U);
	struct addr want6 = addr_v6((const uint8_t[16]){ 0x20, 1, 0xd, 0xb8, [14] = 1, [15] = 1 });
	struct addr got4 = plan_guest(&p, 1, false), got6 = plan_guest(&p, 4, true);
	assert_true(addr_equal(&got4, &want4) && addr_equal(&got6, &want6));
	assert_int_equal(plan_guest(&p, 21, false).len, 4);
	assert_int_equal(plan_guest(&p, 22, false).len, 0);
	assert_int_equal(plan_guest_prefix(&p, false), 32);
	assert_int_equal(plan_guest_prefix(&p, true), 128);
	got4 = plan_gateway(&p, 9, false);
	assert_int_equal(addr_to_u32(&got4), 0xa9fe0101U);
}

static void lan_malformed(void **state)
{
	(void)state;
	static const char *const bad[] = { "192.0.2.100/24 via 192.0.2.1", "192.0.2.120-192.0.2.100/24 via 192.0.2.1",
		"192.0.2.100-192.0.3.120/24 via 192.0.2.1", "192.0.2.100-192.0.2.120/24 via 198.51.100.1",
		"192.0.2.100-192.0.2.120/24 via 192.0.2.110", "2001:db8::1-2001:db8::9/64 via fe80::1",
		"192.0.2.100-192.0.2.120/33 via 192.0.2.1", "192.0.2.100-192.0.2.120/24 via 192.0.2.1 x", "" };
	char error[PLAN_ERROR_MAX];
	struct plan_lan l;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(plan_lan_parse(bad[i], false, &l, error));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grant_round_trip),
		cmocka_unit_test(check_round_trip),
		cmocka_unit_test(vm_strings_must_count),
		cmocka_unit_test(vm_roots),
		cmocka_unit_test(vm_shares),
		cmocka_unit_test(resolved_bounds),
		cmocka_unit_test(plan_is_a_function),
		cmocka_unit_test(lan_addresses),
		cmocka_unit_test(lan_malformed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
