/* SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

#include "net/packet.h"
#include "policy/id.h"
#include "policy/image.h"
#include "policy/print.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { T_LIVE = 45, T_HOT = 48, R_APP = 0, R_ZONE = 1, R_DIR = 2, R_PORT = 3 };

static uint8_t buf[1 << 20];

static const struct policy_net env_nets[] = {
	{ .addr = { 4, { 192, 168, 1, 2 } }, .prefix = 32 },
	{ .addr = { 4, { 100, 64, 0, 0 } }, .prefix = 20 },
};

static void feed(struct world *w, enum gate_conn c, const struct wr *msg)
{
	struct ofp_session *s = gate_session(w->g, c);
	const uint8_t *p = msg->buf;
	size_t left = msg->len;
	assert_true(wr_ok(msg));
	while (left > 0) {
		size_t room;
		uint8_t *to = ofp_session_in_space(s, &room);
		assert_non_null(to);
		size_t n = left < room ? left : room;
		memcpy(to, p, n);
		ofp_session_in_done(s, n, w->boot_ms);
		assert_int_equal(gate_events(w->g, c), 0);
		p += n;
		left -= n;
	}
}

/* --- the switch --- */

static void live_put(struct world *w, const struct ofp_flow_mod *fm)
{
	uint32_t mark = (uint32_t)ofp_match_get(&fm->match, OFP_F_CT_MARK, 0);
	uint16_t app = (uint16_t)ofp_match_get_reg(&fm->match, R_APP, NULL);
	uint8_t dir = (uint8_t)ofp_match_get_reg(&fm->match, R_DIR, NULL);
	struct world_live *place = NULL;
	for (unsigned i = 0; i < WORLD_LIVE; i++) {
		struct world_live *l = &w->live[i];
		if (l->mark == mark && l->app == app && l->dir == dir)
			place = l;
		else if (l->mark == 0 && place == NULL)
			place = l;
		if (place != NULL && place->mark != 0)
			break;
	}
	assert_non_null(place);
	*place = (struct world_live){ mark, app, dir, w->boot_ms + (int64_t)fm->hard_s * 1000 };
}

static void live_delete(struct world *w, const struct ofp_flow_mod *fm)
{
	uint32_t mark = (uint32_t)ofp_match_get(&fm->match, OFP_F_CT_MARK, 0);
	for (unsigned i = 0; i < WORLD_LIVE; i++) {
		if (w->live[i].mark == mark)
			w->live[i].mark = 0;
	}
}

static void flow_mod(struct world *w, const uint8_t *msg, size_t len)
{
	struct ofp_flow_mod fm;
	assert_int_equal(ofp_read_flow_mod(msg, len, &fm), 0);
	w->n_app_deletes += fm.table == OFP_TABLE_ALL && fm.command == OFP_FLOW_DELETE;
	if (fm.table < WORLD_TABLES && fm.command == OFP_FLOW_ADD)
		w->n_added[fm.table]++;
	if (fm.table == T_LIVE && fm.command == OFP_FLOW_ADD && ofp_match_get(&fm.match, OFP_F_CT_MARK, 0) != 0)
		live_put(w, &fm);
	else if (fm.table == T_LIVE && fm.command == OFP_FLOW_DELETE)
		live_delete(w, &fm);
	else if (fm.table == T_HOT && fm.command == OFP_FLOW_ADD && fm.priority == 200)
		w->n_hot++;
	else if (fm.table == T_HOT && fm.command == OFP_FLOW_ADD && fm.priority == 300)
		w->n_refused_rows++;
}

static void packet_out(struct world *w, const uint8_t *msg, size_t len)
{
	struct ofp_packet_out po;
	struct ofp_act a;
	bool commits = false;
	assert_int_equal(ofp_read_packet_out(msg, len, &po), 0);
	struct rd r = rd_init(po.actions, po.actions_len);
	while (ofp_act_read(&r, &a)) {
		if (a.type != OFP_ACT_CT || !a.ct.commit)
			continue;
		commits = true;
		w->last_mark = a.ct.mark;
		w->last_zone = a.ct.zone;
		w->last_nat = a.ct.nat_addr;
		/* The one door: what is committed has its live rows already. */
		assert_true(world_live_rows(w, a.ct.mark) >= 2);
	}
	if (commits) {
		w->n_admits++;
		return;
	}
	w->n_frames++;
	w->frame_len = po.frame_len < sizeof(w->frame) ? po.frame_len : sizeof(w->frame);
	memcpy(w->frame, po.frame, w->frame_len);
}

