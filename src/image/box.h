/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IMAGE_BOX_H
#define IMAGE_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Where other people's archives are unpacked: processes of the caller's in user, mount, pid, ipc and uts namespaces of
 * their own, root there and nobody outside. They see /usr and a little of /etc, only to be read; what is bound; and
 * /work, memory of a fixed size for a fixed number of files, which is gone with them. Where the caller has subordinate
 * ids (subuid(5), newuidmap(1)), files of every owner can be made; else all are root's.
 */
struct box_bind {
	const char *from; /* of the caller's; skipped when it is not there */
	const char *to;
	bool writable;
};

struct box {
	const char *dir;  /* an empty directory to mount it on, absolute */
	uint64_t space;	  /* bytes of /work and of the largest file */
	uint64_t n_files; /* in /work */
	struct box_bind binds[16];
	unsigned n_binds;
	bool all_ids; /* set by box_run(): every id of an image has one here */
};

enum { BOX_SAID_MAX = 1024, BOX_TOOL_FAILED = 125 };

/* Runs `inside` as the box's first process; its result, 0..127, is *ret_status. `said`: the last line of what its
 * tools wrote on stderr, hostile. 0 or negative errno with a sentence in `said`. */
int box_run(struct box *b, int (*inside)(const struct box *b, void *arg), void *arg, int *ret_status,
	char said[BOX_SAID_MAX]) __attribute__((warn_unused_result));

/* For `inside`. Runs a program without any power but over files, stdout into `out` (-1: nowhere); its exit status, or
 * BOX_TOOL_FAILED. */
int box_tool(const char *const *argv, int out);
/* No network from here on. */
int box_offline(void) __attribute__((warn_unused_result));
/* /work has no room for another byte or file. */
bool box_full(void);

#endif
