/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Milliseconds of CLOCK_BOOTTIME: counts suspend, never jumps. For leases, guards, timers. */
int64_t clock_boot_ms(void);
/* Microseconds of CLOCK_MONOTONIC, for measuring. */
int64_t clock_mono_us(void);
/* Milliseconds since 1970 (CLOCK_REALTIME): deadlines and records. */
int64_t clock_wall_ms(void);
/* RFC 3339 UTC with milliseconds, "2026-11-22T14:05:00.123Z", into buf (at least 32); returns buf. */
const char *clock_format(int64_t wall_ms, char buf[32]);

#endif