static void multipart(struct world *w, enum gate_conn c, const uint8_t *msg, size_t len, uint32_t xid)
{
	static uint8_t reply[1 << 16];
	struct ofp_multipart mp;
	struct wr out = wr_init(reply, sizeof(reply));
	assert_int_equal(ofp_read_multipart(msg, len, &mp), 0);
	if (mp.type != OFP_MP_FLOW_DESC)
		return;
	struct ofp_flow_mod want;
	assert_int_equal(ofp_read_flow_desc_request(msg, len, &want), 0);
	uint32_t mark = (uint32_t)ofp_match_get(&want.match, OFP_F_CT_MARK, 0);
	size_t at = ofp_begin_multipart_reply(&out, xid, OFP_MP_FLOW_DESC, false);
	for (unsigned i = 0; i < WORLD_LIVE && mark != 0; i++) {
		const struct world_live *l = &w->live[i];
		if (l->mark != mark)
			continue;
		struct ofp_flow_desc fd = { .table = T_LIVE,
			.goto_table = 60,
			.priority = 200,
			.packets = 1,
			.bytes = 60 };
		ofp_match_init(&fd.match);
		ofp_match_reg(&fd.match, R_APP, l->app);
		ofp_match_reg(&fd.match, R_DIR, l->dir);
		ofp_match_ct_mark(&fd.match, l->mark);
		ofp_put_flow_desc(&out, &fd);
	}
	ofp_end(&out, at);
	feed(w, c, &out);
}

static void switch_takes(struct world *w, enum gate_conn c, const uint8_t *msg, size_t len)
{
	struct ofp_header h;
	struct wr out = wr_init(buf, sizeof(buf));
	assert_int_equal(ofp_read_header(msg, len, &h), 0);
	if (h.type == OFP_HELLO) {
		ofp_put_hello(&out, 1);
		feed(w, c, &out);
	} else if (h.type == OFP_FEATURES_REQUEST) {
		ofp_put_features_reply(&out, h.xid, &(struct ofp_features){ .datapath_id = 1, .n_tables = 254 });
		feed(w, c, &out);
	} else if (h.type == OFP_BARRIER_REQUEST && !w->hold_barriers) {
		ofp_put_plain(&out, OFP_BARRIER_REPLY, h.xid);
		feed(w, c, &out);
	} else if (h.type == OFP_FLOW_MOD) {
		flow_mod(w, msg, len);
	} else if (h.type == OFP_BUNDLE_ADD) {
		const uint8_t *inner;
		size_t inner_len;
		uint32_t bundle;
		assert_int_equal(ofp_read_bundle_add(msg, len, &bundle, &inner, &inner_len), 0);
		flow_mod(w, inner, inner_len);
	} else if (h.type == OFP_PACKET_OUT) {
		packet_out(w, msg, len);
	} else if (h.type == OFP_MULTIPART_REQUEST) {
		multipart(w, c, msg, len, h.xid);
	}
}

static bool switch_turn(struct world *w)
{
	bool any = false;
	for (enum gate_conn c = 0; c < CONN_COUNT; c++) {
		static uint8_t one[OFP_MSG_MAX];
		size_t len;
		const uint8_t *p;
		while (gate_session(w->g, c) != NULL && (p = ofp_session_out(gate_session(w->g, c), &len)) != NULL) {
			size_t n = (size_t)(p[2] << 8 | p[3]);
			assert_true(n <= len);
			memcpy(one, p, n);
			ofp_session_out_done(gate_session(w->g, c), n);
			switch_takes(w, c, one, n);
			any = true;
		}
	}
	return any;
}

/* --- desk and the others --- */

