/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DESK_DESK_H
#define DESK_DESK_H

#include "api/conn.h"
#include "api/fds.h"
#include "base/deadline.h"
#include "base/heap.h"
#include "desk/host.h"
#include "policy/id.h"
#include "policy/policy.h"
#include "policy/print.h"
#include "policy/profile.h"
#include "role/role.h"
#include "store/store.h"

#include <stdarg.h>

/*
 * The desk: people on one side, the gate on the other. What it holds is in struct desk; each file below works on it.
 *
 *   desk.c         the loop, messages of the other roles, timers
 *   host.c         what it learns about the host before it is confined, and by a netlink socket after
 *   client.c       connections of the control socket: who, how many, bytes, replies, errors
 *   args.c         parameters of calls
 *   auth.c         who may do what: groups, polkit, login sessions
 *   api.c          calls: dispatch, Admin, Apps
 *   apps.c         which applications there are; calls: Apps but Run
 *   run.c          calls: Apps.Run
 *   profiles.c     apps/NAME.conf
 *   console.c      calls: Apps.Console, Apps.Output, Apps.Exec
 *   steps.c        the life of an application, step by step, each step answered by another role
 *   rules.c        rules in memory and store: added, ended, shown
 *   lives.c        ends and counts; rules from the store
 *   files.c        the admin's files
 *   rules_api.c    calls: Rules but Why
 *   journal.c      the journal of changes; calls: Rules.Journal
 *   undo.c         their inverse; calls: Rules.Undo
 *   why.c          calls: Rules.Why
 *   waits.c        from what the gate waits for to one question for many names
 *   index.c         ways to the rules in memory: by id, by end, by owner
 *   inbox.c        what a question is: shown, digest, id, store
 *   questions.c    who is asked when; calls: Questions
 *   forwards.c     inbound ports that main is to open
 *   watch.c        lists, once or as a stream
 *   learn.c        what an application asks for is written down: learning, rehearsals
 *   connections.c  calls: Connections but Log
 *   reload.c       calls: Admin.Reload
 *   lists.c        the admin's lists: fetched, kept, attached; calls: Lists
 *   copies.c       their last good members on disk
 *   uses.c         hits of rules
 *   refusals.c     how often a refusal is told
 *   log.c          history and those who follow it
 *   group.c        calls that add rules, many in one commit
 *   policy.c       the policy: a base and what was touched since
 *   compile.c      a large base, by a process beside
 *   gate.c         what the gate is given: the policy, numbers, grants, synthetic names
 *
 * Invariant of every change: first durable (store_commit), then in force (the gate says so), then acknowledged.
 */
enum desk_event { DESK_LISTEN = ROLE_COUNT, DESK_CLIENT, DESK_NETLINK, DESK_COMPILED };
enum {
	DESK_CLIENTS = IPC_AUTH_CLIENTS,
	DESK_CLIENTS_PER_UID = 64,
	DESK_APPS_PER_UID = 32,
	DESK_WAITS = 1024, /* as many as a gate has open */
	DESK_QUESTIONS = 2048,
	DESK_QUESTIONS_PER_APP = 64, /* waiting or in the inbox */
	DESK_QUESTIONS_PER_OWNER = 512,
	DESK_CARDED = 4,
	DESK_PROFILES = 256,
	DESK_LEARNINGS = 32,
	DESK_LEARNINGS_PER_UID = 4,
	DESK_LEARNED_MAX = 1000, /* rules of one learning */
	DESK_FLUSH_MS = 500,
	DESK_ADMIN_AFTER_MS = 3000,
	DESK_RULES_MAX = 100000,
	DESK_RULES_PER_OWNER = 5000, /* answers kept in memory, ended ones included */
	DESK_GRANT_BUCKETS = 4096,
};

enum client_wait {
	CLIENT_READY,
	CLIENT_QUEUED, /* for group_run() */
	CLIENT_POLICY,
	CLIENT_DOCTOR,
	CLIENT_APP,
	CLIENT_AUTH,
	CLIENT_SERVES,
	CLIENT_FOLLOWS,
	CLIENT_WATCHES,
	CLIENT_LEARNS,
	CLIENT_LISTS,
	CLIENT_RELOAD
};

/* desk.md; an admin has them all. */
enum right {
	RIGHT_NONE,
	RIGHT_VIEW_OWN = 1,
	RIGHT_ANSWER_OWN = 2,
	RIGHT_RUN = 4,
	RIGHT_VIEW_ALL = 8,
	RIGHT_ADMIN = 16,
	RIGHTS_ALL = 31
};

