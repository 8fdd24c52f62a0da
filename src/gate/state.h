/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_STATE_H
#define GATE_STATE_H

#include "base/name.h"
#include "gate/gate.h"
#include "gate/grant.h"
#include "gate/held.h"
#include "gate/out.h"
#include "gate/resolve.h"
#include "gate/syn.h"
#include "ipc/plan.h"
#include "net/packet.h"
#include "ofp/msg.h"
#include "ofp/session.h"
#include "policy/policy.h"

/*
 * Theory of operation of gate/ – included by the files of this folder only.
 *
 * 1. The switch asks (packet-in with a purpose in its userdata), gate answers with a packet-out. Nothing in the switch
 * forwards a packet of an app unless its conntrack entry carries the number of a grant that has a live flow in table 45
 * (switch.md 2, 4).
 * 2. A grant is made, its two live flows are sent, and only then, on the same connection, the packet-out that commits
 * the number: the switch handles one connection in order, so the packet finds its flows.
 * 3. Policy changes as a whole (a new compiled set replaces the old); then every held packet and every grant is judged
 * again: still allowed → the rule is an attribute that changes; else the grant ends.
 * 4. A counted rule is charged by desk, durably, before the packet goes: the packet waits in WAIT_CHARGE.
 * 5. A live flow is a lease: hard_timeout, renewed at half. If gate dies, permissions end by themselves. Each app has a
 * few numbers whose flows stand already (ready.c), so that a first packet need not wait for two.
 * 6. Until desk has said SYNC_END and the switch is in step (`synced`), nothing is decided: packets are not answered
 * and their senders try again.
 *
 * 7. Between two apps the rules of both are asked; one grant's number stands in both conntrack zones, and its live
 * flows name both apps, so that either end's going cuts it.
 *
 * Files: pipeline.c (flows that do not depend on a connection), rows.c, rows_lan.c · live.c (grants, leases, their
 * flows, their end) · decide.c (packet → verdict) · ask.c (questions) · judge.c (what was admitted, judged again) ·
 * peer.c (between apps) · admit.c (verdict allow → packet-out) · refuse.c (verdict deny → RST, ICMP, refused flows) ·
 * names.c (lookups, addresses) · answer.c (ARP, ND, DHCP, RA) · neighbour.c (the LAN) · hot.c (known peers) · ready.c
 * (numbers in stock) · audit.c (foreign changes) · gate.c (apps, policy, messages, time).
 */
enum { LIVE_LEASE_MS = 60000, LIVE_RENEW_MS = 30000, READY_MAX = 32 };
enum { QUESTIONS_BURST = 64, QUESTION_EVERY_MS = 1000 };
enum { QUESTIONS_APP_MAX = 64, REFUSED_APP_MAX = 256, LOOKUPS_PER_S = 500, HOT_APP_MAX = 64, AUDIT_TABLES = 64 };
enum { NEW_NAMES_DOMAINS = 128, LOOKUPS_APP_MAX = 256 };

/* The third byte of a packet-in's userdata, after our two-byte mark. */
enum purpose { PURPOSE_ASK = 1, PURPOSE_ANSWER, PURPOSE_STALE, PURPOSE_FULL, PURPOSE_UPLINK };

/* newnames.c: one registrable domain's minute. */
struct new_names {
	uint64_t hash; /* 0: free */
	int64_t since_ms;
	uint32_t count;
	bool said;
};

struct app {
	struct ipc_app a; /* a.ref.slot 0: free */
	struct syn *syn;
	int64_t ask_due_ms; /* boot time up to which its questions have been paid for */
	bool inbound;	    /* its inbound row is in the switch */
	uint32_t request;   /* desk's APP_ADD to answer at `barrier`; 0 none */
	uint32_t barrier;   /* xid; 0: answered when the switch is in step */
	uint32_t lookups;   /* in the second `second_boot_ms` */
	int64_t hot_until_ms[HOT_APP_MAX];
	int64_t second_boot_ms;
	int64_t refused_until_ms[REFUSED_APP_MAX]; /* a ring: when the exact refused flows go by themselves */
	unsigned refused_next;
	struct new_names new_names[NEW_NAMES_DOMAINS];
	unsigned n_lookups; /* of its questions that wait for the resolver */
	int64_t full_said_boot_ms;
	uint32_t ready[READY_MAX]; /* ready.c: numbers whose live flows stand, unused */
	unsigned n_ready, ready_want;
	bool ready_taken;	/* since they were last renewed */
	int64_t ready_lease_ms; /* boot time: when the first of them is forgotten */
	int64_t ready_fill_ms;	/* boot time: when to make up the number; 0 not */
};