static void give_block(struct world *w)
{
	struct ipc_block b = { .first = w->next_number, .count = 4096 };
	w->next_number += 4096;
	gate_block(w->g, &b);
}

static void resolver_is_asked(struct world *w, uint32_t id)
{
	w->resolve_id = id;
	w->n_resolves++;
	if (w->n_asked < WORLD_ASKED)
		w->asked[w->n_asked++] = id;
}

static void desk_takes(struct world *w, const struct out_msg *m)
{
	struct ipc_charge c;
	struct ipc_u32 n;
	if (m->type == IPC_CHARGE && ipc_charge_get(m->body, m->len, &c)) {
		assert_true(w->n_charges < WORLD_CHARGES);
		struct world_charge *k = &w->charge[w->n_charges];
		k->id = m->id;
		memcpy(k->rule, c.rule, sizeof(k->rule));
		w->n_charges += !w->desk_away;
	} else if (m->type == IPC_GRANT_WANT && !w->desk_away) {
		give_block(w);
	} else if (m->type == IPC_QUESTION && ipc_question_get(m->body, m->len, &w->question)) {
		w->n_questions++;
	} else if (m->type == IPC_QUESTION_END && ipc_u32_get(m->body, m->len, &n)) {
		w->n_question_ends++;
	} else if (m->type == IPC_GRANT && ipc_grant_get(m->body, m->len, &w->grant)) {
		w->n_grants++;
	} else if (m->type == IPC_GRANT_END && ipc_grant_end_get(m->body, m->len, &w->grant_end)) {
		w->n_grant_ends++;
	} else if (m->type == IPC_RESULT) {
		w->n_results++;
	} else if (m->type == IPC_SYN) {
		w->n_syns++;
	} else if (m->type == IPC_EVENT && ipc_event_get(m->body, m->len, &w->event)) {
		w->n_refused += w->event.kind == EVENT_REFUSED;
	}
}

void world_turn(struct world *w)
{
	struct out_msg m;
	bool any = true;
	while (any) {
		any = switch_turn(w);
		while (out_msg_next(gate_messages(w->g), &m)) {
			static uint8_t body[1 << 16];
			struct ipc_zone zone;
			memcpy(body, m.body, m.len);
			m.body = body;
			any = true;
			if (m.to == ROLE_DESK)
				desk_takes(w, &m);
			else if (m.to == ROLE_NAMES && ipc_lookup_answer_get(m.body, m.len, &w->answer))
				w->n_answers++;
			else if (m.to == ROLE_RESOLVER && m.type == IPC_RESOLVE &&
				 ipc_resolve_get(m.body, m.len, &w->resolve))
				resolver_is_asked(w, m.id);
			else if (m.to == ROLE_SWITCHD && m.type == IPC_ZONE_SET && ipc_zone_get(m.body, m.len, &zone)) {
				w->zone_limit[zone.zone] = zone.limit;
				w->n_flushes += !zone.keep;
			}
		}
	}
}

size_t world_rule(struct world *w, const char *line)
{
	struct policy_diag d;
	size_t i = w->n_rules++;
	struct policy_entry *e = &w->rule[i];
	assert_true(i < WORLD_RULES);
	if (policy_parse_rule(line, strlen(line), &e->rule, &d) != 0)
		fail_msg("%s: %s", line, d.message);
	e->meta = (struct policy_meta){ .origin = POLICY_ORIGIN_ADMIN,
		.owner = POLICY_OWNER_ANY,
		.created_ms = w->wall_ms,
		.deadline_ms = policy_lives_deadline(&e->rule.lives, NULL, 0, w->wall_ms),
		.times_left = e->rule.lives.times };
	assert_int_equal(policy_id(&e->rule, e->meta.origin, e->meta.owner, e->meta.id), 0);
	return i;
}

void world_rule_end(struct world *w, size_t rule, enum policy_end why)
{
	w->rule[rule].meta.ended = why;
}

