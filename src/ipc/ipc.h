/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IPC_IPC_H
#define IPC_IPC_H

#include "base/addr.h"
#include "base/frame.h"
#include "base/name.h"
#include "base/rd.h"
#include "base/wr.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The messages between the roles. Every body is a struct below with one description for both directions (ipc_X_put
 * writes, ipc_X_get reads and is true only when the whole body was understood). A request carries a frame id; its
 * answer repeats it, IPC_RESULT where nothing else is named. Which role may send what stands in the right column.
 */
enum role_id {
	ROLE_MAIN,
	ROLE_SWITCHD,
	ROLE_GATE,
	ROLE_NAMES,
	ROLE_RESOLVER,
	ROLE_DESK,
	ROLE_KEEPER,
	ROLE_AUTH,
	ROLE_FETCH,
	ROLE_COUNT
};

const char *role_name(enum role_id role);

enum ipc_type {
	IPC_CONFIG = 1, /* main → role: the configuration as "key = value" lines */
	IPC_CHANNEL, /* main → role: ipc_u32 role_id + fd: the channel to that role, new or replacing a broken one */
	IPC_START,   /* main → role: everything the role needs has been given */
	IPC_READY,   /* role → main */
	IPC_STOP,    /* main → role: end in order */
	IPC_RESULT,  /* answer: ipc_result */
	IPC_SOCKETS, /* main → names (4 fds: UDP v4, UDP v6, TCP v4, TCP v6), main → desk (fd 0: listening control
			socket) */
	IPC_RELOAD,  /* main → desk: forget the admin's files; IPC_POLICY_FILE…, IPC_POLICY_END follow */
	IPC_POLICY_FILE,  /* main → desk: ipc_text file name + fd open for reading */
	IPC_POLICY_END,	  /* main → desk */
	IPC_PROFILE_FILE, /* main → desk, between RELOAD and POLICY_END: ipc_text APP.conf + fd open for reading */

	IPC_LINK_TAKE = 32, /* desk → main: ipc_text interface: may it become a port? made ready and down */
	IPC_LINK_UP,	    /* desk → main: ipc_text */
	IPC_LINK_RELEASE,   /* desk → main: ipc_text */
	IPC_VM_START, /* desk → main: ipc_vm + fds: the client's stream, those of ipc_root, of ipc_shares; answered when
			 the keeper has it */
	IPC_VM_STOP,   /* desk → main: ipc_app_ref */
	IPC_VM_ENDING, /* main → desk: ipc_vm_exit: its program has ended, IPC_VM_EXITED follows */
	IPC_VM_EXITED, /* main → desk: ipc_vm_exit */
	IPC_TAP_MAKE,  /* desk → main: ipc_text name: a tap for a VM, down; answered by RESULT */
	IPC_VM_ATTACH, /* desk → main → keeper: ipc_vm_attach + fd of a client's stream */
	IPC_VM_EXEC,   /* desk → main → keeper: ipc_vm (of it ref, who and what) + fd of a client's stream */
	IPC_VM_PAUSE, /* desk → main → keeper: ipc_vm_pause; answered by RESULT. main → desk at IPC_VM_CLAIM: it is held
		       */
	IPC_VM_CLAIM,  /* desk → main: ipc_app_ref of a VM it knows from before; slot 0: that was the last, what
			  nobody claimed is nobody's. One that does not run is answered with IPC_VM_EXITED */
	IPC_FORWARDS,  /* desk → main: ipc_forwards: what the host lets in for apps, the whole set */
	IPC_DOCTOR,    /* desk → main: try out what can be tried; CHECK…, CHECK_END follow */
	IPC_CHECK,     /* main → desk: ipc_check */
	IPC_CHECK_END, /* main → desk */
	IPC_POLICY_WANT, /* desk → main: read the files again; RELOAD…, POLICY_END of this id follow, or RESULT: why not
			  */
	IPC_LIST_OPEN, /* desk → main: ipc_text path of a list; answered RESULT + fd open for reading, or why not */
	IPC_FORWARDS_HELD, /* main → desk: ipc_forwards: those of them that the host itself listens on, not let in */

