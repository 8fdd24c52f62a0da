/* SPDX-License-Identifier: Apache-2.0 */
#include "ovsdb/bridge.h"
#include "ovsdb/session.h"
#include "ovsdb/stream.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROOT_UUID  "8cd707bd-7018-45ac-b4bd-1df67984bc87"
#define OTHER_UUID "383b0081-158b-453c-bf48-47d40d2e4503"

static int put(struct ovsdb_stream *s, const char *text)
{
	return ovsdb_stream_put(s, text, strlen(text));
}

static void test_framing(void **state)
{
	(void)state;
	struct ovsdb_stream *s;
	const char *text, both[] = " {\"a\":\"}\\\"{\"}\n{\"b\":[1,{}]}{\"c\"";
	size_t len;
	assert_int_equal(ovsdb_stream_new(&s), 0);
	/* Byte by byte and at once give the same messages. */
	for (unsigned round = 0; round < 2; round++) {
		unsigned n = 0;
		for (size_t i = 0; i < strlen(both); i += round == 0 ? 1 : strlen(both)) {
			assert_int_equal(ovsdb_stream_put(s, both + i, round == 0 ? 1 : strlen(both)), 0);
			while (ovsdb_stream_next(s, &text, &len) == 1) {
				const char *want = n++ == 0 ? "{\"a\":\"}\\\"{\"}" : "{\"b\":[1,{}]}";
				assert_int_equal(len, strlen(want));
				assert_memory_equal(text, want, len);
			}
		}
		assert_int_equal(n, 2);
		ovsdb_stream_reset(s);
	}
	assert_int_equal(put(s, "]"), 0);
	assert_int_equal(ovsdb_stream_next(s, &text, &len), -EPROTO);
	ovsdb_stream_free(s);
}

static void test_limits(void **state)
{
	(void)state;
	struct ovsdb_stream *s;
	const char *text;
	size_t len;
	char deep[OVSDB_DEPTH_MAX + 3] = "{";
	assert_int_equal(ovsdb_stream_new(&s), 0);
	memset(deep + 1, '[', OVSDB_DEPTH_MAX);
	assert_int_equal(put(s, deep), 0);
	assert_int_equal(ovsdb_stream_next(s, &text, &len), -EMSGSIZE);
	ovsdb_stream_reset(s);
	assert_int_equal(put(s, "{\""), 0);
	static char filler[1 << 20];
	memset(filler, 'x', sizeof(filler));
	int err = 0;
	unsigned n = 0;
	for (; err == 0 && n < 64; n++) {
		err = ovsdb_stream_put(s, filler, sizeof(filler));
		if (err == 0)
			err = ovsdb_stream_next(s, &text, &len);
	}
	assert_int_equal(err, -EMSGSIZE);
	assert_true(n <= 17);
	ovsdb_stream_free(s);
}

static const char *output(struct ovsdb_session *s)
{
	static char buf[4096];
	size_t len;
	const void *p = ovsdb_session_output(s, &len);
	snprintf(buf, sizeof(buf), "%.*s", (int)len, len == 0 ? "" : (const char *)p);
	ovsdb_session_sent(s, len);
	return buf;
}

static int input(struct ovsdb_session *s, const char *text, int64_t now)
{
	return ovsdb_session_input(s, text, strlen(text), now);
}

