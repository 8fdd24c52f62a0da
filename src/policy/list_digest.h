/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_LIST_DIGEST_H
#define POLICY_LIST_DIGEST_H

#include "policy/rule.h"

/*
 * The members of one `list:` as bytes that mean the same wherever they lie: keyed digests of names in a hash table, 16
 * bytes a name at most and 8 at least before rounding to a power of two, and ranges of addresses. Only for the same
 * program on the same computer. Whoever opens one need not trust it: no content leads outside of the bytes or into a
 * long search. Who must know that nothing in it was damaged asks list_digest_whole().
 */

enum { LIST_ENTRIES_MAX = 4 << 20 };

struct list_builder;
/* The key must be random and secret: nobody can then choose names that meet in the table. NULL: no memory. */
struct list_builder *list_builder_new(const uint64_t key[2]);
void list_builder_free(struct list_builder *b);
/* NAME BELOW WITHIN or NET; 0, -EINVAL (another kind), -E2BIG (more than LIST_ENTRIES_MAX), -ENOMEM. Twice is once. */
int list_builder_add(struct list_builder *b, const struct policy_peer *peer) __attribute__((warn_unused_result));
/* Sorts what was added: the bytes list_builder_write() needs. 0, -ENOMEM. */
int list_builder_finish(struct list_builder *b, size_t *ret_len) __attribute__((warn_unused_result));
/* After finish: exactly those bytes into `buf`, 8-aligned. 0, -EINVAL (buf), -EAGAIN: begin anew with another key. */
int list_builder_write(const struct list_builder *b, void *buf, size_t len) __attribute__((warn_unused_result));

/* An open digest: borrows the bytes. Its members are nobody else's business. */
struct list_digest {
	const void *bytes;
	const uint64_t *slots;
	const struct list_range *ranges4, *ranges6;
	uint64_t key[2];
	size_t len, n_slots, n_ranges4, n_ranges6, n_entries;
	unsigned probes, labels;
};

/* `bytes` must be 8-aligned, must not change and must outlive *ret. Bounded time. 0, -EBADMSG no digest of ours. */
int list_digest_open(const void *bytes, size_t len, struct list_digest *ret) __attribute__((warn_unused_result));
/* Every byte is as it was written (SHA-256; 16 MiB take some 10 ms). */
bool list_digest_whole(const struct list_digest *l);
/* Entries it was made of, those given twice counted twice. */
size_t list_digest_entries(const struct list_digest *l);

/* What of a list speaks of a name: the name itself (`x` or `.x`), else the entry (`*.x` or `.x`) with most labels. */
struct list_hit {
	bool exact;
	unsigned labels; /* of the entry's name, as the rank of a pattern counts them */
};
bool list_digest_name(const struct list_digest *l, const struct name *n, struct list_hit *ret);
/* The same in two steps. What a search waits for is memory: the first asks for it, and whoever has something else to do
 * before the second does not wait. */
struct list_ask {
	unsigned labels, made;
	uint64_t digest[NAME_LABELS_MAX]; /* of the last 1, 2 … `made` labels */
};
void list_digest_ask(const struct list_digest *l, const struct name *n, struct list_ask *ret);
bool list_digest_tell(const struct list_digest *l, const struct list_ask *a, struct list_hit *ret);
/* The longest prefix that covers an address as floor_unwrap leaves it; -ENOENT: none. */
int list_digest_addr(const struct list_digest *l, const struct addr *a);

#endif
