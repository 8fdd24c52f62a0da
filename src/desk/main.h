/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_MAIN_H
#define DESK_MAIN_H

#include "role/role.h"

/* The role desk, see role.h. Returns when main says stop: 0, or -errno, said in the log. */
int desk_main(struct role *r);

#endif
