/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_RULE_H
#define POLICY_RULE_H

#include "base/addr.h"
#include "base/name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One rule of the language (sekisho-rules(5)) in parsed, normal form. Numbers of the enums are stored and sent: append
 * only. */
enum {
	POLICY_TOKEN_MAX = 63,	/* APP, ID, GROUP, bytes */
	POLICY_TEXT_MAX = 4096, /* a rule's line, bytes */
	POLICY_FILE_MAX = 16 << 20,
	POLICY_SET_MAX = 65536,	 /* members, also after nested sets are opened */
	POLICY_STRING_MAX = 200, /* bytes of a STRING after unescaping */
	POLICY_ID_LEN = 32,
	POLICY_ID_TEXT = 53, /* 52 characters of base32hex and NUL */
};

/* In order of strictness: the sixth place of the rank. */
enum policy_verb { POLICY_ALLOW, POLICY_ASK, POLICY_DENY, POLICY_DROP };
enum policy_subject { POLICY_SUBJECT_ANY, POLICY_SUBJECT_GROUP, POLICY_SUBJECT_APP };
enum policy_dir { POLICY_OUT, POLICY_IN };
enum policy_zone { POLICY_ZONE_INTERNET, POLICY_ZONE_LAN, POLICY_ZONE_HOST, POLICY_ZONE_PEERS };
enum policy_peer_kind {
	POLICY_PEER_ANY,
	POLICY_PEER_ZONE,
	POLICY_PEER_NAME,   /* example.org */
	POLICY_PEER_BELOW,  /* *.example.org: any depth below */
	POLICY_PEER_WITHIN, /* .example.org: itself and below */
	POLICY_PEER_NET,    /* address (full prefix) or network without host bits */
	POLICY_PEER_SET,
	POLICY_PEER_LIST,
	POLICY_PEER_APP,
};
enum policy_until {
	POLICY_UNTIL_NONE,
	POLICY_UNTIL_EXIT,
	POLICY_UNTIL_LOGOUT,
	POLICY_UNTIL_REBOOT,
	POLICY_UNTIL_TIME,
	POLICY_UNTIL_DATE
};
enum policy_origin {
	POLICY_ORIGIN_FLEET,
	POLICY_ORIGIN_ADMIN,
	POLICY_ORIGIN_ANSWER,
	POLICY_ORIGIN_FILE,
	POLICY_ORIGIN_FLOOR,
	POLICY_ORIGIN_DEFAULT
};
/* Why a rule has ended; POLICY_RUNNING is not ended. */
enum policy_end {
	POLICY_RUNNING,
	POLICY_END_TIME,
	POLICY_END_EXIT,
	POLICY_END_LOGOUT,
	POLICY_END_REBOOT,
	POLICY_END_USED,
	POLICY_END_REMOVED,
	POLICY_END_REPLACED
};

struct policy_net {
	struct addr addr;
	uint8_t prefix;
};

struct policy_peer {
	enum policy_peer_kind kind;
	union {
		enum policy_zone zone;
		struct name name; /* NAME BELOW WITHIN */
		struct policy_net net;
		char id[POLICY_TOKEN_MAX + 1]; /* SET LIST APP */
	};
};

enum policy_proto_kind {
	POLICY_PROTO_NONE,   /* not named: the port of TCP, UDP or SCTP */
	POLICY_PROTO_NUMBER, /* `proto` */
	POLICY_PROTO_ICMP,   /* ICMP and ICMPv6; lo..hi is the type */
};

/* One item of `port`. Sorted and without duplicates in a rule. */
struct policy_port {
	uint8_t proto_kind; /* enum policy_proto_kind */
	uint8_t proto;
	bool ranged; /* lo..hi count; else the protocol alone */
	uint16_t lo, hi;
};

struct policy_lives {
	int64_t for_s; /* 0: none */
	enum policy_until until;
	uint16_t until_minute; /* TIME, DATE: minute of the day; DATE without a time: 1440, the end of that day */
	uint16_t year;
	uint8_t month, day;
	bool between;
	uint16_t from_minute, to_minute; /* from > to: overnight, belongs to the day it starts on */
	uint8_t on;			 /* bit 0 Monday … bit 6 Sunday; 0: every day */
	uint32_t times;			 /* 0: not counted */
};

struct policy_rule {
	bool final;
	enum policy_verb verb;
	enum policy_subject subject;
	char who[POLICY_TOKEN_MAX + 1]; /* APP or GROUP */
	enum policy_dir dir;
	struct policy_peer peer;
	struct policy_port *ports; /* owned; NULL when n_ports is 0 */
	uint16_t n_ports;
	struct policy_lives lives;
	bool log, quiet;
	char *note; /* owned, NULL: none */
};

#define POLICY_OWNER_ANY UINT32_MAX
#define POLICY_NEVER	 INT64_MAX

/* What the keeper of a rule knows beside its line. Strings are borrowed. */
struct policy_meta {
	uint8_t id[POLICY_ID_LEN]; /* policy/id.h */
	enum policy_origin origin; /* FLEET..FILE */
	uint32_t owner;		   /* of answers: the uid whose apps it speaks of; else POLICY_OWNER_ANY */
	int64_t created_ms;
	int64_t deadline_ms; /* wall clock; POLICY_NEVER */
	uint32_t times_left; /* read only when the rule is counted */
	enum policy_end ended;
	const char *file; /* NULL: none */
	uint32_t line;
};

struct policy_entry {
	struct policy_rule rule;
	struct policy_meta meta;
};

void policy_rule_fini(struct policy_rule *r);
/* -ENOMEM; *ret is the caller's to fini. */
int policy_rule_copy(const struct policy_rule *r, struct policy_rule *ret) __attribute__((warn_unused_result));
bool policy_rule_equal(const struct policy_rule *a, const struct policy_rule *b);
bool policy_peer_equal(const struct policy_peer *a, const struct policy_peer *b);
/* Ended or counted by its own words: the fifth place of the rank. */
bool policy_rule_limited(const struct policy_rule *r);
const char *policy_verb_text(enum policy_verb v);
const char *policy_origin_text(enum policy_origin o);
const char *policy_zone_text(enum policy_zone z);
const char *policy_end_text(enum policy_end e);

/* The zone of local time as a table, so that it can cross a process: offset from `from_ms` (UTC) on; ascending. */
struct policy_tz {
	int64_t from_ms;
	int32_t offset_s;
};

/* Milliseconds UTC at which `for` and `until TIME/DATE` end for a rule first seen at `now_ms`; POLICY_NEVER when it has
 * neither. */
int64_t policy_lives_deadline(const struct policy_lives *l, const struct policy_tz *tz, size_t n_tz, int64_t now_ms);
/* `between` and `on` hold at `now_ms`; *ret_change: the next moment this may differ, POLICY_NEVER when there are none
 * of them. */
bool policy_lives_window(const struct policy_lives *l, const struct policy_tz *tz, size_t n_tz, int64_t now_ms,
	int64_t *ret_change);

#endif
