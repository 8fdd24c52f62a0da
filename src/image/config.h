/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_CONFIG_H
#define IMAGE_CONFIG_H

#include <jansson.h>
#include <stddef.h>

/*
 * What an image says of how it is to be run: OCI image-spec v1.0.2 config.md. Hostile bytes become an object with the
 * members entrypoint, cmd, env (arrays of strings), user, cwd (strings), all there and within the limits below.
 */
enum { IMAGE_CONFIG_MAX = 1 << 20, IMAGE_WORDS_MAX = 4096, IMAGE_WORDS_BYTES = 48000, IMAGE_USER_MAX = 63 };
enum { IMAGE_CWD_MAX = 255 };

/* The caller's reference; NULL with a sentence in `error`. */
json_t *image_config_read(const char *text, size_t len, char *error, unsigned cap);

/* The command: `given`, else the image's own, behind the entry point. A new array; empty when there is nothing. */
json_t *image_config_command(const json_t *config, const json_t *given);
/* The environment: the image's where `given` ("NAME=VALUE" strings) does not name it. A new array. */
json_t *image_config_env(const json_t *config, const json_t *given);

#endif
