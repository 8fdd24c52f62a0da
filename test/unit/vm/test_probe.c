/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of a trial boot under KVM. */
#include "vm/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_verdicts(void **state)
{
	(void)state;
	assert_int_equal(vm_probe_verdict(0, VM_PROBE_BOOTED), VM_PROBE_YES);
	assert_int_equal(vm_probe_verdict(0, VM_PROBE_ENDED), VM_PROBE_NO);
	/* Slow is not broken. */
	assert_int_equal(vm_probe_verdict(0, VM_PROBE_SILENT), VM_PROBE_SLOW);
	assert_int_equal(vm_probe_verdict(VM_PROBE_SLOW, VM_PROBE_BOOTED), VM_PROBE_YES);
	assert_int_equal(vm_probe_verdict(VM_PROBE_SLOW, VM_PROBE_SILENT), VM_PROBE_NO);
}

static void test_limits(void **state)
{
	(void)state;
	enum { HALF_A_WATCHDOG_MS = 15000 };
	assert_true(vm_probe_limit_ms(VM_PROBE_SLOW) > vm_probe_limit_ms(0));
	assert_true(vm_probe_limit_ms(VM_PROBE_SLOW) < HALF_A_WATCHDOG_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_verdicts), cmocka_unit_test(test_limits) };
	return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
