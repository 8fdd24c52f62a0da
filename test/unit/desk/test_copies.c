/* SPDX-License-Identifier: Apache-2.0 */
/* The copies of lists: what was written is read, what was damaged is not, what is wanted no more goes. */
#include "desk/copies.h"

#include "policy/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { HEAD_LEN = 1024 };

static const char source[] = "https://lists.example.org/hosts";
static size_t len;

static void *digest_new(void)
{
	static const char *const names[] = { "a.example.org", "*.b.example.org", "192.0.2.0/24" };
	const uint64_t key[2] = { 1, 2 };
	struct list_builder *b = list_builder_new(key);
	assert_non_null(b);
	for (unsigned i = 0; i < 3; i++) {
		struct policy_peer p;
		struct policy_diag d;
		assert_int_equal(policy_parse_peer(names[i], strlen(names[i]), &p, &d), 0);
		assert_int_equal(list_builder_add(b, &p), 0);
	}
	assert_int_equal(list_builder_finish(b, &len), 0);
	void *bytes = aligned_alloc(8, (len + 7) / 8 * 8);
	assert_non_null(bytes);
	assert_int_equal(list_builder_write(b, bytes, len), 0);
	list_builder_free(b);
	return bytes;
}

static void write_copy(const char *id)
{
	struct list_copy c = { .fetched_ms = 1000, .n_names = 2, .n_nets = 1 };
	snprintf(c.source, sizeof(c.source), "%s", source);
	snprintf(c.tags.etag, sizeof(c.tags.etag), "\"tag\"");
	void *bytes = digest_new();
	assert_int_equal(copy_write(id, &c, bytes, len), 0);
	free(bytes);
}

static int read_copy(const char *id, const char *from, struct list_copy *ret)
{
	size_t got = 0;
	int fd = copy_read(id, from, ret, &got);
	if (fd < 0)
		return fd;
	assert_int_equal(got, len);
	close(fd);
	return 0;
}

static void kept(void **state)
{
	(void)state;
	struct list_copy c;
	assert_int_equal(read_copy("ads", source, &c), -ENOENT);
	write_copy("ads");
	assert_int_equal(read_copy("ads", source, &c), 0);
	assert_int_equal(c.fetched_ms, 1000);
	assert_int_equal(c.n_names, 2);
	assert_string_equal(c.tags.etag, "\"tag\"");
	/* Another source's members are another list's. */
	assert_int_equal(read_copy("ads", "https://other.example.org/", &c), -ENOENT);
	assert_int_equal(copy_fetched("ads", 123456789), 0);
	assert_int_equal(read_copy("ads", source, &c), 0);
	assert_int_equal(c.fetched_ms, 123456789);
	assert_int_equal(copy_fetched("none", 1), -ENOENT);
}

/* Each byte in its turn: a copy is read as it was written, but for what the head merely notes, or not at all. */
static void damaged(void **state)
{
	(void)state;
	struct list_copy c;
	write_copy("ads");
	int fd = open("list.ads", O_RDWR | O_CLOEXEC);
	struct stat st;
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	assert_int_equal(st.st_size, (off_t)(HEAD_LEN + len));
	for (off_t at = 0; at < st.st_size; at++) {
		uint8_t was, bad;
		assert_int_equal(pread(fd, &was, 1, at), 1);
		bad = was ^ 0xff;
		assert_int_equal(pwrite(fd, &bad, 1, at), 1);
		int err = read_copy("ads", source, &c);
		assert_true(err == -EBADMSG || (at < HEAD_LEN && (err == 0 || err == -ENOENT)));
		assert_true(err != 0 ||
			    (c.source[sizeof(c.source) - 1] == '\0' && c.tags.etag[sizeof(c.tags.etag) - 1] == '\0'));
		assert_int_equal(pwrite(fd, &was, 1, at), 1);
	}
	for (off_t end = 0; end < st.st_size; end += 97) {
		assert_int_equal(ftruncate(fd, end), 0);
		assert_int_equal(read_copy("ads", source, &c), -EBADMSG);
		write_copy("ads");
		close(fd);
		fd = open("list.ads", O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
	}
	close(fd);
}

static bool is_ads(void *arg, const char *id)
{
	(void)arg;
	return strcmp(id, "ads") == 0;
}

static void tidied(void **state)
{
	(void)state;
	struct list_copy c;
	write_copy("ads");
	write_copy("old");
	assert_int_equal(rename("list.old", "new-list.ads"), 0);
	write_copy("old");
	FILE *other = fopen("store.db", "we");
	assert_non_null(other);
	fclose(other);
	copies_tidy(is_ads, NULL);
	assert_int_equal(read_copy("ads", source, &c), 0);
	assert_int_equal(read_copy("old", source, &c), -ENOENT);
	assert_int_equal(access("new-list.ads", F_OK), -1);
	assert_int_equal(access("store.db", F_OK), 0);
}

static int enter(void **state)
{
	static char dir[] = "/tmp/sekisho-copies-XXXXXX";
	*state = mkdtemp(dir);
	return *state == NULL ? -1 : chdir(dir);
}

static int leave(void **state)
{
	static const char *const files[] = { "list.ads", "list.old", "new-list.ads", "store.db" };
	for (unsigned i = 0; i < 4; i++)
		unlink(files[i]);
	return chdir("/") != 0 ? -1 : rmdir(*state);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(kept), cmocka_unit_test(damaged),
		cmocka_unit_test(tidied) };
	return cmocka_run_group_tests(tests, enter, leave);
}