/* A question that is open at desk: any number of held packets wait for it. */
struct question {
	uint32_t number; /* 0: free */
	uint16_t slot;	 /* whose packet asked; between apps the question may be the other's */
	struct ipc_question q;
};
enum { QUESTIONS_MAX = 1024 };

/* A DNS question of a guest that waits for the resolver. */
struct lookup {
	uint32_t request; /* 0: free */
	struct ipc_lookup l;
	uint16_t slot;
	int64_t since_boot_ms;
};
enum { LOOKUPS_MAX = 2048 };

/* A grant that ended less than two seconds ago: its next packets are answered with RST, then its entries are flushed.
 */
struct ended {
	uint32_t number; /* 0: free */
	uint32_t run, peer_run;
	struct grant_key key;
	uint16_t peer_slot;	  /* the app at the other end, 0 none */
	uint16_t zone, peer_zone; /* 0: flushed as a whole already */
	int64_t until_boot_ms;
	uint64_t bytes_out, bytes_in, connections;
	uint8_t rule[GRANT_RULE_LEN];
	const char *reason; /* static text */
};
enum { ENDED_MAX = 8192, ENDED_MS = 2000 };

/* A host on the LAN that packets of apps are sent to, the gateway or a peer (uplink port:IFACE). */
struct neighbour {
	struct addr addr; /* len 0: free */
	struct mac mac;
	bool known;		  /* its rows are in the switch */
	bool asking;		  /* an answer is expected; others are not believed */
	uint16_t slot;		  /* of the app that asked first, whose addresses ask */
	unsigned tries, n_grants; /* n_grants: whose packets go there */
	int64_t asked_ms, confirmed_ms;
};
enum { NEIGHBOURS_MAX = 256, NEIGHBOURS_APP_MAX = 64 };

/* The verdict on one connection: of its app, and of the app of ours that it would reach. */
struct sides {
	struct policy_verdict out;
	struct app *peer; /* NULL: the far end is no app of ours */
	struct policy_verdict in;
};

struct conn {
	struct ofp_session *session;
	bool up;
	bool broken; /* something could not be sent: give the connection up */
};

struct image {
	struct gate_image i; /* .base NULL: none */
	uint64_t generation;
	uint32_t request;
};

struct reload {
	struct image coming, later; /* being checked, and the one after it */
	struct gate_image current;  /* of the policy in force */
	struct policy_opening *opening;
	bool judging, again; /* grants and held packets under a new policy; it changed meanwhile */
	struct grant *next;
	uint32_t stamp;	  /* of held packets judged since */
	uint32_t request; /* answered when all is judged; 0: none */
};

/* Of a list whose rules have gone the members stay until there is no room: the policy that needs them may be coming. */
enum { GATE_LISTS = 2 * POLICY_LISTS_MAX };
struct gate_list {
	char id[IPC_LIST_ID_LEN];
	struct list_digest digest; /* bytes NULL: free */
};

struct gate {
	struct plan plan;
	uint64_t seed;
	uint32_t ask_expires_ms;
	int64_t boot_ms, wall_ms;

	struct policy *policy; /* NULL: none yet, nothing passes */
	uint64_t generation;
	int64_t policy_next_wall_ms; /* earliest end of a life that matters to a grant */
	int64_t looked_ms;	     /* boot time: when the clocks were last held against it */
	bool sync_end;		     /* desk has given everything */
	struct reload reload;
	struct gate_list list[GATE_LISTS];

