/* SPDX-License-Identifier: Apache-2.0 */
#include "vm/initramfs.h"

#include "base/rd.h"
#include "vm/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ARCHIVE_MAX = 64 << 20, MODULE_MAX = 8 << 20, INIT_MAX = 16 << 20 };

struct cpio_entry {
	const char *path;
	uint32_t mode, major, minor;
	const void *data;
	size_t len;
};

struct cpio cpio_init(void *buf, size_t cap)
{
	return (struct cpio){ .w = wr_init(buf, cap), .next_ino = 1 };
}

/* Thirteen fields of eight hexadecimal digits behind the magic; name and data each padded to four bytes. */
static void cpio_entry(struct cpio *c, const struct cpio_entry *e)
{
	char header[6 + 13 * 8 + 1];
	size_t name_len = strlen(e->path) + 1;
	if (e->len > UINT32_MAX)
		c->w.err = true;
	snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", c->next_ino++,
		e->mode, 0u, 0u, S_ISDIR(e->mode) ? 2u : 1u, 0u, (unsigned)e->len, 0u, 0u, e->major, e->minor,
		(unsigned)name_len, 0u);
	wr_bytes(&c->w, header, sizeof(header) - 1);
	wr_bytes(&c->w, e->path, name_len);
	wr_pad(&c->w, 0, 4);
	if (e->len > 0)
		wr_bytes(&c->w, e->data, e->len);
	wr_pad(&c->w, 0, 4);
}

void cpio_dir(struct cpio *c, const char *path, uint32_t mode)
{
	cpio_entry(c, &(struct cpio_entry){ .path = path, .mode = S_IFDIR | mode });
}

void cpio_file(struct cpio *c, const char *path, uint32_t mode, const void *data, size_t len)
{
	cpio_entry(c, &(struct cpio_entry){ .path = path, .mode = S_IFREG | mode, .data = data, .len = len });
}

void cpio_chardev(struct cpio *c, const char *path, uint32_t mode, uint32_t major, uint32_t minor)
{
	cpio_entry(c, &(struct cpio_entry){ .path = path, .mode = S_IFCHR | mode, .major = major, .minor = minor });
}

void cpio_end(struct cpio *c)
{
	cpio_entry(c, &(struct cpio_entry){ .path = "TRAILER!!!" });
}

static int add_file(struct cpio *c, const char *name, const char *path, uint32_t mode, size_t max)
{
	uint8_t *data;
	size_t len;
	int err = file_read(path, max, &data, &len);
	if (err != 0)
		return err;
	cpio_file(c, name, mode, data, len);
	free(data);
	return 0;
}

/*
 * Without its signature (Documentation/admin-guide/module-signing.rst: at the end a structure with its length and a
 * line that says so): it came in a signed package, and to check it again takes an emulated guest a tenth of its start.
 */
static size_t unsigned_len(const uint8_t *data, size_t len)
{
	static const char line[] = "~Module signature appended~\n";
	enum { LINE = sizeof(line) - 1, INFO = 12, SIG_LEN_AT = 8 };
	if (len < LINE + INFO || memcmp(data + len - LINE, line, LINE) != 0)
		return len;
	struct rd r = rd_init(data + len - LINE - INFO + SIG_LEN_AT, 4);
	uint32_t sig = rd_u32(&r);
	return sig <= len - LINE - INFO ? len - LINE - INFO - sig : len;
}

static int add_module(struct cpio *c, const char *name, const char *path)
{
	uint8_t *data;
	size_t len;
	int err = file_read(path, MODULE_MAX, &data, &len);
	if (err != 0)
		return err;
	cpio_file(c, name, 0644, data, unsigned_len(data, len));
	free(data);
	return 0;
}

static int add_modules(struct cpio *c, const char *mods_dir)
{
	struct dirent **list;
	int n = scandir(mods_dir, &list, NULL, alphasort), err = 0;
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		size_t len = strlen(list[i]->d_name);
		if (err == 0 && len > 3 && strcmp(list[i]->d_name + len - 3, ".ko") == 0) {
			char name[300], path[1024];
			snprintf(name, sizeof(name), "mods/%s", list[i]->d_name);
			snprintf(path, sizeof(path), "%.700s/%s", mods_dir, list[i]->d_name);
			err = add_module(c, name, path);
		}
		free(list[i]);
	}
	free(list);
	return err;
}

int vm_initramfs_write(const char *out, const char *init_path, const char *mods_dir)
{
	uint8_t *buf = malloc(ARCHIVE_MAX);
	if (buf == NULL)
		return -ENOMEM;
	struct cpio c = cpio_init(buf, ARCHIVE_MAX);
	static const char *const dirs[] = { "dev", "proc", "sys", "mods" };
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		cpio_dir(&c, dirs[i], 0755);
	/* The kernel opens it as the first process's three streams, before anything is mounted. */
	cpio_chardev(&c, "dev/console", 0600, 5, 1);
	int err = add_file(&c, "init", init_path, 0755, INIT_MAX);
	if (err == 0)
		err = add_modules(&c, mods_dir);
	cpio_end(&c);
	if (err == 0)
		err = wr_ok(&c.w) ? file_write(out, c.w.buf, c.w.len) : -EFBIG;
	free(buf);
	return err;
}
