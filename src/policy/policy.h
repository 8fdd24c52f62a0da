/* SPDX-License-Identifier: Apache-2.0 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "policy/parse.h"

#include <assert.h>

/* The evaluator: an immutable structure compiled from rules, asked with a request, answering with a verdict. No I/O, no
 * clock. */

/* What the rules are judged against. Arrays are borrowed by policy_compile, which copies them. */
struct policy_env {
	const struct policy_net *host; /* this computer's own addresses */
	size_t n_host;
	const struct policy_net *peers; /* the guests' ranges */
	size_t n_peers;
	const struct policy_net *onlink; /* the uplink's on-link prefixes: lan */
	size_t n_onlink;
	const struct policy_net *synthetic; /* our own ranges for names beside 198.18.0.0/15: never a destination */
	size_t n_synthetic;
	const struct policy_tz *tz; /* ascending; none: UTC */
	size_t n_tz;
};

/* Everything a policy is made of. Borrowed. A second definition of an id, or the same rule twice in one origin, is an
 * error naming both. */
struct policy_input {
	const struct policy_entry *rules;
	size_t n_rules;
	const struct policy_group *groups;
	size_t n_groups;
	const struct policy_peerset *sets;
	size_t n_sets;
	const struct policy_list *lists;
	size_t n_lists;
	struct policy_env env;
};

struct policy_error {
	size_t rule, other; /* indices into input rules; SIZE_MAX: none */
	const char *file;   /* of a definition; borrowed, NULL: none */
	uint32_t line, other_line;
	char message[320];
};

struct policy;

/* 0, -EINVAL (reterr says why), -E2BIG, -ENOMEM. reterr may be NULL. */
int policy_compile(const struct policy_input *in, struct policy **ret, struct policy_error *reterr)
	__attribute__((warn_unused_result));
void policy_free(struct policy *p);

enum { POLICY_PROTO_TCP = 6, POLICY_PROTO_UDP = 17, POLICY_PROTO_SCTP = 132, POLICY_ICMP4 = 1, POLICY_ICMP6 = 58 };
enum { POLICY_CHAIN_MAX = 16 };

/* One connection. Pointers are borrowed for the call; NULL is "none". Change policy_request_size_check with it. */
struct policy_request {
	uint32_t owner; /* uid whose app it is */
	const char *app;
	enum policy_dir dir;
	const struct name *name;  /* the asked name; never set for POLICY_IN */
	const struct name *chain; /* the CNAMEs after it */
	size_t n_chain;
	const struct addr *addr; /* the real address; NULL: not known yet (with a name) */
	const char *peer_app;	 /* another VM of ours */
	uint32_t peer_owner;
	uint8_t proto;
	uint16_t port; /* destination port; ICMP: the type; else 0 */
	int64_t now_ms;
};
static_assert(sizeof(struct policy_request) == 80,
	"a new field: visit decide, explain, suggest, the naive evaluator, `why`");

enum policy_answer { POLICY_SAYS_ALLOW, POLICY_SAYS_ASK, POLICY_SAYS_DENY, POLICY_SAYS_DROP, POLICY_SAYS_WITHHELD };
const char *policy_answer_text(enum policy_answer a);

enum { POLICY_RANKS = 6 };
#define POLICY_NO_RULE SIZE_MAX

struct policy_verdict {
	enum policy_answer answer;
	size_t rule; /* index into the input's rules, POLICY_NO_RULE: floor or default. WITHHELD: the allow it replaces
		      */
	enum policy_origin origin; /* of the rule; FLOOR, DEFAULT */
	bool counted;		   /* the rule is to be charged before the packet goes */
	bool log, quiet;
	uint32_t rank[POLICY_RANKS];
	int64_t next_change_ms; /* the earliest wall time at which a life could change this answer; POLICY_NEVER */
};

/* Never allocates, never fails. */
void policy_decide(const struct policy *p, const struct policy_request *q, struct policy_verdict *ret);

struct policy_match {
	size_t rule;
	uint32_t rank[POLICY_RANKS];
};
/* Every rule that matched and counts, best first: at most `cap` are written; returns how many there are in all, or
 * -ENOMEM. */
