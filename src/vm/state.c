/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/state.h"

#include "base/rd.h"
#include "base/wr.h"
#include "vm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The version counts changes of this file, of the sockets beside it and of what is spoken over them. */
enum { MAGIC = 0x736b766d, VERSION = 5, STATE_MAX = 1024, BOOT_ID_LEN = 36 };

static int boot_id(uint8_t ret[BOOT_ID_LEN])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, ret, BOOT_ID_LEN);
	close(fd);
	return n == BOOT_ID_LEN ? 0 : -EIO;
}

static int path_of(const char *dir, char ret[VM_PATH_MAX])
{
	return snprintf(ret, VM_PATH_MAX, "%s/state", dir) < VM_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int vm_state_write(const char *dir, const struct vm_state *s)
{
	uint8_t buf[STATE_MAX], boot[BOOT_ID_LEN];
	char path[VM_PATH_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	int err = path_of(dir, path);
	if (err == 0)
		err = boot_id(boot);
	if (err != 0)
		return err;
	wr_u32(&w, MAGIC);
	wr_u16(&w, VERSION);
	wr_bytes(&w, boot, sizeof(boot));
	wr_u16(&w, s->slot);
	wr_u32(&w, s->run);
	wr_u8(&w, s->runs);
	wr_u8(&w, s->held);
	wr_bytes(&w, s->cgroup, sizeof(s->cgroup));
	wr_bytes(&w, s->tap, sizeof(s->tap));
	wr_bytes(&w, s->sync, sizeof(s->sync));
	wr_u32(&w, (uint32_t)s->proc.vmm.pid);
	wr_u64(&w, s->proc.vmm.start);
	wr_u32(&w, (uint32_t)s->proc.share.pid);
	wr_u64(&w, s->proc.share.start);
	wr_u32(&w, (uint32_t)s->proc.shares.pid);
	wr_u64(&w, s->proc.shares.start);
	wr_u32(&w, (uint32_t)s->shares_uid);
	return wr_ok(&w) ? file_write(path, buf, w.len) : -ENOSPC;
}

static int parse(const uint8_t *buf, size_t len, struct vm_state *s)
{
	uint8_t boot[BOOT_ID_LEN], now[BOOT_ID_LEN];
	struct rd r = rd_init(buf, len);
	uint32_t magic = rd_u32(&r);
	uint16_t version = rd_u16(&r);
	rd_copy(&r, boot, sizeof(boot));
	if (!rd_ok(&r) || magic != MAGIC || version != VERSION)
		return -ESTALE;
	int err = boot_id(now);
	if (err != 0)
		return err;
	if (memcmp(boot, now, sizeof(boot)) != 0)
		return -ESTALE;
	s->slot = rd_u16(&r);
	s->run = rd_u32(&r);
	s->runs = rd_u8(&r) == 1;
	s->held = rd_u8(&r) == 1;
	rd_copy(&r, s->cgroup, sizeof(s->cgroup));
	rd_copy(&r, s->tap, sizeof(s->tap));
	rd_copy(&r, s->sync, sizeof(s->sync));
	s->proc.vmm.pid = (pid_t)rd_u32(&r);
	s->proc.vmm.start = rd_u64(&r);
	s->proc.share.pid = (pid_t)rd_u32(&r);
	s->proc.share.start = rd_u64(&r);
	s->proc.shares.pid = (pid_t)rd_u32(&r);
	s->proc.shares.start = rd_u64(&r);
	s->shares_uid = (uid_t)rd_u32(&r);
	return rd_done(&r) && s->slot != 0 && s->proc.vmm.pid > 1 && s->tap[sizeof(s->tap) - 1] == '\0' &&
			       s->cgroup[sizeof(s->cgroup) - 1] == '\0'
		     ? 0
		     : -EBADMSG;
}

int vm_state_read(const char *dir, struct vm_state *ret)
{
	char path[VM_PATH_MAX];
	uint8_t *buf;
	size_t len;
	int err = path_of(dir, path);
	if (err == 0)
		err = file_read(path, STATE_MAX, &buf, &len);
	if (err != 0)
		return err;
	*ret = (struct vm_state){ .proc = { .vmm.pidfd = -1, .share.pidfd = -1, .shares.pidfd = -1 } };
	err = parse(buf, len, ret);
	free(buf);
	return err;
}

void vm_state_remove(const char *dir)
{
	char path[VM_PATH_MAX];
	if (path_of(dir, path) == 0)
		unlink(path);
}
