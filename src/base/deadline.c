/* SPDX-License-Identifier: Apache-2.0 */
#include "base/deadline.h"

void deadline_set(struct deadline *d, int64_t wall_end_ms, int64_t wall_ms, int64_t boot_ms)
{
	if (d->wall_ms == wall_end_ms)
		return;
	d->wall_ms = wall_end_ms;
	d->boot_ms = wall_end_ms == DEADLINE_NEVER ? DEADLINE_NEVER : boot_ms + (wall_end_ms - wall_ms);
}

int64_t deadline_left_ms(const struct deadline *d, int64_t wall_ms, int64_t boot_ms)
{
	if (d->wall_ms == DEADLINE_NEVER)
		return DEADLINE_NEVER;
	int64_t wall = d->wall_ms - wall_ms, boot = d->boot_ms - boot_ms;
	return wall < boot ? wall : boot;
}
