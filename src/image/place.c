/* SPDX-License-Identifier: Apache-2.0 */
#include "image/place.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int place_error(const char *path, int err, char *error)
{
	snprintf(error, IMAGE_ERROR_MAX, "%.1000s: %s", path, strerror(-err));
	return err;
}

int place_make(const char *path, char *error)
{
	char p[PATH_MAX];
	snprintf(p, sizeof(p), "%s", path);
	for (char *s = p + 1;; s++) {
		if (*s != '/' && *s != 0)
			continue;
		bool last = *s == 0;
		*s = 0;
		if (mkdir(p, 0700) != 0 && errno != EEXIST)
			return place_error(p, -errno, error);
		if (last)
			return 0;
		*s = '/';
	}
}

static int place(const char *own, const char *xdg, const char *below_home, const char *name, char ret[PATH_MAX],
	char *error)
{
	const char *dir = getenv(own), *base = getenv(xdg), *home = getenv("HOME");
	int n = 0;
	if (dir != NULL && dir[0] == '/')
		n = snprintf(ret, PATH_MAX, "%s", dir);
	else if (base != NULL && base[0] == '/')
		n = snprintf(ret, PATH_MAX, "%s/sekisho/%s", base, name);
	else if (home != NULL && home[0] == '/')
		n = snprintf(ret, PATH_MAX, "%s/%s/sekisho/%s", home, below_home, name);
	/* Names are put behind it. */
	if (n <= 0 || n >= PATH_MAX / 2) {
		snprintf(error, IMAGE_ERROR_MAX, "there is no place for %s: HOME and %s say none", name, xdg);
		return -ENOENT;
	}
	return place_make(ret, error);
}

int place_images(char ret[PATH_MAX], char *error)
{
	return place("SEKISHO_IMAGES", "XDG_CACHE_HOME", ".cache", "images", ret, error);
}

int place_layers(char ret[PATH_MAX], char *error)
{
	return place("SEKISHO_LAYERS", "XDG_STATE_HOME", ".local/state", "layers", ret, error);
}

int place_homes(char ret[PATH_MAX], char *error)
{
	return place("SEKISHO_HOMES", "XDG_STATE_HOME", ".local/state", "homes", ret, error);
}

int place_sum(int fd, char ret[IMAGE_ID_LEN + 1])
{
	enum { CHUNK = 1 << 20 };
	unsigned char sum[EVP_MAX_MD_SIZE];
	char *buf = malloc(CHUNK);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int err = buf == NULL || md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ? -ENOMEM : 0;
	off_t at = 0;
	for (ssize_t n = 1; err == 0 && n > 0; at += n) {
		n = pread(fd, buf, CHUNK, at);
		if (n < 0)
			err = -errno;
		else if (EVP_DigestUpdate(md, buf, (size_t)n) != 1)
			err = -EIO;
	}
	if (err == 0 && EVP_DigestFinal_ex(md, sum, NULL) != 1)
		err = -EIO;
	for (unsigned i = 0; err == 0 && i < IMAGE_ID_LEN / 2; i++)
		snprintf(ret + 2 * i, 3, "%02x", sum[i]);
	EVP_MD_CTX_free(md);
	free(buf);
	return err;
}

int place_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0)
		return -errno;
	int err = fstat(fd, &st) != 0 ? -errno : !S_ISREG(st.st_mode) || st.st_size > (off_t)max ? -EFBIG : 0;
	char *text = err == 0 ? malloc((size_t)st.st_size + 1) : NULL;
	ssize_t n = text == NULL ? -1 : pread(fd, text, (size_t)st.st_size, 0);
	if (err == 0 && n != st.st_size)
		err = text == NULL ? -ENOMEM : -EIO;
	close(fd);
	if (err != 0) {
		free(text);
		return err;
	}
	text[n] = 0;
	*ret = text;
	*ret_len = (size_t)n;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)!remove(path);
	return 0;
}

void place_remove(const char *path)
{
	enum { OPEN_DIRS = 16 };
	nftw(path, remove_one, OPEN_DIRS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