	IPC_PORT_ADD = 64, /* desk → switchd: ipc_port; answered RESULT, value = ofport */
	IPC_PORT_DEL,	   /* desk → switchd: ipc_port */
	IPC_PORT_GONE,	   /* switchd → desk: ipc_port: the interface vanished */
	IPC_SWITCH_EVENT, /* switchd → desk: ipc_text for the log; switchd → main: the port of this name is new, and
			     gate gets its connections */
	IPC_OF_CONNS,	  /* switchd → gate: ipc_switch + 2 fds (questions, bulk): the switch is new, restarted or
			     reconnected */
	IPC_ZONE_SET,	  /* gate → switchd: ipc_zone: flush unless kept, set the limit */
	IPC_CT_CUT,	  /* gate → switchd: ipc_cut: flush every entry of a mark in a zone */
	IPC_OF_WANT,	  /* gate → switchd: a connection broke, give new ones */
	IPC_SWITCH_SILENT, /* switchd → main: vswitchd ended or does not answer: the apps' interfaces go down until the
			      next IPC_SWITCH_EVENT */
	IPC_LINK_FD, /* switchd → main: ipc_text path: connect this socket below run_dir and answer with the fd */

	IPC_POLICY = 96,  /* desk → gate: ipc_policy + sealed memfds: the base's policy/image.h bytes, unless given
			     before;  what has changed, unless nothing has; answered RESULT when active */
	IPC_LIST,	  /* desk → gate: ipc_list + fd: sealed memfd of policy/list_digest.h bytes */
	IPC_APP_ADD,	  /* desk → gate: ipc_app; answered RESULT when its flows are in */
	IPC_APP_DEL,	  /* desk → gate: ipc_app_ref; answered RESULT when its flows are out and its zones flushed */
	IPC_GRANT_BLOCK,  /* desk → gate: ipc_block: durable numbers never used before */
	IPC_GRANT_WANT,	  /* gate → desk */
	IPC_GRANT,	  /* both: ipc_grant: gate's copy for the desk; back again when gate has restarted */
	IPC_GRANT_END,	  /* gate → desk: ipc_grant_end */
	IPC_SYN,	  /* both: ipc_syn: a synthetic address means this name */
	IPC_SYNC_END,	  /* desk → gate: all apps, names, grants and the policy have been given */
	IPC_QUESTION,	  /* gate → desk: ipc_question */
	IPC_QUESTION_END, /* gate → desk: ipc_u32 question number: no packet waits for it any more */
	IPC_CHARGE,	  /* gate → desk: ipc_charge; RESULT 0 once durable, -ENOENT when nothing is left */
	IPC_EVENT,	  /* gate → desk: ipc_event for the log */
	IPC_USED,	  /* gate → desk: ipc_used: decisions of a rule that no event tells of */

	IPC_LOOKUP = 128,  /* names → gate: ipc_lookup */
	IPC_LOOKUP_ANSWER, /* gate → names: ipc_lookup_answer */
	IPC_RESOLVE,	   /* gate or fetch → resolver: ipc_resolve */
	IPC_RESOLVED,	   /* resolver → the one that asked: ipc_resolved */
	IPC_RELAY,	   /* gate → resolver: ipc_relay: answer this permitted query straight to names */
	IPC_RELAYED,	   /* resolver → names: ipc_relayed; frame id = the LOOKUP's */

	IPC_KEEPER =
		160, /* main → keeper: ipc_vm + fds: client stream, guest stream, qmp, console, log, further ports */
	IPC_KEEPER_END, /* keeper → main: ipc_result: the program has ended (value = exit status), the VM will soon */
	IPC_KEEPER_ADOPT, /* main → keeper: ipc_adopt + fds: guest stream, qmp, console, log, further ports */
	IPC_KEEPER_STORE, /* main → keeper + fds: guest stream, qmp, file: vm_warm_store(), answered with IPC_RESULT */
	IPC_KEEPER_TRY,	  /* main → keeper + fd: guest stream: vm_warm_try(), answered with IPC_RESULT */
	IPC_KEEPER_RUNS,  /* keeper → main: the guest has the command; from now on the VM can be adopted */

