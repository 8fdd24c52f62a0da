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

#endif
