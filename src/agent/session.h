/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "agent/frame.h"

/*
 * The rules of one session as a pure state machine: which frame may come from whom now, and who may still send how
 * much. The keeper asks it about every frame of both sides before it passes one on; what it refuses never reaches the
 * other side.
 */
enum agent_side { AGENT_CLIENT, AGENT_GUEST };
enum agent_phase { AGENT_BOOTING, AGENT_GREETED, AGENT_RUNNING, AGENT_ENDED };

struct agent_session {
	enum agent_phase phase;
	uint32_t credit[AGENT_STREAMS]; /* bytes the stream's sender may still send; agent_session_init() gives
					   AGENT_WINDOW */
	bool ended[AGENT_STREAMS];	/* eof was sent by the sender, of stdin by either side */
	bool unread[AGENT_STREAMS];	/* the client said that it does not read on */
	bool started;			/* the guest said so */
};

void agent_session_init(struct agent_session *s);
/* 0: the frame is lawful and counted. -EPROTO: it is not; the state is unchanged. */
int agent_session_check(struct agent_session *s, enum agent_side from, const struct agent_frame *f)
	__attribute__((warn_unused_result));
/* We sent exec. */
void agent_session_started(struct agent_session *s);

#endif
