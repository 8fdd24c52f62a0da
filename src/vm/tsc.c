/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/tsc.h"

#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>

enum { MEASURE_NS = 10000000, TRIES = 8 };

struct sample {
	uint64_t tsc;
	int64_t ns;
};

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The reading whose clock call was surrounded most closely: one that was interrupted is not used. */
static struct sample take_sample(void)
{
	struct sample best = { 0 };
	uint64_t width = UINT64_MAX;
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc();
		int64_t ns = now_ns();
		uint64_t after = __rdtsc();
		if (after - before < width) {
			width = after - before;
			best = (struct sample){ .tsc = before + (after - before) / 2, .ns = ns };
		}
	}
	return best;
}

uint32_t vm_tsc_khz(void)
{
	static uint32_t known;
	if (known != 0)
		return known;
	struct sample a = take_sample();
	struct timespec pause = { .tv_nsec = MEASURE_NS };
	nanosleep(&pause, NULL);
	struct sample b = take_sample();
	int64_t ns = b.ns - a.ns;
	if (ns > 0 && b.tsc > a.tsc)
		known = (uint32_t)((b.tsc - a.tsc) * 1000000 / (uint64_t)ns);
	return known;
}
#else
uint32_t vm_tsc_khz(void)
{
	return 0;
}
#endif