static void test_echo_and_replies(void **state)
{
	(void)state;
	struct ovsdb_session *s;
	struct ovsdb_event ev;
	assert_int_equal(ovsdb_session_new(&s), 0);
	ovsdb_session_reset(s, 0);
	uint32_t id = ovsdb_session_request(s, "list_dbs", json_array());
	assert_int_equal(id, 1);
	assert_string_equal(output(s), "{\"method\":\"list_dbs\",\"params\":[],\"id\":1}");
	/* A notification and the server's echo come before the reply. */
	assert_int_equal(
		input(s,
			"{\"method\":\"echo\",\"params\":[\"x\"],\"id\":\"echo\"}{\"method\":\"update\",\"params\":[\"m\",{\"T\":{}}],\"id\":null}"
			"{\"id\":1,\"result\":[\"db\"],\"error\":null}",
			1),
		0);
	assert_int_equal(ovsdb_session_next(s, &ev), 1);
	assert_int_equal(ev.type, OVSDB_EVENT_UPDATE);
	assert_non_null(json_object_get(ev.result, "T"));
	assert_int_equal(ovsdb_session_next(s, &ev), 1);
	assert_int_equal(ev.type, OVSDB_EVENT_REPLY);
	assert_int_equal(ev.id, 1);
	assert_null(ev.error);
	assert_int_equal(ovsdb_session_next(s, &ev), 0);
	assert_string_equal(output(s), "{\"result\":[\"x\"],\"error\":null,\"id\":\"echo\"}");
	ovsdb_session_free(s);
}

static void test_keep_alive(void **state)
{
	(void)state;
	struct ovsdb_session *s;
	struct ovsdb_event ev;
	int64_t deadline = 0;
	assert_int_equal(ovsdb_session_new(&s), 0);
	ovsdb_session_reset(s, 1000);
	assert_int_equal(ovsdb_session_step(s, 1000, &deadline), 0);
	assert_int_equal(deadline, 1000 + OVSDB_IDLE_MS);
	assert_int_equal(ovsdb_session_step(s, deadline, &deadline), 0);
	assert_string_equal(output(s), "{\"method\":\"echo\",\"params\":[],\"id\":1}");
	assert_int_equal(deadline, 1000 + OVSDB_SILENT_MS);
	assert_int_equal(input(s, "{\"id\":1,\"result\":[],\"error\":null}", 7000), 0);
	assert_int_equal(ovsdb_session_next(s, &ev), 0);
	assert_int_equal(ovsdb_session_step(s, 1000 + OVSDB_SILENT_MS, &deadline), 0);
	assert_int_equal(ovsdb_session_step(s, 7000 + OVSDB_SILENT_MS, &deadline), -ETIMEDOUT);
	ovsdb_session_free(s);
}

static void test_nonsense(void **state)
{
	(void)state;
	static const char *const bad[] = { "{}", "{\"id\":9,\"result\":[],\"error\":null}",
		"{\"id\":\"x\",\"result\":[]}", "{\"a\":1,\"a\":2}", "{\"method\":\"update\",\"params\":[\"m\",7]}",
		"{\"method\":\"update\"}", "{\"a\":\"\xff\"}", "{]}", "{\"id\":null,\"error\":\"no\"}" };
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ovsdb_session *s;
		struct ovsdb_event ev;
		assert_int_equal(ovsdb_session_new(&s), 0);
		assert_int_equal(input(s, bad[i], 0), 0);
		assert_int_equal(ovsdb_session_next(s, &ev), -EPROTO);
		ovsdb_session_free(s);
	}
}

static void test_transact_error(void **state)
{
	(void)state;
	const char *details = NULL;
	/* A commit error stands behind the results of all operations. */
	json_t *r = json_pack("[{}{s:i}{s:s,s:s}]", "count", 1, "error", "constraint violation", "details", "why");
	assert_string_equal(ovsdb_transact_error(r, &details), "constraint violation");
	assert_string_equal(details, "why");
	json_decref(r);
	r = json_pack("[{}n]");
	assert_null(ovsdb_transact_error(r, NULL));
	json_decref(r);
}

/* A bridge against a scripted server. */
struct fixture {
	struct bridge *b;
	char sent[65536];
};

static void take_output(struct fixture *f)
{
	size_t len;
	const void *p = bridge_output(f->b, &len);
	snprintf(f->sent, sizeof(f->sent), "%.*s", (int)len, len == 0 ? "" : (const char *)p);
	bridge_sent(f->b, len);
}