long policy_explain(const struct policy *p, const struct policy_request *q, struct policy_match *ret, size_t cap)
	__attribute__((warn_unused_result));

enum policy_lookup { POLICY_LOOKUP_UNKNOWN, POLICY_LOOKUP_ALLOWED, POLICY_LOOKUP_DENIED };
struct policy_lookup_verdict {
	enum policy_lookup answer;
	size_t rule;  /* an allow that decides some port; the refusal that decides port 443/tcp; POLICY_NO_RULE */
	bool counted; /* some deciding allow is counted: answer in one family only */
};
/* Before anything leaves for a name (names.md): judged over all ports, without address. Never allocates. */
void policy_may_resolve(const struct policy *p, const char *app, uint32_t owner, const struct name *name,
	int64_t now_ms, struct policy_lookup_verdict *ret);
/* Some running or coming `from` rule that is no refusal speaks of this app: its inbound packets are worth judging. */
bool policy_inbound_possible(const struct policy *p, const char *app, uint32_t owner);

/* What the policy knows of a rule beside its words. */
enum { POLICY_NO_FILE = UINT32_MAX };
struct policy_fact {
	int64_t created_ms, deadline_ms;
	uint32_t owner, times_left, line;
	uint32_t text, file; /* policy_rule_text(), policy_rule_file() */
	uint8_t origin, ended, verb, quiet;
	uint8_t id[POLICY_ID_LEN];
};

size_t policy_n_rules(const struct policy *p);
const struct policy_fact *policy_rule_meta(const struct policy *p, size_t rule);
/* The rules of one id, running or over: the `nth` of them, POLICY_NO_RULE after the last. */
size_t policy_rule_by_id(const struct policy *p, const uint8_t id[POLICY_ID_LEN], size_t nth);
/* The shortest beginning of its id that no other rule of the policy shares, at least four characters. */
const char *policy_rule_short_id(const struct policy *p, size_t rule, char buf[POLICY_ID_TEXT]);
/* NULL: from no file. */
const char *policy_rule_file(const struct policy *p, size_t rule);
/* The canonical line. */
const char *policy_rule_text(const struct policy *p, size_t rule);
/* Bytes of the compiled structure. */
size_t policy_memory(const struct policy *p);

/* The lists that rules use, by number. Until a digest is attached (borrowed: its bytes must outlive the policy) nothing
 * is allowed or asked because of a list, and what refuses it refuses everything. */
enum { POLICY_LISTS_MAX = 64 };
size_t policy_n_lists(const struct policy *p);
const char *policy_list_id(const struct policy *p, size_t list);
struct list_digest;
void policy_attach(struct policy *p, size_t list, const struct list_digest *digest);

/* Names another app by its rule: db.app.internal is answered to apps with a running allow or ask rule `to app:db`.
 * *ret_counted: some such rule is counted: answer in one family only. May be NULL. */
bool policy_knows_peer(const struct policy *p, const char *app, uint32_t owner, const char *peer_app,
	uint32_t peer_owner, int64_t now_ms, bool *ret_counted);

enum policy_class {
	POLICY_CLASS_MARTIAN,
	POLICY_CLASS_HOST,
	POLICY_CLASS_PEERS,
	POLICY_CLASS_METADATA,
	POLICY_CLASS_LINK, /* link-local or multicast */
	POLICY_CLASS_LAN,
	POLICY_CLASS_INTERNET,
};
/* The floor's class of an address; IPv4 inside NAT64, 6to4, Teredo and v4-mapped is unwrapped first. */
enum policy_class policy_classify(const struct policy *p, const struct addr *a);
const char *policy_class_text(enum policy_class c);
/* An allow of this peer can reach the computer's own addresses or the guests': by zone, by address or network inside
 * them, by a set that holds one, or by a list, which may. `in` was compiled. 1, 0 or -ENOMEM. */
int policy_peer_reaches_inside(const struct policy_input *in, const struct policy_peer *peer)
	__attribute__((warn_unused_result));

#endif
