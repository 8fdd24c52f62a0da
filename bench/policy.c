/* SPDX-License-Identifier: Apache-2.0 */
/* The policy alone: 100,000 rules of 500 applications loaded, opened as gate opens them, and asked, without and with a
 * list of 1,000,000 names. Prints "NAME VALUE". */
#include "policy/image.h"
#include "policy/list_digest.h"
#include "policy/list_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RULES = 100000, ASKS = 200000, ROWS_AT_ONCE = 16384, NAMES = 1000000 };

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static char *rules_text(size_t *ret_len)
{
	static const char list[] = "list ads from \"/ads\"\ndeny any to list:ads\n";
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
	if (text != NULL)
		memcpy(text + len, list, sizeof(list) - 1);
	*ret_len = len + sizeof(list) - 1;
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
		.n_groups = d->n_groups,
		.lists = d->lists,
		.n_lists = d->n_lists };
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

static int add(void *builder, const struct policy_peer *peer)
{
	return list_builder_add(builder, peer);
}

/* From the text of a list, as the role fetch does it, to a digest that is attached, as gate does it. The bytes are the
 * caller's. */
static void *attach(struct policy *p, unsigned n_names, size_t *ret_len, double *ret_us)
{
	const uint64_t key[2] = { 0x0123456789abcdef, 0xfedcba9876543210 };
	char *text = malloc((size_t)n_names * 48);
	struct list_builder *b = list_builder_new(key);
	struct list_report report;
	struct list_digest digest;
	size_t len = 0, size = 0;
	for (unsigned i = 0; text != NULL && i < n_names; i++)
		len += (size_t)sprintf(text + len, "0.0.0.0 ads%u.tracker%u.invalid\n", i, i % 4999);
	void *bytes = NULL;
	double began = now_us();
	if (text == NULL || b == NULL || list_parse(text, len, add, b, &report) != 0 ||
		list_builder_finish(b, &size) != 0 || (bytes = aligned_alloc(8, (size + 7) / 8 * 8)) == NULL ||
		list_builder_write(b, bytes, size) != 0 || list_digest_open(bytes, size, &digest) != 0)
		abort();
	policy_attach(p, 0, &digest);
	*ret_us = now_us() - began;
	list_builder_free(b);
	free(text);
	*ret_len = size;
	return bytes;
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

/* Any application, any name of the zones with an address, or an address alone; two of three have a rule of their own.
 */
static void ask(const struct policy *p, const char *name_of)
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
	printf("%s_us_p50 %.3f\n%s_us_p99 %.3f\n", name_of, took[ASKS / 2], name_of, took[ASKS * 99 / 100]);
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
	size_t size;
	double took;
	void *few = attach(p, 1, &size, &took);
	ask(p, "policy_decide");
	void *many = attach(p, NAMES, &size, &took);
	printf("policy_list_load_s %.3f\npolicy_list_mib %.1f\n", took / 1e6, (double)size / 1048576);
	ask(p, "policy_list_decide");
	policy_free(p);
	free(few);
	free(many);
	policy_free(owner);
	free(text);
	return 0;
}
