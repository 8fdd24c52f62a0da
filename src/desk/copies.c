/* SPDX-License-Identifier: Apache-2.0 */
#include "desk/copies.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD_LEN = 1024, BYTES_MAX = 256 << 20, PATH_LEN = IPC_LIST_ID_LEN + 16 };
static const char magic[8] = "SKLIST1";

/* The head of a copy, zeroes to HEAD_LEN; then the digest. */
struct head {
	char magic[8];
	struct list_copy c;
	uint64_t len;
};
_Static_assert(sizeof(struct head) <= HEAD_LEN, "the head has its place");

int digest_map(int fd, size_t len, struct list_digest *ret, const void **ret_map)
{
	if (len > BYTES_MAX || !fd_sealed(fd, len))
		return -EBADMSG;
	void *map = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	int err = list_digest_open(map, len, ret);
	if (err != 0)
		munmap(map, len);
	else
		*ret_map = map;
	return err;
}

static int sync_folder(void)
{
	int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = fd < 0 || fsync(fd) != 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

int copy_write(const char *id, const struct list_copy *c, const void *digest, size_t len)
{
	char path[PATH_LEN], fresh[PATH_LEN], block[HEAD_LEN] = { 0 };
	struct head h = { .c = *c, .len = len };
	memcpy(h.magic, magic, sizeof(magic));
	memcpy(block, &h, sizeof(h));
	snprintf(path, sizeof(path), "list.%s", id);
	snprintf(fresh, sizeof(fresh), "new-list.%s", id);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int err = fd_write_all(fd, block, sizeof(block));
	if (err == 0)
		err = fd_write_all(fd, digest, len);
	if (err == 0 && fsync(fd) != 0)
		err = -errno;
	close(fd);
	if (err == 0 && rename(fresh, path) != 0)
		err = -errno;
	if (err != 0)
		unlink(fresh);
	return err != 0 ? err : sync_folder();
}

/* Eight bytes of one sector: the old time is there, or the new one. */
int copy_fetched(const char *id, int64_t fetched_ms)
{
	char path[PATH_LEN];
	const off_t at = offsetof(struct head, c) + offsetof(struct list_copy, fetched_ms);
	snprintf(path, sizeof(path), "list.%s", id);
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW), err = 0;
	if (fd < 0)
		return -errno;
	ssize_t n = pwrite(fd, &fetched_ms, sizeof(fetched_ms), at);
	if (n != (ssize_t)sizeof(fetched_ms))
		err = n < 0 ? -errno : -EIO;
	else if (fdatasync(fd) != 0)
		err = -errno;
	close(fd);
	return err;
}

void copies_tidy(bool (*wanted)(void *arg, const char *id), void *arg)
{
	static const char *const kinds[] = { "list.", "new-list." };
	DIR *dir = opendir(".");
	for (const struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
		for (unsigned k = 0; k < 2; k++) {
			size_t n = strlen(kinds[k]);
			if (strncmp(e->d_name, kinds[k], n) == 0 && (k == 1 || !wanted(arg, e->d_name + n)))
				unlink(e->d_name);
		}
	}
	if (dir != NULL)
		closedir(dir);
}

static int copy_bytes(int from, int to, size_t len)
{
	static char buf[1 << 16];
	while (len > 0) {
		ssize_t n = read(from, buf, len < sizeof(buf) ? len : sizeof(buf));
		int err = n < 0 ? -errno : n == 0 ? -EBADMSG : fd_write_all(to, buf, (size_t)n);
		if (err != 0)
			return err;
		len -= (size_t)n;
	}
	return 0;
}

static int read_head(int fd, const char *source, struct head *ret)
{
	char block[HEAD_LEN];
	struct stat st;
	if (read(fd, block, sizeof(block)) != (ssize_t)sizeof(block) || fstat(fd, &st) != 0)
		return -EBADMSG;
	memcpy(ret, block, sizeof(*ret));
	if (memcmp(ret->magic, magic, sizeof(magic)) != 0 || ret->len == 0 || ret->len > BYTES_MAX ||
		st.st_size != (off_t)(HEAD_LEN + ret->len))
		return -EBADMSG;
	ret->c.source[sizeof(ret->c.source) - 1] = '\0';
	ret->c.tags.etag[sizeof(ret->c.tags.etag) - 1] = '\0';
	ret->c.tags.modified[sizeof(ret->c.tags.modified) - 1] = '\0';
	return strcmp(ret->c.source, source) == 0 ? 0 : -ENOENT;
}

static bool whole(int fd, size_t len)
{
	struct list_digest digest;
	const void *map;
	if (digest_map(fd, len, &digest, &map) != 0)
		return false;
	bool good = list_digest_whole(&digest);
	munmap((void *)(uintptr_t)map, len);
	return good;
}

int copy_read(const char *id, const char *source, struct list_copy *ret, size_t *ret_len)
{
	char path[PATH_LEN];
	struct head h;
	snprintf(path, sizeof(path), "list.%s", id);
	int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), to = -1;
	if (from < 0)
		return -errno;
	int err = read_head(from, source, &h);
	if (err == 0 && (to = fd_memory("list")) < 0)
		err = to;
	if (err == 0)
		err = copy_bytes(from, to, h.len);
	if (err == 0)
		err = fd_seal(to);
	if (err == 0 && !whole(to, h.len))
		err = -EBADMSG;
	close(from);
	if (err != 0) {
		if (to >= 0)
			close(to);
		return err;
	}
	*ret = h.c;
	*ret_len = h.len;
	return to;
}
