/* SPDX-License-Identifier: Apache-2.0 */
/* The verdict is allow: the grant, its live flows (unless they stand: ready.c), then the packet, in this order on one
 * connection (state.h 2). */
#include "gate/state.h"
#include "net/checksum.h"

#include <string.h>

static void tell_desk(struct gate *g, const struct app *app, const struct grant *gr)
{
	struct ipc_grant m = { .grant = gr->number,
		.ref = app->a.ref,
		.inbound = gr->key.inbound,
		.proto = gr->key.proto,
		.port = gr->key.port,
		.peer = gr->key.peer,
		.real = gr->key.real,
		.name = gr->name,
		.other = { .slot = gr->peer_slot, .run = gr->peer_run },
		.since_wall_ms = gr->since_wall_ms };
	memcpy(m.rule, gr->rule, sizeof(m.rule));
	memcpy(m.rule_in, gr->rule_in, sizeof(m.rule_in));
	out_tell(&g->messages, ROLE_DESK, IPC_GRANT, 0, grant, &m);
}

/* Room for one more grant of this app: the longest idle one ends when the limit is reached. */
static bool make_room(struct gate *g, const struct app *app)
{
	if (grants_count(g->grants, app->a.ref.slot) < GRANT_APP_MAX)
		return true;
	struct grant *idlest = grants_idlest(g->grants, app->a.ref.slot);
	if (idlest == NULL)
		return false;
	live_end(g, idlest, "too many grants of this application");
	return true;
}

static struct grant *grant_for(struct gate *g, struct app *app, const struct grant_key *key, const struct name *name,
	unsigned syn, const struct sides *s)
{
	bool counted = s->out.counted || (s->peer != NULL && s->in.counted);
	struct grant *gr = grants_find(g->grants, key);
	bool fresh = gr == NULL;
	if (fresh) {
		int64_t lease_ms = 0;
		if (!make_room(g, app))
			return NULL;
		/* The flows in stock name one app; a grant between two has some for the other, too. */
		uint32_t number = s->peer != NULL ? 0 : ready_take(g, app, s->out.next_change_ms, &lease_ms);
		bool ready = number != 0;
		if (!ready)
			number = gate_number(g);
		gr = number == 0 ? NULL : grants_add(g->grants, key, number);
		if (gr == NULL)
			return NULL;
		gr->ready = ready;
		gr->lease_boot_ms = lease_ms;
		gr->run = app->a.ref.run;
		gr->name = *name;
		gr->syn = syn;
		if (s->peer != NULL) {
			gr->peer_slot = s->peer->a.ref.slot;
			gr->peer_run = s->peer->a.ref.run;
		}
		gr->since_wall_ms = g->wall_ms;
		syn_hold(app->syn, syn, 1);
	}
	/* What a count admitted is held against refusals that came after it: the last admission counts. */
	if (counted) {
		gr->since_wall_ms = g->wall_ms;
		memcpy(gr->rank[0], s->out.rank, sizeof(gr->rank[0]));
		if (s->peer != NULL)
			memcpy(gr->rank[1], s->in.rank, sizeof(gr->rank[1]));
	}
	live_set_rule(g, gr, s);
	neighbour_hold(g, gr);
	grants_used(g->grants, gr, g->boot_ms);
	gr->connections++;
	if (fresh || counted)
		tell_desk(g, app, gr);
	return gr;
}

bool admit_packet(struct gate *g, struct app *app, const struct held *h, const struct name *name, unsigned syn,
	const struct addr *real, const struct sides *s)
{
	struct grant_key key = { .slot = app->a.ref.slot,
		.inbound = h->key.inbound,
		.proto = h->key.proto,
		.port = h->key.dport,
		.peer = h->key.inbound ? h->key.src : h->key.dst,
		.real = *real };
	uint8_t frame[HELD_FRAME_MAX];
	struct packet p;
	memcpy(frame, h->frame, h->len);
	if (packet_parse(frame, h->len, &p) != 0)
		return false;
	/* The copy may carry a partial checksum (switch.md 9); re-injected raw it would be lost. */
	int mended = packet_fix_l4_checksum(frame, h->len, &p);
	(void)mended; /* a protocol without a checksum, or a fragment, goes as it is */
	struct grant *gr = grant_for(g, app, &key, name, syn, s);
	if (gr == NULL)
		return false;
	pipeline_admit(g, app, gr, frame, h->len);
	hot_consider(g, gr);
	if (!s->out.quiet)
		gate_event(g, app, EVENT_CONNECTION, VERDICT_ALLOW, &h->key, name, real, gr->rule, "");
	else
		gate_used(g, gr->rule, 1);
	return true;
}