	IPC_AUTH_PEER = 192, /* desk → auth: ipc_auth_peer: a client has connected: remember when its process began */
	IPC_AUTH_PEER_END,   /* desk → auth: ipc_u32 client: it has gone */
	IPC_AUTH_ASK,	 /* desk → auth: ipc_auth_ask; answered RESULT: 0 yes, -EACCES no, others: nobody can say */
	IPC_FETCH = 224, /* desk → fetch: ipc_fetch; with a fd: the text of a list in a file */
	IPC_FETCHED,	 /* fetch → desk: ipc_fetched; with a fd, unless it failed or is unchanged: sealed memfd of
			    policy/list_digest.h bytes */

	IPC_AUTH_STATE, /* auth → desk: ipc_auth_state: at start, and when it changes */

	IPC_GRANT_CUT = 200, /* desk → gate: ipc_u32 grant number: end what lives under it now */
};

enum {
	IPC_TEXT_MAX = 4096,
	IPC_APP_MAX = 64,
	IPC_RULE_ID_LEN = 32,
	IPC_ADDRS_MAX = 64,
	IPC_CHAIN_MAX = 16,
	IPC_RELAY_MAX = 60000
};
enum { IPC_ARGV_BYTES = 48000, IPC_SYNC_LEN = 16 };

struct ipc_text {
	uint16_t len;
	char s[IPC_TEXT_MAX]; /* NUL-ended, no NUL inside */
};

struct ipc_u32 {
	uint32_t v;
};

struct ipc_result {
	int32_t err; /* 0 or negative errno */
	uint32_t value;
	struct ipc_text text; /* for people; empty when err is 0 */
};

struct ipc_app_ref {
	uint16_t slot; /* 1..PLAN_SLOTS-1 */
	uint32_t run;  /* never reused */
};

/* DENY: what would be asked is refused. REHEARSE: whatever would pass, too. Stored: append only. */
enum ipc_ask_mode { ASK_DESK, ASK_DENY, ASK_REHEARSE };

struct ipc_app {
	struct ipc_app_ref ref;
	uint32_t owner; /* uid */
	char name[IPC_APP_MAX];
	uint32_t ofport;
	uint16_t zone, names_zone;
	struct mac mac;
	struct addr v4, v4_gateway; /* the guest's */
	struct addr v6;		    /* its own; how much around it is lawful, plan_guest_prefix() says */
	uint8_t ask;		    /* enum ipc_ask_mode */
	bool fragments;
	uint16_t new_names_per_min; /* 0: the default */
};

struct ipc_port {
	char ifname[16];
	uint32_t ofport; /* requested */
	struct ipc_app_ref ref;
};

enum uplink_kind { UPLINK_NAT, UPLINK_PORT };

/* The switch as gate must know it. */
struct ipc_switch {
	uint32_t names_ofport, uplink_ofport;
	struct mac names_mac, uplink_mac; /* where frames to them are sent */
	uint8_t uplink_kind;		  /* enum uplink_kind; with a port the addresses stand in the plan */
	bool has_v4, has_v6;		  /* the uplink has a default route of that family */
	bool kernel_datapath;
	uint64_t epoch; /* grows with every start of vswitchd */
};

struct ipc_zone {
	uint16_t zone;
	uint32_t limit; /* 0: it is of no app any more */
	bool keep;	/* what is in it stays */
};

struct ipc_cut {
	uint16_t zone;
	uint32_t mark;
};

/* A policy is a base, compiled in one, and what has changed since (policy_join()). */
struct ipc_policy {
	uint64_t generation;
	uint64_t base;	   /* its number */
	uint32_t len;	   /* bytes of the base's memfd; 0: the one of that number was given before */
	uint32_t more_len; /* bytes of the image of what was added; 0: nothing */
	uint32_t n_gone;   /* u32 numbers of the base's rules that are gone, behind that image */
};

struct ipc_block {
	uint32_t first, count;
};

