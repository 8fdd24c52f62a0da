/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_JAIL_H
#define VM_JAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Where a VMM and its file server live: a process of its own uid as the only one in new mount, pid, network, ipc, uts
 * and user namespaces, on a root made of the listed bind mounts alone (read-only), without capabilities, without new
 * privileges, with limits, with no descriptor but those given and no key of whoever started it. An escape from the VMM
 * holds its descriptors and nothing else.
 */
struct jail_bind {
	const char *from; /* on the host; skipped when it is not there */
	const char *to;	  /* below the new root, "/usr/lib" */
	bool device;	  /* keep device nodes usable */
};

/* For a server of what its owner lends, as himself: no id but his exists there, whatever it is asked to become, and no
 * file gets a set-id bit, since the host's own mount would honour it. Names of share_later are read-only. */
struct jail_lent {
	gid_t gid;
	const int *tree; /* vm/share.h; at /share/0, /share/1, … */
	unsigned n;
};

struct jail {
	uid_t uid;		       /* also the gid, unless lent */
	gid_t extra_gid;	       /* 0: none */
	const struct jail_bind *binds; /* ended by from == NULL */
	bool host_tree;		       /* build vm/root.h's tree at /share; a proc at /proc */
	const struct jail_lent *lent;  /* NULL: nothing; else a proc at /proc, too */
	bool scratch;		       /* /run: 64 KiB of memory of its own, for sockets */
	/* For the file server: the ids of the host are seen as they are, and CAP_SYS_CHROOT, CAP_SETPCAP (dropped by
	 * the server itself once it has used them) and CAP_FOWNER survive exec, inside the user namespace only.
	 * CAP_FOWNER because the guest's overlayfs opens every lower file with O_NOATIME, which is the owner's right;
	 * on mounts that are all read-only it gives nothing else. */
	bool chroots;
	const int *fds; /* become 3, 4, … */
	unsigned n_fds;
	int stderr_fd; /* also stdout; -1: /dev/null */
	uint64_t max_files, max_file_size, max_threads;
	char *const *argv; /* argv[0] is a path in the new root */
};

enum { JAIL_FDS_MAX = 16 };

/* `work_dir` is an empty directory of root's used as mount point (in the child's namespace only). The child is the
 * caller's to reap. 0 or negative errno with a sentence in `error` (VM_ERROR_MAX); errors up to exec are seen. */
int jail_spawn(const struct jail *j, const char *work_dir, pid_t *ret_pid, int *ret_pidfd, char *error)
	__attribute__((warn_unused_result));

#endif
