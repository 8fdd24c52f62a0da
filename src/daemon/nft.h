/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_NFT_H
#define DAEMON_NFT_H

#include "daemon/uplink.h"

/* Our table `inet sekisho`, given to nft(8) as JSON on its standard input (libnftables-json(5)), each time as one
 * transaction. Tables of others are never named. 0, or negative errno with a sentence in `error` (UPLINK_ERROR_MAX). */

/* Makes the table anew. `close4`, `close6`: the host did not forward before, so what is not ours is dropped. */
int nft_make_table(const struct uplink_conf *c, bool close4, bool close6, char *error)
	__attribute__((warn_unused_result));
/* Replaces the inbound forwards. */
int nft_set_forwards(const struct uplink_conf *c, const struct uplink_forward *f, unsigned n, char *error)
	__attribute__((warn_unused_result));
/* Deletes the table; nothing to delete is success. */
int nft_drop_table(char *error) __attribute__((warn_unused_result));

#endif
