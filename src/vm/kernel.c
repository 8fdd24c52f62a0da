/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/kernel.h"

#include "vm/backend.h"
#include "vm/file.h"
#include "vm/initramfs.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { IMAGE_MAX = 64 << 20 };

/* `a` is there and not older than `b`. */
static bool is_fresh(const char *a, const char *b)
{
	struct stat sa, sb;
	if (stat(a, &sa) != 0 || stat(b, &sb) != 0)
		return false;
	return sa.st_mtim.tv_sec != sb.st_mtim.tv_sec ? sa.st_mtim.tv_sec > sb.st_mtim.tv_sec
						      : sa.st_mtim.tv_nsec >= sb.st_mtim.tv_nsec;
}

static int find_newest(const char *dir, char *ret, size_t cap)
{
	struct dirent **list;
	int n = scandir(dir, &list, NULL, versionsort);
	if (n < 0)
		return -errno;
	ret[0] = 0;
	for (int i = 0; i < n; i++) {
		char path[VM_PATH_MAX + 300];
		struct stat st;
		snprintf(path, sizeof(path), "%.500s/%s/vmlinuz", dir, list[i]->d_name);
		if (list[i]->d_name[0] != '.' && strlen(list[i]->d_name) < cap && stat(path, &st) == 0)
			memcpy(ret, list[i]->d_name, strlen(list[i]->d_name) + 1);
		free(list[i]);
	}
	free(list);
	return ret[0] != 0 ? 0 : -ENOENT;
}

static int make_vmlinux(const char *vmlinuz, const char *vmlinux)
{
	uint8_t *image, *elf = NULL;
	size_t len, elf_len = 0;
	int err = file_read(vmlinuz, IMAGE_MAX, &image, &len);
	if (err != 0)
		return err;
	err = vm_kernel_extract(image, len, &elf, &elf_len);
	free(image);
	if (err == 0)
		err = file_write(vmlinux, elf, elf_len);
	free(elf);
	return err;
}

int vm_kernel_find(const char *state_dir, const char *init_path, struct vm_kernel *ret, char *error)
{
	struct vm_kernel k = { 0 };
	char dir[VM_PATH_MAX], base[VM_PATH_MAX], vmlinuz[VM_PATH_MAX], mods[VM_PATH_MAX];
	if (snprintf(dir, sizeof(dir), "%s/kernel", state_dir) >= (int)sizeof(dir) - 160)
		return -ENAMETOOLONG;
	int err = find_newest(dir, k.version, sizeof(k.version));
	if (err != 0) {
		snprintf(error, VM_ERROR_MAX, "there is no guest kernel in %.100s: run fetch-guest-kernel %.100s", dir,
			state_dir);
		return err;
	}
	snprintf(base, sizeof(base), "%.350s/%s", dir, k.version);
	snprintf(vmlinuz, sizeof(vmlinuz), "%.490s/vmlinuz", base);
	snprintf(mods, sizeof(mods), "%.490s/mods", base);
	snprintf(k.vmlinux, sizeof(k.vmlinux), "%.490s/vmlinux", base);
	snprintf(k.initramfs, sizeof(k.initramfs), "%.490s/initramfs", base);
	if (!is_fresh(k.vmlinux, vmlinuz))
		err = make_vmlinux(vmlinuz, k.vmlinux);
	if (err != 0) {
		snprintf(error, VM_ERROR_MAX, "%.150s cannot be unpacked: %s", vmlinuz, strerror(-err));
		return err;
	}
	if (!is_fresh(k.initramfs, init_path) || !is_fresh(k.initramfs, mods))
		err = vm_initramfs_write(k.initramfs, init_path, mods);
	if (err != 0) {
		snprintf(error, VM_ERROR_MAX, "the guest's first file system cannot be made from %.100s: %s", init_path,
			strerror(-err));
		return err;
	}
	*ret = k;
	return 0;
}
