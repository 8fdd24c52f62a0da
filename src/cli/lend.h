/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_LEND_H
#define CLI_LEND_H

#include "api/fds.h"

#include <jansson.h>
#include <stdbool.h>

/* What `run` lends to an application: `--rw DIR`, `--home`. */
enum { LEND_MAX = 6, LEND_PATH = 4096 };

struct lend {
	unsigned n; /* the home is the last when there is one */
	struct {
		int fd; /* O_PATH */
		char path[LEND_PATH];
	} dir[LEND_MAX];
	bool home, home_kept;
	json_t *seen; /* what share_later named before the run */
};

/* A directory, symbolic links followed. False: why not was said. */
bool lend_dir(struct lend *l, const char *dir);
/* "none", "app" (a place of the caller's for this application; when ephemeral as none) or a directory; after every
 * lend_dir(). */
bool lend_home(struct lend *l, const char *home, const char *app, bool ephemeral);
/* Members of Run, and the descriptors behind those of the root. False: they are too many, which was said. */
bool lend_give(const struct lend *l, json_t *params, struct api_fds *give);
/* Looks at what other programs would run later, and tells what has changed since. */
void lend_look(struct lend *l);
void lend_tell(const struct lend *l);
void lend_fini(struct lend *l);

#endif
