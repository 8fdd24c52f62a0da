/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_RESOLVE_H
#define GATE_RESOLVE_H

#include "base/addr.h"
#include "base/name.h"
#include "ipc/ipc.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * What the resolver said about names, shared by all apps: whether an app may use an answer is policy's to say each
 * time. Bounded, also per app; the answer that is nearest its end makes room, an app's own before others'. A name is
 * asked once at a time.
 */
enum {
	RESOLVE_TABLE = 4096,
	RESOLVE_APP_MAX = 512,
	RESOLVE_TTL_MIN_MS = 5000,
	RESOLVE_TTL_MAX_MS = 300000,
	RESOLVE_FAIL_MS = 2000,
	RESOLVE_PATIENCE_MS = 10000
};

struct resolved {
	struct name name;
	uint16_t slot;	  /* of the app for which it was asked */
	int64_t until_ms; /* fresh, or while pending: given up */
	bool pending;	  /* asked, no answer yet; what stands here is the answer before */
	bool for_grants;  /* grants made under this name are to be judged again with the answer */
	bool lost;	  /* pending at a resolver that died; nobody who waits has been told yet */
	uint8_t status;	  /* enum ipc_resolve_status */
	uint8_t n_chain, n_v4, n_v6;
	struct name *chain; /* owned */
	struct addr *v4, *v6;
};

struct resolve;

struct resolve *resolve_new(uint64_t seed);
void resolve_free(struct resolve *t);
/* The entry when it is fresh or pending at `now_ms`; NULL: ask. */
const struct resolved *resolve_get(struct resolve *t, const struct name *name, int64_t now_ms);
/* The last answer, however old and while it is asked again: which names stand behind the name of a grant. NULL: none is
 * known. */
const struct resolved *resolve_last(struct resolve *t, const struct name *name);
/* Notes that `name` is being asked for the app of `slot`; returns the request's number for IPC_RESOLVE, 0: no room. */
uint32_t resolve_ask(struct resolve *t, const struct name *name, uint16_t slot, int64_t now_ms);
/* The answer that is being waited for is wanted for grants, too. */
void resolve_for_grants(struct resolve *t, const struct name *name);
/* Takes the answer to a request. NULL: nobody asked (any more). */
const struct resolved *resolve_answer(struct resolve *t, uint32_t request, const struct ipc_resolved *r,
	int64_t now_ms);
/* The resolver that was asked is dead: what is pending ends now. */
void resolve_lost(struct resolve *t);
/* One of the names that ended so, each once; false: that was all. */
bool resolve_lost_next(struct resolve *t, struct name *ret_name, bool *ret_for_grants);

#endif