void world_policy(struct world *w)
{
	struct policy_entry given[WORLD_RULES];
	struct policy_input in = { .rules = given,
		.env = { .host = &env_nets[0], .n_host = 1, .peers = &env_nets[1], .n_peers = 1 } };
	for (size_t i = 0; i < w->n_rules; i++) {
		/* As desk does: running rules, and used-up ones. */
		if (w->rule[i].meta.ended == POLICY_RUNNING || w->rule[i].meta.ended == POLICY_END_USED)
			given[in.n_rules++] = w->rule[i];
	}
	struct policy *p;
	size_t len;
	assert_int_equal(policy_compile(&in, &p, NULL), 0);
	const void *image = policy_image(p, &len);
	struct gate_image given_image = { .base = image, .len = len };
	gate_policy(w->g, 1, ++w->generation, &given_image);
	for (unsigned i = 0; !w->hold_reload && i < 1000 && gate_deadline(w->g) == w->boot_ms; i++)
		gate_tick(w->g);
	for (unsigned i = 0; i < WORLD_POLICIES; i++) {
		const void *old = w->policy[i] == NULL ? NULL : policy_image(w->policy[i], &len);
		if (old != NULL && !gate_policy_uses(w->g, old)) {
			policy_free(w->policy[i]);
			w->policy[i] = NULL;
		}
		if (w->policy[i] == NULL) {
			w->policy[i] = p;
			p = NULL;
		}
	}
	assert_null(p);
	world_turn(w);
}

void world_settle(struct world *w, unsigned max)
{
	bool used = false;
	unsigned n = w->n_charges < max ? w->n_charges : max;
	for (unsigned k = 0; k < n; k++) {
		int err = -2;
		for (size_t i = 0; i < w->n_rules && err != 0; i++) {
			struct policy_meta *m = &w->rule[i].meta;
			if (m->ended != POLICY_RUNNING || memcmp(m->id, w->charge[k].rule, sizeof(m->id)) != 0 ||
				m->times_left == 0)
				continue;
			err = 0;
			if (--m->times_left == 0) {
				m->ended = POLICY_END_USED;
				used = true;
			}
		}
		gate_charged(w->g, w->charge[k].id, err);
	}
	w->n_charges -= n;
	memmove(w->charge, w->charge + n, w->n_charges * sizeof(w->charge[0]));
	if (used)
		world_policy(w);
	world_turn(w);
}

/* --- the whole --- */

static struct plan the_plan(const struct world *w)
{
	struct plan plan;
	char error[PLAN_ERROR_MAX];
	assert_true(plan_parse("100.64.0.0/20", "fd73:6b69:7368::/48", &plan));
	if (w->lan)
		assert_true(plan_lan_parse("192.0.2.10-192.0.2.99/24 via 192.0.2.1", false, &plan.lan4, error));
	return plan;
}

static void begin(struct world *w)
{
	struct plan plan = the_plan(w);
	struct ipc_switch sw = { .names_ofport = WORLD_NAMES,
		.uplink_ofport = WORLD_UPLINK,
		.has_v4 = true,
		.has_v6 = true,
		.uplink_kind = w->lan ? UPLINK_PORT : UPLINK_NAT };
	w->g = gate_new(&plan, 0x5e6b, 60000);
	assert_non_null(w->g);
	gate_clock(w->g, w->boot_ms, w->wall_ms);
	gate_switch(w->g, &sw);
	world_turn(w);
	give_block(w);
}

static struct world *make(bool lan)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->lan = lan;
	w->boot_ms = 1000000;
	w->wall_ms = 1800000000000;
	w->next_number = 1;
	begin(w);
	world_policy(w);
	gate_sync_end(w->g);
	world_turn(w);
	assert_true(gate_synced(w->g));
	return w;
}

struct world *world_new(void)
{
	return make(false);
}

struct world *world_new_lan(void)
{
	return make(true);
}

void world_free(struct world *w)
{
	gate_free(w->g);
	for (unsigned i = 0; i < WORLD_POLICIES; i++)
		policy_free(w->policy[i]);
	for (size_t i = 0; i < w->n_rules; i++)
		policy_rule_fini(&w->rule[i].rule);
	free(w);
}

