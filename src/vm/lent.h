/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_LENT_H
#define VM_LENT_H

#include "vm/jail.h"

/* What jail.c does more for a server of lent directories. */

/* As root in the jail's mount namespace: the trees below `dir`. */
int lent_mount(const char *dir, uid_t uid, const struct jail_lent *l) __attribute__((warn_unused_result));
/* For what is executed next; needs no_new_privs. */
int lent_filter(void) __attribute__((warn_unused_result));

#endif
