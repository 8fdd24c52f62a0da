/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_TAP_H
#define VM_TAP_H

#include <stdbool.h>
#include <sys/types.h>

/* Opens (making it when it is not there) the tap `name` for a VMM owned by `owner`; the interface is down and makes no
 * IPv6 address of its own. It vanishes with the last descriptor unless it was made persistent by someone else. Returns
 * the descriptor or -errno. */
int vm_tap_open(const char *name, bool vnet_hdr, uid_t owner) __attribute__((warn_unused_result));

#endif