/* A list that is being given, and what changes in it. */
enum watch_kind { WATCH_APPS, WATCH_RULES, WATCH_CONNECTIONS };
struct watch {
	enum watch_kind kind;
	bool follow, ended; /* go on with changes; rules: those that ended, too */
	bool brief;	    /* rules: rule_brief_json() */
	int64_t unused_ms;  /* rules that nothing used for so long; 0: all */
	bool first, whole;  /* the next reply begins the list; it has been given to its end */
	size_t at;
};

struct client {
	int fd; /* -1: free */
	uid_t uid;
	gid_t gid;
	pid_t pid;
	struct host_user user;
	unsigned rights;	   /* by his groups */
	unsigned granted, asked;   /* by polkit, for the open call; what it was asked about */
	enum right need;	   /* what the open call needs at least */
	uint32_t auth_request;	   /* CLIENT_AUTH */
	char *denied;		   /* CLIENT_AUTH: what is said when polkit says no; owned */
	bool admin, view_all, may; /* of both: as good as root; sees everybody's; answers his own */
	struct api_conn *conn;
	struct api_fds fds;   /* came with the open call, or with the next one */
	struct api_call call; /* while one is open */
	bool has_call, writing, dead;
	enum client_wait wait;
	json_t *reply; /* CLIENT_POLICY: given when `generation` is in force; CLIENT_DOCTOR: when main has said its part
			*/
	uint64_t generation; /* CLIENT_DOCTOR: the number of its question to main */
	struct watch watch;  /* CLIENT_WATCHES */
	uint64_t sequence;   /* CLIENT_SERVES, CLIENT_FOLLOWS */
	/* CLIENT_SERVES: questions[serve_at..] up to this id did not fit into the snapshot and are still to be told. */
	uint32_t serve_at, serve_last;
	bool serve_inbox;
	char follow_app[POLICY_TOKEN_MAX + 1]; /* "": every */
	uint32_t follow_owner;		       /* UINT32_MAX: every */
	/* CLIENT_FOLLOWS: "": every */
	char follow_event[24], follow_verdict[16], follow_peer[NAME_TEXT_MAX], follow_rule[POLICY_ID_TEXT];
};

enum app_kind { APP_ATTACHED, APP_VM };
enum app_state { APP_FREE, APP_STARTING, APP_RUNNING, APP_STOPPING };
/* Starting goes down this list, stopping up again from where it got to. */
enum app_step { STEP_NONE, STEP_LINK, STEP_PORT, STEP_GATE, STEP_UP, STEP_VM };

struct app {
	enum app_state state;
	enum app_kind kind;
	enum app_step step; /* the one under way, or the last one done */
	uint32_t pending;   /* frame id that is waited for; 0: none */
	enum role_id pending_on;
	struct ipc_app gate; /* ref, owner, name, zones, MAC, addresses */
	char ifname[16];
	int64_t started_ms;
	int client;				 /* waits for the start, -1 */
	int stop_client;			 /* waits for the end, -1 */
	struct ipc_vm *vm;			 /* while a VM starts */
	int stream;				 /* the client's, -1 */
	struct api_fds blocks;			 /* while a VM starts: what its root is made of */
	bool vm_runs, exit_wanted, ran, adopted; /* adopted: from an earlier desk */
	int freeze_client;			 /* waits for freeze or thaw, -1 */
	bool freezing, frozen;			 /* what it waits for; how it is */
	bool vm_ending;				 /* its program has ended */
	bool kept;				 /* its VM outlives the daemon */
	json_t *lent;				 /* shares_json(), NULL: nothing; owned */
	char *error;				 /* why the start failed; owned */
	int64_t carded_ms[DESK_CARDED];		 /* when the last questions of it were asked, a ring */
	unsigned n_carded, waiting;
	bool review;		/* more questions than a person can take one by one */
	struct rule *rehearsal; /* final ask, while it is only rehearsed; owned */
	uint32_t overflow;	/* packets the gate refused because too many questions were open */
	int64_t overflow_said_ms;
	char *ending;		   /* how it ended; owned */
	struct refusals *refusals; /* refusals.c; NULL: none yet */
};

