/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_ROLES_H
#define DAEMON_ROLES_H

#include "role/role.h"

/* The roles of this folder, see role.h. Each returns when main says stop: 0, or -errno, said in the log. */
int switchd_main(struct role *r);
int gate_main(struct role *r);
int names_main(struct role *r);
int resolver_main(struct role *r);
int keeper_main(struct role *r);
int auth_main(struct role *r);

#endif
