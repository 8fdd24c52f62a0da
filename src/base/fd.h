/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_FD_H
#define BASE_FD_H

#include <stdbool.h>
#include <stddef.h>

/* All of it, to a file or memory: 0 or -errno (-EIO: it takes no more). */
int fd_write_all(int fd, const void *p, size_t len) __attribute__((warn_unused_result));

/* Memory that one process fills and another maps: once sealed nobody can write, shrink or grow it. The descriptor, or
 * -errno. */
int fd_memory(const char *name) __attribute__((warn_unused_result));
int fd_seal(int fd) __attribute__((warn_unused_result));
/* It is sealed and has `len` bytes, of which there is at least one: it may be mapped. */
bool fd_sealed(int fd, size_t len);

/*
 * Closes descriptors that came from somebody who may make close() wait as long as he likes (FUSE, which not even a kill
 * ends): a process beside, which shares our table, does. Without one they are closed here. Who takes such descriptors
 * asks first whether not too many of those processes hang.
 */
#define FD_CLOSER_CLONE (CLONE_FILES | SIGCHLD) /* flags of clone(), for a filter */
void fd_close_aside(const int *fds, size_t n);
bool fd_closers_free(void);

#endif
