/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/resolvconf.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

enum { FILE_MAX = 65536 };
static const char path[] = "/etc/resolv.conf";

/* FNV-1a: only "the same or not", of a file of root's. */
static uint64_t digest(void)
{
	static uint8_t text[FILE_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));
	uint64_t h = 0xcbf29ce484222325U;
	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i++)
		h = (h ^ text[i]) * 0x100000001b3U;
	return h;
}

/* The folder of the name, and of what it points to: files are replaced by renaming. Watching twice is watching once. */
static int watch(int fd)
{
	char real[PATH_MAX];
	const uint32_t events = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE;
	if (inotify_add_watch(fd, "/etc", events) < 0)
		return -errno;
	if (realpath(path, real) == NULL)
		return 0;
	*strrchr(real, '/') = '\0';
	return real[0] == '\0' || inotify_add_watch(fd, real, events) >= 0 ? 0 : -errno;
}

int resolvconf_open(struct resolvconf *r)
{
	r->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	int err = r->fd < 0 ? -errno : watch(r->fd);
	if (err != 0) {
		resolvconf_close(r);
		return err;
	}
	r->digest = digest();
	return 0;
}

bool resolvconf_changed(struct resolvconf *r)
{
	char events[4096];
	bool any = false;
	while (r->fd >= 0 && read(r->fd, events, sizeof(events)) > 0)
		any = true;
	if (r->fd < 0 || !any)
		return false;
	/* It may point elsewhere now. */
	int err = watch(r->fd);
	uint64_t now = digest();
	bool changed = err == 0 && now != r->digest;
	r->digest = now;
	return changed;
}

void resolvconf_close(struct resolvconf *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}
