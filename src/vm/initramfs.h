/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_INITRAMFS_H
#define VM_INITRAMFS_H

#include "base/wr.h"

#include <stdint.h>

/* A "newc" cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed. Errors stay in `w`.
 */
struct cpio {
	struct wr w;
	uint32_t next_ino;
};

struct cpio cpio_init(void *buf, size_t cap);
void cpio_dir(struct cpio *c, const char *path, uint32_t mode);
void cpio_file(struct cpio *c, const char *path, uint32_t mode, const void *data, size_t len);
void cpio_chardev(struct cpio *c, const char *path, uint32_t mode, uint32_t major, uint32_t minor);
/* Writes the trailer; the archive is w.buf, w.len when wr_ok(). */
void cpio_end(struct cpio *c);

/* Writes the guest's initramfs: /init from `init_path`, every *.ko of `mods_dir` below /mods. Replaces `out` whole or
 * not at all. */
int vm_initramfs_write(const char *out, const char *init_path, const char *mods_dir)
	__attribute__((warn_unused_result));

#endif
