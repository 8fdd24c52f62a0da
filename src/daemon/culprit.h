/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_CULPRIT_H
#define DAEMON_CULPRIT_H

#include <stdbool.h>
#include <stddef.h>

/* Who drops what the host should forward for us: an accept of ours cannot overrule another table's drop. Looks for
 * Docker, ufw, firewalld, any other chain at the forward hook whose policy is drop, and iptables of the old kind. */
enum { CULPRIT_TEXT_MAX = 128, CULPRIT_FIX_MAX = 512 };

struct culprit {
	char who[CULPRIT_TEXT_MAX]; /* for people */
	char fix[CULPRIT_FIX_MAX];  /* the command that lets packets of `port` pass */
};

/* False: nobody was found; then *ret says that, with the command that shows the rules. */
bool culprit_find(const char *port, bool ipv6, struct culprit *ret);

#endif
