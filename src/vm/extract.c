/* SPDX-License-Identifier: Apache-2.0 */
/* The ELF kernel out of a bzImage. */
#include "base/rd.h"
#include "vm/kernel.h"

#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Documentation/arch/x86/boot.rst: little-endian fields of the set-up header. */
enum {
	SETUP_SECTS = 0x1f1,
	HEADER_MAGIC = 0x202,
	PAYLOAD_OFFSET = 0x248,
	PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x250,
	SECTOR = 512
};
enum { KERNEL_MAX = 256 << 20, LZ4_BLOCK_MAX = 8 << 20, LZ4_MIN_MATCH = 4 };

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* --- LZ4: github.com/lz4/lz4 doc/lz4_Block_format.md, lz4_Frame_format.md "Legacy frame"
 * ------------------------------------------ */

struct out {
	uint8_t *p;
	size_t len, cap;
};

static bool out_reserve(struct out *o, size_t n, size_t max)
{
	if (n > max - o->len)
		return false;
	if (o->len + n <= o->cap)
		return true;
	size_t cap = o->cap * 2 > o->len + n ? o->cap * 2 : o->len + n;
	uint8_t *p = realloc(o->p, cap);
	if (p == NULL)
		return false;
	o->p = p;
	o->cap = cap;
	return true;
}

/* A length of four bits, continued by bytes while they are 255. */
static size_t lz4_length(struct rd *r, size_t first)
{
	size_t len = first;
	for (uint8_t more = first == 15 ? 255 : 0; more == 255 && rd_ok(r) && len < KERNEL_MAX;) {
		more = rd_u8(r);
		len += more;
	}
	return len;
}

static bool lz4_sequence(struct rd *r, struct out *o, size_t block_start, size_t block_max)
{
	uint8_t token = rd_u8(r);
	size_t literals = lz4_length(r, token >> 4);
	const uint8_t *src = rd_bytes(r, literals);
	if (src == NULL || !out_reserve(o, literals, block_max))
		return false;
	memcpy(o->p + o->len, src, literals);
	o->len += literals;
	/* The last sequence of a block has no match. */
	if (rd_left(r) == 0)
		return true;
	size_t back = rd_u8(r);
	back |= (size_t)rd_u8(r) << 8;
	size_t match = lz4_length(r, token & 15) + LZ4_MIN_MATCH;
	if (!rd_ok(r) || back == 0 || back > o->len - block_start || !out_reserve(o, match, block_max))
		return false;
	for (; match > 0; match--, o->len++)
		o->p[o->len] = o->p[o->len - back];
	return true;
}

int vm_lz4_legacy(const uint8_t *in, size_t len, size_t max, uint8_t **ret, size_t *ret_len)
{
	static const uint8_t magic[4] = { 0x02, 0x21, 0x4c, 0x18 };
	struct rd r = rd_init(in, len);
	const uint8_t *m = rd_bytes(&r, sizeof(magic));
	if (m == NULL || memcmp(m, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	struct out o = { 0 };
	bool ok = true;
	while (ok && rd_left(&r) > 0) {
		const uint8_t *n = rd_bytes(&r, 4);
		struct rd block = rd_sub(&r, n == NULL ? len + 1 : le32(n));
		size_t start = o.len, limit = max - start < LZ4_BLOCK_MAX ? max : start + LZ4_BLOCK_MAX;
		ok = rd_ok(&block) && rd_left(&block) > 0;
		while (ok && rd_left(&block) > 0)
			ok = lz4_sequence(&block, &o, start, limit);
	}
	if (!ok || !rd_ok(&r)) {
		free(o.p);
		return -EBADMSG;
	}
	*ret = o.p;
	*ret_len = o.len;
	return 0;
}

/* --- the other compressors, by their programs
 * ------------------------------------------------------------------------------------- */

static int memfd_with(const uint8_t *data, size_t len)
{
	int fd = memfd_create("kernel", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, data + done, len - done);
		if (n <= 0) {
			close(fd);
			return -EIO;
		}
		done += (size_t)n;
	}
	return lseek(fd, 0, SEEK_SET) == 0 ? fd : -EIO;
}

static int run_filter(const char *program, int in, int out)
{
	posix_spawn_file_actions_t a;
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, in, 0);
	posix_spawn_file_actions_adddup2(&a, out, 1);
	char *name = strdup(program), flag[] = "-dc", *argv[] = { name, flag, NULL }, *env[] = { NULL };
	pid_t pid;
	int err = name == NULL ? ENOMEM : posix_spawn(&pid, program, &a, NULL, argv, env);
	posix_spawn_file_actions_destroy(&a);
	free(name);
	/* Its status is not asked: the payload is followed by four bytes (the size) that gzip and zstd complain about.
	 */
	if (err == 0 && waitpid(pid, NULL, 0) < 0)
		err = errno;
	return -err;
}

static int filter(const char *program, const uint8_t *in, size_t len, uint8_t **ret, size_t *ret_len)
{
	int from = memfd_with(in, len), to = memfd_create("vmlinux", MFD_CLOEXEC);
	int err = from < 0 ? from : to < 0 ? -errno : run_filter(program, from, to);
	struct stat st = { 0 };
	if (err == 0 && (fstat(to, &st) != 0 || st.st_size <= 0 || st.st_size > KERNEL_MAX))
		err = -EBADMSG;
	uint8_t *p = err == 0 ? malloc((size_t)st.st_size) : NULL;
	if (err == 0 && (p == NULL || pread(to, p, (size_t)st.st_size, 0) != st.st_size)) {
		free(p);
		err = -ENOMEM;
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	if (err == 0) {
		*ret = p;
		*ret_len = (size_t)st.st_size;
	}
	return err;
}

static int unpack(const uint8_t *p, size_t len, uint8_t **ret, size_t *ret_len)
{
	static const struct {
		uint8_t magic[4];
		uint8_t n;
		const char *program;
	} kinds[] = { { { 0x1f, 0x8b }, 2, "/usr/bin/gzip" }, { { 0xfd, '7', 'z', 'X' }, 4, "/usr/bin/xz" },
		{ { 0x28, 0xb5, 0x2f, 0xfd }, 4, "/usr/bin/zstd" } };
	/* The last four bytes are the size of the result; they are no block of the frame. */
	if (len > 4 && p[0] == 0x02)
		return vm_lz4_legacy(p, len - 4, KERNEL_MAX, ret, ret_len);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (len > 4 && memcmp(p, kinds[i].magic, kinds[i].n) == 0)
			return filter(kinds[i].program, p, len, ret, ret_len);
	}
	return -EBADMSG;
}

int vm_kernel_extract(const uint8_t *image, size_t len, uint8_t **ret, size_t *ret_len)
{
	if (len < HEADER_END || memcmp(image + HEADER_MAGIC, "HdrS", 4) != 0)
		return -EBADMSG;
	struct rd r = rd_init(image, len);
	rd_skip(&r, ((size_t)image[SETUP_SECTS] + 1) * SECTOR);
	rd_skip(&r, le32(image + PAYLOAD_OFFSET));
	size_t n = le32(image + PAYLOAD_LENGTH);
	const uint8_t *payload = rd_bytes(&r, n);
	if (payload == NULL)
		return -EBADMSG;
	uint8_t *elf;
	size_t elf_len;
	int err = unpack(payload, n, &elf, &elf_len);
	if (err != 0)
		return err;
	if (elf_len < 4 || memcmp(elf, "\177ELF", 4) != 0) {
		free(elf);
		return -EBADMSG;
	}
	*ret = elf;
	*ret_len = elf_len;
	return 0;
}
