/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_CACHE_H
#define IMAGE_CACHE_H

#include "image/prepare.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * The person's own store of prepared images: DIR/ID.erofs and DIR/ID.json (what it is: sources, configuration, SHA-256
 * of the file), ID the SHA-256 of the image's configuration, which names the content of its layers. DIR is
 * $SEKISHO_IMAGES, else sekisho/images in $XDG_CACHE_HOME or ~/.cache. A file whose size, times or inode are not those
 * it was verified with is verified again before it is used, and removed when it is another.
 */
enum { IMAGE_ID_LEN = 64 };
#define IMAGE_CACHE_MAX (16ULL << 30) /* bytes kept after a preparation */

struct image {
	char id[IMAGE_ID_LEN + 1];
	json_t *config; /* image/config.h; owned */
	uint64_t size;	/* bytes on disk */
	int64_t used_ms, made_ms;
	json_t *sources; /* array of strings; owned */
};

void image_fini(struct image *i);

/* The prepared image of a source whose file has not changed since, or of an id's first 6 digits or more. 1; 0: there is
 * none; negative errno with a sentence in `error` (IMAGE_ERROR_MAX). It counts as used now. */
int image_find(const char *source, struct image *ret, char *error) __attribute__((warn_unused_result));
/* Fetches and unpacks it in any case; then removes what was not used for longest until `keep` bytes are left. */
int image_prepare(const char *source, const struct image_limits *limits, uint64_t keep, struct image *ret, char *error)
	__attribute__((warn_unused_result));
/* For reading; -EBADMSG: it was not what had been prepared and has been removed. */
int image_open(const struct image *i, int *ret_fd, char *error) __attribute__((warn_unused_result));
/* All, the last used first; the caller frees the array and what is in it. */
int image_list(struct image **ret, size_t *ret_n, char *error) __attribute__((warn_unused_result));
int image_remove(const char *id, char *error) __attribute__((warn_unused_result));
/* What was not used for longest, until `keep` bytes are left, and what interrupted preparations left. `spare` stays. */
int image_prune(uint64_t keep, const char *spare, unsigned *ret_n, char *error) __attribute__((warn_unused_result));

/*
 * What an application writes over an image, kept: APP/ID.ext4 below $SEKISHO_LAYERS, else sekisho/layers in
 * $XDG_STATE_HOME or ~/.local/state. A sparse file; locked by whoever holds its descriptor, so that it is never mounted
 * twice: -EBUSY.
 */
enum { IMAGE_LAYER_GIB = 16 };
int layer_open(const char *app, const char *id, int *ret_fd, char *error) __attribute__((warn_unused_result));
/* The directory that is kept as an application's home, made where it is not: APP below $SEKISHO_HOMES, else
 * sekisho/homes in the same places. */
int home_open(const char *app, char ret[PATH_MAX], char *error) __attribute__((warn_unused_result));
/* Removes all of an application's. *ret_n: how many there were; -EBUSY: one is in use. */
int layer_remove(const char *app, unsigned *ret_n, char *error) __attribute__((warn_unused_result));

#endif
