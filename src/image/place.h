/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_PLACE_H
#define IMAGE_PLACE_H

#include "image/cache.h"

#include <stddef.h>

/* Directories of the caller's own, made with all that leads to them, 0700. 0 or negative errno with a sentence. */
int place_images(char ret[PATH_MAX], char *error) __attribute__((warn_unused_result));
int place_layers(char ret[PATH_MAX], char *error) __attribute__((warn_unused_result));
int place_homes(char ret[PATH_MAX], char *error) __attribute__((warn_unused_result));
int place_make(const char *path, char *error) __attribute__((warn_unused_result));
/* The SHA-256 of a file, in hex. */
int place_sum(int fd, char ret[IMAGE_ID_LEN + 1]) __attribute__((warn_unused_result));
/* The whole file, malloc'ed and NUL-ended; -EFBIG above `max`. */
int place_read(const char *path, size_t max, char **ret, size_t *ret_len) __attribute__((warn_unused_result));
/* With everything below it. */
void place_remove(const char *path);
/* errno as a sentence about `path`; returns -errno. */
int place_error(const char *path, int err, char *error);

#endif
