/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/session.h"

#include <errno.h>

void agent_session_init(struct agent_session *s)
{
	*s = (struct agent_session){ .phase = AGENT_BOOTING };
	for (unsigned i = 0; i < AGENT_STREAMS; i++)
		s->credit[i] = AGENT_WINDOW;
}

void agent_session_started(struct agent_session *s)
{
	s->phase = AGENT_RUNNING;
}

/* The side that sends the data of a stream; the other one sends its credits. */
static enum agent_side stream_sender(enum agent_stream stream)
{
	return stream == AGENT_STDIN ? AGENT_CLIENT : AGENT_GUEST;
}

static int check_data(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	if (stream_sender(f->stream) != from || s->ended[f->stream] || f->len > s->credit[f->stream])
		return -EPROTO;
	s->credit[f->stream] -= (uint32_t)f->len;
	return 0;
}

static int check_eof(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	/* The guest, too, knows when its program's stdin has ended: under an earlier keeper. */
	bool reader = stream_sender(f->stream) != from && f->stream != AGENT_STDIN;
	bool *said = reader ? &s->unread[f->stream] : &s->ended[f->stream];
	if (*said)
		return -EPROTO;
	*said = true;
	return 0;
}

/* Only what was sent and not yet returned can be returned: the credit never exceeds the window. */
static int check_credit(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	uint32_t bytes;
	if (stream_sender(f->stream) == from || !agent_get_credit(f, &bytes) ||
		bytes > AGENT_WINDOW - s->credit[f->stream])
		return -EPROTO;
	s->credit[f->stream] += bytes;
	return 0;
}

static int check_hello(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	uint32_t version;
	if (from != AGENT_GUEST || s->phase != AGENT_BOOTING || !agent_get_hello(f, &version) ||
		version != AGENT_VERSION)
		return -EPROTO;
	s->phase = AGENT_GREETED;
	return 0;
}

/* Before exec the guest may give up (it could not set itself up), so an exit is lawful from its hello on. */
static int check_exit(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	struct agent_exit e;
	if (from != AGENT_GUEST || s->phase == AGENT_BOOTING || !agent_get_exit(f, &e))
		return -EPROTO;
	s->phase = AGENT_ENDED;
	return 0;
}

static int check_started(struct agent_session *s, enum agent_side from)
{
	if (from != AGENT_GUEST || s->started)
		return -EPROTO;
	s->started = true;
	return 0;
}

int agent_session_check(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
{
	uint16_t rows, cols;
	uint8_t signal;
	if (s->phase == AGENT_ENDED && from == AGENT_GUEST)
		return -EPROTO;
	/* A client may type ahead; the guest may not speak before it has something to run. */
	if (from == AGENT_GUEST && s->phase != AGENT_RUNNING && f->type != AGENT_HELLO && f->type != AGENT_EXIT)
		return -EPROTO;
	switch (f->type) {
	case AGENT_HELLO:
		return check_hello(s, from, f);
	case AGENT_EXEC:
		return -EPROTO;
	case AGENT_DATA:
		return check_data(s, from, f);
	case AGENT_EOF:
		return check_eof(s, from, f);
	case AGENT_WINCH:
		return from == AGENT_CLIENT && agent_get_winch(f, &rows, &cols) ? 0 : -EPROTO;
	case AGENT_SIGNAL:
		return from == AGENT_CLIENT && agent_get_signal(f, &signal) ? 0 : -EPROTO;
	case AGENT_EXIT:
		return check_exit(s, from, f);
	case AGENT_CREDIT:
		return check_credit(s, from, f);
	case AGENT_STARTED:
		return check_started(s, from);
	}
	return -EPROTO;
}
