/* SPDX-License-Identifier: Apache-2.0 */
#ifndef API_FDS_H
#define API_FDS_H

#include <stddef.h>
#include <sys/types.h>

/* Descriptors that a client gives along with a call (unix(7), SCM_RIGHTS). */
enum { API_FDS_MAX = 8 };

struct api_fds {
	unsigned n;
	int fd[API_FDS_MAX]; /* close-on-exec */
};

/* As recv(MSG_DONTWAIT); what came along is put behind those in `fds`, or refused where base/fd.h says so. -1 with
 * EMFILE: they were too many. */
ssize_t api_fds_recv(int socket, void *p, size_t room, struct api_fds *fds) __attribute__((warn_unused_result));
/* Sends them with the first bytes of `p`; *ret_sent: how many of those. */
int api_fds_send(int socket, const void *p, size_t len, const struct api_fds *fds, size_t *ret_sent)
	__attribute__((warn_unused_result));
/* Closes them, beside (base/fd.h). */
void api_fds_drop(struct api_fds *fds);

#endif
