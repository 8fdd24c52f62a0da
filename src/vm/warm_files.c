/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATE_DIR/warm: for each shape SHAPE.machine, and SHAPE.key, which says for what it was made and stands there only
 * when it is whole. Not over a restart of the host: other microcode, other processors.
 */
#include "base/fd.h"
#include "vm/file.h"
#include "vm/warm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_MAX = 2048, BLANK_BYTES = 1 << 20, SUFFIX = 8 };
#define QEMU "/usr/bin/qemu-system-x86_64"

bool vm_warm_may(const struct vm_spec *spec)
{
	return spec->vmm != VM_VMM_FIRECRACKER && spec->root.kind == VM_ROOT_IMAGE && spec->shares.n == 0;
}

static int place(const char *state_dir, const struct vm_spec *s, const char *what, char ret[VM_PATH_MAX])
{
	int n = snprintf(ret, VM_PATH_MAX, "%s/warm/%s-%u-%u%s%s.%s", state_dir,
		s->accel == VM_ACCEL_KVM ? "kvm" : "tcg", s->memory_mib, s->cpus, s->root.layer_fd >= 0 ? "-layer" : "",
		s->tso ? "-tso" : "", what);
	return n < VM_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int stamp(const char *path, char *ret, size_t cap)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return -errno;
	snprintf(ret, cap, "%s %lld %lld.%09ld\n", path, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec);
	return 0;
}

/* Everything but the shape that a stored machine depends on. */
static int key_of(const struct vm_spec *s, char ret[KEY_MAX])
{
	const char *const files[] = { QEMU, s->kernel->vmlinux, s->kernel->initramfs };
	uint8_t *boot;
	size_t len;
	int err = file_read("/proc/sys/kernel/random/boot_id", 64, &boot, &len);
	if (err != 0)
		return err;
	int at = snprintf(ret, KEY_MAX, "1 %.*s", (int)len, (const char *)boot);
	free(boot);
	for (size_t i = 0; err == 0 && i < sizeof(files) / sizeof(*files); i++) {
		err = stamp(files[i], ret + at, KEY_MAX - (size_t)at);
		at += (int)strlen(ret + at);
	}
	return err;
}

int vm_warm_reopen(const char *state_dir, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX];
	int err = place(state_dir, spec, "machine", path);
	if (err != 0)
		return err;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

int vm_warm_open(const char *state_dir, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX], key[KEY_MAX];
	uint8_t *is;
	size_t len;
	int err = place(state_dir, spec, "key", path);
	if (err == 0)
		err = file_read(path, KEY_MAX, &is, &len);
	if (err != 0)
		return err == -ENOENT ? err : -ENOENT;
	err = key_of(spec, key);
	if (err == 0 && (len != strlen(key) || memcmp(is, key, len) != 0))
		err = -ESTALE;
	free(is);
	int fd = err == 0 ? vm_warm_reopen(state_dir, spec) : -1;
	return fd >= 0 ? fd : -ENOENT;
}

/* How many there are, and the shape of the oldest. */
static unsigned oldest_of(DIR *d, char ret[NAME_MAX + 1])
{
	time_t when = 0;
	unsigned n = 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		struct stat st;
		size_t len = strlen(e->d_name);
		if (len <= SUFFIX || strcmp(e->d_name + len - SUFFIX, ".machine") != 0 ||
			fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
			continue;
		if (n++ == 0 || st.st_mtim.tv_sec < when) {
			snprintf(ret, NAME_MAX + 1, "%.*s", (int)(len - SUFFIX), e->d_name);
			when = st.st_mtim.tv_sec;
		}
	}
	return n;
}

static bool remove_shape(DIR *d, const char *shape)
{
	char name[NAME_MAX + SUFFIX + 1];
	snprintf(name, sizeof(name), "%s.key", shape);
	(void)unlinkat(dirfd(d), name, 0);
	snprintf(name, sizeof(name), "%s.machine", shape);
	return unlinkat(dirfd(d), name, 0) == 0;
}

/* The new one is not there yet. */
static void make_room(const char *dir)
{
	char shape[NAME_MAX + 1];
	DIR *d = opendir(dir);
	while (d != NULL && oldest_of(d, shape) >= VM_WARM_SHAPES && remove_shape(d, shape))
		rewinddir(d);
	if (d != NULL)
		closedir(d);
}

int vm_warm_create(const char *state_dir, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX];
	vm_warm_forget(state_dir, spec);
	if (snprintf(path, sizeof(path), "%s/warm", state_dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return -errno;
	make_room(path);
	int err = place(state_dir, spec, "machine", path);
	int fd = err != 0 ? err : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return fd >= 0 || err != 0 ? fd : -errno;
}

int vm_warm_keep(const char *state_dir, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX], key[KEY_MAX];
	int err = place(state_dir, spec, "key", path);
	if (err == 0)
		err = key_of(spec, key);
	return err == 0 ? file_write(path, key, strlen(key)) : err;
}

void vm_warm_forget(const char *state_dir, const struct vm_spec *spec)
{
	char path[VM_PATH_MAX];
	if (place(state_dir, spec, "key", path) == 0)
		unlink(path);
	if (place(state_dir, spec, "machine", path) == 0)
		unlink(path);
}

/* Opened as a disk of an application is: the VMM compares. */
static int blank_disk(int mode)
{
	char path[64];
	int fd = memfd_create("blank", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int ret = ftruncate(fd, BLANK_BYTES) == 0 ? open(path, mode | O_CLOEXEC) : -1;
	int err = ret >= 0 ? ret : -errno;
	close(fd);
	return err;
}

int vm_warm_blank(const struct vm_spec *spec, struct vm_spec *ret)
{
	*ret = *spec;
	ret->tap_fd = ret->resume_fd = -1;
	ret->blind_nic = true;
	ret->root.image_fd = blank_disk(O_RDONLY);
	if (ret->root.image_fd < 0)
		return ret->root.image_fd;
	if (spec->root.layer_fd < 0)
		return 0;
	ret->root.layer_fd = blank_disk(O_RDWR);
	if (ret->root.layer_fd >= 0)
		return 0;
	close(ret->root.image_fd);
	return ret->root.layer_fd;
}
