/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decide(const struct policy_input *in)
{
	struct policy *p;
	if (policy_compile(in, &p, NULL) != 0)
		return;
	struct name name;
	struct addr addr;
	struct policy_verdict v;
	struct policy_lookup_verdict l;
	if (!name_from_text("www.example.org", 15, &name) || !addr_parse("192.0.2.1", &addr))
		abort();
	struct policy_request q = { .owner = 1000,
		.app = "web",
		.name = &name,
		.addr = &addr,
		.proto = 6,
		.port = 443,
		.now_ms = 1700000000000 };
	policy_decide(p, &q, &v);
	if (v.rule != POLICY_NO_RULE && v.rule >= policy_n_rules(p))
		abort();
	policy_may_resolve(p, "web", 1000, &name, q.now_ms, &l);
	policy_free(p);
}

/* What decodes encodes, and decodes again to the same bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct policy_bundle *b, *c;
	if (policy_wire_get(data, len, &b) != 0)
		return 0;
	size_t size = policy_wire_size(&b->in);
	uint8_t *first = malloc(size), *second = malloc(size);
	if (first == NULL || second == NULL)
		abort();
	struct wr w = wr_init(first, size), x = wr_init(second, size);
	if (!policy_wire_put(&w, &b->in) || policy_wire_get(first, w.len, &c) != 0 || !policy_wire_put(&x, &c->in))
		abort();
	if (w.len != x.len || memcmp(first, second, w.len) != 0)
		abort();
	decide(&b->in);
	policy_bundle_free(b);
	policy_bundle_free(c);
	free(first);
	free(second);
	return 0;
}