static struct ipc_app app_at(const struct world *w, uint16_t slot, const char *name, uint32_t owner)
{
	struct plan plan = the_plan(w);
	struct ipc_app a = { .ref = { .slot = slot, .run = slot },
		.owner = owner,
		.ofport = slot,
		.zone = (uint16_t)(40000 + 2 * slot),
		.names_zone = (uint16_t)(40001 + 2 * slot),
		.mac = plan_mac(slot, slot, 0),
		.v4 = plan_guest(&plan, slot, false),
		.v4_gateway = plan_v4(&plan, slot, 1),
		.v6 = plan_v6(&plan, slot, 2) };
	strncpy(a.name, name, sizeof(a.name) - 1);
	return a;
}

void world_app(struct world *w, uint16_t slot, const char *name, uint32_t owner)
{
	struct ipc_app a = app_at(w, slot, name, owner);
	gate_app_add(w->g, 7, &a);
	world_turn(w);
}

void world_app_ends(struct world *w, uint16_t slot)
{
	struct ipc_app_ref ref = { .slot = slot, .run = slot };
	gate_app_del(w->g, 8, &ref);
	world_turn(w);
}

void world_gate_again(struct world *w, const struct ipc_grant *grants, size_t n, bool policy)
{
	gate_free(w->g);
	begin(w);
	w->n_charges = 0;
	for (uint16_t slot = 1; slot < 8; slot++) {
		struct ipc_app a = app_at(w, slot, "web", 1000);
		gate_app_add(w->g, 7, &a);
	}
	for (size_t i = 0; i < n; i++)
		gate_grant_restore(w->g, &grants[i]);
	if (policy)
		world_policy(w);
	gate_sync_end(w->g);
	world_turn(w);
	assert_true(gate_synced(w->g));
}

static void switch_forgets(struct world *w)
{
	for (unsigned i = 0; i < WORLD_LIVE; i++) {
		if (w->live[i].mark != 0 && w->live[i].until_ms <= w->boot_ms)
			w->live[i].mark = 0;
	}
}

void world_pass(struct world *w, int64_t ms)
{
	int64_t end = w->boot_ms + ms;
	while (w->boot_ms < end) {
		int64_t at = gate_deadline(w->g), now = w->boot_ms;
		int64_t next = at < 0 || at > end ? end : at <= now ? now + 1 : at;
		w->boot_ms = next;
		w->wall_ms += next - now;
		switch_forgets(w);
		gate_clock(w->g, w->boot_ms, w->wall_ms);
		if (at >= 0 && next >= at)
			gate_tick(w->g);
		world_turn(w);
	}
}

void world_set_wall(struct world *w, int64_t by_ms)
{
	w->wall_ms += by_ms;
}

static uint16_t sum(const uint8_t *p, size_t len)
{
	uint32_t s = 0;
	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (s >> 16 != 0)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)~s;
}

void world_connect(struct world *w, uint16_t slot, uint8_t proto, uint32_t dst, uint16_t sport, uint16_t dport)
{
	struct ipc_app a = app_at(w, slot, "", 0);
	struct mac router = plan_router_mac();
	uint8_t frame[64];
	struct wr f = wr_init(frame, sizeof(frame));
	size_t l4 = proto == IP_TCP ? 20 : 8;
	wr_bytes(&f, router.b, 6);
	wr_bytes(&f, a.mac.b, 6);
	wr_u16(&f, 0x0800);
	wr_u16(&f, 0x4500);
	wr_u16(&f, (uint16_t)(20 + l4));
	wr_u32(&f, 0);
	wr_u16(&f, (uint16_t)(64 << 8 | proto));
	wr_u16(&f, 0);
	wr_bytes(&f, a.v4.b, 4);
	wr_u32(&f, dst);
	uint16_t check = sum(frame + 14, 20);
	frame[24] = (uint8_t)(check >> 8);
	frame[25] = (uint8_t)check;
	wr_u16(&f, sport);
	wr_u16(&f, dport);
	if (proto == IP_TCP) {
		wr_u32(&f, 1);
		wr_u32(&f, 0);
		wr_u16(&f, 0x5002);
		wr_u16(&f, 1024);
		wr_u32(&f, 0);
	} else {
		wr_u16(&f, 8);
		wr_u16(&f, 0);
	}
	static const uint8_t userdata[4] = { 0x5e, 0x6b, 1, 0 };
	struct ofp_packet_in pi = { .frame = frame,
		.frame_len = f.len,
		.full_len = f.len,
		.userdata = userdata,
		.userdata_len = 4,
		.reason = OFP_REASON_ACTION,
		.table = 51,
		.in_port = slot,
		.reg = { [R_APP] = slot, [R_ZONE] = a.zone, [R_PORT] = slot } };
	struct wr out = wr_init(buf, sizeof(buf));
	ofp_put_packet_in(&out, 0, &pi);
	feed(w, CONN_QUESTIONS, &out);
	world_turn(w);
}

