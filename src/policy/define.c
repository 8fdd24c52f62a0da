/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool define(struct build *b, const char *id, uint32_t index, unsigned kind, uint32_t line, uint32_t *lines)
{
	uint32_t before = b->defs.n_rows, row = keytab_add(&b->defs, 0, id, strlen(id));
	if (row == KEYTAB_NONE)
		return build_no_memory(b);
	if (b->defs.n_rows == before) {
		bool ok = build_fail(b, -EINVAL, SIZE_MAX, SIZE_MAX,
			"\"%s\" is defined twice, on line %u and on line %u; groups, sets and lists share their names",
			id, lines[row], line);
		if (b->err != NULL) {
			b->err->line = line;
			b->err->other_line = lines[row];
		}
		return ok;
	}
	b->def_index[row] = index << 2 | kind;
	lines[row] = line;
	return true;
}

bool build_definitions(struct build *b)
{
	const struct policy_input *in = b->in;
	size_t n = in->n_groups + in->n_sets + in->n_lists;
	uint32_t *lines = calloc(n + 1, sizeof(*lines));
	b->def_index = calloc(n + 1, sizeof(*b->def_index));
	bool ok = lines != NULL && b->def_index != NULL;
	if (!ok)
		build_no_memory(b);
	for (size_t i = 0; ok && i < in->n_groups; i++)
		ok = define(b, in->groups[i].id, (uint32_t)i, DEF_GROUP, in->groups[i].line, lines);
	for (size_t i = 0; ok && i < in->n_sets; i++)
		ok = define(b, in->sets[i].id, (uint32_t)i, DEF_SET, in->sets[i].line, lines);
	for (size_t i = 0; ok && i < in->n_lists; i++)
		ok = define(b, in->lists[i].id, (uint32_t)i, DEF_LIST, in->lists[i].line, lines);
	free(lines);
	return ok;
}

bool build_find(struct build *b, const char *id, unsigned kind, size_t rule, uint32_t *ret)
{
	static const char *const what[] = { "group", "set", "list" };
	uint32_t row = keytab_find(&b->defs, 0, id, strlen(id));
	if (row == KEYTAB_NONE)
		return build_fail(b, -EINVAL, rule, SIZE_MAX, "no %s \"%s\" is defined", what[kind], id);
	if ((b->def_index[row] & 3) != kind)
		return build_fail(b, -EINVAL, rule, SIZE_MAX, "\"%s\" is a %s, not a %s", id,
			what[b->def_index[row] & 3], what[kind]);
	*ret = b->def_index[row] >> 2;
	return true;
}

static int u64_cmp(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

/* Pairs (app, group), in no order. */
static bool pairs_of(struct build *b, uint64_t *pairs)
{
	size_t at = 0;
	for (size_t i = 0; i < b->in->n_groups; i++) {
		const struct policy_group *g = &b->in->groups[i];
		uint32_t group = keytab_add(&b->groups, 0, g->id, strlen(g->id));
		if (group == KEYTAB_NONE)
			return false;
		for (size_t k = 0; k < g->n_apps; k++) {
			uint32_t app = keytab_add(&b->apps, 0, g->apps[k], strlen(g->apps[k]));
			if (app == KEYTAB_NONE)
				return false;
			pairs[at++] = (uint64_t)app << 32 | group;
		}
	}
	return true;
}

/* Who is in which group: one range per app. */
bool build_groups(struct build *b)
{
	size_t n = 0;
	for (size_t i = 0; i < b->in->n_groups; i++)
		n += b->in->groups[i].n_apps;
	uint64_t *pairs = calloc(n + 1, sizeof(*pairs));
	b->member = calloc(n + 1, sizeof(*b->member));
	bool ok = pairs != NULL && b->member != NULL && pairs_of(b, pairs);
	b->n_grouped = b->apps.n_rows;
	b->app_groups = calloc(b->n_grouped + 1, sizeof(*b->app_groups));
	ok = ok && b->app_groups != NULL;
	if (ok) {
		qsort(pairs, n, sizeof(*pairs), u64_cmp);
		for (size_t i = 0; i < n; i++) {
			if (i > 0 && pairs[i] == pairs[i - 1])
				continue;
			b->member[b->n_member++] = (uint32_t)pairs[i];
			b->app_groups[(pairs[i] >> 32) + 1]++;
		}
		for (size_t a = 0; a < b->n_grouped; a++)
			b->app_groups[a + 1] += b->app_groups[a];
	}
	free(pairs);
	return ok || build_no_memory(b);
}
