/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_TSC_H
#define VM_TSC_H

#include <stdint.h>

/* The rate of this host's time stamp counter, measured once against CLOCK_MONOTONIC_RAW (about 10 ms); 0 where there is
 * none. */
uint32_t vm_tsc_khz(void);

#endif
