/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stddef.h>

/* The log of a process, on stderr. Only daemon/, cli/ and guest/ may call it; libraries return errors. */
enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6, LOG_DEBUG = 7 };

/* `role` prefixes every line (not copied). Lines carry "<N>" level prefixes when stderr is not a terminal
 * (sd-daemon(3)). */
void log_open(const char *role, enum log_level max);
/* One line, at most 1,024 bytes; control bytes and invalid UTF-8 are escaped as \xNN. At most 50 lines a second and
 * process, a burst of 200; what was left out is counted and said once the rate allows. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Escapes `len` bytes of hostile text for a terminal or a log: control, bidi, zero-width and non-UTF-8 bytes become
 * \xNN or \u{N}. Always ends `buf` with NUL, cutting at whole escapes; returns buf. */
const char *text_escape(const char *text, size_t len, char *buf, size_t cap);

#endif
