/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_KERNEL_H
#define VM_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/*
 * The guest's kernel: Debian's cloud kernel package, unpacked by data/fetch-guest-kernel into
 * STATE_DIR/kernel/VERSION/{vmlinuz,mods/}. From it we make, once, vmlinux (the ELF inside vmlinuz) and initramfs
 * (sekisho-init and the modules).
 */
enum { VM_PATH_MAX = 512 };

struct vm_kernel {
	char version[128];
	char vmlinux[VM_PATH_MAX];
	char initramfs[VM_PATH_MAX];
};

/* Finds the newest version below STATE_DIR/kernel and prepares both files when they are missing or older than
 * `init_path` (sekisho-init) or the modules. -ENOENT: no kernel there, run the fetcher. `error` as in vm_start(). */
int vm_kernel_find(const char *state_dir, const char *init_path, struct vm_kernel *ret, char *error)
	__attribute__((warn_unused_result));

/* The ELF image inside a bzImage (Documentation/arch/x86/boot.rst: payload_offset, payload_length): LZ4 is unpacked
 * here, xz, zstd and gzip by their programs. *ret is malloc'ed. -EBADMSG: not such a file. */
int vm_kernel_extract(const uint8_t *image, size_t len, uint8_t **ret, size_t *ret_len)
	__attribute__((warn_unused_result));
/* LZ4 legacy frame, output at most `max` bytes. */
int vm_lz4_legacy(const uint8_t *in, size_t len, size_t max, uint8_t **ret, size_t *ret_len)
	__attribute__((warn_unused_result));

#endif
