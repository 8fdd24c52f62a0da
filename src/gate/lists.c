/* SPDX-License-Identifier: Apache-2.0 */
/* The members of lists, apart from the policy that uses them: each may change without the other. */
#include "gate/state.h"

#include <string.h>

void gate_lists_attach(const struct gate *g, struct policy *p)
{
	for (size_t i = 0; i < policy_n_lists(p); i++) {
		for (unsigned k = 0; k < GATE_LISTS; k++) {
			const struct gate_list *l = &g->list[k];
			if (l->digest.bytes != NULL && strcmp(l->id, policy_list_id(p, i)) == 0)
				policy_attach(p, i, &l->digest);
		}
	}
}

static bool in_use(const struct gate *g, const char *id)
{
	size_t n = g->policy == NULL ? 0 : policy_n_lists(g->policy), i = 0;
	while (i < n && strcmp(policy_list_id(g->policy, i), id) != 0)
		i++;
	return i < n;
}

/* The list's own place, else a free one, else one of which no rule speaks; NULL: there is none. */
static struct gate_list *place_of(struct gate *g, const char *id)
{
	struct gate_list *other = NULL;
	for (unsigned k = 0; k < GATE_LISTS; k++) {
		struct gate_list *l = &g->list[k];
		if (l->digest.bytes != NULL && strcmp(l->id, id) == 0)
			return l;
		if (l->digest.bytes == NULL || (other == NULL && !in_use(g, l->id)))
			other = l;
	}
	return other;
}

const void *gate_list(struct gate *g, const char *id, const struct list_digest *digest)
{
	struct gate_list *l = place_of(g, id);
	if (l == NULL || strlen(id) >= sizeof(l->id))
		return digest->bytes;
	const void *old = l->digest.bytes;
	memcpy(l->id, id, strlen(id) + 1);
	l->digest = *digest;
	if (g->policy == NULL)
		return old;
	gate_lists_attach(g, g->policy);
	if (g->sync_end && in_use(g, id)) {
		pipeline_refused_forget(g);
		reload_judge(g);
	}
	return old;
}
