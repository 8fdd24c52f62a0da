/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_RESOLVCONF_H
#define DAEMON_RESOLVCONF_H

#include <stdbool.h>
#include <stdint.h>

/* The host's /etc/resolv.conf under watch (inotify(7)): `fd` becomes readable when something may have changed. */
struct resolvconf {
	int fd; /* -1: not watched */
	uint64_t digest;
};

int resolvconf_open(struct resolvconf *r) __attribute__((warn_unused_result));
/* Takes what `fd` tells; true: the text is another one than before. */
bool resolvconf_changed(struct resolvconf *r);
void resolvconf_close(struct resolvconf *r);

#endif
