/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/vm_shares.h"

#include "base/share.h"
#include "vm/share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* He can do with them what he lends: whoever opened the connection is their owner, or root. */
static int check_owner(const struct ipc_shares *s, int client)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return -errno;
	if (peer.uid == 0)
		return 0;
	return peer.uid == s->uid ? 0 : -EPERM;
}

/* NULL: it may be lent. Asks the kernel for its name, and its file system for nothing. */
static const char *check_path(const struct sekishod *d, const struct ipc_vm *m, unsigned i, int fd)
{
	const char *const ours[] = { d->conf.run_dir, d->conf.state_dir, d->conf.policy_dir };
	const char *path = m->shares.path[i];
	char link[64], real[IPC_SHARE_PATH + 1];
	int flags = fcntl(fd, F_GETFL);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = flags < 0 || (flags & O_PATH) == 0 ? -1 : readlink(link, real, sizeof(real));
	if (n <= 0 || n == (ssize_t)sizeof(real) || (size_t)n != strlen(path) || memcmp(real, path, (size_t)n) != 0)
		return "is not the directory that came along with it";
	for (unsigned k = 0; k < sizeof(ours) / sizeof(*ours); k++) {
		if (share_below(path, ours[k]) || share_below(ours[k], path))
			return "belongs to sekisho, or holds what does";
	}
	return share_refused(path, m->home, m->shares.home == IPC_HOME_KEPT && i + 1 == m->shares.n);
}

static int take_one(const struct sekishod *d, const struct ipc_vm *m, unsigned i, int fd, char *error)
{
	const char *why = check_path(d, m, i, fd);
	int tree = why == NULL ? vm_share_tree(fd) : -EACCES;
	if (tree == -EINVAL)
		why = "is not in the daemon's view of the file system";
	else if (tree < 0 && why == NULL)
		why = strerror(-tree);
	if (tree < 0)
		snprintf(error, VM_ERROR_MAX, "%.120s cannot be lent: it %.80s", m->shares.path[i], why);
	return tree;
}

int vm_shares_take(const struct sekishod *d, const struct ipc_vm *m, int client, const int *fds, struct vm_shares *ret,
	char *error)
{
	_Static_assert((int)IPC_SHARES_MAX == (int)VM_SHARES_MAX, "one limit");
	struct vm_shares s = { .uid = m->shares.uid, .gid = m->shares.gid };
	int err = m->shares.n == 0 ? 0 : check_owner(&m->shares, client);
	if (err != 0)
		snprintf(error, VM_ERROR_MAX, "directories are lent by their owner himself, or by root");
	while (err == 0 && s.n < m->shares.n) {
		int tree = take_one(d, m, s.n, fds[s.n], error);
		if (tree < 0)
			err = tree;
		else
			s.tree[s.n++] = tree;
	}
	if (err != 0) {
		vm_shares_drop(&s);
		return err;
	}
	*ret = s;
	return 0;
}

void vm_shares_drop(struct vm_shares *s)
{
	for (unsigned i = 0; i < s->n; i++)
		close(s->tree[i]);
	s->n = 0;
}