static void give(struct fixture *f, const char *text, int64_t now)
{
	assert_int_equal(bridge_input(f->b, text, strlen(text), now), 0);
	take_output(f);
}

static void begin(struct fixture *f, const char *tables)
{
	struct bridge_conf c = { .name = "sk0", .datapath_type = "netdev", .mac = { { 2, 0, 0, 0, 0, 1 } } };
	char text[4096];
	assert_int_equal(bridge_new(&c, &f->b), 0);
	bridge_connected(f->b, 0);
	take_output(f);
	assert_non_null(strstr(f->sent, "\"method\":\"monitor\""));
	snprintf(text, sizeof(text),
		"{\"id\":1,\"error\":null,\"result\":{\"Open_vSwitch\":{\"" ROOT_UUID
		"\":{\"new\":{\"bridges\":[\"set\",[%s]],"
		"\"next_cfg\":1,\"cur_cfg\":1,\"datapaths\":[\"map\",[]]}}}%s}}",
		tables[0] == '\0' ? "" : "[\"uuid\",\"" OTHER_UUID "\"]", tables);
	give(f, text, 1);
}

static void test_one_transaction(void **state)
{
	(void)state;
	struct fixture f;
	struct bridge_event e;
	begin(&f, "");
	const char *first = strstr(f.sent, "\"transact\"");
	assert_non_null(first);
	assert_null(strstr(first + 1, "\"transact\""));
	assert_non_null(strstr(f.sent, "\"op\":\"wait\""));
	assert_non_null(strstr(f.sent, "\"fail_mode\":\"secure\""));
	assert_non_null(strstr(f.sent, "\"disable-in-band\",\"true\""));
	/* A port wanted meanwhile waits for the reply. */
	struct bridge_port p = { .name = "tap0", .ofport = 5 };
	assert_int_equal(bridge_port_add(f.b, &p, 2), 0);
	take_output(&f);
	assert_string_equal(f.sent, "");
	assert_int_equal(bridge_port_add(f.b, &p, 2), -EEXIST);
	assert_int_equal(bridge_port_del(f.b, "tap1", 2), -ENOENT);
	/* The `wait` did not hold: it is planned anew, and nobody is told. */
	give(&f, "{\"id\":2,\"error\":null,\"result\":[{\"error\":\"timed out\",\"details\":\"\"},null]}", 3);
	assert_non_null(strstr(f.sent, "\"transact\""));
	assert_non_null(strstr(f.sent, "\"name\":\"tap0\""));
	assert_false(bridge_next_event(f.b, &e));
	/* A real refusal is told once, and tried again only after a pause. */
	give(&f, "{\"id\":3,\"error\":null,\"result\":[{},{\"error\":\"constraint violation\",\"details\":\"x\"}]}", 4);
	assert_string_equal(f.sent, "");
	assert_true(bridge_next_event(f.b, &e));
	assert_int_equal(e.type, BRIDGE_REFUSED);
	int64_t deadline = 0;
	assert_int_equal(bridge_step(f.b, 5, &deadline), 0);
	assert_true(deadline > 5 && deadline < 1000);
	assert_int_equal(bridge_step(f.b, deadline, &deadline), 0);
	take_output(&f);
	assert_non_null(strstr(f.sent, "\"transact\""));
	bridge_free(f.b);
}

static void test_foreign_bridge(void **state)
{
	(void)state;
	struct fixture f;
	struct bridge_event e;
	begin(&f, ",\"Bridge\":{\"" OTHER_UUID
		  "\":{\"new\":{\"name\":\"sk0\",\"ports\":[\"set\",[]],\"external_ids\":[\"map\",[]]}}}");
	assert_string_equal(f.sent, "");
	assert_true(bridge_next_event(f.b, &e));
	assert_int_equal(e.type, BRIDGE_REFUSED);
	bridge_free(f.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_echo_and_replies),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_transact_error),
		cmocka_unit_test(test_one_transaction),
		cmocka_unit_test(test_foreign_bridge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
