/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BRIDGE_CONTROL_H
#define BRIDGE_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The words a keeper says to a VMM (vm/qmp.h), as Firecracker hears them: stop and cont are a PATCH of /vm at its API
 * socket, quit ends us, and with us the machine.
 */
enum { CONTROL_LINE_MAX = 256 };
struct control {
	size_t len;
	char line[CONTROL_LINE_MAX];
};

/* Bytes of a keeper; the answers go to `keeper`. False: quit. */
bool control_take(struct control *c, int keeper, const char *api, const char *p, size_t len);

#endif
