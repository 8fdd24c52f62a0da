/* SPDX-License-Identifier: Apache-2.0 */
/* The session, by scripts of what a switch says and when. */
#include "ofp/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE = 1000 };

static uint8_t buf[1 << 17];
static const struct ofp_session_conf conf = { .packet_in = true,
	.controller_id = 7,
	.probe_ms = PROBE,
	.out_max = 4096 };

/* Gives the session these bytes in pieces of at most `piece`. */
static void feed(struct ofp_session *s, const void *bytes, size_t len, size_t piece, int64_t now)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		size_t room, n = len < piece ? len : piece;
		uint8_t *to = ofp_session_in_space(s, &room);
		if (to == NULL)
			return;
		n = n < room ? n : room;
		memcpy(to, p, n);
		ofp_session_in_done(s, n, now);
		p += n;
		len -= n;
	}
}

static struct wr fresh(void)
{
	return wr_init(buf, sizeof(buf));
}

static void give(struct ofp_session *s, const struct wr *w, int64_t now)
{
	assert_true(wr_ok(w));
	feed(s, w->buf, w->len, SIZE_MAX, now);
}

/* The next message the session wants to send; it is taken. */
static struct ofp_header sent(struct ofp_session *s)
{
	struct ofp_header h;
	size_t len;
	const uint8_t *p = ofp_session_out(s, &len);

	assert_non_null(p);
	assert_true(len >= OFP_HEADER_LEN);
	size_t one = (size_t)(p[2] << 8 | p[3]);
	assert_true(one <= len);
	assert_int_equal(ofp_read_header(p, one, &h), 0);
	ofp_session_out_done(s, one);
	return h;
}

static void silent(struct ofp_session *s)
{
	size_t len;

	assert_null(ofp_session_out(s, &len));
	assert_int_equal(len, 0);
}

static void closes(struct ofp_session *s, enum ofp_close_reason reason)
{
	struct ofp_event ev;
	size_t room;

	assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_CLOSED);
	assert_int_equal(ev.reason, reason);
	assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_NONE);
	assert_false(ofp_session_connected(s));
	assert_null(ofp_session_in_space(s, &room));
	silent(s);
	assert_int_equal(ofp_session_deadline(s), INT64_MAX);
	assert_int_equal(ofp_session_send(s, "", 0), -ENOTCONN);
}

static struct ofp_header to_setup(struct ofp_session *s, int64_t now)
{
	struct ofp_event ev;
	struct wr w = fresh();

	ofp_session_start(s, now);
	assert_int_equal(sent(s).type, OFP_HELLO);
	silent(s);
	ofp_put_hello(&w, 1);
	give(s, &w, now);
	assert_int_equal(ofp_session_next(s, now, &ev), OFP_EV_NONE);
	struct ofp_header h = sent(s);
	assert_int_equal(h.type, OFP_FEATURES_REQUEST);
	w = fresh();
	ofp_put_features_reply(&w, h.xid, &(struct ofp_features){ .datapath_id = 42, .n_tables = 254 });
	give(s, &w, now);
	assert_int_equal(ofp_session_next(s, now, &ev), OFP_EV_NONE);
	assert_int_equal(sent(s).nx_type, OFP_NX_SET_CONTROLLER_ID);
	assert_int_equal(sent(s).nx_type, OFP_NX_SET_PACKET_IN_FORMAT);
	assert_int_equal(sent(s).type, OFP_SET_CONFIG);
	assert_int_equal(sent(s).type, OFP_SET_ASYNC);
	h = sent(s);
	assert_int_equal(h.type, OFP_BARRIER_REQUEST);
	silent(s);
	return h;
}

static struct ofp_session *up(int64_t now)
{
	struct ofp_session *s = ofp_session_new(&conf);
	struct ofp_event ev;
	struct wr w;

	assert_non_null(s);
	struct ofp_header h = to_setup(s, now);
	assert_false(ofp_session_connected(s));
	assert_int_equal(ofp_session_send(s, "", 0), -ENOTCONN);
	w = fresh();
	ofp_put_plain(&w, OFP_BARRIER_REPLY, h.xid);
	give(s, &w, now);
	assert_int_equal(ofp_session_next(s, now, &ev), OFP_EV_CONNECTED);
	assert_int_equal(ev.features.datapath_id, 42);
	assert_true(ofp_session_connected(s));
	return s;
}

static void test_connects_and_restarts(void **state)
{
	(void)state;
	struct ofp_session *s = up(5);
	struct ofp_event ev;

	ofp_session_in_done(s, 0, 6);
	closes(s, OFP_CLOSE_EOF);
	to_setup(s, 7);
	assert_int_equal(ofp_session_next(s, 7, &ev), OFP_EV_NONE);
	ofp_session_free(s);
	ofp_session_free(NULL);
}

