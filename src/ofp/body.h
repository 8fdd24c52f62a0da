/* SPDX-License-Identifier: Apache-2.0 */
#ifndef OFP_BODY_H
#define OFP_BODY_H

#include "ofp/msg.h"

/* Shared by the codec's own files. A reader behind the header of `msg`, failed when it is not a whole message of that
 * type and version 6. */
struct rd ofp_body(const void *msg, size_t len, enum ofp_type type);
/* The same behind Nicira's experimenter header. */
struct rd ofp_body_nx(const void *msg, size_t len, enum ofp_nx_type type);
/* 0 when `r` read everything, else -EBADMSG. */
int ofp_result(const struct rd *r);
/* Begins a multipart request or reply. */
size_t ofp_begin_multipart(struct wr *w, enum ofp_type type, uint32_t xid, enum ofp_multipart_type mp, bool more);

#endif
