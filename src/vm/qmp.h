/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_QMP_H
#define VM_QMP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What a keeper says to its VMM over QMP and what it takes from the answers, which are hostile bytes: of a line that is
 * too long the beginning is looked at. `fd` is the caller's; -1: closed. 0 or -errno. Zeroed it has said nothing.
 */
enum { VM_QMP_LINE_MAX = 512 };
struct vm_qmp {
	enum { VM_PAUSE_NONE, VM_PAUSE_ASKED, VM_PAUSE_ANSWERED } pause;
	int pause_err;
	size_t len;
	char line[VM_QMP_LINE_MAX];
};

/* The first word, without which no other is heard. */
int vm_qmp_begin(int fd) __attribute__((warn_unused_result));
int vm_qmp_quit(int fd) __attribute__((warn_unused_result));
/* -EBUSY: an earlier answer is still awaited. */
int vm_qmp_pause(struct vm_qmp *q, int fd, bool pause) __attribute__((warn_unused_result));
/* True once for each pause that was answered: *ret_err is 0 or -errno. */
bool vm_qmp_paused(struct vm_qmp *q, int *ret_err);
void vm_qmp_take(struct vm_qmp *q, const char *p, size_t len);
/* The VMM has closed its end. */
void vm_qmp_lost(struct vm_qmp *q);

#endif
