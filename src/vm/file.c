/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/file.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, uint8_t *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = read(fd, buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct stat st;
	int err = fstat(fd, &st) == 0 ? 0 : -errno;
	if (err == 0 && (st.st_size < 0 || (uint64_t)st.st_size > max))
		err = -EFBIG;
	size_t len = err == 0 ? (size_t)st.st_size : 0;
	uint8_t *buf = err == 0 ? malloc(len + 1) : NULL;
	if (err == 0)
		err = buf == NULL ? -ENOMEM : read_all(fd, buf, len);
	close(fd);
	if (err != 0) {
		free(buf);
		return err;
	}
	*ret = buf;
	*ret_len = len;
	return 0;
}

int file_write(const char *path, const void *data, size_t len)
{
	char tmp[1024];
	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return -ENAMETOOLONG;
	int fd = mkostemp(tmp, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = fd_write_all(fd, data, len);
	if (err == 0 && (fchmod(fd, 0644) != 0 || rename(tmp, path) != 0))
		err = -errno;
	close(fd);
	if (err != 0)
		unlink(tmp);
	return err;
}