/* One permitted peer of one app: switch.md 2. */
struct ipc_grant {
	uint32_t grant;
	struct ipc_app_ref ref;
	uint8_t inbound; /* 0 out, 1 in */
	uint8_t proto;
	uint16_t port;	  /* destination port; ICMP: type */
	struct addr peer; /* what the guest uses: synthetic or real */
	struct addr real; /* what the wire uses */
	struct name name; /* len 0: none */
	uint8_t rule[IPC_RULE_ID_LEN];
	struct ipc_app_ref other;	  /* the app at the other end; slot 0: none */
	uint8_t rule_in[IPC_RULE_ID_LEN]; /* of its rules, the one that lets this in; zero: none was needed */
	int64_t since_wall_ms;
};

struct ipc_grant_end {
	uint32_t grant;
	uint64_t bytes_out, bytes_in;
	uint64_t connections;
	struct ipc_text reason;
};

struct ipc_syn {
	struct ipc_app_ref ref;
	uint32_t index;
	struct name name;
};

struct ipc_question {
	uint32_t number; /* gate's; unique in this life of gate */
	struct ipc_app_ref ref;
	uint8_t inbound;
	uint8_t proto;
	uint16_t port;	     /* ICMP: type */
	bool withheld;	     /* the name resolved to a private address: ask with the address */
	struct name name;    /* len 0: none */
	struct addr address; /* len 0: not resolved */
	uint16_t peer_slot;  /* other app, 0 none */
	int64_t held_wall_ms, gives_up_wall_ms;
};

struct ipc_charge {
	uint8_t rule[IPC_RULE_ID_LEN];
	struct ipc_app_ref ref;
};

/* `allow APP from … port N/tcp`: the host passes this port on to the app; gate judges what comes. */
enum { IPC_FORWARDS_MAX = 64 };
struct ipc_forward {
	uint8_t proto;
	uint16_t port;
	struct addr v4, v6;
};

struct ipc_forwards {
	uint8_t n;
	struct ipc_forward f[IPC_FORWARDS_MAX];
};

/* The text of EVENT_REFUSED for a packet that would have been one question too many. */
#define IPC_OVERFLOW "too many questions are open"
/* One line of `sekisho doctor`. */
struct ipc_check {
	bool ok;
	char name[32];
	struct ipc_text text, fix; /* fix: a command; empty when ok */
};

enum ipc_event_kind { EVENT_CONNECTION, EVENT_REFUSED, EVENT_NAME, EVENT_SWITCH };
enum ipc_verdict { VERDICT_ALLOW, VERDICT_DENY, VERDICT_DROP, VERDICT_ASK, VERDICT_WITHHELD };

struct ipc_event {
	uint8_t kind, verdict;
	struct ipc_app_ref ref; /* slot 0: none */
	uint8_t inbound, proto;
	uint16_t port;
	struct name name;
	struct addr address;
	uint8_t rule[IPC_RULE_ID_LEN]; /* zero: floor or default */
	uint32_t grant;
	struct ipc_text text;
};

struct ipc_used {
	uint8_t rule[IPC_RULE_ID_LEN];
	uint32_t count;
};

struct ipc_lookup {
	struct addr client; /* the guest's address: port security makes it proof of the app */
	uint16_t qtype;
	struct name name;
};

enum ipc_answer_kind {
	ANSWER_ADDRESS,
	ANSWER_DENIED,
	ANSWER_NODATA,
	ANSWER_NXDOMAIN,
	ANSWER_SERVFAIL,
	ANSWER_PTR,
	ANSWER_RELAY,
	ANSWER_REFUSED
};

struct ipc_lookup_answer {
	uint8_t kind;
	uint32_t ttl;
	struct addr address;  /* ANSWER_ADDRESS */
	struct name target;   /* ANSWER_PTR */
	uint16_t ede;	      /* RFC 8914 code; 0xffff none */
	struct ipc_text text; /* EXTRA-TEXT */
};

struct ipc_resolve {
	struct name name;
	bool want_v4, want_v6;
};

enum ipc_resolve_status { RESOLVE_OK, RESOLVE_NXDOMAIN, RESOLVE_FAILED, RESOLVE_BOGUS };

