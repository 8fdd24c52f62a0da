/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/setup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file system of all of them; out of the way, and gone when each is at its place. */
#define ALL "/run/.sekisho-shares"

static int put_share(const struct agent_exec *e, unsigned i, const char *to)
{
	char from[64];
	snprintf(from, sizeof(from), ALL "/%u", i);
	int err = to[0] != '/' || to[1] == 0 ? -ENOTDIR : make_dir_of(e, to);
	if (err == 0 && (mount(from, to, NULL, MS_BIND, NULL) != 0 ||
				mount(NULL, to, NULL, MS_BIND | MS_REMOUNT | MS_NOSUID | MS_NODEV, NULL) != 0))
		err = -errno;
	return err;
}

int setup_shares(const struct agent_exec *e)
{
	if (e->n_shares == 0)
		return 0;
	if ((mkdir("/run", 0755) != 0 && errno != EEXIST) || mkdir(ALL, 0700) != 0 ||
		mount("shares", ALL, "virtiofs", MS_NOSUID | MS_NODEV, NULL) != 0)
		return -errno;
	/* The home first: others may lie in it. */
	unsigned n = e->share_home ? e->n_shares - 1U : e->n_shares;
	int err = e->share_home ? put_share(e, n, e->home) : 0;
	for (unsigned i = 0; err == 0 && i < n; i++)
		err = put_share(e, i, e->share[i]);
	if (err == 0 && (umount2(ALL, MNT_DETACH) != 0 || rmdir(ALL) != 0))
		err = -errno;
	return err;
}
