/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BRIDGE_OPENER_H
#define BRIDGE_OPENER_H

/*
 * Firecracker takes everything by path and its tap by name; we have descriptors, some of files that its user could not
 * open. So its open(2) of "/fd/NAME" is answered with one of ours (seccomp_unotify(2)), and TUNSETIFF, which names the
 * interface, with success: the tap it got has one. Every other open goes its way; nothing is decided here, the jail
 * does that.
 */
struct opener_file {
	const char *name;
	int fd;
};

/* Installs the filter in the calling process, which must have no new privileges, and returns the descriptor that its
 * calls are to be answered on; negative errno. */
int opener_install(void) __attribute__((warn_unused_result));
/* Answers one call of that process, a child of ours. `files` end with a NULL name; "tap" and "kvm" are
 * what it gets for /dev/net/tun and /dev/kvm. */
void opener_answer(int listener, const struct opener_file *files);

#endif