	struct ipc_switch sw;
	bool have_switch, synced;
	struct conn conn[CONN_COUNT];
	uint32_t sync_xid; /* barrier of the resync, 0: none under way */
	uint32_t next_bundle;
	unsigned expected[AUDIT_TABLES]; /* rows as they should be */
	int64_t audit_ms;
	unsigned audit_bad; /* times in a row */
	unsigned last_error_type, last_error_code;

	struct app app[PLAN_SLOTS];
	struct grants *grants;
	struct held_table *held;
	struct held fresh; /* the packet being judged for the first time */
	struct question question[QUESTIONS_MAX];
	uint32_t next_question;
	struct resolve *resolve;
	struct grant *chain_next; /* judge.c: the names behind this grant's and the next ones' are to be known again */
	unsigned chains_asked;	  /* of them the resolver has still to answer for so many */
	int64_t chains_asked_ms;
	struct lookup lookup[LOOKUPS_MAX];
	unsigned n_lookups;
	struct ended ended[ENDED_MAX]; /* by number modulo ENDED_MAX: numbers are given in order */
	int64_t ready_next_ms;	       /* when ready.c has something to do; 0: nothing */
	int64_t live_next_ms;	       /* when a lease, an end or a rule's own time is due next; -1: nothing is */

	uint32_t block_first, block_left; /* grant numbers in use */
	uint32_t spare_first, spare_left; /* the next block */
	bool block_wanted;
	uint32_t next_request; /* ids of our own requests to desk and resolver */

	struct neighbour neighbour[NEIGHBOURS_MAX];

	struct out messages;
};

/* gate.c */
struct app *app_of(struct gate *g, uint16_t slot); /* NULL: no such app */
struct app *app_of_client(struct gate *g, const struct addr *client);
/* A rule decided so often and nothing else tells desk. */
void gate_used(struct gate *g, const uint8_t rule[IPC_RULE_ID_LEN], uint64_t times);
void gate_event(struct gate *g, const struct app *app, enum ipc_event_kind kind, enum ipc_verdict verdict,
	const struct flow_key *key, const struct name *name, const struct addr *address, const uint8_t *rule,
	const char *text);

/* A durable number never used before; 0: none left, nothing may be admitted. */
uint32_t gate_number(struct gate *g);
void gate_barrier(struct gate *g, enum gate_conn conn, uint32_t xid);

/* names.c: an answer of the resolver is in the table: lookups and held packets that waited for `name` go on. */
void names_resolved(struct gate *g, const struct name *name);
void names_tick(struct gate *g);
/* Nobody waits for this one any more. */
void names_forget(struct gate *g, unsigned i);

/* newnames.c: may the world be asked about `name` (synthetic index `syn`, 0: has none), which `rule` allows? Counts it
 * when it is the first time. */
bool new_name_may_leave(struct gate *g, struct app *app, const struct name *name, unsigned syn, size_t rule);

/* decide.c */
/* What the packet of `key` means: its name (synthetic destination) or nothing. False: a synthetic address that means
 * nothing. */
bool decide_name(struct gate *g, const struct app *app, const struct flow_key *key, struct name *ret_name,
	unsigned *ret_syn);
/* A first packet came. */
void decide_packet(struct gate *g, struct app *app, const struct flow_key *key, const uint8_t *frame, size_t len);
void decide_held(struct gate *g, struct held *h);
void decide_all_held(struct gate *g);
/* At most `n` of those whose stamp is another one; true when none are left. */
bool decide_some_held(struct gate *g, uint32_t stamp, unsigned n);
void decide_tick(struct gate *g);
void decide_charged(struct gate *g, struct held *h, int err);
void decide_forget_app(struct gate *g, uint16_t slot);

/* admit.c: the packet goes, under a grant of the rules that `s` names. False: it cannot (limits, no number), refused.
 */
bool admit_packet(struct gate *g, struct app *app, const struct held *h, const struct name *name, unsigned syn,
	const struct addr *real, const struct sides *s);

