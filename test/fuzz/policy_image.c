/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void decide(const struct policy *p, const char *app, const char *text, const char *address, enum policy_dir dir)
{
	struct name name;
	struct addr addr;
	struct policy_verdict v;
	struct policy_lookup_verdict l;
	struct policy_match m[8];
	if (!name_from_text(text, strlen(text), &name) || !addr_parse(address, &addr))
		abort();
	struct policy_request q = { .owner = 1000,
		.app = app,
		.dir = dir,
		.name = &name,
		.addr = &addr,
		.proto = 6,
		.port = 443,
		.now_ms = 1774440000000 };
	policy_decide(p, &q, &v);
	q.peer_app = "db";
	policy_decide(p, &q, &v);
	if (policy_explain(p, &q, m, 8) < 0)
		abort();
	policy_may_resolve(p, app, 1000, &name, q.now_ms, &l);
	(void)policy_inbound_possible(p, app, 1000);
	(void)policy_knows_peer(p, app, 1000, "db", 1000, q.now_ms, NULL);
}

/* An image that is opened can be asked anything. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct policy *p;
	uint64_t len64 = len;
	uint8_t *image = malloc(len == 0 ? 1 : len);
	if (image == NULL)
		abort();
	if (len != 0)
		memcpy(image, data, len);
	/* The length in its head is right more often than chance would have it. */
	if (len >= 16 && len % 8 == 0)
		memcpy(image + 8, &len64, 8);
	struct policy_opening *o = policy_open(image, len);
	int err;
	if (o == NULL)
		abort();
	while ((err = policy_open_step(o, 7, &p)) == -EAGAIN)
		;
	policy_opening_free(o);
	if (err == 0) {
		decide(p, "web", "www.example.org", "192.0.2.1", POLICY_OUT);
		decide(p, "db", "example.com", "fe80::1", POLICY_OUT);
		decide(p, "lone", "a.www.example.org", "::ffff:10.0.0.5", POLICY_IN);
		for (size_t i = 0; i < policy_n_rules(p); i++) {
			if (strlen(policy_rule_text(p, i)) > len || policy_rule_meta(p, i)->ended > POLICY_END_REPLACED)
				abort();
			(void)policy_rule_by_id(p, policy_rule_meta(p, i)->id, 0);
		}
		policy_free(p);
	}
	free(image);
	return 0;
}