static void test_quiet_connection(void **state)
{
	(void)state;
	struct ofp_session *s =
		ofp_session_new(&(struct ofp_session_conf){ .role = OFP_ROLE_PRIMARY, .generation = 3 });
	struct ofp_event ev;
	struct wr w = fresh();

	ofp_session_start(s, 0);
	assert_int_equal(ofp_session_deadline(s), INT64_MAX);
	sent(s);
	ofp_put_hello(&w, 1);
	ofp_put_features_reply(&w, 1, &(struct ofp_features){ 0 });
	/* Byte by byte. */
	feed(s, buf, w.len, 1, 0);
	assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_NONE);
	assert_int_equal(sent(s).type, OFP_FEATURES_REQUEST);
	assert_int_equal(sent(s).type, OFP_SET_ASYNC);
	assert_int_equal(sent(s).type, OFP_ROLE_REQUEST);
	assert_int_equal(sent(s).type, OFP_BARRIER_REQUEST);
	ofp_session_free(s);
}

static void test_events(void **state)
{
	(void)state;
	struct ofp_session *s = up(0);
	struct ofp_packet_in pi;
	struct ofp_event ev;
	struct wr w = fresh();
	uint32_t xid = ofp_session_barrier(s);

	assert_int_not_equal(xid, 0);
	assert_int_equal(sent(s).xid, xid);
	ofp_put_packet_in(&w, 0,
		&(struct ofp_packet_in){ .frame = (const uint8_t *)"frame", .frame_len = 5, .in_port = 2 });
	ofp_put_echo(&w, OFP_ECHO_REQUEST, 77, "ping", 4);
	ofp_put_plain(&w, OFP_BARRIER_REPLY, xid);
	ofp_put_error(&w, 9, &(struct ofp_error){ .type = 5, .code = 1 });
	feed(s, buf, w.len, 3, 1);
	assert_int_equal(ofp_session_next(s, 1, &ev), OFP_EV_MESSAGE);
	assert_int_equal(ev.header.nx_type, OFP_NX_PACKET_IN2);
	assert_int_equal(ofp_read_packet_in(ev.msg, ev.len, &pi), 0);
	assert_int_equal(pi.in_port, 2);
	assert_int_equal(ofp_session_next(s, 1, &ev), OFP_EV_BARRIER);
	assert_int_equal(ev.header.xid, xid);
	assert_int_equal(ofp_session_next(s, 1, &ev), OFP_EV_ERROR);
	assert_int_equal(ev.header.xid, 9);
	assert_int_equal(ev.error.type, 5);
	assert_int_equal(ofp_session_next(s, 1, &ev), OFP_EV_NONE);
	size_t len;
	const uint8_t *echo = ofp_session_out(s, &len);
	assert_int_equal(len, 12);
	assert_int_equal(echo[1], OFP_ECHO_REPLY);
	assert_int_equal(echo[7], 77);
	assert_memory_equal(echo + 8, "ping", 4);
	ofp_session_out_done(s, 5);
	assert_non_null(ofp_session_out(s, &len));
	assert_int_equal(len, 7);
	ofp_session_free(s);
}

static void test_framing_closes(void **state)
{
	(void)state;
	static const uint8_t bad[][8] = { { 6, 2, 0, 7, 0, 0, 0, 1 }, { 6, 2, 0, 0, 0, 0, 0, 1 },
		{ 5, 2, 0, 8, 0, 0, 0, 1 }, { 0, 2, 0, 8 }, { 6, 4, 0, 8 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct ofp_session *s = up(0);
		feed(s, bad[i], 8, 8, 0);
		closes(s, OFP_CLOSE_FRAMING);
		ofp_session_free(s);
	}
}

/* The largest message passes; what follows it is in step. */
static void test_largest(void **state)
{
	(void)state;
	struct ofp_session *s = up(0);
	struct ofp_event ev;
	static uint8_t frame[60000];

	for (unsigned i = 0; i < 5; i++) {
		struct wr w = fresh();
		ofp_put_packet_in(&w, i,
			&(struct ofp_packet_in){ .frame = frame, .frame_len = sizeof(frame), .in_port = 2 });
		give(s, &w, 0);
		assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_MESSAGE);
		assert_int_equal(ev.header.xid, i);
	}
	ofp_session_free(s);
}