struct rule {
	struct policy_entry e; /* owned */
	struct deadline ends;  /* e.meta.deadline_ms with its guard */
	char *line;	       /* canonical, owned */
	char *file;	       /* owned; NULL: an answer */
	char id[POLICY_ID_TEXT];
	int64_t seq;	   /* row in the store; 0: a file's rule without a life */
	int64_t ended_ms;  /* e.meta.ended says why */
	int64_t boot_ms;   /* CLOCK_BOOTTIME at e.meta.created_ms; 0: not known in this boot */
	uint32_t run;	   /* `until exit`: bound to this run; 0: the next one */
	bool older_boot;   /* made before the host was started */
	bool stays;	   /* a file's: its line is in the new files, too */
	bool end_unsaved;  /* it has ended, and its row does not say so yet */
	uint32_t learning; /* made by that learning, in memory alone; 0: not */
	struct place {
		uint64_t base; /* 0: in none */
		uint32_t at;   /* number + 1; 0: it was not there */
		bool touched;
	} place[2];			   /* in the base in use, in the one that is being made (build.h) */
	struct rule *next;		   /* in its bucket of the index */
	struct heap_node by_wall, by_boot; /* `ends`, while it runs */
};

/* Ways to d->rules that do not pass by all of them. */
struct rule_index {
	struct rule **buckets; /* by id, the newest first */
	size_t n_buckets, n;
	struct heap by_wall, by_boot;
	struct owned {
		uint32_t owner;
		size_t n; /* of his answers */
	} * owned;
	size_t n_owned;
};

/* A rule that decided. */
struct use {
	char id[POLICY_ID_TEXT];
	int64_t last_ms;
	uint64_t hits;
	bool dirty;
};

/* What the gate holds packets for: one app, peer, port and protocol. */
struct wait {
	uint32_t number; /* the gate's; 0: free */
	uint32_t card;	 /* id of the question it stands on; 0: none */
	uint64_t after;	 /* it is put on no card before this generation is in force */
	int64_t came_ms; /* boot time */
	struct ipc_question q;
	struct name group; /* registrable domain, else the name; names of a group share a card */
	uint32_t owner, peer_owner;
	char app[IPC_APP_MAX], peer_app[IPC_APP_MAX];
};

/* What a person is asked: a card for one or more of the above. */
struct question {
	uint32_t id;	       /* 0: free */
	bool waiting;	       /* packets wait at the gate; else it is in the inbox */
	bool told;	       /* agents may know it */
	bool seen;	       /* somebody does: from here on it never changes */
	bool known;	       /* it was asked before, under the same id */
	bool later;	       /* somebody left it for later: what came after it may be asked */
	bool first;	       /* the history knows of no earlier attempt */
	struct ipc_question q; /* of the first one */
	struct name group;
	uint32_t owner;
	char app[IPC_APP_MAX], peer_app[IPC_APP_MAX];
	uint32_t peer_owner;
	unsigned more; /* further names, the first of them in `names` */
	json_t *names;
	char digest[65];
	json_t *shown;	   /* the immutable members */
	int64_t served_ms; /* boot time */
	bool admins_told;
};

/* What an application would be asked about is let through and written down. It lives in memory and as long as the
 * connection of whoever wanted it: a desk that dies forgets it, and what it let through ends. */
struct learning {
	uint32_t id; /* 0: free */
	int client;
	uint32_t owner;
	char app[IPC_APP_MAX];
	int64_t until_boot_ms;
	unsigned n;
};

struct grant {
	struct grant *next;
	struct ipc_grant g;
};

struct charge {
	uint32_t request;
	struct ipc_charge c;
};

struct desk {
	struct role *role;
	struct host host;
	struct store *store;
	char damaged[STORE_ERROR_MAX]; /* "": the store is whole; else nothing passes, and `store` is in memory alone */
	int listener;
	int64_t started_ms, flush_at_ms;      /* boot time; -1: nothing to flush */
	bool again;			      /* some list goes on: do not wait for events */
	uint64_t doctors_asked, doctors_told; /* main answers in order, each wholly */
	bool restart;			      /* the host's users changed: begin afresh */

	struct client clients[DESK_CLIENTS];
	struct ipc_auth_state auth;
	uint32_t auth_request;
	struct app apps[PLAN_SLOTS];
	uint32_t last_step;