/* peer.c: another app of ours at the far end (policy.md, "Whose application"). */
/* The app that has this address, other than `app`; NULL: none, or it comes from outside. */
struct app *peer_at(struct gate *g, const struct app *app, const struct flow_key *key, const struct addr *real);
/* An address that only an app of ours could have. */
bool peer_range(const struct gate *g, const struct addr *a);
const struct app *peer_by_port(const struct gate *g, uint32_t ofport);
/* NAME.app.internal: the running app of that name that `app` would mean, or NULL. False: another name. */
bool peer_named(struct gate *g, const struct app *app, const struct name *name, struct app **ret);
/* What the rules of `peer` say about being reached by `app`. */
void peer_judge(const struct gate *g, const struct app *peer, const struct app *app, const struct flow_key *key,
	struct policy_verdict *ret);

/* ask.c: the packet waits for a person; the first of its kind opens the question `what`. False: too many are open. */
bool ask_person(struct gate *g, struct held *h, const struct ipc_question *what);
/* Ends the questions no packet waits for. */
void ask_settle(struct gate *g);

/* judge.c */
/* What policy is asked about a connection, without an address; judge_at() adds that, and the app of ours that has it.
 */
struct policy_request judge_request(const struct gate *g, const struct app *app, const struct flow_key *key,
	const struct name *name);
void judge_at(struct gate *g, const struct app *app, const struct flow_key *key, const struct addr *real,
	struct policy_request *q);
/* A count has become durable: what allows the packet now, with the rules it has paid. False: not those. */
bool judge_charged(struct gate *g, struct app *app, const struct held *h, const struct name *name, struct sides *ret);
/* Cuts it, or notes what rule allows it now. */
void judge_again(struct gate *g, struct grant *gr);
void judge_all_grants(struct gate *g);
/* For every grant whose names behind its own nobody remembers they are asked for, some at a time, by ticks to come. */
void judge_chains(struct gate *g);
void judge_chains_tick(struct gate *g);
int64_t judge_chains_deadline(const struct gate *g); /* -1: none */
/* The same for those of one name: the names behind it are known now. */
void judge_grants_of(struct gate *g, const struct name *name);

/* lists.c: gives a policy the members of its lists, as far as they are known. */
void gate_lists_attach(const struct gate *g, struct policy *p);

/* reload.c */
/* The policy changed, or a life began or ended: every grant and held packet is judged again, by ticks to come. */
void reload_judge(struct gate *g);
/* The grant is about to go. */
void reload_forget(struct gate *g, const struct grant *gr);
bool reload_busy(const struct gate *g);
void reload_tick(struct gate *g);

/* live.c */
void live_send(struct gate *g, struct grant *gr);
void live_set_rule(struct gate *g, struct grant *gr, const struct sides *s);
void live_end(struct gate *g, struct grant *gr, const char *reason);
void live_tick(struct gate *g);
int64_t live_deadline(const struct gate *g);
/* The switch told that a live flow went: its bytes. */
void live_removed(struct gate *g, uint32_t number, bool inbound, uint64_t bytes);
struct ended *live_ended(struct gate *g, uint32_t number);
void live_forget_app(struct gate *g, uint16_t slot);

/* hot.c */
void hot_consider(struct gate *g, struct grant *gr);
/* The switch says that the peer of this grant has answered. */
void hot_answered(struct gate *g, struct grant *gr);
void hot_end(struct gate *g, struct grant *gr);
/* The hot row of this grant is gone; so many connections began by it. */
void hot_removed(struct gate *g, uint32_t number, uint64_t connections);

/* ready.c */
/* The switch has none for this app yet. */
void ready_begin(struct gate *g, struct app *app);
/* A number whose flows stand until *ret_lease_ms (boot time), now the caller's. 0: none, or the rule ends before a
 * lease does. */
uint32_t ready_take(struct gate *g, struct app *app, int64_t ends_wall_ms, int64_t *ret_lease_ms);
bool ready_known(const struct gate *g, uint32_t number);
/* The switch says that a flow of this number is gone. */
void ready_lost(struct gate *g, uint32_t number);
void ready_tick(struct gate *g);
int64_t ready_deadline(const struct gate *g); /* -1: none */

