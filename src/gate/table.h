/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GATE_TABLE_H
#define GATE_TABLE_H

#include "gate/state.h"

/* The tables of switch.md, with the small ones behind them that hold what must follow check_pkt_larger. Used inside
 * gate/ only. */
enum {
	T_CLASSIFY = 0,
	T_SECURITY = 10,
	T_ANSWER = 11, /* ARP, ND, DHCP → gate */
	T_UPLINK = 12, /* ARP, ND of the LAN → gate */
	T_NAMES = 20,
	T_NAMES_OUT = 22,
	T_NAMES_IN = 23,
	T_CONNTRACK = 30,
	T_STATE = 40,
	T_LIVE = 45,
	T_STALE = 46, /* a mark nobody knows, or none where one must be → gate */
	T_HOT = 48,
	T_UNKNOWN = 50,
	T_ASK = 51, /* first packets → gate */
	T_EGRESS = 60
};

/* What the registers say between the tables. R_TURN: the second turn of a packet between two apps, in the zone of the
 * one it goes to. R_VERDICT: the first packet of such a connection, admitted under R_GRANT; only a packet-out or a hot
 * row sets it. */
enum { R_APP = 0, R_ZONE = 1, R_DIR = 2, R_PORT = 3, R_TURN = 4, R_VERDICT = 5, R_GRANT = 6, R_LARGE = 7 };

/* A longer frame than this never goes to a controller: near 65,400 bytes the message's length would wrap (switch.md 3).
 */
enum { CONTROLLER_FRAME_MAX = HELD_FRAME_MAX, CONTROLLER_ID = 0x5e6b, NAMES_MARK = 1 };

/* Of slot 0: METER_ASK questions of the LAN for our addresses, METER_ANSWER its answers, each of all apps together. */
enum meter { METER_ASK, METER_ANSWER, METER_STALE, METERS };
uint32_t table_meter(uint16_t slot, enum meter m);

/* One flow being written: match and actions are filled by the caller, then row_send() puts it out. */
struct row {
	struct ofp_flow_mod fm;
	struct wr acts;
	uint8_t buf[512];
};

/* Where rows go: one connection, inside a bundle or (bundle 0) alone. */
struct sink {
	struct gate *g;
	enum gate_conn conn;
	uint32_t bundle;
	unsigned *count; /* not NULL: nothing is sent, rows are counted by table */
};

void row_init(struct row *r, uint8_t table, uint16_t priority, uint64_t cookie);
void row_goto(struct row *r, uint8_t table);
/* check_pkt_larger and on to the table that holds the controller action. */
void row_ask(struct row *r, uint8_t table);
void row_controller(struct row *r, enum purpose purpose, uint32_t meter);
/* The registers that say whose packet it is. */
void row_owner(struct row *r, const struct app *app, uint16_t zone, bool inbound);
void row_meter(const struct sink *s, uint16_t slot, enum meter m, uint32_t rate);
void row_send(const struct sink *s, struct row *r);
void sink_bytes(const struct sink *s, const void *msg, size_t len);
uint32_t sink_xid(const struct sink *s);

/* rows.c: the rows that depend on nothing but the switch, and those of one app. */
void rows_static(const struct sink *s);
void rows_app(const struct sink *s, const struct app *app);
void rows_meters(const struct sink *s, const struct app *app);
/* rows_lan.c: the same with the uplink port:IFACE; the rows that lead to a neighbour, and their end. */
void rows_lan(const struct sink *s);
void rows_lan_app(const struct sink *s, const struct app *app);
void rows_neighbour(const struct sink *s, const struct neighbour *n, bool add);
void rows_uplink_meters(const struct sink *s);
void rows_inbound(const struct sink *s, const struct app *app, bool add);

#endif
