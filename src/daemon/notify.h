/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

/* sd_notify(3) without libsystemd: tells the service manager, when there is one (NOTIFY_SOCKET). */
void notify_send(const char *state);
/* Half of WATCHDOG_USEC in milliseconds; 0: no watchdog is wanted. */
int64_t notify_watchdog_ms(void);

#endif
