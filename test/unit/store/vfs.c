/* SPDX-License-Identifier: Apache-2.0 */
#include "vfs.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_vfs shim, *real_vfs;
static enum vfs_fault fault;
static unsigned fault_at, count;

enum op { OP_DO, OP_FAIL, OP_FAIL_AFTER, OP_HALF, OP_FULL };

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static enum op next(void)
{
	count++;
	if (fault == VFS_FULL && count >= fault_at)
		return OP_FULL;
	if (count != fault_at)
		return OP_DO;
	switch (fault) {
	case VFS_NOTHING:
	case VFS_FULL:
		break;
	case VFS_KILL:
		die();
		break;
	case VFS_KILL_HALF:
		return OP_HALF;
	case VFS_FAIL_ONCE:
		return OP_FAIL;
	case VFS_FAIL_AFTER:
		return OP_FAIL_AFTER;
	}
	return OP_DO;
}

void vfs_fault(enum vfs_fault what, unsigned at)
{
	fault = what;
	fault_at = at;
	count = 0;
}

unsigned vfs_count(void)
{
	return count;
}

static sqlite3_file *real(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
	enum op op = next();
	if (op == OP_FAIL)
		return SQLITE_IOERR_WRITE;
	if (op == OP_FULL)
		return SQLITE_FULL;
	int rc = real(f)->pMethods->xWrite(real(f), p, op == OP_HALF ? n / 2 : n, at);
	if (op == OP_HALF)
		die();
	return op == OP_FAIL_AFTER ? SQLITE_IOERR_WRITE : rc;
}

static int f_sync(sqlite3_file *f, int flags)
{
	enum op op = next();
	if (op == OP_FAIL)
		return SQLITE_IOERR_FSYNC;
	int rc = real(f)->pMethods->xSync(real(f), flags);
	if (op == OP_HALF)
		die();
	return op == OP_FAIL_AFTER ? SQLITE_IOERR_FSYNC : rc;
}

static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	enum op op = next();
	if (op == OP_FAIL)
		return SQLITE_IOERR_TRUNCATE;
	int rc = real(f)->pMethods->xTruncate(real(f), size);
	if (op == OP_HALF)
		die();
	return op == OP_FAIL_AFTER ? SQLITE_IOERR_TRUNCATE : rc;
}

static int f_close(sqlite3_file *f)
{
	int rc = real(f)->pMethods->xClose(real(f));
	free(real(f));
	return rc;
}

static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
	return real(f)->pMethods->xRead(real(f), p, n, at);
}

static int f_size(sqlite3_file *f, sqlite3_int64 *ret)
{
	return real(f)->pMethods->xFileSize(real(f), ret);
}

static int f_lock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xLock(real(f), level);
}

static int f_unlock(sqlite3_file *f, int level)
{
	return real(f)->pMethods->xUnlock(real(f), level);
}

static int f_reserved(sqlite3_file *f, int *ret)
{
	return real(f)->pMethods->xCheckReservedLock(real(f), ret);
}

static int f_control(sqlite3_file *f, int op, void *arg)
{
	return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int f_sector(sqlite3_file *f)
{
	return real(f)->pMethods->xSectorSize(real(f));
}

static int f_device(sqlite3_file *f)
{
	return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
	return real(f)->pMethods->xShmMap(real(f), page, size, extend, ret);
}

static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *f)
{
	real(f)->pMethods->xShmBarrier(real(f));
}

static int f_shm_unmap(sqlite3_file *f, int drop)
{
	return real(f)->pMethods->xShmUnmap(real(f), drop);
}

static const sqlite3_io_methods methods = { .iVersion = 2,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_device,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap };

static int v_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *file, int flags, int *ret_flags)
{
	(void)v;
	struct file *f = (struct file *)file;
	memset(f, 0, sizeof(*f));
	f->real = calloc(1, (size_t)real_vfs->szOsFile);
	int rc = f->real == NULL ? SQLITE_NOMEM : real_vfs->xOpen(real_vfs, name, f->real, flags, ret_flags);
	if (rc == SQLITE_OK)
		f->base.pMethods = &methods;
	else
		free(f->real);
	return rc;
}

static int v_delete(sqlite3_vfs *v, const char *name, int sync)
{
	(void)v;
	enum op op = next();
	if (op == OP_FAIL)
		return SQLITE_IOERR_DELETE;
	int rc = real_vfs->xDelete(real_vfs, name, sync);
	if (op == OP_HALF)
		die();
	return rc;
}

void vfs_install(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	shim = *real_vfs;
	shim.zName = "faults";
	shim.szOsFile = sizeof(struct file);
	shim.xOpen = v_open;
	shim.xDelete = v_delete;
	assert_int_equal(sqlite3_vfs_register(&shim, 1), SQLITE_OK);
}

/* The seal */

ssize_t __real_pwrite64(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *p, size_t n, off_t at);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

ssize_t __wrap_pwrite64(int fd, const void *p, size_t n, off_t at)
{
	enum op op = next();
	if (op == OP_FAIL || op == OP_FULL) {
		errno = op == OP_FULL ? ENOSPC : EIO;
		return -1;
	}
	ssize_t done = __real_pwrite64(fd, p, n, at);
	if (op == OP_HALF)
		die();
	if (op == OP_FAIL_AFTER) {
		errno = EIO;
		return -1;
	}
	return done;
}

int __wrap_fdatasync(int fd)
{
	enum op op = next();
	int rc = op == OP_FAIL ? -1 : __real_fdatasync(fd);
	if (op == OP_HALF)
		die();
	if (op == OP_FAIL || op == OP_FAIL_AFTER) {
		errno = EIO;
		return -1;
	}
	return rc;
}
