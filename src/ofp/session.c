/* SPDX-License-Identifier: Apache-2.0 */
#include "ofp/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { IN_MAX = 2 * OFP_MSG_MAX + 2, OUT_DEFAULT = 1 << 20, HANDSHAKE_MAX = 256 };
enum state { CLOSED, WAIT_HELLO, WAIT_FEATURES, WAIT_SETUP, UP };

static const uint32_t OWN_XID = 0x80000000u;
enum { PACKET_IN2_FORMAT = 2, MISS_SEND_LEN = 128 };

struct ofp_session {
	struct ofp_session_conf conf;
	enum state state;
	enum ofp_close_reason reason; /* not NONE: to be told as OFP_EV_CLOSED */
	bool told, eof;
	struct ofp_features features;
	struct ofp_error refusal;
	uint32_t next_xid, own_xid;
	uint32_t setup_barrier;
	int64_t started_ms, heard_ms, probed_ms; /* probed_ms 0: no probe is out */
	size_t in_begin, in_end;
	size_t out_begin, out_end;
	uint8_t *out;
	uint8_t in[IN_MAX];
};

struct ofp_session *ofp_session_new(const struct ofp_session_conf *conf)
{
	struct ofp_session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->conf = *conf;
	if (s->conf.out_max == 0)
		s->conf.out_max = OUT_DEFAULT;
	s->out = malloc(s->conf.out_max);
	if (s->out == NULL) {
		free(s);
		return NULL;
	}
	s->told = true;
	return s;
}

void ofp_session_free(struct ofp_session *s)
{
	if (s == NULL)
		return;
	free(s->out);
	free(s);
}

static void close_with(struct ofp_session *s, enum ofp_close_reason reason)
{
	if (s->state == CLOSED)
		return;
	s->state = CLOSED;
	s->reason = reason;
	s->told = false;
	s->in_begin = s->in_end = 0;
	s->out_begin = s->out_end = 0;
}

static int queue(struct ofp_session *s, const void *msgs, size_t len)
{
	if (s->out_begin > 0 && s->conf.out_max - s->out_end < len) {
		memmove(s->out, s->out + s->out_begin, s->out_end - s->out_begin);
		s->out_end -= s->out_begin;
		s->out_begin = 0;
	}
	if (s->conf.out_max - s->out_end < len)
		return -ENOBUFS;
	memcpy(s->out + s->out_end, msgs, len);
	s->out_end += len;
	return 0;
}

/* Messages of the session's own; if even these do not fit the peer has stopped reading. */
static void queue_own(struct ofp_session *s, const struct wr *w)
{
	if (!wr_ok(w) || queue(s, w->buf, w->len) != 0)
		close_with(s, OFP_CLOSE_OVERFLOW);
}

static uint32_t own_xid(struct ofp_session *s)
{
	s->own_xid = (s->own_xid + 1) & ~OWN_XID;
	return s->own_xid | OWN_XID;
}

void ofp_session_start(struct ofp_session *s, int64_t now_ms)
{
	uint8_t buf[HANDSHAKE_MAX];
	struct wr w = wr_init(buf, sizeof(buf));

	s->state = WAIT_HELLO;
	s->reason = OFP_CLOSE_NONE;
	s->told = true;
	s->eof = false;
	s->in_begin = s->in_end = s->out_begin = s->out_end = 0;
	s->started_ms = s->heard_ms = now_ms;
	s->setup_barrier = 0;
	s->probed_ms = 0;
	ofp_put_hello(&w, own_xid(s));
	queue_own(s, &w);
}

uint8_t *ofp_session_in_space(struct ofp_session *s, size_t *ret_len)
{
	*ret_len = 0;
	if (s->state == CLOSED || s->eof)
		return NULL;
	if (s->in_begin > 0) {
		memmove(s->in, s->in + s->in_begin, s->in_end - s->in_begin);
		s->in_end -= s->in_begin;
		s->in_begin = 0;
	}
	*ret_len = sizeof(s->in) - s->in_end;
	return *ret_len == 0 ? NULL : s->in + s->in_end;
}

void ofp_session_in_done(struct ofp_session *s, size_t len, int64_t now_ms)
{
	if (s->state == CLOSED)
		return;
	if (len == 0) {
		s->eof = true;
		return;
	}
	if (len > sizeof(s->in) - s->in_end)
		len = sizeof(s->in) - s->in_end;
	s->in_end += len;
	s->heard_ms = now_ms;
	s->probed_ms = 0;
}

