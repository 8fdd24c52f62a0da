/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SHARE_H
#define BASE_SHARE_H

#include <stdbool.h>

/* A person's directories that are lent to a guest, by name. Guards against a mistake: whoever may write a directory may
 * lend it. Pure. */
enum { SHARE_PATH_MAX = 255 };

/* Below such a directory: what other programs of the person run later. NULL-ended. */
extern const char *const share_later[];

/* NULL: it may be lent; else why not, static, to stand behind the path. `path` is as the kernel names it, without
 * symbolic links; `home` that of its owner, "" when he has none. kept: it is where a home kept for an application lies,
 * of which the names hidden in `home` are no reason against it. */
const char *share_refused(const char *path, const char *home, bool kept) __attribute__((warn_unused_result));
/* `path` is `dir` or below it. */
bool share_below(const char *path, const char *dir);

#endif
