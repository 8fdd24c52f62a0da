/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_DEADLINE_H
#define BASE_DEADLINE_H

#include <stdint.h>

/*
 * An end in wall time, with a guard on the clock that nobody sets and that goes on while the computer sleeps
 * (CLOCK_BOOTTIME): whichever comes first ends it. Pure; milliseconds. All zero: not set yet.
 */
#define DEADLINE_NEVER INT64_MAX

struct deadline {
	int64_t wall_ms; /* DEADLINE_NEVER: none */
	int64_t boot_ms;
};

/* Ends at `wall_end_ms`. The guard is taken from both clocks as they are now, once: the same end again keeps it. */
void deadline_set(struct deadline *d, int64_t wall_end_ms, int64_t wall_ms, int64_t boot_ms);
/* What is left by whichever clock says less; 0 and below: over. DEADLINE_NEVER: it never ends. */
int64_t deadline_left_ms(const struct deadline *d, int64_t wall_ms, int64_t boot_ms);

#endif
