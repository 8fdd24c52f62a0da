/* SPDX-License-Identifier: Apache-2.0 */
/* Every second byte run comes from the other side: decoder, session rules, and what is passed on decodes to the same.
 */
#include "agent/session.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct agent_in in, again;
static uint8_t buf[AGENT_FRAME_MAX];

static void same(const struct agent_frame *f)
{
	struct wr w = wr_init(buf, sizeof(buf));
	agent_put(&w, f->type, f->stream, f->body, f->len);
	if (!wr_ok(&w))
		abort();
	const uint8_t *p = buf;
	size_t left = w.len;
	struct agent_frame g;
	again.have = 0;
	if (agent_in_take(&again, &p, &left, &g) != 1 || left != 0 || g.type != f->type || g.stream != f->stream ||
		g.len != f->len || memcmp(g.body, f->body, f->len) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	enum agent_side side = data[0] & 1 ? AGENT_CLIENT : AGENT_GUEST;
	struct agent_session s;
	uint64_t sent[AGENT_STREAMS] = { 0 }, returned[AGENT_STREAMS] = { 0 };
	agent_session_init(&s);
	if (data[0] & 2)
		agent_session_started(&s);
	in.have = 0;
	const uint8_t *p = data + 1;
	size_t left = len - 1;
	struct agent_frame f;
	while (agent_in_take(&in, &p, &left, &f) == 1) {
		uint32_t credit;
		same(&f);
		if (agent_session_check(&s, side, &f) != 0)
			continue;
		if (f.type == AGENT_DATA)
			sent[f.stream] += f.len;
		if (f.type == AGENT_CREDIT && agent_get_credit(&f, &credit))
			returned[f.stream] += credit;
		if (s.credit[f.stream] > AGENT_WINDOW || sent[f.stream] > AGENT_WINDOW + returned[f.stream])
			abort();
		if (data[0] & 4)
			side = side == AGENT_CLIENT ? AGENT_GUEST : AGENT_CLIENT;
	}
	return 0;
}
