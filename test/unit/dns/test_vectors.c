/* SPDX-License-Identifier: Apache-2.0 */
/* vectors.txt holds what dnspython reads in queries and answers and how it builds our replies; gen-vectors writes it.
 */
#include "dns/reply.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES_MAX = 70000, WORDS_MAX = 12, LINE_MAX_BYTES = 2 * BYTES_MAX + 4096 };

struct bytes {
	size_t len;
	uint8_t b[BYTES_MAX];
};

static const char *path;
static char line[LINE_MAX_BYTES];

static unsigned digit(char c)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, c);
	assert_true(c != '\0' && at != NULL);
	return (unsigned)(at - digits);
}

static void unhex(const char *hex, struct bytes *ret)
{
	ret->len = 0;
	if (strcmp(hex, "-") == 0)
		return;
	for (; *hex != '\0'; hex += 2)
		ret->b[ret->len++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
}

static void expect_number(const char *name, const char *what, unsigned long got, const char *want)
{
	if (got != strtoul(want, NULL, 10))
		fail_msg("%s: %s is %lu, dnspython says %s", name, what, got, want);
}

static void expect_bytes(const char *name, const char *what, const uint8_t *got, size_t len, const char *want)
{
	static struct bytes w;
	unhex(want, &w);
	if (len != w.len || memcmp(got, w.b, len) != 0)
		fail_msg("%s: %s differs from dnspython's (%zu bytes instead of %zu)", name, what, len, w.len);
}

/* Cuts the line into words; what stands first says what kind of line it is. */
static const char *cut_words(char *words[WORDS_MAX])
{
	char *save = NULL, *kind = strtok_r(line, " \n", &save);
	for (unsigned i = 0; i < WORDS_MAX; i++)
		words[i] = strtok_r(NULL, " \n", &save);
	return kind;
}

/* query NAME VERDICT ID OPCODE RD EDNS DO SIZE TYPE QNAME MESSAGE */
static void check_query(char **w)
{
	static struct bytes m;
	struct dns_query q;
	unhex(w[10], &m);
	int err = dns_query_parse(m.b, m.len, &q);
	if (strcmp(w[1], "drop") == 0) {
		assert_int_equal(err, -EBADMSG);
		return;
	}
	assert_true(err >= 0);
	expect_number(w[0], "verdict", (unsigned long)err, w[1]);
	expect_number(w[0], "id", q.id, w[2]);
	expect_number(w[0], "opcode", q.opcode, w[3]);
	expect_number(w[0], "rd", q.rd, w[4]);
	expect_number(w[0], "edns", q.edns, w[5]);
	expect_number(w[0], "do", q.dnssec_ok, w[6]);
	expect_number(w[0], "size", q.udp_size, w[7]);
	if (err == DNS_NOTIMP && q.question_len == 0)
		return;
	expect_number(w[0], "type", q.type, w[8]);
	expect_bytes(w[0], "name", q.name.wire, q.name.len, w[9]);
	assert_int_equal(q.question_len, q.name.len);
	if (q.question_len > 0)
		assert_memory_equal(q.question, m.b + DNS_HEADER_BYTES, q.question_len);
}

static void check_response(char **w, struct bytes *m, struct dns_response *ret, bool *ret_open)
{
	struct dns_record rec;
	if (*ret_open)
		assert_false(dns_record_next(ret, &rec));
	unhex(w[7], m);
	int err = dns_response_parse(m->b, m->len, ret);
	*ret_open = strcmp(w[1], "ok") == 0;
	if (err != (*ret_open ? 0 : -EBADMSG))
		fail_msg("%s: understood as %d, dnspython says %s", w[0], err, w[1]);
	if (!*ret_open)
		return;
	expect_number(w[0], "id", ret->id, w[2]);
	expect_number(w[0], "rcode", ret->rcode, w[3]);
	expect_number(w[0], "tc", ret->truncated, w[4]);
	expect_number(w[0], "type", ret->type, w[5]);
	expect_bytes(w[0], "name", ret->name.wire, ret->name.len, w[6]);
	/* A whole message is nothing any more when its last byte is missing. */
	struct dns_response cut;
	assert_int_equal(dns_response_parse(m->b, m->len - 1, &cut), -EBADMSG);
}

/* record SECTION OWNER TYPE CLASS TTL REBUILT */
static void check_record(char **w, struct dns_response *r)
{
	static uint8_t buf[BYTES_MAX];
	struct wr o = wr_init(buf, sizeof(buf));
	struct dns_record rec;
	assert_true(dns_record_next(r, &rec));
	expect_number("record", "section", rec.section, w[0]);
	expect_bytes("record", "owner", rec.owner.wire, rec.owner.len, w[1]);
	expect_number("record", "type", rec.type, w[2]);
	expect_number("record", "class", rec.class, w[3]);
	expect_number("record", "ttl", rec.ttl, w[4]);
	bool good = dns_rdata_rebuild(r, &rec, &o);
	if (good != (strcmp(w[5], "no") != 0 && strcmp(w[5], "bad") != 0))
		fail_msg("rdata of type %s: %s", w[2], w[5]);
	assert_int_equal(dns_type_known(rec.type), strcmp(w[5], "no") != 0);
	if (good)
		expect_bytes(w[2], "rdata", buf, o.len, w[5]);
	else
		assert_true(wr_ok(&o) && o.len == 0);
}

/* reply NAME WHAT DATA TTL RCODE EDE TEXT CAP QUERY EXPECTED */
static void check_reply(char **w)
{
	static struct bytes data, text, query;
	static uint8_t buf[BYTES_MAX];
	struct dns_query q;
	struct dns_reply r;
	uint32_t ttl = (uint32_t)strtoul(w[3], NULL, 10);
	unhex(w[2], &data);
	unhex(w[6], &text);
	unhex(w[8], &query);
	assert_int_equal(dns_query_parse(query.b, query.len, &q), 0);
	dns_reply_begin(&r, buf, strtoul(w[7], NULL, 10), &q, (uint16_t)strtoul(w[4], NULL, 10));
	if (strcmp(w[1], "addr") == 0) {
		struct addr a = { .len = (uint8_t)data.len };
		memcpy(a.b, data.b, data.len);
		dns_reply_addr(&r, &a, ttl);
	} else if (strcmp(w[1], "name") == 0) {
		struct name n;
		assert_true(name_from_wire(data.b, data.len, &n));
		dns_reply_name(&r, DNS_PTR, &n, ttl);
	} else if (strcmp(w[1], "txt") == 0) {
		dns_reply_record(&r, &q.name, DNS_TXT, ttl, data.b, data.len);
	} else if (strcmp(w[1], "negative") == 0) {
		dns_reply_negative(&r);
	}
	dns_reply_error(&r, (uint16_t)strtoul(w[5], NULL, 10), (const char *)text.b, text.len);
	expect_bytes(w[0], "reply", buf, dns_reply_end(&r), w[9]);
}

static void test_vectors(void **state)
{
	(void)state;
	static struct bytes m;
	struct dns_response r;
	char *w[WORDS_MAX];
	unsigned n = 0;
	bool open = false;
	FILE *f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		const char *kind = cut_words(w);
		n++;
		if (strcmp(kind, "query") == 0)
			check_query(w);
		else if (strcmp(kind, "response") == 0)
			check_response(w, &m, &r, &open);
		else if (strcmp(kind, "record") == 0)
			check_record(w, &r);
		else if (strcmp(kind, "reply") == 0)
			check_reply(w);
		else
			assert_string_equal(kind, "#");
	}
	fclose(f);
	assert_true(n > 1000);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };
	if (argc != 2)
		return 2;
	path = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
