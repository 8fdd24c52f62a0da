/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "role/conf.h"

static int parse(const char *text, struct conf *c, struct conf_error *e)
{
	memset(e, 0, sizeof(*e));
	return conf_parse(text, strlen(text), c, e);
}

static void print_parse_is_identity(void **state)
{
	(void)state;
	struct conf a, b;
	struct conf_error e;
	char text[4096], again[4096];
	assert_int_equal(
		parse("bridge = br7 # ours\n\n  zone_base=41000\nask_expires = 2m\nresolver = tls:192.0.2.1#dns.example.org\n"
		      "on_stop = keep\nswitch = private\n",
			&a, &e),
		0);
	assert_string_equal(a.bridge, "br7");
	assert_string_equal(a.resolver, "tls:192.0.2.1#dns.example.org");
	assert_int_equal(a.zone_base, 41000);
	assert_int_equal(a.ask_expires_ms, 120000);
	assert_true(a.on_stop_keep);
	assert_int_equal(a.switch_, SWITCH_PRIVATE);
	assert_true(conf_print(&a, text, sizeof(text)) > 0);
	assert_int_equal(parse(text, &b, &e), 0);
	assert_true(conf_print(&b, again, sizeof(again)) > 0);
	assert_string_equal(text, again);
	assert_true(conf_print(&a, text, 40) < 0);
}

static void errors_say_where(void **state)
{
	(void)state;
	static const struct {
		const char *text, *said;
		unsigned line;
	} cases[] = {
		{ "bridge = a\nbrigde = b\n", "unknown key \"brigde\": did you mean \"bridge\"?", 2 },
		{ "nonsense\n", "expected \"key = value\"", 1 },
		{ "\n\nswitch = maybe\n", "must be one of: auto, system, private", 3 },
		{ "zone_base = -1\n", "must be a number", 1 },
		{ "zone_base = 60000\n", "must lie between", 1 },
		{ "ask_expires = 75\n", "must be a time such as 75s", 1 },
		{ "ask_expires = 99999999999999999999s\n", "must lie between", 1 },
		{ "run_dir = relative\n", "absolute path", 1 },
		{ "bridge = averyveryverylongname\n", "longer than", 1 },
		{ "bridge = a/b\n", "an interface name", 1 },
		{ "uplink = port:\n", "must be nat or port:IFACE", 1 },
		{ "uplink = port:eth0\n", "needs lan_ipv4", 0 },
		{ "guest_ipv4 = 100.64.0.1/20\n", "without host bits", 0 },
		{ "bridge = a\nbridge = b\n", "already set in line 1", 2 },
		{ "resolver = 192.0.2.1\n", "must be system, recursive", 1 },
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct conf c;
		struct conf_error e;
		memset(&c, 0x55, sizeof(c));
		assert_int_equal(parse(cases[i].text, &c, &e), -22);
		if (strstr(e.text, cases[i].said) == NULL)
			fail_msg("%s: %s", cases[i].text, e.text);
		assert_int_equal(e.line, cases[i].line);
		assert_int_equal((unsigned char)c.run_dir[0], 0x55); /* untouched */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(print_parse_is_identity),
		cmocka_unit_test(errors_say_where),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