/* audit.c */
void audit_expect(struct gate *g);
void audit_tick(struct gate *g);
void audit_stats(struct gate *g, struct rd *body);

/* refuse.c: the sender learns at once (RST, ICMP); policy may allow the very same packet in a moment. */
void refuse_answer(struct gate *g, const struct app *app, const uint8_t *frame, size_t len);
/* Policy refuses it: the sender learns, or silence for `drop`, and for a while the switch drops more of it by itself.
 * `frame` is what it sent. */
void refuse_packet(struct gate *g, struct app *app, const uint8_t *frame, size_t len, bool silent);
/* A packet of an ended grant: RST towards both ends. */
void refuse_ended(struct gate *g, struct app *app, const struct ended *e, bool inbound, const uint8_t *frame,
	size_t len);

void refuse_ended_peer(struct gate *g, const struct ended *e, const struct app *sender, const uint8_t *frame,
	size_t len);

/* neighbour.c: with the uplink port:IFACE, where packets to `peer` are sent. NEXT_HOP_ASKED: the LAN was asked, held
 * packets in WAIT_NEIGHBOUR are judged again when it answers. With nat it is always the host. */
enum next_hop { NEXT_HOP_KNOWN, NEXT_HOP_ASKED, NEXT_HOP_NONE };
enum next_hop neighbour_hop(struct gate *g, const struct app *app, const struct addr *peer, struct mac *ret);
/* ARP or ND of the LAN for this app's address. */
void neighbour_frame(struct gate *g, struct app *app, const uint8_t *frame, size_t len);
/* The LAN learns that the app's addresses have a new owner. */
void neighbour_announce(struct gate *g, const struct app *app);
/* A new grant needs its next hop, as long as it lives. */
void neighbour_hold(struct gate *g, struct grant *gr);
void neighbour_release(struct gate *g, struct grant *gr);
/* The switch is in step: what grants need and nobody knows is asked for. */
void neighbour_restore(struct gate *g);
void neighbour_tick(struct gate *g);
int64_t neighbour_deadline(const struct gate *g); /* -1: none */

/* answer.c: ARP, ND, DHCP, RS of a guest. */
void answer_frame(struct gate *g, struct app *app, const uint8_t *frame, size_t len);

/* pipeline.c */
void pipeline_resync(struct gate *g);
/* False: nothing was sent, the resync to come does it. */
bool pipeline_app(struct gate *g, const struct app *app, bool add);
/* Which apps inbound packets are judged for depends on the policy. */
void pipeline_inbound(struct gate *g);
uint32_t pipeline_barrier(struct gate *g, enum gate_conn conn);
/* The flows of a grant's number, one per direction and app, and their end. */
struct live {
	uint16_t slot, peer_slot; /* peer_slot 0: the far end is no app of ours */
	uint32_t cookie, number;
	unsigned timeout_s;
};
void pipeline_live(struct gate *g, const struct live *l);
void pipeline_live_delete(struct gate *g, uint32_t number);
/* A multipart reply: flows of table 45 (those of grants nobody knows go; a peer that has answered may become hot), or
 * the numbers for the audit. */
void pipeline_multipart(struct gate *g, const void *msg, size_t len);
/* The packet-out that commits the grant's number and lets the packet go on at table 45. */
void pipeline_admit(struct gate *g, const struct app *app, const struct grant *gr, const uint8_t *frame, size_t len);
/* An exact flow of short life that drops what was just refused, so that a hammering app costs nothing. */
/* The policy changed: what was refused may be allowed now. */
void pipeline_refused_forget(struct gate *g);
void pipeline_refused(struct gate *g, struct app *app, const struct packet *p);
/* A frame of ours to a port. */
void pipeline_send(struct gate *g, uint32_t ofport, const uint8_t *frame, size_t len);
uint64_t pipeline_cookie(uint16_t slot, uint32_t rule);

#endif
