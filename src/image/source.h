/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_SOURCE_H
#define IMAGE_SOURCE_H

#include <limits.h>
#include <stdbool.h>

/* Where an image comes from, as containers-transports(5) writes it: docker-archive:FILE[:NAME], oci-archive:FILE[:TAG],
 * oci:DIR[:TAG], docker://HOST/NAME[:TAG]. */
struct image_source {
	bool registry, dir;
	char transport[16];
	char path[PATH_MAX]; /* absolute; registry: what follows docker: */
	char tag[512];	     /* "": none */
};

/* A path that is not absolute begins in `cwd`. False, with a sentence, when it is none of them. */
bool image_source_parse(const char *text, const char *cwd, struct image_source *ret, char *error, unsigned cap)
	__attribute__((warn_unused_result));

/* The same text for the same place, "oci:/srv/layout:latest". */
void image_source_print(const struct image_source *s, char *ret, unsigned cap);

#endif
