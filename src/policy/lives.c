/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/rule.h"

#define MINUTE_MS INT64_C(60000)
#define DAY_MS	  INT64_C(86400000)
/* Beyond these a clock is wrong; sums below stay inside 64 bits. */
#define FAR_MS (INT64_C(1) << 50)

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t offset_ms(const struct policy_tz *tz, size_t n, int64_t utc_ms)
{
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (tz[mid].from_ms <= utc_ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (n == 0)
		return 0;
	return (int64_t)tz[lo == 0 ? 0 : lo - 1].offset_s * 1000;
}

/* The second look settles all but the hour that does not exist or exists twice; there either reading is lawful. */
static int64_t to_utc(const struct policy_tz *tz, size_t n, int64_t local_ms)
{
	int64_t first = local_ms - offset_ms(tz, n, local_ms);
	return local_ms - offset_ms(tz, n, first);
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static int64_t days_of(int64_t y, unsigned m, unsigned d)
{
	y -= m <= 2;
	int64_t era = floor_div(y, 400), year = y - era * 400;
	int64_t day = (153 * (int64_t)(m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return era * 146097 + year * 365 + year / 4 - year / 100 + day - 719468;
}

static int64_t clamp(int64_t ms)
{
	return ms > FAR_MS ? FAR_MS : ms < -FAR_MS ? -FAR_MS : ms;
}

static int64_t until_ms(const struct policy_lives *l, const struct policy_tz *tz, size_t n_tz, int64_t now)
{
	if (l->until == POLICY_UNTIL_DATE)
		return to_utc(tz, n_tz, days_of(l->year, l->month, l->day) * DAY_MS + l->until_minute * MINUTE_MS);
	if (l->until != POLICY_UNTIL_TIME)
		return POLICY_NEVER;
	int64_t today = floor_div(now + offset_ms(tz, n_tz, now), DAY_MS);
	int64_t at = to_utc(tz, n_tz, today * DAY_MS + l->until_minute * MINUTE_MS);
	return at > now ? at : to_utc(tz, n_tz, (today + 1) * DAY_MS + l->until_minute * MINUTE_MS);
}

int64_t policy_lives_deadline(const struct policy_lives *l, const struct policy_tz *tz, size_t n_tz, int64_t now_ms)
{
	int64_t now = clamp(now_ms), until = until_ms(l, tz, n_tz, now);
	if (l->for_s == 0)
		return until;
	int64_t end = now + (l->for_s > FAR_MS / 1000 ? FAR_MS : l->for_s * 1000);
	return end < until ? end : until;
}

bool policy_lives_window(const struct policy_lives *l, const struct policy_tz *tz, size_t n_tz, int64_t now_ms,
	int64_t *ret_change)
{
	int64_t change = POLICY_NEVER, now = clamp(now_ms);
	bool running = !l->between && l->on == 0;
	int64_t today = floor_div(now + offset_ms(tz, n_tz, now), DAY_MS);
	/* Yesterday's window may reach into today; a week ahead holds the next start of any set of days. */
	for (int64_t day = today - 1; !(!l->between && l->on == 0) && day <= today + 8; day++) {
		int64_t weekday = ((day + 3) % 7 + 7) % 7;
		if (l->on != 0 && (l->on >> weekday & 1) == 0)
			continue;
		bool overnight = !l->between || l->to_minute <= l->from_minute;
		int64_t start = to_utc(tz, n_tz, day * DAY_MS + (l->between ? l->from_minute * MINUTE_MS : 0));
		int64_t end =
			to_utc(tz, n_tz, (day + overnight) * DAY_MS + (l->between ? l->to_minute * MINUTE_MS : 0));
		running = running || (start <= now && now < end);
		if (start > now && start < change)
			change = start;
		if (end > now && end < change)
			change = end;
	}
	*ret_change = change;
	return running;
}