struct ipc_resolved {
	uint8_t status; /* of the name; OK with no addresses is NODATA */
	uint32_t ttl;
	uint8_t n_chain, n_v4, n_v6;
	struct name chain[IPC_CHAIN_MAX]; /* the names after the asked one */
	struct addr v4[IPC_ADDRS_MAX], v6[IPC_ADDRS_MAX];
};

struct ipc_relay {
	uint32_t lookup_id; /* of names' LOOKUP */
	uint16_t qtype;
	struct name name;
};

/* Rebuilt records: rcode, then count of {owner name, type u16, ttl u32, rdata len u16, rdata uncompressed} as bytes for
 * names to frame. */
struct ipc_relayed {
	uint8_t rcode;
	uint16_t n_records;
	uint32_t len;
	uint8_t records[IPC_RELAY_MAX];
};

/*
 * What a VM's root is made of. IMAGE: a file system (erofs), only read, and a writable layer over it: ext4 that is
 * kept, or memory. HOST: the host's directories, and such a layer. Their descriptors follow the client's stream in this
 * order; everything in them is hostile.
 */
enum ipc_root_kind { IPC_ROOT_HOST, IPC_ROOT_IMAGE, IPC_ROOT_KINDS };
struct ipc_root {
	uint8_t kind; /* enum ipc_root_kind */
	bool layer;   /* it is a file */
};
/* How many descriptors that makes. */
unsigned ipc_root_fds(const struct ipc_root *r);

/*
 * Directories of the owner's that the guest may write, each at its own path; their descriptors (O_PATH) follow those of
 * the root. The last may be the home of the guest's user.
 */
enum { IPC_SHARES_MAX = 6, IPC_SHARE_PATH = 256 };
enum ipc_home { IPC_HOME_NONE, IPC_HOME_KEPT, IPC_HOME_DIR, IPC_HOMES }; /* KEPT: a place of ours among his files */
struct ipc_shares {
	uint32_t uid, gid; /* whose they are: who serves them */
	uint8_t n;
	uint8_t home; /* enum ipc_home */
	char path[IPC_SHARES_MAX][IPC_SHARE_PATH];
};

struct ipc_vm {
	struct ipc_app_ref ref;
	uint32_t uid, gid;
	char name[IPC_APP_MAX];
	struct ipc_root root;
	struct ipc_shares shares;
	bool guest_user; /* agent/exec.h */
	char user[64], home[256], cwd[256];
	struct mac mac;
	struct addr v4, v4_gateway, v6, v6_gateway, dns4, dns6;
	uint8_t v4_prefix, v6_prefix;
	char tap[16];
	uint32_t memory_mib;
	uint16_t cpus;
	bool tty;
	uint16_t rows, cols;
	bool tso;		    /* the switch runs with segmentation offload */
	bool detach;		    /* the client waits for the start only */
	bool warm;		    /* it resumes a stored machine; filled in by main */
	uint8_t sync[IPC_SYNC_LEN]; /* agent/sync.h; filled in by main */
	uint16_t argc, envc;
	uint32_t strings_len;
	char strings[IPC_ARGV_BYTES]; /* argc argument strings then envc "K=V" strings, each NUL-ended */
};

/* Clients of the control socket by the desk's number for them. */
enum { IPC_AUTH_CLIENTS = 512, IPC_AUTH_UIDS = 512 };
enum ipc_auth_action { AUTH_VIEW_OWN, AUTH_ANSWER_OWN, AUTH_RUN, AUTH_VIEW_ALL, AUTH_ADMIN, AUTH_ACTIONS };

struct ipc_auth_peer {
	uint32_t client; /* below IPC_AUTH_CLIENTS */
	uint32_t pid, uid;
};

struct ipc_auth_ask {
	uint32_t client;
	uint8_t action; /* enum ipc_auth_action */
};

struct ipc_auth_state {
	bool polkit; /* there is a pkcheck to ask */
	bool logind;
	uint16_t n;
	uint32_t uid[IPC_AUTH_UIDS]; /* who has a session */
};

