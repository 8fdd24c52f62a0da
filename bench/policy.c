/* SPDX-License-Identifier: Apache-2.0 */
/* The policy alone: 100,000 rules of 500 applications loaded, opened as gate opens them, and asked. Prints "NAME
 * VALUE". */
#include "policy/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RULES = 100000, ASKS = 200000, ROWS_AT_ONCE = 16384 };

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *rules_text(size_t *ret_len)
{
	char *text = malloc((size_t)RULES * 96);
	size_t len = 0;
	for (unsigned i = 0; text != NULL && i < RULES / 4; i++) {
		char *at = text + len;
		len += (size_t)sprintf(at,
			"allow app%u to host%u.zone%u.example port 443/tcp\nask app%u to *.part%u.zone%u.example\n"
			"deny app%u to 203.%u.%u.0/%u\nallow @group%u to 2001:db8:%x::/48 port 80,443\n",
			i % 500, i, i % 97, (i + 7) % 500, i, i % 97, i % 500, i >> 8 & 255, i & 255, 20 + i % 5 + 4,
			i % 50, i);
	}
	for (unsigned i = 0; text != NULL && i < 50; i++)
		len += (size_t)sprintf(text + len, "group group%u = { app%u, app%u, app%u }\n", i, i, i + 100, i + 300);
	*ret_len = len;
	return text;
}

static struct policy *load(const char *text, size_t len, struct policy **ret_owner)
{
	struct policy_doc *d;
	struct policy_diag diag;
	size_t n, size;
	struct policy *p;
	double longest = 0, began = now_us();
	if (policy_parse_file(text, len, &d, &diag, 1, &n) != 0)
		return NULL;
	struct policy_input in = { .rules = d->rules,
		.n_rules = d->n_rules,
		.groups = d->groups,
		.n_groups = d->n_groups };
	struct policy_error e;
	if (policy_compile(&in, ret_owner, &e) != 0) {
		fprintf(stderr, "%s\n", e.message);
		return NULL;
	}
	const void *image = policy_image(*ret_owner, &size);
	printf("policy_load_s %.3f\npolicy_compiled_mib %.1f\n", (now_us() - began) / 1e6, (double)size / 1048576);
	struct policy_opening *o = policy_open(image, size);
	int err = -EAGAIN;
	while (o != NULL && err == -EAGAIN) {
		double at = now_us();
		err = policy_open_step(o, ROWS_AT_ONCE, &p);
		longest = now_us() - at > longest ? now_us() - at : longest;
	}
	policy_opening_free(o);
	printf("policy_reload_longest_us %.0f\n", longest);
	policy_doc_free(d);
	return err == 0 ? p : NULL;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Any application, any name of the zones with an address, or an address alone; two of three have a rule of their own.
 */
static void ask(const struct policy *p)
{
	double *took = calloc(ASKS, sizeof(*took));
	uint64_t dice = 88172645463325252U;
	unsigned said[5] = { 0 };
	for (unsigned i = 0; took != NULL && i < ASKS; i++) {
		char text[80], app[16];
		struct name name;
		struct policy_verdict v;
		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		unsigned r = (unsigned)(dice >> 20) % (RULES / 4);
		struct addr addr = addr_v4(0xcb000000U | (r & 0xffff) << 8 | (uint8_t)dice);
		snprintf(app, sizeof(app), "app%u", (dice >> 50) % 3 == 0 ? (unsigned)(dice >> 44) % 500 : r % 500);
		snprintf(text, sizeof(text),
			(dice >> 40) % 3 == 0 ? "www.part%u.zone%u.example" : "host%u.zone%u.example", r, r % 97);
		if (!name_from_text(text, strlen(text), &name))
			abort();
		struct policy_request q = { .owner = 1000,
			.app = app,
			.name = (dice >> 30) % 4 == 0 ? NULL : &name,
			.addr = &addr,
			.proto = POLICY_PROTO_TCP,
			.port = 443,
			.now_ms = 1774440000000 };
		double at = now_us();
		policy_decide(p, &q, &v);
		took[i] = now_us() - at;
		said[v.answer]++;
	}
	if (took == NULL)
		abort();
	qsort(took, ASKS, sizeof(*took), by_value);
	printf("policy_decide_us_p50 %.3f\npolicy_decide_us_p99 %.3f\n", took[ASKS / 2], took[ASKS * 99 / 100]);
	fprintf(stderr, "allow %u ask %u deny %u\n", said[0], said[1], said[2]);
	free(took);
}

int main(void)
{
	size_t len;
	char *text = rules_text(&len);
	struct policy *owner = NULL, *p = text == NULL ? NULL : load(text, len, &owner);
	if (p == NULL)
		return 1;
	ask(p);
	policy_free(p);
	policy_free(owner);
	free(text);
	return 0;
}
