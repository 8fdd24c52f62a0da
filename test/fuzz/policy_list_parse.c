/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/list_digest.h"
#include "policy/list_parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
	struct list_builder *b;
	size_t names, nets;
};

static int add(void *arg, const struct policy_peer *p)
{
	struct seen *s = arg;
	*(p->kind == POLICY_PEER_NET ? &s->nets : &s->names) += 1;
	return list_builder_add(s->b, p);
}

/* Every entry fits a digest; errors name lines of the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint64_t key[2] = { 1, 2 };
	struct list_report r;
	struct list_digest l;
	size_t size;
	uint32_t lines = 1;
	struct seen s = { .b = list_builder_new(key) };
	if (s.b == NULL)
		abort();
	int err = list_parse((const char *)data, len, add, &s, &r);
	if (err != 0 && err != -EBADMSG)
		abort();
	for (size_t i = 0; i < len; i++)
		lines += data[i] == '\n';
	if (s.names != r.n_names || s.nets != r.n_nets || (err == 0 && s.names + s.nets == 0) || r.n_bad > lines ||
		r.n_errors > r.n_bad)
		abort();
	for (size_t i = 0; i < r.n_errors; i++) {
		if (r.errors[i].line == 0 || r.errors[i].line > lines || r.errors[i].message[0] == '\0')
			abort();
	}
	if (list_builder_finish(s.b, &size) != 0)
		abort();
	void *bytes = malloc(size);
	if (bytes == NULL || list_builder_write(s.b, bytes, size) != 0 || list_digest_open(bytes, size, &l) != 0 ||
		list_digest_entries(&l) != s.names + s.nets)
		abort();
	free(bytes);
	list_builder_free(s.b);
	return 0;
}
