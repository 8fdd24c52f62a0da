/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VM_FILE_H
#define VM_FILE_H

#include <stddef.h>
#include <stdint.h>

/* The whole file, malloc'ed; -EFBIG above `max`. */
int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len) __attribute__((warn_unused_result));
/* Under a temporary name beside it, then renamed: readers see the old file or the new one. Mode 0644. */
int file_write(const char *path, const void *data, size_t len) __attribute__((warn_unused_result));

#endif
