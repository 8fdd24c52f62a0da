/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_BUILD_H
#define DESK_BUILD_H

#include "desk/desk.h"

/*
 * The policy: a *base*, compiled in one from all rules of a moment, and what was *touched* since, compiled anew at each
 * change and joined to it (policy_join()): a change costs what changed, not what there is. When enough has been touched
 * another base is made of everything; a large one by a process beside (compile.c), while this one goes on.
 *
 * Every rule that is added, ends or runs again is touched (policy_touch()); a touched rule no longer counts in the
 * base. policy.c but for the last part.
 */
enum {
	BASE_TOUCHED = 256,  /* so many touched rules want another base */
	BASE_SMALL = 1000,   /* so many rules are compiled here and now: it takes some milliseconds */
	BASE_PATIENCE = 4096 /* so many touched rules cannot wait for a process beside: some milliseconds per change */
};

struct definitions {
	struct policy_group *groups;
	struct policy_peerset *sets;
	struct policy_list *lists;
	size_t n_groups, n_sets, n_lists;
};

struct base {
	uint64_t number, env;	      /* env: of the desk when it was begun */
	unsigned slot;		      /* of rule.place */
	struct definitions def;	      /* shallow */
	struct policy_entry *entries; /* shallow copies; first those of the base, then those joined */
	struct rule **by_index;
	size_t n, cap;
	struct policy_input in;
	struct policy *policy;
	void *map; /* policy's bytes; NULL: its own */
	size_t len;
	int fd;	    /* policy's bytes, sealed; -1: not yet */
	bool given; /* the gate has it */
	/* Since it was made: */
	struct rule **touched;
	size_t n_touched, cap_touched;
	uint32_t *gone;
	size_t n_gone, cap_gone;
	bool spoilt; /* no memory to say what was touched: only another base will do */
};

/* What takes the place of the policy in use: something joined to its base, or another base. */
struct build {
	struct base *base; /* NULL: the one in use, with: */
	struct policy *more;
	struct policy_entry *entries;
	struct rule **by_index;
	size_t n;
};

/* What the rules have become, to be installed or freed. 0, or negative errno and a sentence in ret_error (512 bytes,
 * may be NULL). */
int build_change(struct desk *d, struct build *ret, char *ret_error) __attribute__((warn_unused_result));
/* A base of its own of these rules and definitions. */
int build_policy(struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs, unsigned n_docs,
	struct build *ret, char *ret_error) __attribute__((warn_unused_result));
/* A base made beside, with what was touched meanwhile; takes it over, also on failure. */
int build_rebase(struct desk *d, struct base *b, struct build *ret) __attribute__((warn_unused_result));
/* Rules that are not yet in memory: they mean something beside the definitions there are. */
int build_check(struct desk *d, struct rule *const *rules, size_t n, char *ret_error)
	__attribute__((warn_unused_result));
void build_free(struct build *b);
/* Becomes the desk's policy and goes to the gate as a new generation. */
void build_install(struct desk *d, struct build *b);

/* compile.c */
/* Not compiled yet, with room for what is joined to it. Between this and its end touched rules go down in it, too. */
int base_begin(struct desk *d, struct rule *const *rules, size_t n, struct policy_doc *const *docs, unsigned n_docs,
	struct base **ret) __attribute__((warn_unused_result));
/* The same in parts: room for `n` rules, some of them, the rest. From the first answer taken in to the next event no
 * other base may be made. */
int base_new(struct desk *d, size_t n, struct policy_doc *const *docs, unsigned n_docs, struct base **ret)
	__attribute__((warn_unused_result));
void base_take(struct desk *d, struct base *b, struct rule *const *rules, size_t n);
int base_take_answers(struct desk *d, struct base *b) __attribute__((warn_unused_result));
void base_ready(struct desk *d, struct base *b);
void base_free(struct base *b);
/* The rule is not what it was when the base began. */
void base_touch(struct base *b, struct rule *r);
/* The base is of new files: those of the old that were touched meanwhile are none of its. */
void base_leave_files(struct base *b);
void base_error(const struct base *b, const struct policy_error *e, int err, char *ret_error);
/* gate.c: an old base's bytes stay open for a while, so that the gate is not the last to let go of them. */
void image_keep(int fd);
/* Sealed bytes of its policy; -1 with the reason logged. */
int base_memfd(struct base *b);
/* Another process compiles `b`, which it takes over, also on failure. One at a time: -EBUSY. */
int compile_begin(struct desk *d, struct base *b) __attribute__((warn_unused_result));
bool compile_busy(void);
/* What is being compiled is no longer wanted; another can begin when its process has ended. */
void compile_forget(struct desk *d);
/* DESK_COMPILED: it has ended. */
void compile_event(struct desk *d);
/* Another base, when enough has been touched and none is being made. */
void compile_tick(struct desk *d);

#endif