	struct rule **rules; /* running, used up and ended ones, admin's and answers */
	size_t n_rules, cap_rules;
	bool ends_unsaved; /* of some of them */
	/* The policy as compiled last: entries are shallow copies of running and used-up rules, by index. */
	struct policy_input input;
	struct policy_entry *entries;
	struct rule **by_index;
	const char **ids; /* sorted, of every rule in memory */
	size_t n_ids, cap_ids;
	bool ids_stale; /* index_ids() */
	struct rule_index index;
	int64_t forgot_ms; /* wall time of the last look for rules that ended long ago */
	struct use *uses;  /* sorted by id; owned */
	size_t n_uses, cap_uses;
	bool uses_dirty;
	struct policy *policy; /* base and what was touched since, joined */
	struct base *base, *base_coming;
	uint64_t last_base, env; /* env: counts the host's addresses */
	void *more;		 /* what is joined, as bytes for the gate; NULL: nothing */
	size_t more_len;
	struct lists *lists;
	struct policy_doc *docs[256];
	char *doc_names[256];
	unsigned n_docs;
	uint64_t generation, in_force;
	bool loaded; /* the admin's files have been read */
	bool gate_synced;
	struct policy_doc *new_docs[256]; /* between RELOAD and POLICY_END */
	char *new_names[256], *new_texts[256];
	size_t new_lens[256], new_counts[256]; /* of the texts; of their rules */
	char new_digests[256][65];	       /* SHA-256 of the files */
	unsigned n_new_docs;
	struct ipc_text new_errors;
	struct profile *profiles[DESK_PROFILES], *new_profiles[DESK_PROFILES];
	unsigned n_profiles, n_new_profiles;
	uint32_t report; /* main's request, answered when report_generation is in force; 0: none */
	uint64_t report_generation;
	char report_text[96];

	struct charge charges[256];
	unsigned n_charges;

	struct learning learnings[DESK_LEARNINGS];
	uint32_t last_learning;
	struct wait waits[DESK_WAITS];
	bool waits_changed;
	int64_t refusals_at_ms; /* boot time at which some are to be told; -1: none */
	int64_t waits_at_ms;	/* boot time of the next look at them; -1: when something changes */
	struct question questions[DESK_QUESTIONS];
	unsigned questions_top;		       /* no question stands behind */
	uint32_t question_next, question_end;  /* numbers taken from the store */
	struct ipc_question early[DESK_WAITS]; /* what a gate asked before `loaded` */
	unsigned n_early;

	struct grant *grants[DESK_GRANT_BUCKETS];
};

static inline bool rule_running(const struct rule *r)
{
	return r->e.meta.ended == POLICY_RUNNING;
}

/* profiles.c: apps/NAME.conf, sekishod.conf(5). */
void profiles_reload(struct desk *d);
/* IPC_PROFILE_FILE. */
void profile_file(struct desk *d, struct frame *f);
/* Those read since the last RELOAD are in force, for what runs, too. */
void profiles_install(struct desk *d);
const struct profile *profile_of(const struct desk *d, const char *app); /* NULL: none */
/* What gate is to know of it. */
void profile_apply(const struct desk *d, struct app *a);