void world_lookup(struct world *w, uint16_t slot, const char *name, uint16_t qtype)
{
	struct ipc_app a = app_at(w, slot, "", 0);
	struct ipc_lookup l = { .client = a.v4, .qtype = qtype };
	assert_true(name_from_text(name, strlen(name), &l.name));
	memset(&w->answer, 0xff, sizeof(w->answer));
	gate_lookup(w->g, 77, &l);
	world_turn(w);
}

void world_resolved(struct world *w, uint32_t v4)
{
	world_resolved_as(w, v4, NULL);
}

void world_resolved_as(struct world *w, uint32_t v4, const char *behind)
{
	static struct ipc_resolved r;
	r = (struct ipc_resolved){ .status = RESOLVE_OK, .ttl = 60, .n_v4 = 1, .v4 = { addr_v4(v4) } };
	if (behind != NULL) {
		r.n_chain = 1;
		assert_true(name_from_text(behind, strlen(behind), &r.chain[0]));
	}
	gate_resolved(w->g, w->resolve_id, &r);
	world_turn(w);
}

void world_resolve_all(struct world *w, uint32_t v4, const char *behind)
{
	while (w->n_asked > 0) {
		w->resolve_id = w->asked[--w->n_asked];
		world_resolved_as(w, v4, behind);
		world_pass(w, 1);
	}
}

void world_arp_reply(struct world *w, uint16_t slot, uint32_t a, uint8_t mac)
{
	struct ipc_app app = app_at(w, slot, "", 0);
	const uint8_t host[6] = { 2, 0, 0, 0, 0, mac };
	static const uint8_t userdata[4] = { 0x5e, 0x6b, 5, 0 };
	uint8_t frame[64];
	struct wr f = wr_init(frame, sizeof(frame));
	wr_bytes(&f, app.mac.b, 6);
	wr_bytes(&f, host, 6);
	wr_u16(&f, 0x0806);
	wr_u32(&f, 0x00010800);
	wr_u32(&f, 0x06040002);
	wr_bytes(&f, host, 6);
	wr_u32(&f, a);
	wr_bytes(&f, app.mac.b, 6);
	wr_bytes(&f, app.v4.b, 4);
	struct ofp_packet_in pi = { .frame = frame,
		.frame_len = f.len,
		.full_len = f.len,
		.userdata = userdata,
		.userdata_len = 4,
		.reason = OFP_REASON_ACTION,
		.table = 12,
		.in_port = WORLD_UPLINK,
		.reg = { [R_APP] = slot, [R_ZONE] = app.zone, [R_DIR] = 1, [R_PORT] = slot } };
	struct wr out = wr_init(buf, sizeof(buf));
	ofp_put_packet_in(&out, 0, &pi);
	feed(w, CONN_QUESTIONS, &out);
	world_turn(w);
}

unsigned world_live_rows(const struct world *w, uint32_t mark)
{
	unsigned n = 0;
	for (unsigned i = 0; i < WORLD_LIVE; i++)
		n += w->live[i].mark == mark && w->live[i].until_ms > w->boot_ms;
	return n;
}

unsigned world_all_live(const struct world *w)
{
	unsigned n = 0;
	for (unsigned i = 0; i < WORLD_LIVE; i++)
		n += w->live[i].mark != 0 && w->live[i].until_ms > w->boot_ms;
	return n;
}
