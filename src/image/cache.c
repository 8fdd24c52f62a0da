/* SPDX-License-Identifier: Apache-2.0 */
#include "image/cache.h"

#include "image/config.h"
#include "image/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD_MAX = 4 << 20, MARK_LEN = 128, ID_SHORT = 6, SOURCES_MAX = 64 };
#define PREPARING ".prepare."

void image_fini(struct image *i)
{
	json_decref(i->config);
	json_decref(i->sources);
	*i = (struct image){ 0 };
}

static int64_t ms_of(const struct timespec *t)
{
	return (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

/* By which a file is seen to be the one it was. */
static void mark_of(const struct stat *st, char ret[MARK_LEN])
{
	snprintf(ret, MARK_LEN, "%llu:%llu:%lld:%lld.%09ld:%lld.%09ld", (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
		st->st_mtim.tv_nsec, (long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

/* Of a source's file; "" for a registry, which is asked again only by a preparation. */
static int source_mark(const struct image_source *s, char ret[MARK_LEN])
{
	char path[PATH_MAX];
	struct stat st;
	ret[0] = 0;
	if (s->registry)
		return 0;
	if (snprintf(path, sizeof(path), "%s%s", s->path, s->dir ? "/index.json" : "") >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (stat(path, &st) != 0)
		return -errno;
	mark_of(&st, ret);
	return 0;
}

/* --- records */

static json_t *record_read(const char *dir, const char *id)
{
	char path[PATH_MAX], *text;
	size_t len;
	json_error_t e;
	snprintf(path, sizeof(path), "%.3000s/%.80s.json", dir, id);
	if (place_read(path, RECORD_MAX, &text, &len) != 0)
		return NULL;
	json_t *r = json_loadb(text, len, 0, &e);
	free(text);
	return r;
}

static int record_write(const char *dir, const char *id, const json_t *record, char *error)
{
	char path[PATH_MAX], temp[PATH_MAX];
	snprintf(path, sizeof(path), "%.3000s/%.80s.json", dir, id);
	snprintf(temp, sizeof(temp), "%.3000s/" PREPARING "%.80s.json.%d", dir, id, (int)getpid());
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool ok = fd >= 0 && json_dumpfd(record, fd, JSON_COMPACT) == 0 && fsync(fd) == 0;
	int err = ok ? 0 : errno == 0 ? -EIO : -errno;
	if (fd >= 0)
		close(fd);
	if (ok && rename(temp, path) == 0)
		return 0;
	err = err == 0 ? -errno : err;
	unlink(temp);
	return place_error(path, err, error);
}

static bool is_id(const char *s)
{
	return strspn(s, "0123456789abcdef") == IMAGE_ID_LEN && s[IMAGE_ID_LEN] == 0;
}

/* False: it is none of ours, or not whole. */
static bool image_load(const char *dir, const char *id, struct image *ret)
{
	char path[PATH_MAX];
	struct stat st, record;
	json_t *r = record_read(dir, id), *v;
	size_t i;
	*ret = (struct image){ .config = json_incref(json_object_get(r, "config")), .sources = json_array() };
	snprintf(ret->id, sizeof(ret->id), "%s", id);
	json_array_foreach(json_object_get(r, "sources"), i, v)
	{
		if (json_is_string(json_object_get(v, "source")))
			json_array_append(ret->sources, json_object_get(v, "source"));
	}
	json_decref(r);
	snprintf(path, sizeof(path), "%.3000s/%s.erofs", dir, id);
	bool ok = json_is_object(ret->config) && stat(path, &st) == 0;
	snprintf(path, sizeof(path), "%.3000s/%s.json", dir, id);
	ok = ok && stat(path, &record) == 0;
	if (!ok) {
		image_fini(ret);
		return false;
	}
	ret->size = (uint64_t)st.st_blocks * 512;
	ret->made_ms = ms_of(&st.st_mtim);
	ret->used_ms = ms_of(&record.st_mtim);
	return true;
}

static int by_use(const void *a, const void *b)
{
	int64_t x = ((const struct image *)a)->used_ms, y = ((const struct image *)b)->used_ms;
	return x < y ? 1 : x > y ? -1 : 0;
}

static void list_free(struct image *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		image_fini(&list[i]);
	free(list);
}

static int list_dir(const char *dir, struct image **ret, size_t *ret_n, char *error)
{
	DIR *d = opendir(dir);
	struct image *list = NULL;
	size_t n = 0;
	if (d == NULL)
		return place_error(dir, -errno, error);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char id[IMAGE_ID_LEN + 8];
		struct image one;
		snprintf(id, sizeof(id), "%.70s", e->d_name);
		char *dot = strrchr(id, '.');
		if (dot == NULL || strcmp(dot, ".json") != 0)
			continue;
		*dot = 0;
		if (!is_id(id) || !image_load(dir, id, &one))
			continue;
		struct image *more = realloc(list, (n + 1) * sizeof(*list));
		if (more == NULL) {
			image_fini(&one);
			break;
		}
		list = more;
		list[n++] = one;
	}
	closedir(d);
	if (n > 0)
		qsort(list, n, sizeof(*list), by_use);
	*ret = list;
	*ret_n = n;
	return 0;
}

int image_list(struct image **ret, size_t *ret_n, char *error)
{
	char dir[PATH_MAX];
	int err = place_images(dir, error);
	return err != 0 ? err : list_dir(dir, ret, ret_n, error);
}

/* --- finding */

/* The record says that this source, as it is now, is the image. */
static bool record_has(const char *dir, const char *id, const char *source, const char *mark)
{
	json_t *r = record_read(dir, id), *v;
	size_t i;
	bool found = false;
	json_array_foreach(json_object_get(r, "sources"), i, v)
	{
		const char *s = json_string_value(json_object_get(v, "source"));
		const char *m = json_string_value(json_object_get(v, "mark"));
		found = found || (s != NULL && m != NULL && strcmp(s, source) == 0 && strcmp(m, mark) == 0);
	}
	json_decref(r);
	return found;
}

static bool is_prefix(const char *s)
{
	size_t len = strlen(s);
	return len >= ID_SHORT && len <= IMAGE_ID_LEN && strspn(s, "0123456789abcdef") == len;
}

static int parse(const char *source, struct image_source *s, char name[PATH_MAX + 600], char mark[MARK_LEN],
	char *error)
{
	char cwd[PATH_MAX];
	if (getcwd(cwd, sizeof(cwd)) == NULL)
		cwd[0] = 0;
	if (!image_source_parse(source, cwd, s, error, IMAGE_ERROR_MAX))
		return -EINVAL;
	image_source_print(s, name, PATH_MAX + 600);
	int err = source_mark(s, mark);
	return err == 0 ? 0 : place_error(s->path, err, error);
}

static void touch(const char *dir, const char *id)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%.3000s/%.80s.json", dir, id);
	/* An image that cannot be marked as used is only removed earlier. */
	(void)!utimensat(AT_FDCWD, path, NULL, 0);
}

int image_find(const char *source, struct image *ret, char *error)
{
	char dir[PATH_MAX], name[PATH_MAX + 600], mark[MARK_LEN];
	struct image_source s;
	struct image *list;
	size_t n, found = SIZE_MAX;
	bool prefix = is_prefix(source);
	int err = prefix ? 0 : parse(source, &s, name, mark, error);
	if (err == 0)
		err = place_images(dir, error);
	if (err == 0)
		err = list_dir(dir, &list, &n, error);
	if (err != 0)
		return err;
	for (size_t i = 0; i < n && found == SIZE_MAX; i++) {
		if (prefix ? strncmp(list[i].id, source, strlen(source)) == 0 : record_has(dir, list[i].id, name, mark))
			found = i;
	}
	if (found != SIZE_MAX) {
		*ret = list[found];
		list[found] = (struct image){ 0 };
		touch(dir, ret->id);
	} else if (prefix) {
		snprintf(error, IMAGE_ERROR_MAX, "there is no prepared image %s (sekisho image ls)", source);
		err = -ENOENT;
	}
	list_free(list, n);
	return err != 0 ? err : found != SIZE_MAX;
}

/* --- using */

int image_open(const struct image *i, int *ret_fd, char *error)
{
	char dir[PATH_MAX], path[PATH_MAX], mark[MARK_LEN], sum[IMAGE_ID_LEN + 1] = "";
	struct stat st;
	int err = place_images(dir, error);
	if (err != 0)
		return err;
	snprintf(path, sizeof(path), "%.3000s/%s.erofs", dir, i->id);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) != 0) {
		err = place_error(path, -errno, error);
		if (fd >= 0)
			close(fd);
		return err;
	}
	json_t *r = record_read(dir, i->id);
	const char *was = json_string_value(json_object_get(r, "mark"));
	const char *wanted = json_string_value(json_object_get(r, "sha256"));
	mark_of(&st, mark);
	bool known = was != NULL && strcmp(was, mark) == 0;
	if (!known)
		err = place_sum(fd, sum);
	if (err == 0 && !known && (wanted == NULL || strcmp(sum, wanted) != 0)) {
		snprintf(error, IMAGE_ERROR_MAX,
			"%.1000s is not the file that was prepared; it has been removed: prepare it again", path);
		char other[IMAGE_ERROR_MAX];
		if (image_remove(i->id, other) != 0)
			snprintf(error, IMAGE_ERROR_MAX, "%.700s; and cannot be removed: %.600s", path, other);
		err = -EBADMSG;
	} else if (err == 0 && !known) {
		json_object_set_new(r, "mark", json_string(mark));
		err = record_write(dir, i->id, r, error);
	}
	json_decref(r);
	if (err == 0)
		*ret_fd = fd;
	else
		close(fd);
	return err;
}

int image_remove(const char *id, char *error)
{
	char dir[PATH_MAX], path[PATH_MAX];
	int err = place_images(dir, error);
	if (err != 0)
		return err;
	/* The record first: an image without one is nobody's. */
	snprintf(path, sizeof(path), "%.3000s/%.80s.json", dir, id);
	if (unlink(path) != 0 && errno != ENOENT)
		return place_error(path, -errno, error);
	snprintf(path, sizeof(path), "%.3000s/%.80s.erofs", dir, id);
	return unlink(path) == 0 || errno == ENOENT ? 0 : place_error(path, -errno, error);
}

/* --- preparing */

static json_t *sources_with(const json_t *old, const char *source, const char *mark)
{
	json_t *ret = json_array();
	json_array_append_new(ret, json_pack("{s:s, s:s}", "source", source, "mark", mark));
	for (size_t i = 0; i < json_array_size(old); i++) {
		json_t *v = json_array_get(old, i);
		const char *s = json_string_value(json_object_get(v, "source"));
		if (s != NULL && strcmp(s, source) != 0 && json_array_size(ret) < SOURCES_MAX)
			json_array_append(ret, v);
	}
	return ret;
}

/* A source means one image at a time. */
static void forget_source(const char *dir, const char *id, const char *source)
{
	struct image *list;
	size_t n;
	char error[IMAGE_ERROR_MAX];
	if (list_dir(dir, &list, &n, error) != 0)
		return;
	for (size_t k = 0; k < n; k++) {
		json_t *r = strcmp(list[k].id, id) == 0 ? NULL : record_read(dir, list[k].id);
		json_t *of = json_object_get(r, "sources");
		bool had = false;
		for (size_t i = json_array_size(of); i-- > 0;) {
			const char *s = json_string_value(json_object_get(json_array_get(of, i), "source"));
			if (s != NULL && strcmp(s, source) == 0 && json_array_remove(of, i) == 0)
				had = true;
		}
		if (had)
			(void)!record_write(dir, list[k].id, r, error);
		json_decref(r);
	}
	list_free(list, n);
}

/* What was unpacked into `temp` becomes an image of the cache. */
static int take_in(const char *dir, const char *temp, const char *source, const char *mark, char id[IMAGE_ID_LEN + 1],
	char *error)
{
	char path[PATH_MAX], to[PATH_MAX], own[MARK_LEN], sum[IMAGE_ID_LEN + 1], *text;
	struct stat st;
	size_t len;
	snprintf(path, sizeof(path), "%.3000s/config.json", temp);
	int err = place_read(path, IMAGE_CONFIG_MAX, &text, &len);
	if (err != 0)
		return place_error("the image's configuration", err, error);
	json_t *config = image_config_read(text, len, error, IMAGE_ERROR_MAX);
	free(text);
	int fd = config == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	err = config == NULL ? -EBADMSG : fd < 0 ? -errno : place_sum(fd, id);
	if (fd >= 0)
		close(fd);
	snprintf(path, sizeof(path), "%.3000s/image.erofs", temp);
	fd = err == 0 ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (err == 0 && (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || fsync(fd) != 0))
		err = place_error(path, errno == 0 ? -EBADMSG : -errno, error);
	if (err == 0)
		err = place_sum(fd, sum);
	snprintf(to, sizeof(to), "%.3000s/%.80s.erofs", dir, id);
	if (err == 0 && (fchmod(fd, 0400) != 0 || rename(path, to) != 0 || fstat(fd, &st) != 0))
		err = place_error(to, -errno, error);
	if (err == 0) {
		mark_of(&st, own);
		json_t *old = record_read(dir, id);
		json_t *r = json_pack("{s:s, s:s, s:O, s:o}", "sha256", sum, "mark", own, "config", config, "sources",
			sources_with(json_object_get(old, "sources"), source, mark));
		err = record_write(dir, id, r, error);
		json_decref(r);
		json_decref(old);
	}
	if (fd >= 0)
		close(fd);
	json_decref(config);
	return err;
}

int image_prepare(const char *source, const struct image_limits *limits, uint64_t keep, struct image *ret, char *error)
{
	char dir[PATH_MAX], temp[PATH_MAX], name[PATH_MAX + 600], mark[MARK_LEN], id[IMAGE_ID_LEN + 1] = "";
	struct image_source s;
	unsigned pruned;
	int err = parse(source, &s, name, mark, error);
	if (err == 0)
		err = place_images(dir, error);
	if (err != 0)
		return err;
	snprintf(temp, sizeof(temp), "%.3000s/" PREPARING "XXXXXX", dir);
	if (mkdtemp(temp) == NULL)
		return place_error(temp, -errno, error);
	/* Held while we live: who cleans up sees by it that this is no leftover. */
	int lock = open(temp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		err = place_error(temp, -errno, error);
	if (err == 0)
		err = image_unpack(&s, limits, temp, error);
	if (err == 0)
		err = take_in(dir, temp, name, mark, id, error);
	place_remove(temp);
	if (lock >= 0)
		close(lock);
	if (err != 0)
		return err;
	forget_source(dir, id, name);
	err = image_prune(keep, id, &pruned, error);
	if (err == 0 && !image_load(dir, id, ret)) {
		snprintf(error, IMAGE_ERROR_MAX, "the image vanished while it was prepared");
		err = -EAGAIN;
	}
	return err;
}

/* What a preparation left that was killed. */
static void prune_leftovers(const char *dir)
{
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char path[PATH_MAX];
		if (strncmp(e->d_name, PREPARING, strlen(PREPARING)) != 0)
			continue;
		snprintf(path, sizeof(path), "%.3000s/%.255s", dir, e->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			place_remove(path);
		if (fd >= 0)
			close(fd);
	}
	if (d != NULL)
		closedir(d);
}

int image_prune(uint64_t keep, const char *spare, unsigned *ret_n, char *error)
{
	char dir[PATH_MAX];
	struct image *list;
	size_t n;
	uint64_t total = 0;
	unsigned removed = 0;
	int err = place_images(dir, error);
	if (err == 0)
		err = list_dir(dir, &list, &n, error);
	if (err != 0)
		return err;
	prune_leftovers(dir);
	for (size_t i = 0; err == 0 && i < n; i++) {
		total += list[i].size;
		if (total <= keep || (spare != NULL && strcmp(list[i].id, spare) == 0))
			continue;
		err = image_remove(list[i].id, error);
		total -= list[i].size;
		removed += err == 0;
	}
	list_free(list, n);
	*ret_n = removed;
	return err;
}
