/* SPDX-License-Identifier: Apache-2.0 */
#include "base/addr.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_text(void **state)
{
	(void)state;
	static const char *const same[] = { "0.0.0.0", "255.255.255.255", "192.0.2.1", "::", "::1", "2001:db8::1",
		"fe80::", "2001:db8:0:1:1:1:1:1", "::ffff:192.0.2.1" };
	for (unsigned i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct addr a;
		char text[ADDR_TEXT_MAX];
		assert_true(addr_parse(same[i], &a));
		assert_string_equal(addr_format(&a, text, sizeof(text)), same[i]);
	}
	static const char *const bad[] = { "", " 192.0.2.1", "192.0.2.1 ", "192.0.2", "192.0.2.256", "192.0.2.01",
		"0x7f.1", "1", "::1%eth0", ":", ":::", "1::2::3", "2001:db8::1/64", "[::1]", "12345::" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct addr a = { .len = 77 };
		if (addr_parse(bad[i], &a) || a.len != 77)
			fail_msg("\"%s\" was taken or *ret touched", bad[i]);
	}
	struct addr none = { 0 };
	char text[ADDR_TEXT_MAX];
	assert_string_equal(addr_format(&none, text, sizeof(text)), "none");
}

static struct addr address(const char *text)
{
	struct addr a;
	assert_true(addr_parse(text, &a));
	return a;
}

static void test_values(void **state)
{
	(void)state;
	struct addr a = addr_v4(0xc0000201), b = address("192.0.2.1"), c = address("::192.0.2.1");
	assert_memory_equal(&a, &b, sizeof(a));
	assert_true(addr_equal(&a, &b));
	assert_false(addr_equal(&a, &c));
	assert_int_equal(addr_to_u32(&a), 0xc0000201);
	assert_int_equal(addr_to_u32(&c), 0);
	struct addr d = addr_v6(c.b);
	assert_true(addr_equal(&c, &d));
}

static void test_within(void **state)
{
	(void)state;
	static const struct {
		const char *a, *net;
		unsigned prefix;
		bool in;
	} cases[] = { { "192.0.2.1", "192.0.2.0", 24, true }, { "192.0.3.1", "192.0.2.0", 24, false },
		{ "192.0.3.1", "192.0.2.0", 23, true }, { "192.0.2.1", "192.0.2.1", 32, true },
		{ "192.0.2.1", "192.0.2.0", 32, false }, { "1.2.3.4", "0.0.0.0", 0, true },
		{ "192.0.2.1", "192.0.2.0", 33, false }, { "192.0.2.1", "192.0.2.129", 25, false },
		{ "2001:db8::1", "2001:db8::", 32, true }, { "2001:db9::1", "2001:db8::", 32, false },
		{ "2001:db9::1", "2001:db8::", 31, true }, { "2001:db8::1", "2001:db8::", 128, false },
		{ "2001:db8::1", "2001:db8::1", 129, false }, { "::1", "0.0.0.0", 0, false },
		{ "0.0.0.0", "::", 0, false } };
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr a = address(cases[i].a), net = address(cases[i].net);
		if (addr_in(&a, &net, cases[i].prefix) != cases[i].in)
			fail_msg("%s in %s/%u", cases[i].a, cases[i].net, cases[i].prefix);
	}
	struct addr none = { 0 };
	assert_false(addr_in(&none, &none, 0));
}

static void test_mac(void **state)
{
	(void)state;
	struct mac m = { { 1, 2, 3, 4, 5, 6 } }, n;
	char text[MAC_TEXT_MAX];
	assert_true(mac_parse("02:aB:00:ff:10:01", &n));
	assert_string_equal(mac_format(&n, text, sizeof(text)), "02:ab:00:ff:10:01");
	assert_false(mac_equal(&m, &n));
	m = n;
	assert_true(mac_equal(&m, &n));
	static const char *const bad[] = { "", "02:ab:00:ff:10", "02:ab:00:ff:10:1", "02-ab-00-ff-10-01",
		"02:ab:00:ff:10:01 ", "02:ab:00:ff:10:0g", " 2:ab:00:ff:10:01", "+2:ab:00:ff:10:01",
		"0x:ab:00:ff:10:01", "2:ab:00:ff:10:01a" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (mac_parse(bad[i], &m))
			fail_msg("\"%s\" was taken", bad[i]);
		assert_true(mac_equal(&m, &n));
	}
}

static void test_clock(void **state)
{
	(void)state;
	char text[32];
	assert_string_equal(clock_format(0, text), "1970-01-01T00:00:00.000Z");
	assert_string_equal(clock_format(1795356300123, text), "2026-11-22T14:05:00.123Z");
	assert_string_equal(clock_format(951782400007, text), "2000-02-29T00:00:00.007Z");
	int64_t boot = clock_boot_ms(), mono = clock_mono_us();
	assert_true(clock_wall_ms() > 1500000000000);
	assert_true(clock_boot_ms() >= boot && clock_mono_us() >= mono);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_clock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
