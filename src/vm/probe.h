/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_PROBE_H
#define VM_PROBE_H

/*
 * What is remembered of the last boots under KVM. A machine where KVM is broken keeps silent, and so does a slow one (a
 * host that is a guest itself): silence is believed only the second time, when more was waited. The whole daemon stands
 * still for that long, so the limits stay well below its watchdog's.
 */
enum { VM_PROBE_YES = 'y', VM_PROBE_NO = 'n', VM_PROBE_SLOW = 's' };
enum vm_probe_end { VM_PROBE_BOOTED, VM_PROBE_ENDED, VM_PROBE_SILENT };

/* `was`: the last verdict, 0 for none. */
int vm_probe_limit_ms(char was);
char vm_probe_verdict(char was, enum vm_probe_end end);

#endif