static void test_handshake_refusals(void **state)
{
	(void)state;
	struct ofp_session *s = ofp_session_new(&conf);
	struct ofp_event ev;
	struct wr w = fresh();

	ofp_put_hello(&w, 1);
	buf[0] = 4;
	buf[15] = 0x10; /* 1.3 alone */
	ofp_session_start(s, 0);
	give(s, &w, 0);
	closes(s, OFP_CLOSE_VERSION);

	w = fresh();
	ofp_put_plain(&w, OFP_BARRIER_REPLY, 1);
	ofp_session_start(s, 0);
	give(s, &w, 0);
	closes(s, OFP_CLOSE_PROTOCOL);

	w = fresh();
	ofp_put_error(&w, 1, &(struct ofp_error){ 0 });
	buf[0] = 4;
	ofp_session_start(s, 0);
	give(s, &w, 0);
	closes(s, OFP_CLOSE_VERSION);

	struct ofp_header h = to_setup(s, 0);
	w = fresh();
	ofp_put_error(&w, h.xid - 1, &(struct ofp_error){ .type = 1, .code = 5 });
	give(s, &w, 0);
	assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_CLOSED);
	assert_int_equal(ev.reason, OFP_CLOSE_REFUSED);
	assert_int_equal(ev.error.code, 5);

	ofp_session_start(s, 0);
	w = fresh();
	ofp_put_hello(&w, 1);
	size_t at = ofp_begin(&w, OFP_FEATURES_REPLY, 1);
	ofp_end(&w, at);
	give(s, &w, 0);
	closes(s, OFP_CLOSE_PROTOCOL);

	/* Later, too, an error to what the session itself asked. */
	struct ofp_session *later = up(0);
	w = fresh();
	ofp_put_error(&w, 0x80000001u, &(struct ofp_error){ .type = 1, .code = 5 });
	give(later, &w, 0);
	closes(later, OFP_CLOSE_REFUSED);
	ofp_session_free(later);

	/* An error too short to be one. */
	to_setup(s, 0);
	w = fresh();
	ofp_end(&w, ofp_begin(&w, OFP_ERROR, 1));
	give(s, &w, 0);
	closes(s, OFP_CLOSE_PROTOCOL);
	ofp_session_free(s);
}

static void test_times(void **state)
{
	(void)state;
	struct ofp_session *s = ofp_session_new(&conf);
	struct wr w = fresh();
	struct ofp_event ev;

	ofp_session_start(s, 100);
	assert_int_equal(ofp_session_deadline(s), 100 + PROBE);
	ofp_session_tick(s, 100 + PROBE - 1);
	assert_int_equal(ofp_session_next(s, 0, &ev), OFP_EV_NONE);
	ofp_session_tick(s, 100 + PROBE);
	closes(s, OFP_CLOSE_TIMEOUT);
	ofp_session_free(s);

	s = up(100);
	ofp_session_tick(s, 100 + PROBE);
	assert_int_equal(sent(s).type, OFP_ECHO_REQUEST);
	assert_int_equal(ofp_session_deadline(s), 100 + 2 * PROBE);
	ofp_session_tick(s, 100 + PROBE + 1);
	silent(s);
	ofp_put_echo(&w, OFP_ECHO_REPLY, 1, NULL, 0);
	give(s, &w, 1500);
	assert_int_equal(ofp_session_next(s, 1500, &ev), OFP_EV_NONE);
	assert_int_equal(ofp_session_deadline(s), 1500 + PROBE);
	ofp_session_tick(s, 1500 + PROBE);
	assert_int_equal(sent(s).type, OFP_ECHO_REQUEST);
	ofp_session_tick(s, 1500 + 2 * PROBE);
	closes(s, OFP_CLOSE_TIMEOUT);
	ofp_session_free(s);
}

static void test_full_output(void **state)
{
	(void)state;
	struct ofp_session *s = up(0);
	static uint8_t msg[1000];
	struct wr w = fresh();
	size_t len;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ofp_session_send(s, msg, sizeof(msg)), 0);
	assert_int_equal(ofp_session_send(s, msg, sizeof(msg)), -ENOBUFS);
	ofp_session_out_done(s, 1000);
	assert_int_equal(ofp_session_send(s, msg, sizeof(msg)), 0);
	ofp_session_out(s, &len);
	assert_int_equal(len, 4000);
	/* A peer that asks for echoes and never reads. */
	ofp_put_echo(&w, OFP_ECHO_REQUEST, 1, msg, sizeof(msg));
	give(s, &w, 0);
	closes(s, OFP_CLOSE_OVERFLOW);
	ofp_session_free(s);
}

static void test_xid(void **state)
{
	(void)state;
	struct ofp_session *s = up(0);
	uint32_t a = ofp_session_xid(s);

	assert_int_equal(ofp_session_xid(s), a + 1);
	assert_true(a < 0x80000000u && a > 0);
	ofp_session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connects_and_restarts),
		cmocka_unit_test(test_quiet_connection),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_framing_closes),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_handshake_refusals),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_full_output),
		cmocka_unit_test(test_xid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
