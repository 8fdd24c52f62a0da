/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TEST_STORE_VFS_H
#define TEST_STORE_VFS_H

/*
 * A shim under SQLite, the default VFS from vfs_install() on, and under the seal (linked with --wrap): counts whatever
 * changes a file (write, sync, truncate, delete) and does something else at the n-th.
 */
enum vfs_fault {
	VFS_NOTHING,
	VFS_KILL,	/* SIGKILL instead of it */
	VFS_KILL_HALF,	/* SIGKILL after half of the write, or after what is no write */
	VFS_FAIL_ONCE,	/* an I/O error, this time */
	VFS_FAIL_AFTER, /* it is done, and an I/O error told */
	VFS_FULL	/* writes find no room from now on */
};

void vfs_install(void);
/* `at` from 1 on; counting begins now. */
void vfs_fault(enum vfs_fault what, unsigned at);
unsigned vfs_count(void);

#endif