enum { IPC_LIST_ID_LEN = 64, IPC_LIST_SOURCE_LEN = 208, IPC_LIST_TAG_LEN = 128 };

struct ipc_list {
	char id[IPC_LIST_ID_LEN];
	uint32_t len;
};

/* What a server said of its answer, to be told next time: printable ASCII, "" when it said nothing. */
struct ipc_list_tags {
	char etag[IPC_LIST_TAG_LEN], modified[IPC_LIST_TAG_LEN];
};

struct ipc_fetch {
	char source[IPC_LIST_SOURCE_LEN]; /* https URL; with a fd: a path, for the words of an error */
	struct ipc_list_tags tags;
	uint64_t key[2]; /* of the digest */
};

struct ipc_fetched {
	int32_t err; /* 0 or negative errno */
	bool unchanged;
	struct ipc_list_tags tags;
	uint32_t len; /* of the digest */
	uint32_t n_names, n_nets, n_browser, n_exceptions, n_bad;
	struct ipc_text text; /* why it failed, or the first lines that were left out; printable */
};

struct ipc_vm_exit {
	struct ipc_app_ref ref;
	bool known; /* `status` is the program's */
	uint8_t status;
	struct ipc_text text; /* why; escaped */
};

struct ipc_vm_attach {
	struct ipc_app_ref ref;
	bool output;	     /* what the program said last; else its streams */
	uint16_t rows, cols; /* of the client's terminal; 0: none */
};

struct ipc_vm_pause {
	struct ipc_app_ref ref;
	bool hold; /* else it goes on */
};

struct ipc_adopt {
	struct ipc_app_ref ref;
	uint8_t sync[IPC_SYNC_LEN];
};

#define IPC_CODEC(x) \
	bool ipc_##x##_put(struct wr *w, const struct ipc_##x *m) __attribute__((warn_unused_result)); \
	bool ipc_##x##_get(const void *body, size_t len, struct ipc_##x *ret) __attribute__((warn_unused_result))
IPC_CODEC(text);
IPC_CODEC(u32);
IPC_CODEC(result);
IPC_CODEC(app_ref);
IPC_CODEC(app);
IPC_CODEC(port);
IPC_CODEC(switch);
IPC_CODEC(zone);
IPC_CODEC(cut);
IPC_CODEC(policy);
IPC_CODEC(block);
IPC_CODEC(grant);
IPC_CODEC(grant_end);
IPC_CODEC(syn);
IPC_CODEC(question);
IPC_CODEC(charge);
IPC_CODEC(forwards);
IPC_CODEC(check);
IPC_CODEC(event);
IPC_CODEC(used);
IPC_CODEC(lookup);
IPC_CODEC(lookup_answer);
IPC_CODEC(resolve);
IPC_CODEC(resolved);
IPC_CODEC(relay);
IPC_CODEC(relayed);
IPC_CODEC(vm);
IPC_CODEC(auth_peer);
IPC_CODEC(auth_ask);
IPC_CODEC(auth_state);
IPC_CODEC(list);
IPC_CODEC(fetch);
IPC_CODEC(fetched);
IPC_CODEC(vm_exit);
IPC_CODEC(vm_attach);
IPC_CODEC(vm_pause);
IPC_CODEC(adopt);
#undef IPC_CODEC

/* Sends a RESULT; `text` may be NULL. */
int ipc_send_result(struct frame_chan *c, uint32_t id, int err, uint32_t value, const char *text)
	__attribute__((warn_unused_result));
void ipc_text_set(struct ipc_text *t, const char *s);

/* Encodes into a buffer of this thread's and sends: ipc_send(chan, IPC_GRANT, 0, grant, &g, NULL, 0). */
#define ipc_send(chan, type, id, what, msg, fds, n_fds) \
	({ \
		struct wr ipc_w_ = ipc_scratch(); \
		ipc_##what##_put(&ipc_w_, (msg)) \
			? frame_send((chan), (type), (id), ipc_w_.buf, ipc_w_.len, (fds), (n_fds)) \
			: -EMSGSIZE; \
	})
struct wr ipc_scratch(void);

#endif
