/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/share.h"

#include "vm/jail.h"
#include "vm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

enum { SHARES_FILES = 1000000, SHARES_THREADS = 128 };

int vm_share_tree(int fd)
{
	/* Private: what the jail mounts below it is not to appear on the host. */
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE };
	int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		return tree;
	int err = -errno;
	close(tree);
	return err;
}

int vm_share_sockets(const char *dir, const char *name, int *ret_listen, int *ret_conn)
{
	int l = vm_listen(dir, name);
	if (l < 0)
		return l;
	int c = vm_connect_one(dir, name);
	if (c < 0) {
		close(l);
		return c;
	}
	if (fcntl(c, F_SETFL, 0) != 0) {
		int err = -errno;
		close(l);
		close(c);
		return err;
	}
	*ret_listen = l;
	*ret_conn = c;
	return 0;
}

int vm_share_start(const struct vm_spec *s, int log, struct vm_process *ret, int *ret_conn, char *error)
{
	static const struct jail_bind binds[] = { { "/lib", "/lib", false }, { "/lib64", "/lib64", false },
		{ "/usr/lib", "/usr/lib", false }, { "/usr/lib64", "/usr/lib64", false },
		{ "/dev/null", "/dev/null", true }, { NULL, NULL, false } };
	static const char words[][96] = { "/usr/lib/qemu/virtiofsd", "--fd=3", "-f", "--rlimit-nofile=0", "-o",
		"sandbox=chroot", "-o", "source=/share", "-o", "cache=auto", "-o", "announce_submounts", "-o",
		"log_level=warn", "-o",
		"modcaps=-chown:-dac_override:-fowner:-fsetid:-setgid:-setuid:-mknod:-setfcap" };
	enum { WORDS = sizeof(words) / sizeof(*words) };
	char copy[WORDS][sizeof(words[0])], *argv[WORDS + 1];
	int listen_fd = -1, conn = -1;
	int err = vm_share_sockets(s->dir, "shares", &listen_fd, &conn);
	if (err != 0) {
		snprintf(error, VM_ERROR_MAX, "the socket of the shares cannot be made in %.100s: %s", s->dir,
			strerror(-err));
		return err;
	}
	memcpy(copy, words, sizeof(copy));
	for (unsigned i = 0; i < WORDS; i++)
		argv[i] = copy[i];
	argv[WORDS] = NULL;
	const struct jail_lent lent = { .gid = s->shares.gid, .tree = s->shares.tree, .n = s->shares.n };
	struct jail j = { .uid = s->shares.uid,
		.binds = binds,
		.lent = &lent,
		.chroots = true,
		.fds = &listen_fd,
		.n_fds = 1,
		.stderr_fd = log,
		.max_files = SHARES_FILES,
		.max_file_size = UINT64_MAX,
		.max_threads = SHARES_THREADS,
		.argv = argv };
	err = jail_spawn(&j, s->dir, &ret->pid, &ret->pidfd, error);
	close(listen_fd);
	if (err != 0)
		close(conn);
	else
		*ret_conn = conn;
	return err;
}
