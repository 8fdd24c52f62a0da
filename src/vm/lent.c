/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/lent.h"

#include "base/share.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Over itself, read-only. What is not there, or leads elsewhere, has nothing to be kept from. */
static int guard(int top, const char *name)
{
	const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	int fd = (int)syscall(SYS_openat2, top, name, &how, sizeof(how));
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES || errno == EXDEV
			     ? 0
			     : -errno;
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	int tree = open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	int err = tree < 0 || mount_setattr(tree, "", AT_EMPTY_PATH, &ro, sizeof(ro)) != 0 ||
				  move_mount(tree, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0
			? -errno
			: 0;
	if (tree >= 0)
		close(tree);
	close(fd);
	return err;
}

/* Looked up with its owner's rights, where the file system asks for them. */
static int guard_all(const char *dir, uid_t uid, gid_t gid)
{
	int top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), err = 0;
	if (top < 0)
		return -errno;
	setfsgid(gid);
	setfsuid(uid);
	for (unsigned i = 0; err == 0 && share_later[i] != NULL; i++)
		err = guard(top, share_later[i]);
	setfsuid(0);
	setfsgid(0);
	close(top);
	return err;
}

int lent_mount(const char *dir, uid_t uid, const struct jail_lent *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		char path[PATH_MAX];
		snprintf(path, sizeof(path), "%.3000s/%u", dir, i);
		if (mkdir(path, 0755) != 0 || move_mount(l->tree[i], "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) != 0)
			return -errno;
		int err = guard_all(path, uid, l->gid);
		if (err != 0)
			return err;
	}
	return 0;
}

/* `mode` is argument `n` of the call. */
static int no_set_id(scmp_filter_ctx f, int call, unsigned n)
{
	static const scmp_datum_t bits[] = { S_ISUID, S_ISGID };
	int err = 0;
	for (unsigned i = 0; err == 0 && i < sizeof(bits) / sizeof(*bits); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), call, 1,
			SCMP_CMP(n, SCMP_CMP_MASKED_EQ, bits[i], bits[i]));
	return err;
}

int lent_filter(void)
{
	/* fchmodat2 of Linux 6.6, which this libseccomp has no name for. */
	enum { FCHMODAT2 = 452 };
	static const struct {
		int call;
		unsigned mode;
	} makers[] = { { SCMP_SYS(chmod), 1 }, { SCMP_SYS(fchmod), 1 }, { SCMP_SYS(fchmodat), 2 }, { FCHMODAT2, 2 },
		{ SCMP_SYS(open), 2 }, { SCMP_SYS(creat), 1 }, { SCMP_SYS(openat), 3 }, { SCMP_SYS(mkdir), 1 },
		{ SCMP_SYS(mkdirat), 2 }, { SCMP_SYS(mknod), 1 }, { SCMP_SYS(mknodat), 2 } };
	/* Whoever asks in the guest, the file is its owner's: the server stays who it is. */
	static const int stays[] = { SCMP_SYS(setresuid), SCMP_SYS(setresgid) };
	/* Their modes lie in memory. */
	static const int none[] = { SCMP_SYS(openat2), SCMP_SYS(io_uring_setup) };
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int err = f == NULL ? -ENOMEM : 0;
	for (size_t i = 0; err == 0 && i < sizeof(makers) / sizeof(*makers); i++)
		err = no_set_id(f, makers[i].call, makers[i].mode);
	for (size_t i = 0; err == 0 && i < sizeof(stays) / sizeof(*stays); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(0), stays[i], 0);
	for (size_t i = 0; err == 0 && i < sizeof(none) / sizeof(*none); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), none[i], 0);
	if (err == 0)
		err = seccomp_load(f);
	seccomp_release(f);
	return err;
}
