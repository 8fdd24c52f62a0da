/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_WARM_H
#define DAEMON_WARM_H

#include "base/loop.h"
#include "vm/backend.h"

struct sekishod;

/* A machine of this spec has booted: one like it is stored, unless one is, or is being made, or that failed lately. */
void warm_want(struct sekishod *d, const struct vm_spec *spec);
/* One that was resumed did not come to its program. */
void warm_failed(struct sekishod *d, const struct vm_spec *spec);
/* What is being made is given up. */
void warm_end(struct sekishod *d);
/* Of loop type MAIN_VM, for the place behind those of applications. */
void warm_event(struct sekishod *d, const struct loop_event *ev);

#endif