/* client.c */
int clients_init(struct desk *d, int listener) __attribute__((warn_unused_result));
void clients_accept(struct desk *d);
void client_event(struct desk *d, const struct loop_event *ev);
void client_close(struct desk *d, struct client *c);
/* Closes those that broke a rule of the protocol, sends what can be sent. Once per turn. */
void clients_flush(struct desk *d);
/* Replies take `params` over. After a reply that ends the call the client's next call may be taken. */
void client_reply(struct desk *d, struct client *c, json_t *params);
void client_stream(struct desk *d, struct client *c, json_t *params);
void client_error(struct desk *d, struct client *c, const char *error, json_t *params);
/* {"text":…} */
void client_fail(struct desk *d, struct client *c, const char *error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void client_no_such(struct desk *d, struct client *c, const char *kind, const char *what);
/* The call needs admin rights. */
void client_denied(struct desk *d, struct client *c, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* When `generation` is in force; at once when the gate is away. Sets "in_force". */
void client_reply_in_force(struct desk *d, struct client *c, json_t *params, uint64_t generation);
void clients_in_force(struct desk *d);
/* The descriptor leaves the control socket (upgrade): what waits has been sent; -1 when that failed. */
int client_take_fd(struct desk *d, struct client *c);
/* Members of the open call's parameters. False: an error was replied. Absent or null: *ret stays. */
bool arg_str(struct desk *d, struct client *c, const char *name, bool required, const char **ret);
bool arg_int(struct desk *d, struct client *c, const char *name, int64_t min, int64_t max, int64_t *ret);
bool arg_bool(struct desk *d, struct client *c, const char *name, bool *ret);
/* An array of strings; NULL when absent. */
bool arg_strings(struct desk *d, struct client *c, const char *name, bool required, const json_t **ret);
/* `owner`: the caller's own uid unless said otherwise, which needs admin rights, or to see all where the call only
 * looks. *ret_said: it was given. */
bool arg_owner(struct desk *d, struct client *c, uint32_t *ret, bool *ret_said);
/* A name that may be an application's. */
bool arg_app(struct desk *d, struct client *c, bool required, const char **ret);
/* `all`: everybody's things, which need the right to see them; *ret comes with the default. */
bool arg_all(struct desk *d, struct client *c, bool *ret);
/* InvalidParameter with the reason. Returns false. */
bool arg_bad(struct desk *d, struct client *c, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* auth.c */
void auth_client_begin(struct desk *d, struct client *c);
void auth_client_end(struct desk *d, const struct client *c);
/* What polkit gave was for the call that has ended. */
void auth_call_end(struct client *c);
bool auth_has(const struct client *c, enum right right);
/* The open call lacks `right`: polkit is asked, then it is begun again or refused with `text`. */
void auth_deny(struct desk *d, struct client *c, enum right right, const char *text);
void auth_result(struct desk *d, uint32_t request, const struct ipc_result *r);
void auth_state(struct desk *d, const struct ipc_auth_state *m);
void auth_back(struct desk *d);
void auth_lost(struct desk *d);
bool auth_logged_in(const struct desk *d, uint32_t uid);
/* A rule of `owner`'s may last until his logout. False: an error was replied. */
bool auth_until_logout(struct desk *d, struct client *c, uint32_t owner);
/* Admin.WhoAmI */
void auth_who(struct desk *d, struct client *c);

/* api.c */
void api_dispatch(struct desk *d, struct client *c);
json_t *owner_json(struct desk *d, uint32_t owner);

/* apps.c, run.c, steps.c */
void apps_load(struct desk *d);
void apps_attach(struct desk *d, struct client *c);
void apps_run(struct desk *d, struct client *c);
void apps_console(struct desk *d, struct client *c);
void apps_exec(struct desk *d, struct client *c);
void apps_output(struct desk *d, struct client *c);
void apps_freeze(struct desk *d, struct client *c);
void apps_thaw(struct desk *d, struct client *c);
/* main says that a VM taken over is held. */
void app_frozen(struct desk *d, const struct ipc_app_ref *ref);
/* The answer to freeze or thaw; false: to something else. */
bool app_pause_result(struct desk *d, uint32_t id, const struct ipc_result *r);
void apps_list(struct desk *d, struct client *c);
void apps_stop(struct desk *d, struct client *c, bool attached_only);
void app_result(struct desk *d, enum role_id from, uint32_t id, const struct ipc_result *r);
/* The interface vanished. */
void app_gone(struct desk *d, const struct ipc_app_ref *ref);
void app_vm_ending(struct desk *d, const struct ipc_vm_exit *e);
void app_vm_exited(struct desk *d, const struct ipc_vm_exit *e);
/* Tells main which VMs this desk knows from an earlier one. */
void apps_claim(struct desk *d);
/* A peer is back: what it must know about applications. */
void apps_sync(struct desk *d, enum role_id peer);
void apps_stop_all(struct desk *d);
void apps_client_gone(struct desk *d, const struct client *c);
struct app *app_by_ref(struct desk *d, const struct ipc_app_ref *ref);
struct app *app_by_name(struct desk *d, uint32_t owner, const char *name);
unsigned apps_count(const struct desk *d);
/* Of those, what the end of the daemon still waits for. */
unsigned apps_stopping(const struct desk *d);

/* rules.c, lives.c, files.c */
int rules_load(struct desk *d) __attribute__((warn_unused_result));
void rules_file(struct desk *d, struct frame *f);
void rules_reload(struct desk *d);
void rules_files_end(struct desk *d, uint32_t id);
/* A part of reading them, between two events. */
void files_tick(struct desk *d);
/* Tells main that the files are in force, once they are. */
void rules_report(struct desk *d);
/* reload.c; calls: Admin.Reload */
void reload_api(struct desk *d, struct client *c);
/* All files of this request of main's have come. */
void reload_begins(uint32_t id);
/* They are in force, or refused: who waits for them, or for those before, is told. */
void reload_ended(struct desk *d, int err, const char *text);
/* Main could not read them; false: its answer is about something else. */
bool reload_refused(struct desk *d, uint32_t id, const struct ipc_result *r);
/* Compiles what is in memory and hands it to the gate as a new generation. 0, or negative errno and the old policy
 * stays; ret_error (512 bytes) may be NULL. */
int rules_activate(struct desk *d, char *ret_error) __attribute__((warn_unused_result));
void rules_send(struct desk *d);
void rules_result(struct desk *d, const struct frame *f, const struct ipc_result *r);
void rules_charge(struct desk *d, const struct frame *f);
void rules_charges_settle(struct desk *d);
/* Ends what is due; the boot time of the next end, -1. */
void rules_expire(struct desk *d);
int64_t rules_next_ms(const struct desk *d);
void rules_app_started(struct desk *d, const struct app *a);
void rules_app_ended(struct desk *d, const struct app *a);
/* It never ran: its `until exit` rules wait for the next run. */
void rules_app_not_started(struct desk *d, const struct app *a);
struct rule *rule_by_id(const struct desk *d, const uint8_t id[POLICY_ID_LEN]);
/* Shortest unique prefix, at least 4; into buf. */
const char *rule_short_id(const struct desk *d, const char *id, char buf[POLICY_ID_TEXT]);
json_t *rule_json(struct desk *d, const struct rule *r);
/* What a table of rules shows, and of that only what is not null: a long list is read four times as fast. */
json_t *rule_brief_json(struct desk *d, const struct rule *r);
void rule_free(struct rule *r);
int rule_append(struct desk *d, struct rule *r) __attribute__((warn_unused_result));
/* An answer of `owner`'s from a parsed rule (taken over, also on failure); not yet in memory or store. */
int rule_make(struct desk *d, struct policy_rule *parsed, uint32_t owner, struct rule **ret)
	__attribute__((warn_unused_result));
/* All or nothing: durable, and a new policy on its way to the gate. */
int rules_end(struct desk *d, struct rule **rules, size_t n, uint32_t who, enum policy_end why)
	__attribute__((warn_unused_result));

/* undo.c, journal.c */
void undo_api(struct desk *d, struct client *c);
void journal_api(struct desk *d, struct client *c);

/* rules_api.c, why.c */
void rules_api_add(struct desk *d, struct client *c);
void rules_api_remove(struct desk *d, struct client *c);
void rules_api_list(struct desk *d, struct client *c);
void rules_api_why(struct desk *d, struct client *c);
/* What somebody without admin rights may write. False: refused, an error was replied. */
bool rule_permitted(struct desk *d, struct client *c, const struct policy_rule *r, uint32_t owner);
/* The same, and its life can begin now. */
bool rule_may_begin(struct desk *d, struct client *c, const struct policy_rule *r, uint32_t owner);
void client_bad_rule(struct desk *d, struct client *c, size_t index, const struct policy_diag *diag);

/* waits.c, questions.c, inbox.c */
void questions_load(struct desk *d);
void questions_ask(struct desk *d, const struct ipc_question *q);
/* The policy is there: asks what came before it. */
void questions_loaded(struct desk *d);
/* Nothing waits under this number any more. */
void questions_end(struct desk *d, uint32_t number);
void questions_app_ended(struct desk *d, const struct app *a);
/* The gate is new: what it had asked is no longer waited for. */
void questions_gate_lost(struct desk *d);
void questions_serve(struct desk *d, struct client *c);
/* What did not fit into the snapshot, as the client reads. */
void serve_pump(struct desk *d, struct client *c);
void questions_answer(struct desk *d, struct client *c);
void questions_list(struct desk *d, struct client *c);
void questions_tick(struct desk *d);
int64_t questions_next_ms(const struct desk *d);
unsigned questions_count(const struct desk *d);

/* watch.c: replies to the open call with the list `what` (kind, ended, brief, unused_ms); its other parameters are app,
 * owner, all and follow. */
void watch_begin(struct desk *d, struct client *c, const struct watch *what);
/* The next part of the list, when the client has read the one before. */
void watch_pump(struct desk *d, struct client *c);
void watch_app(struct desk *d, const struct app *a, bool gone);
void watch_rule(struct desk *d, const struct rule *r);
void watch_connection(struct desk *d, const struct ipc_grant *g, bool gone);
/* d->rules was made anew. */
void watch_rules_moved(struct desk *d);
json_t *app_json(struct desk *d, const struct app *a);

/* learn.c */
/* Rules.Learn */
void learn_begin(struct desk *d, struct client *c);
void learn_client_gone(struct desk *d, const struct client *c);
/* Ends what is over; the boot time of the next end, -1. */
void learn_tick(struct desk *d);
int64_t learn_next_ms(const struct desk *d);
/* The app is being learnt and this would be asked only because no rule speaks of it: now one does, in memory;
 * *ret_made: the policy has to be made anew. False: a person is asked. */
bool learn_take(struct desk *d, const struct wait *w, bool *ret_made);
/* From now on nothing of this app passes, and all it wants is asked about, of nobody. */
int rehearse_begin(struct desk *d, struct app *a) __attribute__((warn_unused_result));
void rehearse_end(struct desk *d, struct app *a);

/* connections.c */
void connections_list(struct desk *d, struct client *c);
void connections_cut(struct desk *d, struct client *c);
json_t *connection_json(struct desk *d, const struct app *a, const struct ipc_grant *g);

/* log.c */
json_t *rule_id_json(const struct desk *d, const uint8_t id[IPC_RULE_ID_LEN]);
/* One entry: takes `entry` over, adds time and event; `owner` UINT32_MAX and `app` NULL: nobody's. */
void log_entry(struct desk *d, const char *event, uint32_t owner, const char *app, json_t *entry);
/* What was refused, told as often as a person can use; takes `entry`. `event` is a constant. */
void refusals_log(struct desk *d, struct app *a, const char *event, json_t *entry);
void refusals_tick(struct desk *d);
/* The rest is told, and all of it released. */
void refusals_end(struct desk *d, struct app *a);
void log_app(struct desk *d, const struct app *a, const char *event, const char *text);
void log_text(struct desk *d, const char *event, const char *text);
void log_gate_event(struct desk *d, const struct ipc_event *e);
void log_grant_end(struct desk *d, const struct ipc_grant *g, const struct ipc_grant_end *e);
void log_api(struct desk *d, struct client *c);
/* "tcp", "udp", "icmp", "sctp" or the number; into buf (8 bytes). */
const char *protocol_text(uint8_t proto, char buf[8]);
json_t *name_json(const struct name *n);
json_t *addr_json(const struct addr *a);
json_t *time_json(int64_t wall_ms);

/* uses.c: how often each rule decided, and when last. */
int uses_load(struct desk *d) __attribute__((warn_unused_result));
/* What has changed, into the open transaction. */
int uses_store(struct desk *d) __attribute__((warn_unused_result));
void uses_count(struct desk *d, const uint8_t id[IPC_RULE_ID_LEN], uint32_t times);
/* 0: never used. */
uint64_t uses_of(const struct desk *d, const char *id, int64_t *ret_last_ms);
/* Nothing used the rule for so long, although it stood there. */
bool uses_unused(struct desk *d, const struct rule *r, int64_t for_ms);

/* gate.c */
int gate_load(struct desk *d) __attribute__((warn_unused_result));
void gate_sync(struct desk *d);
void gate_block_give(struct desk *d);
void gate_grant_copy(struct desk *d, const struct frame *f);
void gate_grant_ended(struct desk *d, const struct frame *f);
void gate_syn_copy(struct desk *d, const struct frame *f);
void gate_app_forget(struct desk *d, uint32_t run);

/* forwards.c: tells main which inbound ports the rules open for running apps, when that changed. */
void forwards_update(struct desk *d);
/* api.c: clients that wait so, or (any) all that are connected. */
unsigned clients_waiting(const struct desk *d, enum client_wait wait, bool any);
/* doctor.c: own checks at once, main's as they come. */
void doctor_begin(struct desk *d, struct client *c);
void doctor_check(struct desk *d, const struct ipc_check *k);
void doctor_end(struct desk *d);
/* Main's answer: what the host holds itself. */
void forwards_held(struct desk *d, const struct ipc_forwards *held);
/* What a rule opens and is not passed on, for people; false: nothing. */
bool forwards_note(const struct desk *d, const struct rule *r, char *buf, size_t cap);
/* desk.c: what was written without being acknowledged becomes durable within DESK_FLUSH_MS. */
void desk_flush_later(struct desk *d);

#endif
