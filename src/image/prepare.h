/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_PREPARE_H
#define IMAGE_PREPARE_H

#include "image/source.h"

#include <stdint.h>

/* How much of the computer unpacking may take; 0: half of its memory, a million files. */
struct image_limits {
	uint64_t space, n_files;
};

enum { IMAGE_ERROR_MAX = 1400 };

/*
 * Makes `dir`/image.erofs and `dir`/config.json (the configuration as the image has it, whose SHA-256 is the image's
 * id) from a source: skopeo fetches, which verifies every part, umoci unpacks, mkfs.erofs packs, all in a box (box.h).
 * `dir` is absolute, the caller's and empty. Only a registry is reached over the network, by skopeo alone. 0 or
 * negative errno with a sentence in `error` (IMAGE_ERROR_MAX), hostile.
 */
int image_unpack(const struct image_source *s, const struct image_limits *limits, const char *dir, char *error)
	__attribute__((warn_unused_result));

#endif
