/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_NETLINK_H
#define DAEMON_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One netlink request at a time (netlink(7)): build, send, read the answers. Host byte order, as the kernel wants it.
 */
enum { NL_REQUEST_MAX = 2048 };

struct nl_request {
	size_t len;
	bool overflow;
	uint8_t bytes[NL_REQUEST_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* One message of an answer: its type, the family's header and attributes. Valid during the call. */
typedef int nl_visit(void *arg, uint16_t type, const uint8_t *body, size_t len);

int nl_open(int protocol);
void nl_begin(struct nl_request *q, uint16_t type, uint16_t flags, const void *header, size_t header_len);
void nl_put(struct nl_request *q, uint16_t type, const void *data, size_t len);
void nl_put_u32(struct nl_request *q, uint16_t type, uint32_t v);
void nl_put_text(struct nl_request *q, uint16_t type, const char *text);
/* A nested attribute is open from nl_nest() to nl_end() of what it returned. */
size_t nl_nest(struct nl_request *q, uint16_t type);
void nl_end(struct nl_request *q, size_t nest);
/* 0 or the kernel's negative errno. `visit` (may be NULL) sees each message of the answer; its first negative result is
 * returned. */
int nl_talk(int fd, struct nl_request *q, nl_visit *visit, void *arg) __attribute__((warn_unused_result));
/* The attribute `type` in `attrs`; NULL when there is none. */
const uint8_t *nl_find(const uint8_t *attrs, size_t len, uint16_t type, size_t *ret_len);
/* A u32 at `p`, which may be unaligned; 0 when `p` is NULL. */
uint32_t nl_u32(const uint8_t *p);

#endif
