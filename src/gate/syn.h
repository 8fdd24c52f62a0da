/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_SYN_H
#define GATE_SYN_H

#include "base/name.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Which name each synthetic address of one app means (names.md). Index 1..SYN_MAX-1 stands for the same name in both
 * families. An index keeps its name as long as a grant holds it or it was answered in the last SYN_KEEP_MS; when all
 * are taken, the least recently answered of the others is given to the new name.
 */
enum { SYN_MAX = 65536, SYN_KEEP_MS = 60000 };

struct syn;

/* `seed` keys the hash: names are the guest's choice. NULL: no memory. */
struct syn *syn_new(uint64_t seed);
void syn_free(struct syn *s);
/* The index of `name`, made when it has none (*ret_new true); 0: none can be given now. Counts as an answer at
 * `now_ms`. */
unsigned syn_give(struct syn *s, const struct name *name, int64_t now_ms, bool *ret_new);
/* Restores what an earlier life of gate gave. False: the index is out of range or taken by another name, or the name
 * has one. */
bool syn_put(struct syn *s, unsigned index, const struct name *name, int64_t now_ms);
/* 0: it has none. */
unsigned syn_find(struct syn *s, const struct name *name);
bool syn_name(const struct syn *s, unsigned index, struct name *ret);
/* Something was asked of the world for this name in this life of gate. Index 0: never, and not kept. */
void syn_use(struct syn *s, unsigned index);
bool syn_used(const struct syn *s, unsigned index);
/* A grant begins (+1) or ends (-1) to hold the index. */
void syn_hold(struct syn *s, unsigned index, int change);
unsigned syn_count(const struct syn *s);

#endif