static void send_setup(struct ofp_session *s)
{
	uint8_t buf[HANDSHAKE_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	struct ofp_async async = { 0 };

	if (s->conf.packet_in) {
		/* Before miss_send_len is non-zero a service connection gets nothing at all. */
		ofp_put_controller_id(&w, own_xid(s), s->conf.controller_id);
		ofp_put_packet_in_format(&w, own_xid(s), PACKET_IN2_FORMAT);
		ofp_put_set_config(&w, own_xid(s), MISS_SEND_LEN);
		async.packet_in = 1u << OFP_REASON_ACTION;
		async.port_status = 7;
		async.flow_removed = 0x3f;
	}
	ofp_put_set_async(&w, own_xid(s), &async);
	if (s->conf.role != OFP_ROLE_NOCHANGE)
		ofp_put_role(&w, OFP_ROLE_REQUEST, own_xid(s), s->conf.role, s->conf.generation);
	s->setup_barrier = own_xid(s);
	ofp_put_plain(&w, OFP_BARRIER_REQUEST, s->setup_barrier);
	queue_own(s, &w);
}

static void answer_echo(struct ofp_session *s, const struct ofp_header *h, const uint8_t *msg)
{
	uint8_t head[OFP_HEADER_LEN] = { OFP_VERSION, OFP_ECHO_REPLY, msg[2], msg[3], msg[4], msg[5], msg[6], msg[7] };

	if (queue(s, head, sizeof(head)) != 0 || queue(s, msg + sizeof(head), h->len - sizeof(head)) != 0)
		close_with(s, OFP_CLOSE_OVERFLOW);
}

static void step_hello(struct ofp_session *s, const struct ofp_header *h, const uint8_t *msg)
{
	uint8_t buf[HANDSHAKE_MAX];
	struct wr w = wr_init(buf, sizeof(buf));
	bool speaks;

	if (h->type != OFP_HELLO || ofp_read_hello(msg, h->len, &speaks) != 0) {
		close_with(s, OFP_CLOSE_PROTOCOL);
		return;
	}
	if (!speaks) {
		close_with(s, OFP_CLOSE_VERSION);
		return;
	}
	ofp_put_plain(&w, OFP_FEATURES_REQUEST, own_xid(s));
	queue_own(s, &w);
	if (s->state != CLOSED)
		s->state = WAIT_FEATURES;
}

static void step_features(struct ofp_session *s, const struct ofp_header *h, const uint8_t *msg)
{
	/* What others set in motion may arrive before our answer; nothing of it concerns us yet. */
	if (h->type != OFP_FEATURES_REPLY)
		return;
	if (ofp_read_features_reply(msg, h->len, &s->features) != 0) {
		close_with(s, OFP_CLOSE_PROTOCOL);
		return;
	}
	send_setup(s);
	if (s->state != CLOSED)
		s->state = WAIT_SETUP;
}

/* Errors before UP, and to the session's own requests later, refuse the connection: it would not be what its owner
 * counts on. */
static void refused(struct ofp_session *s, const struct ofp_error *e)
{
	close_with(s, OFP_CLOSE_REFUSED);
	s->refusal = *e;
	s->refusal.data = NULL;
	s->refusal.data_len = 0;
}

static enum ofp_event_type step_up(const struct ofp_header *h, const uint8_t *msg, struct ofp_event *ret)
{
	*ret = (struct ofp_event){ .type = OFP_EV_MESSAGE, .header = *h, .msg = msg, .len = h->len };
	if (h->type == OFP_BARRIER_REPLY)
		ret->type = OFP_EV_BARRIER;
	return ret->type;
}

/* An error message, in any state but WAIT_HELLO. */
static enum ofp_event_type step_error(struct ofp_session *s, const struct ofp_header *h, const uint8_t *msg,
	struct ofp_event *ret)
{
	struct ofp_error e;

	if (ofp_read_error(msg, h->len, &e) != 0) {
		close_with(s, OFP_CLOSE_PROTOCOL);
		return OFP_EV_NONE;
	}
	if (s->state != UP || (h->xid & OWN_XID)) {
		refused(s, &e);
		return OFP_EV_NONE;
	}
	*ret = (struct ofp_event){ .type = OFP_EV_ERROR, .header = *h, .msg = msg, .len = h->len, .error = e };
	return OFP_EV_ERROR;
}

/* One whole message. OFP_EV_NONE: it was the session's own business. */
static enum ofp_event_type step(struct ofp_session *s, const struct ofp_header *h, const uint8_t *msg,
	struct ofp_event *ret)
{
	if (s->state == WAIT_HELLO && h->type != OFP_ERROR) {
		step_hello(s, h, msg);
		return OFP_EV_NONE;
	}
	if (h->version != OFP_VERSION) {
		close_with(s, s->state == WAIT_HELLO ? OFP_CLOSE_VERSION : OFP_CLOSE_FRAMING);
		return OFP_EV_NONE;
	}
	if (h->type == OFP_ERROR)
		return step_error(s, h, msg, ret);
	if (h->type == OFP_ECHO_REQUEST) {
		answer_echo(s, h, msg);
		return OFP_EV_NONE;
	}
	if (h->type == OFP_ECHO_REPLY || h->type == OFP_HELLO)
		return OFP_EV_NONE;
	if (s->state == WAIT_FEATURES) {
		step_features(s, h, msg);
		return OFP_EV_NONE;
	}
	if (s->state == UP)
		return step_up(h, msg, ret);
	if (h->type != OFP_BARRIER_REPLY || h->xid != s->setup_barrier)
		return OFP_EV_NONE;
	s->state = UP;
	*ret = (struct ofp_event){ .type = OFP_EV_CONNECTED, .features = s->features };
	return OFP_EV_CONNECTED;
}

/* The next whole message of the input, or NULL; a length that cannot be closes. */
static const uint8_t *take(struct ofp_session *s, struct ofp_header *ret)
{
	size_t have = s->in_end - s->in_begin;
	const uint8_t *msg = s->in + s->in_begin;

	if (have < OFP_HEADER_LEN)
		return NULL;
	size_t len = (size_t)(msg[2] << 8 | msg[3]);
	bool known = msg[0] == OFP_VERSION || (s->state == WAIT_HELLO && msg[0] >= 1);
	if (len < OFP_HEADER_LEN || !known) {
		close_with(s, OFP_CLOSE_FRAMING);
		return NULL;
	}
	if (have < len)
		return NULL;
	if (ofp_read_header(msg, len, ret) != 0) {
		close_with(s, OFP_CLOSE_FRAMING);
		return NULL;
	}
	s->in_begin += len;
	return msg;
}

enum ofp_event_type ofp_session_next(struct ofp_session *s, int64_t now_ms, struct ofp_event *ret)
{
	struct ofp_header h;
	const uint8_t *msg;

	(void)now_ms;
	while (s->state != CLOSED && (msg = take(s, &h)) != NULL) {
		enum ofp_event_type type = step(s, &h, msg, ret);
		if (type != OFP_EV_NONE)
			return type;
	}
	if (s->state != CLOSED && s->eof)
		close_with(s, OFP_CLOSE_EOF);
	*ret = (struct ofp_event){ .type = OFP_EV_NONE };
	if (s->state == CLOSED && !s->told) {
		s->told = true;
		ret->type = OFP_EV_CLOSED;
		ret->reason = s->reason;
		if (s->reason == OFP_CLOSE_REFUSED)
			ret->error = s->refusal;
	}
	return ret->type;
}

const uint8_t *ofp_session_out(struct ofp_session *s, size_t *ret_len)
{
	*ret_len = s->out_end - s->out_begin;
	return *ret_len == 0 ? NULL : s->out + s->out_begin;
}

void ofp_session_out_done(struct ofp_session *s, size_t len)
{
	if (len >= s->out_end - s->out_begin)
		s->out_begin = s->out_end = 0;
	else
		s->out_begin += len;
}

int ofp_session_send(struct ofp_session *s, const void *msgs, size_t len)
{
	return s->state == UP ? queue(s, msgs, len) : -ENOTCONN;
}

uint32_t ofp_session_xid(struct ofp_session *s)
{
	s->next_xid = s->next_xid + 1 == OWN_XID ? 1 : s->next_xid + 1;
	return s->next_xid;
}

uint32_t ofp_session_barrier(struct ofp_session *s)
{
	uint8_t buf[OFP_HEADER_LEN];
	struct wr w = wr_init(buf, sizeof(buf));
	uint32_t xid = ofp_session_xid(s);

	ofp_put_plain(&w, OFP_BARRIER_REQUEST, xid);
	return ofp_session_send(s, buf, w.len) == 0 ? xid : 0;
}

bool ofp_session_connected(const struct ofp_session *s)
{
	return s->state == UP;
}

int64_t ofp_session_deadline(const struct ofp_session *s)
{
	if (s->state == CLOSED || s->conf.probe_ms <= 0)
		return INT64_MAX;
	if (s->state != UP)
		return s->started_ms + s->conf.probe_ms;
	return (s->probed_ms != 0 ? s->probed_ms : s->heard_ms) + s->conf.probe_ms;
}

void ofp_session_tick(struct ofp_session *s, int64_t now_ms)
{
	uint8_t buf[OFP_HEADER_LEN];
	struct wr w = wr_init(buf, sizeof(buf));

	if (now_ms < ofp_session_deadline(s))
		return;
	if (s->state != UP || s->probed_ms != 0) {
		close_with(s, OFP_CLOSE_TIMEOUT);
		return;
	}
	s->probed_ms = now_ms == 0 ? 1 : now_ms;
	ofp_put_echo(&w, OFP_ECHO_REQUEST, own_xid(s), buf, 0);
	queue_own(s, &w);
}
