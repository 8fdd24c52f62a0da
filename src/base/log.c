/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, RATE_PER_S = 50, BURST = 200 };

static struct {
	const char *role;
	enum log_level max;
	bool tty;
	int64_t filled_ms;
	int tokens;
	unsigned left_out;
} log_state = { .role = "sekisho", .max = LOG_INFO, .tokens = BURST };

void log_open(const char *role, enum log_level max)
{
	log_state.role = role;
	log_state.max = max;
	log_state.tty = isatty(STDERR_FILENO) == 1;
}

static bool log_take_token(void)
{
	int64_t now = clock_boot_ms();
	int64_t gain = (now - log_state.filled_ms) * RATE_PER_S / 1000;
	if (gain > 0) {
		log_state.tokens = gain > BURST - log_state.tokens ? BURST : log_state.tokens + (int)gain;
		log_state.filled_ms = now;
	}
	if (log_state.tokens == 0)
		return false;
	log_state.tokens--;
	return true;
}

static void log_write(enum log_level level, const char *text)
{
	char line[LINE_MAX_BYTES + 64];
	int n = log_state.tty ? snprintf(line, sizeof(line), "%s: %s\n", log_state.role, text)
			      : snprintf(line, sizeof(line), "<%d>%s: %s\n", (int)level, log_state.role, text);
	if (n < 0)
		return;
	size_t len = (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1;
	/* One write, so that lines of several processes do not mix; a log that cannot be written has nowhere to say so.
	 */
	ssize_t written = write(STDERR_FILENO, line, len);
	(void)written;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	if (level > log_state.max)
		return;
	if (!log_take_token()) {
		log_state.left_out++;
		return;
	}
	if (log_state.left_out > 0) {
		char said[64];
		snprintf(said, sizeof(said), "%u lines left out (rate limit)", log_state.left_out);
		log_state.left_out = 0;
		log_write(LOG_WARNING, said);
	}
	char raw[LINE_MAX_BYTES], text[LINE_MAX_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(raw, sizeof(raw), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t len = (size_t)n < sizeof(raw) ? (size_t)n : sizeof(raw) - 1;
	log_write(level, text_escape(raw, len, text, sizeof(text)));
}

/* Length of the well-formed UTF-8 sequence at `p` and its code point; 0 when it is not one (RFC 3629 §4). */
static size_t utf8_take(const uint8_t *p, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	uint32_t cp = n == 1 ? p[0] : p[0] & (0x7fU >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3fU);
	}
	if (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
		return 0;
	*ret = cp;
	return n;
}

/* Invisible, direction-changing and private code points: what could make a line look like another line. */
static bool cp_hidden(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0xad || cp == 0x34f || cp == 0x61c || cp == 0x115f ||
	       cp == 0x1160 || (cp >= 0x180b && cp <= 0x180f) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0x3164 || cp == 0xfeff ||
	       cp == 0xffa0 || (cp >= 0xfe00 && cp <= 0xfe0f) || (cp >= 0xfff0 && cp <= 0xfffb) ||
	       (cp >= 0xe000 && cp <= 0xf8ff) || cp >= 0xe0000;
}

const char *text_escape(const char *text, size_t len, char *buf, size_t cap)
{
	size_t at = 0;
	if (cap == 0)
		return buf;
	for (size_t i = 0; i < len;) {
		if (text[i] >= 0x20 && text[i] < 0x7f) {
			if (at + 1 >= cap)
				break;
			buf[at++] = text[i++];
			continue;
		}
		char piece[16];
		uint32_t cp = 0;
		uint8_t bytes[4] = { 0 };
		size_t left = len - i < 4 ? len - i : 4;
		memcpy(bytes, text + i, left);
		size_t n = utf8_take(bytes, left, &cp);
		size_t out;
		if (n == 0 || cp < 0x20 || cp == 0x7f)
			out = (size_t)snprintf(piece, sizeof(piece), "\\x%02x", bytes[0]);
		else if (cp_hidden(cp))
			out = (size_t)snprintf(piece, sizeof(piece), "\\u{%x}", (unsigned)cp);
		else
			memcpy(piece, bytes, out = n);
		if (out >= cap - at)
			break;
		memcpy(buf + at, piece, out);
		at += out;
		i += n == 0 ? 1 : n;
	}
	buf[at] = '\0';
	return buf;
}
